//! How what is read is found, whatever the planner takes for many.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, options, seed};
use fixture::take;
use order_core::App;
use order_core::lane::LanePolicy;
use order_core::ports::Storage;
use std::sync::Arc;
use storage_postgres::{PostgresStorage, Seed};
use testkit::{ManualClock, SeededIds};

/// Orders in one part: few enough that to read all of it seems cheap, for every step back.
const ORDERS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_of_many_histories_is_looked_up() {
    let url = empty().await;
    let storage = PostgresStorage::open(&options(&url), &Seed { shards: 1, ..seed() }).await.unwrap().0;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let app = App::start(storage, ManualClock::new(), SeededIds::new(1), LanePolicy::default());
    take(&app, "order", ORDERS).await;
    let mut admin = client(&url).await;
    admin.batch_execute("ANALYZE journal").await.unwrap();
    let read = admin.transaction().await.unwrap();
    let histories = "SELECT count(*) FROM (SELECT array_agg(shard) AS shards, array_agg(last_position) AS newest \
                     FROM (SELECT shard, last_position FROM orders ORDER BY number LIMIT 100) o) o \
                     CROSS JOIN LATERAL histories(o.shards, o.newest)";
    let events: i64 = read.query_one(histories, &[]).await.unwrap().get(0);
    assert_eq!(events, 100);
    let scans = "SELECT relname::text, seq_scan FROM pg_stat_xact_user_tables \
                 WHERE relname LIKE 'journal\\_0%' AND seq_scan > 0";
    let scans = read.query(scans, &[]).await.unwrap();
    let scanned: Vec<(String, i64)> = scans.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(scanned, []);
}
