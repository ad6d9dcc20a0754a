//! Fan-out: a follower of the journal, which raises the streams of whoever listens. What it raises is committed before its
//! cursor moves; that the same events come again changes nothing.

use super::command::{FanOut as Command, WebhookCommand, WebhookReply};
use super::endpoint::Endpoint;
use super::stream::{Raise, Subject};
use crate::app::App;
use crate::ids::TenantId;
use crate::journal::Event;
use crate::marketplace::StoreEvent;
use crate::ports::{Sink, SinkFault};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whose endpoints may listen to these events.
pub fn tenants(events: &[Event]) -> BTreeSet<&TenantId> {
    events.iter().map(|event| &event.tenant).collect()
}

/// Up to where the streams of `endpoints` are to be raised for `events`: by endpoint and subject.
pub fn raises(endpoints: &[Endpoint], events: &[Event]) -> Vec<Raise> {
    let mut raises: BTreeMap<(i64, Subject), Raise> = BTreeMap::new();
    for event in events {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.wants(event)) {
            let (endpoint, subject) = (endpoint.number, Subject::order(event.order_id));
            let raise = raises.entry((endpoint, subject)).or_insert_with(|| Raise {
                endpoint,
                subject,
                tenant: event.tenant.clone(),
                next: event.version,
                place: Some(event.position),
                upto: event.version,
            });
            if event.version < raise.next {
                (raise.next, raise.place) = (event.version, Some(event.position));
            }
            raise.upto = raise.upto.max(event.version);
        }
    }
    raises.into_values().collect()
}

/// The same for an event of a store, in the commit that adds it.
pub fn raises_of_store(endpoints: &[Endpoint], event: &StoreEvent) -> Vec<Raise> {
    let wants = |one: &&Endpoint| one.wants_of_store(&event.tenant, &event.organization, event.kind.word());
    let raise = |endpoint: &Endpoint| Raise {
        endpoint: endpoint.number,
        subject: Subject::store(event.store_id.0),
        tenant: event.tenant.clone(),
        next: event.version,
        place: None,
        upto: event.version,
    };
    endpoints.iter().filter(wants).map(raise).collect()
}

/// The sink of the follower [`super::FOLLOWER`].
pub struct FanOut {
    app: Arc<App>,
}

impl FanOut {
    /// Raises streams in the storage of `app`.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait]
impl Sink for FanOut {
    fn kind(&self) -> &'static str {
        "webhooks"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let events = events.iter().map(without_data).collect();
        let command = WebhookCommand::FanOut(Command { events, now: self.app.clock.now() });
        match self.app.webhook(command).await {
            Ok(WebhookReply::Raised(0)) => Ok(()),
            Ok(_) => {
                self.app.wakes.deliveries.notify_one();
                Ok(())
            }
            Err(error) => Err(SinkFault::transient(error.to_string())),
        }
    }
}

/// What is told of an event here: all but what is in it.
fn without_data(event: &Event) -> Event {
    Event {
        event_id: event.event_id,
        tenant: event.tenant.clone(),
        source: event.source.clone(),
        order_id: event.order_id,
        version: event.version,
        shard: event.shard,
        position: event.position,
        prev_position: event.prev_position,
        epoch: event.epoch,
        kind: event.kind.clone(),
        data_version: event.data_version,
        data: String::new(),
        occurred_at: event.occurred_at,
        trace: event.trace,
    }
}
