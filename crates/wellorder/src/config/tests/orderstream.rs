//! The settings of the contract `orderstream`.

use super::*;

const PROCESSOR: (&str, &str) = ("WELLORDER_CONTRACTS_ORDERSTREAM_PROCESSOR", "kafka");
const BROKERS: (&str, &str) = ("KAFKA_BROKERS", "localhost:9092");

#[test]
fn topics_and_group_have_the_names_that_existing_programs_know() {
    let ours = load_ok(&Inputs::default()).settings.orderstream;
    assert_eq!((ours.events_topic.as_str(), ours.ack_topic.as_str()), ("orders.events", "orders.ack"));
    assert_eq!(ours.worker_group, "order-workers");
    let names = [("ORDERS_EVENTS_TOPIC", "e"), ("ORDERS_ACK_TOPIC", "a"), ("WORKER_GROUP", "g")];
    let ours = load_ok(&env(names)).settings.orderstream;
    assert_eq!([ours.events_topic, ours.ack_topic, ours.worker_group], ["e", "a", "g"]);
}

#[test]
fn work_is_left_to_whoever_can_be_told() {
    assert!(!load_ok(&Inputs::default()).settings.left_to_kafka());
    assert!(load_ok(&env([PROCESSOR, BROKERS])).settings.left_to_kafka());
    let problems = problems(&env([PROCESSOR]));
    assert!(problems.contains("is kafka, and kafka.brokers is not set"), "{problems}");
}

#[test]
fn topics_are_two_that_kafka_takes() {
    let same = problems(&env([BROKERS, ("ORDERS_EVENTS_TOPIC", "t"), ("ORDERS_ACK_TOPIC", "t")]));
    assert!(
        same.contains("ORDERS_ACK_TOPIC")
            && same.contains("is the topic of contracts.orderstream.events_topic too"),
        "{same}"
    );
    let parked = problems(&env([BROKERS, ("ORDERS_EVENTS_TOPIC", "t"), ("ORDERS_ACK_TOPIC", "t.parked")]));
    assert!(
        parked.contains("ORDERS_ACK_TOPIC")
            && parked.contains("is where messages of contracts.orderstream.events_topic are parked"),
        "{parked}"
    );
    let bad = problems(&env([BROKERS, ("ORDERS_EVENTS_TOPIC", "a b"), ("WORKER_GROUP", "")]));
    assert!(bad.contains("is no name of a topic"), "{bad}");
}
