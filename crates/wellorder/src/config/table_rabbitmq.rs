//! Settings of RabbitMQ.

use super::{
    settings::Settings,
    shape::Shape::{Count, MaybePath, Millis, Secret, Switch, Text},
    table::{Default::Is, HOUR_MS, Setting},
};
use std::time::Duration;

/// Retries that a message may have at most.
const RETRIES_MAX: usize = 10;

/// Milliseconds apart by commas; empty is none.
fn set_retries(settings: &mut Settings, text: &str) {
    let waits = text.split(',').map(str::trim).filter(|wait| !wait.is_empty());
    let fits = |wait: &str| wait.parse().ok().filter(|millis| (1..=24 * HOUR_MS).contains(millis));
    let waits: Option<Vec<Duration>> = waits.map(|wait| fits(wait).map(Duration::from_millis)).collect();
    settings.rabbitmq.retries = waits.filter(|waits| waits.len() <= RETRIES_MAX);
}

pub(super) const RABBITMQ: &[Setting] = &[
    Setting::new(
        "rabbitmq.url",
        Is(""),
        Secret { set: |s, v| s.rabbitmq.url = v },
        "server of RabbitMQ, amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS; empty is off",
    )
    .or(&["RABBITMQ_URL"])
    .secret(),
    Setting::new(
        "rabbitmq.exchange",
        Is("wellorder.events"),
        Text { set: |s, v| v.clone_into(&mut s.rabbitmq.exchange) },
        "topic exchange that every event goes to, by its type; empty is none",
    ),
    Setting::new(
        "rabbitmq.ca_file",
        Is(""),
        MaybePath { set: |s, v| s.rabbitmq.ca_file = v },
        "authorities that vouch for the server besides the public ones (PEM)",
    ),
    Setting::new(
        "rabbitmq.insecure",
        Is("false"),
        Switch { set: |s, v| s.rabbitmq.insecure = v },
        "whether messages may go over a network without TLS",
    ),
    Setting::new(
        "rabbitmq.connect_timeout_ms",
        Is("5000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.rabbitmq.connect_timeout = v },
        "longest time to connect and log in",
    ),
    Setting::new(
        "rabbitmq.confirm_timeout_ms",
        Is("30000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.rabbitmq.confirm_timeout = v },
        "longest time for the server to confirm a message; then it comes again",
    ),
    Setting::new(
        "rabbitmq.prefetch",
        Is("50"),
        Count { min: 1, max: 10_000, set: |s, v| s.rabbitmq.prefetch = u16::try_from(v).unwrap_or(u16::MAX) },
        "most messages that a consumer has in hand",
    ),
    Setting::new(
        "rabbitmq.retry_ms",
        Is("5000,25000,125000"),
        Text { set: set_retries },
        "how long a message waits before each retry, apart by commas; then it is parked in QUEUE.dlq",
    ),
];
