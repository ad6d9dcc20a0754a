//! What Kafka and RabbitMQ were sent, as other programs read it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Names;
use super::delivery::DEAD;
use crate::amqp::Connection;
use crate::crash::gather::{Event, SinkLine, digest_of};
use crate::shell::capture;

const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the queue that every event of the run is to reach.
pub(super) fn bind(server: SocketAddr, names: &Names) -> Result<()> {
    let mut connection = Connection::open(server, PATIENCE).context("RabbitMQ")?;
    connection.declare_exchange(&names.events)?;
    connection.declare_queue(&names.queue)?;
    connection.bind(&names.queue, &names.events, "#")?;
    Ok(())
}

/// Every event in RabbitMQ, in the order of the queue. Takes them out.
pub(super) fn rabbitmq(server: SocketAddr, names: &Names) -> Result<Vec<SinkLine>> {
    let mut connection = Connection::open(server, PATIENCE).context("RabbitMQ")?;
    let waiting = connection.declare_queue(&names.queue)?;
    let messages = connection.take(&names.queue, waiting)?;
    let line = |(index, message): (usize, crate::amqp::Message)| {
        let header = |name: &str| message.headers.get(&format!("cloudEvents_{name}")).map(String::as_str);
        let mut event = event(header, &message.body);
        if message.message_id.as_deref() != header("id") {
            event = Err(format!("the id of the message is {:?}", message.message_id));
        }
        SinkLine { place: format!("{}:{}", names.queue, index + 1), event, bytes: digest_of(&message.body) }
    };
    Ok(messages.into_iter().enumerate().map(line).collect())
}

/// What the consumer of shipments has parked. Takes them out.
pub(super) fn parked(server: SocketAddr) -> Result<Vec<String>> {
    let mut connection = Connection::open(server, PATIENCE).context("RabbitMQ")?;
    let waiting = connection.declare_queue(DEAD)?;
    let letters = connection.take(DEAD, waiting)?;
    Ok(letters.into_iter().map(|letter| String::from_utf8_lossy(&letter.body).into_owned()).collect())
}

/// Every record in Kafka, in the order of each partition.
pub(super) fn kafka(server: &str, names: &Names) -> Result<Vec<SinkLine>> {
    let mut partitions: HashMap<String, u64> = HashMap::new();
    let records = records(server, &names.events)?;
    Ok(records.iter().map(|record| line(record, &mut partitions)).collect())
}

/// All records of a topic as `kcat` has them, in the order of each partition.
pub(super) fn records(server: &str, topic: &str) -> Result<Vec<Value>> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-q", "-e", "-J", "-o", "beginning", "-b", server, "-t", topic]);
    let (code, text) = capture(&mut kcat).context("apt-get install kcat")?;
    if code != Some(0) {
        bail!("kcat ended with exit code {code:?} at the topic {topic}");
    }
    text.lines().map(|record| serde_json::from_str(record).context("kcat writes no JSON")).collect()
}

fn line(record: &Value, partitions: &mut HashMap<String, u64>) -> SinkLine {
    let texts = record["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let headers: BTreeMap<&str, &str> =
        texts.chunks_exact(2).filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?))).collect();
    let header = |name: &str| headers.get(format!("ce_{name}").as_str()).copied();
    let body = record["payload"].as_str().unwrap_or_default().as_bytes();
    let partition = record["partition"].as_u64().unwrap_or(u64::MAX);
    let key = record["key"].as_str().unwrap_or_default();
    let mut event = event(header, body);
    if header("subject") != Some(key) {
        event = Err(format!("its key is {key:?}"));
    }
    let first = *partitions.entry(key.to_owned()).or_insert(partition);
    if first != partition {
        event = Err(format!("the order {key} lies in the partitions {first} and {partition}"));
    }
    SinkLine { place: format!("partition {partition}:{}", record["offset"]), event, bytes: digest_of(body) }
}

/// The event that the headers of a message and its body tell of, as the feed shows it.
fn event<'a>(header: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> Result<Event, String> {
    let text = |name: &str| header(name).ok_or_else(|| format!("no header `{name}`"));
    let number = |name: &str| text(name)?.parse::<u64>().map_err(|_| format!("`{name}` is no number"));
    let data: Value = serde_json::from_slice(body).map_err(|fault| format!("the body: {fault}"))?;
    let kind = text("type")?.strip_prefix("wellorder.").ok_or("a type of others")?;
    let event = json!({
        "event_id": text("id")?, "order_id": text("subject")?, "version": number("sequence")?,
        "shard": number("shard")?, "position": number("position")?, "type": kind,
        "occurred_at": text("time")?, "epoch": number("epoch")?, "data_version": number("dataversion")?,
        "data": data,
    });
    Event::parse(&event).map_err(|fault| format!("{fault:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u64, partition: u64) -> Value {
        let sequence = version.to_string();
        let headers = [
            ["ce_id", "e"],
            ["ce_subject", "o"],
            ["ce_sequence", &sequence],
            ["ce_shard", "3"],
            ["ce_position", "7"],
            ["ce_type", "wellorder.order.accepted"],
            ["ce_time", "t"],
            ["ce_epoch", "1"],
            ["ce_dataversion", "1"],
        ];
        json!({"partition": partition, "offset": 5, "key": "o", "headers": headers.concat(),
            "payload": r#"{"source":"api","reference":"r","total":"1.10"}"#})
    }

    #[test]
    fn a_record_is_the_event_that_the_feed_shows() {
        let mut partitions = HashMap::new();
        let read = line(&record(1, 2), &mut partitions);
        let shown = json!({"data": {"reference": "r", "source": "api", "total": "1.10"}, "data_version": 1,
            "epoch": 1, "event_id": "e", "occurred_at": "t", "order_id": "o", "position": 7, "shard": 3,
            "type": "order.accepted", "version": 1});
        assert_eq!(read.event.unwrap(), Event::parse(&shown).unwrap());
        assert_eq!(read.place, "partition 2:5");
    }

    #[test]
    fn an_order_in_two_partitions_and_a_record_without_its_key_are_told() {
        let mut partitions = HashMap::new();
        assert!(line(&record(1, 2), &mut partitions).event.is_ok());
        assert!(line(&record(2, 1), &mut partitions).event.unwrap_err().contains("partitions 2 and 1"));
        let mut other = record(2, 2);
        other["key"] = json!("p");
        assert!(line(&other, &mut partitions).event.unwrap_err().contains("key"));
    }
}
