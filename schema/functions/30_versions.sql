-- versions: the triggers that count up mitras.version.
--
-- Whatever the mirror shows of a mitra may not change without its version, whoever makes the change: a
-- transition of ours, the next release's, or a person with psql.  So no function sets the version; these
-- triggers alone do, for
--   mitras.is_active, mitra_online_status.is_online, and each chat_sessions row that enters or leaves a
--   mitra's load.
-- A heartbeat is none of these: its statement fires nothing here.
--
-- (TRUNCATE fires no row trigger.  The next reseed mends it all the same, as the mirror takes an equal
-- version.)

-- THE definition of load: a session in one of these states occupies its mitra.
-- The text is that of the index chat_sessions_load; being inlined, the call finds that index.
create function mitrad.is_load(status text) returns boolean
language sql immutable as $$
	select status in ('active', 'pending_payment')
$$;

-- The number after it.  Who has come to the end of them, which takes an edit by hand, stays there: the mirror takes an
-- equal version, so he is shown rightly as long as nobody races, and by every reseed.
create function mitrad.version_after(version bigint) returns bigint
language sql immutable as $$
	select least(version + 1, 9007199254740991)
$$;

-- Two mitras of one change are locked by id, as everywhere.
create function mitrad.version_bump(one uuid, other uuid) returns void
language plpgsql as $$
begin
	if one is distinct from other and one is not null and other is not null then
		perform from public.mitras m where m.id in (one, other) order by m.id for no key update;
	end if;
	update public.mitras m set version = mitrad.version_after(m.version) where m.id in (one, other);
end
$$;

-- The version never goes back either, not even by hand: the mirror would refuse all that follows.
create function mitrad.mitra_changed() returns trigger
language plpgsql as $$
begin
	new.version := mitrad.version_after(greatest(old.version, new.version));
	return new;
end
$$;

create trigger mitra_changed before update on public.mitras
	for each row when (old.is_active <> new.is_active or new.version < old.version)
	execute function mitrad.mitra_changed();

-- Who is online has a time since when, and who is not has none; a hand edit need not think of it.  The condition is the
-- trigger's, as a heartbeat is stored by an insert first, which need not call for it.
create function mitrad.status_completed() returns trigger
language plpgsql as $$
begin
	if not new.is_online then
		new.online_since := null;
	elsif new.online_since is null
		or (tg_op = 'UPDATE' and not old.is_online and new.online_since = old.online_since) then
		new.online_since := now();
	end if;
	return new;
end
$$;

create trigger status_completed
	before insert or update of is_online, online_since on public.mitra_online_status
	for each row when (new.is_online or new.online_since is not null)
	execute function mitrad.status_completed();

-- Nobody was heard of, or went online, in time to come: such a row would be fresh, and safe from every sweep,
-- until then.  A minute's grace is for a clock that differs.  The condition is the trigger's, so that a
-- heartbeat pays for one comparison and calls nothing.
create function mitrad.status_believable() returns trigger
language plpgsql as $$
begin
	new.last_heartbeat_at := least(new.last_heartbeat_at, now());
	new.online_since := least(new.online_since, now());
	return new;
end
$$;

create trigger status_believable
	before insert or update of last_heartbeat_at, online_since on public.mitra_online_status
	for each row when (greatest(new.last_heartbeat_at, new.online_since) > now() + interval '1 minute')
	execute function mitrad.status_believable();

-- What has come to lie in the future without being written, as the clock was set back: the trigger puts it to now, for
-- at most so many.  Returns how many.  By id, as everywhere; what is held just now is being written anyway.
create function mitrad.status_believe(most integer, out believed integer)
language plpgsql as $$
begin
	update public.mitra_online_status s set last_heartbeat_at = s.last_heartbeat_at
	where s.mitra_id in (
		select f.mitra_id from public.mitra_online_status f
		where greatest(f.last_heartbeat_at, f.online_since) > now() + interval '1 minute'
		order by f.mitra_id limit most
		for no key update skip locked);
	get diagnostics believed = row_count;
end
$$;

create function mitrad.status_changed() returns trigger
language plpgsql as $$
declare
	leaves uuid := case when old.is_online then old.mitra_id end; -- who was online by this row before
	enters uuid := case when new.is_online then new.mitra_id end; -- and who is now
begin
	if leaves is distinct from enters then
		perform mitrad.version_bump(leaves, enters);
	end if;
	return null;
end
$$;

create trigger status_changed
	after insert or delete or update of is_online, mitra_id on public.mitra_online_status
	for each row execute function mitrad.status_changed();

create function mitrad.session_changed() returns trigger
language plpgsql as $$
declare
	leaves uuid := case when mitrad.is_load(old.status) then old.mitra_id end; -- whose load this session was before
	enters uuid := case when mitrad.is_load(new.status) then new.mitra_id end; -- and whose it is now
begin
	if leaves is distinct from enters then
		perform mitrad.version_bump(leaves, enters);
	end if;
	return null;
end
$$;

create trigger session_changed
	after insert or delete or update of status, mitra_id on public.chat_sessions
	for each row execute function mitrad.session_changed();
