-- session life: how a session is asked for, ended before its time, and given to another mitra.
--
--   pending_payment ──► searching ──► active ──► ended
--   (before_match)          │  ▲        │
--                           │  └────────┘ the mitra is lost
--                           └─► pending_payment (after_match) ──► active
--   until active: cancelled;  from searching: unmatched, or ended if it had begun

create function mitrad.session_create(
	customer uuid, auth_session uuid, duration integer, candidates uuid[])
returns setof mitrad.outcome
language plpgsql as $$
declare
	timing text := mitrad.payment_timing_now();
	c public.chat_sessions;
	events mitrad.event[];
begin
	perform from public.customers u where u.id = customer for key share;
	if not found or mitrad.session_is_revoked(auth_session) then
		return next mitrad.outcome_refused('UNAUTHENTICATED');
		return;
	end if;
	insert into public.chat_sessions as s (customer_id, duration_minutes, payment_timing, status)
		values (customer, duration, timing,
			case timing when 'before_match' then 'pending_payment' else 'searching' end)
	on conflict (customer_id) where status in ('pending_payment', 'searching', 'active') do nothing
	returning * into c;
	if c.id is null then
		return next mitrad.outcome_refused('SESSION_ALREADY_OPEN');
		return;
	end if;
	if c.status = 'searching' then
		events := mitrad.session_search(c.id, candidates);
	else
		events := array[mitrad.payment_due_event(c, mitrad.payment_open(c.id, null, duration))];
	end if;
	return query select * from mitrad.outcome_of(mitrad.session_answer(c.id), '{}', events);
end
$$;

-- Ends a session for one of its parties or an operator, who becomes the end's reason.  What has begun is ended; what has
-- not, cancelled.  `only_search`: a cancel, which must not end a chat under way; `only_begun`: the reverse.  Both end
-- the search for another mitra.  Repeating it answers as the first time.
create function mitrad.session_stop(
	session uuid, by_type text, by_id uuid, auth_session uuid, only_search boolean, only_begun boolean)
returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	begun boolean;
	held uuid[];
	events mitrad.event[] := '{}';
begin
	select * into c from public.chat_sessions s where s.id = session for no key update;
	begun := c.status in ('active', 'ended') or c.started_at is not null;
	if mitrad.session_is_revoked(auth_session) then
		return next mitrad.outcome_refused('UNAUTHENTICATED');
		return;
	elsif c.id is null or not mitrad.session_is_of(c, by_type, by_id) then
		return next mitrad.outcome_refused('NOT_FOUND');
		return;
	elsif only_search and c.status = 'active'
		or only_search and c.status = 'ended' and (c.mitra_id is not null or c.end_reason <> by_type)
		or only_begun and not begun
		or c.status = 'unmatched' then
		return next mitrad.outcome_refused('WRONG_SESSION_STATUS');
		return;
	end if;
	held := case when mitrad.is_load(c.status) and c.mitra_id is not null then array[c.mitra_id] else '{}' end;
	if c.status in ('pending_payment', 'searching', 'active') then
		update public.chat_sessions s
		set status = case when begun then 'ended' else 'cancelled' end, end_reason = by_type, ended_at = now()
		where s.id = session;
		events := mitrad.sessions_close(array[session]);
	end if;
	return query select * from mitrad.outcome_of(mitrad.session_answer(session), held, events);
end
$$;

create function mitrad.session_cancel(session uuid, customer uuid, auth_session uuid) returns setof mitrad.outcome
language plpgsql as $$
begin
	return query select * from mitrad.session_stop(session, 'customer', customer, auth_session, true, false);
end
$$;

-- A customer cancels what has not begun; mitras and operators may end it here, too.
create function mitrad.session_end(session uuid, by_type text, by_id uuid, auth_session uuid)
returns setof mitrad.outcome
language plpgsql as $$
begin
	return query select * from mitrad.session_stop(session, by_type, by_id, auth_session, false, by_type = 'customer');
end
$$;

create function mitrad.session_end_by_operator(session uuid, by mitrad.actor) returns setof mitrad.outcome
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, false);
	former jsonb := mitrad.session_answer(session);
begin
	if refusal is not null then
		return next mitrad.outcome_refused(refusal);
		return;
	end if;
	return query select * from mitrad.session_end(session, 'operator', (by).id, (by).session);
	perform mitrad.session_audit(by, 'session.end', session, former);
end
$$;

-- For the record of what operators did: nothing, if it changed nothing.
create function mitrad.session_audit(by mitrad.actor, action text, session uuid, former jsonb) returns void
language plpgsql as $$
declare
	latter jsonb := mitrad.session_answer(session);
begin
	if latter <> former then
		perform mitrad.operator_acted(by, action, 'session', session::text, former, latter);
	end if;
end
$$;

-- An operator gives the session to a mitra, by the rules of an accept.  It keeps its time.
create function mitrad.session_reroute(session uuid, mitra uuid, by mitrad.actor default null)
returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	fault text := mitrad.operator_refusal(by, false);
	former jsonb;
	changed uuid[];
	events mitrad.event[] := '{}';
begin
	select * into c from public.chat_sessions s where s.id = session for no key update;
	if fault is not null or not found then
		return next mitrad.outcome_refused(coalesce(fault, 'NOT_FOUND'));
		return;
	end if;
	former := mitrad.session_answer(session);
	changed := array(select m.id from public.mitras m where m.id in (mitra, c.mitra_id) order by m.id for no key update);
	if mitra <> all (changed) then
		return next mitrad.outcome_refused('INVALID_REQUEST', (mitrad.invalid('mitra_id', 'is no mitra')).errors);
		return;
	end if;
	fault := case
		when c.status not in ('searching', 'active') and (c.status <> 'pending_payment' or c.mitra_id is null)
			then 'WRONG_SESSION_STATUS'
		when c.mitra_id = mitra then null
		else mitrad.mitra_fault(mitra) end;
	if fault is not null then
		return next mitrad.outcome_refused(case when fault in ('ACCOUNT_INACTIVE', 'REQUEST_CLOSED')
			then 'MITRA_UNREACHABLE' else fault end);
		return;
	end if;
	if c.mitra_id is distinct from mitra then
		events := mitrad.session_move(c, mitra);
		perform mitrad.session_audit(by, 'session.reroute', session, former);
	end if;
	return query select * from mitrad.outcome_of(mitrad.session_answer(session), changed, events);
end
$$;

-- The part of a reroute that has been decided.
create function mitrad.session_move(c public.chat_sessions, mitra uuid) returns mitrad.event[]
language plpgsql as $$
declare
	events mitrad.event[];
begin
	events := mitrad.offers_close(c.id, mitra, 'rerouted');
	update public.chat_request_notifications n set status = 'closed', close_reason = 'rerouted'
	where n.session_id = c.id and n.mitra_id = c.mitra_id and n.status = 'accepted';
	insert into public.chat_request_notifications as n (session_id, mitra_id, status, round, responded_at)
		values (c.id, mitra, 'accepted', c.search_round, now())
	on conflict (session_id, mitra_id) do update
		set status = 'accepted', round = excluded.round, responded_at = now(), close_reason = null;
	if c.status = 'searching' then
		return events || mitrad.session_match(c, mitra);
	end if;
	update public.chat_sessions s set mitra_id = mitra, matched_at = now(), orphaned_at = null where s.id = c.id;
	return events || array[
		('customer', c.customer_id, 'session_matched', c.id, jsonb_build_object('mitra_id', mitra))::mitrad.event,
		('mitra', mitra, 'session_matched', c.id, jsonb_build_object('customer_id', c.customer_id))::mitrad.event,
		('mitra', c.mitra_id, 'session_ended', c.id, jsonb_build_object('end_reason', 'rerouted'))::mitrad.event];
end
$$;
