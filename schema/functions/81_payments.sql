-- payments: when a session or an extension has to be paid, and what follows when it was.
--
-- Whoever collects the money calls session_confirm_payment(), as often as it likes.

-- What a new session will be subject to.  Where nobody collects, or nothing is asked for, nothing is paid.
create function mitrad.payment_timing_now() returns text
language sql stable as $$
	select case when mitrad.config_text('payment_provider') = 'none' or mitrad.config_integer('price_per_minute') = 0
		then 'none' else mitrad.config_text('payment_timing') end
$$;

create function mitrad.payment_open(session uuid, extension uuid, minutes integer) returns public.payments
language sql as $$
	insert into public.payments (session_id, extension_id, provider, amount, currency)
		values (session, extension, coalesce(mitrad.config_text('payment_provider'), 'manual'),
			minutes::bigint * mitrad.config_integer('price_per_minute'), mitrad.config_text('payment_currency'))
	returning *
$$;

create function mitrad.payment_due_event(c public.chat_sessions, p public.payments) returns mitrad.event
language sql stable as $$
	select ('customer', c.customer_id, 'session_payment_due', c.id,
		jsonb_build_object('payment_id', p.id, 'extension_id', p.extension_id, 'amount', p.amount,
			'currency', p.currency))::mitrad.event
$$;

-- The session goes on from its payment: after_match its mitra was waiting, before_match the search begins.
-- The caller holds the session's lock.
create function mitrad.session_paid(c public.chat_sessions) returns mitrad.event[]
language plpgsql as $$
begin
	update public.chat_sessions s set paid_at = now() where s.id = c.id;
	if c.mitra_id is null then
		update public.chat_sessions s set status = 'searching', searching_since = now() where s.id = c.id;
		return array[('customer', c.customer_id, 'session_paid', c.id, '{}')::mitrad.event]
			|| mitrad.session_search(c.id, null);
	end if;
	-- Who was lost while the customer paid is known by now, but the session was not active then.
	perform mitrad.mark(c.mitra_id, false, true);
	return mitrad.session_start(c.id);
end
$$;

create function mitrad.extension_paid(c public.chat_sessions, extension uuid) returns mitrad.event[]
language plpgsql as $$
begin
	update public.session_extensions x set status = 'accepted' where x.id = extension;
	return mitrad.session_extend(c, extension);
end
$$;

-- `late`: the money has come whatever became of the session, so it is noted, and due to be given back if nobody
-- waited for it any more; otherwise such a payment is refused.
create function mitrad.session_confirm_payment(payment uuid, late boolean default false)
returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	p public.payments;
	events mitrad.event[] := '{}';
begin
	select s.* into c from public.chat_sessions s
	where s.id = (select o.session_id from public.payments o where o.id = payment)
	for no key update;
	select * into p from public.payments o where o.id = payment for no key update;
	if not found then
		return next mitrad.outcome_refused('NOT_FOUND');
		return;
	end if;
	if p.status not in ('pending', 'paid') and not late then
		return next mitrad.outcome_refused('PAYMENT_CLOSED');
		return;
	end if;
	if p.status not in ('paid', 'refund_due') then
		update public.payments o set
			status = case when p.status = 'pending' then 'paid' else 'refund_due' end, paid_at = now()
		where o.id = payment;
		if p.status <> 'pending' then
			null; -- what it was for is over
		elsif p.extension_id is not null then
			events := mitrad.extension_paid(c, p.extension_id);
		elsif c.status = 'pending_payment' then
			events := mitrad.session_paid(c);
		end if;
	end if;
	return query select * from mitrad.outcome_of(
		(select mitrad.payment_json(o)::text from public.payments o where o.id = payment), '{}', events);
end
$$;

-- POST /internal/payments/{id}/confirm: an operator has seen the money.
create function mitrad.payment_confirm(payment uuid, by mitrad.actor) returns setof mitrad.outcome
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, false);
	former public.payments;
	latter public.payments;
begin
	if refusal is not null then
		return next mitrad.outcome_refused(refusal);
		return;
	end if;
	-- Before anything is looked at, so that of two at once only one is recorded.
	perform from public.chat_sessions s
	where s.id = (select p.session_id from public.payments p where p.id = payment)
	for no key update;
	select * into former from public.payments p where p.id = payment;
	return query select * from mitrad.session_confirm_payment(payment);
	select * into latter from public.payments p where p.id = payment;
	if latter.status <> former.status then
		perform mitrad.operator_acted(by, 'payment.confirm', 'payment', payment::text,
			mitrad.payment_json(former)::jsonb, mitrad.payment_json(latter)::jsonb);
	end if;
end
$$;
