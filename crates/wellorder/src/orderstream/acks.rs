//! Acknowledgements: ours of the orders of others, and those of others of ours.

use super::parked::Parked;
use crate::redis::Results;
use async_trait::async_trait;
use contracts::orderstream::consumed::{self, Undone};
use contracts::orderstream::events::{Ack, result, result_key};
use contracts::orderstream::telling::AcksTold;
use futures_util::future;
use order_core::consumers::ConsumerStats;
use order_core::journal::Event;
use order_core::json::JsonLimits;
use order_core::ports::{Sink, SinkFault, Storage};
use order_core::telling::{AsOf, Telling, Told};
use order_core::{App, TenantId};
use sink_kafka::{Handler, Incoming, Made, Publisher, Received, Record};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Acknowledges the orders of others, once their results can be asked for.
pub(super) struct AckSink {
    pub(super) publisher: Publisher,
    pub(super) told: AcksTold,
    pub(super) results: Results,
    pub(super) storage: Arc<dyn Storage>,
}

impl AckSink {
    async fn records(&self, events: &[Event]) -> Result<Made, String> {
        let mut as_of = AsOf::new(self.storage.as_ref());
        let mut made = Made::default();
        let covered = |(_, event): &(usize, &Event)| self.told.covers(&event.source);
        for (index, event) in events.iter().enumerate().filter(covered) {
            if !self.told.concerns(event) {
                as_of.pass(event);
                continue;
            }
            let (before, order) = as_of.around(event).await.map_err(|fault| fault.to_string())?;
            let Some(told) = self.told.tell(event, before, order) else { continue };
            // Before: who hears of the end asks for the result.
            self.results.keep(&result_key(order), &result(order, event.occurred_at)).await?;
            made.extend(index, Some(record(told)));
        }
        Ok(made)
    }
}

#[async_trait]
impl Sink for AckSink {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    async fn open(&self) -> Result<(), SinkFault> {
        self.publisher.open().await.map_err(|ails| SinkFault::transient(ails.to_string()))
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let made = self.records(events).await.map_err(SinkFault::transient)?;
        made.publish(&self.publisher).await
    }
}

/// Ends the work of orders that another program has acknowledged.
pub(super) struct Acks {
    pub(super) app: Arc<App>,
    pub(super) tenant: TenantId,
    pub(super) parked: Parked,
    pub(super) stats: Arc<ConsumerStats>,
}

#[async_trait]
impl Handler for Acks {
    type Message = Ack;

    fn read(&self, _: &Received, value: &[u8]) -> Result<Ack, String> {
        Ack::parse(Some(value), JsonLimits::default()).map_err(|malformed| malformed.to_string())
    }

    async fn handle(&self, batch: &[Incoming<Ack>]) -> Result<(), String> {
        let _in_hand = self.stats.take();
        let (mut by_order, mut parked) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for one in batch {
            match one {
                Incoming::Message { record, message } => {
                    by_order.entry(message.order_id).or_default().push((record, message));
                }
                Incoming::Poison { record, why } => parked.push(self.parked.record(record, why)),
            }
        }
        let settled = future::join_all(by_order.into_values().map(|acks| self.settle(acks))).await;
        for settled in settled {
            parked.extend(settled.inspect_err(|_| self.stats.count_held())?);
        }
        self.parked.keep(&parked).await?;
        parked.iter().for_each(|_| self.stats.count_dead());
        (parked.len()..batch.len()).for_each(|_| self.stats.count_done());
        Ok(())
    }
}

impl Acks {
    /// Returns what is to be parked.
    async fn settle(&self, acks: Vec<(&Received, &Ack)>) -> Result<Vec<Record>, String> {
        let mut parked = Vec::new();
        for (record, ack) in acks {
            match consumed::acknowledged(&self.app, &self.tenant, ack).await {
                Ok(()) => {}
                Err(Undone::Never(why)) => parked.push(self.parked.record(record, &why)),
                Err(Undone::Defect(why)) => {
                    tracing::error!(error = why, "cannot carry out a message");
                    parked.push(self.parked.record(record, "an internal fault; see the log"));
                }
                Err(Undone::Later(why)) => return Err(why),
            }
        }
        Ok(parked)
    }
}

/// What is told, as a record.
pub(super) fn record(told: Told) -> Record {
    let Told { to, key, body, headers } = told;
    Record { topic: to, key, value: body, headers }
}
