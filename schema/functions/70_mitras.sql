-- mitras: what operators see and change of them.

create function mitrad.mitra_json(m public.mitras, s mitrad.mirror_state) returns json
language sql stable as $$
	select row_to_json(a) from (
		select m.id, m.phone, m.display_name, m.is_active, s.online, s.online_since,
			s.heartbeat as last_heartbeat_at, s.sessions as active_sessions,
			mitrad.iso(m.created_at) as created_at
	) a
$$;

create function mitrad.mitra_reply(mitra uuid) returns mitrad.transition
language sql stable as $$
	select null::text, null::text, mitrad.mitra_json(m, s)::text, s.*
	from public.mitras m
	join mitrad.mirror_state s on s.mitra_id = m.id
	where m.id = mitra
$$;

-- What of a mitra is on record.
create function mitrad.mitra_record(m public.mitras) returns jsonb
language sql stable as $$
	select jsonb_build_object('phone', m.phone, 'display_name', m.display_name, 'is_active', m.is_active)
$$;

create function mitrad.mitra_create(phone text, display_name text, by mitrad.actor default null)
returns mitrad.transition
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, false);
	created public.mitras;
begin
	if refusal is not null then
		return mitrad.refused(refusal);
	end if;
	insert into public.mitras as m (phone, display_name)
		values (mitra_create.phone, mitra_create.display_name)
	on conflict do nothing
	returning * into created;
	if not found then
		return mitrad.refused('PHONE_IN_USE');
	end if;
	perform mitrad.operator_acted(by, 'mitra.create', 'mitra', created.id::text, null, mitrad.mitra_record(created));
	return mitrad.mitra_reply(created.id);
end
$$;

-- The mitra with that phone, created if there is none; one that exists is left as it is, deactivated or not.
create function mitrad.mitra_seed(phone text, display_name text) returns mitrad.transition
language plpgsql as $$
begin
	insert into public.mitras (phone, display_name)
		values (mitra_seed.phone, mitra_seed.display_name)
	on conflict do nothing;
	return mitrad.mitra_reply((select m.id from public.mitras m where m.phone = mitra_seed.phone));
end
$$;

create function mitrad.mitra_get(mitra uuid) returns mitrad.transition
language plpgsql stable as $$
begin
	if not exists (select from public.mitras m where m.id = mitra) then
		return mitrad.refused('NOT_FOUND');
	end if;
	return mitrad.mitra_reply(mitra);
end
$$;

-- patch: {display_name?, is_active?}, of the right types.  A deactivation takes the mitra offline and ends
-- every sign-in, all in this one transaction; an activation brings neither back.  One row has it all: the answer,
-- the mirror state and the event, if there is one.
create function mitrad.mitra_update(mitra uuid, patch jsonb, by mitrad.actor default null)
returns mitrad.outcome
language plpgsql as $$
declare
	refusal text := mitrad.operator_refusal(by, false);
	new_name text := patch ->> 'display_name';
	new_active boolean := (patch ->> 'is_active')::boolean;
	former public.mitras;
	changed public.mitras;
	events mitrad.event[] := '{}';
	updated mitrad.outcome;
begin
	if refusal is not null then
		return mitrad.outcome_refused(refusal);
	end if;
	select * into former from public.mitras m where m.id = mitra for no key update;
	if not found then
		return mitrad.outcome_refused('NOT_FOUND');
	end if;

	update public.mitras m set
		display_name = coalesce(new_name, m.display_name),
		is_active = coalesce(new_active, m.is_active)
	where m.id = mitra
	returning * into changed;
	if mitrad.mitra_record(changed) <> mitrad.mitra_record(former) then
		perform mitrad.operator_acted(by, 'mitra.update', 'mitra', mitra::text,
			mitrad.mitra_record(former), mitrad.mitra_record(changed));
	end if;

	if not new_active then
		perform mitrad.take_offline(mitra, 'deactivated');
		if former.is_active then
			events := mitrad.status_events(array[mitra], 'deactivated');
		end if;
		update public.auth_sessions a set revoked_at = now()
		where a.user_type = 'mitra' and a.user_id = mitra and a.revoked_at is null;
	end if;
	select r.*, e.* into updated
	from mitrad.mitra_reply(mitra) r
	left join mitrad.events_emit(events) e on true;
	return updated;
end
$$;

-- A text as a LIKE pattern that finds it anywhere.
create function mitrad.like_pattern(wanted text) returns text
language sql immutable as $$
	select '%' || regexp_replace(wanted, '([\\%_])', '\\\1', 'g') || '%'
$$;

-- Does the phone hold these digits?  As people type them: 0812-34 finds +6281234….
create function mitrad.phone_matches(phone text, typed text) returns boolean
language sql immutable as $$
	select typed ~ '^[-+0-9 ().]*[1-9][-+0-9 ().]*$'
		and strpos(phone, ltrim(regexp_replace(typed, '[^0-9]', '', 'g'), '0')) > 0
$$;

-- Newest first.  Every filter may be NULL.
create function mitrad.mitra_list(
	search text, only_online boolean, only_active boolean, after_cursor text, page_size integer)
returns mitrad.reply
language plpgsql stable as $$
declare
	after_at timestamptz;
	after_id uuid;
begin
	select c.at, c.id into after_at, after_id from mitrad.cursor_read(after_cursor) c;
	if after_at is null then
		return mitrad.invalid('cursor', 'is not a cursor of this list');
	end if;

	return mitrad.page_reply('mitras', array_agg(f.document), array_agg(f.cursor), page_size)
	from (
		select mitrad.mitra_json(m, s) as document, mitrad.cursor_of(m.created_at, m.id) as cursor
		from public.mitras m
		join mitrad.mirror_state s on s.mitra_id = m.id
		where (m.created_at, m.id) < (after_at, after_id)
			and (only_online is null or s.online = only_online)
			and (only_active is null or m.is_active = only_active)
			and (search is null or m.display_name ilike mitrad.like_pattern(search)
				or mitrad.phone_matches(m.phone, search))
		order by m.created_at desc, m.id desc
		limit page_size + 1
	) f;
end
$$;

-- Newest first.
create function mitrad.mitra_online_logs(mitra uuid, after_cursor text, page_size integer)
returns mitrad.reply
language plpgsql stable as $$
declare
	after_at timestamptz;
	after_id uuid;
begin
	if not exists (select from public.mitras m where m.id = mitra) then
		return ('NOT_FOUND', null, null)::mitrad.reply;
	end if;
	select c.at, c.id into after_at, after_id from mitrad.cursor_read(after_cursor) c;
	if after_at is null then
		return mitrad.invalid('cursor', 'is not a cursor of this list');
	end if;

	return mitrad.page_reply('logs', array_agg(f.document), array_agg(f.cursor), page_size)
	from (
		select row_to_json(d) as document, mitrad.cursor_of(l.created_at, l.id) as cursor
		from public.mitra_online_logs l
		cross join lateral (select l.id, l.status, l.reason, mitrad.iso(l.created_at) as created_at) d
		where l.mitra_id = mitra and (l.created_at, l.id) < (after_at, after_id)
		order by l.created_at desc, l.id desc
		limit page_size + 1
	) f;
end
$$;
