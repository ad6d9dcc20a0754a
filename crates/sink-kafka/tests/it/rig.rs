//! A topic of its own for each test, and what was written to it.

use order_core::clock::Timestamp;
use order_core::ids::{EventId, OrderId, Shard, SourceId, TenantId};
use order_core::journal::Event;
use order_core::order::event::EventType;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the broker is.
pub(crate) fn brokers() -> String {
    std::env::var("WELLORDER_TEST_KAFKA_BROKERS").unwrap_or_else(|_| "127.0.0.1:19092".to_owned())
}

/// What a consumer sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn version(&self) -> u64 {
        self.headers["ce_sequence"].parse().unwrap()
    }
}

pub(crate) struct Topic(pub(crate) String);

impl Topic {
    pub(crate) async fn new() -> Self {
        Self::made(None).await
    }

    /// One that takes records of at most so many bytes.
    pub(crate) async fn taking(bytes_max: usize) -> Self {
        Self::made(Some(&bytes_max.to_string())).await
    }

    async fn made(bytes_max: Option<&str>) -> Self {
        let name = format!("test-{}", Uuid::new_v4());
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        let mut topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
        if let Some(bytes_max) = bytes_max {
            topic = topic.set("max.message.bytes", bytes_max);
        }
        let made = admin.create_topics(&[topic], &AdminOptions::new().request_timeout(Some(PATIENCE))).await;
        made.unwrap_or_else(|error| {
            panic!("no Kafka at {}: {error}; start one: cargo xtask services up kafka", brokers())
        })
        .into_iter()
        .for_each(|made| drop(made.unwrap()));
        Self(name)
    }

    /// All records that are there, each partition's in order.
    pub(crate) fn records(&self) -> Vec<Seen> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers())
            .set("group.id", "wellorder-tests")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut ends = TopicPartitionList::new();
        let mut left = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = consumer.fetch_watermarks(&self.0, partition, PATIENCE).unwrap();
            left += high - low;
            ends.add_partition_offset(&self.0, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&ends).unwrap();
        let mut seen = Vec::new();
        while left > 0 {
            let record = consumer.poll(PATIENCE).expect("a record that the watermarks promise").unwrap();
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            let headers = record.headers().unwrap().iter();
            let headers = headers.map(|header| (header.key.to_owned(), text(header.value))).collect();
            let (key, value) = (text(record.key()), text(record.payload()));
            seen.push(Seen { partition: record.partition(), key, value, headers });
            left -= 1;
        }
        seen
    }
}

/// Writes keys and values, `None` a tombstone, as a foreign program does.
pub(crate) async fn put(topic: &Topic, records: Vec<(String, Option<Vec<u8>>)>) {
    let (brokers, topic) = (brokers(), topic.0.clone());
    let written = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        for (key, value) in &records {
            let mut record = BaseRecord::<String, Vec<u8>>::to(&topic).key(key);
            if let Some(value) = value {
                record = record.payload(value);
            }
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    });
    written.await.unwrap();
}

/// An event of an order.
pub(crate) fn event(order_id: OrderId, version: u64, data: &str) -> Event {
    Event {
        event_id: EventId(Uuid::new_v4()),
        tenant: TenantId::default_tenant(),
        source: SourceId::new("api").unwrap(),
        order_id,
        version,
        shard: Shard(3),
        position: 7 + version,
        prev_position: 0,
        epoch: 1,
        kind: EventType::OrderProcessed,
        data_version: 1,
        data: data.to_owned(),
        occurred_at: Timestamp::from_micros(1_790_000_000_123_456),
        trace: None,
    }
}
