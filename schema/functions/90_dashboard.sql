-- dashboard: the numbers of the moment.
--
-- Each comes from an index that holds little more than what is counted: open sessions, sessions of today, matches of
-- the last hour, mitras online.  A day is one of UTC.

-- Counted in the index chat_sessions_open alone.
create function mitrad.session_counts() returns table (
	active_sessions integer, searching_sessions integer, pending_payment_sessions integer, longest_wait_seconds integer)
language sql stable as $$
	select (count(*) filter (where c.status = 'active'))::integer,
		(count(*) filter (where c.status = 'searching'))::integer,
		(count(*) filter (where c.status = 'pending_payment'))::integer,
		greatest(0, extract(epoch from now() - min(coalesce(c.searching_since, c.created_at))
			filter (where c.status = 'searching')))::integer
	from public.chat_sessions c
	where c.status in ('pending_payment', 'searching', 'active')
$$;

create function mitrad.sessions_closed_today() returns table (ended integer, cancelled integer, unmatched integer)
language sql stable as $$
	select (count(*) filter (where c.status = 'ended'))::integer,
		(count(*) filter (where c.status = 'cancelled'))::integer,
		(count(*) filter (where c.status = 'unmatched'))::integer
	from public.chat_sessions c
	where c.ended_at >= date_trunc('day', now(), 'UTC')
$$;

-- How many of the mitras online have so many sessions.
create function mitrad.load_distribution() returns table (sessions integer, mitras integer)
language sql stable as $$
	select coalesce(l.sessions, 0), count(*)::integer
	from public.mitra_online_status s
	left join (
		select c.mitra_id, count(*)::integer as sessions
		from public.chat_sessions c
		where mitrad.is_load(c.status) and c.mitra_id is not null
		group by c.mitra_id
	) l on l.mitra_id = s.mitra_id
	where s.is_online
	group by 1
	order by 1
$$;

-- The first three are what the mirror says, NULL if it could not be asked.
create function mitrad.dashboard(online integer, available integer, deactivated integer, out answer text)
language sql stable as $$
	select json_build_object(
		'source', case when online is null then 'postgres' else 'valkey' end,
		'as_of', mitrad.iso(now()),
		'online_mitras', coalesce(online,
			(select count(*)::integer from public.mitra_online_status s where s.is_online)),
		'available_mitras', coalesce(available, (mitrad.availability_count())),
		'deactivated_mitras', coalesce(deactivated,
			(select count(*)::integer from public.mitras m where not m.is_active)),
		'active_sessions', n.active_sessions,
		'searching_sessions', n.searching_sessions,
		'pending_payment_sessions', n.pending_payment_sessions,
		'longest_wait_seconds', n.longest_wait_seconds,
		'unmatched_today', d.unmatched,
		'sessions', json_build_object(
			'pending_payment', n.pending_payment_sessions, 'searching', n.searching_sessions,
			'active', n.active_sessions, 'ended_today', d.ended, 'cancelled_today', d.cancelled,
			'unmatched_today', d.unmatched),
		'matching_seconds', (
			select json_build_object('count', count(*),
				'median', round(percentile_cont(0.5) within group (order by t.seconds)::numeric, 1),
				'p90', round(percentile_cont(0.9) within group (order by t.seconds)::numeric, 1))
			from mitrad.matching_times() t),
		'load', (select coalesce(json_agg(l), '[]') from mitrad.load_distribution() l))::text
	from mitrad.session_counts() n
	cross join mitrad.sessions_closed_today() d
$$;
