//! Kafka, which `cargo xtask services up kafka` starts, or the variable `WELLORDER_TEST_KAFKA_BROKERS` names.

use serde_json::Value;
use std::collections::BTreeMap;

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
