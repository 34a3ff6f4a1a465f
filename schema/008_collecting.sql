-- 008_collecting: payments that a provider collects: what it must be asked, and when.

-- next_ask_at: when to ask the provider next; NULL: there is nothing to ask.  asked: how often that was done since the
-- payment was opened, or closed.  refund_due: money has come for which nobody gets anything, so it must be given back.
alter table public.payments
	add column next_ask_at timestamptz,
	add column asked       integer not null default 0,
	add column paid_amount numeric;

alter table public.payments drop constraint payments_status_check;
alter table public.payments add constraint payments_status_check
	check (status in ('pending', 'paid', 'failed', 'expired', 'cancelled', 'refund_due'));

create index payments_to_ask on public.payments (next_ask_at) where next_ask_at is not null;
create index payments_refund_due on public.payments (created_at) where status = 'refund_due';
create index payment_webhooks_processed on public.payment_webhooks (received_at) where processed_at is not null;

insert into public.app_config_definitions (key, kind, least, most, "default", meaning) values
	('webhook_retention_days', 'integer', 1, 3650, '90',
		'how long the messages of payment providers are kept, once they are processed');

insert into public.app_config (key, value)
	select d.key, d."default" from public.app_config_definitions d
	on conflict do nothing;
