//! Migrations: numbered files, each applied once, in a transaction of its own. Any number of nodes may start at once: one
//! of them migrates, the others wait for its lock and find nothing left to do.

use crate::connect::Conn;
use crate::error::Tried;
use crate::meta::{self, Seed};
use crate::parts;
use crate::refusal::Refusal;
use crate::rows::{Moment, bytes32, number};
use order_core::{Timestamp, fault_point};
use sha2::{Digest, Sha256};

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: u32,
    /// What it is about.
    pub name: &'static str,
    /// The oldest schema whose programs can still run once it is applied.
    pub oldest: u32,
    sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "init", oldest: 1, sql: include_str!("../migrations/0001_init.sql") },
    Migration {
        number: 2,
        name: "stores and webhooks",
        oldest: 1,
        sql: include_str!("../migrations/0002_stores_and_webhooks.sql"),
    },
];

/// What was done to the schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Migrated {
    /// The version before; 0 for a new database.
    pub from: u32,
    /// The version now.
    pub to: u32,
}

/// "wellorde", as a number: the lock that whoever migrates holds.
const LOCK: i64 = 0x7765_6c6c_6f72_6465;

/// The version of the schema; 0 for a new database.
pub(crate) async fn version(conn: &Conn) -> Tried<u32> {
    let row = conn.query_one("SELECT to_regclass('migrations') IS NOT NULL", &[]).await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let row = conn.query_one("SELECT coalesce(max(number), 0) FROM migrations", &[]).await?;
    number::<_, i32>(&row, 0)
}

/// Brings the schema up to date and installs a new database.
pub(crate) async fn migrate(conn: &Conn, seed: &Seed, part_events: u64, now: Timestamp) -> Tried<Migrated> {
    lock(conn).await?;
    let migrated = locked(conn, seed, part_events, now).await;
    // The lock ends with the session at the latest.
    if let Err(trouble) = conn.query_one("SELECT pg_advisory_unlock($1)", &[&LOCK]).await {
        tracing::debug!(?trouble, "the lock of migrations ends with its connection");
    }
    migrated
}

/// Waits until nobody else migrates, and keeps others from it until the connection ends.
pub(crate) async fn lock(conn: &Conn) -> Tried<()> {
    conn.query_one("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map(drop)
}

/// Makes the schema in an empty database, inside of the transaction of whoever has the lock.
pub(crate) async fn lay(conn: &Conn, now: Timestamp) -> Tried<()> {
    check_encoding(conn).await?;
    conn.run(MAKE_TABLE).await?;
    for migration in MIGRATIONS {
        step(conn, migration, now).await?;
    }
    Ok(())
}

/// Texts are kept as they come.
async fn check_encoding(conn: &Conn) -> Tried<()> {
    let encoding = conn.query_one("SELECT current_setting('server_encoding')", &[]).await?;
    let encoding: String = encoding.try_get(0)?;
    if encoding != "UTF8" {
        let why = format!("the database has the encoding {encoding}");
        return Err(
            Refusal::lasting(why, "make another with ENCODING 'UTF8', and name that in `database`").into()
        );
    }
    Ok(())
}

const MAKE_TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (number integer PRIMARY KEY, name text NOT NULL, \
     oldest integer NOT NULL, checksum bytea NOT NULL, applied_at timestamptz NOT NULL)";

async fn locked(conn: &Conn, seed: &Seed, part_events: u64, now: Timestamp) -> Tried<Migrated> {
    check_encoding(conn).await?;
    let from = version(conn).await?;
    // Whoever finds it there needs no right to make it.
    if from == 0 {
        conn.run(MAKE_TABLE).await?;
    }
    known(conn).await?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > from) {
        apply(conn, migration, now).await?;
    }
    meta::install(conn, seed).await?;
    parts::make_all(conn, part_events).await?;
    Ok(Migrated { from, to: version(conn).await? })
}

async fn apply(conn: &Conn, migration: &Migration, now: Timestamp) -> Tried<()> {
    conn.run("BEGIN").await?;
    step(conn, migration, now).await?;
    conn.run("COMMIT").await
}

/// One of them, inside of the caller's transaction.
async fn step(conn: &Conn, migration: &Migration, now: Timestamp) -> Tried<()> {
    conn.run(migration.sql).await?;
    fault_point::pass("boot.mid_migration");
    let (number, oldest) = (migration.number.cast_signed(), migration.oldest.cast_signed());
    conn.execute(
        "INSERT INTO migrations (number, name, oldest, checksum, applied_at) VALUES ($1, $2, $3, $4, $5)",
        &[&number, &migration.name, &oldest, &checksum(migration).as_slice(), &Moment(now)],
    )
    .await
    .map(drop)
}

/// Whether this program can run on the schema: it knows all of it in the form in which it was applied, or what it does
/// not know lets it run.
pub(crate) async fn known(conn: &Conn) -> Tried<()> {
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    let applied = conn.query("SELECT number, oldest, checksum FROM migrations ORDER BY number", &[]).await?;
    for row in applied {
        let at: u32 = number::<_, i32>(&row, 0)?;
        let oldest: u32 = number::<_, i32>(&row, 1)?;
        if oldest > newest {
            let why = format!("the database has schema {at}, this program knows {newest}");
            return Err(Refusal::lasting(why, "run a newer wellorder").into());
        }
        let known = MIGRATIONS.iter().find(|migration| migration.number == at);
        // A step that was changed after it was applied would leave databases that differ in silence.
        if let Some(Migration { number, name, .. }) =
            known.filter(|known| bytes32(&row, 2).ok() != Some(checksum(known)))
        {
            let why = format!("migration {number} ({name}) was applied in another form");
            return Err(
                Refusal::lasting(why, "run the program that made the database, or use another").into()
            );
        }
    }
    Ok(())
}

fn checksum(migration: &Migration) -> [u8; 32] {
    Sha256::digest(migration.sql.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        for (index, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.number, index);
            assert!(migration.oldest <= migration.number);
        }
    }
}
