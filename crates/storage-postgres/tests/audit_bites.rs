//! The audit finds what is wrong: each kind of damage is done to the database itself, and must be named.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::App;
use order_core::audit::{Finding, Report, audit};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::lane::LanePolicy;
use order_core::lease::Leased;
use order_core::ports::{Processed, Processor, Storage};
use order_core::process::{Worker, WorkerPolicy};
use std::sync::Arc;
use storage_postgres::PostgresStorage;
use testkit::build::{id_of, intake, tenant};
use testkit::{ManualClock, SeededIds};

struct Fails;

#[async_trait::async_trait]
impl Processor for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    async fn process(&self, work: &Leased) -> Processed {
        match work.order.content.customer.as_deref() {
            Some("parks") => Processed::Hopeless { why: "hopeless".to_owned() },
            Some("fails") => Processed::Failed { why: "later".to_owned(), retry_after: None },
            _ => Processed::Done,
        }
    }
}

struct Sound {
    url: String,
    app: Arc<App>,
}

/// A database with orders in every state, a follower, and a clean audit.
async fn sound() -> Sound {
    let url = installed().await;
    let (clock, ids) = (ManualClock::new(), SeededIds::new(5));
    let storage: Arc<dyn Storage> = Arc::new(PostgresStorage::open(&options(&url), &seed()).await.unwrap().0);
    let app = App::start(storage, clock, ids, LanePolicy::default());
    for (reference, customer) in [("a", "done"), ("b", "done"), ("c", "parks"), ("d", "fails"), ("e", "done")]
    {
        let sent = intake(reference).customer(Some(customer)).key(reference).build();
        app.accept(sent).await.unwrap();
    }
    Worker::new(Arc::clone(&app), Arc::new(Fails), WorkerPolicy::default()).step().await.unwrap();
    app.accept(intake("queued").attribute("external_id", "\"x\"").build()).await.unwrap();
    let target = Target {
        tenant: tenant("default"),
        source: None,
        order_id: id_of(&intake("e").build()),
        expected_version: None,
    };
    app.change(target, ChangeKind::Erase).await.unwrap();
    app.ensure_follower("f", "test", true).await.unwrap();
    let sound = Sound { url, app };
    let report = sound.audit().await;
    assert_eq!(report.findings, [], "a sound database");
    assert_eq!((report.orders, report.work, report.followers), (6, 2, 1));
    assert_eq!(report.events, 6 + 5 + 1);
    sound
}

impl Sound {
    async fn audit(&self) -> Report {
        audit(&self.app, |_| {}).await.unwrap()
    }
}

/// Does each of `damages` to a sound database; the audit must name `check`, and read on.
async fn bites(check: &str, damages: &[&str]) {
    for sql in damages {
        let sound = sound().await;
        let changed = client(&sound.url).await.execute(*sql, &[]).await.unwrap();
        assert!(changed > 0, "{sql}");
        let report = sound.audit().await;
        let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
        assert!(checks.contains(&check), "{sql}: {:#?}", report.findings);
        fixture::server::delete(&sound.url);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_differs_from_its_events_is_found() {
    let damages = [
        "UPDATE orders SET total = 0.01 WHERE reference = 'a'",
        "UPDATE orders SET total = total::text::numeric * 1.0 WHERE reference = 'a'",
        "UPDATE orders SET customer = 'x' WHERE reference = 'a'",
        "UPDATE orders SET attributes = '{\"x\":1}' WHERE reference = 'a'",
        "UPDATE orders SET last_error = 'x' WHERE reference = 'a'",
        "UPDATE orders SET attempt = attempt + 1 WHERE reference = 'a'",
        "UPDATE orders SET updated_at = updated_at + interval '1 microsecond' WHERE reference = 'a'",
        "UPDATE orders SET digest = decode(repeat('00', 32), 'hex') WHERE reference = 'a'",
        "UPDATE orders SET version = version + 1 WHERE reference = 'a'",
    ];
    bites("fold", &damages).await;
    bites("identity", &["UPDATE orders SET reference = 'x' WHERE reference = 'a'"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_or_too_much_is_found() {
    let of_a = "DELETE FROM journal WHERE version = 1 AND order_id = \
                (SELECT order_id FROM orders WHERE reference = 'a')";
    bites("versions", &[of_a]).await;
    bites("positions", &["DELETE FROM journal WHERE position = 1"]).await;
    bites("events", &["DELETE FROM orders WHERE reference = 'a'"]).await;
    let keys = [
        "DELETE FROM orders WHERE reference = 'a'",
        "UPDATE idempotency SET digest = decode(repeat('00', 32), 'hex') WHERE key = 'a'",
    ];
    bites("idempotency", &keys).await;
    let messages = [
        "INSERT INTO inbox VALUES ('default', 'q', 'm', 0, gen_random_uuid(), now())",
        "INSERT INTO inbox SELECT 'other', 'q', 'm', shard, order_id, now() FROM orders WHERE reference = 'a'",
    ];
    bites("inbox", &messages).await;
    let redrives = [
        "INSERT INTO redrive_items SELECT order_id, 1, order_id, 'redriven' FROM orders WHERE reference = 'a'",
        "INSERT INTO redrives VALUES (gen_random_uuid(), 'default', \
         '{\"order_ids\":null,\"source\":null,\"error_contains\":null}', 'r', 'b', true, 3, 0, now(), now(), 0, 0)",
    ];
    bites("redrives", &redrives).await;
    let work = [
        "DELETE FROM work WHERE order_id = (SELECT order_id FROM orders WHERE reference = 'queued')",
        "DELETE FROM orders WHERE reference = 'queued'",
        "UPDATE orders SET processing = 'done' WHERE reference = 'queued'",
        "UPDATE work SET desk = 3",
    ];
    bites("work", &work).await;
    let tallies = ["UPDATE tallies SET orders = orders + 1", "DELETE FROM tallies"];
    bites("tallies", &tallies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lists_and_searches_would_not_find_is_found() {
    bites("ids", &["DELETE FROM standings WHERE standing = 'parked'", "DELETE FROM external_ids"]).await;
    let externals = [
        "UPDATE external_ids SET number = 999",
        "INSERT INTO external_ids SELECT gen_random_uuid(), number, shard, order_id FROM orders WHERE reference = 'a'",
    ];
    bites("external_ids", &externals).await;
    let standings = [
        "INSERT INTO standings SELECT tenant, 'parked', number, shard, order_id FROM orders WHERE reference = 'a'",
        "UPDATE standings SET number = 999",
    ];
    bites("standings", &standings).await;
    bites("terms", &["DELETE FROM term_tail", "INSERT INTO term_runs (orders) VALUES (0), (1)"]).await;
    let cursors = ["INSERT INTO cursors VALUES ('nobody', 0, 1)", "DELETE FROM cursors WHERE shard = 3"];
    bites("cursors", &cursors).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_read_is_named_and_the_rest_is_read() {
    let damages = [
        "UPDATE orders SET lines = 'x' WHERE reference = 'a'",
        "UPDATE orders SET attempt = -1 WHERE reference = 'a'",
        "UPDATE orders SET tenant = '' WHERE reference = 'a'",
        "UPDATE work SET lapses = -1",
        "UPDATE journal SET version = -1 WHERE position = 1",
        "UPDATE tallies SET parked = -1",
        "UPDATE cursors SET shard = 99 WHERE shard = 0",
        "UPDATE idempotency SET digest = '\\x00' WHERE key = 'a'",
        "UPDATE journal_heads SET floor = -1 WHERE shard = 0",
    ];
    bites("unreadable", &damages).await;
}

/// Does `sql` to a database with an order that is parked for a follower; the audit must say this of it.
async fn says(check: &str, words: &str, sql: &str) {
    let sound = sound().await;
    testkit::build::park(&sound.app, "f", id_of(&intake("a").build())).await;
    assert_eq!(sound.audit().await.findings, []);
    assert!(client(&sound.url).await.execute(sql, &[]).await.unwrap() > 0, "{sql}");
    let report = sound.audit().await;
    let said = |finding: &Finding| finding.check == check && finding.detail.contains(words);
    assert!(report.findings.iter().any(said), "{sql}: {:#?}", report.findings);
    fixture::server::delete(&sound.url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_or_carried_and_cannot_be_is_found() {
    says("relays", "carries no follower", "UPDATE relays SET follower = 'nobody'").await;
    for (words, sql) in [
        ("is parked from version 99 on", "UPDATE parked_streams SET from_version = 99"),
        ("is parked for what is no follower", "UPDATE parked_streams SET follower = 'nobody'"),
        ("says that 1 orders are parked for it, and 0 are", "UPDATE parked_streams SET follower = 'nobody'"),
        ("is parked, and is no order", "UPDATE parked_streams SET tenant = 'other'"),
        ("where it is not", "UPDATE parked_streams SET shard = (shard + 1) % 16"),
        ("says that 0 orders are parked for it, and 1 are", "UPDATE followers SET parked = 0"),
    ] {
        says("parked_streams", words, sql).await;
    }
    says("unreadable", "", "UPDATE parked_streams SET reason = 'odd'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_and_imports_that_say_what_cannot_be_are_found() {
    for (check, sql) in [
        ("stores", "UPDATE stores SET success = 5"),
        ("stores", "DELETE FROM store_events WHERE version = 2"),
        ("stores", "DELETE FROM sync_runs"),
        ("stores", "DELETE FROM imports WHERE receipt = 'bad'"),
        ("imports", "UPDATE imports SET order_id = gen_random_uuid() WHERE receipt = 'good'"),
        ("imports", "UPDATE imports SET state = 'failed' WHERE receipt = 'good'"),
        ("imports", "UPDATE imports SET tenant = 'other' WHERE receipt = 'bad'"),
        ("sync_runs", "UPDATE sync_runs SET store_id = gen_random_uuid()"),
        ("store_events", "UPDATE store_events SET tenant = 'other'"),
        ("budgets", "UPDATE budgets SET key = 'other'"),
        ("unreadable", "UPDATE budgets SET state = '{}'"),
        ("unreadable", "UPDATE stores SET newest = '\\x00'"),
        ("unreadable", "UPDATE sync_runs SET ending = 'odd'"),
    ] {
        let sound = sound().await;
        testkit::marketplaces::trade(&sound.app).await;
        found(&sound, check, sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_and_streams_that_say_what_cannot_be_are_found() {
    for (check, sql) in [
        ("webhook_streams", "UPDATE webhook_streams SET upto = 9"),
        ("webhook_streams", "UPDATE webhook_streams SET again = '9'"),
        ("webhook_streams", "UPDATE webhook_streams SET next = upto + 1"),
        ("webhook_streams", "UPDATE webhook_streams SET subject = gen_random_uuid()"),
        ("webhook_streams", "UPDATE webhook_streams SET tenant = 'other'"),
        ("webhook_streams", "DELETE FROM endpoints"),
        ("unreadable", "UPDATE endpoints SET rate = -1"),
    ] {
        let sound = sound().await;
        testkit::receivers::owed(&sound.app).await;
        found(&sound, check, sql).await;
    }
}

/// Does `sql` to a sound database, of which the audit must find this.
async fn found(sound: &Sound, check: &str, sql: &str) {
    assert_eq!(sound.audit().await.findings, []);
    assert!(client(&sound.url).await.execute(sql, &[]).await.unwrap() > 0, "{sql}");
    let report = sound.audit().await;
    let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
    assert!(checks.contains(&check), "{sql}: {:#?}", report.findings);
    fixture::server::delete(&sound.url);
}
