-- matching: the sweeper's part of the search.

-- Offers waiting sessions to mitras, the oldest first and those who lost their mitra ahead of all.  A mitra gets
-- at most one offer in a call, and at most one a second: who comes online to a long queue must not drown in
-- it.  No rows: there was nothing to do.
--
-- A session whose wave is due, or that lacks somebody's room, is offered to everybody who may get something;
-- the others to newcomers alone.  Where many wait, none takes everybody for itself: that would match one session
-- a second.  Each gets its share, of 5 mitras at least, while there are any left.  What remains, because nobody
-- is left or this has taken long enough, comes a second later.
--
-- Sessions are locked first, also those that are only put off: their holders wait for the mitras' counters.
create function mitrad.sessions_match() returns setof mitrad.outcome
language plpgsql as $$
declare
	wave_size integer;
	share integer;
	waiting public.chat_sessions[];
	others uuid[];    -- behind them, and not considered in this call
	c public.chat_sessions;
	marks public.matching_marks[];
	marked uuid[];    -- whose mark is ours
	available uuid[]; -- may see a session
	pool uuid[];      -- may get an offer now
	newcomers uuid[];
	audience uuid[];
	offered uuid[];
	considered uuid[] := '{}';
	events mitrad.event[] := '{}';
	everybody boolean;
	unseen integer;
begin
	perform mitrad.config_hold();
	wave_size := mitrad.config_integer('blast_wave_size');
	waiting := array(
		select s from public.chat_sessions s
		where s.status = 'searching'
		order by s.search_round > 1 desc, coalesce(s.searching_since, s.created_at), s.id
		limit 50
		for no key update skip locked);
	marks := array(
		select k from public.matching_marks k
		where k.offers_at <= now()
		order by k.offers_at
		limit 1000);
	available := array(
		select a.id from mitrad.available_mitras() a
		where exists (select from public.chat_sessions s where s.status = 'searching'));
	newcomers := array(select m.mitra_id from unnest(marks) m intersect select unnest(available));
	others := array(
		select s.id from public.chat_sessions s
		where s.status = 'searching' and (s.next_wave_at <= now() or cardinality(newcomers) > 0)
			and s.id not in (select w.id from unnest(waiting) w)
		for no key update skip locked);

	-- One that is another by now is left to the next call: its mitra has come since `available` was read.
	marked := array(
		select k.mitra_id from public.matching_marks k
		join unnest(marks) m on m.mitra_id = k.mitra_id and m.offers_at = k.offers_at
		order by k.mitra_id
		for update of k skip locked);
	newcomers := array(select unnest(newcomers) intersect select unnest(marked));
	if cardinality(newcomers) = 0 then
		others := array(select s.id from public.chat_sessions s where s.id = any (others) and s.next_wave_at <= now());
	end if;
	-- A session that somebody holds just now is offered to them a little later.
	update public.matching_marks k
	set offers_at = case when k.mitra_id = any (newcomers) and exists (select from public.chat_sessions s
		where s.status = 'searching'
			and s.id not in (select unnest(others) union all select w.id from unnest(waiting) w))
		then now() + interval '200 ms' end
	where k.mitra_id = any (marked);
	if cardinality(others) = 0 and not exists (
		select from unnest(waiting) w where cardinality(marked) > 0 or w.next_wave_at <= now()) then
		return;
	end if;

	perform mitrad.mitra_events_lock(available);
	pool := array(
		select p.mitra_id from mitrad.offer_pool(available) p
		where p.has_room and not exists (select from public.chat_request_notifications n
			where n.mitra_id = p.mitra_id and n.created_at > now() - interval '1 second'));
	share := case when cardinality(waiting) > 1
		then greatest(5, ceil(cardinality(pool)::numeric / cardinality(waiting))) else 0 end;
	if wave_size > 0 or share > 0 then
		pool := mitrad.offer_ranking(pool);
	end if;

	foreach c in array waiting loop
		exit when cardinality(pool) = 0 or clock_timestamp() > now() + interval '1 second';
		considered := considered || c.id;
		everybody := c.starved or c.next_wave_at <= now();
		continue when not everybody and cardinality(newcomers) = 0;
		offered := mitrad.offers_make(c.id, case when everybody then pool
			else array(select p from unnest(pool) p where p = any (newcomers)) end,
			coalesce(least(nullif(wave_size, 0), nullif(share, 0)), 0));
		pool := array(select p from unnest(pool) p where p <> all (offered));
		events := events || mitrad.offer_events(c, offered);
		audience := case when everybody then available else newcomers end;
		unseen := cardinality(audience) - (select count(*) from public.chat_request_notifications n
			where n.session_id = c.id and n.round = c.search_round and n.mitra_id = any (audience));
		if everybody or unseen > 0 then
			perform mitrad.session_wait(c.id, cardinality(offered), unseen, wave_size);
		end if;
	end loop;

	perform mitrad.sessions_postpone(
		others || array(
			select w.id from unnest(waiting) w
			where (w.next_wave_at <= now() or cardinality(newcomers) > 0) and w.id <> all (considered)),
		cardinality(available));
	return query select * from mitrad.outcome_of(null, '{}', events);
end
$$;

-- Sessions that were not considered: those whose wave is due, and if somebody came who has not seen them, all.  While nobody
-- is available at all, there is nothing to look for every second; who comes leaves a mark.  A session that as many have seen
-- as are available lacks nobody's room, and keeps no new one from being offered at once.  The caller holds their locks.
create function mitrad.sessions_postpone(ids uuid[], available integer) returns void
language sql as $$
	update public.chat_sessions c
	set starved = available > (select count(*) from public.chat_request_notifications n
			where n.session_id = c.id and n.round = c.search_round),
		next_wave_at = now() + case when available > 0 then interval '1 second'
			else mitrad.config_seconds('blast_wave_seconds') end
	where c.id = any (ids)
$$;
