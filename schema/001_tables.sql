-- 001_tables: every table of the service.
--
-- Read it from top to bottom: the mitras and whether they take chats, the customers, the chats between the
-- two, then who may sign in, then what operators can tune.  All ids are random UUIDs, all times are
-- timestamptz.
--
-- People may edit these tables by hand.  So the constraints refuse what no part of the program could
-- understand, and nothing more; what must follow from a change, such as mitras.version, is done by triggers
-- (functions/30_versions.sql) and not by the goodwill of whoever makes it.
--
-- Lock order, for every transaction: chat_sessions, then mitras, then mitra_online_status; rows of one
-- table by id.

-- ---------------------------------------------------------------- mitras

-- version counts the changes that the mirror in Valkey must learn of: active, online, load.  Under the
-- row's lock it gives them an order, so that of two racing writers of the mirror the later change wins,
-- whoever comes first.
create table public.mitras (
	id           uuid        primary key default gen_random_uuid(),
	phone        text        not null unique check (phone <> ''),
	display_name text        not null default '',
	is_active    boolean     not null default true,
	version      bigint      not null default 1,
	created_at   timestamptz not null default now()
) with (fillfactor = 80);

create index mitras_newest on public.mitras (created_at, id);
create index mitras_deactivated on public.mitras (id) where not is_active;

-- One row for each mitra who ever went online.  Every online mitra's row is written once a minute by the
-- heartbeat mirror: no index may hold last_heartbeat_at, and half of each page stays free, so that those
-- updates are HOT and leave nothing for vacuum to collect from indexes.
create table public.mitra_online_status (
	mitra_id          uuid        primary key references public.mitras on delete cascade,
	is_online         boolean     not null default false,
	last_heartbeat_at timestamptz,
	online_since      timestamptz
) with (fillfactor = 50);

create index mitra_online_status_online on public.mitra_online_status (mitra_id) where is_online;

create table public.mitra_online_logs (
	id         uuid        primary key default gen_random_uuid(),
	mitra_id   uuid        not null references public.mitras on delete cascade,
	status     text        not null check (status in ('online', 'offline')),
	reason     text        not null check (reason in ('manual', 'auto_offline', 'deactivated')),
	created_at timestamptz not null default now()
);

create index mitra_online_logs_newest on public.mitra_online_logs (mitra_id, created_at desc, id desc);

-- ---------------------------------------------------------------- customers

create table public.customers (
	id           uuid        primary key default gen_random_uuid(),
	display_name text,
	phone        text        unique,
	email        text,
	google_sub   text        unique,
	apple_sub    text        unique,
	created_at   timestamptz not null default now()
);

-- ---------------------------------------------------------------- chats

-- searching_since is set where a search begins later than the session, that is after a payment.
-- A mitra with chats cannot be deleted, only deactivated: the history would lose its meaning.
create table public.chat_sessions (
	id               uuid        primary key default gen_random_uuid(),
	customer_id      uuid        not null references public.customers on delete cascade,
	mitra_id         uuid        references public.mitras,
	status           text        not null default 'searching' check (status in
	                     ('pending_payment', 'searching', 'active', 'ended', 'cancelled', 'unmatched')),
	duration_minutes integer     not null default 30 check (duration_minutes between 1 and 1440),
	created_at       timestamptz not null default now(),
	searching_since  timestamptz,
	matched_at       timestamptz,
	started_at       timestamptz,
	expires_at       timestamptz,
	ended_at         timestamptz,
	end_reason       text
);

create unique index chat_sessions_one_open_per_customer on public.chat_sessions (customer_id)
	where status in ('pending_payment', 'searching', 'active');
-- A mitra's load is counted in this index alone, at every transition and for every row of a reseed.
create index chat_sessions_load on public.chat_sessions (mitra_id)
	where status in ('active', 'pending_payment');
-- The dashboard's counts, and the deadlines of what is not active yet.
create index chat_sessions_open on public.chat_sessions (status, created_at)
	where status in ('pending_payment', 'searching', 'active');
create index chat_sessions_expiring on public.chat_sessions (expires_at) where status = 'active';
create index chat_sessions_of_customer on public.chat_sessions (customer_id, created_at desc, id desc);
create index chat_sessions_of_mitra on public.chat_sessions (mitra_id, created_at desc, id desc);

-- An offer: this session was shown to that mitra.
create table public.chat_request_notifications (
	session_id   uuid        not null references public.chat_sessions on delete cascade,
	mitra_id     uuid        not null references public.mitras on delete cascade,
	status       text        not null default 'sent'
	                         check (status in ('sent', 'accepted', 'declined', 'closed')),
	created_at   timestamptz not null default now(),
	responded_at timestamptz,
	primary key (session_id, mitra_id)
);

create index chat_request_notifications_sent on public.chat_request_notifications (mitra_id, created_at)
	where status = 'sent';
create index chat_request_notifications_of_mitra on public.chat_request_notifications (mitra_id);

-- ---------------------------------------------------------------- signing in

-- user_id points into mitras, customers or control_center_users, as user_type says; so it has no foreign key.
-- The refresh token itself is nowhere: only its hash.
create table public.auth_sessions (
	id                 uuid        primary key default gen_random_uuid(),
	user_type          text        not null check (user_type in ('mitra', 'customer', 'operator')),
	user_id            uuid        not null,
	refresh_token_hash text        not null unique,
	created_at         timestamptz not null default now(),
	expires_at         timestamptz not null,
	revoked_at         timestamptz
);

create index auth_sessions_of_user on public.auth_sessions (user_type, user_id) where revoked_at is null;

-- user_type says at which door the code was asked for; it opens no other.
create table public.otp_requests (
	id         uuid        primary key default gen_random_uuid(),
	user_type  text        not null check (user_type in ('mitra', 'customer')),
	phone      text        not null,
	address    inet,
	code_hash  text        not null,
	attempts   integer     not null default 0,
	created_at timestamptz not null default now(),
	expires_at timestamptz not null,
	used_at    timestamptz
);

create index otp_requests_of_phone on public.otp_requests (phone, created_at desc);
create index otp_requests_of_address on public.otp_requests (address, created_at desc);

create table public.control_center_users (
	id                 uuid        primary key default gen_random_uuid(),
	email              text        not null,
	password_hash      text        not null,
	role               text        not null check (role in ('admin', 'agent')),
	failed_login_count integer     not null default 0,
	lockout_until      timestamptz,
	created_at         timestamptz not null default now()
);

create unique index control_center_users_email on public.control_center_users (lower(email));

-- ---------------------------------------------------------------- what operators tune

-- What a key of app_config may hold.  integer: least..most; choice: one of choices.
create table public.app_config_definitions (
	key       text    primary key,
	kind      text    not null check (kind in ('integer', 'boolean', 'choice')),
	least     integer,
	most      integer,
	choices   text[],
	"default" jsonb   not null,
	meaning   text    not null,
	check (kind <> 'integer' or (least is not null and most is not null and least <= most)),
	check (kind <> 'choice' or (choices is not null and cardinality(choices) > 0))
);

-- The values.  Nothing is enforced here: whoever edits by hand may err, and then the default counts.
create table public.app_config (
	key        text        primary key,
	value      jsonb       not null,
	updated_at timestamptz not null default now()
);

insert into public.app_config_definitions (key, kind, least, most, "default", meaning) values
	('max_customers_per_mitra', 'integer', 1, 100, '3',
		'how many active and unpaid sessions a mitra may hold at once'),
	('stale_after_seconds', 'integer', 10, 86400, '90',
		'a mitra whose last heartbeat is older is not available, and is taken offline'),
	('heartbeat_interval_seconds', 'integer', 1, 3600, '30',
		'how often a mitra''s app is told to beat'),
	('auto_offline_max_percent', 'integer', 1, 100, '50',
		'a sweep that would take more of the mitras offline waits for a second one to agree'),
	('goodbye_seconds', 'integer', 0, 3600, '30',
		'how long a session stays active after its time has run out'),
	('payment_timeout_seconds', 'integer', 10, 86400, '900',
		'how long a session may stay unpaid'),
	('blast_timeout_seconds', 'integer', 5, 3600, '60',
		'how long a mitra is searched for'),
	('blast_wave_size', 'integer', 0, 10000, '0',
		'how many mitras are asked at a time; 0: all'),
	('blast_wave_seconds', 'integer', 1, 3600, '15',
		'how long a wave may answer before the next is asked'),
	('offers_per_mitra_max', 'integer', 1, 100, '3',
		'how many open offers a mitra may see at once'),
	('no_answer_limit', 'integer', 0, 100, '3',
		'a mitra who lets so many offers in a row lapse is taken offline; 0: never'),
	('orphan_grace_seconds', 'integer', 0, 3600, '30',
		'how long an active session waits for a mitra who has gone'),
	('otp_ttl_seconds', 'integer', 30, 3600, '300',
		'life of a one-time code'),
	('otp_attempts_max', 'integer', 1, 20, '5',
		'wrong guesses before a code is void'),
	('otp_resend_seconds', 'integer', 0, 3600, '60',
		'least time between two codes for one phone'),
	('otp_per_phone_hour', 'integer', 1, 1000, '5',
		'codes an hour for one phone'),
	('otp_per_address_hour', 'integer', 1, 100000, '20',
		'codes an hour for one network address'),
	('login_attempts_max', 'integer', 1, 100, '5',
		'wrong passwords in a row before an operator is locked out'),
	('login_lockout_seconds', 'integer', 1, 86400, '900',
		'how long a lockout lasts');

insert into public.app_config_definitions (key, kind, choices, "default", meaning) values
	('payment_timing', 'choice', '{none,before_match,after_match}', '"none"',
		'when a session is paid: never, before the search, or after a mitra has accepted');

insert into public.app_config (key, value)
	select key, "default" from public.app_config_definitions;
