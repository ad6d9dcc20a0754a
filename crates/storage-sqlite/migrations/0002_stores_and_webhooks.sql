-- Secrets that are sealed, stores and what is fetched from them, and webhooks. Only adds: programs of the schema before run on.

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
    url         TEXT    NOT NULL,
    PRIMARY KEY (endpoint, attempt_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_attempts_of ON webhook_attempts (subject, version);
-- Small: what was given up.
CREATE INDEX webhook_attempts_failed ON webhook_attempts (endpoint, attempt_id) WHERE outcome = 'failed';
