-- config: app_config, read and changed through its definitions.
--
-- The effective value of a key is what app_config holds, if that is a value its definition allows, else the
-- default. So a slip of the hand in that table can make no part of the service fail.

-- Why the definition does not allow the value; NULL if it does.  Not immutable, as format() is not: see 10_common.sql.
create function mitrad.config_fault(d public.app_config_definitions, value jsonb) returns text
language sql stable as $$
	select case d.kind
	when 'integer' then
		case when jsonb_typeof(value) is distinct from 'number' then 'must be an integer'
		when trunc((value #>> '{}')::numeric) <> (value #>> '{}')::numeric then 'must be an integer'
		when (value #>> '{}')::numeric not between d.least and d.most
			then format('must be from %s to %s', d.least, d.most)
		end
	when 'boolean' then
		case when jsonb_typeof(value) is distinct from 'boolean' then 'must be true or false' end
	when 'choice' then
		case when jsonb_typeof(value) is distinct from 'string' or (value #>> '{}') <> all (d.choices)
			then 'must be one of ' || array_to_string(d.choices, ', ')
		end
	end
$$;

create view mitrad.config_effective as
	select d.key, d.kind,
		case when c.value is null or mitrad.config_fault(d, c.value) is not null then d."default"
		when d.kind = 'integer' then to_jsonb(trunc((c.value #>> '{}')::numeric)::integer)
		else c.value end as value
	from public.app_config_definitions d
	left join public.app_config c on c.key = d.key;

-- The same, kept: computing what a toggle reads took a quarter of its time.
create table mitrad.config (key text primary key, kind text not null, value jsonb not null);

-- And what a toggle reads of it, in one row: to look for two keys took a tenth.
create table mitrad.status_config (max_sessions integer, heartbeat_interval_seconds integer);

-- The lock, so that of two changes at once the second sees what the first has left; and as config_hold() wants.
create function mitrad.config_keep() returns void
language plpgsql as $$
begin
	lock table mitrad.config in share row exclusive mode;
	delete from mitrad.config;
	insert into mitrad.config select * from mitrad.config_effective;
	delete from mitrad.status_config;
	insert into mitrad.status_config
		select mitrad.config_integer('max_customers_per_mitra'), mitrad.config_integer('heartbeat_interval_seconds');
end
$$;

create function mitrad.config_settle() returns trigger
language plpgsql as $$
begin
	perform mitrad.config_keep();
	return null;
end
$$;

-- By its name it comes before deadlines_move, which reads what it has settled.
create trigger config_settle after insert or update or delete or truncate on public.app_config
	for each statement execute function mitrad.config_settle();
create trigger config_settle after insert or update or delete or truncate on public.app_config_definitions
	for each statement execute function mitrad.config_settle();

-- What takes many sessions at once calls this first: it works with one configuration, which stays as it is meanwhile.
--
-- A change locks every open session (82_deadlines.sql) and waits for each, holding those it has.  That the others take
-- with "skip locked" does not suffice, for this waits in one case: the row was being changed when it was looked at, that
-- was committed at the same moment, and who stood in line for the row has it now.  As a change in the configuration
-- stands in every line, it is often he, and each would have what the other waits for.
--
-- A change under ten thousand sessions takes half a second.  One that somebody has left open at psql does not stop the
-- sweeper: without a limit of its own, each call would wait for all of DATABASE_TIMEOUT_MS, and a lease lasts no longer.
create function mitrad.config_hold() returns void
language plpgsql set lock_timeout = '2s' as $$
begin
	lock table mitrad.config in share mode;
end
$$;

-- In a WHERE clause write (select mitrad.config_integer('…')): the planner then asks once, not once for
-- every row.
create function mitrad.config_integer(wanted text) returns integer
language plpgsql stable as $$
begin
	return (select c.value::integer from mitrad.config c where c.key = wanted and c.kind = 'integer');
end
$$;

create function mitrad.config_text(wanted text) returns text
language plpgsql stable as $$
begin
	return (select c.value #>> '{}' from mitrad.config c where c.key = wanted);
end
$$;

select mitrad.config_keep();

create function mitrad.config_seconds(wanted text) returns interval
language sql stable as $$
	select make_interval(secs => mitrad.config_integer(wanted))
$$;

create function mitrad.config_get() returns mitrad.reply
language sql stable as $$
	select null::text, null::text, json_object_agg(key, value order by key)::text from mitrad.config
$$;

-- All of the patch or nothing.  `keys` is the JSON array of the keys it named, for config:invalidate.
create function mitrad.config_patch(patch jsonb, by mitrad.actor default null,
	out problem text, out errors text, out answer text, out keys text)
language plpgsql as $$
declare
	former jsonb;
	changed jsonb;
begin
	problem := mitrad.operator_refusal(by, true);
	if problem is not null then
		return;
	end if;
	if jsonb_typeof(patch) is distinct from 'object' then
		select i.problem, i.errors into problem, errors
		from mitrad.invalid('', 'must be an object') i;
		return;
	end if;

	select array_to_json(array_agg(e order by e.field))::text into errors
	from (
		select p.key as field,
			case when d.key is null then 'is not a key of the configuration'
			else mitrad.config_fault(d, p.value) end as detail
		from jsonb_each(patch) p
		left join public.app_config_definitions d on d.key = p.key
	) e
	where e.detail is not null;
	if errors is not null then
		problem := 'INVALID_REQUEST';
		return;
	end if;

	-- By key, so that two patches at once cannot wait for each other; and before what was is read.
	perform from public.app_config c where patch ? c.key order by c.key for update;
	select jsonb_object_agg(c.key, c.value), jsonb_object_agg(c.key, patch -> c.key) into former, changed
	from mitrad.config c where patch ? c.key and patch -> c.key <> c.value;
	if changed is not null then
		perform mitrad.operator_acted(by, 'config.update', 'config', null, former, changed);
	end if;

	insert into public.app_config as c (key, value)
		select p.key, p.value from jsonb_each(patch) p order by p.key
	on conflict (key) do update set value = excluded.value, updated_at = now()
		where c.value <> excluded.value;

	answer := (mitrad.config_get()).answer;
	keys := array_to_json(array(select p.key from jsonb_each(patch) p order by p.key));
end
$$;
