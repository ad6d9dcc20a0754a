//! Installing and migrating, alone and beside others.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, installed, options, seed};
use order_core::ports::Storage;
use storage_postgres::{Migrated, Options, PostgresStorage, Seed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The schema of this program.
const NEWEST: u32 = 2;

/// What the second step made; nothing of it was there before.
const SECOND: &str = "DROP TABLE named_secrets, stores, imports, sync_runs, store_events, budgets, endpoints, \
     webhook_streams, webhook_attempts; \
     DELETE FROM latches WHERE name IN ('secrets', 'stores', 'endpoints', 'webhook_claims'); \
     DELETE FROM migrations WHERE number = 2";

async fn refusal(url: &str, seed: &Seed) -> String {
    match PostgresStorage::open(&options(url), seed).await {
        Ok(_) => panic!("it must be refused"),
        Err(fault) => fault.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_is_installed_once_however_many_start() {
    let url = empty().await;
    let opening = (1..=4_u128).map(|node| {
        let (options, seed) =
            (options(&url), Seed { installation_id: uuid::Uuid::from_u128(node), ..seed() });
        tokio::spawn(async move { PostgresStorage::open(&options, &seed).await.unwrap() })
    });
    let opening: Vec<_> = opening.collect();
    let mut opened = Vec::new();
    for node in opening {
        opened.push(node.await.unwrap());
    }
    let installed = opened.iter().filter(|(_, migrated)| *migrated == Migrated { from: 0, to: NEWEST });
    assert_eq!(installed.count(), 1);
    let first = opened[0].0.install();
    assert!(opened.iter().all(|(storage, _)| storage.install() == first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_shards_and_a_changed_or_newer_schema_are_refused() {
    let url = installed().await;
    let other = refusal(&url, &Seed { shards: 8, ..seed() }).await;
    assert!(other.contains("set shards = 16"), "{other}");
    let admin = client(&url).await;
    let later = NEWEST + 1;
    let insert = format!("INSERT INTO migrations VALUES ({later}, 'later', 1, '\\x00', now())");
    admin.batch_execute(&insert).await.unwrap();
    // One that lets this program run on.
    PostgresStorage::open(&options(&url), &seed()).await.unwrap();
    admin
        .batch_execute(&format!("UPDATE migrations SET oldest = {later} WHERE number = {later}"))
        .await
        .unwrap();
    let newer = refusal(&url, &seed()).await;
    assert!(newer.contains("newer wellorder"), "{newer}");
    admin.batch_execute(&format!("DELETE FROM migrations WHERE number = {later}")).await.unwrap();
    admin.batch_execute("UPDATE migrations SET checksum = '\\x00'").await.unwrap();
    let changed = refusal(&url, &seed()).await;
    assert!(changed.contains("another form"), "{changed}");
}

/// Nodes of the schema before go on beside the first of this one: it only adds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_before_is_brought_up_under_who_uses_it() {
    let url = installed().await;
    let admin = client(&url).await;
    admin.batch_execute(SECOND).await.unwrap();
    let (opened, migrated) = PostgresStorage::open(&options(&url), &seed()).await.unwrap();
    assert_eq!(migrated, Migrated { from: 1, to: NEWEST });
    let sql = "SELECT (SELECT count(*) FROM pg_policies WHERE schemaname = current_schema AND policyname = 'of_one_tenant' \
         AND tablename IN ('named_secrets', 'stores', 'imports', 'store_events', 'endpoints', 'webhook_streams', \
         'webhook_attempts')), (SELECT min(oldest) FROM migrations), (SELECT max(oldest) FROM migrations)";
    let row = admin.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 7, "requests read them as one tenant too");
    assert_eq!((row.get::<_, i32>(1), row.get::<_, i32>(2)), (1, 1), "programs of the first may go on");
    drop(opened);
    let (_, again) = PostgresStorage::open(&options(&url), &seed()).await.unwrap();
    assert_eq!(again, Migrated { from: NEWEST, to: NEWEST });
}

/// As a server does, or a proxy before it, that stops or starts just then: a start waits for it.
#[tokio::test]
async fn a_handshake_that_breaks_off_may_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let breaking = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asks = [0; 8];
            client.read_exact(&mut asks).await.unwrap();
            client.write_all(b"S").await.unwrap();
        }
    });
    let url = format!("postgres://u@127.0.0.1:{port}/n?sslmode=require");
    match PostgresStorage::open(&Options::new(&url), &seed()).await {
        Ok(_) => panic!("nobody is there"),
        Err(unopened) => assert!(!unopened.lasting, "{unopened:?}"),
    }
    breaking.abort();
}
