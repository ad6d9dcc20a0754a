//! The write-ahead log under load.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::desk::Desks;
use order_core::ports::Storage;
use order_core::{Ids, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use storage_sqlite::{Options, Seed, SqliteStorage};
use testkit::SeededIds;
use testkit::build::{accept, intake};

#[tokio::test]
async fn the_log_is_carried_beside_writes_that_never_pause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let ids = SeededIds::new(3);
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let options = Options {
        path: path.clone(),
        busy_timeout: Duration::from_secs(5),
        free_bytes_min: 0,
        leases_outlive: Desks::NONE,
    };
    let seed = Seed { installation_id: ids.uuid_v4(), cursor_key: [1; 32], key_pepper: [2; 32], shards: 1 };
    let (storage, _) = SqliteStorage::open(&options, &seed, now).unwrap();
    let log = folder.path().join("a.db-wal");
    let note = format!("\"{}\"", "x".repeat(200_000));
    let mut begun_anew = false;
    for batch in 0..120 {
        let commands: Vec<_> = (0..4)
            .map(|n| {
                let order = intake(&format!("{batch}-{n}")).attribute("note", &note);
                accept(order, &*ids, now)
            })
            .collect();
        storage.commit(0, Arc::from(commands)).await.unwrap();
        // Three times as long as it is when it is carried, and half of what is written in all.
        let length = std::fs::metadata(&log).unwrap().len();
        assert!(length < 96 << 20, "{length} after {batch}");
        // Its file keeps its length; what tells is that the database grew.
        begun_anew |= std::fs::metadata(&path).unwrap().len() > 64 << 20;
    }
    assert!(begun_anew);
}
