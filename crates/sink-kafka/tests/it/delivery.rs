//! What arrives, where, and in which order.

use crate::rig::{PARTITIONS, Topic, brokers, event};
use order_core::ids::OrderId;
use order_core::journal::Event;
use order_core::parking::RefusedFor;
use order_core::ports::{Sink, SinkFault};
use order_core::trace::TraceContext;
use sink_kafka::{CloudEvents, KafkaSink, Options};
use std::collections::BTreeMap;
use uuid::Uuid;

fn sink(topic: &Topic) -> KafkaSink {
    let encode = CloudEvents::new(&topic.0, Uuid::nil());
    KafkaSink::new(Options::plaintext(&brokers()), Box::new(encode)).unwrap()
}

/// The versions of each order, in the order in which a consumer sees them.
fn versions(topic: &Topic) -> BTreeMap<String, Vec<u64>> {
    let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in topic.records() {
        versions.entry(record.key.clone()).or_default().push(record.version());
    }
    versions
}

#[tokio::test]
async fn an_event_arrives_as_a_cloud_event() {
    let topic = Topic::new().await;
    let mut event = event(OrderId(Uuid::from_u128(0xABCD)), 4, r#"{"attempt":1}"#);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    event.trace = TraceContext::parse(traceparent);
    sink(&topic).deliver(std::slice::from_ref(&event)).await.unwrap();

    let records = topic.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key, "00000000-0000-0000-0000-00000000abcd");
    assert_eq!(records[0].value, r#"{"attempt":1}"#);
    let expected = [
        ("ce_dataversion", "1"),
        ("ce_epoch", "1"),
        ("ce_id", &event.event_id.to_string()),
        ("ce_position", "11"),
        ("ce_sequence", "4"),
        ("ce_shard", "3"),
        ("ce_source", "urn:wellorder:installation:00000000-0000-0000-0000-000000000000"),
        ("ce_specversion", "1.0"),
        ("ce_subject", "00000000-0000-0000-0000-00000000abcd"),
        ("ce_time", "2026-09-21T14:13:20.123456Z"),
        ("ce_type", "wellorder.order.processed"),
        ("content-type", "application/json"),
        ("traceparent", traceparent),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(records[0].headers, BTreeMap::from(expected));
}

#[tokio::test]
async fn the_events_of_an_order_lie_in_one_partition_in_their_order() {
    let topic = Topic::new().await;
    let sink = sink(&topic);
    let orders: Vec<OrderId> = (0..24).map(|_| OrderId(Uuid::new_v4())).collect();
    for batch in 0..5 {
        let events: Vec<Event> = (1..=10)
            .flat_map(|version| orders.iter().map(move |order| event(*order, batch * 10 + version, "{}")))
            .collect();
        sink.deliver(&events).await.unwrap();
    }
    let all: Vec<u64> = (1..=50).collect();
    let versions = versions(&topic);
    assert_eq!(versions.len(), 24);
    assert!(versions.values().all(|seen| *seen == all), "{versions:?}");
    for record in topic.records() {
        assert_eq!(record.partition, as_java_does(record.key.as_bytes()), "of the key {}", record.key);
    }
}

#[tokio::test]
async fn nothing_overtakes_what_is_refused_and_all_else_goes_on() {
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(2 << 20));
    // Too large for the client, which sends none of it; and for the brokers alone, where the others are sent once more.
    for (topic, text) in [(Topic::new().await, large), (Topic::taking(2_000).await, "x".repeat(5_000))] {
        let sink = sink(&topic);
        let (order, other) = (OrderId(Uuid::new_v4()), OrderId(Uuid::new_v4()));
        let events = [
            event(order, 1, "{}"),
            event(order, 2, &text),
            event(other, 1, "{}"),
            event(order, 3, "{}"),
            event(other, 2, "{}"),
        ];
        let Err(SinkFault::Refused(refused)) = sink.deliver(&events).await else { panic!("it is refused") };
        assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 1, RefusedFor::TooLarge));
        let why = &refused[0].why;
        assert!(why.contains(&topic.0) && why.contains("max.message.bytes"), "{why}");
        let versions = versions(&topic);
        let in_order = |versions: &[u64]| {
            let mut seen = versions.to_vec();
            seen.dedup();
            seen.ends_with(&[1, 2]) && versions.iter().all(|version| *version <= 2)
        };
        assert!(versions[&order.to_string()].iter().all(|version| *version == 1), "{versions:?}");
        assert!(in_order(&versions[&other.to_string()]), "{versions:?}");
        sink.deliver(&[event(other, 3, "{}")]).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_of_no_concern_is_delivered_at_once() {
    struct Nothing;
    impl sink_kafka::Encode for Nothing {
        fn topics(&self) -> Vec<String> {
            vec!["nothing".to_owned()]
        }

        fn encode(&self, _: &Event) -> Option<sink_kafka::Record> {
            None
        }
    }
    let sink = KafkaSink::new(Options::plaintext("127.0.0.1:1"), Box::new(Nothing)).unwrap();
    sink.deliver(&[event(OrderId(Uuid::new_v4()), 1, "{}")]).await.unwrap();
}

/// The partition that Java's clients choose: murmur2 of the key, without its sign.
fn as_java_does(key: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(key.len()).unwrap();
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    i32::try_from(hash & 0x7fff_ffff).unwrap() % PARTITIONS
}
