//! Messages and crashes: a process that consumes is killed at each place, and another one goes on.

use crate::KEPT;
use crate::harness::eventually;
use crate::harness::{Database, Kept};
use crate::rabbitmq::{declare, delete, send, take, unique, url};
use async_trait::async_trait;
use order_core::app::App;
use order_core::command::ChangeKind;
use order_core::desk::Desks;
use order_core::fault_point::{self, Hooks};
use order_core::inbox::{Fact, Outcome};
use order_core::lane::LanePolicy;
use order_core::order::Order;
use order_core::{Clock as _, Ids as _, OrderId, TenantId};
use serde_json::{Value, json};
use sink_rabbitmq::{Address, Consumer, ConsumerOptions, Handle, Incoming, Options};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage_sqlite::{Seed, SqliteStorage};
use testkit::build::intake;
use testkit::{ManualClock, SeededIds};
use tokio::sync::watch;

/// Folder, queue and kill point of the process that is to be killed, apart by spaces.
const CHILD: &str = "WELLORDER_TEST_INBOX";
/// The test that such a process runs.
const CHILD_TEST: &str = "inbox::a_message_of_another_program_counts_once";

static POINT: OnceLock<String> = OnceLock::new();

/// The file in a folder that says where its database is, if that is elsewhere.
const URL: &str = "url";

/// A folder, and its database.
struct Place {
    folder: tempfile::TempDir,
    _kept: Option<Database>,
}

impl Place {
    fn new() -> Self {
        let (folder, kept) = (tempfile::tempdir().unwrap(), (KEPT == Kept::OnServer).then(Database::new));
        if let Some(kept) = &kept {
            std::fs::write(folder.path().join(URL), &kept.url).unwrap();
        }
        Self { folder, _kept: kept }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The use cases over the database of a folder.
async fn app(folder: &Path) -> Arc<App> {
    let (clock, ids) = (ManualClock::new(), SeededIds::new(u64::from(std::process::id())));
    #[cfg(feature = "postgres")]
    if let Ok(url) = std::fs::read_to_string(folder.join(URL)) {
        let installation_id = ids.uuid_v4();
        let seed =
            storage_postgres::Seed { installation_id, cursor_key: [1; 32], key_pepper: [2; 32], shards: 16 };
        let options = storage_postgres::Options { readers: 4, ..storage_postgres::Options::new(&url) };
        let (storage, _) = storage_postgres::PostgresStorage::open(&options, &seed).await.unwrap();
        return App::start(Arc::new(storage), clock, ids, LanePolicy::default());
    }
    let options = storage_sqlite::Options {
        path: folder.join("wellorder.db"),
        busy_timeout: Duration::from_secs(5),
        free_bytes_min: 0,
        leases_outlive: Desks::NONE,
    };
    let seed = Seed { installation_id: ids.uuid_v4(), cursor_key: [1; 32], key_pepper: [2; 32], shards: 1 };
    let (storage, _) = SqliteStorage::open(&options, &seed, clock.now()).unwrap();
    App::start(Arc::new(storage), clock, ids, LanePolicy::default())
}

struct Shipped(Arc<App>);

#[async_trait]
impl Handle for Shipped {
    async fn handle(&self, message: Incoming<'_>) -> Outcome {
        let body: Option<Value> = serde_json::from_slice(message.body).ok();
        let text = |name: &str| body.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let Some(order_id) = text("order_id").and_then(|id| id.parse().ok()).map(OrderId) else {
            return Outcome::Poison { why: "names no order".to_owned() };
        };
        let fact = Fact {
            event_id: text("event_id"),
            tenant: Some(TenantId::default_tenant()),
            source: None,
            order_id,
            kind: ChangeKind::Revise {
                content: Box::new(intake("x").total(&text("total").unwrap()).build().content),
                requeue: false,
            },
        };
        self.0.hear(&Arc::from(message.queue), message.message_id, fact).await
    }
}

/// Consumes until one message is dealt with, or is parked.
async fn consume_one(app: Arc<App>, queue: &str) {
    let server = Options::new(Address::parse(&url()).unwrap());
    let mut options = ConsumerOptions::new(queue);
    options.retries = vec![Duration::from_millis(10)];
    let consumer = Consumer::new(server, options, Arc::new(Shipped(app)));
    let (stats, (stop, stopped)) = (consumer.stats(), watch::channel(false));
    let running = tokio::spawn(consumer.run(stopped));
    eventually("a message to come to its end", async || {
        (stats.figures().done + stats.figures().dead > 0).then_some(())
    })
    .await;
    stop.send_replace(true);
    running.await.unwrap();
}

/// Kills this process at the point that it was told.
fn passed(name: &'static str) {
    if POINT.get().is_some_and(|point| point == name) {
        drop(Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status());
    }
}

/// Another process that consumes one message; whether it was killed.
fn child(folder: &Path, queue: &str, point: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let told = format!("{} {queue} {point}", folder.display());
    let output = command.args(["--exact", CHILD_TEST]).env(CHILD, told).output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    killed
}

async fn an_order(app: &Arc<App>) -> Order {
    match app.accept(intake("A-1").build()).await.unwrap() {
        order_core::intake::Accepted::New(order) => *order,
        other => panic!("{other:?}"),
    }
}

async fn version(app: &App, order: &Order) -> u64 {
    app.storage.order(&order.tenant, order.id).await.unwrap().unwrap().version
}

fn family(queue: &str) -> [String; 3] {
    ["", ".retry.10", ".dlq"].map(|end| format!("{queue}{end}"))
}

fn forget(queue: &str) {
    let family = family(queue);
    delete(&[&family[0], &family[1], &family[2]]);
}

/// By its own id, else by the message's, else once for each order. In a process that is told so, only what it is told.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a process that is to be killed is told by the environment")]
async fn a_message_of_another_program_counts_once() {
    if let Ok(told) = std::env::var(CHILD) {
        let mut told = told.split(' ');
        let (folder, queue) = (told.next().unwrap(), told.next().unwrap());
        POINT.set(told.next().unwrap().to_owned()).unwrap();
        fault_point::install(Hooks { passed, planted: None });
        return consume_one(app(Path::new(folder)).await, queue).await;
    }
    let (folder, queue) = (Place::new(), unique("shipped"));
    let app = app(folder.path()).await;
    let order = an_order(&app).await;
    declare(&[&queue], None).await;
    for (body, expected) in [
        (json!({ "event_id": "e-1", "order_id": order.id.to_string(), "total": "20" }), 2),
        (json!({ "event_id": "e-1", "order_id": order.id.to_string(), "total": "21" }), 2),
        (json!({ "event_id": "e-2", "order_id": order.id.to_string(), "total": "22" }), 3),
        // Without any id: once for the order.
        (json!({ "order_id": order.id.to_string(), "total": "23" }), 4),
        (json!({ "order_id": order.id.to_string(), "total": "24" }), 4),
    ] {
        send(&queue, &body.to_string());
        consume_one(Arc::clone(&app), &queue).await;
        assert_eq!(version(&app, &order).await, expected, "{body}");
    }
    let fact = |total: &str| Fact {
        event_id: None,
        tenant: Some(order.tenant.clone()),
        source: None,
        order_id: order.id,
        kind: ChangeKind::Revise {
            content: Box::new(intake("x").total(total).build().content),
            requeue: false,
        },
    };
    let consumer: Arc<str> = queue.as_str().into();
    for (total, id, expected) in [("30", "m-1", 5), ("31", "m-1", 5), ("32", "m-2", 6)] {
        assert_eq!(app.hear(&consumer, Some(id), fact(total)).await, Outcome::Done);
        assert_eq!(version(&app, &order).await, expected, "by the id of the message");
    }
    forget(&queue);
}

#[tokio::test]
async fn a_crash_makes_no_message_count_twice_or_not_at_all() {
    for point in ["inbox.after_dedup", "inbox.after_commit"] {
        let (folder, queue) = (Place::new(), unique("shipped"));
        let before = app(folder.path()).await;
        let order = an_order(&before).await;
        declare(&[&queue], None).await;
        let body = json!({ "event_id": "e-1", "order_id": order.id.to_string(), "total": "20" });
        send(&queue, &body.to_string());
        // The database is the other process's now.
        let storage = Arc::clone(&before.storage);
        drop(before);
        testkit::conformance::released(storage).await;
        assert!(child(folder.path(), &queue, point), "{point} is passed");
        assert!(!child(folder.path(), &queue, "none"), "the message is still there");
        assert_eq!(take(&queue), None, "{point}: it was acknowledged");
        let after = app(folder.path()).await;
        assert_eq!(version(&after, &order).await, 2, "{point}: it counted once");
        let report = order_core::audit::audit(&after, |_| {}).await.unwrap();
        assert!(report.findings.is_empty(), "{point}: {:#?}", report.findings);
        forget(&queue);
    }
}

#[tokio::test]
async fn a_crash_leaves_a_message_in_its_queue_or_parked() {
    for (point, dead_max) in [("inbox.before_dlq", 1), ("inbox.after_dlq", 2)] {
        let (folder, queue) = (Place::new(), unique("shipped"));
        declare(&[&queue], None).await;
        send(&queue, "no JSON");
        assert!(child(folder.path(), &queue, point), "{point} is passed");
        assert!(!child(folder.path(), &queue, "none"), "the message is still there");
        assert_eq!(take(&queue), None);
        let mut dead = Vec::new();
        while let Some(body) = take(&format!("{queue}.dlq")) {
            dead.push(body);
        }
        assert!((1..=dead_max).contains(&dead.len()), "{point}: {dead:?}");
        assert!(dead.iter().all(|body| body == "no JSON"), "{point}: {dead:?}");
        forget(&queue);
    }
}
