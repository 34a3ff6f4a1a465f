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
