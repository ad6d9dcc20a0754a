//! How what is read is found, whatever the planner takes for many.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, options, seed};
use fixture::take;
use order_core::App;
use order_core::lane::LanePolicy;
use order_core::ports::Storage;
use std::sync::Arc;
use std::time::SystemTime;
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

/// A sweep looks along the keys of the stores of its page, and of what they have: never at the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_of_stores_look_along_their_keys() {
    let url = empty().await;
    drop(PostgresStorage::open(&options(&url), &seed()).await.unwrap());
    let mut admin = client(&url).await;
    for fill in [
        "INSERT INTO stores (store_id, tenant, organization, marketplace, external_id, name, currency, access_token, \
         token_hash, created_at, updated_at, pending, success, failed, rate_limited, invalid, newest, run, version, lists) \
         SELECT gen_random_uuid(), 'default', 'o', 'etsy', s::text, 'n', 'USD', '', s::text::bytea, now(), now(), 0, 0, 0, 0, 0, \
         '', 50, 100, false FROM generate_series(1, 1000) s",
        "INSERT INTO sync_runs (store_id, run, started_at, processed, success, failed, rate_limited) \
         SELECT store_id, r, now() - make_interval(days => 60 - r), 0, 0, 0, 0 FROM stores, generate_series(1, 50) r",
        "INSERT INTO store_events (store_id, version, event_id, tenant, organization, type, occurred_at, data) \
         SELECT store_id, v, gen_random_uuid(), tenant, organization, 'sync.started', now() - make_interval(days => 110 - v), \
         '{}' FROM stores, generate_series(1, 100) v",
    ] {
        admin.execute(fill, &[]).await.unwrap();
    }
    admin.batch_execute("ANALYZE stores; ANALYZE sync_runs; ANALYZE store_events").await.unwrap();
    let read = admin.transaction().await.unwrap();
    // As prepared statements are planned once they were used a few times: for any values.
    read.batch_execute("SET LOCAL plan_cache_mode = force_generic_plan").await.unwrap();
    let before: SystemTime = read.query_one("SELECT now() - interval '30 days'", &[]).await.unwrap().get(0);
    let page = [&uuid::Uuid::nil() as &(dyn tokio_postgres::types::ToSql + Sync), &100_i64, &20_i64, &before];
    for (table, sweep) in [
        ("sync_runs", storage_postgres::plans::SWEEP_RUNS),
        ("store_events", storage_postgres::plans::SWEEP_EVENTS),
    ] {
        assert_eq!(read.execute(sweep, &page).await.unwrap(), 20 * 100, "{table}");
        let scans =
            "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = $1::text";
        let scans = read.query_one(scans, &[&table]).await.unwrap();
        let (walked, looked_at): (i64, i64) = (scans.get(0), scans.get(1));
        assert_eq!(walked, 0, "{table} itself is never walked");
        assert!(looked_at <= 2 * 20 * 100, "{looked_at} rows of {table} were looked at");
    }
}
