-- What ./deploy/dev puts into its database, at every start: demo mitras and a customer with ids that are always the
-- same, so that the printed requests work.  Whoever was deactivated in the last run is active again.

INSERT INTO mitras (id, phone, display_name) VALUES
	('00000000-0000-4000-8000-0000000000a1', '+6281200000001', 'Demo mitra 1'),
	('00000000-0000-4000-8000-0000000000a2', '+6281200000002', 'Demo mitra 2'),
	('00000000-0000-4000-8000-0000000000a3', '+6281200000003', 'Demo mitra 3')
ON CONFLICT DO NOTHING;

UPDATE mitras SET is_active = true
WHERE id = '00000000-0000-4000-8000-0000000000a1' AND NOT is_active;

INSERT INTO customers (id, phone, display_name) VALUES
	('00000000-0000-4000-8000-0000000000c1', '+6281300000001', 'Demo customer')
ON CONFLICT DO NOTHING;
