-- collecting: what a payment provider is asked, and what its words change.
--
-- A provider's word is an invoice in JSON, as Xendit documents it: id, external_id (our payment), status (PENDING, PAID,
-- SETTLED, EXPIRED), amount, paid_amount, currency, invoice_url.  It comes by webhook, which is stored before it is looked
-- at, or as the answer to a question; both end in payment_learn(), in any order and as often as they like.  Only an answer
-- ends the questions about what was not paid.

-- Who collects by himself must be asked at once: to open an invoice, and to close it when nobody waits for its money any
-- more, be it that an operator has seen it come another way.  Only the provider's money has a paid_amount.  What becomes
-- of the payment after that changes no errand.
create function mitrad.payment_completed() returns trigger
language plpgsql as $$
begin
	if tg_op = 'INSERT' then
		new.next_ask_at := case when new.provider = 'xendit' and new.status = 'pending' then now() end;
	elsif old.status = 'pending' and new.status <> 'pending' then
		new.next_ask_at := case when old.next_ask_at is not null and old.asked > 0
			and (new.status in ('expired', 'cancelled') or new.status = 'paid' and new.paid_amount is null) then now() end;
		new.asked := 0;
	end if;
	return new;
end
$$;

create trigger payment_completed before insert or update on public.payments
	for each row execute function mitrad.payment_completed();

-- How long its invoice may be paid: not to the very end, for the news of the money takes its time, too.  An extension does
-- not outlive its session.
create function mitrad.payment_seconds(p public.payments) returns integer
language sql stable as $$
	select greatest(1, d.seconds - least(30, d.seconds / 10))::integer
	from public.chat_sessions c
	cross join lateral (select extract(epoch from least(mitrad.session_closes_at(c),
		case when p.extension_id is not null then c.extension_until end) - now()) as seconds) d
	where c.id = p.session_id
$$;

-- The payments about which the provider must be asked now.  Each is taken by one sweeper; if that dies, or gets no
-- answer, it comes again after a pause that doubles: 15 s to one hour, and forty times at most.
-- `first`: it was never asked before, so it cannot know the payment.
create function mitrad.payments_claim(room integer) returns table (
	payment uuid, provider text, external_id text, amount bigint, currency text, minutes integer,
	closed boolean, first boolean, expires_in_seconds integer)
language sql as $$
	with due as (
		select o.id, o.asked from public.payments o
		where o.next_ask_at <= now()
		order by o.next_ask_at
		limit room
		for no key update skip locked
	)
	update public.payments p set
		asked = d.asked + 1,
		next_ask_at = case when d.asked < 40
			then now() + least(interval '15 seconds' * 2 ^ least(d.asked, 10), interval '1 hour') end
	from due d
	where p.id = d.id
	returning p.id, p.provider, p.external_id, p.amount, p.currency,
		coalesce((select x.minutes from public.session_extensions x where x.id = p.extension_id),
			(select c.duration_minutes from public.chat_sessions c where c.id = p.session_id)),
		p.status <> 'pending', d.asked = 0 and p.status = 'pending',
		mitrad.payment_seconds(p)
$$;

-- A number of a provider's JSON, however it was written; NULL for what is none.
create function mitrad.json_number(value jsonb) returns numeric
language sql immutable as $$
	select case when jsonb_typeof(value) = 'number' then (value #>> '{}')::numeric end
$$;

-- Something to be told to people: a row whose problem the sweeper logs.
create function mitrad.payment_warning(what text, payment uuid) returns mitrad.outcome
language sql immutable as $$
	select what, null::text, payment::text,
		null::uuid, null::bigint, null::boolean, null::boolean, null::integer, null::text, null::text,
		null::text, null::uuid, null::text
$$;

create function mitrad.payment_ready_event(c public.chat_sessions, p public.payments) returns mitrad.event
language sql stable as $$
	select ('customer', c.customer_id, 'session_payment_ready', c.id,
		jsonb_build_object('payment_id', p.id, 'extension_id', p.extension_id, 'amount', p.amount,
			'currency', p.currency, 'url', p.url))::mitrad.event
$$;

-- Another invoice of a payment was paid: its money is noted as a payment of its own, once.
create function mitrad.payment_doubled(p public.payments, invoice jsonb, paid numeric) returns setof mitrad.outcome
language plpgsql as $$
begin
	insert into public.payments
		(session_id, extension_id, provider, status, amount, currency, external_id, paid_amount, paid_at)
		values (p.session_id, p.extension_id, p.provider, 'refund_due', p.amount, p.currency, invoice ->> 'id', paid, now())
	on conflict (provider, external_id) do nothing;
	if found then
		return next mitrad.payment_warning('two invoices of one payment were paid, the second must be given back', p.id);
	end if;
end
$$;

-- The invoice was paid.  The caller holds the locks of session and payment.
create function mitrad.payment_collected(p public.payments, invoice jsonb) returns setof mitrad.outcome
language plpgsql as $$
declare
	paid numeric := coalesce(mitrad.json_number(invoice -> 'paid_amount'), mitrad.json_number(invoice -> 'amount'), 0);
	as_agreed boolean := coalesce(paid = p.amount
		and mitrad.json_number(invoice -> 'amount') = p.amount
		and invoice ->> 'currency' = p.currency, false);
begin
	if p.paid_amount is not null then
		if p.external_id <> invoice ->> 'id' then
			return query select * from mitrad.payment_doubled(p, invoice, paid);
		end if;
		return;
	end if;
	update public.payments o set external_id = invoice ->> 'id', paid_amount = paid, next_ask_at = null where o.id = p.id;
	if p.status in ('paid', 'refund_due') then
		-- An operator has seen this money before the provider told of it, or other money.
		if not as_agreed then
			return next mitrad.payment_warning('another amount was paid than an operator has confirmed', p.id);
		end if;
		return;
	end if;
	if not as_agreed then
		update public.payments o set status = 'refund_due', paid_at = now() where o.id = p.id;
		return next mitrad.payment_warning('another amount was paid than was asked for, it must be given back', p.id);
		return;
	end if;
	if p.status <> 'pending' then
		return next mitrad.payment_warning('money has come too late, it must be given back', p.id);
	end if;
	return query select * from mitrad.session_confirm_payment(p.id, true);
end
$$;

-- `told`: it came by webhook, not as an answer.
-- `invoice` NULL: the provider knows none.  One that is being made by somebody just now becomes known a little later, so
-- that it is asked for twice before a payment that nobody waits for is forgotten.
-- No rows: somebody holds the session or the payment just now, and no deadline shall wait for him; so the same must be said
-- again.
create function mitrad.payment_learn(payment uuid, invoice jsonb, told boolean default false)
returns setof mitrad.outcome
language plpgsql as $$
declare
	c public.chat_sessions;
	p public.payments;
begin
	select * into p from public.payments o where o.id = payment;
	if not found then
		return next mitrad.payment_warning('an invoice is of no payment that we know', payment);
		return;
	end if;
	select * into c from public.chat_sessions s where s.id = p.session_id for no key update skip locked;
	if not found then
		return;
	end if;
	select * into p from public.payments o where o.id = payment for no key update skip locked;
	if not found then
		return;
	end if;
	return next mitrad.outcome_refused(null);
	if invoice is null then
		update public.payments o set next_ask_at = null where o.id = p.id and o.status <> 'pending' and o.asked > 1;
	elsif (invoice ->> 'id' ~ '^[0-9A-Za-z_-]{1,100}$') is not true or invoice ->> 'external_id' is distinct from p.id::text then
		return next mitrad.payment_warning('an invoice is not of the payment that it came for', p.id);
	elsif invoice ->> 'status' in ('PAID', 'SETTLED') then
		return query select * from mitrad.payment_collected(p, invoice);
	elsif invoice ->> 'status' = 'EXPIRED' and told then
		-- The message of the money may have been overtaken, or lost, so this one is a reason to ask at once.  That question
		-- takes the place of the last: however often this is said, the forty are not used up.
		update public.payments o set next_ask_at = now(), asked = greatest(o.asked - 1, 1)
		where o.id = p.id and o.external_id = invoice ->> 'id' and o.next_ask_at > now();
	elsif invoice ->> 'status' = 'EXPIRED' then
		update public.payments o set external_id = invoice ->> 'id', next_ask_at = null
		where o.id = p.id and coalesce(o.external_id, invoice ->> 'id') = invoice ->> 'id';
	elsif invoice ->> 'status' = 'PENDING' and p.external_id is null then
		update public.payments o set
			external_id = invoice ->> 'id',
			url = case when invoice ->> 'invoice_url' ~ '^https?://' then invoice ->> 'invoice_url' end,
			-- Given up while it was being made: it must be closed.
			next_ask_at = case when p.status = 'pending' then o.next_ask_at else now() end
		where o.id = p.id
		returning * into p;
		if p.status = 'pending' then
			return query select * from mitrad.outcome_of(null, '{}', array[mitrad.payment_ready_event(c, p)]);
		end if;
	end if;
end
$$;

-- ---------------------------------------------------------------- webhooks

create function mitrad.webhook_store(provider text, body jsonb) returns setof mitrad.outcome
language sql as $$
	insert into public.payment_webhooks (provider, external_id, body)
		values (provider, left(body ->> 'external_id', 200), body);
	select * from mitrad.outcome_of('{}', '{}', '{}');
$$;

-- Makes something of a message; no rows: it must wait for its session.  One that cannot be understood is noted as such, for
-- the next ones must not wait behind it.
create function mitrad.webhook_take(w public.payment_webhooks) returns setof mitrad.outcome
language plpgsql as $$
declare
	said text := 'of no payment of ours';
begin
	if w.external_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
		said := 'processed';
		return query select * from mitrad.payment_learn(w.external_id::uuid, w.body, true);
		if not found then
			return;
		end if;
	end if;
	update public.payment_webhooks o set processed_at = now(), outcome = said where o.id = w.id;
	return next mitrad.outcome_refused(null);
exception
when transaction_rollback or query_canceled or lock_not_available or insufficient_resources then
	raise; -- it is taken up again
when others then
	update public.payment_webhooks o set processed_at = now(), outcome = 'failed: ' || sqlerrm where o.id = w.id;
	return next mitrad.payment_warning('a message of the payment provider could not be processed: ' || sqlerrm, w.id);
end
$$;

-- Takes the oldest message that need not wait; no rows: there is none.  One a call, so that each has a transaction of its own.
create function mitrad.webhook_process() returns setof mitrad.outcome
language plpgsql as $$
declare
	w public.payment_webhooks;
begin
	for w in
		select * from public.payment_webhooks o
		where o.processed_at is null
		order by o.received_at
		limit 100
		for no key update skip locked
	loop
		return query select * from mitrad.webhook_take(w);
		exit when found;
	end loop;
end
$$;

-- At most 10,000 a call; how many those were.
create function mitrad.webhooks_prune(out pruned integer)
language plpgsql as $$
begin
	delete from public.payment_webhooks w using (
		select o.id from public.payment_webhooks o
		where o.processed_at is not null
			and o.received_at < now() - make_interval(days => mitrad.config_integer('webhook_retention_days'))
		order by o.received_at
		limit 10000
	) o
	where w.id = o.id;
	get diagnostics pruned = row_count;
end
$$;
