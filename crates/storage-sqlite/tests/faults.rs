//! A database that is locked, full, missing or replaced: nothing is acknowledged, nothing is lost, and it recovers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use order_core::command::{Claim, Command, Reply};
use order_core::desk::{Desk, Desks};
use order_core::ids::{EventId, LeaseToken};
use order_core::intake::Accepted;
use order_core::ports::{Committed, Storage};
use order_core::query::OrderQuery;
use order_core::{Fault, Ids, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage_sqlite::{Options, Seed, SqliteStorage};
use testkit::SeededIds;
use testkit::build::{accept, id_of, intake, tenant};

const NOW: i64 = 1_700_000_000_000_000;

struct Database {
    folder: tempfile::TempDir,
    ids: Arc<SeededIds>,
    storage: SqliteStorage,
}

impl Database {
    fn new() -> Self {
        Self::with_free_bytes(0)
    }

    fn with_free_bytes(free_bytes_min: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ids = SeededIds::new(1);
        let storage = open(&folder.path().join("a.db"), free_bytes_min, ids.uuid_v4()).unwrap();
        Self { folder, ids, storage }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    async fn accept(&self, reference: &str) -> Result<Committed, Fault> {
        let command = accept(intake(reference), &*self.ids, Timestamp::from_micros(NOW));
        self.storage.commit(0, Arc::from([command])).await
    }

    async fn is_there(&self, reference: &str) -> bool {
        let id = id_of(&intake(reference).build());
        self.storage.order(&tenant("default"), id).await.unwrap().is_some()
    }
}

fn open(path: &Path, free_bytes_min: u64, installation_id: uuid::Uuid) -> Result<SqliteStorage, Fault> {
    let options = Options {
        path: path.to_owned(),
        busy_timeout: Duration::ZERO,
        free_bytes_min,
        leases_outlive: Desks::NONE,
    };
    let seed = Seed { installation_id, cursor_key: [1; 32], key_pepper: [2; 32], shards: 16 };
    SqliteStorage::open(&options, &seed, Timestamp::from_micros(NOW)).map(|(storage, _)| storage)
}

fn is_new(committed: Result<Committed, Fault>) -> bool {
    matches!(&committed.unwrap().replies[..], [Ok(Reply::Accepted(Accepted::New(_)))])
}

fn unavailable(outcome: Result<Committed, Fault>) -> String {
    match outcome {
        Err(Fault::Unavailable { why, retry_after }) => {
            assert!(retry_after > Duration::ZERO);
            why
        }
        other => panic!("not unavailable: {other:?}"),
    }
}

/// Locks that this process holds on a file, as the kernel lists them.
fn locks_held(path: &Path) -> usize {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", std::fs::metadata(path).unwrap().ino());
    let process = std::process::id().to_string();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.iter().any(|field| field.ends_with(&inode)) && fields.contains(&process.as_str())
    };
    locks.lines().filter(ours).count()
}

/// Another program that finds no lock takes the log for a dead one and deletes it.
#[tokio::test]
async fn the_locks_on_the_database_are_held_whatever_went_wrong() {
    let database = Database::new();
    assert!(is_new(database.accept("a").await));
    assert!(locks_held(&database.path()) > 0);
    let other = rusqlite::Connection::open(database.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    unavailable(database.accept("b").await);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(is_new(database.accept("b").await));
    drop(other);
    assert!(locks_held(&database.path()) > 0, "after somebody else wrote");
    database.storage.back_up(&database.folder.path().join("copy.db"), Arc::default()).await.unwrap();
    assert!(locks_held(&database.path()) > 0, "after a copy was made");
    std::fs::remove_file(database.folder.path().join("a.db-wal")).unwrap();
    let _ = database.accept("c").await;
    assert!(is_new(database.accept("d").await));
    assert!(locks_held(&database.path()) > 0, "after the log was deleted");
}

#[tokio::test]
async fn a_locked_database_is_unavailable_until_it_is_let_go() {
    let database = Database::new();
    let other = rusqlite::Connection::open(database.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(unavailable(database.accept("a").await).contains("locked"));
    assert!(!database.is_there("a").await);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(is_new(database.accept("a").await));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_still_reads() {
    let database = Database::new();
    assert!(is_new(database.accept("before").await));
    let full = Database::with_free_bytes(u64::MAX);
    assert!(unavailable(full.accept("a").await).contains("must stay free"));
    assert!(!full.is_there("a").await);
    assert!(full.storage.space().await.is_some_and(|space| space.free > 0 && !space.is_enough()));
}

#[tokio::test]
async fn a_missing_file_is_unavailable_and_what_was_acknowledged_is_there_when_it_is_back() {
    let database = Database::new();
    assert!(is_new(database.accept("before").await));
    let away = database.folder.path().join("away.db");
    std::fs::rename(database.path(), &away).unwrap();
    assert!(unavailable(database.accept("meanwhile").await).contains("No such file"));
    assert!(database.storage.order(&tenant("default"), id_of(&intake("before").build())).await.is_err());
    std::fs::rename(&away, database.path()).unwrap();
    assert!(database.is_there("before").await);
    assert!(!database.is_there("meanwhile").await);
    assert!(is_new(database.accept("after").await));
}

#[tokio::test]
async fn another_database_at_the_path_is_never_written() {
    for log_stays in [true, false] {
        let database = Database::new();
        assert!(is_new(database.accept("ours").await));
        let path = database.folder.path().join("other.db");
        let other = open(&path, 0, SeededIds::new(99).uuid_v4()).unwrap();
        let theirs = accept(intake("theirs"), &*SeededIds::new(98), Timestamp::from_micros(NOW));
        assert!(is_new(other.commit(0, Arc::from([theirs])).await));
        drop(other);
        if !log_stays {
            for suffix in ["-wal", "-shm"] {
                std::fs::remove_file(database.folder.path().join(format!("a.db{suffix}"))).unwrap();
            }
        }
        std::fs::rename(&path, database.path()).unwrap();
        assert!(unavailable(database.accept("a").await).contains("replaced"), "log stays: {log_stays}");
        assert!(database.storage.heads().await.is_err(), "nor is it shown for ours");
        // Read without the log beside it, as it was put there.
        let put = database.folder.path().join("put.db");
        std::fs::copy(database.path(), &put).unwrap();
        let references: Vec<String> = rusqlite::Connection::open(put)
            .unwrap()
            .prepare("SELECT reference FROM orders")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(references, ["theirs"], "log stays: {log_stays}");
    }
}

#[tokio::test]
async fn a_log_that_is_deleted_under_the_server_loses_nothing() {
    let database = Database::new();
    for reference in ["a", "b", "c"] {
        assert!(is_new(database.accept(reference).await));
    }
    let log = database.folder.path().join("a.db-wal");
    std::fs::remove_file(&log).unwrap();
    assert!(is_new(database.accept("d").await));
    assert!(database.is_there("a").await && database.is_there("d").await);
    std::fs::remove_file(&log).unwrap();
    assert!(is_new(database.accept("e").await));
    // What a crash now would leave: the files as they lie there.
    let copy = database.folder.path().join("copy.db");
    std::fs::copy(database.path(), &copy).unwrap();
    std::fs::copy(&log, database.folder.path().join("copy.db-wal")).unwrap();
    let found = open(&copy, 0, uuid::Uuid::from_u128(1)).unwrap();
    for reference in ["a", "b", "c", "d", "e"] {
        let id = id_of(&intake(reference).build());
        assert!(found.order(&tenant("default"), id).await.unwrap().is_some(), "{reference}");
    }
}

#[tokio::test]
async fn a_row_that_does_not_read_keeps_nobody_else_from_being_worked_on_or_listed() {
    let database = Database::new();
    for reference in ["poison", "a", "b"] {
        assert!(is_new(database.accept(reference).await));
    }
    let damage = rusqlite::Connection::open(database.path()).unwrap();
    damage.execute("UPDATE orders SET total = 'x' WHERE reference = 'poison'", []).unwrap();
    let now = Timestamp::from_micros(NOW);
    let claim = Claim {
        tenant: None,
        desks: Desks::ALL,
        tokens: (0..10).map(|_| LeaseToken(database.ids.uuid_v4())).collect(),
        event_ids: (0..10).map(|_| EventId(database.ids.uuid_v7(now))).collect(),
        now,
        lease: Duration::from_secs(30),
        lapses_max: 10,
    };
    let claimed = database.storage.commit(0, Arc::from([Command::Claim(claim)])).await.unwrap();
    match &claimed.replies[..] {
        [Ok(Reply::Claimed(claimed))] => assert_eq!(claimed.leased.len(), 2),
        other => panic!("{other:?}"),
    }
    let query = OrderQuery::all(tenant("default"), 10, now);
    assert_eq!(database.storage.orders(&query).await.unwrap().orders.len(), 2);
}

#[tokio::test]
async fn work_from_a_clock_that_ran_ahead_is_due_after_a_restart() {
    let database = Database::new();
    let year = Timestamp::from_micros(NOW).plus(Duration::from_secs(365 * 86_400));
    let early = accept(intake("ahead"), &*database.ids, year);
    assert!(is_new(database.storage.commit(0, Arc::from([early])).await));
    let (path, Database { folder, storage, .. }) = (database.path(), database);
    drop(storage);
    let reopened = open(&path, 0, uuid::Uuid::from_u128(1)).unwrap();
    reopened.commit(0, Arc::from([Command::Probe])).await.unwrap();
    let due: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT due_at FROM work", [], |row| row.get(0))
        .unwrap();
    assert_eq!(due, NOW);
    drop(folder);
}

/// Workers outside live on while the process is away; its own is gone.
#[tokio::test]
async fn leases_hold_on_at_the_desks_of_workers_outside_alone() {
    let database = Database::new();
    let now = Timestamp::from_micros(NOW);
    let sale = accept(intake("sale").source("sales"), &*database.ids, now);
    assert!(
        is_new(database.storage.commit(0, Arc::from([sale])).await) && is_new(database.accept("a").await)
    );
    let (tokens, event_ids) = (
        vec![LeaseToken(database.ids.uuid_v4()), LeaseToken(database.ids.uuid_v4())],
        vec![EventId(database.ids.uuid_v7(now)), EventId(database.ids.uuid_v7(now))],
    );
    let lease = Duration::from_secs(30);
    let claim = Claim { tenant: None, desks: Desks::ALL, tokens, event_ids, now, lease, lapses_max: 10 };
    database.storage.commit(0, Arc::from([Command::Claim(claim)])).await.unwrap();
    let (path, Database { folder, storage, .. }) = (database.path(), database);
    drop(storage);
    let options = Options {
        path: path.clone(),
        busy_timeout: Duration::ZERO,
        free_bytes_min: 0,
        leases_outlive: Desk::reserved("sales").unwrap().into(),
    };
    let seed = Seed {
        installation_id: uuid::Uuid::from_u128(1),
        cursor_key: [1; 32],
        key_pepper: [2; 32],
        shards: 16,
    };
    let (reopened, opened) = SqliteStorage::open(&options, &seed, now).unwrap();
    assert_eq!(opened.leases_expired, 1);
    reopened.commit(0, Arc::from([Command::Probe])).await.unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let mut due = conn.prepare("SELECT due_at FROM work ORDER BY desk").unwrap();
    let due: Vec<i64> = due.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(due, [NOW, now.plus(lease).micros()]);
    drop(folder);
}

#[tokio::test]
async fn a_database_with_other_shards_or_no_database_at_all_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(open(&path, 0, uuid::Uuid::from_u128(1)).unwrap());
    let options = Options {
        path: path.clone(),
        busy_timeout: Duration::ZERO,
        free_bytes_min: 0,
        leases_outlive: Desks::NONE,
    };
    let seed = Seed {
        installation_id: uuid::Uuid::from_u128(2),
        cursor_key: [1; 32],
        key_pepper: [2; 32],
        shards: 8,
    };
    let refused = SqliteStorage::open(&options, &seed, Timestamp::from_micros(NOW)).err().unwrap();
    assert!(refused.to_string().contains("set shards = 16"), "{refused}");
    std::fs::write(&path, "this is no database, though it is long enough to look like a header of one")
        .unwrap();
    assert!(open(&path, 0, uuid::Uuid::from_u128(1)).is_err());
}

#[tokio::test]
async fn a_storage_for_reading_alone_reads_and_refuses_to_write() {
    let database = Database::new();
    assert!(is_new(database.accept("a").await));
    let options = Options {
        path: database.path(),
        busy_timeout: Duration::ZERO,
        free_bytes_min: 0,
        leases_outlive: Desks::NONE,
    };
    let reading = SqliteStorage::open_read_only(&options).unwrap();
    let id = id_of(&intake("a").build());
    assert!(reading.order(&tenant("default"), id).await.unwrap().is_some());
    let probe: Arc<[Command]> = Arc::from([Command::Probe]);
    assert!(matches!(reading.commit(0, probe).await, Err(Fault::Unavailable { .. })));
}

#[test]
fn the_file_and_its_log_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let database = Database::new();
    for suffix in ["", "-wal", "-shm"] {
        let mut name = database.path().into_os_string();
        name.push(suffix);
        let mode = std::fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", name.display());
    }
}
