-- availability: who can take a chat now, by the truth.
--
-- These answer when Valkey cannot, and they are what its answers are held against.  Everybody who asks
-- "available?" in SQL, be it the beacon, a blast, the dashboard or an accept, builds on the first two
-- definitions.

-- Reachable: online, not deactivated, last heard of at most stale_after_seconds ago.
create view mitrad.reachable_mitras as
	select m.id, s.last_heartbeat_at
	from public.mitra_online_status s
	join public.mitras m on m.id = s.mitra_id
	where s.is_online
		and m.is_active
		and s.last_heartbeat_at >= now() - (select mitrad.config_seconds('stale_after_seconds'));

-- Available: reachable, and with room for one more session.
create function mitrad.available_mitras() returns table (id uuid, sessions integer, heartbeat text)
language sql stable as $$
	select r.id, coalesce(l.sessions, 0), mitrad.iso(r.last_heartbeat_at)
	from mitrad.reachable_mitras r
	left join (
		select c.mitra_id, count(*)::integer as sessions
		from public.chat_sessions c
		where mitrad.is_load(c.status) and c.mitra_id is not null
		group by c.mitra_id
	) l on l.mitra_id = r.id
	where coalesce(l.sessions, 0) < (select mitrad.config_integer('max_customers_per_mitra'))
$$;

-- The least busy first.
create function mitrad.availability() returns table (id uuid, sessions integer, heartbeat text)
language sql stable as $$
	select a.id, a.sessions, a.heartbeat from mitrad.available_mitras() a order by a.sessions, a.id
$$;

-- For the beacon.
create function mitrad.availability_count(out count integer)
language sql stable as $$
	select count(*)::integer from mitrad.available_mitras()
$$;

-- Can this mitra be asked something?  Load does not count: a full mitra can be asked for an extension.
-- NULL if there is no such mitra.
create function mitrad.mitra_reachable(mitra uuid, out reachable boolean)
language sql stable as $$
	select exists (select from mitrad.reachable_mitras r where r.id = m.id)
	from public.mitras m
	where m.id = mitra
$$;
