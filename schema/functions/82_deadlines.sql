-- deadlines: what must happen to a session at some time, whether or not anybody asks about it.
--
-- Every deadline follows from a session's columns and app_config by one of the functions below, and the
-- nearest of them is the column due_at, kept by a trigger.  So an edit by hand moves a deadline as well as a
-- transition does, and a changed app_config counts at once for sessions under way.

-- The session is over then, one way or another.
create function mitrad.session_closes_at(c public.chat_sessions) returns timestamptz
language sql stable as $$
	select case c.status
	when 'searching' then
		coalesce(c.searching_since, c.created_at) + mitrad.config_seconds('blast_timeout_seconds')
	when 'pending_payment' then
		coalesce(c.matched_at, c.created_at) + mitrad.config_seconds('payment_timeout_seconds')
	when 'active' then
		c.expires_at + mitrad.config_seconds('goodbye_seconds')
	end
$$;

create function mitrad.session_warns_at(c public.chat_sessions) returns timestamptz
language plpgsql stable as $$
declare
	seconds integer;
begin
	if c.status <> 'active' or c.warned_at is not null or c.time_up_at is not null then
		return null;
	end if;
	seconds := mitrad.config_integer('session_warning_seconds');
	return case when seconds > 0 and seconds < c.duration_minutes * 60
		then c.expires_at - make_interval(secs => seconds) end;
end
$$;

create function mitrad.session_time_up_at(c public.chat_sessions) returns timestamptz
language sql stable as $$
	select case when c.status = 'active' and c.time_up_at is null then c.expires_at end
$$;

-- The mitra has been gone for too long: search again.  Not in the time of goodbye any more.
create function mitrad.session_requeues_at(c public.chat_sessions) returns timestamptz
language sql stable as $$
	select case when c.status = 'active' and c.time_up_at is null
		then c.orphaned_at + mitrad.config_seconds('orphan_grace_seconds') end
$$;

create function mitrad.session_due_at(c public.chat_sessions) returns timestamptz
language sql stable as $$
	select least(mitrad.session_closes_at(c), mitrad.session_warns_at(c), mitrad.session_time_up_at(c),
		mitrad.session_requeues_at(c), c.extension_until)
$$;

create function mitrad.session_completed() returns trigger
language plpgsql as $$
begin
	if new.status = 'searching' then
		new.next_wave_at := coalesce(new.next_wave_at, now());
	else
		new.next_wave_at := null;
		new.starved := false;
	end if;
	if new.status <> 'active' then
		new.orphaned_at := null;
		new.extension_until := null;
	elsif tg_op = 'UPDATE' and new.expires_at > old.expires_at then
		new.warned_at := null;
		new.time_up_at := null;
	end if;
	new.due_at := mitrad.session_due_at(new);
	return new;
end
$$;

create trigger session_completed before insert or update on public.chat_sessions
	for each row execute function mitrad.session_completed();

create function mitrad.deadlines_move() returns trigger
language plpgsql as $$
begin
	update public.chat_sessions c set due_at = null
	from (
		select o.id from public.chat_sessions o
		where o.status in ('pending_payment', 'searching', 'active')
		order by o.id
		for no key update
	) o
	where c.id = o.id;
	return null;
end
$$;

create trigger deadlines_move after insert or update or delete on public.app_config
	for each statement execute function mitrad.deadlines_move();

-- This file, too, may have become another since the deadlines were computed.
update public.chat_sessions c set due_at = null where c.status in ('pending_payment', 'searching', 'active');

-- What there is to do now, and in how many milliseconds there will be more; NULL: nothing is waited for.
-- Each minimum is one look into an index.  `refunds` is for people: how many payments must be given back.
create function mitrad.sessions_due(
	out settle boolean, out lost boolean, out match boolean, out webhooks boolean, out collect boolean,
	out refunds bigint, out next_ms bigint)
language plpgsql stable as $$
begin
	select d.settle_at <= now(), d.lost_at <= now(), d.match_at <= now(), d.webhook_at <= now(), d.ask_at <= now(),
		greatest(0, ceil(extract(epoch from least(d.settle_at, d.lost_at, d.match_at, d.webhook_at, d.ask_at)
			- clock_timestamp()) * 1000))
	into settle, lost, match, webhooks, collect, next_ms
	from (
		select (select min(c.due_at) from public.chat_sessions c) as settle_at,
			(select min(k.lost_at) from public.matching_marks k) as lost_at,
			least((select min(c.next_wave_at) from public.chat_sessions c where c.status = 'searching'),
				(select min(k.offers_at) from public.matching_marks k)) as match_at,
			(select min(w.received_at) from public.payment_webhooks w where w.processed_at is null) as webhook_at,
			(select min(p.next_ask_at) from public.payments p) as ask_at
	) d;
	refunds := (select count(*) from public.payments p where p.status = 'refund_due');
end
$$;

-- ---------------------------------------------------------------- settling

-- Tells everybody that these sessions are over, as their rows say, and closes what was still open in them.  What was paid
-- for a session that never began must be given back.
-- The caller holds their locks, and emits.
create function mitrad.sessions_close(ids uuid[]) returns mitrad.event[]
language plpgsql as $$
declare
	events mitrad.event[];
begin
	with closed as (
		select c.*, case c.status when 'ended' then 'session_ended' when 'cancelled' then 'session_cancelled'
			else 'session_unmatched' end as type
		from public.chat_sessions c
		where c.id = any (ids)
	), offers as (
		update public.chat_request_notifications n
		set status = 'closed',
			close_reason = case when c.end_reason in ('blast_timeout', 'mitra_lost') then 'expired' else 'cancelled' end
		from closed c
		where n.session_id = c.id and n.status = 'sent'
		returning n.session_id, n.mitra_id, n.close_reason
	), extensions as (
		update public.session_extensions x set status = 'expired', responded_at = now()
		where x.session_id = any (ids) and x.status in ('requested', 'pending_payment')
	), payments as (
		update public.payments p
		set status = case when p.status = 'paid' then 'refund_due'
			when c.end_reason in ('payment_timeout', 'expired') then 'expired' else 'cancelled' end
		from closed c
		where p.session_id = c.id and (p.status = 'pending' or p.status = 'paid' and c.started_at is null)
	)
	select coalesce(array_agg((e.user_type, e.user_id, e.type, e.session_id, e.data)::mitrad.event), '{}') into events
	from (
		select 'customer' as user_type, c.customer_id as user_id, c.type, c.id as session_id,
			jsonb_build_object('end_reason', c.end_reason) as data
		from closed c
		union all
		select 'mitra', c.mitra_id, c.type, c.id, jsonb_build_object('end_reason', c.end_reason)
		from closed c
		where c.mitra_id is not null
		union all
		select 'mitra', o.mitra_id, 'request_closed', o.session_id, jsonb_build_object('reason', o.close_reason)
		from offers o
	) e;
	return events;
end
$$;

-- Both parties of these sessions get an event.  One plan for arrays of any length, as in outcome_of().
create function mitrad.sessions_tell(ids uuid[], type text) returns mitrad.event[]
language plpgsql stable set plan_cache_mode = force_generic_plan as $$
begin
	return (
		select coalesce(array_agg((p.user_type, p.user_id, sessions_tell.type, c.id,
			jsonb_build_object('expires_at', mitrad.iso(c.expires_at), 'closes_at', mitrad.iso(mitrad.session_closes_at(c)))
			)::mitrad.event), '{}')
		from public.chat_sessions c
		cross join lateral (values ('customer', c.customer_id), ('mitra', c.mitra_id)) p (user_type, user_id)
		where c.id = any (ids)
	);
end
$$;

create function mitrad.extensions_expire(sessions uuid[]) returns mitrad.event[]
language sql as $$
	with lapsed as (
		update public.chat_sessions c set extension_until = null
		where c.id = any (sessions) and c.extension_until <= now()
		returning c.id, c.customer_id, c.mitra_id
	), extensions as (
		update public.session_extensions x set status = 'expired', responded_at = now()
		from lapsed c
		where x.session_id = c.id and x.status in ('requested', 'pending_payment')
		returning x.id, c.id as session_id, c.customer_id, c.mitra_id
	), payments as (
		update public.payments p set status = 'expired'
		from extensions x
		where p.session_id = x.session_id and p.extension_id = x.id and p.status = 'pending'
	)
	select coalesce(array_agg((p.user_type, p.user_id, 'extension_expired', x.session_id,
		jsonb_build_object('extension_id', x.id))::mitrad.event), '{}')
	from extensions x
	cross join lateral (values ('customer', x.customer_id), ('mitra', x.mitra_id)) p (user_type, user_id)
$$;

-- As many of the sessions, in their order, until they have 10,000 offers together: to close those takes half a second.
-- All at once might take longer than a statement may, and again every time.
create function mitrad.sessions_bearable(ids uuid[]) returns uuid[]
language plpgsql stable as $$
begin
	return array(
		select s.id
		from (
			select d.id, d.place, sum(o.offers) over (order by d.place) - o.offers as before
			from unnest(ids) with ordinality d (id, place)
			cross join lateral (select count(*) as offers from public.chat_request_notifications n
				where n.session_id = d.id) o
		) s
		where s.before < 10000
		order by s.place);
end
$$;

-- Does what is due, for at most 1,000 sessions a call; no rows: there was nothing.  Sessions first, then their
-- mitras by id, so several of these at once share the work and never wait for each other in a ring.  What a
-- request holds locked just now is being decided there; the next call looks again.
create function mitrad.sessions_settle() returns setof mitrad.outcome
language plpgsql as $$
declare
	due uuid[];
	relieved uuid[];
	silent uuid[];
	done uuid[];
	events mitrad.event[] := '{}';
begin
	perform mitrad.config_hold();
	due := array(
		select c.id from public.chat_sessions c
		where c.due_at <= now()
		order by c.due_at
		limit 1000
		for no key update skip locked);
	if cardinality(due) = 0 then
		return;
	end if;
	due := mitrad.sessions_bearable(due);
	relieved := array(
		select m.id from public.mitras m
		where m.id in (select c.mitra_id from public.chat_sessions c
			where c.id = any (due) and mitrad.is_load(c.status)
				and least(mitrad.session_closes_at(c), mitrad.session_requeues_at(c)) <= now())
		order by m.id
		for no key update);
	-- The triggers below mark them in the order of their sessions.
	perform from public.matching_marks k where k.mitra_id = any (relieved) order by k.mitra_id for update;

	-- A search for another mitra that found none ends a session that had begun.
	with closed as (
		update public.chat_sessions c set status = o.becomes, end_reason = o.reason, ended_at = now()
		from (values
			('active', false, 'ended', 'expired'),
			('active', true, 'ended', 'expired'),
			('pending_payment', false, 'cancelled', 'payment_timeout'),
			('pending_payment', true, 'cancelled', 'payment_timeout'),
			('searching', false, 'unmatched', 'blast_timeout'),
			('searching', true, 'ended', 'mitra_lost')
		) o (status, began, becomes, reason)
		where c.id = any (due) and c.status = o.status and (c.started_at is not null) = o.began
			and mitrad.session_closes_at(c) <= now()
		returning c.id
	)
	select coalesce(array_agg(id), '{}') into done from closed;
	events := events || mitrad.sessions_close(done);
	silent := mitrad.mitras_not_answering(done);
	events := events || mitrad.status_events(silent, 'no_answer');

	events := events || mitrad.sessions_requeue(due);

	with told as (
		update public.chat_sessions c set time_up_at = now()
		where c.id = any (due) and mitrad.session_time_up_at(c) <= now()
		returning c.id
	)
	select coalesce(array_agg(id), '{}') into done from told;
	events := events || mitrad.sessions_tell(done, 'session_time_up');

	with told as (
		update public.chat_sessions c set warned_at = now()
		where c.id = any (due) and mitrad.session_warns_at(c) <= now()
		returning c.id
	)
	select coalesce(array_agg(id), '{}') into done from told;
	events := events || mitrad.sessions_tell(done, 'session_warning');

	events := events || mitrad.extensions_expire(due);
	-- Whatever is due still, after app_config was changed behind our back, say, is computed anew.
	update public.chat_sessions c set due_at = null where c.id = any (due) and c.due_at <= now();
	return query select * from mitrad.outcome_of(null, relieved || silent, events);
end
$$;
