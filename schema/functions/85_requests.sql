-- requests: a mitra answers an offer.
--
-- First wins: the session's row is locked before anything is looked at, so of many accepts one sees it
-- searching.  The mitra's row comes next, so his load cannot grow meanwhile, and no deactivation, sweep or
-- toggle comes in between.

-- The session has its mitra.  The caller holds both locks; the rest is told here.
create function mitrad.session_match(c public.chat_sessions, mitra uuid) returns mitrad.event[]
language plpgsql as $$
declare
	events mitrad.event[];
	must_pay boolean := c.payment_timing = 'after_match' and c.paid_at is null;
begin
	events := array[
		('customer', c.customer_id, 'session_matched', c.id, jsonb_build_object('mitra_id', mitra))::mitrad.event,
		('mitra', mitra, 'session_matched', c.id, jsonb_build_object('customer_id', c.customer_id))::mitrad.event];
	update public.chat_sessions s
	set mitra_id = mitra, matched_at = now(), status = case when must_pay then 'pending_payment' else 'active' end
	where s.id = c.id;
	if must_pay then
		return events || mitrad.payment_due_event(c, mitrad.payment_open(c.id, null, c.duration_minutes));
	end if;
	return events || mitrad.session_start(c.id);
end
$$;

-- The chat begins, or goes on with the time that was left when its mitra was lost.
create function mitrad.session_start(session uuid) returns mitrad.event[]
language plpgsql as $$
begin
	update public.chat_sessions s
	set status = 'active', started_at = coalesce(s.started_at, now()), remaining = null,
		expires_at = now() + coalesce(s.remaining, make_interval(mins => s.duration_minutes))
	where s.id = session;
	return mitrad.sessions_tell(array[session], 'session_started');
end
$$;

-- May this mitra take one more session?  NULL: yes.  The caller holds the mitra's lock.
create function mitrad.mitra_fault(mitra uuid) returns text
language plpgsql stable as $$
begin
	return (
		select case
			when not m.active then 'ACCOUNT_INACTIVE'
			when not m.online then 'REQUEST_CLOSED'
			when m.sessions >= mitrad.config_integer('max_customers_per_mitra') then 'AT_CAPACITY' end
		from mitrad.mirror_state m
		where m.mitra_id = mitra
	);
end
$$;

-- Repeating one's own accept answers as the first did.
create function mitrad.request_accept(mitra uuid, session uuid, auth_session uuid) returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	offer public.chat_request_notifications;
	is_active boolean;
	fault text;
	events mitrad.event[] := '{}';
begin
	select * into c from public.chat_sessions s where s.id = session for no key update;
	select m.is_active into is_active from public.mitras m where m.id = mitra for no key update;
	select * into offer from public.chat_request_notifications n where n.session_id = session and n.mitra_id = mitra;
	fault := case
		when is_active is null or mitrad.session_is_revoked(auth_session) and is_active then 'UNAUTHENTICATED'
		when not is_active then 'ACCOUNT_INACTIVE'
		when offer.mitra_id is null then 'NOT_FOUND' end;
	if fault is null and not (offer.status = 'accepted' and c.mitra_id = mitra and mitrad.is_load(c.status)) then
		fault := case
			when offer.close_reason in ('taken', 'rerouted') then 'REQUEST_TAKEN'
			when offer.status <> 'sent' or c.status <> 'searching' then 'REQUEST_CLOSED'
			else mitrad.mitra_fault(mitra) end;
		if fault is null then
			update public.chat_request_notifications n set status = 'accepted', responded_at = now()
			where n.session_id = session and n.mitra_id = mitra;
			events := mitrad.offers_close(session, mitra, 'taken') || mitrad.session_match(c, mitra);
		end if;
	end if;
	if fault is not null then
		return next mitrad.outcome_refused(fault);
		return;
	end if;
	return query select * from mitrad.outcome_of(mitrad.session_answer(session), array[mitra], events);
end
$$;

-- Mitras need not wait for each other to decline, only for who changes the session.
create function mitrad.request_decline(mitra uuid, session uuid, auth_session uuid) returns setof mitrad.outcome
language plpgsql as $$
declare
	offer public.chat_request_notifications;
	events mitrad.event[] := '{}';
begin
	perform from public.chat_sessions s where s.id = session for share;
	select * into offer from public.chat_request_notifications n
	where n.session_id = session and n.mitra_id = mitra
	for no key update;
	if mitrad.session_is_revoked(auth_session) then
		return next mitrad.outcome_refused('UNAUTHENTICATED');
		return;
	elsif offer.mitra_id is null then
		return next mitrad.outcome_refused('NOT_FOUND');
		return;
	elsif offer.status not in ('sent', 'declined') then
		return next mitrad.outcome_refused('REQUEST_CLOSED');
		return;
	end if;
	if offer.status = 'sent' then
		update public.chat_request_notifications n set status = 'declined', responded_at = now()
		where n.session_id = session and n.mitra_id = mitra;
		events := array[('mitra', mitra, 'request_closed', session,
			jsonb_build_object('reason', 'declined'))::mitrad.event];
	end if;
	return query select * from mitrad.outcome_of(null, '{}', events);
end
$$;
