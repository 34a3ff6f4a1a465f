-- 003_operators: operators who can be put out of service, guesses at nobody's password, and the record of what
-- operators change.

alter table public.control_center_users
	add column is_active boolean not null default true;

-- Sign-ins with an address that no operator has.  They are counted and locked out like an operator's own, or else
-- a lockout would tell who is one.  Only a hash is kept: people type passwords into the wrong field.
create table public.login_strangers (
	email_hash         bytea       primary key,
	failed_login_count integer     not null default 0,
	lockout_until      timestamptz,
	last_at            timestamptz not null default now()
);

create index login_strangers_oldest on public.login_strangers (last_at);

-- Who changed what, from what, to what.  actor_id has no foreign key: the record outlives whoever is in it, and a token
-- made by `mitrad token` has nobody behind it.  Never a secret: a password's change is one without before and after.
create table public.operator_actions (
	id          uuid        primary key default gen_random_uuid(),
	created_at  timestamptz not null default clock_timestamp(),
	actor_id    uuid        not null,
	actor_email text,
	action      text        not null,
	entity      text        not null,
	entity_id   text,
	before      jsonb,
	after       jsonb,
	request_id  text
);

create index operator_actions_newest on public.operator_actions (created_at desc, id desc);
create index operator_actions_of_actor on public.operator_actions (actor_id, created_at desc, id desc);
create index operator_actions_of_entity on public.operator_actions (entity, entity_id, created_at desc, id desc);

-- It stands here and not among the functions: those are dropped and made anew with every upgrade, and the record
-- shall not be open for a moment.  Whoever owns the table can still take the trigger away, and is then seen to
-- have done so on purpose.
create function public.operator_actions_refuse() returns trigger
language plpgsql as $$
begin
	raise exception 'operator_actions is append-only' using errcode = 'insufficient_privilege';
end
$$;

create trigger operator_actions_append_only
	before update or delete or truncate on public.operator_actions
	for each statement execute function public.operator_actions_refuse();
