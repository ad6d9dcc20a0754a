//! Brokers and Redis that hang or lose an answer, behind a server that goes on: intake never notices, whoever is concerned says
//! so, and all of it arrives in the end.

use crate::harness::kafka::{brokers, headers};
use crate::harness::kafka::{topic, until_records};
use crate::harness::{Home, Server, eventually};
use crate::login::{Token, ask, serving};
use crate::orderstream_kafka::{Topics, event, fresh, redis, result_of, send};
use crate::rabbitmq::{self, declare, delete, take, unique, until_taken};
use crate::sales_messages::{Names, sell, until, until_counted};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use testkit::chaos::{Chaos, Harm, Protocol, Side};

async fn until_state(server: &Server, follower: &str, state: &str) -> Value {
    server.until(&format!("/v1/followers/{follower}"), |follower| follower["state"] == state).await
}

async fn until_carried(server: &Server, follower: &str) {
    server.until(&format!("/v1/followers/{follower}"), |follower| follower["lag"] == 0).await;
}

/// How often Redis failed, by the metrics.
fn redis_failures(metrics: &str) -> u64 {
    let of = |line: &str| line.strip_prefix("wellorder_redis_failures_total ")?.parse().ok();
    metrics.lines().find_map(of).unwrap()
}

/// A health check's verdict on one server.
async fn check(server: &Server, name: &str) -> Value {
    let ready = server.json("/readyz?verbose").await;
    let checks = ready["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_hangs_and_nobody_but_its_follower_notices() {
    let broker = tokio::net::lookup_host(brokers()).await.unwrap().next().unwrap();
    let (way, topic) = (Chaos::before(broker, Protocol::Kafka).await, topic());
    let address = way.address().to_string();
    let server = Server::builder()
        .env("KAFKA_BROKERS", &address)
        .env("WELLORDER_KAFKA_TOPIC", &topic)
        .env("WELLORDER_KAFKA_DELIVERY_TIMEOUT_MS", "3000")
        .start()
        .await;
    let order = async |number: usize| {
        let order = server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
        server.until_order(&order, "done").await;
    };
    order(0).await;
    until_carried(&server, "kafka").await;
    // What was written before has an answer that never comes.
    way.harm(1, |frame| frame.is(Side::Server, "Produce").then_some(Harm::Swallow));
    order(1).await;
    way.harmed(1).await;
    way.hang(&[Side::Client, Side::Server]);
    for number in 2..6 {
        order(number).await;
    }
    assert_eq!(server.carried().await.len(), 12, "others carry on");
    let follower = until_state(&server, "kafka", "failing").await;
    let error = follower["last_error"].as_str().unwrap();
    assert!(error.contains(&address), "{error}");
    assert_eq!(check(&server, "kafka").await["ok"], false);
    assert_eq!(server.get("/readyz").await.status, 200, "orders are taken in");
    way.release();
    until_state(&server, "kafka", "running").await;
    until_carried(&server, "kafka").await;
    let records = until_records(&topic, 12).await;
    let (events, _) = server.feed(100).await;
    let (mut ids, mut newest) = (BTreeSet::new(), BTreeMap::<&str, u64>::new());
    for record in &records {
        let headers = headers(record);
        let version: u64 = headers["ce_sequence"].parse().unwrap();
        let seen = newest.entry(record["key"].as_str().unwrap()).or_default();
        assert!(version <= *seen + 1, "a gap: {record}");
        *seen = version.max(*seen);
        ids.insert(headers["ce_id"].to_owned());
    }
    let all: BTreeSet<String> =
        events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, all, "every event, and what comes again is known by its id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_broker_has_is_not_sent_to_it_again_for_another_that_has_not_confirmed() {
    let (topic, exchange, queue) = (topic(), unique("events"), unique("all"));
    declare(&[&queue], Some(&exchange)).await;
    let (way, url) = Chaos::on_the_way(&rabbitmq::url(), Protocol::Amqp).await;
    way.harm(1, |frame| frame.is(Side::Server, "basic.ack").then_some(Harm::Hang));
    let server = Server::builder()
        .env("WELLORDER_PROCESSOR", "pull")
        .env("KAFKA_BROKERS", &brokers())
        .env("WELLORDER_KAFKA_TOPIC", &topic)
        .env("RABBITMQ_URL", &url)
        .env("WELLORDER_RABBITMQ_EXCHANGE", &exchange)
        .start()
        .await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    way.harmed(1).await;
    until_carried(&server, "kafka").await;
    let server = server.restart().await;
    until_carried(&server, "rabbitmq").await;
    until_carried(&server, "kafka").await;
    let (first, again) = (until_taken(&queue).await, until_taken(&queue).await);
    assert!(first == again && first["reference"] == "a", "what comes again is the same: {first} {again}");
    assert_eq!(take(&queue), None);
    let records = until_records(&topic, 1).await;
    assert!(records.len() == 1 && records[0]["key"] == order["order_id"], "{records:?}");
    let home = server.home();
    server.terminate().await;
    home.audited();
    delete(&[&queue]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_acknowledgement_is_lost_comes_again_and_counts_once() {
    let (names, home) = (Names::new(), Home::new());
    let (way, url) = Chaos::on_the_way(&rabbitmq::url(), Protocol::Amqp).await;
    let server = names.start_at(&home, &url).await;
    let order_id = sell(&server, "default", "k-1").await;
    way.harm(2, |frame| frame.is(Side::Client, "basic.ack").then_some(Harm::Cut));
    rabbitmq::send(&names.shipped, &json!({ "order_id": order_id, "status": "Shipped" }).to_string());
    until_counted(&server, &names.shipped, "done", 3).await;
    until(&server, "default", &order_id, |order| order["status"] == "Shipped").await;
    assert_eq!(way.harms(), 2);
    let history = server.json(&format!("/v1/orders/{order_id}/events")).await;
    let types: Vec<&Value> = history["events"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["order.accepted", "order.shipped"]);
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(take(&names.shipped), None, "it was acknowledged in the end");
    home.audited();
    names.forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_orders_are_acknowledged_without_results() {
    let topics = Topics::new();
    let (way, url) = Chaos::on_the_way(&redis(), Protocol::Redis).await;
    let builder = topics.server(Server::builder()).env("REDIS_URL", &url);
    let server = Topics::reading(builder.env("WELLORDER_REDIS_TIMEOUT_MS", "100")).await;
    let (known, order_id) = (fresh(), fresh());
    send(&topics.events, &[], &event(&known, "new", 1, 5));
    topics.until_acked(&known, "created", 1).await;
    way.hang(&[Side::Client, Side::Server]);
    // The first is acknowledged as it is read, the second when its work is done.
    send(&topics.events, &[], &event(&known, "new", 1, 5));
    send(&topics.events, &[], &event(&order_id, "new", 1, 5));
    topics.until_acked(&order_id, "created", 1).await;
    topics.until_acked(&known, "created", 2).await;
    assert_eq!(result_of(&order_id).trim(), "", "there is none of it");
    assert!(redis_failures(server.get("/metrics").await.text()) > 0);
    // Orders of our own wait for nobody.
    let create =
        json!({ "order_id": "0", "user_id": crate::orderstream_kafka::USER, "payload": { "id": 1 } });
    let created = server.post("/orders", &create.to_string()).await;
    assert_eq!((created.status, &created.json()["status"]), (201, &json!("created")), "{}", created.text());
    let order = server.accept(&json!({ "total": 1 })).await;
    server.until_order(&order, "done").await;
    assert_eq!(check(&server, "redis").await["ok"], false);
    assert_eq!(server.get("/readyz").await.status, 200);
    way.release();
    let back = async || (check(&server, "redis").await["ok"] == true).then_some(());
    eventually("that Redis is back", back).await;
    let later = fresh();
    send(&topics.events, &[], &event(&later, "new", 1, 5));
    topics.until_acked(&later, "created", 1).await;
    let again = async || {
        send(&topics.events, &[], &event(&later, "new", 1, 5));
        (!result_of(&later).trim().is_empty()).then_some(())
    };
    eventually("that results are kept again", again).await;
    let home = server.home();
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_each_node_counts_for_itself() {
    let (way, url) = Chaos::on_the_way(&redis(), Protocol::Redis).await;
    let server = serving(&Home::new())
        .env("WELLORDER_RATE_KEY_PER_SECOND", "1")
        .env("WELLORDER_RATE_TENANT_PER_SECOND", "0")
        .env("WELLORDER_RATE_BURST_SECONDS", "20")
        .env("REDIS_URL", &url)
        .env("WELLORDER_REDIS_TIMEOUT_MS", "50")
        .start()
        .await;
    let ops = server.ops();
    way.hang(&[Side::Client, Side::Server]);
    let failures = async || redis_failures(ops.get("/metrics").await.text());
    let bearer = Token::all("acme").bearer();
    let asked = async || ask(&server, "GET", "/v1/keys", Some(&bearer), None).await.status;
    assert_eq!(asked().await, 200, "it is let in");
    eventually("that Redis fails", async || (failures().await > 0).then_some(())).await;
    // Together: on a slow machine one after another would not come to more than one a second.
    let together = async || join_all((0..32).map(|_| asked())).await;
    eventually("the limit", async || together().await.contains(&429).then_some(())).await;
    way.release();
    eventually("that it is let in again", async || (asked().await == 200).then_some(())).await;
    eventually("that rates are shared again", async || {
        let ready = ops.get("/readyz?verbose").await.json();
        let redis =
            ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "redis")?.clone();
        (redis["ok"] == true).then_some(())
    })
    .await;
}
