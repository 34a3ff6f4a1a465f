-- 011_log_order: lines of the log of a mitra's online times, in the order in which they came about.
--
-- now() is when a transaction began, and it may have waited for the mitra's lock since.  So of two toggles that met, the
-- later line had the earlier time: the history said online, online, offline, offline, and who looks at the last line to learn
-- why a mitra is offline (functions/87_orphans.sql) saw another.  Under the lock the clock's own time only goes forward.
alter table public.mitra_online_logs alter column created_at set default clock_timestamp();
