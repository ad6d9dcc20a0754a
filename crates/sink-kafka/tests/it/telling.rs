//! A contract's own topic.

use crate::rig::{Topic, brokers};
use order_core::app::App;
use order_core::ids::{OrderId, SourceId};
use order_core::journal::Event;
use order_core::lane::LanePolicy;
use order_core::order::Order;
use order_core::order::event::EventType;
use order_core::parking::RefusedFor;
use order_core::ports::{Sink, SinkFault};
use order_core::process::{Worker, WorkerPolicy};
use order_core::telling::{Telling, Told, Untellable};
use order_core::trace::TraceContext;
use sink_kafka::{Options, TellingSink};
use std::sync::Arc;
use testkit::build::intake;
use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, SeededIds};

/// Tells of what is done, with the total of the order, which the event has not.
struct Totals {
    source: SourceId,
    topic: String,
}

impl Telling for Totals {
    fn source(&self) -> &SourceId {
        &self.source
    }

    fn places(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }

    fn concerns(&self, event: &Event) -> bool {
        event.kind == EventType::OrderProcessed
    }

    fn tell(&self, event: &Event, before: Option<&Order>, order: &Order) -> Result<Option<Told>, Untellable> {
        assert!(before.is_some_and(|before| before.version + 1 == order.version));
        let body = format!("{} {} {:?}", order.version, order.id == event.order_id, order.processing);
        let headers = vec![("kind", event.kind.as_str().to_owned())];
        Ok(Some(Told { to: self.topic.clone(), key: order.id.to_string(), body: body.into_bytes(), headers }))
    }
}

#[tokio::test]
async fn a_contract_tells_of_its_own_orders_as_they_were() {
    let topic = Topic::new().await;
    let storage = MemoryStorage::new();
    let app = App::start(storage.port(), ManualClock::new(), SeededIds::new(1), LanePolicy::default());
    for name in ["one", "two", "three"] {
        app.accept(intake(name).build()).await.unwrap();
    }
    Worker::new(Arc::clone(&app), ScriptedProcessor::new(), WorkerPolicy::default()).step().await.unwrap();
    let mut events = Vec::new();
    for head in app.storage.heads().await.unwrap() {
        events.extend(app.storage.journal(head.shard, 0, 100).await.unwrap());
    }
    assert_eq!(events.len(), 6);
    // One of them is another's, whatever it says.
    let source = events[0].source.clone();
    let last = events.last_mut().unwrap();
    last.source = SourceId::new("another").unwrap();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    events.iter_mut().for_each(|event| event.trace = TraceContext::parse(traceparent));
    // The history of another is gone.
    let [lost, kept] = [0, 1].map(|nth| {
        let processed = |event: &&Event| event.kind == EventType::OrderProcessed && event.source == source;
        events.iter().filter(processed).nth(nth).unwrap().clone()
    });
    let lost = Event { order_id: OrderId(uuid::Uuid::nil()), ..lost };
    let telling = Arc::new(Totals { source, topic: topic.0.clone() });
    let sink = TellingSink::new(Options::plaintext(&brokers()), telling, storage.port()).unwrap();
    sink.deliver(&events).await.unwrap();
    let Err(SinkFault::Refused(refused)) = sink.deliver(&[lost.clone(), kept, lost]).await else {
        panic!("it can never be told of")
    };
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 0, RefusedFor::Invalid));
    assert!(refused[0].why.contains("has no history"), "{refused:?}");
    let records = topic.records();
    assert_eq!(records.len(), 3, "those of two orders, and one of them once more: {records:?}");
    for record in records {
        assert_eq!(record.value, "2 true Done");
        assert_eq!(
            (record.headers["kind"].as_str(), record.headers["traceparent"].as_str()),
            ("order.processed", traceparent)
        );
    }
}
