-- 006_login_rate: how often one client may try to sign in as an operator.

insert into public.app_config_definitions (key, kind, least, most, "default", meaning) values
	('rate_login_per_minute', 'integer', 1, 100000, '120',
		'sign-ins of operators tried a minute from one network address');

insert into public.app_config (key, value)
	select key, "default" from public.app_config_definitions where key = 'rate_login_per_minute'
on conflict do nothing;
