-- otp: one-time codes for phones, and whom a proven phone or other identity belongs to.
--
-- A code has a million values, so a hash alone would hide it from nobody: what is stored is an HMAC by a key that the
-- database does not have (server/sign_in/otp_code.h).  Guessing at the door is what the attempts are for: each is counted, in a
-- transaction of its own, before the code is looked at, under the lock of the request's row; so no number of guesses at
-- once gets more of them.  Five guesses a code and five codes an hour leave 1 chance in 40,000.
--
-- At the request step nobody learns whether a phone is known: every phone takes the same way through the same statement.
-- Only whether a message goes out differs, and that is done after the answer.

-- Takes turns by phone and by address, so that requests at once cannot outrun the limits; phones first, always.
create function mitrad.otp_turns_take(phone text, address inet) returns void
language plpgsql as $$
begin
	perform pg_advisory_xact_lock(1, hashtext(phone));
	perform pg_advisory_xact_lock(2, hashtext(host(address)));
end
$$;

-- Seconds until another code may be sent to the phone, or from the address; NULL if it may be now.
create function mitrad.otp_wait(phone text, address inet) returns integer
language sql stable as $$
	select ceil(greatest(
		(select extract(epoch from o.created_at + mitrad.config_seconds('otp_resend_seconds') - now())
			from public.otp_requests o where o.phone = otp_wait.phone
			order by o.created_at desc limit 1),
		(select extract(epoch from o.created_at + interval '1 hour' - now())
			from public.otp_requests o where o.phone = otp_wait.phone
			order by o.created_at desc limit 1
			offset (select mitrad.config_integer('otp_per_phone_hour') - 1)),
		(select extract(epoch from o.created_at + interval '1 hour' - now())
			from public.otp_requests o where o.address = otp_wait.address
			order by o.created_at desc limit 1
			offset (select mitrad.config_integer('otp_per_address_hour') - 1)),
		0))::integer
$$;

-- door: 'mitra' or 'customer'.  `wanted`: whether somebody is to get the message.  Whoever comes also forgets some
-- of the old requests.
create function mitrad.otp_request(door text, phone text, address inet, request uuid, code_hash text)
returns table (
	problem text, retry_after integer, answer text, otp_request_id uuid, wanted boolean, expires_in integer)
language plpgsql as $$
begin
	delete from public.otp_requests where id in (
		select o.id from public.otp_requests o where o.created_at < now() - interval '1 day'
		order by o.created_at limit 10 for update skip locked);

	perform mitrad.otp_turns_take(phone, address);
	retry_after := nullif(mitrad.otp_wait(phone, address), 0);
	if retry_after is not null then
		problem := 'RATE_LIMITED';
		return next;
		return;
	end if;

	otp_request_id := request;
	expires_in := mitrad.config_integer('otp_ttl_seconds');
	insert into public.otp_requests (id, user_type, phone, address, code_hash, expires_at)
		values (request, door, phone, address, code_hash, now() + make_interval(secs => expires_in));
	wanted := exists (select from public.mitras m where m.phone = otp_request.phone) or door = 'customer';
	answer := json_build_object('otp_request_id', request,
		'resend_after_seconds', mitrad.config_integer('otp_resend_seconds'), 'expires_in_seconds', expires_in);
	return next;
end
$$;

-- What the sender calls the code that it has made itself.
create function mitrad.otp_sent(request uuid, reference text) returns void
language sql as $$
	update public.otp_requests o set provider_reference = reference where o.id = request
$$;

-- Takes one attempt at a request, before its code is looked at; the lock holds until the transaction ends.  A request
-- without a reference gets an invented one: the sender is asked about it all the same, so that it takes as long.
create function mitrad.otp_attempt(door text, request uuid)
returns table (problem text, attempts_left integer, phone text, code_hash text, reference text)
language plpgsql as $$
declare
	asked public.otp_requests;
	most integer := mitrad.config_integer('otp_attempts_max');
begin
	select o.* into asked from public.otp_requests o where o.id = request for update;
	problem := case
		when asked.id is null then 'NOT_FOUND'
		when asked.user_type <> door then 'WRONG_FLOW'
		when asked.used_at is not null then 'OTP_USED'
		when asked.expires_at <= clock_timestamp() then 'OTP_EXPIRED'
		when asked.attempts >= most then 'ATTEMPTS_EXCEEDED'
	end;
	if problem is null then
		update public.otp_requests o set attempts = o.attempts + 1 where o.id = request;
		attempts_left := most - asked.attempts - 1;
		phone := asked.phone;
		code_hash := asked.code_hash;
		reference := coalesce(asked.provider_reference, gen_random_uuid()::text);
	end if;
	return next;
end
$$;

create function mitrad.otp_mismatch(attempts_left integer) returns mitrad.sign_in
language sql immutable as $$
	select mitrad.sign_in_refused('CODE_MISMATCH', null, json_build_object('attempts_left', attempts_left))
$$;

-- The code was right: uses it up, and signs in whom the phone belongs to.  `caller` and `caller_session` are those of the
-- access token that came along, if one did: a customer who becomes the phone's.  If the phone is another customer's, the
-- code stays good for signing in as that one.
create function mitrad.otp_accept(door text, request uuid, refresh_hash text, ttl_days integer,
	caller uuid, caller_session uuid)
returns mitrad.sign_in
language plpgsql as $$
declare
	asked public.otp_requests;
	mitra public.mitras;
	owner record;
begin
	select o.* into asked from public.otp_requests o where o.id = request and o.user_type = door for update;
	if not found then
		return mitrad.sign_in_refused('NOT_FOUND');
	end if;
	if asked.used_at is not null then
		return mitrad.sign_in_refused('OTP_USED');
	end if;

	if door = 'customer' then
		select c.* into owner
		from mitrad.customer_identify('phone', asked.phone, null, null, caller, caller_session) c;
		if owner.problem is not null then
			return mitrad.sign_in_refused(owner.problem);
		end if;
		update public.otp_requests o set used_at = now() where o.id = request;
		return mitrad.auth_session_start('customer', owner.customer, refresh_hash, ttl_days);
	end if;

	-- Shared: a deactivation comes before this and is seen, or comes after and finds the session.
	select m.* into mitra from public.mitras m where m.phone = asked.phone for share;
	if not found then
		return mitrad.otp_mismatch(greatest(mitrad.config_integer('otp_attempts_max') - asked.attempts, 0));
	end if;
	update public.otp_requests o set used_at = now() where o.id = request;
	if not mitra.is_active then
		return mitrad.sign_in_refused('ACCOUNT_INACTIVE');
	end if;
	return mitrad.auth_session_start('mitra', mitra.id, refresh_hash, ttl_days);
end
$$;

-- Both, where the code is ours.  More than one hash: by the current key, and by the one before it.
create function mitrad.otp_verify(door text, request uuid, code_hashes text[], refresh_hash text, ttl_days integer,
	caller uuid, caller_session uuid)
returns mitrad.sign_in
language plpgsql as $$
declare
	attempt record;
begin
	select a.* into attempt from mitrad.otp_attempt(door, request) a;
	if attempt.problem is not null then
		return mitrad.sign_in_refused(attempt.problem);
	end if;
	if attempt.code_hash <> all (code_hashes) then
		return mitrad.otp_mismatch(attempt.attempts_left);
	end if;
	return mitrad.otp_accept(door, request, refresh_hash, ttl_days, caller, caller_session);
end
$$;
