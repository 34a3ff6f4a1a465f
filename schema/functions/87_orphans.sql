-- orphans: active sessions whose mitra was swept offline or deactivated.
--
-- The customer is told at once.  If the mitra is back within orphan_grace_seconds, the chat goes on; else the
-- session is searched a mitra for again, ahead of all others, with the time that it had left when its mitra
-- was lost.

-- Gone, not just offline: who goes offline by hand still looks after the sessions under way.
create function mitrad.mitra_is_lost(mitra uuid) returns boolean
language plpgsql stable as $$
begin
	return (
		select not m.active or (not m.online and coalesce((
			select l.reason in ('auto_offline', 'deactivated') from public.mitra_online_logs l
			where l.mitra_id = mitra
			order by l.created_at desc, l.id desc
			limit 1), false))
		from mitrad.mirror_state m
		where m.mitra_id = mitra
	);
end
$$;

-- Looks at the sessions of mitras who were marked.  The marks are locked before anybody is called lost: whoever toggles
-- meanwhile waits for them, and leaves another.  But after the sessions, whose holders may wait for a mark.
-- No rows: there was nothing.
create function mitrad.sessions_lost() returns setof mitrad.outcome
language plpgsql as $$
declare
	marked uuid[];
	looked_at uuid[];
	gone uuid[];
	events mitrad.event[];
begin
	perform mitrad.config_hold();
	marked := array(
		select k.mitra_id from public.matching_marks k
		where k.lost_at <= now()
		order by k.lost_at
		limit 500);
	looked_at := array(
		select c.id from public.chat_sessions c
		where c.mitra_id = any (marked) and c.status = 'active'
		for no key update skip locked);
	marked := array(
		select k.mitra_id from public.matching_marks k
		where k.mitra_id = any (marked) and k.lost_at <= now()
		order by k.mitra_id
		for update skip locked);
	if cardinality(marked) = 0 then
		return;
	end if;
	looked_at := array(select c.id from public.chat_sessions c where c.id = any (looked_at) and c.mitra_id = any (marked));
	gone := array(
		select m.id
		from (select distinct c.mitra_id as id from public.chat_sessions c where c.id = any (looked_at)) m
		where mitrad.mitra_is_lost(m.id));

	with orphaned as (
		update public.chat_sessions c set orphaned_at = now()
		where c.id = any (looked_at) and c.mitra_id = any (gone) and c.orphaned_at is null
			and c.time_up_at is null and c.expires_at > now()
		returning c.*
	), back as (
		update public.chat_sessions c set orphaned_at = null
		where c.id = any (looked_at) and c.mitra_id <> all (gone) and c.orphaned_at is not null
		returning c.*
	)
	select coalesce(array_agg((e.user_type, e.user_id, e.type, e.session_id, e.data)::mitrad.event), '{}') into events
	from (
		select 'customer' as user_type, o.customer_id as user_id, 'session_orphaned' as type, o.id as session_id,
			jsonb_build_object('grace_seconds', mitrad.config_integer('orphan_grace_seconds')) as data
		from orphaned o
		union all
		select p.user_type, p.user_id, 'session_resumed', b.id, '{}'
		from back b
		cross join lateral (values ('customer', b.customer_id), ('mitra', b.mitra_id)) p (user_type, user_id)
	) e;

	-- A session that a request holds just now is looked at again.
	update public.matching_marks k
	set lost_at = case when exists (select from public.chat_sessions c
		where c.mitra_id = k.mitra_id and c.status = 'active' and c.id <> all (looked_at))
		then now() + interval '200 ms' end
	where k.mitra_id = any (marked);
	return query select * from mitrad.outcome_of(null, '{}', events);
end
$$;

-- Those whose grace is over search again; a mitra who has just come back keeps his.  For sessions_settle(), which
-- holds the locks of sessions and mitras, and emits.
create function mitrad.sessions_requeue(due uuid[]) returns mitrad.event[]
language sql as $$
	with losers as (
		select c.id, c.mitra_id, c.expires_at - c.orphaned_at as remaining
		from public.chat_sessions c
		where c.id = any (due) and mitrad.session_requeues_at(c) <= now()
	), resumed as (
		update public.chat_sessions c set orphaned_at = null
		from losers l
		where c.id = l.id and not mitrad.mitra_is_lost(l.mitra_id)
	), requeued as (
		update public.chat_sessions c
		set status = 'searching', mitra_id = null, matched_at = null, searching_since = now(),
			search_round = c.search_round + 1, remaining = l.remaining, expires_at = null, warned_at = null,
			next_wave_at = now()
		from losers l
		where c.id = l.id and mitrad.mitra_is_lost(l.mitra_id)
		returning c.id, c.customer_id, l.mitra_id
	), extensions as (
		update public.session_extensions x set status = 'expired', responded_at = now()
		from requeued r
		where x.session_id = r.id and x.status in ('requested', 'pending_payment')
		returning x.id
	), payments as (
		update public.payments p set status = 'expired'
		from extensions x
		where p.extension_id = x.id and p.status = 'pending'
	)
	select coalesce(array_agg((e.user_type, e.user_id, e.type, e.id, e.data)::mitrad.event), '{}')
	from (
		select 'customer' as user_type, r.customer_id as user_id, 'session_requeued' as type, r.id, '{}'::jsonb as data
		from requeued r
		union all
		select 'mitra', r.mitra_id, 'session_ended', r.id, jsonb_build_object('end_reason', 'mitra_lost')
		from requeued r
	) e
$$;
