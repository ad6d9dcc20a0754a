//! Events of other programs: carried out, and acknowledged.

use super::acks::record;
use super::parked::Parked;
use crate::redis::Results;
use async_trait::async_trait;
use contracts::orderstream::consumed::{self, Undone};
use contracts::orderstream::events::{
    Ack, AckStatus, INSTALLATION, OrderEvent, result, result_key, shown_id,
};
use contracts::orderstream::telling::AcksTold;
use futures_util::future;
use order_core::consumers::ConsumerStats;
use order_core::json::JsonLimits;
use order_core::{App, Order, TenantId};
use sha2::{Digest, Sha256};
use sink_kafka::{Handler, Incoming, Publisher, Received, Record};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Carries events out.
pub(super) struct Events {
    pub(super) app: Arc<App>,
    pub(super) tenant: TenantId,
    pub(super) installation: String,
    pub(super) told: AcksTold,
    pub(super) acks: Publisher,
    pub(super) results: Results,
    pub(super) parked: Parked,
    pub(super) stats: Arc<ConsumerStats>,
}

/// What becomes of events besides what was committed.
#[derive(Default)]
struct Due {
    /// To be acknowledged at once.
    acks: Vec<(AckStatus, Order)>,
    /// To be parked.
    parked: Vec<Record>,
}

#[async_trait]
impl Handler for Events {
    /// `None` is one of ours, which is worked on under a lease.
    type Message = Option<OrderEvent>;

    fn read(&self, record: &Received, value: &[u8]) -> Result<Option<OrderEvent>, String> {
        if record.header(INSTALLATION) == Some(self.installation.as_bytes()) {
            return Ok(None);
        }
        let event = OrderEvent::parse(Some(value), JsonLimits::default());
        let mut event = event.map_err(|malformed| malformed.to_string())?;
        event.make(id_of(record, value));
        Ok(Some(event))
    }

    async fn handle(&self, batch: &[Incoming<Option<OrderEvent>>]) -> Result<(), String> {
        let _in_hand = self.stats.take();
        let mut by_order = BTreeMap::<_, Vec<_>>::new();
        let mut due = Due::default();
        for one in batch {
            match one {
                Incoming::Message { record, message: Some(event) } => {
                    by_order.entry(event.order_id).or_default().push((record, event));
                }
                Incoming::Message { message: None, .. } => {}
                Incoming::Poison { record, why } => due.parked.push(self.parked.record(record, why)),
            }
        }
        // Those of an order in turn, orders at once, so that they share commits.
        let heard = future::join_all(by_order.into_values().map(|events| self.hear(events))).await;
        for heard in heard {
            let heard = heard.inspect_err(|_| self.stats.count_held())?;
            due.acks.extend(heard.acks);
            due.parked.extend(heard.parked);
        }
        self.acknowledge(&due.acks).await?;
        self.parked.keep(&due.parked).await?;
        due.parked.iter().for_each(|_| self.stats.count_dead());
        (due.parked.len()..batch.len()).for_each(|_| self.stats.count_done());
        Ok(())
    }
}

impl Events {
    async fn hear(&self, events: Vec<(&Received, &OrderEvent)>) -> Result<Due, String> {
        let mut due = Due::default();
        for (record, event) in events {
            match consumed::hear(&self.app, &self.tenant, event).await {
                Ok(ack) => due.acks.extend(ack),
                Err(Undone::Never(why)) => due.parked.push(self.parked.record(record, &why)),
                Err(Undone::Defect(why)) => {
                    tracing::error!(error = why, "cannot carry out a message");
                    due.parked.push(self.parked.record(record, "an internal fault; see the log"));
                }
                Err(Undone::Later(why)) => return Err(why),
            }
        }
        Ok(due)
    }

    async fn acknowledge(&self, acks: &[(AckStatus, Order)]) -> Result<(), String> {
        let mut records = Vec::new();
        for (status, order) in acks {
            // The same however often it is acknowledged.
            let at = order.processed_at.unwrap_or(order.updated_at);
            self.results.keep(&result_key(order), &result(order, at)).await?;
            let ack = Ack { order_id: shown_id(order), status: *status, processed_at: Some(at) };
            records.push(record(self.told.told(&ack)));
        }
        self.acks.publish(&records).await.map_err(|ails| ails.to_string())
    }
}

/// The id of the order that a record makes which names none: the same each time that it is read.
fn id_of(record: &Received, value: &[u8]) -> Uuid {
    let mut hasher = Sha256::new_with_prefix(b"wellorder/orderstream/1");
    hasher.update((record.topic.len() as u64).to_be_bytes());
    hasher.update(&record.topic);
    hasher.update(record.partition.to_be_bytes());
    hasher.update(record.offset.to_be_bytes());
    // A topic that was made anew counts its offsets from the beginning.
    hasher.update(record.written_ms.unwrap_or_default().to_be_bytes());
    hasher.update(value);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
