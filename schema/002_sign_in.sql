-- 002_sign_in: what signing in needs beyond its tables of 001.

-- The token before the current one, when it was exchanged, and what the current one was made with from it: so a client
-- that lost the answer gets the same successor again (see mitrad.auth_session_refresh).
alter table public.auth_sessions
	add column previous_token_hash text,
	add column rotated_at          timestamptz,
	add column successor_salt      text;

create index auth_sessions_expired on public.auth_sessions (expires_at);

-- Every refresh token that was exchanged for the next, as long as its session is remembered: one that comes again is told
-- from one that never was.
create table public.auth_refresh_tokens_used (
	token_hash text        primary key,
	session_id uuid        not null references public.auth_sessions on delete cascade,
	used_at    timestamptz not null default now()
);

create index auth_refresh_tokens_used_of_session on public.auth_refresh_tokens_used (session_id);
