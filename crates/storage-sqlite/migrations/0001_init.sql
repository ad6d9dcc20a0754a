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

-- What the installation made for itself and nobody may read: sealed under a key that is not in the database.
CREATE TABLE named_secrets (
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Shops at marketplaces, each with how many imports it has by state, what became of the newest of them, who syncs it until when, and
-- how far its orders are listed. Of a sync token only the hash is here; the access token is sealed.
CREATE TABLE stores (
    store_id      BLOB    PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    organization  TEXT    NOT NULL,
    marketplace   TEXT    NOT NULL,
    external_id   TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    currency      TEXT    NOT NULL,
    access_token  BLOB    NOT NULL,
    token_hash    BLOB    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    pending       INTEGER NOT NULL,
    success       INTEGER NOT NULL,
    failed        INTEGER NOT NULL,
    rate_limited  INTEGER NOT NULL,
    invalid       INTEGER NOT NULL,
    newest        BLOB    NOT NULL,
    last_sync_at  INTEGER,
    synced_at     INTEGER,
    next_sync_at  INTEGER,
    lease_token   BLOB,
    lease_until   INTEGER,
    run           INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    lists         INTEGER NOT NULL,
    listed_since  INTEGER,
    list_page     TEXT,
    list_began_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX stores_by_token ON stores (token_hash);
CREATE INDEX stores_by_tenant ON stores (tenant, created_at, store_id);
CREATE INDEX stores_by_organization ON stores (tenant, organization, created_at, store_id);
-- Those that are to be synced, some time.
CREATE INDEX stores_to_sync ON stores (created_at, store_id) WHERE next_sync_at IS NOT NULL;

-- Orders that were, or are to be, fetched from stores; `number` counts those of a store. A lease is a due time: `due_at` is its end
-- while `token` is set. What nobody shall take up has none.
CREATE TABLE imports (
    store_id          BLOB    NOT NULL,
    receipt           TEXT    NOT NULL,
    tenant            TEXT    NOT NULL,
    number            INTEGER NOT NULL,
    state             TEXT    NOT NULL CHECK (state IN ('pending', 'success', 'failed', 'rate_limited', 'invalid')),
    attempt           INTEGER NOT NULL,
    due_at            INTEGER,
    token             BLOB,
    external_order_id TEXT,
    amount            TEXT,
    currency          TEXT,
    imported_at       INTEGER,
    order_id          BLOB,
    error             TEXT,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (store_id, receipt)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX imports_by_number ON imports (store_id, number);
-- Small: most succeed.
CREATE INDEX imports_open ON imports (store_id, state, number) WHERE state <> 'success';
CREATE INDEX imports_due ON imports (store_id, due_at, number) WHERE due_at IS NOT NULL;
-- Where is this receipt?
CREATE INDEX imports_by_receipt ON imports (tenant, receipt, store_id);

-- What each sync of a store that had something to do did.
CREATE TABLE sync_runs (
    store_id     BLOB    NOT NULL,
    run          INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    processed    INTEGER NOT NULL,
    success      INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    rate_limited INTEGER NOT NULL,
    ending       TEXT,
    detail       TEXT,
    PRIMARY KEY (store_id, run)
) STRICT, WITHOUT ROWID;

-- What is told of stores: versions are gapless in a store, as those of an order are in the journal.
CREATE TABLE store_events (
    store_id     BLOB    NOT NULL,
    version      INTEGER NOT NULL,
    event_id     BLOB    NOT NULL,
    tenant       TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    type         TEXT    NOT NULL,
    occurred_at  INTEGER NOT NULL,
    data         TEXT    NOT NULL,
    PRIMARY KEY (store_id, version)
) STRICT, WITHOUT ROWID;

-- What marketplaces allow, and how much of it is left: see `budget` of the core.
CREATE TABLE budgets (
    key   TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- Receivers of webhooks. Secrets are sealed under a key that is not here. `start_positions`: by shard, apart by spaces, the place
-- behind which an endpoint hears of events. One that is deleted is nowhere, and goes when what belongs to it is gone.
CREATE TABLE endpoints (
    number          INTEGER PRIMARY KEY,
    endpoint_id     BLOB    NOT NULL UNIQUE,
    tenant          TEXT    NOT NULL,
    organization    TEXT,
    url             TEXT    NOT NULL,
    listens         TEXT    NOT NULL,
    dialect         TEXT    NOT NULL CHECK (dialect IN ('v1', 'marketplace')),
    state           TEXT    NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
    disabled_for    TEXT,
    rate            INTEGER,
    secret          BLOB,
    previous_secret BLOB,
    previous_until  INTEGER,
    start_epoch     INTEGER NOT NULL,
    start_positions TEXT    NOT NULL,
    failing_since   INTEGER,
    paced_until     INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER
) STRICT;

CREATE INDEX endpoints_by_tenant ON endpoints (tenant, number) WHERE deleted_at IS NULL;
CREATE INDEX endpoints_deleted ON endpoints (number) WHERE deleted_at IS NOT NULL;

-- What is left to send to an endpoint of a subject (an order, a store): there is a row as long as something is. Versions from
-- `next` up to `upto`, none when that is less, behind those of `again`, apart by spaces. `place` is the position of the event of
-- version `next`, where that is known. A lease is a due time: `due_at` is its end while `token` is set.
CREATE TABLE webhook_streams (
    endpoint INTEGER NOT NULL,
    subject  BLOB    NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('order', 'store')),
    tenant   TEXT    NOT NULL,
    next     INTEGER NOT NULL,
    place    INTEGER,
    upto     INTEGER NOT NULL,
    again    TEXT    NOT NULL,
    attempt  INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    token    BLOB,
    PRIMARY KEY (endpoint, subject)
) STRICT, WITHOUT ROWID;

-- A claim asks for each endpoint in turn.
CREATE INDEX webhook_streams_due ON webhook_streams (endpoint, due_at);
-- As small as what is on its way now.
CREATE INDEX webhook_streams_leased ON webhook_streams (endpoint, due_at) WHERE token IS NOT NULL;

-- What became of each try; rows are only added, and go by age. `attempt_id` begins with the time.
CREATE TABLE webhook_attempts (
    endpoint    INTEGER NOT NULL,
    attempt_id  BLOB    NOT NULL,
    tenant      TEXT    NOT NULL,
    subject     BLOB    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('order', 'store')),
    version     INTEGER NOT NULL,
    event_id    BLOB    NOT NULL,
    type        TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    took_micros INTEGER NOT NULL,
    outcome     TEXT    NOT NULL CHECK (outcome IN ('delivered', 'retry', 'failed')),
    status      INTEGER,
    why         TEXT,
    answer      BLOB,
    retry_at    INTEGER,
    PRIMARY KEY (endpoint, attempt_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_attempts_of ON webhook_attempts (subject, version);
-- Small: what was given up.
CREATE INDEX webhook_attempts_failed ON webhook_attempts (endpoint, attempt_id) WHERE outcome = 'failed';

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
