-- auth_sessions: one row for each device that somebody is signed in on, and the refresh token that it holds now.
--
-- A refresh token works once and is exchanged for its successor.  One that was used and comes again has been copied, by
-- whom nobody can tell: the whole session is revoked.  But an answer can get lost, and a client can ask twice at once.  So
-- for 10 s the exchange may be repeated, and repeating it makes no second line of tokens: the successor is derived from
-- the token itself and a random salt (server/sign_in/refresh_token.h), the salt is kept in the row, and whoever asks again
-- with the same token is told the salt, so gets the same successor.  The row alone gives no token away: it has
-- only hashes, and the salt is worth nothing without the token.
--
-- Locks: here the session; a deactivation locks the mitra and then revokes, so it waits for a refresh and revokes
-- what that left; or it comes first, and the refresh sees it.

-- What a sign-in answers with, besides `problem`: whose access token to make, and `document`, the answer's "user".
create type mitrad.sign_in as (
	problem text, errors text, retry_after integer, members text,
	session_id uuid, user_type text, user_id uuid, role text, document text, successor_salt text
);

create function mitrad.sign_in_refused(code text, retry_after integer default null, members json default null)
returns mitrad.sign_in
language sql immutable as $$
	select code, null::text, retry_after, members::text,
		null::uuid, null::text, null::uuid, null::text, null::text, null::text
$$;

-- Who that is: is the account active, an operator's role, and "user" of the answers. No row: there is nobody.
create function mitrad.auth_user(user_type text, user_id uuid)
returns table (active boolean, role text, document text)
language sql stable as $$
	select m.is_active, null::text, json_build_object('id', m.id, 'user_type', 'mitra', 'display_name', m.display_name)::text
	from public.mitras m where user_type = 'mitra' and m.id = user_id
	union all
	select true, null, json_build_object('id', c.id, 'user_type', 'customer', 'display_name', c.display_name)::text
	from public.customers c where user_type = 'customer' and c.id = user_id
	union all
	select o.is_active, o.role, json_build_object('id', o.id, 'user_type', 'operator', 'display_name', o.email,
		'email', o.email, 'role', o.role)::text
	from public.control_center_users o where user_type = 'operator' and o.id = user_id
$$;

-- May that access token's session no longer change anything?  One that this database does not know is fine: the
-- token's signature is good.
create function mitrad.session_is_revoked(session uuid) returns boolean
language plpgsql stable as $$
begin
	return exists (select from public.auth_sessions a where a.id = session and a.revoked_at is not null);
end
$$;

-- The caller has locked the user's row, or made it in this transaction; so no deactivation can miss the new session.
-- Whoever comes also forgets some of those long expired, so that the table needs no sweeping.
create function mitrad.auth_session_start(user_type text, user_id uuid, refresh_hash text, ttl_days integer)
returns mitrad.sign_in
language plpgsql as $$
declare
	session uuid;
	who record;
begin
	delete from public.auth_sessions where id in (
		select a.id from public.auth_sessions a where a.expires_at < now() - interval '7 days'
		order by a.expires_at limit 10 for update skip locked);

	select u.role, u.document into who
	from mitrad.auth_user(auth_session_start.user_type, auth_session_start.user_id) u;
	insert into public.auth_sessions as a (user_type, user_id, refresh_token_hash, expires_at)
		values (auth_session_start.user_type, auth_session_start.user_id, refresh_hash,
			now() + make_interval(days => ttl_days))
	returning a.id into session;
	return (null, null, null, null, session, user_type, user_id, who.role, who.document, null)::mitrad.sign_in;
end
$$;

-- doors: whose tokens are taken here.  successor_hash and successor_salt are used if this is the first exchange; the
-- salt in the answer says which successor it was.
create function mitrad.auth_session_refresh(
	token_hash text, successor_hash text, successor_salt text, ttl_days integer, doors text[])
returns mitrad.sign_in
language plpgsql as $$
declare
	session public.auth_sessions;
	who record;
begin
	select a.* into session from public.auth_sessions a where a.refresh_token_hash = token_hash for update;
	if not found then
		-- Used before, be it by a request that we have just waited for.
		select a.* into session from public.auth_sessions a
		where a.id = (select u.session_id from public.auth_refresh_tokens_used u
			where u.token_hash = auth_session_refresh.token_hash)
		for update;
	end if;
	if session.id is null or session.user_type <> all (doors) then
		return mitrad.sign_in_refused('REFRESH_INVALID');
	end if;

	select u.active, u.role, u.document into who from mitrad.auth_user(session.user_type, session.user_id) u;
	-- First, as it says more: a deactivation has revoked the session too.
	if not who.active then
		return mitrad.sign_in_refused('ACCOUNT_INACTIVE');
	end if;
	if who.active is null or session.revoked_at is not null or session.expires_at <= now() then
		return mitrad.sign_in_refused('REFRESH_INVALID');
	end if;

	if session.refresh_token_hash = token_hash then
		insert into public.auth_refresh_tokens_used (token_hash, session_id) values (token_hash, session.id);
		-- Whoever comes with one of these had his time: it would have expired, unused as well.
		delete from public.auth_refresh_tokens_used u
		where u.session_id = session.id and u.used_at < now() - make_interval(days => ttl_days);
		update public.auth_sessions a set
			refresh_token_hash = successor_hash,
			previous_token_hash = token_hash,
			rotated_at = now(),
			successor_salt = auth_session_refresh.successor_salt,
			expires_at = now() + make_interval(days => ttl_days)
		where a.id = session.id;
	elsif session.previous_token_hash = token_hash and session.rotated_at > now() - interval '10 seconds' then
		successor_salt := session.successor_salt;
	else
		update public.auth_sessions a set revoked_at = now() where a.id = session.id;
		return mitrad.sign_in_refused('REFRESH_REUSED');
	end if;
	return (null, null, null, null, session.id, session.user_type, session.user_id, who.role, who.document,
		successor_salt)::mitrad.sign_in;
end
$$;

-- Ends the session of a token, current or used.  Nobody is told whether there was one.
create function mitrad.auth_session_revoke(token_hash text, doors text[]) returns void
language plpgsql as $$
begin
	update public.auth_sessions a set revoked_at = now()
	where a.refresh_token_hash = token_hash and a.revoked_at is null and a.user_type = any (doors);
	-- A second statement, so that it sees an exchange that the first has waited for.
	update public.auth_sessions a set revoked_at = now()
	where a.id = (select u.session_id from public.auth_refresh_tokens_used u
			where u.token_hash = auth_session_revoke.token_hash)
		and a.revoked_at is null and a.user_type = any (doors);
end
$$;
