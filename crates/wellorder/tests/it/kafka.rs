//! Events in Kafka, as a foreign program reads them: `cargo xtask services up kafka` starts one, or the variable
//! `WELLORDER_TEST_KAFKA_BROKERS` names one.

use crate::harness::kafka::{brokers, headers, topic, until_records};
use crate::harness::{Home, Server, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;

async fn with_kafka(topic: &str) -> Server {
    let server = Server::builder().env("KAFKA_BROKERS", &brokers()).env("WELLORDER_KAFKA_TOPIC", topic);
    server.env("WELLORDER_KAFKA_PARTITIONS", "5").start().await
}

/// What `/readyz?verbose` says of Kafka.
fn check_of_kafka(ready: &Value) -> Value {
    let checks = ready["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "kafka").unwrap().clone()
}

#[tokio::test]
async fn a_foreign_program_reads_every_event_in_its_order() {
    let topic = topic();
    let server = with_kafka(&topic).await;
    for number in 0..8 {
        let order = server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
        server.until_order(&order, "done").await;
    }
    let records = until_records(&topic, 16).await;
    let (events, _) = server.feed(100).await;
    let mut seen = BTreeMap::<&str, u64>::new();
    for record in &records {
        let headers = headers(record);
        let event = events.iter().find(|event| event["event_id"] == headers["ce_id"]).unwrap();
        let version = seen.entry(record["key"].as_str().unwrap()).or_default();
        *version += 1;
        assert_eq!(headers["ce_sequence"], version.to_string());
        assert_eq!(headers["ce_type"], format!("wellorder.{}", event["type"].as_str().unwrap()));
        let data: Value = serde_json::from_str(record["payload"].as_str().unwrap()).unwrap();
        assert_eq!((&data, &record["key"]), (&event["data"], &event["order_id"]));
    }
    assert_eq!((records.len(), seen.len()), (16, 8), "each once");
    let metadata = Command::new("kcat").args(["-L", "-J", "-b", &brokers(), "-t", &topic]).output().unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    assert_eq!(metadata["topics"][0]["partitions"].as_array().unwrap().len(), 5);

    // What was found at the start, before the topic was made, is told for a second.
    let detail = eventually("the topic in the check", async || {
        let kafka = check_of_kafka(&server.json("/readyz?verbose").await);
        assert_eq!(kafka["ok"], true, "{kafka}");
        let detail = kafka["detail"].as_str().unwrap().to_owned();
        detail.contains("5 partitions").then_some(detail)
    })
    .await;
    assert!(detail.contains(&brokers()), "{detail}");
    assert!(detail.contains(" ms)"), "{detail}");
    // What was carried once comes again on demand, and is the same.
    let replay = server.post("/v1/followers/kafka/replay", r#"{"from":"beginning"}"#).await;
    assert_eq!((replay.status, &replay.json()["sink"]), (200, &json!("kafka")), "{}", replay.text());
    assert_eq!(until_records(&topic, 32).await.len(), 32);
}

#[tokio::test]
async fn a_broker_that_is_away_keeps_no_orders_out_and_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::builder().env("KAFKA_BROKERS", &address).start().await;
    let order = server.accept(&json!({ "total": 1 })).await;
    server.until_order(&order, "done").await;
    let failing = |follower: &Value| follower["state"] == "failing";
    let follower = server.until("/v1/followers/kafka", failing).await;
    let error = follower["last_error"].as_str().unwrap();
    assert!(error.contains(&address) && error.contains("kafka.brokers"), "{error}");
    assert_eq!(server.carried().await.len(), 2, "others carry on");
    let ready = server.get("/readyz?verbose").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    let kafka = check_of_kafka(&ready.json());
    let detail = kafka["detail"].as_str().unwrap();
    assert!(
        kafka["ok"] == false && detail.contains(&address) && detail.contains("kafka.brokers"),
        "{detail}"
    );
}

#[cfg(feature = "amqp")]
#[tokio::test]
async fn a_start_names_who_carries_events_on_and_where() {
    let nowhere = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (kafka, rabbitmq) = (nowhere(), nowhere());
    let server = Server::builder().for_people().env("KAFKA_BROKERS", &kafka.to_string());
    let server = server.env("RABBITMQ_URL", &format!("amqp://guest:canary@{rabbitmq}")).start().await;
    let told = server.json("/v1/followers").await;
    server.stdout().until("Try next:").await;
    let lines = server.stdout().all();
    let carried: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("  follower ")).collect();
    let at_kafka = format!("  kafka, sales-kafka, orderstream-events, orderstream-acks -> Kafka at {kafka}");
    let at_rabbitmq = format!("  rabbitmq, sales-rabbitmq -> RabbitMQ at amqp://{rabbitmq}, vhost /");
    assert_eq!(carried[1..], [at_kafka, at_rabbitmq], "{lines:?}");
    for follower in told["followers"].as_array().unwrap() {
        assert!(carried.iter().any(|line| line.contains(follower["name"].as_str().unwrap())), "{follower}");
    }
}

#[tokio::test]
async fn the_doctor_names_a_broker_and_the_setting_to_mend() {
    let home = Home::new();
    let well = home.run_with(&[("KAFKA_BROKERS", &brokers())], &["doctor"]);
    assert!(well.stdout.contains(&brokers()) && well.stdout.contains("answers in"), "{well:?}");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let away = home.run_with(&[("KAFKA_BROKERS", &address)], &["doctor"]);
    assert_eq!(away.code(), 6, "{away:?}");
    assert!(away.stdout.contains(&address) && away.stdout.contains("kafka.brokers"), "{away:?}");
}

#[tokio::test]
async fn a_topic_that_must_not_be_made_is_named_with_the_command() {
    let topic = topic();
    let server = Server::builder().env("KAFKA_BROKERS", &brokers()).env("WELLORDER_KAFKA_TOPIC", &topic);
    let server = server.env("WELLORDER_KAFKA_CREATE_TOPICS", "false").start().await;
    let failing = |follower: &Value| follower["state"] == "failing";
    let follower = server.until("/v1/followers/kafka", failing).await;
    let error = follower["last_error"].as_str().unwrap();
    let command = format!("kafka-topics.sh --bootstrap-server {} --create --topic {topic}", brokers());
    assert!(error.contains("kafka.create_topics") && error.contains(&command), "{error}");
}
