-- audit: what an operator may still do, and the record of what operators did.
--
-- Every function by which an operator changes something takes `by` as its last argument and calls operator_refusal()
-- first and operator_acted() last, in the one transaction of the change.  Without `by` (a test route, a hand at
-- psql) nobody is refused and nothing is recorded.

-- Who asks, as his access token says, and in which request.
create type mitrad.actor as (id uuid, session uuid, request text);

-- Why he may not change anything any more, although his token has not expired yet; NULL if he may.  Whoever has signed in
-- and is in the table no longer is nobody.  A token that `mitrad token` made has neither a session nor an operator
-- behind it, and is taken at its word.
create function mitrad.operator_refusal(by mitrad.actor, admins_only boolean) returns text
language sql stable as $$
	select case
		when a.revoked_at is not null then 'UNAUTHENTICATED'
		when a.id is not null and u.id is null then 'UNAUTHENTICATED'
		when not u.is_active then 'ACCOUNT_INACTIVE'
		when admins_only and u.role <> 'admin' then 'FORBIDDEN'
	end
	from (select) one
	left join public.control_center_users u on u.id = (by).id
	left join public.auth_sessions a on a.id = (by).session
$$;

create function mitrad.operator_acted(
	by mitrad.actor, action text, entity text, entity_id text, before jsonb, after jsonb) returns void
language sql as $$
	insert into public.operator_actions (actor_id, actor_email, action, entity, entity_id, before, after, request_id)
	select (by).id, (select u.email from public.control_center_users u where u.id = (by).id),
		action, entity, entity_id, before, after, (by).request
	where (by).id is not null
$$;

-- Newest first.  Every filter may be NULL.
create function mitrad.audit_list(
	by_actor uuid, of_entity text, of_entity_id text, after_cursor text, page_size integer, by mitrad.actor)
returns mitrad.reply
language plpgsql stable as $$
declare
	refusal text := mitrad.operator_refusal(by, true);
	after_at timestamptz;
	after_id uuid;
begin
	if refusal is not null then
		return (refusal, null, null)::mitrad.reply;
	end if;
	select c.at, c.id into after_at, after_id from mitrad.cursor_read(after_cursor) c;
	if after_at is null then
		return mitrad.invalid('cursor', 'is not a cursor of this list');
	end if;

	return mitrad.page_reply('actions', array_agg(f.document), array_agg(f.cursor), page_size)
	from (
		select row_to_json(d) as document, mitrad.cursor_of(o.created_at, o.id) as cursor
		from public.operator_actions o
		cross join lateral (
			select o.id, mitrad.iso(o.created_at) as created_at, o.actor_id, o.actor_email,
				o.action, o.entity, o.entity_id, o.before, o.after, o.request_id
		) d
		where (o.created_at, o.id) < (after_at, after_id)
			and (by_actor is null or o.actor_id = by_actor)
			and (of_entity is null or o.entity = of_entity)
			and (of_entity_id is null or o.entity_id = of_entity_id)
		order by o.created_at desc, o.id desc
		limit page_size + 1
	) f;
end
$$;
