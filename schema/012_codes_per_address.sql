-- 012_codes_per_address: a hundred codes an hour for one network address, not twenty.
--
-- Behind a mobile carrier thousands of phones share an address, and who is in distress must not be the twenty-first.  What
-- protects a phone from codes that nobody wants is its own limit.
update public.app_config set value = '100' where key = 'otp_per_address_hour' and value = '20';
update public.app_config_definitions set "default" = '100' where key = 'otp_per_address_hour';
