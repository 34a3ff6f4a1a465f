-- customers: who looks for a chat; and what everybody may see of oneself.

create function mitrad.customer_anonymous(display_name text, refresh_hash text, ttl_days integer)
returns mitrad.sign_in
language plpgsql as $$
declare
	created uuid;
begin
	insert into public.customers as c (display_name) values (customer_anonymous.display_name)
	returning c.id into created;
	return mitrad.auth_session_start('customer', created, refresh_hash, ttl_days);
end
$$;

-- Whose a proven identity is: kind 'phone', 'google_sub' or 'apple_sub'.  Without a caller: the customer who has it, made
-- if there is none.  With a caller, a customer signed in without that identity (mostly an anonymous one): it becomes that
-- customer's, unless it is another's.  `email` and `name` are what came along, taken where nothing is known yet.
create function mitrad.customer_identify(kind text, value text, email text, name text,
	caller uuid, caller_session uuid, out problem text, out customer uuid)
language plpgsql as $$
declare
	held text;
begin
	if caller is not null then
		execute format('select c.%I from public.customers c where c.id = $1 for update', kind)
			into held using caller;
		if mitrad.session_is_revoked(caller_session)
			or not exists (select from public.customers c where c.id = caller) then
			problem := 'UNAUTHENTICATED';
			return;
		end if;
	end if;

	execute format('select c.id from public.customers c where c.%I = $1', kind) into customer using value;
	if customer is null and caller is null then
		-- Another request may make the same customer in this moment; then that one it is.
		execute format('insert into public.customers (%1$I, email, display_name) values ($1, $2, $3)
			on conflict (%1$I) do update set %1$I = excluded.%1$I returning id', kind)
			into customer using value, email, name;
		return;
	end if;
	if customer is null and held is null then
		execute format('update public.customers c set %I = $1, email = coalesce(c.email, $2),
			display_name = coalesce(c.display_name, $3) where c.id = $4', kind)
			using value, email, name, caller;
		customer := caller;
		return;
	end if;

	problem := case
		when customer is null then 'IDENTITY_EXISTS'
		when customer <> caller then 'IDENTITY_IN_USE'
	end;
exception when unique_violation then
	problem := 'IDENTITY_IN_USE';
end
$$;

-- The same for an identity that a provider vouches for, with the sign-in.
create function mitrad.identity_sign_in(kind text, value text, email text, name text,
	caller uuid, caller_session uuid, refresh_hash text, ttl_days integer)
returns mitrad.sign_in
language plpgsql as $$
declare
	owner record;
begin
	select c.* into owner
	from mitrad.customer_identify(kind, value, email, name, caller, caller_session) c;
	if owner.problem is not null then
		return mitrad.sign_in_refused(owner.problem);
	end if;
	return mitrad.auth_session_start('customer', owner.customer, refresh_hash, ttl_days);
end
$$;

-- An unknown customer in a token: the token is good, but nobody is behind it any more.
create function mitrad.customer_get(customer uuid) returns mitrad.reply
language sql stable as $$
	select case when a.id is null then 'UNAUTHENTICATED' end, null::text, row_to_json(a)::text
	from (select customer as wanted) w
	left join lateral (
		select c.id, 'customer' as user_type, c.display_name, c.phone, c.email,
			c.google_sub is not null as google, c.apple_sub is not null as apple,
			num_nonnulls(c.phone, c.google_sub, c.apple_sub) = 0 as anonymous,
			mitrad.iso(c.created_at) as created_at
		from public.customers c where c.id = w.wanted
	) a on true
$$;

create function mitrad.customer_update(customer uuid, display_name text) returns mitrad.reply
language plpgsql as $$
begin
	update public.customers c set display_name = customer_update.display_name where c.id = customer;
	return mitrad.customer_get(customer);
end
$$;

create function mitrad.mitra_profile(mitra uuid) returns mitrad.reply
language sql stable as $$
	select case when a.id is null then 'UNAUTHENTICATED' when not a.is_active then 'ACCOUNT_INACTIVE' end,
		null::text, row_to_json(a)::text
	from (select mitra as wanted) w
	left join lateral (
		select m.id, 'mitra' as user_type, m.display_name, m.phone, m.is_active,
			mitrad.iso(m.created_at) as created_at
		from public.mitras m where m.id = w.wanted
	) a on true
$$;
