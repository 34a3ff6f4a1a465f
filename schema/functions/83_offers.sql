-- offers: a session that searches is shown to mitras.
--
-- A new session is offered at once to everybody available, or to the first wave of them.  Whatever remains
-- is the matcher's: the next waves, those who have no room for another open offer yet, and those who come
-- online later.  It works through the waiting sessions in their order, so as long as one of them lacks
-- somebody's room (starved), a new one queues up behind it instead of taking that room away.

-- Who may be offered something: available, with the load, and whether there is room for one more open offer.
-- Candidates, if given, are those whom the mirror called available; of them the truth is asked all but the
-- age of the heartbeat, which the mirror knows better.
create function mitrad.offer_pool(candidates uuid[])
returns table (mitra_id uuid, sessions integer, has_room boolean)
language sql stable as $$
	with open_offers as (
		select n.mitra_id, count(*) as offers
		from public.chat_request_notifications n
		where n.status = 'sent'
		group by n.mitra_id
	), loads as (
		select c.mitra_id, count(*)::integer as sessions
		from public.chat_sessions c
		where mitrad.is_load(c.status) and c.mitra_id is not null
		group by c.mitra_id
	), available as (
		select a.id, a.sessions from mitrad.available_mitras() a where candidates is null
		union all
		select m.id, coalesce(l.sessions, 0)
		from unnest(candidates) k (id)
		join public.mitras m on m.id = k.id and m.is_active
		join public.mitra_online_status s on s.mitra_id = m.id and s.is_online
		left join loads l on l.mitra_id = m.id
		where coalesce(l.sessions, 0) < (select mitrad.config_integer('max_customers_per_mitra'))
	)
	select a.id, a.sessions, coalesce(o.offers, 0) < (select mitrad.config_integer('offers_per_mitra_max'))
	from available a
	left join open_offers o on o.mitra_id = a.id
$$;

-- The best first: by load, then by who has been without a session for longest.
create function mitrad.offer_ranking(pool uuid[]) returns uuid[]
language plpgsql stable as $$
begin
	return (
		select coalesce(array_agg(p.id order by l.sessions, l.idle_since nulls first, p.id), '{}')
		from unnest(pool) p (id)
		join public.mitra_online_status s on s.mitra_id = p.id
		cross join lateral (
			select (select count(*) from public.chat_sessions c
					where c.mitra_id = p.id and mitrad.is_load(c.status)) as sessions,
				greatest(s.online_since, (select c.ended_at from public.chat_sessions c
					where c.mitra_id = p.id order by c.created_at desc, c.id desc limit 1)) as idle_since
		) l
	);
end
$$;

-- Offers the session to those of the pool who have not seen it in this round: the first `most` of them; 0: all.
-- Returns whom.  The caller holds the session's lock and has looked, under mitra_events_lock(), that they have
-- room.
create function mitrad.offers_make(session uuid, pool uuid[], most integer) returns uuid[]
language plpgsql as $$
declare
	offered uuid[];
begin
	with unseen as (
		select p.id, c.search_round
		from public.chat_sessions c
		cross join unnest(pool) with ordinality p (id, place)
		where c.id = session
			and not exists (select from public.chat_request_notifications n
				where n.session_id = session and n.mitra_id = p.id and n.round = c.search_round)
		order by p.place
		limit nullif(most, 0)
	), made as (
		insert into public.chat_request_notifications as n (session_id, mitra_id, round, created_at)
			select session, u.id, u.search_round, clock_timestamp() from unseen u
		on conflict (session_id, mitra_id) do update set status = 'sent', round = excluded.round,
			created_at = excluded.created_at, responded_at = null, close_reason = null
		returning n.mitra_id
	)
	select coalesce(array_agg(m.mitra_id), '{}') into offered from made m;
	return offered;
end
$$;

create function mitrad.offer_events(c public.chat_sessions, mitras uuid[]) returns mitrad.event[]
language plpgsql stable as $$
begin
	return (
		with same as materialized ( -- once, not once for every mitra
			select jsonb_build_object('duration_minutes', c.duration_minutes,
				'expires_at', mitrad.iso(mitrad.session_closes_at(c))) as data
		)
		select coalesce(array_agg(('mitra', m.id, 'request_offered', c.id, same.data)::mitrad.event), '{}')
		from unnest(mitras) m (id)
		cross join same
	);
end
$$;

-- When the session is to be offered to more mitras: `offered` were reached just now, `left_over` are available
-- but have not seen it.
create function mitrad.session_wait(session uuid, offered integer, left_over integer, wave_size integer)
returns void
language plpgsql as $$
declare
	wave interval := mitrad.config_seconds('blast_wave_seconds');
	crowded boolean := left_over > 0 and (wave_size = 0 or offered < wave_size);
begin
	update public.chat_sessions c
	set starved = crowded, next_wave_at = clock_timestamp() + case when crowded then interval '1 second' else wave end
	where c.id = session;
end
$$;

-- The search begins.  The caller holds the session's lock, and emits.  candidates NULL: the truth is asked.
create function mitrad.session_search(session uuid, candidates uuid[]) returns mitrad.event[]
language plpgsql as $$
declare
	wave_size integer := mitrad.config_integer('blast_wave_size');
	c public.chat_sessions;
	pool uuid[];
	available integer;
	offered uuid[];
begin
	if exists (select from public.chat_sessions o where o.status = 'searching' and o.starved and o.id <> session) then
		update public.chat_sessions o set starved = true, next_wave_at = now() where o.id = session;
		return '{}';
	end if;
	if candidates is null then
		candidates := array(select a.id from mitrad.available_mitras() a);
	end if;
	perform mitrad.mitra_events_lock(candidates);
	select coalesce(array_agg(p.mitra_id) filter (where p.has_room), '{}'), count(*) into pool, available
	from mitrad.offer_pool(candidates) p;
	if wave_size > 0 then
		pool := mitrad.offer_ranking(pool);
	end if;
	offered := mitrad.offers_make(session, pool, wave_size);
	perform mitrad.session_wait(session, cardinality(offered), available - cardinality(offered), wave_size);
	select * into c from public.chat_sessions o where o.id = session;
	return mitrad.offer_events(c, offered);
end
$$;

-- Closes the other open offers of a session that has its mitra now.
create function mitrad.offers_close(session uuid, winner uuid, reason text) returns mitrad.event[]
language plpgsql as $$
declare
	events mitrad.event[];
begin
	with closed as (
		update public.chat_request_notifications n set status = 'closed', close_reason = reason
		where n.session_id = session and n.status = 'sent' and n.mitra_id <> winner
		returning n.mitra_id
	)
	select coalesce(array_agg(('mitra', c.mitra_id, 'request_closed', session,
		jsonb_build_object('reason', reason))::mitrad.event), '{}') into events
	from closed c;
	return events;
end
$$;

-- ---------------------------------------------------------------- what a mitra sees of them

create function mitrad.request_list(mitra uuid) returns mitrad.reply
language plpgsql stable as $$
declare
	reply mitrad.reply;
begin
	select json_build_object('requests', coalesce(json_agg(r order by r.offered_at), '[]')) into reply.answer
	from (
		select c.id as session_id, c.customer_id, u.display_name as customer_name, c.duration_minutes,
			mitrad.iso(n.created_at) as offered_at, mitrad.iso(mitrad.session_closes_at(c)) as expires_at
		from public.chat_request_notifications n
		join public.chat_sessions c on c.id = n.session_id
		join public.customers u on u.id = c.customer_id
		where n.mitra_id = mitra and n.status = 'sent' and c.status = 'searching'
	) r;
	return reply;
end
$$;

-- Those who have let no_answer_limit requests in a row lapse, the last of them in one of these sessions, and
-- are offline now.  Being full, or offline for a part of that time, is no lack of answers.  Who is locked is
-- doing something just now, and as this waits for nobody (but see config_hold()), it can follow other locks of mitras.
create function mitrad.mitras_not_answering(lapsed_in uuid[]) returns uuid[]
language plpgsql as $$
declare
	allowed integer := mitrad.config_integer('no_answer_limit');
	silent uuid[];
begin
	if allowed = 0 or cardinality(lapsed_in) = 0 then
		return '{}';
	end if;
	silent := array(
		select m.id
		from public.mitras m
		join public.mitra_online_status s on s.mitra_id = m.id and s.is_online
		where m.id in (select n.mitra_id from public.chat_request_notifications n
				where n.session_id = any (lapsed_in) and n.close_reason = 'expired')
			and (select count(*) = allowed and bool_and(l.close_reason is not distinct from 'expired')
				from (
					select n.close_reason from public.chat_request_notifications n
					where n.mitra_id = m.id
						and (n.status in ('accepted', 'declined') or n.close_reason = 'expired')
						and n.created_at >= s.online_since
					order by n.created_at desc
					limit allowed
				) l)
			and (select count(*) from public.chat_sessions c where c.mitra_id = m.id and mitrad.is_load(c.status))
				< (select mitrad.config_integer('max_customers_per_mitra'))
		order by m.id
		for no key update of m, s skip locked);
	update public.mitra_online_status s set is_online = false where s.mitra_id = any (silent);
	insert into public.mitra_online_logs (mitra_id, status, reason)
		select id, 'offline', 'no_answer' from unnest(silent) id;
	return silent;
end
$$;

create function mitrad.status_events(mitras uuid[], reason text) returns mitrad.event[]
language sql stable as $$
	select coalesce(array_agg(('mitra', m.id, 'status_changed', null,
		jsonb_build_object('online', false, 'reason', reason))::mitrad.event), '{}')
	from unnest(mitras) m (id)
$$;
