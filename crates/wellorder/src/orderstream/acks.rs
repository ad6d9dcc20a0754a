//! Acknowledgements: ours of the orders of others, and those of others of ours.

use super::parked::{Parked, Unfit};
use crate::redis::Results;
use async_trait::async_trait;
use contracts::orderstream::consumed::{self, Undone};
use contracts::orderstream::events::{Ack, result, result_key};
use contracts::orderstream::telling::AcksTold;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use order_core::consumers::ConsumerStats;
use order_core::journal::Event;
use order_core::json::JsonLimits;
use order_core::telling::Told;
use order_core::{App, Order, TenantId};
use sink_kafka::{First, Handler, Incoming, Received, Record};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Orders of a batch that are looked at and changed at once. All of a large one would wait for each other's connections to the
/// database until the first gave up, and with it the batch; nobody else would get one meanwhile.
const AT_ONCE: usize = 16;

/// What the orders of a batch come to, in their order, `AT_ONCE` of them at a time; or what ails the first that fails.
pub(super) async fn some_at_once<T>(
    orders: impl Iterator<Item = impl Future<Output = Result<T, String>>>,
) -> Result<Vec<T>, String> {
    let orders: Vec<_> = orders.collect();
    stream::iter(orders).buffered(AT_ONCE).try_collect().await
}

/// Keeps the result of an order before it is acknowledged: who hears of the end may ask for it.
pub(super) struct KeepResult {
    pub(super) told: AcksTold,
    pub(super) results: Results,
}

#[async_trait]
impl First for KeepResult {
    async fn first(&self, event: &Event, order: &Order) {
        if let Some(ack) = self.told.ack(order, event.occurred_at) {
            self.results.keep(&result_key(order), &result(order, &ack)).await;
        }
    }
}

/// Ends the work of orders that another program has acknowledged.
pub(super) struct Acks {
    pub(super) app: Arc<App>,
    /// Whose the orders are that came in as events.
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
        let (mut by_order, mut unfit) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for one in batch {
            match one {
                Incoming::Message { record, message } => {
                    by_order.entry(message.order_id).or_default().push((record, message));
                }
                Incoming::Poison { record, why } => unfit.push(Unfit::new(record, why)),
            }
        }
        for settled in some_at_once(by_order.into_values().map(|acks| self.settle(acks))).await? {
            unfit.extend(settled);
        }
        self.parked.keep(&unfit).await?;
        unfit.iter().for_each(|_| self.stats.count_dead());
        (unfit.len()..batch.len()).for_each(|_| self.stats.count_done());
        Ok(())
    }
}

impl Acks {
    /// Returns what is to be parked.
    async fn settle<'b>(&self, acks: Vec<(&'b Received, &Ack)>) -> Result<Vec<Unfit<'b>>, String> {
        let mut unfit = Vec::new();
        for (record, ack) in acks {
            let settled = consumed::acknowledged(&self.app, &self.tenant, ack);
            match self.app.deal_with(&record.topic, record.trace(), settled).await {
                Ok(()) => {}
                Err(undone) => unfit.push(unfit_for(record, undone)?),
            }
        }
        Ok(unfit)
    }
}

/// Why a message is to be parked that was not carried out.
///
/// # Errors
/// Why it is not, but comes again.
pub(super) fn unfit_for(record: &Received, undone: Undone) -> Result<Unfit<'_>, String> {
    match undone {
        Undone::Never(why) => Ok(Unfit::new(record, why)),
        Undone::Defect(why) => {
            tracing::error!(error = why, "cannot carry out a message");
            Ok(Unfit::new(record, "an internal fault; see the log"))
        }
        Undone::Later(why) => Err(why),
    }
}

/// What is told, as a record.
pub(super) fn record(told: Told) -> Record {
    let Told { to, key, body, headers } = told;
    Record { topic: to, key, value: body, headers: headers.into_iter().collect() }
}
