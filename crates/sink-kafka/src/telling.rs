//! What contracts tell of their orders, as records of their own topics.

use crate::cloud_events::TRACEPARENT;
use crate::{Headers, Made, Options, OptionsError, Publisher, Record};
use async_trait::async_trait;
use order_core::Order;
use order_core::error::Fault;
use order_core::ids::SourceId;
use order_core::journal::Event;
use order_core::parking::RefusedFor;
use order_core::ports::{Sink, SinkFault, Storage};
use order_core::telling::{AsOf, Telling, Told};
use std::sync::Arc;

/// What is done before something is told, for who hears of it.
#[async_trait]
pub trait First: Send + Sync {
    /// Does it, for what is told of `event`, which made the order `after`. The same event may come again.
    async fn first(&self, event: &Event, after: &Order);
}

/// A sink that writes what a contract tells.
pub struct TellingSink {
    publisher: Publisher,
    telling: Arc<dyn Telling>,
    storage: Arc<dyn Storage>,
    first: Option<Box<dyn First>>,
}

impl TellingSink {
    /// A sink that writes what `telling` says of the orders in `storage`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the options cannot be used: librdkafka names which.
    pub fn new(
        options: Options,
        telling: Arc<dyn Telling>,
        storage: Arc<dyn Storage>,
    ) -> Result<Self, OptionsError> {
        let publisher = Publisher::new(options, telling.places())?;
        Ok(Self { publisher, telling, storage, first: None })
    }

    /// Does `first` before anything is told.
    pub fn after(mut self, first: Box<dyn First>) -> Self {
        self.first = Some(first);
        self
    }

    async fn records(&self, events: &[Event]) -> Result<Made, String> {
        let mut as_of = AsOf::new(self.storage.as_ref());
        let mut made = Made::default();
        let covered = |(_, event): &(usize, &Event)| self.telling.covers(&event.source);
        for (index, event) in events.iter().enumerate().filter(covered) {
            if !self.telling.concerns(event) {
                as_of.pass(event);
            } else if !made.has_refused(event.order_id) {
                match self.record(&mut as_of, event).await? {
                    Ok(record) => made.extend(index, record),
                    Err(why) => made.refuse(index, event.order_id, RefusedFor::Invalid, why),
                }
            }
        }
        Ok(made)
    }

    /// What is told of an event, or why it never can be.
    async fn record(
        &self,
        as_of: &mut AsOf<'_>,
        event: &Event,
    ) -> Result<Result<Option<Record>, String>, String> {
        let (before, after) = match as_of.around(event).await {
            Ok(around) => around,
            // A defect of this order alone, as far as anybody knows: it must not keep the others waiting for ever.
            Err(Fault::Internal { why }) => return Ok(Err(why)),
            Err(fault) => return Err(fault.to_string()),
        };
        let told = match self.telling.tell(event, before, after) {
            Ok(Some(told)) => told,
            Ok(None) => return Ok(Ok(None)),
            Err(never) => return Ok(Err(never.to_string())),
        };
        if let Some(first) = &self.first {
            first.first(event, after).await;
        }
        let Told { to: topic, key, body: value, headers } = told;
        let mut headers: Headers = headers.into_iter().collect();
        if let Some(trace) = event.trace {
            headers.push(TRACEPARENT, trace);
        }
        Ok(Ok(Some(Record { topic, key, value, headers })))
    }
}

#[async_trait]
impl Sink for TellingSink {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn sources(&self) -> Option<Vec<SourceId>> {
        Some(self.telling.sources())
    }

    async fn open(&self) -> Result<(), SinkFault> {
        self.publisher.open().await.map_err(|ails| SinkFault::transient(ails.to_string()))
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let made = self.records(events).await.map_err(SinkFault::transient)?;
        made.publish(&self.publisher).await
    }
}
