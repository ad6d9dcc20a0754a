-- The least that an intake would write, and the same with work, journal and heads.
CREATE TABLE bare_orders (
    order_id uuid PRIMARY KEY, tenant_id int NOT NULL, reference text NOT NULL, currency char(3) NOT NULL,
    total numeric(18, 2) NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE full_orders (LIKE bare_orders INCLUDING ALL);
CREATE TABLE work (order_id uuid PRIMARY KEY, due_at timestamptz NOT NULL, attempt int NOT NULL, lease_token uuid);
CREATE INDEX ON work (due_at);
CREATE TABLE journal (
    shard int, position bigint, order_id uuid NOT NULL, version int NOT NULL, type text NOT NULL, data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (shard, position)
);
CREATE TABLE heads (shard int PRIMARY KEY, head bigint NOT NULL);
INSERT INTO heads SELECT g, 0 FROM generate_series(0, 7) g;
