//! What a contract tells others of its orders, whatever carries it: its own topics and queues carry its own orders, in its own
//! form.
//!
//! A form often shows the whole order. It is shown as it was at the event, not as it is now, so that what is sent once more is
//! the same: the order is folded from its history up to there ([`AsOf`]). Of an order whose beginning is no longer kept, what
//! it is now is shown instead.

use crate::error::Fault;
use crate::ids::{OrderId, SourceId};
use crate::journal::Event;
use crate::order::Order;
use crate::order::event::EventType;
use crate::order::state::Fulfilment;
use crate::ports::Storage;
use crate::query::PAGE_BYTES_MAX;
use std::collections::HashMap;

/// Events of one order that are read at a time.
const PAGE: u32 = 200;

/// What is told of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where it goes: a topic, or an exchange.
    pub to: String,
    /// What decides its place there: what comes under one key is kept in order.
    pub key: String,
    /// The body.
    pub body: Vec<u8>,
    /// Names and values besides, in order.
    pub headers: Vec<(&'static str, String)>,
}

/// Why an event can never be told of: a defect of ours, or of what lies in the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be told of: {0}")]
pub struct Untellable(pub String);

/// How a contract tells what happens to its orders: a pure function.
pub trait Telling: Send + Sync {
    /// Whose orders it tells of.
    fn source(&self) -> &SourceId;

    /// The sources of all orders that it tells of: its own, unless it has more.
    fn sources(&self) -> Vec<SourceId> {
        vec![self.source().clone()]
    }

    /// Whether it tells of orders of this source.
    fn covers(&self, source: &SourceId) -> bool {
        source == self.source()
    }

    /// Where all of it may go.
    fn places(&self) -> Vec<String>;

    /// Whether anything is told of such an event: only then the order is fetched.
    fn concerns(&self, event: &Event) -> bool;

    /// What is told of `event`, which made the order `after` of `before`; without one before, it is new.
    ///
    /// # Errors
    /// When there is something to tell, and it cannot be: then the order is parked, and no other waits for it.
    fn tell(&self, event: &Event, before: Option<&Order>, after: &Order) -> Result<Option<Told>, Untellable>;
}

/// Bytes of orders that are kept for the events to come; one order more may be.
const KEPT_BYTES_MAX: usize = PAGE_BYTES_MAX;

/// Orders as they were around an event. Made for one batch: what was folded for one event serves the next of its order. Of
/// large orders not all are kept, and then a history is read again.
pub struct AsOf<'a> {
    storage: &'a dyn Storage,
    /// As the event left them that was folded last.
    orders: HashMap<OrderId, Order>,
    /// What those hold.
    bytes: usize,
    /// How the order was before the event that was asked about last.
    before: Option<Order>,
}

impl<'a> AsOf<'a> {
    /// Nothing is read yet.
    pub fn new(storage: &'a dyn Storage) -> Self {
        Self { storage, orders: HashMap::new(), bytes: 0, before: None }
    }

    /// Takes note of an event that nobody asks about: it saves a read where a later one of its order is asked about.
    pub fn pass(&mut self, event: &Event) {
        let before = self.take(event.order_id);
        if follows(before.as_ref(), event)
            && let Ok(after) = Order::fold(before, event)
        {
            self.keep(after);
        }
    }

    /// The order right before `event`, unless that made it, and right after it.
    ///
    /// # Errors
    /// Faults of storage; a history that does not fold.
    pub async fn around(&mut self, event: &Event) -> Result<(Option<&Order>, &Order), Fault> {
        let kept = self.take(event.order_id);
        let folded = follows(kept.as_ref(), event).then(|| Order::fold(kept.clone(), event).ok()).flatten();
        let (before, after) = match folded {
            Some(after) => (kept, after),
            None => self.read(event).await?,
        };
        self.before = before;
        self.keep(after);
        let after = self.orders.get(&event.order_id).ok_or_else(|| gone(event))?;
        Ok((self.before.as_ref(), after))
    }

    fn take(&mut self, order_id: OrderId) -> Option<Order> {
        let order = self.orders.remove(&order_id)?;
        self.bytes = self.bytes.saturating_sub(order.footprint());
        Some(order)
    }

    fn keep(&mut self, order: Order) {
        let bytes = order.footprint();
        if self.bytes + bytes > KEPT_BYTES_MAX {
            // Which of them comes again is not known.
            self.orders.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.orders.insert(order.id, order);
    }

    async fn read(&self, event: &Event) -> Result<(Option<Order>, Order), Fault> {
        let (mut before, mut order, mut after) = (None, None::<Order>, 0);
        while after < event.version {
            let page = self.storage.order_events(&event.tenant, event.order_id, after, PAGE).await?;
            let page = page.filter(|page| !page.events.is_empty()).ok_or_else(|| gone(event))?;
            if order.is_none() && page.events.first().is_some_and(|first| first.version > 1) {
                return self.as_it_is(event).await;
            }
            for one in page.events.iter().filter(|one| one.version <= event.version) {
                let folded = Order::fold(order.clone(), one).map_err(|error| {
                    Fault::internal(format!("order {} does not fold: {error}", event.order_id))
                })?;
                after = folded.version;
                before = order.replace(folded);
            }
        }
        let after = order.ok_or_else(|| gone(event))?;
        Ok((before, after))
    }

    /// The beginning of its history is no longer kept: there is nothing left but the order as it is now. Before the event it
    /// differed in what the event is about, at least.
    async fn as_it_is(&self, event: &Event) -> Result<(Option<Order>, Order), Fault> {
        let order = self.storage.order(&event.tenant, event.order_id).await?.ok_or_else(|| gone(event))?;
        let mut before = order.clone();
        match event.kind {
            EventType::OrderShipped => before.fulfilment = Fulfilment::Unshipped,
            EventType::OrderDelivered => before.fulfilment = Fulfilment::Shipped,
            EventType::OrderWithdrawn => before.withdrawn = false,
            _ => {}
        }
        Ok((Some(before), order))
    }
}

/// Whether `event` is the one behind what made the order so.
fn follows(before: Option<&Order>, event: &Event) -> bool {
    before.map_or(0, |order| order.version) + 1 == event.version
}

fn gone(event: &Event) -> Fault {
    Fault::internal(format!(
        "order {} has no history up to version {}: run `wellorder audit`",
        event.order_id, event.version
    ))
}
