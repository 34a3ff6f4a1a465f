-- 004_one_time_codes: what the sender of a code calls it, and how often one client may come.

alter table public.otp_requests
	add column provider_reference text;

create index otp_requests_oldest on public.otp_requests (created_at);

insert into public.app_config_definitions (key, kind, least, most, "default", meaning) values
	('rate_anonymous_per_minute', 'integer', 1, 100000, '120',
		'new anonymous customers a minute from one network address'),
	('rate_refresh_per_minute', 'integer', 1, 100000, '600',
		'refreshes and logouts a minute from one network address'),
	('rate_otp_request_per_minute', 'integer', 1, 100000, '60',
		'requests for a one-time code a minute from one network address'),
	('rate_otp_verify_per_minute', 'integer', 1, 100000, '60',
		'codes tried a minute from one network address'),
	('rate_identity_per_minute', 'integer', 1, 100000, '60',
		'sign-ins by Google and Apple a minute from one network address');

insert into public.app_config (key, value)
	select key, "default" from public.app_config_definitions where key like 'rate\_%'
on conflict do nothing;
