//! Kafka, which `cargo xtask services up kafka` starts, or the variable `WELLORDER_TEST_KAFKA_BROKERS` names.

use super::eventually;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Where Kafka is.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
pub(crate) fn brokers() -> String {
    std::env::var("WELLORDER_TEST_KAFKA_BROKERS").unwrap_or_else(|_| "127.0.0.1:19092".to_owned())
}

/// The headers of a record: names and values in turn.
pub(crate) fn headers(record: &Value) -> BTreeMap<&str, &str> {
    let all: Vec<&str> = record["headers"].as_array().unwrap().iter().map(|h| h.as_str().unwrap()).collect();
    all.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

/// A topic that nobody has used.
#[expect(clippy::disallowed_methods, reason = "no other test, and no other run, has the name")]
pub(crate) fn topic() -> String {
    format!("it-{}", uuid::Uuid::new_v4())
}

/// Everything in a topic, as `kcat` reads it: partition, key, headers, payload; nothing while there is no such topic.
pub(crate) fn records(topic: &str) -> Vec<Value> {
    let read = Command::new("kcat").args(["-C", "-q", "-e", "-J", "-b", &brokers(), "-t", topic]).output();
    let read = read.expect("kcat is missing: apt-get install kcat");
    if !read.status.success() {
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(!said.contains("transport failure"), "is Kafka up? cargo xtask services up kafka: {said}");
        return Vec::new();
    }
    let lines = String::from_utf8(read.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until a topic holds `count` records.
pub(crate) async fn until_records(topic: &str, count: usize) -> Vec<Value> {
    eventually("the records", async || Some(records(topic)).filter(|found| found.len() >= count)).await
}
