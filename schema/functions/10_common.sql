-- common: how every function answers, and how times and cursors are written.
--
-- A request calls one function of this schema and gets everything it needs in the row that comes back:
--   problem   NULL if it went well, else the code of the problem to answer
--   errors    with INVALID_REQUEST: a JSON array of {"field","detail"}
--   answer    the JSON body
-- and, where a mitra's availability was changed or read, the mirror state (40_mirror.sql).
--
-- All names are qualified.  `set search_path` on a function would cost a little at every call and would
-- keep the planner from inlining it.
--
-- A function in SQL is inlined if it is a mere expression, or a set in FROM, and is not declared more constant than
-- what it calls.  Any other is parsed and planned at every call (up to PostgreSQL 17), which takes several times as
-- long as to run it; whereas the plans of one in PL/pgSQL are kept by the connection.  So whatever is called often, and
-- cannot be inlined, is in PL/pgSQL.

create type mitrad.reply as (problem text, errors text, answer text);

create type mitrad.transition as (
	problem text, errors text, answer text,
	mitra_id uuid, version bigint, online boolean, active boolean, sessions integer,
	heartbeat text, online_since text
);

create function mitrad.refused(code text) returns mitrad.transition
language plpgsql immutable as $$
declare
	refusal mitrad.transition;
begin
	refusal.problem := code;
	return refusal;
end
$$;

-- INVALID_REQUEST because of one field.
create function mitrad.invalid(field text, detail text) returns mitrad.reply
language sql stable as $$
	select 'INVALID_REQUEST', array_to_json(array_agg(e))::text, null::text from (select field, detail) e
$$;

-- 2026-05-25T10:07:55.123Z, as common/clock.h writes it: cut to milliseconds, not rounded.
create function mitrad.iso(at timestamptz) returns text
language sql stable as $$
	select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- A page's end, for the caller to send back: base64url of the microsecond and the id.  Milliseconds would
-- not do, rows of the same millisecond would be skipped or repeated.
create function mitrad.cursor_of(at timestamptz, id uuid) returns text
language sql stable as $$
	select translate(encode(convert_to((extract(epoch from at) * 1000000)::bigint || ' ' || id, 'UTF8'), 'base64'),
		E'+/=\n', '-_')
$$;

-- What cursor_of() wrote: of a list from the newest on, whose begin has no cursor (NULL).  `at` is NULL for anything else.
create function mitrad.cursor_read(cursor text, out at timestamptz, out id uuid)
language plpgsql stable as $$
declare
	plain text;
begin
	if cursor is null then
		at := 'infinity';
		id := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
		return;
	end if;
	plain := convert_from(decode(rpad(translate(cursor, '-_', '+/'),
		(length(cursor) + 3) / 4 * 4, '='), 'base64'), 'UTF8');
	if plain !~ '^-?[0-9]{1,16} [0-9a-f-]{36}$' then
		return;
	end if;
	id := split_part(plain, ' ', 2)::uuid;
	at := timestamptz 'epoch' + split_part(plain, ' ', 1)::bigint * interval '1 microsecond';
exception when data_exception then
	at := null;
end
$$;

-- {"<name>":[…],"next_cursor":…} from one row more than the page holds, which tells that there is a next one.
create function mitrad.page_reply(name text, documents json[], cursors text[], page_size integer)
returns mitrad.reply
language sql immutable as $$
	select null::text, null::text, format('{"%s":%s,"next_cursor":%s}', name,
		array_to_json(coalesce(documents[:page_size], '{}')),
		coalesce(to_json(case when cardinality(cursors) > page_size then cursors[page_size] end)::text, 'null'))
$$;
