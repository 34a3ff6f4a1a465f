-- 009_used_tokens: a device that stays signed in for years uses up a refresh token an hour.  What is older than a token can
-- live is forgotten, session by session (mitrad.auth_session_refresh), and this finds it.

create index auth_refresh_tokens_used_oldest on public.auth_refresh_tokens_used (session_id, used_at);
drop index public.auth_refresh_tokens_used_of_session;
