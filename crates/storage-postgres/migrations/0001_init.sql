-- One order is one row of `orders`, its history the rows of `journal` that name it, its open work at most one row of
-- `work`. All of them change in one transaction, and whoever changes them holds the head of their shard.
--
-- Every table that belongs to an order has its shard, and `journal` has parts for each; parts of `orders` and `work`
-- would cost a third of intake (see the decision records). Texts compare byte by byte. What changes while an order is
-- worked on is in no index of `orders`: so that touches none.

CREATE TABLE install (
    one             boolean PRIMARY KEY DEFAULT true CHECK (one),
    installation_id uuid    NOT NULL,
    shards          integer NOT NULL,
    epoch           integer NOT NULL,
    cursor_key      bytea   NOT NULL,
    key_pepper      bytea   NOT NULL,
    -- What the pepper left that API keys are hashed with, which may be another than the one above; never the pepper.
    pepper_print    bytea
);

-- Rows to lock: whoever adds to a register holds its row, so that two nodes give no number twice. `actions` keeps the
-- end of the chain through the action log, apart from its rows.
CREATE TABLE latches (
    name  text  COLLATE "C" PRIMARY KEY,
    value bytea
);

INSERT INTO latches (name) VALUES ('actions'), ('api_keys'), ('followers');

-- Below its floor nothing of a shard is kept. A head is locked by whoever writes its shard, and never updated for that.
CREATE TABLE journal_heads (
    shard smallint PRIMARY KEY,
    floor bigint   NOT NULL DEFAULT 0
);

CREATE SEQUENCE order_numbers AS bigint;

CREATE TABLE orders (
    shard           smallint    NOT NULL,
    order_id        uuid        NOT NULL,
    number          bigint      NOT NULL,
    tenant          text        COLLATE "C" NOT NULL,
    source          text        COLLATE "C" NOT NULL,
    reference       text        COLLATE "C",
    digest          bytea       NOT NULL,
    customer        text        COLLATE "C",
    currency        text        COLLATE "C",
    lines           text        NOT NULL,
    total           numeric     NOT NULL,
    attributes      text        NOT NULL,
    version         bigint      NOT NULL,
    processing      text        COLLATE "C" NOT NULL CHECK (processing IN ('queued', 'done', 'parked')),
    fulfilment      text        COLLATE "C" NOT NULL CHECK (fulfilment IN ('unshipped', 'shipped', 'delivered')),
    withdrawn       boolean     NOT NULL,
    attempt         integer     NOT NULL,
    last_error      text,
    accepted_at     timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    started_at      timestamptz,
    processed_at    timestamptz,
    shipped_at      timestamptz,
    tracking_number text,
    delivered_at    timestamptz,
    cause           uuid        NOT NULL,
    last_position   bigint      NOT NULL,
    PRIMARY KEY (shard, order_id)
)
-- Room on each page, so that the row of an order that is worked on stays where its indexes say.
WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Lists, newest first: of one source, and over the sources of a tenant, which are in `tallies`.
CREATE INDEX orders_by_source ON orders (tenant, source, number);
-- For whoever reads all orders of everybody: numbers rise as rows are added.
CREATE INDEX orders_by_number ON orders USING brin (number) WITH (pages_per_range = 32);

-- Orders that stand apart from the many: what needs an operator, and what came further than most. An order enters none
-- of these when it is taken in, and an index of `orders` over its state would cost every one.
CREATE TABLE standings (
    tenant   text     COLLATE "C" NOT NULL,
    standing text     COLLATE "C" NOT NULL CHECK (standing IN ('parked', 'withdrawn', 'shipped', 'delivered')),
    number   bigint   NOT NULL,
    shard    smallint NOT NULL,
    order_id uuid     NOT NULL,
    PRIMARY KEY (tenant, standing, number)
);

-- From the external ids of orders, hashed, to the orders that bear them now. Keys lie at random, but few orders have one.
CREATE TABLE external_ids (
    key      uuid     NOT NULL,
    number   bigint   NOT NULL,
    shard    smallint NOT NULL,
    order_id uuid     NOT NULL,
    PRIMARY KEY (key, number)
);

-- Append-only. `prev_position` chains the events of one order: its history is read by walking back from
-- `orders.last_position`. `trace` is the place in a trace that the event happened at: 25 bytes.
CREATE TABLE journal (
    shard         smallint    NOT NULL,
    position      bigint      NOT NULL,
    event_id      uuid        NOT NULL,
    tenant        text        COLLATE "C" NOT NULL,
    source        text        COLLATE "C" NOT NULL,
    order_id      uuid        NOT NULL,
    version       bigint      NOT NULL,
    prev_position bigint      NOT NULL,
    epoch         integer     NOT NULL,
    type          text        COLLATE "C" NOT NULL,
    data_version  smallint    NOT NULL,
    data          text        NOT NULL,
    occurred_at   timestamptz NOT NULL,
    trace         bytea,
    PRIMARY KEY (shard, position)
) PARTITION BY LIST (shard);

-- Open work; `number` is the order's, and `desk` follows from the order's source: see `desk.rs` of the core. A lease is a due
-- time: `due_at` is its end while `token` is set. `trace` is the place in a trace that the work was made at.
CREATE TABLE work (
    number     bigint      NOT NULL,
    shard      smallint    NOT NULL,
    desk       smallint    NOT NULL,
    order_id   uuid        NOT NULL,
    tenant     text        COLLATE "C" NOT NULL,
    due_at     timestamptz NOT NULL,
    attempt    integer     NOT NULL,
    lapses     integer     NOT NULL,
    token      uuid,
    claimed_at timestamptz,
    trace      bytea,
    PRIMARY KEY (number, shard)
)
-- Rows come and go: what is dead must not lie long before what is due.
WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);

-- By desk, because all claims are: one asks for each desk in turn.
CREATE INDEX work_due ON work (desk, due_at, number);
CREATE INDEX work_due_of_tenant ON work (tenant, desk, due_at, number);
-- As small as what is in work now: counts and lists what is running.
CREATE INDEX work_leased ON work (tenant, number) WHERE token IS NOT NULL;

CREATE TABLE idempotency (
    tenant     text        COLLATE "C" NOT NULL,
    route      text        COLLATE "C" NOT NULL,
    key        text        COLLATE "C" NOT NULL,
    shard      smallint    NOT NULL,
    order_id   uuid        NOT NULL,
    digest     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, route, key)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Messages of others that were consumed: each in the commit of what it caused.
CREATE TABLE inbox (
    tenant      text        COLLATE "C" NOT NULL,
    consumer    text        COLLATE "C" NOT NULL,
    message_id  text        COLLATE "C" NOT NULL,
    shard       smallint    NOT NULL,
    order_id    uuid        NOT NULL,
    consumed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, consumer, message_id)
);

CREATE INDEX inbox_by_age ON inbox (consumed_at);

-- Kept in the commit that changes an order, by shard so that commits on different shards do not wait for each other; a
-- count is their sum.
CREATE TABLE tallies (
    tenant            text     COLLATE "C" NOT NULL,
    source            text     COLLATE "C" NOT NULL,
    shard             smallint NOT NULL,
    orders            bigint   NOT NULL,
    queued            bigint   NOT NULL,
    processed         bigint   NOT NULL,
    parked            bigint   NOT NULL,
    processing_micros numeric  NOT NULL,
    PRIMARY KEY (tenant, source, shard)
) WITH (fillfactor = 50);

CREATE TABLE followers (
    name       text        COLLATE "C" PRIMARY KEY,
    sink       text        NOT NULL,
    paused     boolean     NOT NULL,
    epoch      integer     NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    parked     bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- A node that carries a follower, until when, and why its sink takes nothing. When its lease has run out, what it holds is free.
CREATE TABLE relays (
    follower text        COLLATE "C" NOT NULL,
    token    uuid        NOT NULL,
    until    timestamptz NOT NULL,
    fault    text,
    PRIMARY KEY (follower, token)
) WITH (fillfactor = 50);

-- Beside how far a follower is, what it carries on once more: behind replay_next up to replay_up_to, in all shards or none;
-- and which node holds the shard.
CREATE TABLE cursors (
    follower     text     COLLATE "C" NOT NULL,
    shard        smallint NOT NULL,
    position     bigint   NOT NULL,
    replay_next  bigint,
    replay_up_to bigint,
    token        uuid,
    PRIMARY KEY (follower, shard)
) WITH (fillfactor = 50);

-- Orders whose events from a version on wait for an operator, because the sink of a follower refused one of them for good: that
-- with refused_version, which from_version passes once it was skipped or taken.
CREATE TABLE parked_streams (
    follower        text        COLLATE "C" NOT NULL,
    shard           smallint    NOT NULL,
    order_id        uuid        NOT NULL,
    tenant          text        COLLATE "C" NOT NULL,
    from_version    bigint      NOT NULL,
    refused_version bigint      NOT NULL CHECK (refused_version BETWEEN 1 AND from_version),
    reason          text        NOT NULL,
    detail          text        NOT NULL,
    parked_at       timestamptz NOT NULL,
    redriving       boolean     NOT NULL,
    PRIMARY KEY (follower, shard, order_id)
);

CREATE INDEX parked_streams_redriving ON parked_streams (follower, shard, order_id) WHERE redriving;

CREATE TABLE redrives (
    redrive_id uuid        PRIMARY KEY,
    tenant     text        COLLATE "C" NOT NULL,
    filter     text        NOT NULL,
    reason     text        NOT NULL,
    by         text        NOT NULL,
    finished   boolean     NOT NULL,
    redriven   bigint      NOT NULL,
    refused    bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    next       bigint      NOT NULL,
    up_to      bigint      NOT NULL
);

CREATE INDEX redrives_open ON redrives (redrive_id) WHERE NOT finished;

CREATE TABLE redrive_items (
    redrive_id uuid   NOT NULL,
    item       bigint NOT NULL,
    order_id   uuid   NOT NULL,
    result     text   NOT NULL,
    PRIMARY KEY (redrive_id, item)
);

-- Of a key's secret only its HMAC is here. Keys that ended stay, so that what they did can be told.
CREATE TABLE api_keys (
    number         bigint      PRIMARY KEY,
    key_id         bytea       NOT NULL UNIQUE,
    tenant         text        COLLATE "C" NOT NULL,
    name           text        NOT NULL,
    scopes         text        NOT NULL,
    hash           bytea       NOT NULL,
    previous_hash  bytea,
    previous_until timestamptz,
    created_at     timestamptz NOT NULL,
    created_by     text        NOT NULL,
    expires_at     timestamptz,
    rotated_at     timestamptz,
    last_used_at   timestamptz,
    revoked_at     timestamptz
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant, number);

-- What people and keys did. Each row carries the hash of the one before.
CREATE TABLE actions (
    number       bigint      PRIMARY KEY,
    epoch        integer     NOT NULL,
    tenant       text        COLLATE "C" NOT NULL,
    by           text        NOT NULL,
    address      text,
    request_id   text,
    kind         text        NOT NULL,
    subject      text        NOT NULL,
    details      text        NOT NULL,
    state_before bytea,
    state_after  bytea,
    at           timestamptz NOT NULL,
    previous     bytea       NOT NULL,
    hash         bytea       NOT NULL
);

CREATE INDEX actions_by_tenant ON actions (tenant, number);

-- Nothing of ours changes what was written; this keeps a mistake of ours from it, and an accident.
CREATE FUNCTION actions_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the action log is only added to';
END
$$;

CREATE TRIGGER actions_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON actions
    FOR EACH STATEMENT EXECUTE FUNCTION actions_are_kept();

-- From when to when the events of a block of 1,024 positions of a shard are; written by the commit that fills it. `latest`
-- is that of all events up to its end; the rest is of the orders that were accepted in it, if any were.
CREATE TABLE spans (
    shard         smallint    NOT NULL,
    block         bigint      NOT NULL,
    latest        timestamptz NOT NULL,
    accepted_from timestamptz,
    accepted_to   timestamptz,
    lowest        bigint,
    highest       bigint,
    PRIMARY KEY (shard, block)
);

-- The parts that the journal of each shard is kept in: positions from `low`, below `high`, in the table journal_SHARD_LOW.
-- What comes behind the last of them lies in the rest, journal_SHARD_rest, so that an event always has a place. Rows are
-- written and deleted in the transaction that makes or drops the part.
CREATE TABLE journal_parts (
    shard smallint NOT NULL,
    low   bigint   NOT NULL,
    high  bigint   NOT NULL CHECK (high > low),
    PRIMARY KEY (shard, low)
);

-- Held by whoever makes parts, drops them, or raises a floor.
INSERT INTO latches (name) VALUES ('parts');

-- How the journal is read. A plan for any values would open, and lock, all parts of all shards; what is executed as a text
-- is planned for its values, so only the parts that hold them are looked at, however many there are.

-- The events of a shard behind a position, up to another, in order.
CREATE FUNCTION events(of_shard smallint, behind bigint, up_to bigint) RETURNS SETOF journal
LANGUAGE plpgsql STABLE ROWS 100 AS $$
BEGIN
    RETURN QUERY EXECUTE 'SELECT * FROM journal WHERE shard = $1 AND position > $2 AND position <= $3 ORDER BY position'
        USING of_shard, behind, up_to;
END
$$;

-- The next events of a shard behind a position, wherever they lie: at most so many.
CREATE FUNCTION next_events(of_shard smallint, behind bigint, most bigint) RETURNS SETOF journal
LANGUAGE plpgsql STABLE ROWS 100 AS $$
BEGIN
    RETURN QUERY SELECT * FROM events(of_shard, behind, behind + most);
    IF NOT FOUND THEN
        RETURN QUERY EXECUTE 'SELECT * FROM journal WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3'
            USING of_shard, behind, most;
    END IF;
END
$$;

-- What lies there: the last position, how many events, and whether some are of these sources.
CREATE FUNCTION passage(of_shard smallint, behind bigint, up_to bigint, sources text[],
    OUT last bigint, OUT count bigint, OUT wanted boolean) LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE 'SELECT max(position), count(*), coalesce(bool_or(source = ANY ($4)), false) FROM journal
             WHERE shard = $1 AND position > $2 AND position <= $3'
        INTO last, count, wanted USING of_shard, behind, up_to, sources;
END
$$;

-- The events at these positions of a shard.
CREATE FUNCTION events_at(of_shard smallint, positions bigint[]) RETURNS SETOF journal
LANGUAGE plpgsql STABLE ROWS 100 AS $$
BEGIN
    RETURN QUERY EXECUTE 'SELECT * FROM journal WHERE shard = $1 AND position = ANY ($2)' USING of_shard, positions;
END
$$;

-- Writes over what events hold: an erasure, the one thing that changes any.
CREATE FUNCTION blank_events(of_shard smallint, positions bigint[], texts text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'UPDATE journal j SET data = e.data FROM unnest($2, $3) AS e (position, data)
             WHERE j.shard = $1 AND j.position = ANY ($2) AND j.position = e.position'
        USING of_shard, positions, texts;
END
$$;

-- The part that holds a position: its end, and what it begins with. The rest has no end.
CREATE FUNCTION part_of(of_shard smallint, place bigint, OUT low bigint, OUT high bigint) LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT p.low, p.high INTO low, high FROM journal_parts p
        WHERE p.shard = of_shard AND p.low <= place ORDER BY p.low DESC LIMIT 1;
    IF place >= high THEN
        low := high;
        high := 9223372036854775807;
    END IF;
END
$$;

-- The newest position of a shard below another, as far as whoever asks may see its rows. Most often it lies in one of the
-- last two parts, which are asked at once.
CREATE FUNCTION newest_below(of_shard smallint, below bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    first  bigint := (SELECT p.low FROM journal_parts p WHERE p.shard = of_shard ORDER BY p.low DESC OFFSET 1 LIMIT 1);
    newest bigint;
BEGIN
    LOOP
        EXECUTE 'SELECT position FROM journal WHERE shard = $1 AND position >= $2 AND position < $3
                 ORDER BY position DESC LIMIT 1' INTO newest USING of_shard, coalesce(first, 0), below;
        IF newest IS NOT NULL OR first IS NULL THEN
            RETURN newest;
        END IF;
        below := first;
        first := (SELECT p.low FROM journal_parts p WHERE p.shard = of_shard AND p.low < below
                  ORDER BY p.low DESC LIMIT 1);
    END LOOP;
END
$$;

-- The newest position of a shard. The rest is asked only when there may be something in it: whoever makes a part has it.
CREATE FUNCTION newest_position(of_shard smallint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    ends   bigint := (SELECT max(p.high) FROM journal_parts p WHERE p.shard = of_shard);
    newest bigint := newest_below(of_shard, coalesce(ends, 9223372036854775807));
BEGIN
    IF newest = ends - 1 THEN
        EXECUTE 'SELECT coalesce(max(position), $2 - 1) FROM journal WHERE shard = $1 AND position >= $2'
            INTO newest USING of_shard, ends;
    END IF;
    RETURN newest;
END
$$;

-- The history of an order from its newest event back: events of versions above one, at most so many, and none behind the one
-- with which they have so many bytes; without a bound where that is null. It ends where what came before is not kept. Most
-- orders have few events: to plan a walk takes longer than to look each of them up.
CREATE FUNCTION history(of_shard smallint, newest bigint, above bigint, most bigint, bytes bigint) RETURNS SETOF journal
LANGUAGE plpgsql STABLE ROWS 10 AS $$
DECLARE
    place bigint := newest;
    event journal;
BEGIN
    LOOP
        EXECUTE 'SELECT * FROM journal WHERE shard = $1 AND position = $2' INTO event USING of_shard, place;
        EXIT WHEN event.position IS NULL OR event.version <= above OR most <= 0 OR bytes <= 0;
        RETURN NEXT event;
        most := most - 1;
        bytes := bytes - octet_length(event.data);
        place := event.prev_position;
        EXIT WHEN place <= 0 OR place >= event.position;
    END LOOP;
END
$$;

-- The same of many orders, walked together, part by part: `nth` is which of them. An event that does not lead back ends a
-- history. What a loop executes would be planned for any values, were it not said otherwise. Each event is looked up by its
-- place: how many there are cannot be known, and a guess too high reads a whole part for each step back.
CREATE FUNCTION histories(of_shards smallint[], newest bigint[], OUT nth bigint, OUT event journal) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 300
SET plan_cache_mode = force_custom_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    -- Where each goes on.
    places   bigint[] := newest;
    of_shard smallint;
    latest   bigint;
    part     record;
    hit      record;
BEGIN
    FOR of_shard IN SELECT DISTINCT s.shard FROM unnest(of_shards) AS s (shard) LOOP
        LOOP
            SELECT max(n.position) INTO latest
                FROM unnest(of_shards, places) AS n (shard, position) WHERE n.shard = of_shard;
            EXIT WHEN latest <= 0;
            part := part_of(of_shard, latest);
            FOR hit IN EXECUTE
                'WITH RECURSIVE chain AS (
                     SELECT n.nth, e AS event FROM unnest($1, $2) WITH ORDINALITY AS n (shard, position, nth)
                     JOIN journal e ON e.shard = $3 AND e.position = n.position
                     WHERE n.shard = $3 AND e.position >= $4 AND e.position < $5 AND e.prev_position < e.position
                   UNION ALL
                     SELECT c.nth, e FROM chain c JOIN journal e ON e.shard = $3 AND e.position = (c.event).prev_position
                     WHERE e.position >= $4 AND e.position < $5 AND e.prev_position < e.position)
                 SELECT nth, event FROM chain' USING of_shards, places, of_shard, part.low, part.high
            LOOP
                nth := hit.nth;
                event := hit.event;
                places[nth] := least(places[nth], event.prev_position);
                RETURN NEXT;
            END LOOP;
            -- What was not found there leads nowhere.
            places := array(SELECT CASE WHEN n.shard = of_shard AND n.position >= coalesce(part.low, 0) THEN 0
                                        ELSE n.position END
                            FROM unnest(of_shards, places) WITH ORDINALITY AS n (shard, position, nth) ORDER BY n.nth);
        END LOOP;
    END LOOP;
END
$$;

-- Makes one part of a shard behind its last. Events that came before there was one lie in the rest, which becomes a part
-- itself then: it is read once for that, while nobody else can read or write the shard's. Whoever calls it holds its head.
CREATE FUNCTION make_part(of_shard smallint, events bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    whole  text := 'journal_' || of_shard;
    rest   text := 'journal_' || of_shard || '_rest';
    first  bigint := coalesce((SELECT max(p.high) FROM journal_parts p WHERE p.shard = of_shard), 0);
    newest bigint;
BEGIN
    EXECUTE format('SELECT max(position) FROM %I WHERE shard = $1', rest) INTO newest USING of_shard;
    IF newest >= first THEN
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', whole, rest);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', rest, whole || '_' || first);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       whole, whole || '_' || first, first, newest + 1);
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', rest, whole);
        INSERT INTO journal_parts VALUES (of_shard, first, newest + 1);
        first := newest + 1;
    END IF;
    -- Attached, not made as a part: so that nobody who reads the journal is in its way.
    EXECUTE format('CREATE TABLE %I (LIKE journal INCLUDING ALL)', whole || '_' || first);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                   whole, whole || '_' || first, first, first + events);
    INSERT INTO journal_parts VALUES (of_shard, first, first + events);
END
$$;

-- Makes parts of a shard until a whole one is ahead of its events; answers how many.
CREATE FUNCTION make_parts(of_shard smallint, events bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    whole  text := 'journal_' || of_shard;
    rest   text := 'journal_' || of_shard || '_rest';
    newest bigint;
    before integer;
BEGIN
    IF to_regclass(rest) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', rest, whole);
    END IF;
    -- First, for nobody waits behind it: nothing is written there, unless parts are late. Then whoever writes holds the head.
    IF newest_position(of_shard) >= (SELECT max(p.high) FROM journal_parts p WHERE p.shard = of_shard) IS NOT TRUE THEN
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', rest);
    END IF;
    PERFORM FROM journal_heads h WHERE h.shard = of_shard FOR UPDATE;
    newest := coalesce(newest_position(of_shard), 0);
    before := (SELECT count(*) FROM journal_parts p WHERE p.shard = of_shard);
    WHILE NOT EXISTS (SELECT FROM journal_parts p WHERE p.shard = of_shard AND p.low > newest) LOOP
        PERFORM make_part(of_shard, events);
    END LOOP;
    RETURN (SELECT count(*) FROM journal_parts p WHERE p.shard = of_shard) - before;
END
$$;

-- Drops a part, with all that it holds, at once.
CREATE FUNCTION drop_part(of_shard smallint, first bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    part text := 'journal_' || of_shard || '_' || first;
BEGIN
    -- First, for nobody who commits waits behind it.
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', part);
    EXECUTE format('DROP TABLE %I', part);
    DELETE FROM journal_parts p WHERE p.shard = of_shard AND p.low = first;
END
$$;

-- Up to where each floor may be raised: to the end of a part whose events are all older than a moment, and that no follower
-- needs, paused or not, for what lies behind its cursor, what it carries on once more, or what is parked for it. The part
-- with the newest event stays, and so does what is in no block of `spans` yet.
CREATE FUNCTION floors(before timestamptz, OUT shard smallint, OUT floor bigint) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT h.shard, max(p.high) - 1 FROM journal_heads h
    CROSS JOIN LATERAL (SELECT least(newest_position(h.shard) - 1,
        (SELECT min(c.position) FROM cursors c WHERE c.shard = h.shard),
        (SELECT min(c.replay_next) FROM cursors c WHERE c.shard = h.shard),
        (SELECT min(e.position) - 1 FROM parked_streams s
           JOIN orders o ON o.shard = s.shard AND o.order_id = s.order_id
           CROSS JOIN LATERAL history(o.shard, o.last_position, s.from_version - 1, NULL, NULL) e
           WHERE s.shard = h.shard)) AS needed) n
    JOIN journal_parts p ON p.shard = h.shard AND p.high - 1 <= n.needed
    JOIN spans s ON s.shard = p.shard AND s.block = (p.high - 1) / 1024 AND s.latest < before
    GROUP BY h.shard, h.floor HAVING max(p.high) - 1 > h.floor
$$;

-- The journal of each shard, made at install. Its parts, and its rest, are made behind that, each shard's by itself: all at
-- once would be more than the server's table of locks has room for.
CREATE FUNCTION make_shards(count integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR shard IN 0 .. count - 1 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF journal FOR VALUES IN (%s) PARTITION BY RANGE (position)',
                       'journal_' || shard, shard);
        INSERT INTO journal_heads VALUES (shard);
    END LOOP;
END
$$;

-- From texts (field 0 the id, 1 the reference, 2 the customer) to orders, without indexes of `orders` over them: their keys
-- lie at random, and three of them cost intake nearly as much as all the rest that it writes. Instead each commit adds one
-- row with the texts of all its orders. Behind the commits these rows are packed into runs: sorted entries, many to a row,
-- which are written once, and again when runs are merged. A look-up asks each run, and what is not packed yet.
--
-- An entry may be of an earlier revision, so whoever finds an order by one looks whether it still holds.
CREATE TABLE term_tail (
    part      bigint    GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- How many of its orders are new; the others were revised.
    orders    integer   NOT NULL,
    tenants   text[]    COLLATE "C" NOT NULL,
    order_ids uuid[]    NOT NULL,
    numbers   bigint[]  NOT NULL,
    -- Whether they are new: an id is entered once.
    news      boolean[] NOT NULL,
    refs      text[]    COLLATE "C" NOT NULL,
    customers text[]    COLLATE "C" NOT NULL
)
-- Rows come and go, and a look-up reads all of them.
WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 5000, toast.autovacuum_vacuum_scale_factor = 0);

CREATE TABLE term_runs (
    run    bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- How many orders came new with it.
    orders integer NOT NULL
);

-- `rank` is the number, negated: of the same text the newest order comes first.
CREATE TABLE term_blocks (
    run       bigint   NOT NULL,
    tenant    text     COLLATE "C" NOT NULL,
    field     smallint NOT NULL,
    last      text     COLLATE "C" NOT NULL,
    last_rank bigint   NOT NULL,
    texts     text[]   COLLATE "C" NOT NULL,
    ranks     bigint[] NOT NULL,
    order_ids uuid[]   NOT NULL,
    PRIMARY KEY (run, tenant, field, last, last_rank)
) WITH (toast_tuple_target = 8160);

-- To compress them costs more than it saves.
ALTER TABLE term_tail ALTER tenants SET STORAGE EXTERNAL, ALTER order_ids SET STORAGE EXTERNAL,
    ALTER numbers SET STORAGE EXTERNAL, ALTER news SET STORAGE EXTERNAL, ALTER refs SET STORAGE EXTERNAL,
    ALTER customers SET STORAGE EXTERNAL;
ALTER TABLE term_blocks ALTER texts SET STORAGE EXTERNAL, ALTER ranks SET STORAGE EXTERNAL,
    ALTER order_ids SET STORAGE EXTERNAL;

-- Held by whoever packs, merges or erases terms.
INSERT INTO latches (name) VALUES ('terms');

-- Takes the customers that an order ever had from its entries. Whoever calls it holds the latch.
CREATE FUNCTION forget_terms(of_tenant text, of_order uuid, of_number bigint, of_customers text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    hit record;
BEGIN
    UPDATE term_tail t SET customers = (
        SELECT array_agg(CASE WHEN e.order_id <> of_order THEN e.customer END ORDER BY e.nth)
        FROM unnest(t.order_ids, t.customers) WITH ORDINALITY AS e (order_id, customer, nth))
        WHERE of_order = ANY (t.order_ids);
    FOR hit IN
        SELECT b.* FROM unnest(of_customers) AS c (text) CROSS JOIN term_runs r CROSS JOIN LATERAL (
            SELECT b.* FROM term_blocks b WHERE b.run = r.run AND b.tenant = of_tenant AND b.field = 2
            AND (b.last, b.last_rank) >= (c.text, -of_number) ORDER BY b.last, b.last_rank LIMIT 1) b
        WHERE of_order = ANY (b.order_ids)
    LOOP
        DELETE FROM term_blocks WHERE run = hit.run AND tenant = hit.tenant AND field = hit.field
            AND last = hit.last AND last_rank = hit.last_rank;
        -- Not found: another of its texts lay in the same block, and all of them are gone.
        IF FOUND THEN
            INSERT INTO term_blocks SELECT hit.run, hit.tenant, hit.field, n.texts[cardinality(n.texts)],
                n.ranks[cardinality(n.ranks)], n.texts, n.ranks, n.order_ids FROM (
                SELECT array_agg(e.text ORDER BY e.nth) AS texts, array_agg(e.rank ORDER BY e.nth) AS ranks,
                    array_agg(e.order_id ORDER BY e.nth) AS order_ids
                FROM unnest(hit.texts, hit.ranks, hit.order_ids) WITH ORDINALITY AS e (text, rank, order_id, nth)
                WHERE e.order_id <> of_order) n WHERE n.texts IS NOT NULL;
        END IF;
    END LOOP;
END
$$;

-- Requests read as a role that sees the rows of one tenant, the one that `wellorder.tenant` names. Whoever migrates makes the
-- role if that is allowed; else an administrator does (CREATE ROLE wellorder_read NOLOGIN, and GRANT it to the login of
-- wellorder), and the next start finds it. Answers whether the guard is up.
CREATE FUNCTION guard_reads() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    owned text;
BEGIN
    -- One node at a time, as with migrations: two that grant the same thing at once fail.
    PERFORM pg_advisory_xact_lock(8603401876143236197);
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wellorder_read') THEN
            CREATE ROLE wellorder_read NOLOGIN;
            -- Whoever makes a role may not always act as it.
            GRANT wellorder_read TO CURRENT_USER;
        END IF;
        IF NOT pg_has_role(current_user, 'wellorder_read', 'MEMBER') THEN
            GRANT wellorder_read TO CURRENT_USER;
        END IF;
    -- Roles are the server's, locks a database's: a node of another database may have been first.
    EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation OR internal_error THEN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wellorder_read') THEN
            RETURN false;
        END IF;
    END;
    IF NOT pg_has_role(current_user, 'wellorder_read', 'MEMBER') THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM pg_policies WHERE policyname = 'of_one_tenant' AND schemaname = current_schema) THEN
        RETURN true;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO wellorder_read', current_schema);
    FOREACH owned IN ARRAY ARRAY['orders', 'standings', 'journal', 'work', 'idempotency', 'inbox', 'tallies', 'redrives',
                                 'api_keys', 'actions', 'term_blocks', 'parked_streams'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', owned);
        EXECUTE format('CREATE POLICY of_one_tenant ON %I FOR SELECT TO wellorder_read '
                       'USING (tenant = current_setting(''wellorder.tenant'', true))', owned);
        EXECUTE format('GRANT SELECT ON %I TO wellorder_read', owned);
    END LOOP;
    -- Of all tenants, or of none. Whatever these lead to is a row of the above.
    GRANT SELECT ON journal_heads, journal_parts, order_numbers, spans, term_runs, term_tail, external_ids TO wellorder_read;
    RETURN true;
END
$$;
