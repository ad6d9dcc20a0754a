-- One order is one row of `orders`, its history the rows of `journal` that name it, its open work at most one row of
-- `work`. All of them change in one transaction.
--
-- Times are microseconds since 1970, UTC. Amounts are TEXT: nothing here may sum them, SQLite would use floats.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- `number` is the rowid, so orders lie in the order of acceptance and a commit appends. The number of an order's id is in
-- `order_ids`, or, for orders behind `ids_merged` in `meta`, in the memory of the process that writes.
CREATE TABLE orders (
    number          INTEGER PRIMARY KEY,
    shard           INTEGER NOT NULL,
    order_id        BLOB    NOT NULL,
    tenant          TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    reference       TEXT,
    digest          BLOB    NOT NULL,
    customer        TEXT,
    currency        TEXT,
    lines           TEXT    NOT NULL,
    total           TEXT    NOT NULL,
    attributes      TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    processing      TEXT    NOT NULL CHECK (processing IN ('queued', 'done', 'parked')),
    fulfilment      TEXT    NOT NULL CHECK (fulfilment IN ('unshipped', 'shipped', 'delivered')),
    withdrawn       INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    last_error      TEXT,
    accepted_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    started_at      INTEGER,
    processed_at    INTEGER,
    shipped_at      INTEGER,
    tracking_number TEXT,
    delivered_at    INTEGER,
    cause           BLOB    NOT NULL,
    last_position   INTEGER NOT NULL
) STRICT;

-- Written in sorted runs, some time after the orders.
CREATE TABLE order_ids (
    order_id BLOB    PRIMARY KEY,
    number   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Small: parked orders only. Lists of what needs an operator, and redrives, read it, each those of one tenant.
CREATE INDEX orders_parked ON orders (tenant, number) WHERE processing = 'parked';
-- For metrics: which of them waits longest.
CREATE INDEX orders_parked_since ON orders (updated_at) WHERE processing = 'parked';
-- Orders enter none of these when they are taken in.
CREATE INDEX orders_withdrawn ON orders (number) WHERE withdrawn = 1;
CREATE INDEX orders_shipped ON orders (number) WHERE fulfilment = 'shipped';
CREATE INDEX orders_delivered ON orders (number) WHERE fulfilment = 'delivered';

-- From texts to orders, in runs that are written once: blocks of sorted entries, some time after the orders. A run is
-- complete when it is in `term_runs`, and then holds all orders up to its last number. See the crate's module `terms`.
CREATE TABLE term_blocks (
    block   INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    first   BLOB    NOT NULL,
    entries BLOB    NOT NULL
) STRICT;

CREATE INDEX term_firsts ON term_blocks (run, first);

CREATE TABLE term_runs (
    run         INTEGER PRIMARY KEY,
    last_number INTEGER NOT NULL
) STRICT;

-- Entries of orders that were revised.
CREATE TABLE term_loose (
    entry BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- From the external ids of orders, hashed, to the orders that bear them now. Keys lie at random, but few orders have one.
CREATE TABLE external_ids (
    key    BLOB    NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (key, number)
) STRICT, WITHOUT ROWID;

-- From when to when the orders of a block of 1,024 numbers were accepted; written when it is full.
CREATE TABLE order_blocks (
    block        INTEGER PRIMARY KEY,
    accepted_min INTEGER NOT NULL,
    accepted_max INTEGER NOT NULL
) STRICT;

-- Append-only, and kept in the order of its places: `place` is the shard in the upper bits and the position in the lower
-- 48, so no index is needed to follow it. `prev_position` chains the events of one order: its history is read by walking
-- back from `orders.last_position`, and intake is spared an index with random keys (see the decision records).
-- `trace` is the place in a trace that the event happened at: 25 bytes, one when there is none.
CREATE TABLE journal (
    place         INTEGER PRIMARY KEY,
    shard         INTEGER NOT NULL AS (place >> 48),
    position      INTEGER NOT NULL AS (place & 0xFFFFFFFFFFFF),
    event_id      BLOB    NOT NULL,
    tenant        TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    order_id      BLOB    NOT NULL,
    number        INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    prev_position INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    type          TEXT    NOT NULL,
    data_version  INTEGER NOT NULL,
    data          TEXT    NOT NULL,
    occurred_at   INTEGER NOT NULL,
    trace         BLOB
) STRICT;

-- The latest time of all events up to the end of a block of 1,024 positions; written when it is full.
CREATE TABLE journal_blocks (
    shard  INTEGER NOT NULL,
    block  INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    PRIMARY KEY (shard, block)
) STRICT, WITHOUT ROWID;

-- Below its floor nothing of a shard is kept.
CREATE TABLE journal_heads (
    shard INTEGER PRIMARY KEY,
    floor INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Open work; `number` is the order's, and `desk` follows from the order's source: see `desk.rs` of the core. A lease is a due
-- time: `due_at` is its end while `token` is set. `trace` is the place in a trace that the work was made at.
CREATE TABLE work (
    number     INTEGER PRIMARY KEY,
    order_id   BLOB    NOT NULL,
    tenant     TEXT    NOT NULL,
    desk       INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    lapses     INTEGER NOT NULL,
    token      BLOB,
    claimed_at INTEGER,
    trace      BLOB
) STRICT;

-- By tenant, because claims over HTTP are, and by desk, because all are; a claim asks for each tenant and desk in turn.
CREATE INDEX work_due ON work (tenant, desk, due_at);
-- As small as what is in work now: counts and lists what is running.
CREATE INDEX work_leased ON work (tenant, number) WHERE token IS NOT NULL;

CREATE TABLE idempotency (
    tenant     TEXT    NOT NULL,
    route      TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    order_id   BLOB    NOT NULL,
    digest     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, route, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Messages of others that were consumed: each in the commit of what it caused.
CREATE TABLE inbox (
    tenant      TEXT    NOT NULL,
    consumer    TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    order_id    BLOB    NOT NULL,
    consumed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, consumer, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX inbox_by_age ON inbox (consumed_at);

-- Kept in the commit that changes an order, so a count costs the same however many orders there are.
CREATE TABLE tallies (
    tenant            TEXT    NOT NULL,
    source            TEXT    NOT NULL,
    orders            INTEGER NOT NULL,
    queued            INTEGER NOT NULL,
    processed         INTEGER NOT NULL,
    parked            INTEGER NOT NULL,
    processing_micros INTEGER NOT NULL,
    PRIMARY KEY (tenant, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE followers (
    name       TEXT PRIMARY KEY,
    sink       TEXT    NOT NULL,
    paused     INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    parked     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A node that carries a follower, until when, and why its sink takes nothing. When its lease has run out, what it holds is free.
CREATE TABLE relays (
    follower TEXT    NOT NULL,
    token    BLOB    NOT NULL,
    until    INTEGER NOT NULL,
    fault    TEXT,
    PRIMARY KEY (follower, token)
) STRICT, WITHOUT ROWID;

-- Beside how far a follower is, what it carries on once more: behind replay_next up to replay_up_to, in all shards or none;
-- and which node holds the shard.
CREATE TABLE cursors (
    follower     TEXT    NOT NULL,
    shard        INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    replay_next  INTEGER,
    replay_up_to INTEGER,
    token        BLOB,
    PRIMARY KEY (follower, shard)
) STRICT, WITHOUT ROWID;

-- Orders whose events from a version on wait for an operator, because the sink of a follower refused one of them for good: that
-- with refused_version, which from_version passes once it was skipped or taken.
CREATE TABLE parked_streams (
    follower        TEXT    NOT NULL,
    shard           INTEGER NOT NULL,
    order_id        BLOB    NOT NULL,
    tenant          TEXT    NOT NULL,
    from_version    INTEGER NOT NULL,
    refused_version INTEGER NOT NULL CHECK (refused_version BETWEEN 1 AND from_version),
    reason          TEXT    NOT NULL,
    detail          TEXT    NOT NULL,
    parked_at       INTEGER NOT NULL,
    redriving       INTEGER NOT NULL,
    PRIMARY KEY (follower, shard, order_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX parked_streams_redriving ON parked_streams (follower, shard, order_id) WHERE redriving = 1;

CREATE TABLE redrives (
    redrive_id BLOB PRIMARY KEY,
    tenant     TEXT    NOT NULL,
    filter     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    by         TEXT    NOT NULL,
    finished   INTEGER NOT NULL,
    redriven   INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    next       INTEGER NOT NULL,
    up_to      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX redrives_open ON redrives (redrive_id) WHERE finished = 0;

CREATE TABLE redrive_items (
    redrive_id BLOB    NOT NULL,
    item       INTEGER NOT NULL,
    order_id   BLOB    NOT NULL,
    result     TEXT    NOT NULL,
    PRIMARY KEY (redrive_id, item)
) STRICT, WITHOUT ROWID;

-- Of a key's secret only its HMAC is here. Keys that ended stay, so that what they did can be told.
CREATE TABLE api_keys (
    number         INTEGER PRIMARY KEY,
    key_id         BLOB    NOT NULL UNIQUE,
    tenant         TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    scopes         TEXT    NOT NULL,
    hash           BLOB    NOT NULL,
    previous_hash  BLOB,
    previous_until INTEGER,
    created_at     INTEGER NOT NULL,
    created_by     TEXT    NOT NULL,
    expires_at     INTEGER,
    rotated_at     INTEGER,
    last_used_at   INTEGER,
    revoked_at     INTEGER
) STRICT;

CREATE INDEX api_keys_by_tenant ON api_keys (tenant, number);

-- What people and keys did. Each row carries the hash of the one before; the end of the chain is `action_end` in `meta`.
CREATE TABLE actions (
    number       INTEGER PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    tenant       TEXT    NOT NULL,
    by           TEXT    NOT NULL,
    address      TEXT,
    request_id   TEXT,
    kind         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    details      TEXT    NOT NULL,
    state_before BLOB,
    state_after  BLOB,
    at           INTEGER NOT NULL,
    previous     BLOB    NOT NULL,
    hash         BLOB    NOT NULL
) STRICT;

CREATE INDEX actions_by_tenant ON actions (tenant, number);

-- Nothing of ours changes what was written; these keep a mistake of ours from it, and an accident.
CREATE TRIGGER actions_are_kept BEFORE DELETE ON actions
BEGIN
    SELECT RAISE(ABORT, 'the action log is only added to');
END;

CREATE TRIGGER actions_stay_as_they_are BEFORE UPDATE ON actions
BEGIN
    SELECT RAISE(ABORT, 'the action log is only added to');
END;
