//! A database that is locked, full, missing or replaced: nothing is acknowledged, nothing is lost, and it recovers.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::command::{Command, Reply};
use order_core::intake::Accepted;
use order_core::ports::{Committed, Storage};
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
    let options = Options { path: path.to_owned(), busy_timeout: Duration::ZERO, free_bytes_min };
    let seed = Seed { installation_id, cursor_key: [1; 32], shards: 16 };
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
    assert!(full.storage.free_bytes().await.unwrap() > 0);
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
    let database = Database::new();
    assert!(is_new(database.accept("before").await));
    let other = database.folder.path().join("other.db");
    drop(open(&other, 0, SeededIds::new(99).uuid_v4()).unwrap());
    // As an operator does who puts another database in place: file and log go together.
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(database.folder.path().join(format!("a.db{suffix}"))).unwrap();
    }
    std::fs::rename(&other, database.path()).unwrap();
    assert!(unavailable(database.accept("a").await).contains("another database"));
}

#[tokio::test]
async fn a_database_with_other_shards_or_no_database_at_all_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(open(&path, 0, uuid::Uuid::from_u128(1)).unwrap());
    let options = Options { path: path.clone(), busy_timeout: Duration::ZERO, free_bytes_min: 0 };
    let seed = Seed { installation_id: uuid::Uuid::from_u128(2), cursor_key: [1; 32], shards: 8 };
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
    let options = Options { path: database.path(), busy_timeout: Duration::ZERO, free_bytes_min: 0 };
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
