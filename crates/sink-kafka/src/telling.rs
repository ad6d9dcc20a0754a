//! What contracts tell of their orders, as records of their own topics.

use crate::{Made, Options, OptionsError, Publisher, Record, cloud_events};
use async_trait::async_trait;
use order_core::error::Fault;
use order_core::journal::Event;
use order_core::ports::{Sink, SinkFault, Storage};
use order_core::telling::{AsOf, Telling};
use std::sync::Arc;

/// A sink that writes what a contract tells.
pub struct TellingSink {
    publisher: Publisher,
    telling: Arc<dyn Telling>,
    storage: Arc<dyn Storage>,
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
        Ok(Self { publisher: Publisher::new(options, telling.places())?, telling, storage })
    }

    async fn records(&self, events: &[Event]) -> Result<Made, Fault> {
        let mut as_of = AsOf::new(self.storage.as_ref());
        let mut made = Made::default();
        let covered = |(_, event): &(usize, &Event)| self.telling.covers(&event.source);
        for (index, event) in events.iter().enumerate().filter(covered) {
            if !self.telling.concerns(event) {
                as_of.pass(event);
                continue;
            }
            let (before, after) = as_of.around(event).await?;
            let Some(told) = self.telling.tell(event, before, after) else { continue };
            let mut headers = told.headers;
            headers.extend(event.trace.map(cloud_events::traceparent));
            made.extend(index, Some(Record { topic: told.to, key: told.key, value: told.body, headers }));
        }
        Ok(made)
    }
}

#[async_trait]
impl Sink for TellingSink {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    async fn open(&self) -> Result<(), SinkFault> {
        self.publisher.open().await.map_err(|ails| SinkFault::transient(ails.to_string()))
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let records = self.records(events).await.map_err(|fault| SinkFault::transient(fault.to_string()))?;
        records.publish(&self.publisher).await
    }
}
