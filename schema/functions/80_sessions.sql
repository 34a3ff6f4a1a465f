-- sessions: how they are shown.

-- A later one of the same session or extension is money that came twice (89_collecting.sql).
create function mitrad.payment_json(p public.payments) returns json
language sql stable as $$
	select json_build_object('id', p.id, 'status', p.status, 'amount', p.amount, 'currency', p.currency,
		'provider', p.provider, 'url', p.url)
$$;

create function mitrad.extension_json(x public.session_extensions) returns json
language plpgsql stable as $$
begin
	return (
		select row_to_json(d) from (
			select x.id, x.minutes, x.status, mitrad.iso(x.created_at) as created_at,
				mitrad.iso(x.responded_at) as responded_at,
				(select mitrad.payment_json(p) from public.payments p
					where p.session_id = x.session_id and p.extension_id = x.id
					order by p.created_at limit 1) as payment
		) d
	);
end
$$;

create function mitrad.session_json(c public.chat_sessions) returns json
language plpgsql stable as $$
begin
	return (
		select row_to_json(d) from (
			select c.id, c.status, c.customer_id, c.mitra_id, c.duration_minutes,
				mitrad.iso(c.created_at) as created_at, mitrad.iso(c.matched_at) as matched_at,
				mitrad.iso(c.started_at) as started_at, mitrad.iso(c.expires_at) as expires_at,
				mitrad.iso(c.ended_at) as ended_at, c.end_reason,
				mitrad.session_position(c) as position,
				mitrad.session_estimated_wait(c) as estimated_wait_seconds,
				(select mitrad.payment_json(p) from public.payments p
					where p.session_id = c.id and p.extension_id is null
					order by p.created_at limit 1) as payment,
				(select coalesce(json_agg(mitrad.extension_json(x) order by x.created_at), '[]')
					from public.session_extensions x where x.session_id = c.id) as extensions
		) d
	);
end
$$;

create function mitrad.session_answer(session uuid) returns text
language plpgsql stable as $$
begin
	return (select mitrad.session_json(c)::text from public.chat_sessions c where c.id = session);
end
$$;

-- A party of the session; to anybody else it does not exist.  An operator is a party of every session.
create function mitrad.session_is_of(c public.chat_sessions, user_type text, user_id uuid) returns boolean
language sql immutable as $$
	select case user_type
		when 'customer' then c.customer_id = user_id
		when 'mitra' then coalesce(c.mitra_id = user_id, false)
		else user_type = 'operator' end
$$;

create function mitrad.session_get(session uuid, user_type text, user_id uuid) returns mitrad.reply
language plpgsql stable as $$
declare
	c public.chat_sessions;
begin
	select * into c from public.chat_sessions s where s.id = session;
	if not found or not mitrad.session_is_of(c, user_type, user_id) then
		return ('NOT_FOUND', null, null)::mitrad.reply;
	end if;
	return (null, null, mitrad.session_json(c)::text)::mitrad.reply;
end
$$;

-- Newest first.  Every filter may be NULL.
create function mitrad.session_list(
	of_customer uuid, of_mitra uuid, in_status text, after_cursor text, page_size integer)
returns mitrad.reply
language plpgsql stable as $$
declare
	after_at timestamptz;
	after_id uuid;
begin
	if in_status is not null and in_status not in
		('pending_payment', 'searching', 'active', 'ended', 'cancelled', 'unmatched') then
		return mitrad.invalid('status', 'is no status of a session');
	end if;
	select c.at, c.id into after_at, after_id from mitrad.cursor_read(after_cursor) c;
	if after_at is null then
		return mitrad.invalid('cursor', 'is not a cursor of this list');
	end if;

	return mitrad.page_reply('sessions', array_agg(f.document), array_agg(f.cursor), page_size)
	from (
		select mitrad.session_json(c) as document, mitrad.cursor_of(c.created_at, c.id) as cursor
		from public.chat_sessions c
		where (c.created_at, c.id) < (after_at, after_id)
			and (of_customer is null or c.customer_id = of_customer)
			and (of_mitra is null or c.mitra_id = of_mitra)
			and (in_status is null or c.status = in_status)
		order by c.created_at desc, c.id desc
		limit page_size + 1
	) f;
end
$$;
