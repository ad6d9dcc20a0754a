//! Migrations: numbered files, each applied once in a transaction of its own, after a copy of the database was made.

use crate::backup;
use crate::error::{fault, unavailable};
use order_core::{Fault, Timestamp, fault_point};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: u32,
    /// What it is about.
    pub name: &'static str,
    sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "init", sql: include_str!("../migrations/0001_init.sql") },
    Migration {
        number: 2,
        name: "stores and webhooks",
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
    /// The copy that was made first, if there was anything to copy.
    pub backup: Option<PathBuf>,
}

/// The version of the schema; 0 for a new database.
pub(crate) fn version(conn: &Connection) -> Result<u32, Fault> {
    let made: Option<i64> = conn
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'", [], |row| row.get(0))
        .optional()
        .map_err(fault)?;
    match made {
        None => Ok(0),
        Some(_) => conn
            .query_row("SELECT coalesce(max(number), 0) FROM migrations", [], |row| row.get(0))
            .map_err(fault),
    }
}

/// Whether this program knows the schema of a database, in the form in which it was applied.
pub(crate) fn known(conn: &Connection) -> Result<(), Fault> {
    let from = version(conn)?;
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    if from > newest {
        return Err(Fault::internal(format!(
            "the database has schema {from}, this program knows {newest}: run a newer wellorder"
        )));
    }
    check_applied(conn, from)
}

/// Brings the schema up to date. One process at a time: each step takes the write lock first and looks again.
pub(crate) fn migrate(conn: &mut Connection, path: &Path, now: Timestamp) -> Result<Migrated, Fault> {
    let from = version(conn)?;
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    known(conn)?;
    let backup = if from > 0 && from < newest { Some(back_up(conn, path, from)?) } else { None };
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, \
         checksum BLOB NOT NULL, applied_at INTEGER NOT NULL) STRICT",
    )
    .map_err(fault)?;
    for migration in MIGRATIONS {
        apply(conn, migration, now).map_err(fault)?;
    }
    Ok(Migrated { from, to: newest, backup })
}

fn apply(conn: &mut Connection, migration: &Migration, now: Timestamp) -> rusqlite::Result<()> {
    let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = step
        .query_row("SELECT 1 FROM migrations WHERE number = ?1", [migration.number], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    if done.is_none() {
        step.execute_batch(migration.sql)?;
        fault_point::pass("boot.mid_migration");
        step.execute(
            "INSERT INTO migrations VALUES (?1, ?2, ?3, ?4)",
            params![migration.number, migration.name, checksum(migration), now.micros()],
        )?;
    }
    step.commit()
}

fn checksum(migration: &Migration) -> [u8; 32] {
    Sha256::digest(migration.sql.as_bytes()).into()
}

/// A step that was changed after it was applied would leave databases that differ in silence.
fn check_applied(conn: &Connection, version: u32) -> Result<(), Fault> {
    for migration in MIGRATIONS.iter().filter(|migration| migration.number <= version) {
        let applied: Option<[u8; 32]> = conn
            .query_row("SELECT checksum FROM migrations WHERE number = ?1", [migration.number], |row| {
                row.get(0)
            })
            .optional()
            .map_err(fault)?;
        if applied != Some(checksum(migration)) {
            let Migration { number, name, .. } = migration;
            return Err(Fault::internal(format!("migration {number} ({name}) was applied in another form")));
        }
    }
    Ok(())
}

fn back_up(conn: &Connection, path: &Path, from: u32) -> Result<PathBuf, Fault> {
    let folder = path.parent().unwrap_or(Path::new(".")).join("backups");
    std::fs::create_dir_all(&folder)
        .map_err(|error| unavailable(format!("cannot make {}: {error}", folder.display())))?;
    let copy = folder.join(format!("before-schema-{}-from-{from}.db", from + 1));
    backup::copy_to(conn, &copy)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_000_000)
    }

    fn newest() -> u32 {
        MIGRATIONS.last().unwrap().number
    }

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let numbers: Vec<u32> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        let expected: Vec<u32> = (1..=u32::try_from(MIGRATIONS.len()).unwrap()).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut conn = Connection::open(&path).unwrap();
        let first = migrate(&mut conn, &path, now()).unwrap();
        let to = newest();
        assert_eq!(first, Migrated { from: 0, to, backup: None });
        assert_eq!(migrate(&mut conn, &path, now()).unwrap(), Migrated { from: to, to, backup: None });
    }

    #[test]
    fn the_schema_before_is_copied_and_then_brought_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut conn = Connection::open(&path).unwrap();
        migrate(&mut conn, &path, now()).unwrap();
        let tables = |conn: &Connection| -> Vec<String> {
            let mut names =
                conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
            let read = names.query_map([], |row| row.get(0)).unwrap();
            read.collect::<Result<_, _>>().unwrap()
        };
        let all = tables(&conn);
        // As the first step alone leaves it.
        let first = folder.path().join("first.db");
        let mut conn = Connection::open(&first).unwrap();
        conn.execute_batch(
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, \
             applied_at INTEGER NOT NULL) STRICT",
        )
        .unwrap();
        apply(&mut conn, &MIGRATIONS[0], now()).unwrap();
        assert!(tables(&conn).len() < all.len());
        let migrated = migrate(&mut conn, &first, now()).unwrap();
        assert_eq!((migrated.from, migrated.to), (1, newest()));
        assert_eq!(tables(&conn), all);
        let copy = Connection::open(migrated.backup.unwrap()).unwrap();
        assert_eq!(version(&copy).unwrap(), 1, "what was before is kept");
    }

    #[test]
    fn a_changed_migration_and_a_newer_schema_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut conn = Connection::open(&path).unwrap();
        migrate(&mut conn, &path, now()).unwrap();
        conn.execute("UPDATE migrations SET checksum = zeroblob(32)", []).unwrap();
        assert!(migrate(&mut conn, &path, now()).unwrap_err().to_string().contains("another form"));
        conn.execute("INSERT INTO migrations VALUES (999, 'later', zeroblob(32), 0)", []).unwrap();
        assert!(migrate(&mut conn, &path, now()).unwrap_err().to_string().contains("newer wellorder"));
    }

    #[test]
    fn a_backup_that_fails_leaves_nothing_half_written_and_the_next_replaces_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut conn = Connection::open(&path).unwrap();
        migrate(&mut conn, &path, now()).unwrap();
        let copy = back_up(&conn, &path, 1).unwrap();
        let before = std::fs::read(&copy).unwrap();
        conn.execute_batch("CREATE TABLE later (a)").unwrap();
        // What it is called until it is whole cannot be had.
        let partial = PathBuf::from(format!("{}.partial", copy.display()));
        std::fs::create_dir(&partial).unwrap();
        let failed = back_up(&conn, &path, 1).unwrap_err();
        assert!(matches!(failed, Fault::Unavailable { .. }), "{failed}: tried again");
        assert!(std::fs::read(&copy).unwrap() == before, "the one before is as it was");
        std::fs::remove_dir(&partial).unwrap();
        std::fs::write(&partial, "what a process left that was killed").unwrap();
        back_up(&conn, &path, 1).unwrap();
        let count = "SELECT count(*) FROM later";
        assert_eq!(Connection::open(&copy).unwrap().query_row(count, [], |row| row.get(0)), Ok(0));
        assert!(!partial.exists());
    }

    #[test]
    fn a_backup_is_a_whole_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut conn = Connection::open(&path).unwrap();
        migrate(&mut conn, &path, now()).unwrap();
        let copy = back_up(&conn, &path, 1).unwrap();
        assert_eq!(version(&Connection::open(copy).unwrap()).unwrap(), newest());
    }
}
