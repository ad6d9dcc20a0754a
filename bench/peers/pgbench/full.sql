\set shard random(0, 7)
WITH h AS (UPDATE heads SET head = head + 200 WHERE shard = :shard RETURNING shard, head - 200 AS base),
 o AS (INSERT INTO full_orders (order_id, tenant_id, reference, currency, total) SELECT gen_random_uuid(), 1, r, 'EUR', t FROM unnest(:refs::text[], :tots::numeric[]) AS u (r, t) RETURNING order_id, reference, total),
 w AS (INSERT INTO work (order_id, due_at, attempt) SELECT order_id, now(), 0 FROM o)
INSERT INTO journal (shard, position, order_id, version, type, data) SELECT h.shard, h.base + row_number() OVER (), o.order_id, 1, 'order.accepted', jsonb_build_object('reference', o.reference, 'total', o.total, 'currency', 'EUR', 'note', repeat('x', 200)) FROM o, h;
