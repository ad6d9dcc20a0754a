//! Settings of a database on a server.

use std::time::Duration;

use super::{
    settings::{Role, Settings},
    shape::Shape::{Count, Database, Millis, Switch},
    table::{
        Default::{Follows, Is},
        HOUR_MS, Setting, small,
    },
};

pub(super) const STORAGE: &[Setting] = &[
    Setting::new(
        "database",
        Is(""),
        Database { set: |s: &mut Settings, v| s.database = v },
        "PostgreSQL that keeps everything, as postgres://USER:PASSWORD@HOST:PORT/NAME; empty is SQLite in the data folder",
    )
    .or(&["DATABASE_URL", "POSTGRES_DSN"])
    .or_of(&[(Role::Api, "API_POSTGRES_DSN"), (Role::Worker, "WORKER_POSTGRES_DSN")])
    .secret(),
    Setting::new(
        "shards",
        Follows(|settings, _| if settings.database.text().is_some() { "16" } else { "1" }.to_owned()),
        Count { min: 1, max: 1024, set: |s, v| s.shards = u16::try_from(v).unwrap_or(u16::MAX) },
        "shards of the journal, fixed once the database is made; 16 on PostgreSQL, else 1",
    ),
    Setting::new(
        "journal.part_events",
        Is("1000000"),
        Count { min: 1_000, max: 1_000_000_000, set: |s, v| s.journal.part_events = v },
        "on PostgreSQL: events of each shard that lie in one part of the journal; parts that are there stay as they are",
    ),
    Setting::new(
        "journal.retention_days",
        Is("0"),
        Count {
            min: 0,
            max: 36_500,
            set: |s, v| s.journal.retention = (v > 0).then(|| Duration::from_secs(v * 24 * 3_600)),
        },
        "on PostgreSQL: events older than this go, in whole parts; 0 keeps them for ever",
    ),
    Setting::new(
        "postgres.insecure",
        Is("false"),
        Switch { set: |s, v| s.postgres.insecure = v },
        "whether orders may go to a server elsewhere without TLS, readable on the way",
    ),
    Setting::new(
        "postgres.lanes",
        Is("2"),
        Count { min: 1, max: 64, set: |s, v| s.postgres.lanes = small(v) },
        "connections of this process that commit",
    ),
    Setting::new(
        "postgres.readers",
        Is("8"),
        Count { min: 1, max: 1000, set: |s, v| s.postgres.readers = small(v) },
        "connections of this process that read, at most; requests have as many again",
    ),
    Setting::new(
        "postgres.pool_wait_ms",
        Is("1000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.postgres.pool_wait = v },
        "longest that a read waits for one of them; then it is refused with 503",
    ),
    Setting::new(
        "postgres.statement_timeout_ms",
        Is("5000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.postgres.statement_timeout = v },
        "longest that a statement may take",
    ),
    Setting::new(
        "postgres.lock_timeout_ms",
        Is("2000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.postgres.lock_timeout = v },
        "longest that it may wait for a lock; then its batch is tried again",
    ),
    Setting::new(
        "postgres.idle_in_transaction_timeout_ms",
        Is("10000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.postgres.idle_in_transaction_timeout = v },
        "longest that a transaction may stand still; then the server ends it, and its locks are free",
    ),
    Setting::new(
        "postgres.tcp_user_timeout_ms",
        Is("10000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.postgres.tcp_user_timeout = v },
        "longest that what was sent may be left unacknowledged; then the connection is given up",
    ),
];
