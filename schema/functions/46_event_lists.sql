-- event_lists: a user fetches the events that he has not seen.

-- {"events":[…],"next_after":…,"missed":…}, oldest first.  next_after is what to ask for next.  `missed`: events
-- behind `after` have been forgotten by now, or the numbers are not those that the caller knows (a database
-- restored from a backup); he does best to read his sessions again.
create function mitrad.events_list(of_type text, of_user uuid, after bigint, page_size integer,
	out problem text, out errors text, out answer text, out found integer, out missed boolean)
language sql stable as $$
	with page as (
		select e.seq, mitrad.event_json(e) as event
		from public.user_events e
		where e.user_type = of_type and e.user_id = of_user and e.seq > after
		order by e.seq
		limit page_size
	), counter as (
		select coalesce((select c.last_seq from public.user_event_counters c
			where c.user_type = of_type and c.user_id = of_user), 0) as last_seq
	)
	select null::text, null::text,
		json_build_object(
			'events', coalesce(json_agg(p.event order by p.seq) filter (where p.seq is not null), '[]'),
			'next_after', coalesce(max(p.seq), k.last_seq),
			'missed', coalesce(min(p.seq) <> after + 1, k.last_seq <> after))::text,
		count(p.seq)::integer,
		coalesce(min(p.seq) <> after + 1, k.last_seq <> after)
	from counter k
	left join page p on true
	group by k.last_seq
$$;

-- Many users at once: the places in the arrays (from 1) of those whose number has gone on from what they know.
create function mitrad.events_news(types text[], ids uuid[], afters bigint[]) returns table (place bigint)
language sql stable as $$
	select w.n
	from unnest(types, ids, afters) with ordinality w (user_type, user_id, after, n)
	left join public.user_event_counters c on c.user_type = w.user_type and c.user_id = w.user_id
	where coalesce(c.last_seq, 0) <> w.after
$$;
