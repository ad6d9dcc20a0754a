-- Secrets that are sealed, stores and what is fetched from them, and webhooks. Only adds: programs of the schema before run on.

INSERT INTO latches (name) VALUES ('secrets');

-- What the installation made for itself and nobody may read: sealed under a key that is not in the database.
CREATE TABLE named_secrets (
    tenant     text        COLLATE "C" NOT NULL,
    name       text        COLLATE "C" NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- Shops at marketplaces, each with how many imports it has by state, what became of the newest of them, who syncs it until when, and
-- how far its orders are listed. Of a sync token only the hash is here; the access token is sealed. Whoever changes anything of a store
-- or its imports holds its row.
CREATE TABLE stores (
    store_id      uuid        PRIMARY KEY,
    tenant        text        COLLATE "C" NOT NULL,
    organization  text        COLLATE "C" NOT NULL,
    marketplace   text        COLLATE "C" NOT NULL,
    external_id   text        COLLATE "C" NOT NULL,
    name          text        NOT NULL,
    currency      text        NOT NULL,
    access_token  bytea       NOT NULL,
    token_hash    bytea       NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    pending       bigint      NOT NULL,
    success       bigint      NOT NULL,
    failed        bigint      NOT NULL,
    rate_limited  bigint      NOT NULL,
    invalid       bigint      NOT NULL,
    newest        bytea       NOT NULL,
    last_sync_at  timestamptz,
    synced_at     timestamptz,
    next_sync_at  timestamptz,
    lease_token   uuid,
    lease_until   timestamptz,
    run           bigint      NOT NULL,
    version       bigint      NOT NULL,
    lists         boolean     NOT NULL,
    listed_since  timestamptz,
    list_page     text,
    list_began_at timestamptz
) WITH (fillfactor = 50);

INSERT INTO latches (name) VALUES ('stores');

CREATE UNIQUE INDEX stores_by_token ON stores (token_hash);
CREATE INDEX stores_by_tenant ON stores (tenant, created_at, store_id);
CREATE INDEX stores_by_organization ON stores (tenant, organization, created_at, store_id);
-- Those that are to be synced, some time.
CREATE INDEX stores_to_sync ON stores (created_at, store_id) WHERE next_sync_at IS NOT NULL;

-- Orders that were, or are to be, fetched from stores; `number` counts those of a store. A lease is a due time: `due_at` is its end
-- while `token` is set. What nobody shall take up has none.
CREATE TABLE imports (
    store_id          uuid        NOT NULL,
    receipt           text        COLLATE "C" NOT NULL,
    tenant            text        COLLATE "C" NOT NULL,
    number            bigint      NOT NULL,
    state             text        COLLATE "C" NOT NULL
                      CHECK (state IN ('pending', 'success', 'failed', 'rate_limited', 'invalid')),
    attempt           integer     NOT NULL,
    due_at            timestamptz,
    token             uuid,
    external_order_id text,
    amount            numeric,
    currency          text,
    imported_at       timestamptz,
    order_id          uuid,
    error             text,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (store_id, receipt)
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX imports_by_number ON imports (store_id, number);
-- Small: most succeed.
CREATE INDEX imports_open ON imports (store_id, state, number) WHERE state <> 'success';
CREATE INDEX imports_due ON imports (store_id, due_at, number) WHERE due_at IS NOT NULL;
-- Where is this receipt?
CREATE INDEX imports_by_receipt ON imports (tenant, receipt, store_id);

-- What each sync of a store that had something to do did.
CREATE TABLE sync_runs (
    store_id     uuid        NOT NULL,
    run          bigint      NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    processed    bigint      NOT NULL,
    success      bigint      NOT NULL,
    failed       bigint      NOT NULL,
    rate_limited bigint      NOT NULL,
    ending       text        COLLATE "C",
    detail       text,
    PRIMARY KEY (store_id, run)
);

-- What is told of stores: versions are gapless in a store, as those of an order are in the journal.
CREATE TABLE store_events (
    store_id     uuid        NOT NULL,
    version      bigint      NOT NULL,
    event_id     uuid        NOT NULL,
    tenant       text        COLLATE "C" NOT NULL,
    organization text        COLLATE "C" NOT NULL,
    type         text        COLLATE "C" NOT NULL,
    occurred_at  timestamptz NOT NULL,
    data         text        NOT NULL,
    PRIMARY KEY (store_id, version)
);

-- What marketplaces allow, and how much of it is left: see `budget` of the core. Whoever uses one holds its row.
CREATE TABLE budgets (
    key   text COLLATE "C" PRIMARY KEY,
    state text
) WITH (fillfactor = 50);
-- Receivers of webhooks. Secrets are sealed under a key that is not here. `start_positions`: by shard, apart by spaces, the place
-- behind which an endpoint hears of events. One that is deleted is nowhere, and goes when what belongs to it is gone.
CREATE TABLE endpoints (
    number          bigint      PRIMARY KEY,
    endpoint_id     uuid        NOT NULL UNIQUE,
    tenant          text        COLLATE "C" NOT NULL,
    organization    text        COLLATE "C",
    url             text        NOT NULL,
    listens         text        NOT NULL,
    dialect         text        COLLATE "C" NOT NULL CHECK (dialect IN ('v1', 'marketplace')),
    state           text        COLLATE "C" NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
    disabled_for    text,
    rate            integer,
    secret          bytea,
    previous_secret bytea,
    previous_until  timestamptz,
    start_epoch     integer     NOT NULL,
    start_positions text        NOT NULL,
    failing_since   timestamptz,
    paced_until     timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    deleted_at      timestamptz
) WITH (fillfactor = 50);

CREATE INDEX endpoints_by_tenant ON endpoints (tenant, number) WHERE deleted_at IS NULL;
CREATE INDEX endpoints_deleted ON endpoints (number) WHERE deleted_at IS NOT NULL;

-- Held by whoever makes or changes endpoints; and by whoever claims, so that no endpoint is sent more at once than it may be.
INSERT INTO latches (name) VALUES ('endpoints'), ('webhook_claims');

-- What is left to send to an endpoint of a subject (an order, a store): there is a row as long as something is. Versions from
-- `next` up to `upto`, none when that is less, behind those of `again`, apart by spaces. `place` is the position of the event of
-- version `next`, where that is known. A lease is a due time: `due_at` is its end while `token` is set.
CREATE TABLE webhook_streams (
    endpoint bigint      NOT NULL,
    subject  uuid        NOT NULL,
    kind     text        COLLATE "C" NOT NULL CHECK (kind IN ('order', 'store')),
    tenant   text        COLLATE "C" NOT NULL,
    next     bigint      NOT NULL,
    place    bigint,
    upto     bigint      NOT NULL,
    again    text        NOT NULL,
    attempt  integer     NOT NULL,
    due_at   timestamptz NOT NULL,
    token    uuid,
    PRIMARY KEY (endpoint, subject)
)
-- Rows come and go: what is dead must not lie long before what is due.
WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);

-- A claim asks for each endpoint in turn.
CREATE INDEX webhook_streams_due ON webhook_streams (endpoint, due_at);
-- As small as what is on its way now.
CREATE INDEX webhook_streams_leased ON webhook_streams (endpoint, due_at) WHERE token IS NOT NULL;

-- What became of each try; rows are only added, and go by age. `attempt_id` begins with the time.
CREATE TABLE webhook_attempts (
    endpoint    bigint      NOT NULL,
    attempt_id  uuid        NOT NULL,
    tenant      text        COLLATE "C" NOT NULL,
    subject     uuid        NOT NULL,
    kind        text        COLLATE "C" NOT NULL CHECK (kind IN ('order', 'store')),
    version     bigint      NOT NULL,
    event_id    uuid        NOT NULL,
    type        text        COLLATE "C" NOT NULL,
    attempt     integer     NOT NULL,
    at          timestamptz NOT NULL,
    took_micros bigint      NOT NULL,
    outcome     text        COLLATE "C" NOT NULL CHECK (outcome IN ('delivered', 'retry', 'failed')),
    status      integer,
    why         text,
    answer      bytea,
    retry_at    timestamptz,
    url         text        NOT NULL,
    PRIMARY KEY (endpoint, attempt_id)
);

CREATE INDEX webhook_attempts_of ON webhook_attempts (subject, version);
-- Small: what was given up.
CREATE INDEX webhook_attempts_failed ON webhook_attempts (endpoint, attempt_id) WHERE outcome = 'failed';

-- As before, of the tables above too; a database that is guarded already gets what is missing, at the next start.
CREATE OR REPLACE FUNCTION guard_reads() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    guarded text[] := ARRAY['orders', 'standings', 'journal', 'work', 'idempotency', 'inbox', 'tallies', 'redrives', 'api_keys',
                            'named_secrets', 'actions', 'term_blocks', 'parked_streams', 'stores', 'imports', 'store_events',
                            'endpoints', 'webhook_streams', 'webhook_attempts'];
    owned   text;
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
    IF (SELECT count(*) FROM pg_policies WHERE policyname = 'of_one_tenant' AND schemaname = current_schema
        AND tablename = ANY (guarded)) = cardinality(guarded) THEN
        RETURN true;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO wellorder_read', current_schema);
    FOREACH owned IN ARRAY guarded LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_policies
                              WHERE policyname = 'of_one_tenant' AND schemaname = current_schema AND tablename = owned);
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
