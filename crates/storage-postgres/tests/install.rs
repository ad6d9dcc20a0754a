//! Installing and migrating, alone and beside others.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, installed, options, seed};
use order_core::ports::Storage;
use storage_postgres::{Migrated, Options, PostgresStorage, Seed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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
    let installed = opened.iter().filter(|(_, migrated)| *migrated == Migrated { from: 0, to: 1 });
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
    let later = "INSERT INTO migrations VALUES (2, 'later', 1, '\\x00', now())";
    admin.batch_execute(later).await.unwrap();
    // One that lets this program run on.
    PostgresStorage::open(&options(&url), &seed()).await.unwrap();
    admin.batch_execute("UPDATE migrations SET oldest = 2 WHERE number = 2").await.unwrap();
    let newer = refusal(&url, &seed()).await;
    assert!(newer.contains("newer wellorder"), "{newer}");
    admin.batch_execute("DELETE FROM migrations WHERE number = 2").await.unwrap();
    admin.batch_execute("UPDATE migrations SET checksum = '\\x00'").await.unwrap();
    let changed = refusal(&url, &seed()).await;
    assert!(changed.contains("another form"), "{changed}");
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
