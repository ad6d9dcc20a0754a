//! The way to the database cuts, hangs and lets nobody in. Whatever it does: what is answered is true, nothing is done twice,
//! and all goes on by itself.

use crate::harness::{Answer, Builder, Home, Receiver, Server, eventually};
use crate::nodes::{assert_each_once, in_order, node, until_done};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::chaos::{Chaos, Frame, Harm, Protocol, Side};
use testkit::http::Client;

/// What a commit of a lane ends with, and nothing else.
const COMMITS: &str = "SET LOCAL statement_timeout";
/// What orders are taken in by.
const INTAKE: &str = "INSERT INTO orders";
/// What ends work.
const SETTLE: &str = "DELETE FROM work";
/// What moves a follower's cursor.
const ADVANCE: &str = "INSERT INTO cursors";

/// Sends a server to the database of `home` by a way that a test commands, where it waits for nothing for long.
async fn by_a_way(home: &Home, builder: Builder) -> (Arc<Chaos>, Builder) {
    let (way, url) = Chaos::on_the_way(home.url().unwrap(), Protocol::Postgres).await;
    let builder = builder
        .env("WELLORDER_DATABASE", &url)
        .env("WELLORDER_POSTGRES_STATEMENT_TIMEOUT_MS", "1000")
        .env("WELLORDER_POSTGRES_LOCK_TIMEOUT_MS", "500")
        .env("WELLORDER_POSTGRES_IDLE_IN_TRANSACTION_TIMEOUT_MS", "1000")
        .env("WELLORDER_POSTGRES_TCP_USER_TIMEOUT_MS", "1000");
    (Arc::new(way), builder)
}

/// The answer to a COMMIT of a transaction with this in it.
fn answer(what: &'static str) -> impl Fn(&Frame<'_>) -> bool {
    move |frame| frame.is(Side::Server, "COMMIT") && frame.is_of(COMMITS) && frame.is_of(what)
}

/// That COMMIT itself.
fn commit(what: &'static str) -> impl Fn(&Frame<'_>) -> bool {
    move |frame| frame.is(Side::Client, "COMMIT") && frame.is_of(COMMITS) && frame.is_of(what)
}

/// Of every four COMMITs with `what`: one is cut behind, one loses its answer.
fn now_and_then(what: &'static str) -> impl Fn(&Frame<'_>) -> Option<Harm> + Send + Sync + 'static {
    let commits = AtomicUsize::new(0);
    move |frame| {
        if commit(what)(frame) {
            return (commits.fetch_add(1, Ordering::SeqCst) % 4 == 1).then_some(Harm::CutBehind);
        }
        (answer(what)(frame) && commits.load(Ordering::SeqCst) % 4 == 3).then_some(Harm::Cut)
    }
}

/// Posts an order until it is taken in; its id, and how often it was refused for now.
async fn insist(client: Client, reference: &str) -> (String, usize) {
    let order = json!({ "reference": reference, "total": 1 }).to_string();
    let mut refused = 0;
    let id = eventually("an order taken in", async || {
        let reply = client.post("/v1/orders", &order).await;
        if reply.status < 300 {
            return Some(reply.json()["order_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{}", reply.text());
        refused += 1;
        None
    })
    .await;
    (id, refused)
}

/// Orders of one client, each twice, until the way has done so much harm.
async fn order_on(client: Client, name: String, way: Arc<Chaos>, harms: usize) -> Vec<(String, String)> {
    let mut taken = Vec::new();
    while way.harms() < harms {
        let reference = format!("{name}-{}", taken.len());
        let (id, _) = insist(client, &reference).await;
        assert_eq!(insist(client, &reference).await.0, id, "{reference}");
        taken.push((reference, id));
    }
    taken
}

async fn ordered(server: &Server, way: &Arc<Chaos>, round: &str, harms: usize) -> Vec<(String, String)> {
    let client =
        |number: usize| order_on(server.client(), format!("{round}-{number}"), Arc::clone(way), harms);
    join_all((0..8).map(client)).await.concat()
}

/// How often each event was carried to the file; each in its order, and unchanged when it comes again.
fn carried(lines: &[Value]) -> BTreeMap<String, usize> {
    in_order(lines);
    let (mut times, mut content) = (BTreeMap::new(), BTreeMap::new());
    for line in lines {
        let id = line["event_id"].as_str().unwrap();
        *times.entry(id.to_owned()).or_default() += 1;
        assert_eq!(*content.entry(id).or_insert(line), line);
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_the_truth_however_often_the_answer_to_a_commit_is_lost() {
    const CUTS: usize = 20;
    let home = Home::new();
    let (way, builder) = by_a_way(&home, home.server()).await;
    // Work whose claim got no answer is in nobody's hands: it is due when its lease runs out.
    let builder =
        builder.env("WELLORDER_WORKER_LEASE_MS", "2000").env("WELLORDER_WORKER_HEARTBEAT_MS", "500");
    let server = builder.start().await;
    let mut taken = Vec::new();
    // First those that take orders in, then whichever there are: claims, ends of work, cursors too.
    for (number, what) in (1..).zip([INTAKE, COMMITS]) {
        way.harm(CUTS, now_and_then(what));
        taken.extend(ordered(&server, &way, what.split(' ').next().unwrap(), number * CUTS).await);
    }
    assert_eq!(way.harms(), 2 * CUTS);
    until_done(&server, taken.len()).await;
    for (reference, id) in &taken {
        assert_eq!(server.by_reference(reference).await.unwrap()["order_id"], *id, "{reference}");
    }
    let ids: Vec<String> = taken.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "one reference, one order");
    assert_each_once(&server, &ids).await;
    let (events, _) = server.feed(500).await;
    assert_eq!(carried(&server.carried().await).len(), events.len(), "all of them, whatever comes again");
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(home.audited()["orders"], ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_hangs_orders_are_refused_and_then_they_are_taken_in() {
    let home = Home::new();
    let (way, builder) = by_a_way(&home, home.server()).await;
    let server = builder.start().await;
    insist(server.client(), "before").await;
    // One commit is on its way when everything begins to hang.
    way.harm(1, |frame| answer(INTAKE)(frame).then_some(Harm::Hang));
    let references: Vec<String> = (0..6).map(|number| format!("during-{number}")).collect();
    let clients = join_all(references.iter().map(|reference| insist(server.client(), reference)));
    let meanwhile = async {
        way.harmed(1).await;
        way.hang(&[Side::Client, Side::Server]);
        server.stderr().until("the outcome of a commit is unknown").await;
        for path in ["/readyz", "/v1/orders"] {
            eventually(path, async || (server.get(path).await.status == 503).then_some(())).await;
        }
        assert_eq!(server.get("/livez").await.status, 200);
        way.release();
    };
    let (taken, ()) = tokio::join!(clients, meanwhile);
    let mut ids: Vec<String> = taken.into_iter().map(|(id, _)| id).collect();
    ids.push(insist(server.client(), "before").await.0);
    ids.push(insist(server.client(), "after").await.0);
    eventually("that it is ready", async || (server.get("/readyz").await.status == 200).then_some(())).await;
    until_done(&server, ids.len()).await;
    assert_each_once(&server, &ids).await;
    server.carried().await;
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_is_let_in_orders_are_refused_and_then_they_are_taken_in() {
    let home = Home::new();
    let (way, builder) = by_a_way(&home, home.server()).await;
    let server = builder.start().await;
    let (before, _) = insist(server.client(), "before").await;
    way.close();
    assert!(way.cut() > 0);
    let refused = eventually("a refusal", async || {
        let reply = server.post("/v1/orders", r#"{"reference": "after", "total": 1}"#).await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert!(refused.header("retry-after").is_some(), "{}", refused.text());
    eventually("that reads are refused", async || {
        (server.get("/v1/orders").await.status == 503).then_some(())
    })
    .await;
    assert_eq!((server.get("/livez").await.status, server.get("/readyz").await.status), (200, 503));
    way.open();
    let (after, _) = insist(server.client(), "after").await;
    until_done(&server, 2).await;
    assert_each_once(&server, &[before, after]).await;
    carried(&server.carried().await);
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(home.audited()["orders"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_of_work_no_more_hears_of_it_again_and_looks_meanwhile() {
    let home = Home::new();
    let api = node(&home, "api").start().await;
    // Nothing but a word from the other node tells this worker of work.
    let (way, builder) = by_a_way(&home, node(&home, "worker")).await;
    let worker = builder.env("WORKER_POLL_INTERVAL_MS", "3600000").start().await;
    let orders = async |prefix: &str| {
        for number in 0..4 {
            let order = api.accept(&json!({ "reference": format!("{prefix}-{number}"), "total": 1 })).await;
            api.until_order(&order, "done").await;
        }
    };
    orders("heard").await;
    assert_eq!(way.cut_those_that_said("LISTEN"), 1);
    orders("heard-again").await;
    assert_eq!(worker.terminate().await.code(), 0);

    let (way, builder) = by_a_way(&home, node(&home, "worker")).await;
    let worker = builder.env("WORKER_POLL_INTERVAL_MS", "50").start().await;
    orders("at-ease").await;
    way.close();
    assert_eq!(way.cut_those_that_said("LISTEN"), 1);
    orders("looked-for").await;
    way.open();
    assert_eq!(worker.terminate().await.code(), 0);
    home.audited();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_work_counts_once_whether_its_commit_or_the_answer_is_lost() {
    let home = Home::new();
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let (way, builder) = by_a_way(&home, home.server()).await;
    let server = builder.processor(&receiver.url()).start().await;
    for (calls, harm) in (1..).zip([Harm::Cut, Harm::Hang, Harm::CutBehind, Harm::Cut]) {
        let lost = move |frame: &Frame<'_>| match calls {
            1 | 2 => answer(SETTLE)(frame),
            _ => commit(SETTLE)(frame),
        };
        way.harm(1, move |frame| lost(frame).then_some(harm));
        let order = server.accept(&json!({ "reference": format!("r-{calls}"), "total": 1 })).await;
        way.harmed(calls).await;
        let done = server.until_order(&order, "done").await;
        assert_eq!(json!([done["attempt"], done["version"]]), json!([1, 2]), "{harm:?}");
        assert_eq!(server.history(&order).await, ["order.accepted", "order.processed"], "{harm:?}");
        assert_eq!(receiver.calls().len(), calls, "{harm:?}");
    }
    assert_eq!(carried(&server.carried().await).len(), 8);
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(home.audited()["work"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_past_its_lease_ends_nothing() {
    let home = Home::new();
    let receiver = Receiver::gated().await;
    let api = node(&home, "api").start().await;
    let leases = |builder: Builder| {
        let builder = builder.env("WELLORDER_WORKER_LEASE_MS", "2000");
        builder.env("WELLORDER_WORKER_HEARTBEAT_MS", "500").processor(&receiver.url())
    };
    let (way, builder) = by_a_way(&home, leases(node(&home, "worker"))).await;
    let cut_off = builder.start().await;
    let order = api.accept(&json!({ "reference": "a", "total": 1 })).await;
    receiver.until_calls(1).await;
    way.hang(&[Side::Client, Side::Server]);
    let other = leases(node(&home, "worker")).start().await;
    let calls = receiver.until_calls(2).await;
    assert_eq!(calls[0].key(), calls[1].key());
    receiver.open();
    let done = api.until_order(&order, "done").await;
    way.release();
    cut_off.stderr().until("lost the lease").await;
    assert_eq!(done["version"], 2);
    assert_eq!(api.history(&order).await, ["order.accepted", "order.processed"]);
    let lost = r#"wellorder_worker_attempts_total{outcome="lease_lost"} 1"#;
    eventually(lost, async || cut_off.get("/metrics").await.text().contains(lost).then_some(())).await;
    for server in [cut_off, other, api] {
        assert_eq!(server.terminate().await.code(), 0);
    }
    assert_eq!(receiver.calls().len(), 2);
    home.audited();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_whose_commit_is_lost_leaves_nothing_out() {
    let home = Home::new();
    let (way, builder) = by_a_way(&home, home.server()).await;
    let server = builder.start().await;
    let orders = async |prefix: &str| {
        for number in 0..5 {
            let order =
                server.accept(&json!({ "reference": format!("{prefix}-{number}"), "total": 1 })).await;
            server.until_order(&order, "done").await;
        }
        server.carried().await
    };
    // Only the answer is lost: the cursor has moved, and nothing comes again but what was on its way behind that.
    way.harm(3, |frame| answer(ADVANCE)(frame).then_some(Harm::Cut));
    let (mut rounds, mut lines) = (0, Vec::new());
    // How many advances some orders take is not always the same.
    while way.harms() < 3 {
        lines = orders(&format!("answer-{rounds}")).await;
        rounds += 1;
    }
    assert_eq!((way.harms(), carried(&lines).len()), (3, 10 * rounds));
    assert!(carried(&lines).values().all(|times| *times <= 2), "{lines:?}");
    // It never arrived: what was sent comes again.
    way.harm(1, |frame| commit(ADVANCE)(frame).then_some(Harm::Cut));
    let times = carried(&orders("commit").await);
    assert_eq!((way.harms(), times.len()), (4, 10 * rounds + 10));
    assert!(times.values().all(|times| *times <= 2) && times.values().any(|times| *times == 2), "{times:?}");
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
}
