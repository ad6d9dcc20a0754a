//! Settings of contracts.

use super::{
    processors::ProcessorKind,
    settings::Settings,
    shape::Shape::{MaybeAddress, MaybeWord, Span, Switch, Text},
    table::{Default::Is, HOUR_MS, Setting},
};
use std::net::SocketAddr;
use std::time::Duration;

fn make_public(settings: &mut Settings, name: &'static str, public: bool) {
    if public {
        settings.public.insert(name);
    } else {
        settings.public.remove(name);
    }
}

fn listen_at(settings: &mut Settings, name: &'static str, address: Option<SocketAddr>) {
    settings.contract_listen.retain(|(listening, _)| *listening != name);
    settings.contract_listen.extend(address.map(|address| (name, address)));
}

fn work_at(settings: &mut Settings, name: &'static str, kind: Option<&str>) {
    settings.contract_processors.remove(name);
    settings.contract_processors.extend(kind.and_then(ProcessorKind::of).map(|kind| (name, kind)));
}

const PUBLIC: &str = "whether the contract asks for no login in serve";
const PROCESSOR: &str = "who does the work of this contract's orders; empty is who does that of all";
const LISTEN: &str = "a further address that serves this contract, at the root";

pub(super) const CONTRACTS: &[Setting] = &[
    Setting::new(
        "contracts.oscarps.public",
        Is("false"),
        Switch { set: |s, v| make_public(s, "oscarps", v) },
        PUBLIC,
    ),
    Setting::new(
        "contracts.oscarps.listen",
        Is(""),
        MaybeAddress { set: |s, v| listen_at(s, "oscarps", v) },
        LISTEN,
    ),
    Setting::new(
        "contracts.oscarps.processor",
        Is(""),
        MaybeWord { words: ProcessorKind::WORDS, set: |s, v| work_at(s, "oscarps", v) },
        PROCESSOR,
    ),
    Setting::new(
        "contracts.parspec.public",
        Is("false"),
        Switch { set: |s, v| make_public(s, "parspec", v) },
        PUBLIC,
    ),
    Setting::new(
        "contracts.parspec.listen",
        Is(""),
        MaybeAddress { set: |s, v| listen_at(s, "parspec", v) },
        LISTEN,
    ),
    Setting::new(
        "contracts.parspec.processor",
        Is(""),
        MaybeWord { words: ProcessorKind::WORDS, set: |s, v| work_at(s, "parspec", v) },
        PROCESSOR,
    ),
    Setting::new(
        "contracts.sales.public",
        Is("false"),
        Switch { set: |s, v| make_public(s, "sales", v) },
        PUBLIC,
    ),
    Setting::new(
        "contracts.sales.listen",
        Is(""),
        MaybeAddress { set: |s, v| listen_at(s, "sales", v) },
        LISTEN,
    ),
    Setting::new(
        "contracts.sales.processor",
        Is(""),
        MaybeWord { words: ProcessorKind::WORDS, set: |s, v| work_at(s, "sales", v) },
        PROCESSOR,
    ),
    Setting::new(
        "contracts.marketplace.public",
        Is("false"),
        Switch { set: |s, v| make_public(s, "marketplace", v) },
        PUBLIC,
    ),
    Setting::new(
        "contracts.marketplace.listen",
        Is(""),
        MaybeAddress { set: |s, v| listen_at(s, "marketplace", v) },
        LISTEN,
    ),
    Setting::new(
        "contracts.marketplace.processor",
        Is(""),
        MaybeWord { words: ProcessorKind::WORDS, set: |s, v| work_at(s, "marketplace", v) },
        PROCESSOR,
    ),
    Setting::new(
        "contracts.orderstream.public",
        Is("false"),
        Switch { set: |s, v| make_public(s, "orderstream", v) },
        PUBLIC,
    ),
    Setting::new(
        "contracts.orderstream.listen",
        Is(""),
        MaybeAddress { set: |s, v| listen_at(s, "orderstream", v) },
        LISTEN,
    ),
    Setting::new(
        "contracts.orderstream.grpc",
        Is(""),
        MaybeAddress { set: |s, v| s.orderstream.grpc = v },
        "a further address that serves this contract over gRPC alone",
    ),
    Setting::new(
        "contracts.orderstream.ack_wait",
        Is("30s"),
        Span { max: Duration::from_millis(HOUR_MS), set: |s: &mut Settings, v| s.orderstream.ack_wait = v },
        "longest that a request waits for its acknowledgement; 0 does not wait",
    )
    .or(&["ACK_WAIT_TIMEOUT"]),
    Setting::new(
        "contracts.orderstream.processor",
        Is(""),
        MaybeWord { words: ProcessorKind::WORDS_WITH_KAFKA, set: |s, v| work_at(s, "orderstream", v) },
        PROCESSOR,
    ),
    Setting::new(
        "contracts.orderstream.events_topic",
        Is("orders.events"),
        Text { set: |s, v| v.clone_into(&mut s.orderstream.events_topic) },
        "topic of Kafka that tells of its orders, and of those of others",
    )
    .or(&["ORDERS_EVENTS_TOPIC"]),
    Setting::new(
        "contracts.orderstream.ack_topic",
        Is("orders.ack"),
        Text { set: |s, v| v.clone_into(&mut s.orderstream.ack_topic) },
        "topic of Kafka that tells of the end of their work",
    )
    .or(&["ORDERS_ACK_TOPIC"]),
    Setting::new(
        "contracts.orderstream.worker_group",
        Is("order-workers"),
        Text { set: |s, v| v.clone_into(&mut s.orderstream.worker_group) },
        "consumer group that shares the events of others",
    )
    .or(&["WORKER_GROUP"]),
];
