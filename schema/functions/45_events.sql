-- events: what happened, told to everybody concerned, and how a transition returns it.
--
-- An event is stored in the transaction that it tells of and published by the worker afterwards; who missed
-- that fetches it.  A user's events are numbered without a gap, in the order in which they become visible:
-- the number comes from the user's counter, whose lock lasts until the commit.
--
-- So a transition collects all of its events and emits them once, at its end; two emissions could lock the
-- counters in two orders.

create type mitrad.event as (user_type text, user_id uuid, type text, session_id uuid, data jsonb);

create function mitrad.event_json(e public.user_events) returns json
language sql stable as $$
	select json_build_object('id', e.id, 'seq', e.seq, 'type', e.type, 'session_id', e.session_id,
		'at', mitrad.iso(e.at), 'data', e.data)
$$;

create function mitrad.events_emit(events mitrad.event[])
returns table (event_user_type text, event_user_id uuid, event text)
language plpgsql as $$
begin
	return query
	with wanted as (
		select e.user_type, e.user_id, e.type, e.session_id, e.data,
			row_number() over (partition by e.user_type, e.user_id order by e.n) as nth,
			count(*) over (partition by e.user_type, e.user_id) as total
		from unnest(events) with ordinality e (user_type, user_id, type, session_id, data, n)
		where e.user_id is not null
	), counted as (
		insert into public.user_event_counters as c (user_type, user_id, last_seq)
			select w.user_type, w.user_id, w.total from wanted w
			where w.nth = 1
			order by w.user_type desc, w.user_id
		on conflict (user_type, user_id) do update set last_seq = c.last_seq + excluded.last_seq
		returning c.user_type, c.user_id, c.last_seq
	), stored as (
		insert into public.user_events as e (user_type, user_id, seq, type, session_id, data)
			select w.user_type, w.user_id, c.last_seq - w.total + w.nth, w.type, w.session_id,
				coalesce(w.data, '{}')
			from wanted w
			join counted c on c.user_type = w.user_type and c.user_id = w.user_id
		returning e.*
	)
	select s.user_type, s.user_id, mitrad.event_json(s::public.user_events)::text from stored s;
end
$$;

-- Until the commit, nobody else can emit an event to these mitras.  As every offer comes with one, this is
-- also the lock under which a mitra's open offers are counted.
--
-- By id, those who have no counter yet among the others: two emissions must meet them in one order.  The update changes
-- nothing, but it locks.  That is several times as dear as a mere lock, so it is done only for them.
create function mitrad.mitra_events_lock(mitras uuid[]) returns void
language plpgsql as $$
begin
	if exists (
		select from public.mitras m
		where m.id = any (mitras) and not exists (select from public.user_event_counters c
			where c.user_type = 'mitra' and c.user_id = m.id)) then
		insert into public.user_event_counters as c (user_type, user_id)
			select 'mitra', m.id from public.mitras m where m.id = any (mitras) order by m.id
		on conflict (user_type, user_id) do update set last_seq = c.last_seq where false;
		return;
	end if;
	perform from public.user_event_counters c
	where c.user_type = 'mitra' and c.user_id = any (mitras)
	order by c.user_id
	for update;
end
$$;

-- Forgets what is older than event_retention_days, at most 10,000 events a call; how many those were.
create function mitrad.events_prune(out pruned integer)
language plpgsql as $$
begin
	delete from public.user_events e using (
		select o.user_type, o.user_id, o.seq
		from public.user_events o
		where o.at < now() - make_interval(days => mitrad.config_integer('event_retention_days'))
		order by o.at
		limit 10000
	) o
	where e.user_type = o.user_type and e.user_id = o.user_id and e.seq = o.seq;
	get diagnostics pruned = row_count;
end
$$;

-- What a transition with events returns: a row with the problem or the answer, then one for every mirror
-- state and one for every event.
create type mitrad.outcome as (
	problem text, errors text, answer text,
	mitra_id uuid, version bigint, online boolean, active boolean, sessions integer,
	heartbeat text, online_since text,
	event_user_type text, event_user_id uuid, event text
);

create function mitrad.outcome_refused(code text, errors text default null) returns mitrad.outcome
language plpgsql immutable as $$
declare
	refusal mitrad.outcome;
begin
	refusal.problem := code;
	refusal.errors := errors;
	return refusal;
end
$$;

-- One plan for arrays of any length: the planner would make a new one for each, taking the short ones for a bargain.
create function mitrad.outcome_of(answer text, changed uuid[], events mitrad.event[])
returns setof mitrad.outcome
language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
	return query select null::text, null::text, answer,
		null::uuid, null::bigint, null::boolean, null::boolean, null::integer, null::text, null::text,
		null::text, null::uuid, null::text
	union all
	select null, null, null, s.*, null, null, null from mitrad.mirror_states(changed) s
	union all
	select null, null, null, null, null, null, null, null, null, null, e.*
	from mitrad.events_emit(events) e;
end
$$;
