//! Another history: nobody who goes by the one before is connected when it begins, or comes in afterwards.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::Fault;
use order_core::command::Command;
use order_core::ids::{LeaseToken, TenantId};
use order_core::lane::LanePolicy;
use order_core::ports::Storage;
use order_core::share::Share;
use order_core::{App, Error};
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::{NotRaised, Options, PostgresStorage, TimeLimits, raise_epoch};
use testkit::build::{id_of, intake};
use testkit::{ManualClock, SeededIds};
use tokio_postgres::Client;

/// Ends every session on this database but our own.
const CUT_OFF: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// How many sessions it has besides our own.
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid()";

async fn count(admin: &Client, sql: &str) -> i64 {
    admin.query_one(sql, &[]).await.unwrap().get(0)
}

async fn open(options: &Options) -> Arc<PostgresStorage> {
    Arc::new(PostgresStorage::open(options, &seed()).await.unwrap().0)
}

fn start(storage: &Arc<PostgresStorage>) -> Arc<App> {
    let storage: Arc<PostgresStorage> = Arc::clone(storage);
    App::start(storage, ManualClock::new(), SeededIds::new(1), LanePolicy::default())
}

fn is_refused(fault: &Fault) -> bool {
    matches!(fault, Fault::Unavailable { why, .. } if why.contains("another history"))
}

/// A node whose connections broke, and that comes back after a failover, writes nothing and reads nothing of the new history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_cut_off_does_not_come_back_to_another_history() {
    let url = installed().await;
    let storage = open(&options(&url)).await;
    let app = start(&storage);
    app.accept(intake("before").build()).await.unwrap();
    let admin = client(&url).await;
    // The node makes connections anew whenever it misses one.
    let raised = loop {
        admin.batch_execute(CUT_OFF).await.unwrap();
        match raise_epoch(&options(&url)).await {
            Ok(raised) => break raised,
            Err(NotRaised::InUse(_)) => {}
            Err(NotRaised::Unopened(unopened)) => panic!("{unopened}"),
        }
    };
    assert!(raised.to > raised.from);
    // The connections that were cut are noticed one by one.
    let refusal = loop {
        match app.accept(intake("after").build()).await {
            Err(Error::Fault(fault)) if is_refused(&fault) => break fault,
            Err(Error::Fault(Fault::Unavailable { .. })) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(format!("{refusal:?}").contains(&raised.to.to_string()), "{refusal:?}");
    loop {
        match storage.heads().await {
            Err(fault) if is_refused(&fault) => break,
            Err(Fault::Unavailable { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let anew = open(&options(&url)).await;
    assert_eq!(anew.install().epoch, raised.to);
    let after = id_of(&intake("after").build());
    assert_eq!(anew.order(&TenantId::default_tenant(), after).await.unwrap(), None);
    start(&anew).accept(intake("after").build()).await.unwrap();
}

/// Whatever a node calls itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_connected_is_found() {
    let url = installed().await;
    let named = open(&options(&[url.as_str(), "?application_name=mine"].concat())).await;
    named.heads().await.unwrap();
    let refused = raise_epoch(&options(&url)).await;
    assert!(matches!(refused, Err(NotRaised::InUse(1..))), "{refused:?}");
    drop(named);
    let admin = client(&url).await;
    while count(&admin, SESSIONS).await > 0 {
        tokio::task::yield_now().await;
    }
    raise_epoch(&options(&url)).await.unwrap();
}

/// It is locked first: whoever comes while it is under way waits, and finds the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_while_another_history_begins() {
    let url = installed().await;
    let patient = Duration::from_secs(60);
    let limits = TimeLimits { lock: patient, statement: patient, ..TimeLimits::default() };
    let storage = open(&Options { limits, ..options(&url) }).await;
    let mut admin = client(&url).await;
    let watching = client(&url).await;
    let holding = admin.transaction().await.unwrap();
    holding.execute("SELECT FROM journal_heads ORDER BY shard FOR UPDATE", &[]).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'";
    let cut_off = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                   AND pid <> pg_backend_pid() AND query NOT LIKE 'SELECT FROM journal_heads%'";
    let raising = loop {
        watching.batch_execute(cut_off).await.unwrap();
        let raising = tokio::spawn({
            let options = options(&url);
            async move { raise_epoch(&options).await }
        });
        while count(&watching, waiting).await == 0 && !raising.is_finished() {
            tokio::task::yield_now().await;
        }
        if !raising.is_finished() {
            break raising;
        }
    };
    // It is under way. A read that comes now needs a new connection.
    let reading = tokio::spawn({
        let storage = Arc::clone(&storage);
        async move { storage.heads().await }
    });
    let comes = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while count(&watching, comes).await == 0 && !reading.is_finished() {
        tokio::task::yield_now().await;
    }
    assert!(!reading.is_finished(), "{:?}", reading.await);
    holding.rollback().await.unwrap();
    raising.await.unwrap().unwrap();
    let read = reading.await.unwrap();
    assert!(read.as_ref().is_err_and(is_refused), "{read:?}");
}

/// Messages are remembered, and followers are free at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_forgets_no_message_and_no_node_holds_a_follower() {
    let url = installed().await;
    let storage = open(&options(&url)).await;
    let app = start(&storage);
    app.accept(intake("r-1").build()).await.unwrap();
    app.ensure_follower("f", "test", true).await.unwrap();
    let (now, follower, token) = (app.clock.now(), "f".to_owned(), LeaseToken(app.ids.uuid_v4()));
    let until = Some(now.plus(Duration::from_secs(30)));
    app.lanes
        .submit(Command::Share(Share {
            follower,
            token,
            now,
            until,
            fault: None,
            extends_only: false,
            stands_back: false,
        }))
        .await
        .unwrap();
    let admin = client(&url).await;
    let old =
        "INSERT INTO inbox SELECT tenant, 'q', 'm', shard, order_id, now() - interval '13 days' FROM orders";
    admin.batch_execute(old).await.unwrap();
    drop((app, storage));
    while count(&admin, SESSIONS).await > 0 {
        tokio::task::yield_now().await;
    }
    raise_epoch(&options(&url)).await.unwrap();
    let fresh = "SELECT count(*) FROM inbox WHERE consumed_at > now() - interval '1 hour'";
    assert_eq!(count(&admin, fresh).await, 1);
    assert_eq!(count(&admin, "SELECT count(*) FROM relays").await, 0);
}
