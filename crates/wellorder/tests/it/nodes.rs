//! Several nodes on one database: nothing is done twice, order is kept, and whoever waits hears of what another node did.

use crate::harness::{Builder, Database, Home, Receiver, Server, eventually};
use crate::own_server::OwnServer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node in a folder of its own, with these roles, apart by commas.
pub(crate) fn node(home: &Home, roles: &str) -> Builder {
    let args: Vec<&str> = roles.split(',').flat_map(|role| ["--role", role]).collect();
    Home::on(home.kept.clone()).server().args(&args)
}

/// Orders that are taken in by `servers` in turn, `count` of them; their ids.
async fn taken_in(servers: &[&Server], prefix: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let order = json!({ "reference": format!("{prefix}-{number}"), "total": 1 });
        let server = servers[number % servers.len()];
        // The node that was asked may be gone, or its database: somebody takes it in, once.
        let id = eventually("an order taken in", async || {
            let reply = server.post("/v1/orders", &order.to_string()).await;
            (reply.status < 300).then(|| reply.json()["order_id"].as_str().unwrap().to_owned())
        })
        .await;
        ids.push(id);
    }
    ids
}

pub(crate) async fn until_done(server: &Server, count: usize) {
    let wanted = format!(r#"wellorder_orders{{source="api",state="done"}} {count}"#);
    eventually("all of them done", async || {
        let metrics = server.get("/metrics").await;
        metrics.text().lines().any(|line| line == wanted).then_some(())
    })
    .await;
}

/// Every order's events in the feed: each order once taken in and once processed, in this order.
pub(crate) async fn assert_each_once(server: &Server, ids: &[String]) {
    let (events, _) = server.feed(500).await;
    let mut histories: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in &events {
        let history = histories.entry(event["order_id"].as_str().unwrap()).or_default();
        history.push(event["type"].as_str().unwrap());
        assert_eq!(event["version"], history.len(), "{event}");
    }
    assert_eq!(histories.keys().copied().collect::<BTreeSet<_>>(), ids.iter().map(String::as_str).collect());
    for (id, history) in histories {
        let finished = history.iter().filter(|&&kind| kind == "order.processed").count();
        assert_eq!((history[0], finished), ("order.accepted", 1), "{id}: {history:?}");
    }
}

/// Waits until everything is carried on, as `api` sees it; what lies in the relay's file.
async fn carried(api: &Server, relay: &Server) -> Vec<Value> {
    api.until("/v1/followers/ndjson", |follower| follower["lag"] == 0).await;
    relay.home().ndjson()
}

pub(crate) fn in_order(lines: &[Value]) {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines {
        let (id, version) = (line["order_id"].as_str().unwrap(), line["version"].as_u64().unwrap());
        let last = versions.entry(id.to_owned()).or_default();
        // What came before the end of a relay may come again behind it, never ahead of it.
        assert!(version <= *last + 1, "a gap: {line}");
        *last = version.max(*last);
    }
}

#[tokio::test]
async fn two_of_each_share_the_work_and_answer_for_each_other() {
    let home = Home::new();
    let receiver = Receiver::gated().await;
    let first = node(&home, "api").start().await;
    let second = node(&home, "api").start().await;
    let worker = |home: &Home| node(home, "worker").processor(&receiver.url());
    let workers = [worker(&home).start().await, worker(&home).start().await];

    // A waiter at one node hears of what a worker elsewhere did.
    let client = first.client();
    let waiter = tokio::spawn(async move {
        let headers = [("content-type", "application/json"), ("prefer", "wait=60")];
        client.send("POST", "/v1/orders", &headers, br#"{"reference": "w", "total": 1}"#).await
    });
    receiver.until_calls(1).await;
    receiver.open();
    let answered = waiter.await.unwrap();
    assert_eq!(
        (answered.status, &answered.json()["processing"]),
        (201, &json!("done")),
        "{}",
        answered.text()
    );

    let mut ids = vec![answered.json()["order_id"].as_str().unwrap().to_owned()];
    // The same orders at both nodes: each is one order.
    ids.extend(taken_in(&[&first, &second], "a", 60).await);
    assert_eq!(taken_in(&[&second, &first], "a", 60).await, ids[1..]);
    until_done(&first, ids.len()).await;
    assert_each_once(&second, &ids).await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), ids.len(), "no order was worked on twice");

    let relay = node(&home, "relay").start().await;
    let lines = carried(&first, &relay).await;
    assert_eq!(lines.len(), 2 * ids.len());
    in_order(&lines);
    for server in workers.into_iter().chain([first, second, relay]) {
        assert_eq!(server.terminate().await.code(), 0);
    }
    home.audited();
}

/// Each claims what its own settings say.
#[tokio::test]
async fn nodes_with_other_settings_leave_each_others_orders_alone() {
    let home = Home::new();
    let (ours, theirs) = (Receiver::gated().await, Receiver::gated().await);
    ours.open();
    theirs.open();
    let api = node(&home, "api").start().await;
    let first =
        node(&home, "worker").processor(&ours.url()).env("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "pull");
    let second = node(&home, "worker").processor(&theirs.url()).env("WELLORDER_PROCESSOR", "pull");
    let second = second.env("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "http");
    let workers = [first.start().await, second.start().await];
    let ids = taken_in(&[&api], "a", 20).await;
    for number in 0..20 {
        let order = json!({ "orderId": format!("o-{number}"), "customer": "c", "total": 1 });
        assert_eq!(api.post("/oscarps/orders", &order.to_string()).await.status, 201);
    }
    until_done(&api, ids.len()).await;
    for number in 0..20 {
        api.until(&format!("/oscarps/orders/o-{number}"), |order| order["status"] == "PROCESSED").await;
    }
    for (receiver, source) in [(&ours, "api"), (&theirs, "oscarps")] {
        let calls = receiver.calls();
        assert_eq!(calls.len(), 20);
        assert!(calls.iter().all(|call| call.order["source"] == source), "{source}: {calls:?}");
    }
    for server in workers.into_iter().chain([api]) {
        assert_eq!(server.terminate().await.code(), 0);
    }
    home.audited();
}

#[tokio::test]
async fn nodes_die_and_others_join_under_load() {
    let home = Home::new();
    let quick = |builder: Builder| {
        builder.env("WELLORDER_WORKER_LEASE_MS", "2000").env("WELLORDER_WORKER_HEARTBEAT_MS", "500")
    };
    let api = node(&home, "api").start().await;
    let doomed_api = node(&home, "api").start().await;
    let doomed = quick(node(&home, "worker")).env("WORKER_PROCESSING_DELAY_MS", "200").start().await;
    let relay = node(&home, "relay").start().await;
    let mut ids = taken_in(&[&api, &doomed_api], "a", 40).await;
    doomed_api.kill().await;
    doomed.kill().await;
    let joined = quick(node(&home, "worker")).start().await;
    ids.extend(taken_in(&[&api], "b", 40).await);
    let joined_api = node(&home, "api").start().await;
    ids.extend(taken_in(&[&api, &joined_api], "c", 40).await);
    let killed = relay.home();
    relay.kill().await;
    let first_lines = killed.ndjson();
    let relay = node(&home, "relay").start().await;
    until_done(&joined_api, ids.len()).await;
    assert_each_once(&joined_api, &ids).await;
    let lines = carried(&api, &relay).await;
    let both = [first_lines, lines].concat();
    let seen: BTreeSet<&str> = both.iter().map(|line| line["event_id"].as_str().unwrap()).collect();
    let (events, _) = api.feed(500).await;
    let all: BTreeSet<&str> = events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(seen, all, "between them they carried everything on");
    for server in [api, joined, joined_api, relay] {
        assert_eq!(server.terminate().await.code(), 0);
    }
    home.audited();
}

#[tokio::test]
async fn the_database_stops_and_starts_in_the_middle_of_it() {
    let own = OwnServer::start();
    let home = Home::on(Some(Arc::new(Database::on(&own.url()))));
    let apis = [node(&home, "api").start().await, node(&home, "api").start().await];
    let workers = [node(&home, "worker").start().await, node(&home, "worker").start().await];
    let relay = node(&home, "relay").start().await;
    let servers: Vec<&Server> = apis.iter().collect();
    let mut ids = taken_in(&servers, "a", 30).await;
    own.stop();
    own.resume();
    ids.extend(taken_in(&servers, "b", 30).await);
    until_done(&apis[1], ids.len()).await;
    assert_each_once(&apis[0], &ids).await;
    in_order(&carried(&apis[0], &relay).await);
    for server in apis.into_iter().chain(workers).chain([relay]) {
        assert_eq!(server.terminate().await.code(), 0);
    }
    home.audited();
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_node_that_cannot_reach_its_broker_leaves_its_part_to_one_that_can() {
    use crate::harness::kafka::{brokers, topic, until_records};
    let (home, topic) = (Home::new(), topic());
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let relay = |brokers: &str| {
        let relay = node(&home, "relay").env("KAFKA_BROKERS", brokers).env("WELLORDER_KAFKA_TOPIC", &topic);
        relay.env("WELLORDER_FOLLOWER_HEARTBEAT_MS", "200").env("WELLORDER_FOLLOWER_LEASE_MS", "5000")
    };
    let api = node(&home, "api").start().await;
    let _astray = relay(&nowhere).start().await;
    // It holds all of it by then.
    api.until("/v1/followers/kafka", |follower| follower["state"] == "failing").await;
    let ids = taken_in(&[&api], "a", 40).await;
    let _well = relay(&brokers()).start().await;
    let records = until_records(&topic, ids.len()).await;
    let keys: BTreeSet<&str> = records.iter().map(|record| record["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ids.iter().map(String::as_str).collect());
    let follower = api.until("/v1/followers/kafka", |follower| follower["lag"] == 0).await;
    let error = follower["last_error"].as_str().unwrap();
    assert!(follower["relays"] == 2 && error.contains(&nowhere), "what ails the other is told: {follower}");
}
