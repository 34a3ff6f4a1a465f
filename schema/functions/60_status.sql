-- status: a mitra goes online and offline, beats, and is swept offline if he does not.
--
-- Both toggles lock the mitra's row first, so they, a deactivation and a sweep come one after the other,
-- and each sees what the one before it has left.  Repeating a toggle changes nothing and logs nothing.

-- The later of two stamps in the form of iso(), which sorts as text; what is not in that form, as a corrupt
-- mirror may have it, does not count.
create function mitrad.later_iso(truth text, mirror text) returns text
language sql immutable as $$
	select greatest(truth collate "C",
		case when mirror ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$' then mirror end)
$$;

-- What a mitra is told of himself (docs/api.md, status).
create type mitrad.status as (
	online boolean, online_since text, last_heartbeat_at text,
	active_sessions integer, max_sessions integer, heartbeat_interval_seconds integer
);

-- A mitra's status, with the mirror state that it was made from.
create function mitrad.status_reply(mitra uuid, mirror_heartbeat text default null) returns mitrad.transition
language plpgsql stable as $$
declare
	s record;
	status mitrad.status;
begin
	select * into s from mitrad.mirror_state m, mitrad.status_config where m.mitra_id = mitra;
	status := (s.online, s.online_since, mitrad.later_iso(s.heartbeat, mirror_heartbeat), s.sessions,
		s.max_sessions, s.heartbeat_interval_seconds);
	return (null, null, row_to_json(status)::text, s.mitra_id, s.version, s.online, s.active, s.sessions,
		status.last_heartbeat_at, s.online_since)::mitrad.transition;
end
$$;

-- Locks the mitra.  NULL, or why he may not change his status: `session` is the token's auth session, and one that was revoked
-- may change nothing any more.
create function mitrad.status_refusal(mitra uuid, session uuid) returns text
language plpgsql as $$
declare
	is_active boolean;
begin
	select m.is_active into is_active from public.mitras m where m.id = mitra for no key update;
	if not found then
		return 'UNAUTHENTICATED';
	end if;
	-- First, as it says more: a deactivation has revoked the session too.
	if not is_active then
		return 'ACCOUNT_INACTIVE';
	end if;
	return case when mitrad.session_is_revoked(session) then 'UNAUTHENTICATED' end;
end
$$;

create function mitrad.mitra_go_online(mitra uuid, session uuid) returns mitrad.transition
language plpgsql as $$
declare
	refusal text := mitrad.status_refusal(mitra, session);
begin
	if refusal is not null then
		return mitrad.refused(refusal);
	end if;

	insert into public.mitra_online_status as s (mitra_id, is_online, online_since, last_heartbeat_at)
		values (mitra, true, now(), now())
	on conflict (mitra_id) do update set is_online = true, online_since = now(), last_heartbeat_at = now()
		where not s.is_online;
	if found then
		insert into public.mitra_online_logs (mitra_id, status, reason)
			values (mitra, 'online', 'manual');
	end if;
	return mitrad.status_reply(mitra);
end
$$;

-- The part that a deactivation shares.  The caller holds the mitra's lock.
create function mitrad.take_offline(mitra uuid, reason text) returns void
language plpgsql as $$
begin
	update public.mitra_online_status s set is_online = false where s.mitra_id = mitra and s.is_online;
	if found then
		insert into public.mitra_online_logs (mitra_id, status, reason)
			values (mitra, 'offline', reason);
	end if;
end
$$;

create function mitrad.mitra_go_offline(mitra uuid, session uuid default null) returns mitrad.transition
language plpgsql as $$
declare
	refusal text := mitrad.status_refusal(mitra, session);
begin
	if refusal is not null then
		return mitrad.refused(refusal);
	end if;
	perform mitrad.take_offline(mitra, 'manual');
	return mitrad.status_reply(mitra);
end
$$;

-- Takes those offline who were not heard of since the cutoff.  Asked again here, under the lock: who came
-- online or beat in the meantime stays.  A row that someone else holds is being changed right now, so it
-- can wait for the next sweep; and by id, as everywhere, for "skip locked" may have to wait (config_hold()).  A row for
-- each of them: his mirror state and what he is told.
create function mitrad.auto_offline(ids uuid[], cutoff timestamptz) returns setof mitrad.outcome
language plpgsql as $$
declare
	silent uuid[];
begin
	silent := array(
		select m.id
		from public.mitras m
		join public.mitra_online_status s on s.mitra_id = m.id
		where m.id = any (ids)
			and s.is_online
			and coalesce(s.online_since, '-infinity') < cutoff
			and coalesce(s.last_heartbeat_at, '-infinity') < cutoff
		order by m.id
		for no key update of m, s skip locked);

	update public.mitra_online_status s set is_online = false where s.mitra_id = any (silent);
	insert into public.mitra_online_logs (mitra_id, status, reason)
		select id, 'offline', 'auto_offline' from unnest(silent) id;
	return query select null::text, null::text, null::text, s.*, e.*
	from mitrad.mirror_states(silent) s
	join mitrad.events_emit(mitrad.status_events(silent, 'auto_offline')) e on e.event_user_id = s.mitra_id;
end
$$;

-- `heartbeat` is what the mirror has, NULL if nothing: it is up to a minute ahead of the truth.
create function mitrad.mitra_status(mitra uuid, heartbeat text) returns mitrad.transition
language plpgsql stable as $$
begin
	if not exists (select from public.mitras m where m.id = mitra) then
		return mitrad.refused('UNAUTHENTICATED');
	end if;
	return mitrad.status_reply(mitra, heartbeat);
end
$$;

-- The heartbeats of a moment in which Valkey is down, many at once.  One row for every id that was asked
-- for, in no order. Rows are locked by id, as heartbeats_store() does, so that batches of many workers
-- cannot wait for each other in a ring.
create function mitrad.mitra_beat(mitras uuid[]) returns table (
	mitra_id uuid, known boolean, version bigint, online boolean, active boolean, sessions integer,
	heartbeat text)
language sql as $$
	with asked as (
		select distinct id from unnest(mitras) id where id is not null
	), locked as (
		select s.mitra_id
		from public.mitra_online_status s
		join public.mitras m on m.id = s.mitra_id
		where s.mitra_id = any (mitras) and s.is_online and m.is_active
		order by s.mitra_id
		for no key update of s
	), beaten as (
		update public.mitra_online_status s
		set last_heartbeat_at = greatest(s.last_heartbeat_at, now())
		from locked l
		where s.mitra_id = l.mitra_id
		returning s.mitra_id, s.last_heartbeat_at
	)
	select a.id, m.mitra_id is not null, m.version, coalesce(m.online, false), coalesce(m.active, false),
		coalesce(m.sessions, 0), coalesce(mitrad.iso(b.last_heartbeat_at), m.heartbeat)
	from asked a
	left join mitrad.mirror_state m on m.mitra_id = a.id
	left join beaten b on b.mitra_id = a.id
$$;
