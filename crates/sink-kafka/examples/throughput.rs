//! How many events a second the sink carries, in steps as a follower makes them; run it with `--release`.
//! Arguments: brokers, topic, events, events of a step.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement, not the product"
)]

use order_core::clock::Timestamp;
use order_core::ids::{EventId, OrderId, Shard, SourceId, TenantId};
use order_core::journal::Event;
use order_core::order::event::EventType;
use order_core::ports::Sink;
use sink_kafka::{CloudEvents, KafkaSink, Options};
use std::time::Instant;
use uuid::Uuid;

fn event(number: u64) -> Event {
    let order_id =
        OrderId(Uuid::from_u128(u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)));
    Event {
        event_id: EventId(Uuid::from_u128(u128::from(number))),
        tenant: TenantId::default_tenant(),
        source: SourceId::new("api").unwrap(),
        order_id,
        version: 1,
        shard: Shard(0),
        position: number,
        prev_position: 0,
        epoch: 1,
        kind: EventType::OrderAccepted,
        data_version: 1,
        data: format!(
            r#"{{"order_id":"{order_id}","number":{number},"source":"api","reference":"r-{number}","customer":"c-42","currency":"EUR","lines":[],"total":"19.90","attributes":{{}}}}"#
        ),
        occurred_at: Timestamp::from_micros(1_790_000_000_123_456),
        trace: None,
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, events, step] = arguments.try_into().unwrap();
    let (events, step): (u64, u64) = (events.parse().unwrap(), step.parse().unwrap());
    let sink = KafkaSink::new(Options::plaintext(&brokers), Box::new(CloudEvents::new(&topic, Uuid::nil())))
        .unwrap();
    sink.open().await.unwrap();
    let mut latencies = Vec::new();
    let began = Instant::now();
    for first in (0..events).step_by(usize::try_from(step).unwrap()) {
        let batch: Vec<Event> = (first..(first + step).min(events)).map(event).collect();
        let step_began = Instant::now();
        sink.deliver(&batch).await.unwrap();
        latencies.push(step_began.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort();
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1_000.0;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = events as f64 / seconds;
    println!("{rate:.0} events/s, a step takes {:.2} ms (p50), {:.2} ms (p99)", at(50), at(99));
}
