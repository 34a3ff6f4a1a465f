-- matching_times: how long searches took lately, and what that means for those who wait now.

-- Of the last hour, and of no more than the last thousand, so that asking stays cheap on a busy day.
create function mitrad.matching_times() returns table (seconds double precision)
language sql stable as $$
	select extract(epoch from m.matched_at - coalesce(m.searching_since, m.created_at))::double precision
	from (
		select c.matched_at, c.searching_since, c.created_at
		from public.chat_sessions c
		where c.matched_at > now() - interval '1 hour' and c.matched_at <= now()
		order by c.matched_at desc
		limit 1000
	) m
	where m.matched_at >= coalesce(m.searching_since, m.created_at)
$$;

-- From 1, in the order in which waiting sessions are offered (84_matching.sql); NULL for one that does not search.
create function mitrad.session_position(c public.chat_sessions) returns integer
language plpgsql stable as $$
begin
	if c.status <> 'searching' then
		return null;
	end if;
	return (
		select 1 + count(*)
		from public.chat_sessions o
		where o.status = 'searching'
			and (o.search_round <= 1, coalesce(o.searching_since, o.created_at), o.id)
				< (c.search_round <= 1, coalesce(c.searching_since, c.created_at), c.id));
end
$$;

-- The median of the last hour, in whole seconds; NULL if fewer than five searches say anything, or for a session that
-- does not search.
create function mitrad.session_estimated_wait(c public.chat_sessions) returns integer
language plpgsql stable as $$
begin
	if c.status <> 'searching' then
		return null;
	end if;
	return (
		select case when count(*) >= 5 then ceil(percentile_cont(0.5) within group (order by t.seconds)) end
		from mitrad.matching_times() t);
end
$$;
