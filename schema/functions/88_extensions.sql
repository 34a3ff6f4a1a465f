-- extensions: a customer asks for more time, the mitra says yes or no, and where sessions are paid, so is this.

-- The mitra to be asked, if the session may be extended at all: active, which includes the time of goodbye.
create function mitrad.extension_mitra(session uuid, customer uuid,
	out problem text, out errors text, out mitra_id uuid)
language plpgsql stable as $$
declare
	c public.chat_sessions;
begin
	select * into c from public.chat_sessions s where s.id = session;
	mitra_id := c.mitra_id;
	problem := case when c.customer_id is distinct from customer then 'NOT_FOUND'
		when c.status <> 'active' or c.mitra_id is null then 'WRONG_SESSION_STATUS' end;
end
$$;

-- `reachable` is what the mirror says; NULL: the truth is asked.
create function mitrad.extension_request(
	session uuid, customer uuid, auth_session uuid, minutes integer, reachable boolean)
returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	x public.session_extensions;
	fault text;
begin
	select * into c from public.chat_sessions s where s.id = session for no key update;
	fault := case
		when mitrad.session_is_revoked(auth_session) then 'UNAUTHENTICATED'
		when c.customer_id is distinct from customer then 'NOT_FOUND'
		when c.status <> 'active' or c.mitra_id is null then 'WRONG_SESSION_STATUS'
		when c.extension_until is not null then 'EXTENSION_ALREADY_OPEN'
		when not coalesce(reachable, mitrad.mitra_reachable(c.mitra_id)) or c.orphaned_at is not null
			then 'MITRA_UNREACHABLE' end;
	if fault is null and c.duration_minutes + minutes > 1440 then
		return next mitrad.outcome_refused('INVALID_REQUEST',
			(mitrad.invalid('minutes', 'must leave the session within 1440 minutes')).errors);
		return;
	elsif fault is not null then
		return next mitrad.outcome_refused(fault);
		return;
	end if;

	insert into public.session_extensions as e (session_id, minutes)
		values (session, extension_request.minutes)
	returning * into x;
	update public.chat_sessions s set extension_until = now() + mitrad.config_seconds('extension_answer_seconds')
	where s.id = session;
	return query select * from mitrad.outcome_of(mitrad.extension_json(x)::text, '{}', array[
		('mitra', c.mitra_id, 'extension_requested', session,
			jsonb_build_object('extension_id', x.id, 'minutes', minutes))::mitrad.event]);
end
$$;

-- The deadline moves: from the session's end, or from now if that has passed.  The caller holds the session's lock.
create function mitrad.session_extend(c public.chat_sessions, extension uuid) returns mitrad.event[]
language plpgsql as $$
declare
	added integer := (select x.minutes from public.session_extensions x where x.id = extension);
	ends timestamptz := greatest(c.expires_at, now()) + make_interval(mins => added);
	data jsonb := jsonb_build_object('extension_id', extension, 'minutes', added, 'expires_at', mitrad.iso(ends));
begin
	update public.chat_sessions s
	set expires_at = ends, duration_minutes = s.duration_minutes + added, extension_until = null
	where s.id = c.id;
	return array[
		('customer', c.customer_id, 'extension_accepted', c.id, data)::mitrad.event,
		('mitra', c.mitra_id, 'extension_accepted', c.id, data)::mitrad.event];
end
$$;

create function mitrad.extension_accept_events(c public.chat_sessions, x public.session_extensions)
returns mitrad.event[]
language plpgsql as $$
begin
	if c.payment_timing = 'none' then
		update public.session_extensions e set status = 'accepted', responded_at = now() where e.id = x.id;
		return mitrad.session_extend(c, x.id);
	end if;
	update public.session_extensions e set status = 'pending_payment', responded_at = now() where e.id = x.id;
	update public.chat_sessions s set extension_until = now() + mitrad.config_seconds('payment_timeout_seconds')
	where s.id = c.id;
	return array[mitrad.payment_due_event(c, mitrad.payment_open(c.id, x.id, x.minutes))];
end
$$;

-- Repeating the same answer is answered as the first time.
create function mitrad.extension_answer(
	mitra uuid, session uuid, extension uuid, auth_session uuid, accepted boolean)
returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	x public.session_extensions;
	fault text;
	events mitrad.event[] := '{}';
begin
	select * into c from public.chat_sessions s where s.id = session for no key update;
	select * into x from public.session_extensions e where e.id = extension and e.session_id = session;
	fault := case
		when mitrad.session_is_revoked(auth_session) then 'UNAUTHENTICATED'
		when x.id is null or c.mitra_id is distinct from mitra then 'NOT_FOUND'
		when x.status = 'requested' and c.status = 'active' then null
		when accepted and x.status in ('pending_payment', 'accepted') or not accepted and x.status = 'declined' then null
		else 'EXTENSION_CLOSED' end;
	if fault is not null then
		return next mitrad.outcome_refused(fault);
		return;
	end if;
	if x.status = 'requested' and accepted then
		events := mitrad.extension_accept_events(c, x);
	elsif x.status = 'requested' then
		update public.session_extensions e set status = 'declined', responded_at = now() where e.id = extension;
		update public.chat_sessions s set extension_until = null where s.id = session;
		events := array[('customer', c.customer_id, 'extension_declined', session,
			jsonb_build_object('extension_id', extension, 'minutes', x.minutes))::mitrad.event];
	end if;
	return query select * from mitrad.outcome_of(mitrad.session_answer(session), '{}', events);
end
$$;
