-- 005_pairing: what the search for a mitra and the life of a session need beyond 001: deadlines, rounds of
-- offers, extensions, payments, and the events that tell everybody concerned.
--
-- Lock order, for every transaction: chat_sessions, then mitras, then mitra_online_status, then
-- matching_marks, then user_event_counters (mitras' before customers'); rows of one table by id.  Offers,
-- extensions and payments need no place in it: whoever changes one holds its session's lock.

-- ---------------------------------------------------------------- sessions

-- due_at is when the sweeper must look at the session next.  A trigger derives it from the other columns
-- and from app_config (functions/82_deadlines.sql), so that it is right after an edit by hand as well.
--
-- search_round counts the searches: a session whose mitra was lost is offered again, also to those who have
-- seen it before.  remaining is the time that it then has left.
alter table public.chat_sessions
	add column payment_timing text not null default 'none'
		check (payment_timing in ('none', 'before_match', 'after_match')),
	add column paid_at        timestamptz,
	add column search_round   integer not null default 1,
	add column next_wave_at   timestamptz,                    -- of a search: when to offer it to more mitras
	add column starved        boolean not null default false, -- of a search: somebody has no room for its offer yet
	add column warned_at      timestamptz,                    -- the customer was told that the end is near
	add column time_up_at     timestamptz,                    -- everybody was told to say goodbye
	add column orphaned_at    timestamptz,                    -- since when the mitra of an active session is gone
	add column remaining      interval,
	add column extension_until timestamptz,                   -- the open extension lapses then
	add column due_at         timestamptz;

create index chat_sessions_due on public.chat_sessions (due_at) where due_at is not null;
create index chat_sessions_waves on public.chat_sessions (next_wave_at) where status = 'searching';
create index chat_sessions_newest on public.chat_sessions (created_at desc, id desc);
-- Replaced by the one over due_at.
drop index public.chat_sessions_expiring;

-- What the matcher must look at, set by triggers when a mitra comes, goes, or has a session less.
create table public.matching_marks (
	mitra_id  uuid primary key references public.mitras on delete cascade,
	offers_at timestamptz, -- may take offers of waiting sessions from then on
	lost_at   timestamptz  -- came or went: active sessions may have become orphans, or have their mitra again
);

create index matching_marks_offers on public.matching_marks (offers_at) where offers_at is not null;
create index matching_marks_lost on public.matching_marks (lost_at) where lost_at is not null;

-- ---------------------------------------------------------------- offers

alter table public.chat_request_notifications
	add column round        integer not null default 1,
	add column close_reason text check (close_reason in ('taken', 'cancelled', 'expired', 'rerouted', 'ended'));

-- The last offers to a mitra, for the ramp.
create index chat_request_notifications_newest on public.chat_request_notifications (mitra_id, created_at desc);
drop index public.chat_request_notifications_of_mitra;
-- How a mitra dealt with the last ones, for no_answer_limit.
create index chat_request_notifications_answers on public.chat_request_notifications (mitra_id, created_at desc)
	where status in ('accepted', 'declined') or close_reason = 'expired';

alter table public.mitra_online_logs drop constraint mitra_online_logs_reason_check;
alter table public.mitra_online_logs add constraint mitra_online_logs_reason_check
	check (reason in ('manual', 'auto_offline', 'deactivated', 'no_answer'));

-- ---------------------------------------------------------------- extensions and payments

create table public.session_extensions (
	id           uuid        primary key default gen_random_uuid(),
	session_id   uuid        not null references public.chat_sessions on delete cascade,
	minutes      integer     not null check (minutes between 1 and 1440),
	status       text        not null default 'requested' check (status in
	                 ('requested', 'pending_payment', 'accepted', 'declined', 'expired')),
	created_at   timestamptz not null default now(),
	responded_at timestamptz
);

create index session_extensions_of_session on public.session_extensions (session_id, created_at);
create unique index session_extensions_one_open on public.session_extensions (session_id)
	where status in ('requested', 'pending_payment');

-- extension_id: what is paid for; NULL: the session itself.  The amount is in the currency's usual unit.
create table public.payments (
	id           uuid        primary key default gen_random_uuid(),
	session_id   uuid        not null references public.chat_sessions on delete cascade,
	extension_id uuid        references public.session_extensions on delete cascade,
	provider     text        not null,
	status       text        not null default 'pending'
	                         check (status in ('pending', 'paid', 'failed', 'expired', 'cancelled')),
	amount       bigint      not null check (amount >= 0),
	currency     text        not null,
	external_id  text,
	url          text,
	created_at   timestamptz not null default now(),
	paid_at      timestamptz
);

create index payments_of_session on public.payments (session_id, created_at);
create index payments_pending on public.payments (provider, created_at) where status = 'pending';
create unique index payments_external on public.payments (provider, external_id);

-- What a provider sent us, stored before anything is made of it.
create table public.payment_webhooks (
	id           uuid        primary key default gen_random_uuid(),
	provider     text        not null,
	external_id  text,
	body         jsonb       not null,
	received_at  timestamptz not null default now(),
	processed_at timestamptz,
	outcome      text
);

create index payment_webhooks_open on public.payment_webhooks (received_at) where processed_at is null;

-- ---------------------------------------------------------------- events

-- last_seq of a user is raised in the transaction that stores the events; its row's lock lasts until the
-- commit, so sequence numbers have no gap and become visible in their order.
create table public.user_event_counters (
	user_type text   not null,
	user_id   uuid   not null,
	last_seq  bigint not null default 0,
	primary key (user_type, user_id)
) with (fillfactor = 50);

create table public.user_events (
	user_type  text        not null,
	user_id    uuid        not null,
	seq        bigint      not null,
	id         uuid        not null default gen_random_uuid(),
	type       text        not null,
	session_id uuid,
	at         timestamptz not null default clock_timestamp(),
	data       jsonb       not null default '{}',
	primary key (user_type, user_id, seq)
);

create index user_events_oldest on public.user_events (at);

-- ---------------------------------------------------------------- what operators tune

insert into public.app_config_definitions (key, kind, least, most, "default", meaning) values
	('session_warning_seconds', 'integer', 0, 3600, '120',
		'how long before its end the parties of a session are warned; 0: never'),
	('extension_answer_seconds', 'integer', 5, 3600, '60',
		'how long a mitra may think about an extension'),
	('price_per_minute', 'integer', 0, 1000000000, '1000',
		'what a minute costs, where sessions are paid'),
	('event_retention_days', 'integer', 1, 365, '7',
		'how long events can be fetched');

insert into public.app_config_definitions (key, kind, choices, "default", meaning) values
	('payment_provider', 'choice', '{none,manual,xendit}', '"manual"',
		'who collects payments; none: nobody, so nothing is paid whatever payment_timing says'),
	('payment_currency', 'choice', '{IDR}', '"IDR"',
		'the currency of prices');

insert into public.app_config (key, value)
	select d.key, d."default" from public.app_config_definitions d
	on conflict do nothing;
