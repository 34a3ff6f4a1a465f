-- 007_figures: what the dashboard and the estimate of a wait are read from.

create index chat_sessions_matched on public.chat_sessions (matched_at desc) where matched_at is not null;
create index chat_sessions_closed on public.chat_sessions (ended_at, status) where ended_at is not null;
