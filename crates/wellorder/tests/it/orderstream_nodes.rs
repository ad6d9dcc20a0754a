//! The contract `orderstream` over Kafka, on several nodes of one installation.

use crate::harness::kafka::until_records;
use crate::harness::{Builder, Home, eventually};
use crate::nodes::node;
use crate::orderstream_kafka::{Topics, USER, event, fresh, send};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn whoever_waits_is_answered_whichever_node_reads_the_acknowledgement() {
    let (topics, home) = (Topics::new(), Home::new());
    let left = |builder: Builder| {
        let builder = builder.env("WELLORDER_CONTRACTS_ORDERSTREAM_PROCESSOR", "kafka");
        topics.server(builder.env("ACK_WAIT_TIMEOUT", "50s"))
    };
    // They share three partitions: each has some, and answers for orders whose acknowledgements the others read.
    let nodes = [left(node(&home, "api")).start().await, left(node(&home, "api")).start().await];
    let relay = left(node(&home, "relay,worker")).start().await;
    let mut asked = Vec::new();
    for number in 0..12 {
        let client = nodes[number % 2].client();
        asked.push(tokio::spawn(async move {
            let create = json!({"order_id": "0", "user_id": USER, "payload": {"id": number}}).to_string();
            client.send("POST", "/orders", &[("content-type", "application/json")], create.as_bytes()).await
        }));
    }
    for told in until_records(&topics.events, 12).await {
        let id = told["key"].as_str().unwrap();
        send(&topics.acks, &["-k", id], &json!({"order_id": id, "status": "created"}).to_string());
    }
    for asked in asked {
        let answered = asked.await.unwrap();
        assert_eq!(
            (answered.status, &answered.json()["status"]),
            (201, &json!("created")),
            "{}",
            answered.text()
        );
    }
    relay.terminate().await;
}

#[tokio::test]
async fn workers_come_and_go_and_each_event_counts_once() {
    let (topics, home) = (Topics::new(), Home::new());
    let api = topics.server(node(&home, "api,relay")).start().await;
    let first = topics.start(node(&home, "worker")).await;
    let ids: Vec<String> = (0..45).map(|_| fresh()).collect();
    let tell = |ids: &[String]| {
        for order_id in ids {
            send(&topics.events, &["-k", order_id], &event(order_id, "new", 1, 5));
        }
    };
    tell(&ids[..15]);
    let second = topics.start(node(&home, "worker")).await;
    tell(&ids[15..30]);
    topics.until_acked(&ids[0], "created", 1).await;
    first.kill().await;
    tell(&ids[30..]);
    for order_id in &ids {
        topics.until_acked(order_id, "created", 1).await;
    }
    let accepted = eventually("all of them done", async || {
        let (events, _) = api.feed(500).await;
        let mut histories = BTreeMap::<String, Vec<Value>>::new();
        for event in events {
            let history = histories.entry(event["order_id"].as_str().unwrap().to_owned()).or_default();
            history.push(event["type"].clone());
        }
        Some(histories).filter(|histories| histories.len() == ids.len())
    })
    .await;
    for history in accepted.into_values() {
        assert_eq!(history, [json!("order.accepted"), json!("order.processed")]);
    }
    second.terminate().await;
}
