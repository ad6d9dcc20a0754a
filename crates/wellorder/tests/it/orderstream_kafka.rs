//! The contract `orderstream` over Kafka: `kcat` is the other program, as the one that takes orders in and as the worker.
//! `cargo xtask services up kafka redis` starts the servers.

use crate::harness::collector::{Collector, hex, text};
use crate::harness::kafka::{brokers, headers, records, until_records};
use crate::harness::{Builder, Home, Server, eventually};
use crate::login::{Token, ask, serving};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use uuid::Uuid;

pub(crate) const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";

/// Names that nobody has used.
pub(crate) struct Topics {
    pub(crate) events: String,
    pub(crate) acks: String,
    pub(crate) group: String,
}

impl Topics {
    pub(crate) fn new() -> Self {
        let unique = |what: &str| format!("it-{what}-{}", fresh());
        Self { events: unique("events"), acks: unique("acks"), group: unique("group") }
    }

    pub(crate) fn server(&self, builder: Builder) -> Builder {
        builder
            .args(&["--as", "orderstream"])
            .env("KAFKA_BROKERS", &brokers())
            .env("WELLORDER_KAFKA_PARTITIONS", "3")
            .env("WELLORDER_KAFKA_TOPIC", &format!("{}-all", self.events))
            .env("ORDERS_EVENTS_TOPIC", &self.events)
            .env("ORDERS_ACK_TOPIC", &self.acks)
            .env("WORKER_GROUP", &self.group)
            .env("REDIS_URL", &redis())
    }

    /// Starts a server, and waits until it reads what others write: then the topic is there, as the server makes it.
    pub(crate) async fn start(&self, builder: Builder) -> Server {
        Self::reading(self.server(builder)).await
    }

    /// The same of one that is set up already.
    pub(crate) async fn reading(builder: Builder) -> Server {
        let server = builder.start().await;
        let connected =
            |line: &str| line.starts_with("wellorder_consumer_connected{") && line.ends_with(" 1");
        eventually("a consumer", async || {
            let metrics = server.get("/metrics").await;
            Some(()).filter(|()| metrics.text().lines().any(connected))
        })
        .await;
        server
    }

    /// What was acknowledged: orders and statuses, those of one partition in their order.
    pub(crate) fn acked(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        values(&self.acks).iter().map(|ack| (text(&ack["order_id"]), text(&ack["status"]))).collect()
    }

    pub(crate) async fn until_acked(&self, order_id: &str, status: &str, times: usize) {
        let what = format!("{times} × {status}");
        let is = |(id, word): &(String, String)| id == order_id && word == status;
        eventually(&what, async || {
            Some(()).filter(|()| self.acked().iter().filter(|ack| is(ack)).count() >= times)
        })
        .await;
    }
}

#[expect(clippy::disallowed_methods, reason = "no other test, and no other run, has the id")]
pub(crate) fn fresh() -> String {
    Uuid::new_v4().to_string()
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
pub(crate) fn redis() -> String {
    std::env::var("WELLORDER_TEST_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:16379".to_owned())
}

/// What Redis has of the result of an order; a blank line for nothing.
pub(crate) fn result_of(order_id: &str) -> String {
    let result = Command::new("redis-cli")
        .args(["-u", &redis(), "GET", &format!("order_result:{order_id}")])
        .output()
        .expect("redis-cli is missing: apt-get install redis-tools");
    String::from_utf8(result.stdout).unwrap()
}

/// The bodies in a topic; none while there is no such topic.
pub(crate) fn values(topic: &str) -> Vec<Value> {
    let body = |record: &Value| serde_json::from_str(record["payload"].as_str().unwrap()).unwrap();
    records(topic).iter().map(body).collect()
}

/// Writes a record as another program does: without a key unless told otherwise.
pub(crate) fn send(topic: &str, more: &[&str], value: &str) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", &brokers(), "-t", topic]).args(more).stdin(Stdio::piped());
    let mut kcat = kcat.spawn().expect("kcat is missing: apt-get install kcat");
    kcat.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(kcat.wait().unwrap().success(), "is Kafka up? cargo xtask services up kafka");
}

pub(crate) fn event(order_id: &str, status: &str, second: u32, amount: u32) -> String {
    json!({
        "order_id": order_id, "external_id": "e-1", "user_id": USER, "status": status,
        "payload": {"id": "e-1", "amount": amount}, "timestamp": format!("2025-12-20T10:00:{second:02}Z"),
    })
    .to_string()
}

pub(crate) async fn shown(server: &Server, order_id: &str) -> Value {
    server.get(&format!("/orders/{order_id}")).await.json()["order"].clone()
}

#[tokio::test]
async fn another_program_is_the_worker() {
    let topics = Topics::new();
    let builder = Server::builder().env("WELLORDER_CONTRACTS_ORDERSTREAM_PROCESSOR", "kafka");
    let server = topics.start(builder.env("ACK_WAIT_TIMEOUT", "60s")).await;
    let create =
        json!({"order_id": "0", "user_id": USER, "payload": {"id": 7, "amount": "2.50"}}).to_string();
    let worker = async {
        let told = until_records(&topics.events, 1).await.remove(0);
        let body: Value = serde_json::from_str(told["payload"].as_str().unwrap()).unwrap();
        assert_eq!((&told["key"], &body["status"]), (&body["order_id"], &json!("new")));
        assert_eq!((&body["external_id"], &body["payload"]["amount"]), (&json!("7"), &json!("2.50")));
        assert!(headers(&told).contains_key("wellorder-installation"), "{told}");
        let ack =
            json!({"order_id": body["order_id"], "status": "created", "processed_at": body["timestamp"]});
        // What is no acknowledgement keeps nobody waiting.
        send(&topics.acks, &[], "{}");
        send(&topics.acks, &[], &ack.to_string());
        send(&topics.acks, &[], &ack.to_string());
        body["order_id"].as_str().unwrap().to_owned()
    };
    let (created, id) = tokio::join!(server.post("/orders", &create), worker);
    assert_eq!((created.status, created.json()), (201, json!({"order_id": id, "status": "created"})));
    assert_eq!(shown(&server, &id).await["status"], "done");
    // The worker has it deleted already.
    let update = json!({"order_id": id, "user_id": USER, "payload": {"id": 7, "amount": 3}}).to_string();
    let worker = async {
        until_records(&topics.events, 2).await;
        send(&topics.acks, &[], &json!({"order_id": id, "status": "deleted"}).to_string());
    };
    let (updated, ()) = tokio::join!(server.post("/orders", &update), worker);
    assert_eq!((updated.status, &updated.json()["status"]), (409, &json!("deleted")), "{}", updated.text());
    assert_eq!(records(&topics.events).len(), 2, "what the worker said is not told again");
    until_records(&format!("{}.parked", topics.acks), 1).await;
    let home = server.home();
    server.terminate().await;
    let audited = home.audited();
    assert_eq!(audited["findings"], json!([]), "{audited}");
}

#[tokio::test]
async fn of_two_updates_the_acknowledgement_of_the_first_ends_nothing() {
    let topics = Topics::new();
    let builder = Server::builder().env("WELLORDER_CONTRACTS_ORDERSTREAM_PROCESSOR", "kafka");
    let server = topics.start(builder.env("ACK_WAIT_TIMEOUT", "50s")).await;
    let worker = async {
        let id = until_records(&topics.events, 1).await.remove(0)["key"].as_str().unwrap().to_owned();
        send(&topics.acks, &["-p", "0"], &json!({"order_id": id, "status": "created"}).to_string());
        id
    };
    let create = json!({"user_id": USER, "payload": {"amount": 1}}).to_string();
    let (created, id) = tokio::join!(server.post("/orders", &create), worker);
    assert_eq!(created.status, 201, "{}", created.text());
    let mut updates = Vec::new();
    for (amount, told) in [(4, 2), (5, 3)] {
        let body = json!({"order_id": id, "user_id": USER, "payload": {"amount": amount}}).to_string();
        let client = server.client();
        updates.push(tokio::spawn(async move {
            client.send("POST", "/orders", &[("content-type", "application/json")], body.as_bytes()).await
        }));
        until_records(&topics.events, told).await;
    }
    let times: BTreeMap<u64, Value> = values(&topics.events)
        .iter()
        .filter_map(|told| Some((told["payload"]["amount"].as_u64()?, told["timestamp"].clone())))
        .collect();
    for (amount, status, counted) in [(4, "new", 2), (5, "done", 3)] {
        let ack = json!({"order_id": id, "status": "updated", "processed_at": times[&amount]}).to_string();
        send(&topics.acks, &["-p", "0"], &ack);
        let of = format!(r#"queue="{}",outcome="done""#, topics.acks);
        let line = format!("wellorder_consumer_messages_total{{{of}}} {counted}");
        eventually(&line, async || {
            server.get("/metrics").await.text().lines().any(|one| one == line).then_some(())
        })
        .await;
        assert_eq!(shown(&server, &id).await["status"], status, "{amount}");
    }
    for update in updates {
        assert_eq!(update.await.unwrap().json()["status"], "updated");
    }
}

#[tokio::test]
async fn the_order_of_any_tenant_is_ended_by_its_acknowledgement() {
    let (topics, home) = (Topics::new(), Home::new());
    let builder = serving(&home).env("WELLORDER_CONTRACTS_ORDERSTREAM_PROCESSOR", "kafka");
    let server = topics.server(builder.env("ACK_WAIT_TIMEOUT", "50s")).start().await;
    let create = json!({"user_id": USER, "payload": {"id": 7}}).to_string();
    let worker = async {
        let told = until_records(&topics.events, 1).await.remove(0);
        send(&topics.acks, &[], &json!({"order_id": told["key"], "status": "created"}).to_string());
    };
    let bearer = Token::all("acme").bearer();
    let (created, ()) = tokio::join!(ask(&server, "POST", "/orders", Some(&bearer), Some(&create)), worker);
    assert_eq!((created.status, &created.json()["status"]), (201, &json!("created")), "{}", created.text());
}

#[tokio::test]
async fn a_trace_leads_over_an_event_to_its_acknowledgements() {
    const TRACE: &str = "2af7651916cd43dd8448eb211c80319c";
    let (topics, collector) = (Topics::new(), Collector::start().await);
    let builder = Server::builder().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
    let server = topics.start(builder).await;
    let (order_id, traceparent) = (fresh(), format!("traceparent=00-{TRACE}-b7ad6b7169203331-01"));
    // The first is acknowledged when its work is done, the second as it is read.
    for times in 1..=2 {
        send(&topics.events, &["-H", &traceparent], &event(&order_id, "new", 1, 5));
        topics.until_acked(&order_id, "created", times).await;
    }
    for ack in records(&topics.acks) {
        let traceparent = headers(&ack)["traceparent"].to_owned();
        assert_eq!(traceparent.split('-').nth(1), Some(TRACE), "{ack}");
    }
    let of_topic = |span: &&Span| {
        let queue = text(&span.attributes, "messaging.destination.name");
        span.name == "consume" && hex(&span.trace_id) == TRACE && queue.as_ref() == Some(&topics.events)
    };
    let both = |spans: &[Span]| (spans.iter().filter(of_topic).count() == 2).then_some(());
    collector.until("a span for each time", both).await;
    drop(server);
}

#[tokio::test]
async fn another_program_takes_orders_in() {
    let topics = Topics::new();
    let server = topics.start(Server::builder()).await;
    let [first, second, third] = [(); 3].map(|()| fresh());
    send(&topics.events, &[], &event(&first, "new", 1, 5));
    topics.until_acked(&first, "created", 1).await;
    let order = shown(&server, &first).await;
    assert_eq!(
        (&order["order_id"], &order["amount"], &order["status"]),
        (&json!(first), &json!(5), &json!("done"))
    );
    let result: Value = serde_json::from_str(&result_of(&first)).expect("a result");
    assert_eq!((&result["status"], &result["order_status"]), (&json!("created"), &json!("done")));
    // The same again; an update; one that is older than that.
    send(&topics.events, &[], &event(&first, "new", 1, 5));
    topics.until_acked(&first, "created", 2).await;
    send(&topics.events, &[], &event(&first, "new", 3, 7));
    topics.until_acked(&first, "updated", 1).await;
    send(&topics.events, &[], &event(&first, "new", 2, 6));
    topics.until_acked(&first, "updated", 2).await;
    assert_eq!(shown(&server, &first).await["amount"], 7);
    // What was changed here since, what came before does not undo.
    let update = json!({"order_id": first, "user_id": USER, "payload": {"amount": 9}}).to_string();
    assert_eq!(server.post("/orders", &update).await.json()["status"], "updated");
    send(&topics.events, &[], &event(&first, "new", 3, 7));
    topics.until_acked(&first, "updated", 4).await;
    assert_eq!(shown(&server, &first).await["amount"], 9);
    // An update that comes before its create.
    send(&topics.events, &[], &event(&second, "new", 9, 2));
    topics.until_acked(&second, "created", 1).await;
    send(&topics.events, &[], &event(&second, "new", 8, 1));
    topics.until_acked(&second, "updated", 1).await;
    assert_eq!(shown(&server, &second).await["amount"], 2);
    // A delete, and one of what nobody knows; what comes after finds it deleted.
    for (order_id, status) in [(&first, "deleted"), (&third, "cancelled")] {
        send(&topics.events, &[], &event(order_id, status, 20, 0));
        topics.until_acked(order_id, "deleted", 1).await;
        send(&topics.events, &[], &event(order_id, "new", 19, 1));
        topics.until_acked(order_id, "deleted", 2).await;
    }
    assert_eq!(shown(&server, &first).await["status"], "deleted");
    assert_eq!(server.get(&format!("/orders/{third}")).await.status, 404);
    // What is changed here is told there.
    let delete = json!({"order_id": second, "user_id": USER, "status": "deleted"}).to_string();
    assert_eq!(server.post("/orders", &delete).await.status, 200);
    let told = eventually("a delete", async || {
        records(&topics.events).into_iter().find(|record| record["key"] == second.as_str())
    });
    assert!(told.await["payload"].as_str().unwrap().contains(r#""status":"deleted""#));
    let home = server.home();
    server.terminate().await;
    let audited = home.audited();
    assert_eq!(audited["findings"], json!([]), "{audited}");
}

#[tokio::test]
async fn what_is_no_event_is_parked_and_keeps_nobody_waiting() {
    let topics = Topics::new();
    let server = topics.start(Server::builder()).await;
    let one = ["-p", "0"];
    let null = Command::new("sh")
        .args([
            "-c",
            &format!("printf 'key:\\n' | kcat -P -Z -K: -p 0 -b {} -t {}", brokers(), topics.events),
        ])
        .status();
    assert!(null.unwrap().success());
    for poison in ["null", "{", "[]", r#"{"order_id":"x"}"#] {
        send(&topics.events, &one, poison);
    }
    let order_id = fresh();
    send(&topics.events, &one, &event(&order_id, "new", 1, 5));
    topics.until_acked(&order_id, "created", 1).await;
    let parked = until_records(&format!("{}.parked", topics.events), 5).await;
    assert_eq!(parked.len(), 5);
    for record in &parked {
        let headers = headers(record);
        assert!(
            !headers["wellorder-why"].is_empty() && headers["wellorder-topic"] == topics.events,
            "{record}"
        );
    }
    let metrics = server.get("/metrics").await;
    let dead = format!(r#"wellorder_consumer_messages_total{{queue="{}",outcome="dead"}} 5"#, topics.events);
    assert!(metrics.text().contains(&dead), "{}", metrics.text());
    server.terminate().await;

    // What lies there is counted by whoever comes next.
    let server = topics.start(Server::builder()).await;
    let lies =
        format!(r#"wellorder_consumer_set_aside_messages{{queue="{}",state="parked"}} 5"#, topics.events);
    server.until_metric(&lies).await;
}

/// With its headers it would be larger than the topic beside takes, which has its limit from the brokers: 1 MiB.
#[tokio::test]
async fn what_the_topic_beside_does_not_take_whole_keeps_nobody_waiting_either() {
    let topics = Topics::new();
    let server = topics.start(Server::builder().env("WELLORDER_KAFKA_MESSAGE_MAX_KIB", "2048")).await;
    let (one, large) = (["-p", "0", "-X", "message.max.bytes=2000000"], "x".repeat(1_048_470));
    send(&topics.events, &one, &large);
    let order_id = fresh();
    send(&topics.events, &one, &event(&order_id, "new", 1, 5));
    topics.until_acked(&order_id, "created", 1).await;
    let parked = until_records(&format!("{}.parked", topics.events), 1).await;
    let headers = headers(&parked[0]);
    assert_eq!((parked.len(), headers["wellorder-cut-from"]), (1, large.len().to_string().as_str()));
    assert!(headers["wellorder-why"].contains("malformed"), "{headers:?}");
    assert_eq!(parked[0]["payload"].as_str().unwrap_or_default(), "");
    let log = server.terminate().await.stderr;
    assert_eq!(log.lines().filter(|line| line.contains("parked a message")).count(), 1, "{log}");
}

#[tokio::test]
async fn an_order_without_an_id_is_made_once() {
    let topics = Topics::new();
    let server = topics.start(Server::builder()).await;
    send(&topics.events, &[], &event("0", "new", 1, 5));
    let (order_id, _) = eventually("an acknowledgement", async || topics.acked().pop()).await;
    let home = server.home();
    server.terminate().await;
    let again = Topics { group: format!("it-{}", fresh()), ..topics };
    // Whoever reads it all again, as after a crash before the offset was committed, makes nothing anew.
    let server = again.start(home.server()).await;
    again.until_acked(&order_id, "created", 2).await;
    assert_eq!(shown(&server, &order_id).await["amount"], 5);
    assert_eq!(server.feed(100).await.0.len(), 2, "accepted and processed");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let topics = Topics::new();
    let home = Home::new();
    let server = topics.start(home.server()).await;
    let ids: Vec<String> = (0..40).map(|_| fresh()).collect();
    for order_id in &ids[..20] {
        send(&topics.events, &[], &event(order_id, "new", 1, 5));
    }
    topics.until_acked(&ids[0], "created", 1).await;
    server.kill().await;
    for order_id in &ids[20..] {
        send(&topics.events, &[], &event(order_id, "new", 1, 5));
    }
    let server = topics.start(home.server()).await;
    for order_id in &ids {
        topics.until_acked(order_id, "created", 1).await;
        let history = server.get(&format!("/orders/{order_id}")).await;
        assert_eq!(history.json()["order"]["amount"], 5);
    }
    let (events, _) = server.feed(1_000).await;
    let accepted = events.iter().filter(|event| event["type"] == "order.accepted").count();
    assert_eq!(accepted, ids.len(), "each once");
}

#[tokio::test]
async fn two_installations_share_the_work_of_a_third() {
    let topics = Topics::new();
    let one = topics.start(Server::builder()).await;
    let ids: Vec<String> = (0..60).map(|_| fresh()).collect();
    for order_id in &ids[..15] {
        send(&topics.events, &["-k", order_id], &event(order_id, "new", 1, 5));
    }
    topics.until_acked(&ids[0], "created", 1).await;
    let other = topics.start(Server::builder()).await;
    for order_id in &ids[15..] {
        send(&topics.events, &["-k", order_id], &event(order_id, "new", 1, 5));
    }
    let mut shares = [0, 0];
    for order_id in &ids {
        topics.until_acked(order_id, "created", 1).await;
        let mut found = [0, 0];
        for (server, found) in [&one, &other].into_iter().zip(&mut found) {
            *found = usize::from(server.get(&format!("/orders/{order_id}")).await.status == 200);
        }
        assert_ne!(found, [0, 0], "{order_id}");
        shares = [shares[0] + found[0], shares[1] + found[1]];
    }
    assert!(shares[0] > 15 && shares[1] > 0, "both had some of the rest: {shares:?}");
}
