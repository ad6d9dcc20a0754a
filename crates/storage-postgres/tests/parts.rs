//! The parts of the journal are made ahead, whatever nodes do meanwhile; without them events are kept all the same.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, options, seed};
use fixture::take;
use order_core::ids::Shard;
use order_core::lane::LanePolicy;
use order_core::ports::Storage;
use order_core::query::Parts;
use order_core::{App, audit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use storage_postgres::{Options, PartPolicy, PartsKept, PostgresStorage, Seed};
use testkit::build::{id_of, intake, tenant};
use testkit::{ManualClock, SeededIds};
use tokio_postgres::Client;

const EVENTS: u64 = 50;

/// A node.
struct Node {
    storage: Arc<PostgresStorage>,
    app: Arc<App>,
}

async fn node(url: &str, number: u64, shards: u16) -> Node {
    let parts = PartPolicy { events: EVENTS, kept_for: None };
    let options = Options { parts, ..options(url) };
    let storage = Arc::new(PostgresStorage::open(&options, &Seed { shards, ..seed() }).await.unwrap().0);
    let (port, clock): (Arc<dyn Storage>, _) = (storage.clone(), ManualClock::new());
    let app = App::start(port, clock, SeededIds::new(number), LanePolicy::default());
    Node { storage, app }
}

impl Node {
    async fn takes(&self, name: &str, orders: usize) {
        take(&self.app, name, orders).await;
    }

    async fn keeps(&self) -> PartsKept {
        self.storage.keep_parts(self.app.clock.now()).await.unwrap()
    }

    /// Whether nothing is wrong, and how the parts stand.
    async fn is_sound(&self, events: u64) -> Parts {
        let report = audit::audit(&self.app, |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.events, events);
        self.storage.parts().await.unwrap().unwrap()
    }
}

async fn number(admin: &Client, sql: &str) -> i64 {
    admin.query_one(sql, &[]).await.unwrap().get(0)
}

/// Parts lie behind each other without gaps, the tables are there, and nothing lies in the rest.
async fn is_whole(admin: &Client, shards: u16) {
    let torn = "SELECT count(*) FROM (SELECT low, lag(high, 1, 0::bigint) OVER (PARTITION BY shard ORDER BY low) AS before \
                FROM journal_parts) p WHERE low <> before";
    assert_eq!(number(admin, torn).await, 0);
    let lost =
        "SELECT count(*) FROM journal_parts WHERE to_regclass('journal_' || shard || '_' || low) IS NULL";
    assert_eq!(number(admin, lost).await, 0);
    for shard in 0..shards {
        assert_eq!(number(admin, &format!("SELECT count(*) FROM journal_{shard}_rest")).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_make_parts_ahead_while_both_take_orders_in() {
    let url = empty().await;
    let nodes = [node(&url, 1, 2).await, node(&url, 2, 2).await];
    let admin = client(&url).await;
    assert_eq!(number(&admin, "SELECT count(*) FROM journal_parts").await, 4, "two of each shard at install");
    let done = Arc::new(AtomicBool::new(false));
    let keeping = nodes.each_ref().map(|node| {
        let (storage, now, done) = (Arc::clone(&node.storage), node.app.clock.now(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut made = 0;
            while !done.load(Ordering::Relaxed) {
                made += storage.keep_parts(now).await.unwrap().made;
                tokio::task::yield_now().await;
            }
            made
        })
    });
    for round in 0..10 {
        let (one, two) = (format!("a{round}"), format!("b{round}"));
        tokio::join!(nodes[0].takes(&one, 50), nodes[1].takes(&two, 50));
    }
    done.store(true, Ordering::Relaxed);
    let mut made = 0;
    for keeping in keeping {
        made += keeping.await.unwrap();
    }
    made += nodes[0].keeps().await.made;
    assert_eq!(nodes[0].keeps().await, PartsKept::default(), "nothing is left to do");
    assert_eq!(nodes[1].keeps().await, PartsKept::default());
    is_whole(&admin, 2).await;
    let parts = nodes[1].is_sound(1_000).await;
    assert_eq!((parts.count, parts.missing.len()), (4 + made, 0));
    assert!(parts.room >= EVENTS && made >= 14, "{parts:?}: {made}");
    for shard in [Shard(0), Shard(1)] {
        let events = nodes[0].storage.journal(shard, 0, 10_000).await.unwrap();
        assert!(events.iter().zip(1..).all(|(event, position)| event.position == position));
    }
}

/// Events that have no part of their own lie in the rest, which becomes a part; a node that knew nothing of that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_are_late_keep_nobody_from_taking_orders_in() {
    let url = empty().await;
    let [one, two] = [node(&url, 1, 1).await, node(&url, 2, 1).await];
    let admin = client(&url).await;
    one.takes("a", 90).await;
    two.takes("b", 1).await;
    assert_eq!(one.storage.parts().await.unwrap().unwrap().missing, [Shard(0)], "a tenth is left");
    one.takes("c", 150).await;
    two.takes("d", 10).await;
    assert!(number(&admin, "SELECT count(*) FROM journal_0_rest").await > 100);
    assert_eq!(one.is_sound(251).await.room, 0);
    assert_eq!(one.keeps().await.made, 2, "what was the rest, and the next");
    is_whole(&admin, 1).await;
    let rest = number(&admin, "SELECT high - low FROM journal_parts WHERE low = 100").await;
    assert_eq!(rest, 152, "positions 100 to 251");
    two.takes("e", 1).await;
    one.takes("f", 1).await;
    assert_eq!(one.keeps().await.made, 1, "a whole one ahead");
    assert_eq!(two.is_sound(253).await.missing, []);
    let events = two.storage.journal(Shard(0), 0, 1_000).await.unwrap();
    assert!(events.iter().zip(1..=253).all(|(event, position)| event.position == position));
    assert_eq!(events.len(), 253);
}

/// A node that is killed leaves a transaction that the server undoes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_ends_in_the_middle_has_done_nothing() {
    let url = empty().await;
    let node = node(&url, 1, 1).await;
    node.takes("a", 70).await;
    let dying = client(&url).await;
    dying
        .batch_execute(
            "BEGIN; SELECT FROM latches WHERE name = 'parts' FOR UPDATE; SELECT make_parts(0::smallint, 50)",
        )
        .await
        .unwrap();
    let kept = node.keeps().await;
    assert_eq!((kept.made, kept.put_off), (0, 1), "one node does at a time");
    drop(dying);
    // The server notices when it does.
    while node.keeps().await.made == 0 {
        tokio::task::yield_now().await;
    }
    let admin = client(&url).await;
    is_whole(&admin, 1).await;
    node.takes("b", 100).await;
    assert_eq!(node.is_sound(170).await.count, 3);
}

/// A dump holds what it reads for hours. Parts wait for it; orders do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reader_is_in_nobodys_way_but_that_of_parts() {
    let url = empty().await;
    let node = node(&url, 1, 1).await;
    node.takes("a", 70).await;
    let reader = client(&url).await;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM journal")
        .await
        .unwrap();
    for round in 0..3 {
        assert_eq!(node.keeps().await, PartsKept { put_off: 1, ..PartsKept::default() });
        node.takes(&format!("b{round}"), 20).await;
    }
    reader.batch_execute("COMMIT").await.unwrap();
    assert!(node.keeps().await.made > 0);
    is_whole(&client(&url).await, 1).await;
    node.is_sound(130).await;
}

/// Those who open it make what is missing; who opens it again makes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_makes_what_is_missing_and_no_more() {
    let url = empty().await;
    let first = node(&url, 1, 1).await;
    first.takes("a", 70).await;
    let (second, third) = tokio::join!(node(&url, 2, 1), node(&url, 3, 1));
    assert_eq!(second.is_sound(70).await.count, 3);
    assert_eq!(third.storage.parts().await.unwrap(), second.storage.parts().await.unwrap());
    is_whole(&client(&url).await, 1).await;
}

/// However many parts there are, a statement opens those that hold what it asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_open_the_parts_that_they_need() {
    let url = empty().await;
    let node = node(&url, 1, 2).await;
    for round in 0..12 {
        node.takes(&format!("a{round}"), 100).await;
        node.keeps().await;
    }
    assert!(node.storage.parts().await.unwrap().unwrap().count > 20);
    let order =
        node.app.storage.order(&tenant("default"), id_of(&intake("a0-0").build())).await.unwrap().unwrap();
    let reader = client(&url).await;
    reader.batch_execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
    let (shard, position) = (order.id.shard(2).0, order.last_position);
    for (most, sql) in [
        (1, "SELECT * FROM events(0::smallint, 100, 120)".to_owned()),
        (2, "SELECT * FROM events(0::smallint, 90, 110)".to_owned()),
        (1, "SELECT * FROM next_events(1::smallint, 0, 20)".to_owned()),
        (1, "SELECT * FROM events_at(0::smallint, '{3, 7, 30}')".to_owned()),
        (4, "SELECT newest_position(1::smallint)".to_owned()),
        (1, format!("SELECT * FROM history({shard}::smallint, {position}, 0, NULL, NULL)")),
        (1, format!("SELECT * FROM histories('{{{shard}}}', '{{{position}}}')")),
        (1, "SELECT blank_events(0::smallint, '{3}', '{\"{}\"}')".to_owned()),
    ] {
        reader.batch_execute(&["BEGIN; ", &sql].concat()).await.unwrap();
        let opened = "SELECT count(DISTINCT c.oid) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
                      WHERE l.pid = pg_backend_pid() AND c.relname ~ '^journal_[0-9]+_([0-9]+|rest)$'";
        let opened = number(&reader, opened).await;
        reader.batch_execute("ROLLBACK").await.unwrap();
        assert!((1..=most).contains(&opened), "{opened} parts for {sql}");
    }
}
