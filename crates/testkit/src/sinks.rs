//! A sink that remembers, and one that can be held up.

use async_trait::async_trait;
use order_core::ids::{OrderId, SourceId};
use order_core::journal::Event;
use order_core::parking::RefusedFor;
use order_core::ports::{RefusedEvent, Sink, SinkFault};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Keeps every event that it was given, and fails when it is told to.
#[derive(Debug, Default)]
pub struct RecordingSink(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    events: Vec<Event>,
    deliveries: usize,
    failing: Option<Failing>,
    shut: bool,
    sources: Option<Vec<SourceId>>,
    refused: BTreeMap<OrderId, u64>,
}

#[derive(Debug, Clone)]
struct Failing {
    why: String,
    takes: usize,
}

impl RecordingSink {
    /// A sink that works.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One that wants events of these sources alone.
    pub fn of(sources: Vec<SourceId>) -> Arc<Self> {
        let sink = Self::default();
        sink.record().sources = Some(sources);
        Arc::new(sink)
    }

    /// From now on every delivery fails, and nothing of it is taken.
    pub fn fail(&self, why: &str) {
        self.fail_after(0, why);
    }

    /// From now on every delivery fails after its first `takes` events were taken.
    pub fn fail_after(&self, takes: usize, why: &str) {
        self.record().failing = Some(Failing { why: why.to_owned(), takes });
    }

    /// From now on it cannot be opened, and every delivery fails.
    pub fn shut(&self, why: &str) {
        self.fail(why);
        self.record().shut = true;
    }

    /// From now on this event of an order is refused for good.
    pub fn refuse(&self, order_id: OrderId, version: u64) {
        self.record().refused.insert(order_id, version);
    }

    /// Nothing is refused any more.
    pub fn refuse_nothing(&self) {
        self.record().refused.clear();
    }

    /// Works again.
    pub fn recover(&self) {
        let mut record = self.record();
        (record.failing, record.shut) = (None, false);
    }

    /// All events in the order in which they came, repetitions included.
    pub fn events(&self) -> Vec<Event> {
        self.record().events.clone()
    }

    /// How many deliveries were tried.
    pub fn deliveries(&self) -> usize {
        self.record().deliveries
    }

    /// The versions of each order in the order in which they came, repetitions included.
    pub fn versions(&self) -> BTreeMap<OrderId, Vec<u64>> {
        let mut versions: BTreeMap<OrderId, Vec<u64>> = BTreeMap::new();
        for event in &self.record().events {
            versions.entry(event.order_id).or_default().push(event.version);
        }
        versions
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Takes all events but the refused ones and what comes behind them of their orders.
    fn take(&mut self, events: &[Event]) -> Result<(), SinkFault> {
        let mut refused = Vec::new();
        for (index, event) in events.iter().enumerate() {
            match self.refused.get(&event.order_id) {
                Some(version) if *version == event.version => {
                    let why = format!("version {version} is refused");
                    refused.push(RefusedEvent { index, reason: RefusedFor::TooLarge, why });
                }
                Some(version) if *version < event.version => {
                    // Sent in the same breath, it is not: the sink saw what it refuses before.
                    if !refused.iter().any(|it| events[it.index].order_id == event.order_id) {
                        self.events.push(event.clone());
                    }
                }
                _ => self.events.push(event.clone()),
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(SinkFault::Refused(refused)) }
    }
}

#[async_trait]
impl Sink for RecordingSink {
    fn kind(&self) -> &'static str {
        "recording"
    }

    fn sources(&self) -> Option<Vec<SourceId>> {
        self.record().sources.clone()
    }

    async fn open(&self) -> Result<(), SinkFault> {
        let record = self.record();
        match &record.failing {
            Some(failing) if record.shut => Err(SinkFault::Transient(failing.why.clone())),
            _ => Ok(()),
        }
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let mut record = self.record();
        record.deliveries += 1;
        let failing = record.failing.clone();
        if failing.is_none() && !record.refused.is_empty() {
            return record.take(events);
        }
        let taken = failing.as_ref().map_or(events.len(), |failing| failing.takes.min(events.len()));
        record.events.extend_from_slice(&events[..taken]);
        failing.map_or(Ok(()), |failing| Err(SinkFault::Transient(failing.why)))
    }
}

/// Takes nothing of its first delivery until it is let.
#[derive(Debug)]
pub struct HeldSink {
    reached: watch::Sender<bool>,
    released: watch::Sender<bool>,
    taken: AtomicUsize,
}

impl HeldSink {
    /// A sink that is held.
    pub fn new() -> Arc<Self> {
        let (reached, released) = (watch::Sender::new(false), watch::Sender::new(false));
        Arc::new(Self { reached, released, taken: AtomicUsize::new(0) })
    }

    /// Waits until a delivery has begun.
    pub async fn reached(&self) {
        drop(self.reached.subscribe().wait_for(|reached| *reached).await);
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// How many events it has taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Sink for HeldSink {
    fn kind(&self) -> &'static str {
        "held"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        self.reached.send_replace(true);
        drop(self.released.subscribe().wait_for(|released| *released).await);
        self.taken.fetch_add(events.len(), Ordering::Relaxed);
        Ok(())
    }
}
