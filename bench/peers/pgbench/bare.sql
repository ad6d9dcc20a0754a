\set total random(100, 1000000)
INSERT INTO bare_orders (order_id, tenant_id, reference, currency, total) VALUES (gen_random_uuid(), 1, 'ref-' || :client_id || '-' || :total, 'EUR', :total / 100.0);
