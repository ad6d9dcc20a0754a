//! The process is killed at each named place in turn; the next one finds what must be true then.

use crate::KEPT;
use crate::harness::database::count;
use crate::harness::{Answer, Builder, Call, Home, Kept, Receiver, Server, post_in_peril};
use crate::webhooks;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A server that kills itself at the `n`th passage of `point`.
fn doomed(builder: Builder, point: &str, n: u32) -> Builder {
    builder.env("WELLORDER_KILLPOINT", &format!("{point}:{n}"))
}

/// A server that takes up what another one had in hands that was killed: at its start what is of its own folder, else as soon
/// as the lease has run out.
fn server(home: &Arc<Home>) -> Builder {
    let (lease, heartbeat) = match KEPT {
        // The lease outlasts the test: what runs again was made due, it did not run out.
        Kept::InFolder => ("3600000", "10000"),
        Kept::OnServer => ("2000", "500"),
    };
    let builder = home.server().env("WELLORDER_WORKER_LEASE_MS", lease);
    let builder = builder.env("WELLORDER_WORKER_HEARTBEAT_MS", heartbeat);
    match KEPT {
        Kept::InFolder => builder,
        Kept::OnServer => builder
            .env("WELLORDER_FOLLOWER_LEASE_MS", lease)
            .env("WELLORDER_FOLLOWER_HEARTBEAT_MS", heartbeat),
    }
}

/// What each API is sent, and what it answers to a repetition of what it has.
const POSTS: [(&str, &str, Option<&str>); 3] = [
    ("/v1/orders", r#"{"reference":"a","total":"1"}"#, None),
    ("/oscarps/orders", r#"{"orderId":"a","customer":"c","total":1}"#, None),
    ("/parspec/orders", r#"{"userId":"u","itemIds":[],"totalAmount":1}"#, Some("k-1")),
];

async fn post(
    server: &Server,
    (path, body, key): (&str, &str, Option<&str>),
) -> Option<testkit::http::Reply> {
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    post_in_peril(&mut server.connect().await, path, &headers, body).await
}

async fn orders(server: &Server) -> Vec<Value> {
    server.json("/v1/orders").await["orders"].as_array().unwrap().clone()
}

#[tokio::test]
async fn before_the_commit_there_is_nothing_and_a_repetition_is_new() {
    for sent in POSTS {
        let home = Home::new();
        let server = doomed(home.server(), "api.before_commit", 1).start().await;
        assert_eq!(post(&server, sent).await, None, "{sent:?}");
        assert!(server.ended().await.was_killed());
        let report = home.audited();
        assert_eq!(json!([report["orders"], report["events"], report["work"]]), json!([0, 0, 0]));
        let server = home.server().start().await;
        assert_eq!(orders(&server).await, Vec::<Value>::new());
        let new = post(&server, sent).await.unwrap();
        assert_eq!((new.status, new.header("idempotent-replayed")), (201, None), "{sent:?}");
        server.until_order(&orders(&server).await[0], "done").await;
        home.audited();
    }
}

#[tokio::test]
async fn after_the_commit_everything_is_there_and_a_repetition_finds_it() {
    for point in ["api.after_commit", "api.mid_reply"] {
        for sent in POSTS {
            let home = Home::new();
            let server = doomed(home.server().api_alone(), point, 1).start().await;
            assert_eq!(post(&server, sent).await, None, "{point} {sent:?}");
            assert!(server.ended().await.was_killed(), "{point}");
            let report = home.audited();
            let found = json!([report["orders"], report["events"], report["work"]]);
            assert_eq!(found, json!([1, 1, 1]), "{point} {sent:?}: order, event and work are one commit");
            let server = home.server().start().await;
            let order = orders(&server).await[0].clone();
            let again = post(&server, sent).await.unwrap();
            assert_eq!(again.status, 200, "{point} {sent:?}: {}", again.text());
            let replayed = again.header("idempotent-replayed");
            match sent.0 {
                "/v1/orders" => {
                    assert_eq!((&again.json()["order_id"], replayed), (&order["order_id"], Some("true")));
                }
                "/oscarps/orders" => assert_eq!(again.json()["id"], order["order_id"]),
                _ => assert_eq!((&again.json()["order"]["id"], replayed), (&order["number"], Some("true"))),
            }
            server.until_order(&order, "done").await;
            assert_eq!(server.carried().await.len(), 2, "{point} {sent:?}");
            assert_eq!(home.audited()["orders"], 1);
        }
    }
}

/// Kills a worker at `point` and lets the next process do the work; returns the calls of the processor.
async fn killed_at_work(point: &str) -> Vec<Call> {
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let home = Home::new();
    let builder = || server(&home).processor(&receiver.url());
    let server = doomed(builder(), point, 1).start().await;
    post(&server, POSTS[0]).await;
    assert!(server.ended().await.was_killed(), "{point}");
    let report = home.audited();
    assert_eq!(
        json!([report["events"], report["work"]]),
        json!([1, 1]),
        "{point}: nothing of ours is half done"
    );
    let server = builder().start().await;
    if KEPT == Kept::InFolder {
        assert_eq!(server.started["leases_expired"], 1, "{point}");
    }
    let order = orders(&server).await[0].clone();
    let done = server.until_order(&order, "done").await;
    assert_eq!(json!([done["attempt"], done["version"]]), json!([1, 2]), "{point}: no attempt is burnt");
    assert_eq!(server.history(&order).await, ["order.accepted", "order.processed"], "{point}");
    let lines = server.carried().await;
    let counted = counted(&lines);
    assert_eq!(counted.len(), 2, "{point}");
    assert!(
        counted.values().all(|count| *count <= 2),
        "{point}: what was in flight comes again once at most"
    );
    assert_eq!(home.audited()["work"], 0, "{point}");
    receiver.calls()
}

#[tokio::test]
async fn before_the_effect_of_the_work_it_happens_once() {
    let calls = killed_at_work("worker.mid_effect").await;
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].attempt(), "1");
}

#[tokio::test]
async fn after_the_effect_of_the_work_it_comes_again_under_its_key() {
    let calls = killed_at_work("worker.after_effect").await;
    assert_eq!(calls.len(), 2, "twice at most");
    assert_eq!(calls[0].key(), calls[1].key());
    assert_eq!([calls[0].attempt(), calls[1].attempt()], ["1", "1"]);
}

/// Posts ten orders to a server that a follower's point kills; returns the lines of the file as they were left, and
/// after the next process has carried everything on.
async fn killed_in_the_follower(point: &str, passage: u32) -> (Vec<Value>, Vec<Value>) {
    let home = Home::new();
    let doomed = doomed(server(&home), point, passage).start().await;
    let mut connection = doomed.connect().await;
    for number in 0..10 {
        let body = json!({ "reference": format!("r-{number}"), "total": 1 }).to_string();
        if post_in_peril(&mut connection, "/v1/orders", &[], &body).await.is_none() {
            break;
        }
    }
    assert!(doomed.ended().await.was_killed(), "{point}");
    let left = home.ndjson();
    let server = server(&home).start().await;
    for order in orders(&server).await {
        server.until_order(&order, "done").await;
    }
    let lines = server.carried().await;
    let (events, _) = server.feed(1000).await;
    for event in &events {
        assert!(lines.contains(event), "{point}: {event} is not in the file");
    }
    assert_eq!(lines[..left.len()], left[..], "{point}: what was written stays");
    home.audited();
    (left, lines)
}

/// How often each event is in the file; the same event always has the same content.
fn counted(lines: &[Value]) -> BTreeMap<&str, usize> {
    let (mut counted, mut content) = (BTreeMap::new(), BTreeMap::new());
    for line in lines {
        let id = line["event_id"].as_str().unwrap();
        *counted.entry(id).or_default() += 1;
        assert_eq!(*content.entry(id).or_insert(line), line, "an event that comes again is the same");
    }
    counted
}

#[tokio::test]
async fn after_sending_events_come_again_once_and_unchanged() {
    for passage in [1, 3] {
        let (left, lines) = killed_in_the_follower("follower.after_send", passage).await;
        assert!(!left.is_empty());
        let counted = counted(&lines);
        let twice = counted.values().filter(|count| **count == 2).count();
        assert!(twice > 0, "what was in flight comes again");
        assert!(counted.values().all(|count| *count <= 2), "once, and no more than once: {counted:?}");
        let in_file: Vec<&str> = left.iter().map(|line| line["event_id"].as_str().unwrap()).collect();
        for (id, count) in &counted {
            assert!(*count == 1 || in_file.contains(id), "only what had been sent comes again");
        }
    }
}

#[tokio::test]
async fn a_range_that_is_carried_on_once_more_goes_on_after_a_kill() {
    // While the cursor moves behind a page, the next one is on its way.
    for (point, sent_again) in [("follower.after_send", 2..=4), ("follower.after_cursor", 0..=2)] {
        let home = Home::new();
        let server = home.server().start().await;
        for number in 0..6 {
            let order = server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
            server.until_order(&order, "done").await;
        }
        let first = server.carried().await;
        server.post("/v1/followers/ndjson/pause", "{}").await;
        let end = server.json("/v1/events?limit=8").await["next"].clone();
        let range = json!({ "from": "beginning", "to": end }).to_string();
        assert_eq!(server.post("/v1/followers/ndjson/replay", &range).await.json()["replay"]["left"], 8);
        server.terminate().await;
        // Two at a time: killed in the middle.
        let slow = || self::server(&home).env("WELLORDER_FOLLOWER_BATCH_SIZE", "2");
        let server = doomed(slow(), point, 3).start().await;
        post_in_peril(&mut server.connect().await, "/v1/followers/ndjson/resume", &[], "{}").await;
        assert!(server.ended().await.was_killed(), "{point}");
        let sent = home.ndjson().len() - first.len();
        assert!((6..=8).contains(&sent), "{point}: {sent}");
        home.audited();
        let server = slow().start().await;
        let through = |follower: &Value| follower["replay"].is_null();
        let follower = server.until("/v1/followers/ndjson", through).await;
        assert_eq!(follower["lag"], 0, "{point}: the cursor never moved back");
        let lines = server.carried().await;
        let twice = lines.len() - first.len() - 8;
        assert!(sent_again.contains(&twice), "{point}: it went on where it was, {twice} came again");
        let again: Vec<Value> = lines[first.len()..].to_vec();
        assert_eq!(counted(&again).len(), 8, "{point}: the range, all of it and nothing else");
        counted(&lines);
        home.audited();
    }
}

#[tokio::test]
async fn after_the_cursor_has_moved_nothing_comes_again() {
    for passage in [1, 3] {
        let (left, lines) = killed_in_the_follower("follower.after_cursor", passage).await;
        assert!(!left.is_empty());
        // What was on its way behind that may.
        let first = left[0]["event_id"].as_str().unwrap();
        let counts = counted(&lines);
        assert!(counts[first] == 1 && counts.values().all(|count| *count <= 2), "{lines:?}");
    }
}

/// How many of the tables are there that matter most.
fn tables(home: &Home) -> usize {
    if let Some(url) = home.url() {
        let found = "SELECT count(*) FROM pg_class WHERE relname = ANY (string_to_array($1, ' '))";
        return count(url, found, "orders journal work");
    }
    let database = rusqlite::Connection::open(home.database()).unwrap();
    let found = "SELECT count(*) FROM sqlite_schema WHERE name IN ('orders', 'journal', 'work')";
    database.query_row(found, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn in_the_middle_of_a_migration_it_is_undone_and_runs_again() {
    for command in ["dev", "migrate"] {
        let home = Home::new();
        let killed = match command {
            "dev" => match doomed(home.server(), "boot.mid_migration", 1).try_start().await {
                Ok(_) => panic!("it started"),
                Err(ended) => ended,
            },
            _ => home.run_with(&[("WELLORDER_KILLPOINT", "boot.mid_migration:1")], &[command]),
        };
        assert!(killed.was_killed(), "{killed:?}");
        assert_eq!(tables(&home), 0, "{command}: half a schema is none");
        let migrated = home.run(&["migrate", "--json"]);
        assert_eq!((migrated.code(), &migrated.json()["from"]), (0, &json!(0)), "{migrated:?}");
        let server = home.server().start().await;
        let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
        server.until_order(&order, "done").await;
        home.audited();
    }
}

#[test]
fn a_point_or_a_planted_bug_that_there_is_not_is_refused_with_the_list() {
    let home = Home::new();
    for (variable, value, listed) in [
        ("WELLORDER_KILLPOINT", "api.never:1", "api.before_commit"),
        ("WELLORDER_KILLPOINT", "api.before_commit", "api.before_commit"),
        ("WELLORDER_KILLPOINT", "api.before_commit:0", "api.before_commit"),
        ("WELLORDER_PLANT", "nothing", "ack-before-commit"),
    ] {
        let refused = home.run_with(&[(variable, value)], &["orders", "list"]);
        assert_eq!(refused.code(), 2, "{value}: {refused:?}");
        assert!(refused.stderr.contains(value) && refused.stderr.contains(listed), "{value}: {refused:?}");
    }
}

/// The receiver has it, and nobody knows here: it comes again, the same under the same id, and nothing of its order before it.
#[tokio::test]
async fn after_a_receiver_took_a_delivery_it_comes_again_and_its_order_stays_in_order() {
    for passage in [1, 9] {
        let home = Home::new();
        let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
        let doomed = doomed(server(&home), "webhook.after_2xx", passage).start().await;
        let made = webhooks::endpoint(&doomed, &receiver.url(), &["order.accepted", "order.processed"]).await;
        let mut connection = doomed.connect().await;
        for number in 0..10 {
            let body = json!({ "reference": format!("r-{number}"), "total": 1 }).to_string();
            if post_in_peril(&mut connection, "/v1/orders", &[], &body).await.is_none() {
                break;
            }
        }
        assert!(doomed.ended().await.was_killed());
        home.audited();
        let before = receiver.calls();
        let server = server(&home).start().await;
        let orders = orders(&server).await;
        for order in &orders {
            server.until_order(order, "done").await;
        }
        let path = format!("/v1/deliveries?limit=200&endpoint_id={}", made["endpoint_id"].as_str().unwrap());
        let all = orders.len() * 2;
        server.until(&path, |page| page["deliveries"].as_array().unwrap().len() >= all).await;
        let calls = receiver.calls();
        let mut of_order = BTreeMap::<&str, Vec<&Call>>::new();
        for call in &calls {
            assert!(webhooks::is_signed(call, &made["secret"]));
            of_order.entry(call.order["order_id"].as_str().unwrap()).or_default().push(call);
        }
        assert_eq!(of_order.len(), orders.len());
        for calls in of_order.values() {
            let versions: Vec<_> = calls.iter().map(|call| call.order["version"].as_u64().unwrap()).collect();
            assert!(versions.is_sorted() && versions[0] == 1 && versions.contains(&2), "{versions:?}");
            for pair in calls.windows(2).filter(|pair| pair[0].order["version"] == pair[1].order["version"]) {
                assert_eq!(pair[0].body, pair[1].body);
                assert_eq!(pair[0].header("webhook-id"), pair[1].header("webhook-id"));
                assert!(
                    before.iter().any(|call| call.body == pair[0].body),
                    "only what was on its way comes again"
                );
            }
        }
        let twice = calls.len() - all;
        assert!((1..=16).contains(&twice), "what was taken and not noted comes again: {twice}");
        home.audited();
    }
}
