//! How claims find what is due, however many streams there are.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, options, seed};
use storage_postgres::PostgresStorage;

/// Endpoints, and open streams of each.
const ENDPOINTS: i64 = 20;
const STREAMS: i64 = 5_000;

/// A claim looks at each endpoint's streams along its index: never at the table, nor at those that are not due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_streams_look_along_the_index_of_each_endpoint() {
    let url = empty().await;
    drop(PostgresStorage::open(&options(&url), &seed()).await.unwrap());
    let mut admin = client(&url).await;
    let fill = "INSERT INTO endpoints (number, endpoint_id, tenant, url, listens, dialect, state, start_epoch, \
         start_positions, created_at, updated_at) SELECT e, gen_random_uuid(), 'default', 'https://x.example/', '*', 'v1', \
         'active', 1, '', now(), now() FROM generate_series(1, $1::bigint) e";
    admin.execute(fill, &[&ENDPOINTS]).await.unwrap();
    let fill = "INSERT INTO webhook_streams (endpoint, subject, kind, tenant, next, upto, again, attempt, due_at) \
         SELECT e, gen_random_uuid(), 'order', 'default', 1, 1, '', 0, now() + make_interval(secs => s - 100) \
         FROM generate_series(1, $1::bigint) e, generate_series(1, $2::bigint) s";
    admin.execute(fill, &[&ENDPOINTS, &STREAMS]).await.unwrap();
    // Of most endpoints no try is kept, of some very many are.
    let fill = "INSERT INTO webhook_attempts (endpoint, attempt_id, tenant, subject, kind, version, event_id, type, attempt, at, \
         took_micros, outcome, url) SELECT e, gen_random_uuid(), 'default', gen_random_uuid(), 'order', 1, gen_random_uuid(), \
         'order.accepted', 1, now(), 1, 'delivered', 'https://x.example/' FROM generate_series(1, 2) e, generate_series(1, $1::bigint) s";
    admin.execute(fill, &[&STREAMS]).await.unwrap();
    admin
        .batch_execute("ANALYZE endpoints; ANALYZE webhook_streams; ANALYZE webhook_attempts")
        .await
        .unwrap();
    let read = admin.transaction().await.unwrap();
    // As prepared statements are planned once they were used a few times: for any values.
    read.batch_execute("SET LOCAL plan_cache_mode = force_generic_plan").await.unwrap();
    let now: std::time::SystemTime = read.query_one("SELECT now()", &[]).await.unwrap().get(0);
    let scans = "SELECT seq_scan, seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'webhook_streams'";
    let candidates = read.query(storage_postgres::plans::CANDIDATES, &[&now, &16_i64]).await.unwrap();
    assert_eq!(candidates.len(), usize::try_from(ENDPOINTS).unwrap());
    let scanned = read.query_one(scans, &[]).await.unwrap();
    assert_eq!(scanned.get::<_, i64>(1), 0, "who may be sent something is found without walking the table");
    let tries = "SELECT seq_scan, seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'webhook_attempts'";
    let tries = read.query_one(tries, &[]).await.unwrap();
    let (seq, rows): (i64, i64) = (tries.get(0), tries.get(2));
    assert!(
        seq == 0 && rows <= ENDPOINTS,
        "one try of an endpoint is looked for, in {seq} walks, with {rows} rows"
    );
    let numbers: Vec<i64> = (1..=ENDPOINTS).collect();
    let takes = vec![16_i64; numbers.len()];
    let token = uuid::Uuid::from_u128(7);
    let until = now + std::time::Duration::from_secs(30);
    let claimed =
        read.query(storage_postgres::plans::CLAIM, &[&numbers, &takes, &now, &until, &token]).await.unwrap();
    assert_eq!(claimed.len(), 16 * numbers.len());
    let scans = read.query_one(scans, &[]).await.unwrap();
    let (seq, seq_rows, rows): (i64, i64, i64) = (scans.get(0), scans.get(1), scans.get(2));
    assert_eq!((seq, seq_rows), (0, 0), "the table itself is never walked");
    assert!(rows < 100 * ENDPOINTS, "{rows} rows were looked at");
}
