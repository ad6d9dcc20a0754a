//! What `orderstream` tells others on Kafka: its orders' changes, and what became of orders of others.

use super::events::{self, Ack, EVENT_AT, INSTALLATION};
use super::{EVENTS, NAME, map};
use order_core::journal::Event;
use order_core::order::event::EventType;
use order_core::telling::{Telling, Told, Untellable};
use order_core::{Order, SourceId, Timestamp, fault_point};
use serde_json::Value;

/// Who changes orders because a message of Kafka says so: no token can say so of itself. What is so changed is told already,
/// where it came from.
pub const BY: &str = "consumer:orderstream";

/// Tells of every change of orders, in the topic of events.
pub struct EventsTold {
    source: SourceId,
    topic: String,
    installation: String,
}

impl EventsTold {
    /// In `topic`, as `installation`.
    pub fn new(topic: &str, installation: String) -> Self {
        Self { source: source(), topic: topic.to_owned(), installation }
    }
}

/// Its own orders, and those that other programs placed.
fn sources() -> Vec<SourceId> {
    [NAME, EVENTS].into_iter().filter_map(|name| SourceId::new(name).ok()).collect()
}

impl Telling for EventsTold {
    fn source(&self) -> &SourceId {
        &self.source
    }

    fn sources(&self) -> Vec<SourceId> {
        sources()
    }

    fn covers(&self, source: &SourceId) -> bool {
        [NAME, EVENTS].contains(&source.as_str())
    }

    fn places(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }

    fn concerns(&self, event: &Event) -> bool {
        use EventType as T;
        matches!(event.kind, T::OrderAccepted | T::OrderRevised | T::OrderWithdrawn)
            && by(event).as_deref() != Some(BY)
    }

    fn tell(&self, event: &Event, _: Option<&Order>, order: &Order) -> Result<Option<Told>, Untellable> {
        let deleted = event.kind == EventType::OrderWithdrawn;
        let body = events::event_message(order, &order.content, event.occurred_at, deleted);
        Ok(Some(Told {
            to: self.topic.clone(),
            key: map::shown_id(order).to_string(),
            body: body.to_string().into_bytes(),
            headers: vec![(INSTALLATION, self.installation.clone())],
        }))
    }
}

/// Acknowledges the orders that came in as events, or have content that did, or are deleted, in the topic of acknowledgements.
pub struct AcksTold {
    source: SourceId,
    topic: String,
}

impl AcksTold {
    /// In `topic`.
    pub fn new(topic: &str) -> Self {
        Self { source: map::events_source(), topic: topic.to_owned() }
    }

    /// The acknowledgement of `order`, as the end of its work at `at` left it; `None` where nobody waits for one. A deletion does
    /// not say who asked for it, so each is acknowledged.
    pub fn ack(&self, order: &Order, at: Timestamp) -> Option<Ack> {
        let foreign = order.source == self.source || order.content.attributes.contains_key(EVENT_AT);
        let (order_id, status) = (map::shown_id(order), events::ack_of(order));
        (foreign || order.withdrawn).then_some(Ack { order_id, status, processed_at: Some(at) })
    }

    /// The message of `ack`.
    pub fn told(&self, ack: &Ack) -> Told {
        let body = ack.message().to_string().into_bytes();
        Told { to: self.topic.clone(), key: ack.order_id.to_string(), body, headers: Vec::new() }
    }
}

impl Telling for AcksTold {
    fn source(&self) -> &SourceId {
        &self.source
    }

    fn sources(&self) -> Vec<SourceId> {
        sources()
    }

    fn covers(&self, source: &SourceId) -> bool {
        [NAME, EVENTS].contains(&source.as_str())
    }

    fn places(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }

    fn concerns(&self, event: &Event) -> bool {
        event.kind == EventType::OrderProcessed
    }

    fn tell(&self, event: &Event, _: Option<&Order>, order: &Order) -> Result<Option<Told>, Untellable> {
        if fault_point::planted("lost-ack") && event.position.is_multiple_of(10) {
            return Ok(None);
        }
        Ok(self.ack(order, event.occurred_at).map(|ack| self.told(&ack)))
    }
}

/// The source of the orders that are made here.
pub(super) fn source() -> SourceId {
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    SourceId::new(NAME).expect("a valid source")
}

fn by(event: &Event) -> Option<String> {
    let data: Value = serde_json::from_str(&event.data).ok()?;
    data["by"].as_str().map(str::to_owned)
}
