//! The audit finds what is wrong: each kind of damage is done to the file itself, and must be named.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::audit::{Finding, Report, audit};
use order_core::change::Target;
use order_core::command::{ChangeKind, FollowerAction};
use order_core::desk::Desks;
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
        leases_outlive: Desks::NONE,
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
            leases_outlive: Desks::NONE,
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
        assert!(!checks.is_empty(), "{damage}");
        assert!(checks.iter().all(|check| *check == "ids"), "{damage}: {:#?}", report.findings);
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
    bites("work", "INSERT INTO work (number, order_id, tenant, desk, due_at, attempt, lapses) SELECT number, order_id, tenant, 0, 0, 0, 0 FROM orders WHERE reference = 'a'").await;
    bites(
        "work",
        "INSERT INTO work (number, order_id, tenant, desk, due_at, attempt, lapses) VALUES (999, zeroblob(16), 'default', 0, 0, 0, 0)",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_beyond_the_journal_and_a_wrong_tally_are_found() {
    bites("cursors", "UPDATE cursors SET position = position + 100").await;
    bites("cursors", "UPDATE followers SET epoch = epoch + 1").await;
    for replay in ["0, replay_up_to = position + 1", "position, replay_up_to = 0", "0, replay_up_to = 0", "0"]
    {
        bites("cursors", &format!("UPDATE cursors SET replay_next = {replay}")).await;
    }
    bites("tallies", "UPDATE tallies SET parked = parked + 1").await;
    bites("tallies", "DELETE FROM tallies").await;
}

/// Does `sql` to a sound database; the audit must name the row, and nothing else must hide behind it.
async fn names(subject: &str, sql: &str) {
    let sound = sound().await;
    sound.damage(sql);
    sound.damage("UPDATE cursors SET position = position + 100");
    let report = sound.audit().await;
    let unreadable = report.findings.iter().filter(|finding| finding.check == "unreadable");
    let subjects: Vec<&str> = unreadable.map(|finding| finding.subject.as_str()).collect();
    assert!(subjects.contains(&subject), "{sql}: {:#?}", report.findings);
    let others = report.findings.iter().any(|finding| finding.check == "cursors");
    assert!(others || subjects.contains(&"followers"), "{sql}: {:#?}", report.findings);
    assert!(report.orders >= 5, "{sql}: {report:#?}");
}

#[tokio::test]
async fn an_order_that_does_not_read_is_named_and_the_others_are_looked_at() {
    for column in [
        "customer = CAST(x'ff' AS TEXT)",
        "tenant = ''",
        "reference = CAST(x'ff' AS TEXT)",
        "order_id = x'01'",
        "digest = x'01'",
        "lines = 'x'",
        "lines = '[1]'",
        "attributes = '[]'",
        "attributes = CAST(x'ff' AS TEXT)",
        "total = 'much'",
        "version = -1",
        "attempt = -1",
        "last_position = -1",
        "shard = -1",
        "cause = x''",
    ] {
        names("order number 1", &format!("UPDATE orders SET {column} WHERE number = 1")).await;
    }
    bites("identity", "UPDATE orders SET shard = 99 WHERE number = 1").await;
}

#[tokio::test]
async fn an_event_that_does_not_read_is_named_and_the_others_are_looked_at() {
    let place = "(SELECT max(place) FROM journal WHERE number = 1)";
    for column in [
        "event_id = x'01'",
        "order_id = x'01'",
        "tenant = CAST(x'ff' AS TEXT)",
        "type = CAST(x'ff' AS TEXT)",
        "data = CAST(x'ff' AS TEXT)",
        "version = -1",
        "prev_position = -1",
        "epoch = -1",
    ] {
        let sound = sound().await;
        let conn = rusqlite::Connection::open(sound.path()).unwrap();
        let at = format!(
            "SELECT 'event ' || position || ' of shard ' || shard FROM journal WHERE place = {place}"
        );
        let subject: String = conn.query_row(&at, [], |row| row.get(0)).unwrap();
        names(&subject, &format!("UPDATE journal SET {column} WHERE place = {place}")).await;
    }
    bites("positions", "UPDATE journal SET place = (99 << 48) + 1 WHERE number = 1 AND version = 1").await;
}

#[tokio::test]
async fn other_rows_that_do_not_read_are_named() {
    let work = "(SELECT min(number) FROM work)";
    for column in ["order_id = x'01'", "attempt = -1", "lapses = -1", "token = x'01'"] {
        names("work number 4", &format!("UPDATE work SET {column} WHERE number = {work}")).await;
    }
    names("tally default/api", "UPDATE tallies SET orders = -1").await;
    names("tally default/\u{fffd}", "UPDATE tallies SET source = CAST(x'ff' AS TEXT)").await;
    names("head of shard 1", "UPDATE journal_heads SET floor = -1 WHERE shard = 1").await;
    names("follower f", "UPDATE followers SET epoch = -1").await;
    names("follower f", "UPDATE followers SET sink = CAST(x'ff' AS TEXT)").await;
    let cursor = "UPDATE cursors SET position = -1000 WHERE shard = 1";
    names("cursor of f in shard 1", cursor).await;
    let replay = "UPDATE cursors SET replay_next = -1, replay_up_to = 1 WHERE shard = 1";
    names("cursor of f in shard 1", replay).await;
    let key = "INSERT INTO api_keys (number, key_id, tenant, name, scopes, hash, created_at, created_by) \
         VALUES (1, x'01', 'default', 'n', 1, zeroblob(32), 0, 'me')";
    names("api_key number 1", &key.replace("1, zeroblob", "'1', zeroblob")).await;
    let redrive = "INSERT INTO redrives VALUES (x'01', 'default', '{}', 'why', 'me', 1, 0, 0, 0, 0, 0, 0)";
    names("redrive [01]", redrive).await;
    let filter = redrive.replace("x'01'", "zeroblob(16)").replace("'{}'", "'x'");
    names("redrive 00000000-0000-0000-0000-000000000000", &filter).await;
    let idempotency = "INSERT INTO idempotency VALUES ('default', 'r', 'k', x'01', zeroblob(32), 0)";
    names("idempotency default r k", idempotency).await;
    names("inbox default q m", "INSERT INTO inbox VALUES ('default', 'q', 'm', x'01', 0)").await;
}

#[tokio::test]
async fn what_names_an_order_where_there_is_none_is_found() {
    let sound = sound().await;
    for (check, subject, sql) in [
        ("ids", "order_ids", "INSERT OR REPLACE INTO meta VALUES ('ids_merged', 1000)"),
        ("ids", "term_runs", "INSERT INTO term_runs VALUES (1, 1000)"),
        (
            "ids",
            "00000000-0000-0000-0000-000000000001",
            "INSERT INTO order_ids VALUES (x'00000000000000000000000000000001', 1)",
        ),
        (
            "idempotency",
            "default r k",
            "INSERT INTO idempotency VALUES ('default', 'r', 'k', zeroblob(16), zeroblob(32), 0)",
        ),
        ("inbox", "default q m", "INSERT INTO inbox VALUES ('default', 'q', 'm', zeroblob(16), 0)"),
        (
            "inbox",
            "other q m",
            "INSERT INTO inbox SELECT 'other', 'q', 'm', order_id, 0 FROM orders WHERE number = 1",
        ),
        (
            "idempotency",
            "other r k",
            "INSERT INTO idempotency SELECT 'other', 'r', 'k', order_id, zeroblob(32), 0 FROM orders WHERE number = 1",
        ),
        (
            "redrives",
            "00000000-0000-0000-0000-000000000000 item 1",
            "INSERT INTO redrive_items VALUES (zeroblob(16), 1, zeroblob(16), 'unknown')",
        ),
    ] {
        sound.damage(sql);
        let report = sound.audit().await;
        let found = |finding: &Finding| finding.check == check && finding.subject == subject;
        assert!(report.findings.iter().any(found), "{sql}: {:#?}", report.findings);
    }
    // Once it belongs to a redrive, what is known not to be there may be named.
    sound.damage(
        "INSERT INTO redrives VALUES (zeroblob(16), 'default', '{}', 'why', 'me', 1, 0, 1, 0, 0, 1, 0)",
    );
    assert!(sound.audit().await.findings.iter().all(|finding| finding.check != "redrives"));
    sound.damage("UPDATE redrive_items SET result = 'redriven'");
    assert!(sound.audit().await.findings.iter().any(|finding| finding.check == "redrives"));
}

#[tokio::test]
async fn a_text_that_does_not_lead_to_its_order_is_found() {
    // The order is told to be in a run that has no entries.
    let sound = sound().await;
    sound.damage("INSERT INTO term_runs VALUES (1, 3)");
    let report = beside(&sound).await;
    let lost = report.findings.iter().filter(|finding| finding.check == "ids");
    assert_eq!(lost.count(), 3, "{:#?}", report.findings);
}

/// The report of another process, which knows what the writer has not merged yet from the file alone.
async fn beside(sound: &Sound) -> Report {
    let options = Options {
        path: sound.path(),
        busy_timeout: Duration::from_secs(5),
        free_bytes_min: 0,
        leases_outlive: Desks::NONE,
    };
    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open_read_only(&options).unwrap());
    let app = App::start(storage, ManualClock::new(), SeededIds::new(6), LanePolicy::default());
    audit(&app, |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_folder_with_rows_that_do_not_read_can_be_audited() {
    let sound = sound().await;
    assert_eq!(beside(&sound).await.findings, []);
    sound.damage("UPDATE orders SET order_id = x'01' WHERE number = 1");
    sound.damage("UPDATE orders SET customer = CAST(x'ff' AS TEXT) WHERE number = 2");
    let report = beside(&sound).await;
    let unreadable = report.findings.iter().filter(|finding| finding.check == "unreadable");
    let subjects: Vec<&str> = unreadable.map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects, ["order number 1", "order number 2"], "{:#?}", report.findings);
    assert_eq!(report.orders, 4);
}

/// Beside a writer: an audit must neither be disturbed by what happens meanwhile nor take it for damage.
#[tokio::test]
async fn what_happens_during_an_audit_is_left_out() {
    let sound = sound().await;
    let beginning = sound.app.storage.audit_beginning().await.unwrap();
    let app = Arc::clone(&sound.app);
    let frozen = testkit::Wrapped::beginning(Arc::clone(&app.storage), beginning);
    app.accept(intake("later").build()).await.unwrap();
    Worker::new(Arc::clone(&app), Arc::new(Fails), WorkerPolicy::default()).step().await.unwrap();
    let late = App::start(frozen, ManualClock::new(), SeededIds::new(7), LanePolicy::default());
    let report = audit(&late, |_| {}).await.unwrap();
    assert_eq!(report.findings, [], "orders that moved on are counted as they were");
    assert_eq!(report.orders, 7);
    sound.damage("UPDATE tallies SET queued = queued - 1");
    assert_eq!(sound.audit().await.findings.len(), 1);
}

#[tokio::test]
async fn a_replay_puts_a_cursor_anywhere_sound() {
    let sound = sound().await;
    let beginning = Cursor::beginning(1, 4);
    sound.app.follower("f", FollowerAction::Replay(beginning)).await.unwrap();
    assert_eq!(sound.audit().await.findings, []);
}

/// Does `sql` to a database with an order that is parked for a follower; the audit must say this of it.
async fn says(check: &str, words: &str, sql: &str) {
    let sound = sound().await;
    testkit::build::park(&sound.app, "f", id_of(&intake("a").build())).await;
    assert_eq!(sound.audit().await.findings, []);
    sound.damage(sql);
    let report = sound.audit().await;
    let said = |finding: &Finding| finding.check == check && finding.detail.contains(words);
    assert!(report.findings.iter().any(said), "{sql}: {:#?}", report.findings);
}

#[tokio::test]
async fn what_is_parked_or_carried_and_cannot_be_is_found() {
    says("relays", "carries no follower", "UPDATE relays SET follower = 'nobody'").await;
    for (words, sql) in [
        ("is parked from version 99 on", "UPDATE parked_streams SET from_version = 99"),
        ("is parked for what is no follower", "UPDATE parked_streams SET follower = 'nobody'"),
        ("says that 1 orders are parked for it, and 0 are", "UPDATE parked_streams SET follower = 'nobody'"),
        ("is parked, and is no order", "UPDATE parked_streams SET tenant = 'other'"),
        ("where it is not", "UPDATE parked_streams SET shard = (shard + 1) % 4"),
        ("says that 0 orders are parked for it, and 1 are", "UPDATE followers SET parked = 0"),
    ] {
        says("parked_streams", words, sql).await;
    }
    says("unreadable", "", "UPDATE parked_streams SET reason = 'odd'").await;
}
