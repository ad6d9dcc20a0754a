//! Events of other programs: carried out, and acknowledged.

use super::acks::{record, some_at_once, unfit_for};
use super::parked::{Parked, Unfit};
use crate::redis::Results;
use async_trait::async_trait;
use contracts::orderstream::consumed;
use contracts::orderstream::events::{Ack, INSTALLATION, OrderEvent, result, result_key, shown_id};
use contracts::orderstream::telling::AcksTold;
use order_core::consumers::ConsumerStats;
use order_core::json::JsonLimits;
use order_core::{App, Order, TenantId, fault_point};
use sha2::{Digest, Sha256};
use sink_kafka::{Handler, Incoming, NotWritten, Publisher, Received, Refused, TRACEPARENT};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Carries events out.
pub(super) struct Events {
    pub(super) app: Arc<App>,
    /// Whose the orders are that come in.
    pub(super) tenant: TenantId,
    pub(super) installation: String,
    pub(super) told: AcksTold,
    pub(super) acks: Publisher,
    pub(super) results: Results,
    pub(super) parked: Parked,
    pub(super) stats: Arc<ConsumerStats>,
}

/// An event that is to be acknowledged at once, with the order as it is.
struct Heard<'b> {
    record: &'b Received,
    ack: Ack,
    order: Order,
}

/// What becomes of events besides what was committed.
#[derive(Default)]
struct Due<'b> {
    acks: Vec<Heard<'b>>,
    unfit: Vec<Unfit<'b>>,
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
        let mut by_order = BTreeMap::<_, Vec<_>>::new();
        let mut due = Due::default();
        for one in batch {
            match one {
                Incoming::Message { record, message: Some(event) } => {
                    by_order.entry(event.order_id).or_default().push((record, event));
                }
                Incoming::Message { message: None, .. } => {}
                Incoming::Poison { record, why } => due.unfit.push(Unfit::new(record, why)),
            }
        }
        // Those of an order in turn, some orders at once, so that they share commits.
        for heard in some_at_once(by_order.into_values().map(|events| self.hear(events))).await? {
            due.acks.extend(heard.acks);
            due.unfit.extend(heard.unfit);
        }
        // First what may have to come again: nothing is acknowledged once a try.
        self.parked.keep(&due.unfit).await?;
        let unanswered = self.acknowledge(&due.acks).await?;
        self.parked.keep(&unanswered).await?;
        let dead = due.unfit.len() + unanswered.len();
        (0..dead).for_each(|_| self.stats.count_dead());
        (dead..batch.len()).for_each(|_| self.stats.count_done());
        Ok(())
    }
}

impl Events {
    async fn hear<'b>(&self, events: Vec<(&'b Received, &OrderEvent)>) -> Result<Due<'b>, String> {
        let mut due = Due::default();
        for (record, event) in events {
            let heard = consumed::hear(&self.app, &self.tenant, event);
            match self.app.deal_with(&record.topic, record.trace(), heard).await {
                Ok(None) => {}
                Ok(Some((status, order))) => {
                    // The same however often it is acknowledged.
                    let at = order.processed_at.unwrap_or(order.updated_at);
                    let ack = Ack { order_id: shown_id(&order), status, processed_at: Some(at) };
                    due.acks.push(Heard { record, ack, order });
                }
                Err(undone) => due.unfit.push(unfit_for(record, undone)?),
            }
        }
        Ok(due)
    }

    /// Returns the events whose acknowledgement will never be taken.
    async fn acknowledge<'b>(&self, heard: &[Heard<'b>]) -> Result<Vec<Unfit<'b>>, String> {
        let mut records = Vec::new();
        for Heard { ack, order, record: of } in heard {
            self.results.keep(&result_key(order), &result(order, ack)).await;
            let mut told = self.told.told(ack);
            told.headers.extend(of.trace().map(|trace| (TRACEPARENT, trace.to_string())));
            records.push(record(told));
        }
        if !heard.is_empty() {
            fault_point::pass("inbox.before_ack");
        }
        let refused = match self.acks.publish(&records).await {
            Ok(()) => return Ok(Vec::new()),
            Err(NotWritten::Refused(refused)) => refused,
            Err(ails @ NotWritten::Ails(_)) => return Err(ails.to_string()),
        };
        let unfit = heard.iter().enumerate().filter_map(|(at, one)| {
            // With it, what is behind it under its key.
            let is_why =
                |no: &&Refused| no.index == at || no.index < at && records[no.index].key == records[at].key;
            let no = refused.iter().find(is_why)?;
            Some(Unfit::new(one.record, format!("its acknowledgement is refused: {}", no.why)))
        });
        Ok(unfit.collect())
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
