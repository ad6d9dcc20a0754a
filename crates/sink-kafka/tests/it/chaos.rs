//! Answers that are lost, and brokers that hang.

use crate::rig::{PATIENCE, Seen, Topic, brokers, event};
use order_core::ids::OrderId;
use order_core::journal::Event;
use order_core::ports::Sink;
use sink_kafka::{CloudEvents, KafkaSink, Options};
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::chaos::{Chaos, Harm, Protocol, Side};
use uuid::Uuid;

/// A way to the broker, and a sink that goes by it and soon gives records up.
async fn on_the_way(topic: &Topic, give_up: Duration) -> (Chaos, KafkaSink) {
    let broker = tokio::net::lookup_host(brokers()).await.unwrap().next().unwrap();
    let way = Chaos::before(broker, Protocol::Kafka).await;
    let mut options = Options::plaintext(&way.address().to_string());
    options.delivery_timeout = give_up;
    let encode = CloudEvents::new(&topic.0, Uuid::nil());
    let sink = KafkaSink::new(options, Box::new(encode)).unwrap();
    sink.open().await.unwrap();
    (way, sink)
}

/// Events of some orders, `versions` of each.
fn events(versions: std::ops::RangeInclusive<u64>, orders: &[OrderId]) -> Vec<Event> {
    versions.flat_map(|version| orders.iter().map(move |order| event(*order, version, "{}"))).collect()
}

fn orders() -> Vec<OrderId> {
    (0..12).map(|_| OrderId(Uuid::new_v4())).collect()
}

/// The versions of each order as they lie there; the same event is the same record.
fn versions(records: &[Seen]) -> BTreeMap<&str, Vec<u64>> {
    let (mut versions, mut content) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
    for record in records {
        versions.entry(record.key.as_str()).or_default().push(record.version());
        let first = *content.entry(&record.headers["ce_id"]).or_insert(record);
        assert_eq!(first, record, "what comes again is unchanged");
    }
    versions
}

/// Whoever leaves out what it has seen reads 1, 2, 3 … up to `last`.
fn assert_no_gap(versions: &BTreeMap<&str, Vec<u64>>, last: u64) {
    for (order, versions) in versions {
        let mut newest = 0;
        for version in versions {
            assert!(*version <= newest + 1, "{order} has a gap: {versions:?}");
            newest = newest.max(*version);
        }
        assert_eq!(newest, last, "{order}: {versions:?}");
    }
}

async fn delivered(sink: &KafkaSink, events: &[Event]) {
    let delivering = async { while sink.deliver(events).await.is_err() {} };
    tokio::time::timeout(3 * PATIENCE, delivering).await.expect("it is delivered in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_whose_answer_is_cut_off_are_there_once() {
    let (topic, orders) = (Topic::new().await, orders());
    let (way, sink) = on_the_way(&topic, Duration::from_secs(60)).await;
    let mut given_up = false;
    for (round, side) in (0_u64..).zip([Side::Server, Side::Client, Side::Server, Side::Client]) {
        // The answer is lost, or the connection is cut right behind the question.
        let harm = if side == Side::Server { Harm::Cut } else { Harm::CutBehind };
        way.harm(1, move |frame| frame.is(side, "Produce").then_some(harm));
        let sent = events(round * 3 + 1..=round * 3 + 3, &orders);
        // On a machine that is busy the way back may take so long that it counts as an outage: then all of it comes again.
        given_up |= sink.deliver(&sent).await.is_err();
        if given_up {
            delivered(&sink, &sent).await;
        }
    }
    assert_eq!(way.harms(), 4);
    let records = topic.records();
    let versions = versions(&records);
    assert!(given_up || records.len() == 12 * orders.len(), "each once: {}", records.len());
    assert_eq!(versions.len(), orders.len());
    assert_no_gap(&versions, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_whose_answer_never_comes_are_sent_again_and_nothing_overtakes_them() {
    let (topic, orders) = (Topic::new().await, orders());
    let (way, sink) = on_the_way(&topic, Duration::from_secs(4)).await;
    delivered(&sink, &events(1..=1, &orders)).await;
    let in_flight = events(2..=4, &orders);
    way.harm(1, |frame| frame.is(Side::Server, "Produce").then_some(Harm::Swallow));
    let fault = sink.deliver(&in_flight).await.unwrap_err().to_string();
    assert!(fault.contains(&way.address().to_string()) && fault.contains(&topic.0), "{fault}");
    delivered(&sink, &in_flight).await;
    delivered(&sink, &events(5..=5, &orders)).await;
    let records = topic.records();
    let versions = versions(&records);
    assert_no_gap(&versions, 5);
    for versions in versions.values() {
        assert!(versions.len() <= 5 + 3, "what was in flight, once more and no more: {versions:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_is_named_and_gets_everything_when_it_goes_on() {
    let (topic, orders) = (Topic::new().await, orders());
    for sides in [&[Side::Client][..], &[Side::Server], &[Side::Client, Side::Server]] {
        let (way, sink) = on_the_way(&topic, Duration::from_secs(1)).await;
        way.hang(sides);
        let versions_of = events(1..=2, &orders);
        for _ in 0..2 {
            let fault = sink.deliver(&versions_of).await.unwrap_err().to_string();
            assert!(fault.contains(&way.address().to_string()), "{sides:?}: {fault}");
        }
        way.release();
        delivered(&sink, &versions_of).await;
    }
    let records = topic.records();
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    for record in &records {
        seen.entry(record.key.as_str()).or_default().push(record.version());
    }
    assert_eq!(seen.len(), orders.len());
    assert_no_gap(&seen, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_lets_nobody_in_is_waited_for() {
    let topic = Topic::new().await;
    let (way, sink) = on_the_way(&topic, Duration::from_secs(60)).await;
    let sent = events(1..=1, &orders());
    way.close();
    way.cut();
    let fault = sink.deliver(&sent).await.unwrap_err().to_string();
    assert!(fault.contains("kafka.brokers"), "{fault}");
    way.open();
    delivered(&sink, &sent).await;
    let records = topic.records();
    assert_no_gap(&versions(&records), 1);
}
