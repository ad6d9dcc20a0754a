//! Copies: of one moment, whole or not there; and databases that were broken before they were replaced.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use order_core::backup::BackupProgress;
use order_core::command::{Command, FollowerAction, FollowerCommand};
use order_core::desk::Desks;
use order_core::ids::Shard;
use order_core::journal::Cursor;
use order_core::ports::Storage;
use order_core::replay::Replay;
use order_core::{Fault, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage_sqlite::{Options, Seed, SqliteStorage, put_in_place, stage};
use testkit::SeededIds;
use testkit::build::{accept, intake};

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn options(path: &Path, free_bytes_min: u64) -> Options {
    let busy_timeout = Duration::from_secs(5);
    Options { path: path.to_owned(), busy_timeout, free_bytes_min, leases_outlive: Desks::NONE }
}

fn open(path: &Path, free_bytes_min: u64) -> SqliteStorage {
    let installation_id = uuid::Uuid::from_u128(1);
    let seed = Seed { installation_id, cursor_key: [1; 32], key_pepper: [2; 32], shards: 1 };
    SqliteStorage::open(&options(path, free_bytes_min), &seed, now()).unwrap().0
}

/// Orders that are there when the first copy begins: some parts of a copy.
const BEFORE: u64 = 19_200;

/// Takes in orders, many in a commit, until told to stop; returns how many.
async fn load(
    storage: Arc<SqliteStorage>,
    stop: Arc<AtomicBool>,
    begun: tokio::sync::oneshot::Sender<()>,
) -> u64 {
    let ids = SeededIds::new(7);
    let (mut begun, mut count) = (Some(begun), 0);
    while !stop.load(Ordering::Relaxed) {
        let orders = (0..64).map(|_| accept(intake("x").no_reference(), &*ids, now())).collect();
        storage.commit(0, orders).await.unwrap();
        count += 64;
        // The copy begins in the midst of it.
        if count == BEFORE {
            begun.take().unwrap().send(()).unwrap();
        }
    }
    count
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_of_one_moment_however_much_is_committed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(open(&folder.path().join("a.db"), 0));
    let stop = Arc::new(AtomicBool::new(false));
    let (begun, beginning) = tokio::sync::oneshot::channel();
    let loading = tokio::spawn(load(Arc::clone(&storage), Arc::clone(&stop), begun));
    beginning.await.unwrap();
    let mut copies = Vec::new();
    for number in 0..4 {
        let target = folder.path().join(format!("copy-{number}.db"));
        let progress = Arc::new(BackupProgress::default());
        let made = storage.back_up(&target, Arc::clone(&progress)).await.unwrap();
        assert_eq!(progress.bytes(), (made.bytes, made.bytes));
        assert_eq!(std::fs::metadata(&target).unwrap().len(), made.bytes);
        copies.push((target, made));
    }
    stop.store(true, Ordering::Relaxed);
    let count = loading.await.unwrap();
    for (target, made) in &copies {
        let copy = SqliteStorage::open_read_only(&options(target, 0)).unwrap();
        // One event for each order, none half there.
        assert_eq!(copy.heads().await.unwrap(), made.heads);
        assert_eq!((made.heads[0].position, made.orders % 64), (made.orders, 0));
        assert!((BEFORE..=count).contains(&made.orders), "{} of {count}", made.orders);
        assert_eq!(copy.journal(Shard(0), made.orders - 1, 10).await.unwrap().len(), 1);
        assert_eq!(copy.audit_work(0, 1_000_000).await.unwrap().rows.len() as u64, made.orders);
    }
    assert!(copies.windows(2).all(|two| two[0].1.orders <= two[1].1.orders));
    assert!(copies[0].1.bytes > 2 * (4 << 20), "copied in parts: {}", copies[0].1.bytes);
    // A name is given once.
    let refused = storage.back_up(&copies[0].0, Arc::default()).await;
    assert!(matches!(refused, Err(Fault::Unavailable { .. })), "{refused:?}");
    assert!(names(folder.path()).iter().all(|name| !name.ends_with(".partial")));
}

#[tokio::test]
async fn a_copy_that_is_called_off_or_finds_no_room_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder.path().join("a.db"), 0);
    let before = names(folder.path());
    let progress = Arc::new(BackupProgress::default());
    progress.call_off();
    let target = folder.path().join("copy.db");
    assert!(matches!(storage.back_up(&target, progress).await, Err(Fault::ShuttingDown)));
    assert_eq!(names(folder.path()), before);
    drop(storage);
    let full = SqliteStorage::open_read_only(&options(&folder.path().join("a.db"), 0)).unwrap();
    assert!(full.back_up(&target, Arc::default()).await.is_ok(), "beside whoever writes");
    let narrow = open(&folder.path().join("b.db"), u64::MAX / 2);
    match narrow.back_up(&folder.path().join("copy-2.db"), Arc::default()).await {
        Err(Fault::Unavailable { why, .. }) => assert!(why.contains("must stay free"), "{why}"),
        other => panic!("there was room: {other:?}"),
    }
}

async fn copy_of_three(folder: &Path) -> PathBuf {
    let (storage, ids) = (open(&folder.join("source.db"), 0), SeededIds::new(3));
    for reference in ["a", "b", "c"] {
        storage.commit(0, Arc::from([accept(intake(reference), &*ids, now())])).await.unwrap();
    }
    let target = folder.join("copy.db");
    storage.back_up(&target, Arc::default()).await.unwrap();
    target
}

/// A database that cannot be read any more is what a copy is for: it is moved aside as it is.
#[tokio::test]
async fn a_broken_database_is_replaced_and_moved_aside_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let copy = copy_of_three(folder.path()).await;
    let (database, work) = (folder.path().join("a.db"), folder.path().join("work"));
    std::fs::create_dir(&work).unwrap();
    std::fs::write(&database, "broken".repeat(1_000)).unwrap();
    let staged = work.join("wellorder.db");
    let told = stage(&copy, &staged, Some(&database), now(), &BackupProgress::default()).unwrap();
    assert_eq!((told.made.orders, told.made.epoch), (3, 1));
    assert_eq!(u64::from(told.epoch), 1_700_000_000, "the time, in seconds");
    assert_eq!(std::fs::read(&database).unwrap().len(), 6_000, "until the end it is as it was");
    put_in_place(&staged, &database).unwrap();
    let storage = open(&database, 0);
    assert_eq!((storage.install().epoch, storage.heads().await.unwrap()[0].position), (told.epoch, 3));
    drop(storage);
    assert_eq!(std::fs::read(&staged).unwrap().len(), 6_000);
}

/// Whoever reads the database that is to go holds its log: then nothing is replaced.
#[tokio::test]
async fn a_database_that_somebody_reads_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let copy = copy_of_three(folder.path()).await;
    let database = folder.path().join("a.db");
    let (storage, ids) = (open(&database, 0), SeededIds::new(4));
    let reader = rusqlite::Connection::open(&database).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM orders").unwrap();
    storage.commit(0, Arc::from([accept(intake("late"), &*ids, now())])).await.unwrap();
    drop(storage);
    let staged = folder.path().join("staged.db");
    stage(&copy, &staged, Some(&database), now(), &BackupProgress::default()).unwrap();
    match put_in_place(&staged, &database) {
        Err(Fault::Unavailable { why, .. }) => assert!(why.contains("somebody reads"), "{why}"),
        other => panic!("it was replaced: {other:?}"),
    }
    reader.execute_batch("ROLLBACK").unwrap();
    assert_eq!(open(&database, 0).heads().await.unwrap()[0].position, 1, "it is as it was");
    // Whoever only has it open keeps its log, which goes with it.
    put_in_place(&staged, &database).unwrap();
    let seen: u64 = reader.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 1, "what is replaced is not mixed with what replaces it");
    drop(reader);
    assert_eq!(open(&database, 0).heads().await.unwrap()[0].position, 3);
    assert_eq!(open(&staged, 0).heads().await.unwrap()[0].position, 1, "and lies aside");
}

/// A follower goes on from where it was; what it carried on once more was asked for of a history that is lost.
#[tokio::test]
async fn a_replay_of_a_range_ends_with_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder.path().join("a.db"), 0);
    let ids = SeededIds::new(7);
    let orders = (0..3).map(|_| accept(intake("x").no_reference(), &*ids, now())).collect();
    storage.commit(0, orders).await.unwrap();
    let place = |position| Cursor { epoch: 1, positions: vec![position] };
    for action in [
        FollowerAction::Ensure { sink: "file".to_owned(), from_now: true },
        FollowerAction::ReplayRange { from: place(0), to: place(2) },
    ] {
        let command = FollowerCommand { name: "f".to_owned(), now: now(), action };
        storage.commit(0, Arc::new([Command::Follower(command)])).await.unwrap().replies[0].clone().unwrap();
    }
    let before = storage.follower("f").await.unwrap().unwrap();
    assert_eq!(before.replay, Some(Replay { next: vec![0], up_to: vec![2] }));
    let copy = folder.path().join("copy.db");
    storage.back_up(&copy, Arc::new(BackupProgress::default())).await.unwrap();
    let staged = folder.path().join("staged.db");
    let told = stage(&copy, &staged, None, now(), &BackupProgress::default()).unwrap();
    let after = open(&staged, 0).follower("f").await.unwrap().unwrap();
    assert_eq!((after.cursor, after.replay), (Cursor { epoch: told.epoch, positions: vec![3] }, None));
}
