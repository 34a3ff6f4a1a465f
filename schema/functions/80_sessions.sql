-- sessions: chats whose time has come.

-- Ends what is overdue, at most 1,000 sessions a call, and returns the mirror states of the mitras who are
-- less busy now. Sessions first, then their mitras by id, so two of these at once share the work and never
-- wait for each other in a ring. What a request holds locked just now is being decided there; the next call
-- looks again.
create function mitrad.sessions_settle() returns setof mitrad.mirror_state
language plpgsql as $$
declare
	ends_before timestamptz := now() - mitrad.config_seconds('goodbye_seconds');
	unpaid_before timestamptz := now() - mitrad.config_seconds('payment_timeout_seconds');
	unmatched_before timestamptz := now() - mitrad.config_seconds('blast_timeout_seconds');
	overdue uuid[];
	relieved uuid[];
begin
	-- The conditions on created_at follow from the others; they are what the index chat_sessions_open
	-- can use.
	overdue := array(
		select c.id
		from public.chat_sessions c
		where (c.status = 'active' and c.expires_at < ends_before)
			or (c.status = 'pending_payment' and c.created_at < unpaid_before
				and coalesce(c.matched_at, c.created_at) < unpaid_before)
			or (c.status = 'searching' and c.created_at < unmatched_before
				and coalesce(c.searching_since, c.created_at) < unmatched_before)
		order by c.id
		limit 1000
		for no key update skip locked);
	relieved := array(
		select m.id
		from public.mitras m
		where m.id in (select c.mitra_id from public.chat_sessions c where c.id = any (overdue)
			and mitrad.is_load(c.status))
		order by m.id
		for no key update);

	update public.chat_sessions c set
		status = o.becomes,
		end_reason = o.reason,
		ended_at = now()
	from (values
		('active', 'ended', 'expired'),
		('pending_payment', 'cancelled', 'payment_timeout'),
		('searching', 'unmatched', 'blast_timeout')
	) o (status, becomes, reason)
	where c.id = any (overdue) and o.status = c.status;
	update public.chat_request_notifications n set status = 'closed'
	where n.session_id = any (overdue) and n.status = 'sent';

	return query select * from mitrad.mirror_states(relieved);
end
$$;
