-- marks: who must be looked at by the matcher (84_matching.sql, 87_orphans.sql), noted by triggers.
--
-- A mitra who comes online, or has a session less, may take offers of sessions that are waiting.  One who was
-- swept offline or deactivated has left sessions behind.  The transition itself cannot deal with those
-- sessions: it holds the mitra's lock already, and sessions are locked first.  So it leaves a mark, in the
-- same transaction, and the sweeper, woken by pub/sub, goes after it within milliseconds.
--
-- Whoever sets a mark holds its mitra's lock, so nobody waits for a mark but behind the matcher, which waits
-- for nobody's session or mitra.

create function mitrad.mark(mitra uuid, offers boolean, lost boolean) returns void
language plpgsql as $$
begin
	insert into public.matching_marks as k (mitra_id, offers_at, lost_at)
		values (mitra, case when offers then now() end, case when lost then now() end)
	on conflict (mitra_id) do update set
		offers_at = coalesce(excluded.offers_at, k.offers_at),
		lost_at = coalesce(excluded.lost_at, k.lost_at);
end
$$;

-- An edit that leaves him online is no arrival.
create function mitrad.mark_arrival() returns trigger
language plpgsql as $$
begin
	if tg_op = 'INSERT' or not old.is_online then
		perform mitrad.mark(new.mitra_id, true, true);
	end if;
	return null;
end
$$;

create trigger status_marked after insert or update of is_online on public.mitra_online_status
	for each row when (new.is_online) execute function mitrad.mark_arrival();

-- Who goes offline by hand wants no more requests; his sessions go on.  These two reasons mean that he is gone.
create function mitrad.mark_loss() returns trigger
language plpgsql as $$
begin
	perform mitrad.mark(new.mitra_id, false, true);
	return null;
end
$$;

create trigger log_marked after insert on public.mitra_online_logs
	for each row when (new.reason in ('auto_offline', 'deactivated')) execute function mitrad.mark_loss();

create function mitrad.mark_activity() returns trigger
language plpgsql as $$
begin
	perform mitrad.mark(new.id, new.is_active, true);
	return null;
end
$$;

create trigger mitra_marked after update of is_active on public.mitras
	for each row when (old.is_active <> new.is_active) execute function mitrad.mark_activity();

create function mitrad.mark_relief() returns trigger
language plpgsql as $$
begin
	if tg_op = 'DELETE' or not mitrad.is_load(new.status) or new.mitra_id is distinct from old.mitra_id then
		perform mitrad.mark(old.mitra_id, true, false);
	end if;
	return null;
end
$$;

-- By its name it comes after session_changed, which has the mitra's lock.
create trigger session_marked after update of status, mitra_id or delete on public.chat_sessions
	for each row when (mitrad.is_load(old.status) and old.mitra_id is not null)
	execute function mitrad.mark_relief();
