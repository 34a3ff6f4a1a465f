-- operators: their passwords, their sign-ins, and how admins manage them.
--
-- A sign-in is two calls with the slow check of the password between them.  The first counts the attempt as a
-- failed one, under the row's lock, before anything is checked; the second, if the password was right, takes that
-- back.  So however many guess at once, no more than login_attempts_max passwords are checked before the lockout.
--
-- Lock order: admins by id, then any other operator; auth_sessions last.

create function mitrad.operator_json(u public.control_center_users) returns json
language sql stable as $$
	select row_to_json(d) from (
		select u.id, u.email, u.role, u.is_active,
			case when u.lockout_until > now() then mitrad.iso(u.lockout_until) end as locked_until,
			mitrad.iso(u.created_at) as created_at
	) d
$$;

-- What of an operator is on record.
create function mitrad.operator_record(u public.control_center_users) returns jsonb
language sql stable as $$
	select jsonb_build_object('email', u.email, 'role', u.role, 'is_active', u.is_active)
$$;

create function mitrad.operator_sessions_revoke(operator uuid) returns void
language sql as $$
	update public.auth_sessions a set revoked_at = now()
	where a.user_type = 'operator' and a.user_id = operator and a.revoked_at is null
$$;

-- ---------------------------------------------------------------- attempts

-- password_hash is NULL for nobody's.
create type mitrad.attempt as (
	problem text, retry_after integer, operator_id uuid, email text, password_hash text
);

create function mitrad.attempt_locked(lockout_until timestamptz) returns mitrad.attempt
language sql volatile as $$
	select 'LOCKED_OUT', greatest(1, ceil(extract(epoch from lockout_until - clock_timestamp())))::integer,
		null::uuid, null::text, null::text
$$;

-- The counters after one attempt more.  A lockout that has passed begins a new count.
create function mitrad.attempt_count(failed integer, lockout_until timestamptz,
	out next_failed integer, out next_lockout_until timestamptz)
language sql volatile as $$
	select n, case when n >= mitrad.config_integer('login_attempts_max')
		then clock_timestamp() + mitrad.config_seconds('login_lockout_seconds') end
	from (select case when lockout_until is null then failed else 0 end + 1 as n) counted
$$;

-- The row is locked by the caller.
create function mitrad.operator_attempt(u public.control_center_users) returns mitrad.attempt
language plpgsql as $$
begin
	if u.lockout_until > clock_timestamp() then
		return mitrad.attempt_locked(u.lockout_until);
	end if;
	update public.control_center_users c set (failed_login_count, lockout_until) =
		(select a.next_failed, a.next_lockout_until
			from mitrad.attempt_count(u.failed_login_count, u.lockout_until) a)
	where c.id = u.id;
	return (null, null, u.id, u.email, u.password_hash)::mitrad.attempt;
end
$$;

-- The same for an address that no operator has.
create function mitrad.stranger_attempt(wanted text) returns mitrad.attempt
language plpgsql as $$
declare
	hash bytea := sha256(convert_to(wanted, 'UTF8'));
	s public.login_strangers;
begin
	delete from public.login_strangers where email_hash in (
		select o.email_hash from public.login_strangers o where o.last_at < now() - interval '1 day'
		order by o.last_at limit 100 for update skip locked);
	insert into public.login_strangers (email_hash) values (hash) on conflict do nothing;
	select * into s from public.login_strangers o where o.email_hash = hash for no key update;
	if s.lockout_until > clock_timestamp() then
		return mitrad.attempt_locked(s.lockout_until);
	end if;
	update public.login_strangers o set last_at = now(), (failed_login_count, lockout_until) =
		(select a.next_failed, a.next_lockout_until
			from mitrad.attempt_count(s.failed_login_count, s.lockout_until) a)
	where o.email_hash = hash;
	return (null, null, null, null, null)::mitrad.attempt;
end
$$;

-- An attempt that was counted, and then could not be checked, or was none: takes it back.  If it was the one that locked the
-- address out, the lockout goes too.
create function mitrad.attempt_undo(wanted text) returns void
language sql as $$
	update public.control_center_users c
	set failed_login_count = greatest(c.failed_login_count - 1, 0), lockout_until = null
	where lower(c.email) = lower(wanted);
	update public.login_strangers o
	set failed_login_count = greatest(o.failed_login_count - 1, 0), lockout_until = null
	where o.email_hash = sha256(convert_to(lower(wanted), 'UTF8'));
$$;

-- ---------------------------------------------------------------- signing in

create function mitrad.operator_login_begin(wanted text) returns mitrad.attempt
language plpgsql as $$
declare
	u public.control_center_users;
begin
	select * into u from public.control_center_users c where lower(c.email) = lower(wanted)
	for no key update;
	if not found then
		return mitrad.stranger_attempt(lower(wanted));
	end if;
	return mitrad.operator_attempt(u);
end
$$;

-- The password that `checked` is the hash of was right.
create function mitrad.operator_login_finish(operator uuid, checked text, refresh_hash text, ttl_days integer)
returns mitrad.sign_in
language plpgsql as $$
declare
	active boolean;
begin
	update public.control_center_users c set failed_login_count = 0, lockout_until = null
	where c.id = operator and c.password_hash = checked
	returning c.is_active into active;
	if not found then
		return mitrad.sign_in_refused('BAD_CREDENTIALS');
	end if;
	if not active then
		return mitrad.sign_in_refused('ACCOUNT_INACTIVE');
	end if;
	return mitrad.auth_session_start('operator', operator, refresh_hash, ttl_days);
end
$$;

-- Both are the same session, unless somebody signed in twice in one browser.
create function mitrad.operator_logout(session uuid, token_hash text) returns void
language sql as $$
	select mitrad.auth_session_revoke(token_hash, '{operator}');
	update public.auth_sessions a set revoked_at = now()
	where a.id = session and a.user_type = 'operator' and a.revoked_at is null;
$$;

-- ---------------------------------------------------------------- passwords

-- One's own password is about to be checked; a stolen access token shall not guess it for ever.
create function mitrad.operator_password_begin(by mitrad.actor) returns mitrad.attempt
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, false);
	u public.control_center_users;
begin
	select * into u from public.control_center_users c where c.id = (by).id for no key update;
	if refusal is not null or not found then
		return (coalesce(refusal, 'UNAUTHENTICATED'), null, null, null, null)::mitrad.attempt;
	end if;
	return mitrad.operator_attempt(u);
end
$$;

-- `checked` is the hash that the present password was checked by: it may have been changed meanwhile.
create function mitrad.operator_password_change(checked text, new_hash text, by mitrad.actor)
returns mitrad.reply
language plpgsql as $$
begin
	update public.control_center_users c
	set password_hash = new_hash, failed_login_count = 0, lockout_until = null
	where c.id = (by).id and c.password_hash = checked;
	if not found then
		return ('BAD_CREDENTIALS', null, null)::mitrad.reply;
	end if;
	perform mitrad.operator_sessions_revoke((by).id);
	perform mitrad.operator_acted(by, 'operator.password_change', 'operator', (by).id::text, null, null);
	return (null, null, null)::mitrad.reply;
end
$$;

-- Forced by an admin; it ends a lockout too.
create function mitrad.operator_password_reset(operator uuid, new_hash text, by mitrad.actor)
returns mitrad.reply
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, true);
	u public.control_center_users;
begin
	if refusal is not null then
		return (refusal, null, null)::mitrad.reply;
	end if;
	update public.control_center_users c
	set password_hash = new_hash, failed_login_count = 0, lockout_until = null
	where c.id = operator
	returning * into u;
	if not found then
		return ('NOT_FOUND', null, null)::mitrad.reply;
	end if;
	perform mitrad.operator_sessions_revoke(operator);
	perform mitrad.operator_acted(by, 'operator.password_reset', 'operator', operator::text, null, null);
	return (null, null, mitrad.operator_json(u)::text)::mitrad.reply;
end
$$;

-- ---------------------------------------------------------------- managing

create function mitrad.operator_me(by mitrad.actor) returns mitrad.reply
language sql stable as $$
	select coalesce(mitrad.operator_refusal(by, false), case when u.id is null then 'UNAUTHENTICATED' end),
		null::text, mitrad.operator_json(u)::text
	from (select) one
	left join public.control_center_users u on u.id = (by).id
$$;

create function mitrad.operator_get(operator uuid) returns table (problem text, answer text, email text)
language sql stable as $$
	select case when u.id is null then 'NOT_FOUND' end, mitrad.operator_json(u)::text, u.email
	from (select) one
	left join public.control_center_users u on u.id = operator
$$;

create function mitrad.operator_create(email text, role text, password_hash text, by mitrad.actor)
returns mitrad.reply
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, true);
	u public.control_center_users;
begin
	if refusal is not null then
		return (refusal, null, null)::mitrad.reply;
	end if;
	insert into public.control_center_users as c (email, role, password_hash)
		values (lower(operator_create.email), operator_create.role, operator_create.password_hash)
	on conflict do nothing
	returning * into u;
	if not found then
		return ('EMAIL_IN_USE', null, null)::mitrad.reply;
	end if;
	perform mitrad.operator_acted(by, 'operator.create', 'operator', u.id::text, null, mitrad.operator_record(u));
	return (null, null, mitrad.operator_json(u)::text)::mitrad.reply;
end
$$;

-- patch: {role?, is_active?}, of the right types.  Somebody must be left who can undo it: the last active admin
-- stays one.  The sessions of one who is put out of service end with it.
create function mitrad.operator_update(operator uuid, patch jsonb, by mitrad.actor) returns mitrad.reply
language plpgsql as $$
declare
	refusal text;
	former public.control_center_users;
	u public.control_center_users;
begin
	-- Two admins who demote each other at once meet here; the later one finds what the first one left.
	perform from public.control_center_users c where c.role = 'admin' and c.is_active
	order by c.id for no key update;
	refusal := mitrad.operator_refusal(by, true);
	if refusal is not null then
		return (refusal, null, null)::mitrad.reply;
	end if;
	select * into former from public.control_center_users c where c.id = operator for no key update;
	if not found then
		return ('NOT_FOUND', null, null)::mitrad.reply;
	end if;

	u := former;
	u.role := coalesce(patch ->> 'role', u.role);
	u.is_active := coalesce((patch ->> 'is_active')::boolean, u.is_active);
	if former.role = 'admin' and former.is_active and not (u.role = 'admin' and u.is_active)
		and not exists (select from public.control_center_users c
			where c.role = 'admin' and c.is_active and c.id <> operator) then
		return ('LAST_ADMIN', null, null)::mitrad.reply;
	end if;

	if u is distinct from former then
		update public.control_center_users c set role = u.role, is_active = u.is_active where c.id = operator;
		perform mitrad.operator_acted(by, 'operator.update', 'operator', operator::text,
			mitrad.operator_record(former), mitrad.operator_record(u));
	end if;
	if not u.is_active then
		perform mitrad.operator_sessions_revoke(operator);
	end if;
	return (null, null, mitrad.operator_json(u)::text)::mitrad.reply;
end
$$;

-- Newest first.
create function mitrad.operator_list(after_cursor text, page_size integer, by mitrad.actor)
returns mitrad.reply
language plpgsql stable as $$
declare
	refusal text := mitrad.operator_refusal(by, true);
	after_at timestamptz;
	after_id uuid;
begin
	if refusal is not null then
		return (refusal, null, null)::mitrad.reply;
	end if;
	select c.at, c.id into after_at, after_id from mitrad.cursor_read(after_cursor) c;
	if after_at is null then
		return mitrad.invalid('cursor', 'is not a cursor of this list');
	end if;

	return mitrad.page_reply('users', array_agg(f.document), array_agg(f.cursor), page_size)
	from (
		select mitrad.operator_json(u) as document, mitrad.cursor_of(u.created_at, u.id) as cursor
		from public.control_center_users u
		where (u.created_at, u.id) < (after_at, after_id)
		order by u.created_at desc, u.id desc
		limit page_size + 1
	) f;
end
$$;
