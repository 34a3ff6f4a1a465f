-- mirror: what Valkey shall know of a mitra, and what it tells back.
--
-- A mirror state is read in one statement: version, flags and load then belong together, as each of them
-- changes in the same transaction as the version does.  A transition reads it after its last change, under
-- the mitra's lock.

create view mitrad.mirror_state as
	select m.id as mitra_id, m.version, coalesce(s.is_online, false) as online, m.is_active as active,
		(select count(*)::integer from public.chat_sessions c
			where c.mitra_id = m.id and mitrad.is_load(c.status)) as sessions,
		mitrad.iso(s.last_heartbeat_at) as heartbeat,
		mitrad.iso(s.online_since) as online_since
	from public.mitras m
	left join public.mitra_online_status s on s.mitra_id = m.id;

-- All mitras, page by page: `after` is the last id of the page before, NULL at the start.
-- (>= is what the index can start from; the second condition takes `after` itself out.  "offset 0" looks each mitra of the page up
-- by his id: joined as a whole, each page would read the other tables from their beginning.)
create function mitrad.mirror_page(after uuid, page_size integer) returns setof mitrad.mirror_state
language sql stable as $$
	select s.*
	from (
		select m.id from public.mitras m
		where m.id >= coalesce(after, '00000000-0000-0000-0000-000000000000') and m.id is distinct from after
		order by m.id
		limit page_size
	) page
	cross join lateral (select * from mitrad.mirror_state s where s.mitra_id = page.id offset 0) s
	order by s.mitra_id
$$;

-- Those of the ids that are mitras.
create function mitrad.mirror_states(ids uuid[]) returns setof mitrad.mirror_state
language sql stable as $$
	select * from mitrad.mirror_state s where s.mitra_id = any (ids) order by s.mitra_id
$$;

-- The heartbeats that came in through Valkey.  Never moves one back, and believes nobody who comes from the
-- future: one corrupt stamp there would keep a mitra fresh for ever.  Returns how many moved on.
create function mitrad.heartbeats_store(ids uuid[], at timestamptz[], out stored integer)
language plpgsql as $$
begin
	insert into public.mitra_online_status as s (mitra_id, last_heartbeat_at)
		select m.id, least(max(h.at), now())
		from unnest(ids, at) h (id, at)
		join public.mitras m on m.id = h.id
		where h.at is not null
		group by m.id
		order by m.id
	on conflict (mitra_id) do update set last_heartbeat_at = excluded.last_heartbeat_at
		where s.last_heartbeat_at is null or s.last_heartbeat_at < excluded.last_heartbeat_at;
	get diagnostics stored = row_count;
end
$$;
