-- Fills a database of wellorder with copies of the orders that it has taken in and processed: many more than it would take in
-- while somebody waits. Every row is made as the server makes it (`wellorder audit` agrees); what differs from a database
-- that grew is that the rows lie in the order of their numbers.
--
-- The copies of a block have the content of the originals, references and numbers of their own, and times before them. The
-- originals are the first block of numbers, as copies of themselves.
CREATE SCHEMA fill;

-- A part of what an id is derived from: its length in four bytes, and itself.
CREATE FUNCTION fill.part(text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
    $$ SELECT int4send(octet_length($1)) || convert_to($1, 'UTF8') $$;

CREATE TABLE fill.orders AS SELECT row_number() OVER (ORDER BY number) AS nth,
    fill.part('wellorder/order/1') || fill.part(tenant) || fill.part(source) AS id_begins, * FROM orders;
CREATE TABLE fill.events AS
    SELECT o.nth, j.version, j.type, j.data, j.occurred_at, j.trace, j.epoch, j.data_version,
        substring(j.data FROM '"started_at":"([^"]+)"')::timestamptz AS started_at
    FROM journal j JOIN fill.orders o ON o.shard = j.shard AND o.order_id = j.order_id;
CREATE UNLOGGED TABLE fill.copies (
    nth bigint PRIMARY KEY, number bigint NOT NULL, reference text NOT NULL, order_id uuid NOT NULL, shard smallint NOT NULL
);
CREATE UNLOGGED TABLE fill.copied (
    nth bigint, version bigint, event_id uuid, position bigint, prev_position bigint, PRIMARY KEY (nth, version)
);
ALTER TABLE fill.orders ADD PRIMARY KEY (nth);
ALTER TABLE fill.events ADD PRIMARY KEY (nth, version);
ANALYZE fill.orders, fill.events;
-- How many blocks there are to be (a variable of psql), how many there are, and how long the originals took: a block's times
-- are so much before those of the next.
CREATE TABLE fill.progress AS SELECT :blocks::bigint AS blocks, 0::bigint AS made,
    ceil(extract(epoch FROM max(updated_at) - min(accepted_at))) + 1 AS seconds FROM fill.orders;
CREATE TABLE fill.positions AS SELECT shard, 0::bigint AS newest FROM journal_heads;

TRUNCATE orders, journal, standings, tallies, term_tail, term_runs, term_blocks, spans, external_ids;
ALTER SEQUENCE order_numbers RESTART;

-- The id of an event: a UUID of version 7. This and the next are such that the server puts them into the statement.
CREATE FUNCTION fill.event_id(at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;

CREATE FUNCTION fill.rfc3339(timestamptz) RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- Makes the next block; answers how many are left.
CREATE FUNCTION fill.next() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    size bigint := (SELECT count(*) FROM fill.orders);
    block bigint := (SELECT made FROM fill.progress);
    earlier interval := (SELECT (blocks - made) * seconds * interval '1 s' FROM fill.progress);
    this_run bigint;
BEGIN
    TRUNCATE fill.copies, fill.copied;
    INSERT INTO fill.copies SELECT c.nth, c.number, c.reference, c.order_id,
            ((get_byte(uuid_send(c.order_id), 14) * 256 + get_byte(uuid_send(c.order_id), 15))
                % (SELECT shards FROM install))::smallint
        -- The id of an order that has a reference: a UUID of version 8.
        FROM (SELECT h.nth, h.number, h.reference,
                encode(set_byte(set_byte(h.hash, 6, get_byte(h.hash, 6) & 15 | 128), 8, get_byte(h.hash, 8) & 63 | 128), 'hex')::uuid
                    AS order_id
            FROM (SELECT r.nth, r.number, r.reference, substring(sha256(r.id_begins
                    || int4send(octet_length(r.reference)) || convert_to(r.reference, 'UTF8')) FOR 16) AS hash
                FROM (SELECT o.nth, block * size + o.nth AS number, o.id_begins,
                        'fill-' || (substr(o.reference, 6)::bigint + block * size) AS reference
                    FROM fill.orders o OFFSET 0) r OFFSET 0) h OFFSET 0) c;
    ANALYZE fill.copies;

    INSERT INTO fill.copied SELECT e.nth, e.version, fill.event_id(e.occurred_at - earlier), e.position,
            coalesce(lag(e.position) OVER (PARTITION BY e.nth ORDER BY e.version), 0)
        FROM (SELECT e.nth, e.version, e.occurred_at,
                p.newest + row_number() OVER (PARTITION BY c.shard ORDER BY e.version, c.number) AS position
            FROM fill.events e JOIN fill.copies c ON c.nth = e.nth JOIN fill.positions p ON p.shard = c.shard) e;
    ANALYZE fill.copied;

    INSERT INTO orders SELECT c.shard, c.order_id, c.number, o.tenant, o.source, c.reference, o.digest, o.customer,
            o.currency, o.lines, o.total, o.attributes, o.version, o.processing, o.fulfilment, o.withdrawn, o.attempt,
            o.last_error, o.accepted_at - earlier, o.updated_at - earlier, o.started_at - earlier, o.processed_at - earlier,
            o.shipped_at, o.tracking_number, o.delivered_at, f.event_id, l.position
        FROM fill.orders o JOIN fill.copies c ON c.nth = o.nth
        JOIN fill.copied f ON f.nth = o.nth AND f.version = 1
        JOIN fill.copied l ON l.nth = o.nth AND l.version = o.version ORDER BY c.number;

    INSERT INTO journal SELECT c.shard, n.position, n.event_id, o.tenant, o.source, c.order_id, e.version, n.prev_position,
            e.epoch, e.type, e.data_version, CASE
                WHEN e.version = 1 THEN '{"order_id":"' || c.order_id || '","number":' || c.number || ',"source":"' || o.source
                    || '","reference":"' || c.reference || '"' || substr(e.data, strpos(e.data, ',"customer":'))
                ELSE coalesce(replace(e.data, fill.rfc3339(e.started_at), fill.rfc3339(e.started_at - earlier)), e.data) END,
            e.occurred_at - earlier, e.trace
        FROM fill.events e JOIN fill.copies c ON c.nth = e.nth JOIN fill.orders o ON o.nth = e.nth
        JOIN fill.copied n ON n.nth = e.nth AND n.version = e.version ORDER BY c.shard, n.position;

    UPDATE fill.positions p SET newest = n.newest FROM (SELECT c.shard, max(n.position) AS newest
        FROM fill.copied n JOIN fill.copies c ON c.nth = n.nth GROUP BY c.shard) n WHERE n.shard = p.shard;

    INSERT INTO standings SELECT o.tenant, 'parked', c.number, c.shard, c.order_id
        FROM fill.orders o JOIN fill.copies c ON c.nth = o.nth WHERE o.processing = 'parked';

    INSERT INTO term_runs (orders) VALUES (size) RETURNING run INTO this_run;
    INSERT INTO term_blocks SELECT this_run, e.tenant, e.field, max(e.text), (array_agg(e.rank ORDER BY e.text DESC, e.rank DESC))[1],
            array_agg(e.text ORDER BY e.text, e.rank), array_agg(e.rank ORDER BY e.text, e.rank),
            array_agg(e.order_id ORDER BY e.text, e.rank)
        FROM (SELECT o.tenant, t.field, t.text COLLATE "C" AS text, -c.number AS rank, c.order_id,
                (row_number() OVER (PARTITION BY o.tenant, t.field ORDER BY t.text COLLATE "C", -c.number) - 1) / 32 AS nth
            FROM fill.orders o JOIN fill.copies c ON c.nth = o.nth CROSS JOIN LATERAL (
                VALUES (0::smallint, c.order_id::text), (1::smallint, c.reference), (2::smallint, o.customer)) t (field, text)
            WHERE t.text IS NOT NULL) e
        GROUP BY e.tenant, e.field, e.nth;

    UPDATE fill.progress SET made = made + 1;
    RETURN (SELECT blocks - made FROM fill.progress);
END
$$;

-- What commits keep besides: the times of full blocks of events, by the server's own statement, and the counts.
CREATE FUNCTION fill.finish() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO spans (shard, block, latest, accepted_from, accepted_to, lowest, highest)
        SELECT b.shard, b.block, max(b.latest) OVER (PARTITION BY b.shard ORDER BY b.block), b.accepted_from, b.accepted_to,
            b.lowest, b.highest
        FROM (SELECT j.shard, j.position / 1024 AS block, max(j.occurred_at) AS latest,
                min(j.occurred_at) FILTER (WHERE j.version = 1) AS accepted_from,
                max(j.occurred_at) FILTER (WHERE j.version = 1) AS accepted_to,
                min(substring(j.data FROM '"number":([0-9]+)')::bigint) FILTER (WHERE j.version = 1) AS lowest,
                max(substring(j.data FROM '"number":([0-9]+)')::bigint) FILTER (WHERE j.version = 1) AS highest
            FROM journal j JOIN fill.positions p ON p.shard = j.shard
            WHERE j.position < (p.newest + 1) / 1024 * 1024 GROUP BY j.shard, j.position / 1024) b;
    INSERT INTO tallies SELECT tenant, source, shard, count(*), 0, count(*) FILTER (WHERE processing = 'done'),
            count(*) FILTER (WHERE processing = 'parked'),
            coalesce(sum(extract(epoch FROM processed_at - started_at) * 1000000) FILTER (WHERE processing = 'done'), 0)::bigint
        FROM orders GROUP BY tenant, source, shard;
    PERFORM setval('order_numbers', (SELECT max(number) FROM fill.copies));
END
$$;
