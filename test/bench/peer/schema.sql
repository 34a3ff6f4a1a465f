-- The peer's database: the tables of the described backend that its hot paths touch, with the indexes that they need.
create table mitras (
	id           uuid        primary key default gen_random_uuid(),
	phone        text        not null unique,
	display_name text        not null default '',
	is_active    boolean     not null default true,
	created_at   timestamptz not null default now()
);

create table mitra_online_status (
	mitra_id          uuid        primary key references mitras,
	is_online         boolean     not null default false,
	last_heartbeat_at timestamptz,
	online_since      timestamptz
);

create table mitra_online_logs (
	id         uuid        primary key default gen_random_uuid(),
	mitra_id   uuid        not null references mitras,
	status     text        not null,
	reason     text        not null,
	created_at timestamptz not null default now()
);
create index on mitra_online_logs (mitra_id, created_at);

create table chat_sessions (
	id          uuid        primary key default gen_random_uuid(),
	customer_id uuid        not null,
	mitra_id    uuid        references mitras,
	status      text        not null,
	created_at  timestamptz not null default now()
);
create index on chat_sessions (mitra_id, status);

create table auth_sessions (
	id         uuid        primary key,
	user_type  text        not null,
	user_id    uuid        not null,
	created_at timestamptz not null default now(),
	revoked_at timestamptz
);
