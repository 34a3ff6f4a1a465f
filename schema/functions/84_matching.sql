-- matching: the sweeper's part of the search.

-- Offers waiting sessions to mitras, the oldest first and those who lost their mitra ahead of all.  A mitra gets
-- at most one offer in a call, and at most one a second: who comes online to a long queue must not drown in
-- it.  No rows: there was nothing to do.
--
-- A session whose wave is due, or that lacks somebody's room, is offered to everybody who may get something;
-- the others to newcomers alone.
create function mitrad.sessions_match() returns setof mitrad.outcome
language plpgsql as $$
declare
	wave_size integer := mitrad.config_integer('blast_wave_size');
	waiting public.chat_sessions[];
	c public.chat_sessions;
	marked uuid[];
	available uuid[]; -- may see a session
	pool uuid[];      -- may get an offer now
	newcomers uuid[];
	offered uuid[];
	reached uuid[] := '{}';
	events mitrad.event[] := '{}';
	everybody boolean;
	unseen integer;
begin
	waiting := array(
		select s from public.chat_sessions s
		where s.status = 'searching'
		order by s.search_round > 1 desc, coalesce(s.searching_since, s.created_at), s.id
		limit 500
		for no key update skip locked);
	marked := array(
		select k.mitra_id from public.matching_marks k
		where k.offers_at <= now()
		order by k.offers_at
		limit 1000
		for update skip locked);
	if cardinality(waiting) = 0 or not exists (
		select from unnest(waiting) s where s.starved or s.next_wave_at <= now()
		union all
		select from unnest(marked)
	) then
		update public.matching_marks k set offers_at = null where k.mitra_id = any (marked);
		return;
	end if;

	available := array(select a.id from mitrad.available_mitras() a);
	perform mitrad.mitra_events_lock(available);
	pool := array(
		select p.mitra_id from mitrad.offer_pool(available) p
		where p.has_room and not exists (select from public.chat_request_notifications n
			where n.mitra_id = p.mitra_id and n.created_at > now() - interval '1 second'));
	newcomers := array(select unnest(marked) intersect select unnest(available));

	foreach c in array waiting loop
		everybody := c.starved or c.next_wave_at <= now();
		continue when not everybody and cardinality(newcomers) = 0;
		offered := '{}';
		if cardinality(pool) > 0 then
			offered := mitrad.offers_make(c.id, case when everybody then pool
				else array(select unnest(pool) intersect select unnest(newcomers)) end, wave_size);
			pool := array(select unnest(pool) except select unnest(offered));
			reached := reached || offered;
			events := events || mitrad.offer_events(c, offered);
		end if;
		unseen := (select count(*) from unnest(case when everybody then available else newcomers end) a (id)
			where not exists (select from public.chat_request_notifications n
				where n.session_id = c.id and n.mitra_id = a.id and n.round = c.search_round));
		if everybody or unseen > 0 then
			perform mitrad.session_wait(c.id, cardinality(offered), unseen, wave_size);
		end if;
	end loop;

	update public.matching_marks k set offers_at = null where k.mitra_id = any (marked);
	return query select * from mitrad.outcome_of(null, '{}', events);
end
$$;
