//! The audit finds what is wrong: each kind of damage is done to the file itself, and must be named.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::audit::{Report, audit};
use order_core::change::Target;
use order_core::command::{ChangeKind, FollowerAction};
use order_core::journal::Cursor;
use order_core::lane::LanePolicy;
use order_core::ports::{Processed, Processor, Storage};
use order_core::process::{Worker, WorkerPolicy};
use order_core::{App, Clock, Ids};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage_sqlite::{Options, Seed, SqliteStorage};
use testkit::build::{accept, id_of, intake, tenant};
use testkit::{ManualClock, SeededIds};

struct Fails;

#[async_trait::async_trait]
impl Processor for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    async fn process(&self, work: &order_core::lease::Leased) -> Processed {
        match work.order.content.customer.as_deref() {
            Some("parks") => Processed::Hopeless { why: "hopeless".to_owned() },
            Some("fails") => Processed::Failed { why: "later".to_owned(), retry_after: None },
            _ => Processed::Done,
        }
    }
}

struct Sound {
    folder: tempfile::TempDir,
    app: Arc<App>,
}

/// A database with orders in every state, followers, and a clean audit.
async fn sound() -> Sound {
    let folder = tempfile::tempdir().unwrap();
    let (clock, ids) = (ManualClock::new(), SeededIds::new(5));
    let options = Options {
        path: folder.path().join("a.db"),
        busy_timeout: Duration::from_secs(5),
        free_bytes_min: 0,
        leases_outlive: false,
    };
    let seed = Seed { installation_id: ids.uuid_v4(), cursor_key: [1; 32], key_pepper: [2; 32], shards: 4 };
    let (storage, _) = SqliteStorage::open(&options, &seed, clock.now()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let app = App::start(storage, clock, ids, LanePolicy::default());
    for (reference, customer) in [("a", "done"), ("b", "done"), ("c", "parks"), ("d", "fails"), ("e", "done")]
    {
        app.accept(intake(reference).customer(Some(customer)).build()).await.unwrap();
    }
    Worker::new(Arc::clone(&app), Arc::new(Fails), WorkerPolicy::default()).step().await.unwrap();
    app.accept(intake("queued").build()).await.unwrap();
    let target = Target {
        tenant: tenant("default"),
        source: None,
        order_id: id_of(&intake("e").build()),
        expected_version: None,
    };
    app.change(target, ChangeKind::Erase).await.unwrap();
    app.ensure_follower("f", "test", true).await.unwrap();
    let sound = Sound { folder, app };
    let report = sound.audit().await;
    assert_eq!(report.findings, [], "a sound database");
    assert_eq!((report.orders, report.work, report.followers), (6, 2, 1));
    assert_eq!(report.events, 6 + 5 + 1);
    sound
}

impl Sound {
    fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    async fn audit(&self) -> Report {
        audit(&self.app, |_| {}).await.unwrap()
    }

    fn damage(&self, sql: &str) {
        let changed = rusqlite::Connection::open(self.path()).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
    }
}

/// Does `sql` to a sound database; the audit must name `check`.
async fn bites(check: &str, sql: &str) {
    let sound = sound().await;
    sound.damage(sql);
    let report = sound.audit().await;
    let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
    assert!(checks.contains(&check), "{sql}: {:#?}", report.findings);
}

#[tokio::test]
async fn an_order_that_differs_from_its_events_is_found() {
    for column in [
        "total = '0.01'",
        "total = '19.9'",
        "customer = 'x'",
        "attributes = '{\"x\":1}'",
        "last_error = 'x'",
        "attempt = attempt + 1",
        "fulfilment = 'shipped'",
        "updated_at = updated_at + 1",
        "digest = zeroblob(32)",
        "cause = zeroblob(16)",
        "reference = 'x'",
    ] {
        let victim = "(SELECT number FROM orders WHERE reference = 'a')";
        bites("fold", &format!("UPDATE orders SET {column} WHERE number = {victim}")).await;
    }
}

#[tokio::test]
async fn a_missing_event_is_found() {
    bites("versions", "DELETE FROM journal WHERE version = 1 AND order_id = (SELECT order_id FROM orders WHERE reference = 'a')").await;
    bites("positions", "DELETE FROM journal WHERE shard = 0 AND position = 1").await;
    bites("fold", "UPDATE orders SET version = version + 1 WHERE reference = 'a'").await;
}

#[tokio::test]
async fn an_event_that_nobody_accounts_for_is_found() {
    let copy = "INSERT INTO journal SELECT (SELECT max(place) + 1 FROM journal j2 WHERE j2.shard = j.shard), \
         zeroblob(16), tenant, source, order_id, number, version, prev_position, epoch, type, data_version, data, occurred_at, trace \
         FROM journal j WHERE version = 1 LIMIT 1";
    bites("events", copy).await;
    bites("events", "DELETE FROM orders WHERE reference = 'a'").await;
}

#[tokio::test]
async fn an_order_that_its_id_does_not_lead_to_is_found() {
    for damage in
        ["DELETE FROM order_ids WHERE number = 1", "UPDATE order_ids SET number = 2 WHERE number = 1"]
    {
        let folder = tempfile::tempdir().unwrap();
        let (clock, ids) = (ManualClock::new(), SeededIds::new(5));
        let options = Options {
            path: folder.path().join("a.db"),
            busy_timeout: Duration::ZERO,
            free_bytes_min: 0,
            leases_outlive: false,
        };
        let seed =
            Seed { installation_id: ids.uuid_v4(), cursor_key: [1; 32], key_pepper: [2; 32], shards: 4 };
        let (storage, _) = SqliteStorage::open(&options, &seed, clock.now()).unwrap();
        let accept = |reference| accept(intake(reference), &*ids, clock.now());
        storage.commit(0, Arc::from([accept("a"), accept("b")])).await.unwrap();
        // The ids are entered by the end of the process that took the orders in.
        drop(storage);
        assert_eq!(
            rusqlite::Connection::open(&options.path).unwrap().execute(damage, []).unwrap(),
            1,
            "{damage}"
        );
        let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open_read_only(&options).unwrap());
        let app = App::start(storage, clock, ids, LanePolicy::default());
        let report = audit(&app, |_| {}).await.unwrap();
        let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["ids"], "{damage}: {:#?}", report.findings);
    }
}

#[tokio::test]
async fn a_changed_event_is_found() {
    bites("fold", "UPDATE journal SET data = replace(data, '19.90', '19.91') WHERE type = 'order.accepted'")
        .await;
    bites("fold", "UPDATE journal SET occurred_at = occurred_at + 1 WHERE type = 'order.processed'").await;
    bites("versions", "UPDATE journal SET data = 'x' WHERE type = 'order.parked'").await;
}

#[tokio::test]
async fn work_that_does_not_belong_is_found() {
    bites("work", "DELETE FROM work WHERE number = (SELECT number FROM orders WHERE reference = 'queued')")
        .await;
    bites("work", "INSERT INTO work (number, order_id, tenant, due_at, attempt, lapses) SELECT number, order_id, tenant, 0, 0, 0 FROM orders WHERE reference = 'a'").await;
    bites(
        "work",
        "INSERT INTO work (number, order_id, tenant, due_at, attempt, lapses) VALUES (999, zeroblob(16), 'default', 0, 0, 0)",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_beyond_the_journal_and_a_wrong_tally_are_found() {
    bites("cursors", "UPDATE cursors SET position = position + 100").await;
    bites("cursors", "UPDATE followers SET epoch = epoch + 1").await;
    bites("tallies", "UPDATE tallies SET parked = parked + 1").await;
    bites("tallies", "DELETE FROM tallies").await;
}

#[tokio::test]
async fn a_replay_puts_a_cursor_anywhere_sound() {
    let sound = sound().await;
    let beginning = Cursor::beginning(1, 4);
    sound.app.follower("f", FollowerAction::Replay(beginning)).await.unwrap();
    assert_eq!(sound.audit().await.findings, []);
}
