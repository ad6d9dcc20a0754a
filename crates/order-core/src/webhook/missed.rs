//! Making up for what an endpoint has missed: events of stores first, store by store, then those of orders, along the journal.

use super::again::{STEP, count_of, is_sent_to};
use super::command::AgainFor;
use super::endpoint::Endpoint;
use super::listens::STORE_EVENTS;
use super::stream::Subject;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::follow;
use crate::journal::Cursor;
use crate::marketplace::reads::{StorePlace, StoreQuery};

/// Events that are looked at for one answer.
pub const EVENTS_MAX: u64 = 20_000;
/// What looking at a store costs besides its events, in events.
const STORE_COST: u64 = 20;

/// From where on to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedFrom {
    /// Among events of stores; `None` once these are done.
    pub stores: Option<StoresFrom>,
    /// Among events of orders.
    pub orders: Cursor,
}

/// From where on to look among events of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoresFrom {
    /// Those of this moment or later alone.
    pub since: Timestamp,
    /// Those of this store behind this version, and those of the stores behind it; of all stores when there is none.
    pub behind: Option<(StorePlace, u64)>,
}

impl MissedFrom {
    /// The events of stores since a moment, and those of orders behind a place.
    pub fn new(since: Timestamp, orders: Cursor) -> Self {
        Self { stores: Some(StoresFrom { since, behind: None }), orders }
    }
}

/// What looking for missed deliveries came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Events that were looked at; those of orders, of all tenants.
    pub looked_at: u64,
    /// Deliveries that were neither made nor are to come; when they are sent, those that are now on their way.
    pub missing: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<MissedFrom>,
}

impl App {
    /// Looks for deliveries that an endpoint was never sent with success and that are not to come, among the events behind a
    /// place that it listens to; has them sent unless that is only to be known. Where more is missed of one subject than may
    /// wait at once, that is the end of it for now.
    ///
    /// # Errors
    /// [`Rejection::EndpointDisabled`](crate::Rejection::EndpointDisabled) if they are to be sent; as [`follow::feed`].
    pub async fn replay_missing(
        &self,
        endpoint: &Endpoint,
        from: MissedFrom,
        dry_run: bool,
    ) -> Result<Missing, Error> {
        if !dry_run {
            is_sent_to(endpoint)?;
        }
        let MissedFrom { stores, orders } = from;
        // A cursor that is none is refused before anything is sent.
        orders.check(self.storage.install().epoch, &self.storage.heads().await?)?;
        let mut search = Search { app: self, endpoint, dry_run, looked_at: 0, cost: 0, missing: 0 };
        let hears_of_stores = STORE_EVENTS.iter().any(|kind| endpoint.listens.hears(kind));
        let stores = match stores.filter(|_| hears_of_stores) {
            None => None,
            Some(stores) => search.stores(stores).await?,
        };
        let next = if stores.is_some() {
            Some(MissedFrom { stores, orders })
        } else {
            search.orders(orders).await?.map(|orders| MissedFrom { stores: None, orders })
        };
        Ok(Missing { looked_at: search.looked_at, missing: search.missing, next })
    }

    /// The moment up to which a cursor has passed events: that of the newest behind it that is still kept. The beginning of time
    /// when there is none.
    ///
    /// # Errors
    /// As [`Cursor::check`]; faults of storage.
    pub async fn passed_at(&self, cursor: &Cursor) -> Result<Timestamp, Error> {
        let heads = self.storage.heads().await?;
        cursor.check(self.storage.install().epoch, &heads)?;
        let mut newest = Timestamp::from_micros(i64::MIN);
        for (head, position) in heads.iter().zip(&cursor.positions).filter(|(_, position)| **position > 0) {
            let read = self.storage.events_at(&[(head.shard, *position)]).await?;
            newest = read.into_iter().flatten().map(|event| event.occurred_at).fold(newest, Timestamp::max);
        }
        Ok(newest)
    }
}

/// One look for what an endpoint lacks.
struct Search<'a> {
    app: &'a App,
    endpoint: &'a Endpoint,
    dry_run: bool,
    looked_at: u64,
    cost: u64,
    missing: u64,
}

impl Search<'_> {
    /// Looks at events of stores; tells where to go on, unless it came to the end.
    async fn stores(&mut self, from: StoresFrom) -> Result<Option<StoresFrom>, Error> {
        let StoresFrom { since, mut behind } = from;
        let markets = self.app.storage.markets();
        loop {
            let mut after = None;
            if let Some((place, version)) = behind {
                if self.cost >= EVENTS_MAX {
                    return Ok(Some(StoresFrom { since, behind }));
                }
                let events = markets.store_events(place.1, version, STEP).await?;
                let wanted = events.iter().filter(|event| {
                    event.occurred_at >= since
                        && self.endpoint.hears_of_store(&event.tenant, &event.organization, event.kind.word())
                });
                let wanted: Vec<_> =
                    wanted.map(|event| (Subject::store(event.store_id.0), event.version)).collect();
                if !self.make_up(wanted, events.len()).await? {
                    return Ok(Some(StoresFrom { since, behind }));
                }
                if let Some(last) = events.last().filter(|_| events.len() == STEP as usize) {
                    behind = Some((place, last.version));
                    continue;
                }
                after = Some(place);
            }
            let (tenant, organization) = (self.endpoint.tenant.clone(), self.endpoint.organization.clone());
            let next = markets.stores(&StoreQuery { tenant, organization, after, limit: 1 }).await?.pop();
            let Some(store) = next else { return Ok(None) };
            behind = Some(((store.created_at, store.store_id), 0));
            self.cost += STORE_COST;
        }
    }

    /// Looks at events of orders; tells where to go on, unless it came to the end.
    async fn orders(&mut self, from: Cursor) -> Result<Option<Cursor>, Error> {
        let mut cursor = from;
        while self.cost < EVENTS_MAX {
            let (events, next) = follow::feed(self.app, cursor.clone(), STEP).await?;
            if events.is_empty() {
                return Ok(None);
            }
            let wanted = events.iter().filter(|event| self.endpoint.hears_of(event));
            let wanted: Vec<_> =
                wanted.map(|event| (Subject::order(event.order_id), event.version)).collect();
            if !self.make_up(wanted, events.len()).await? {
                return Ok(Some(cursor));
            }
            cursor = next;
        }
        Ok(Some(cursor))
    }

    /// Counts what the endpoint lacks of these, which were found among so many, and has it sent; `false` if there was no room for all.
    async fn make_up(&mut self, wanted: Vec<(Subject, u64)>, among: usize) -> Result<bool, Error> {
        self.looked_at += among as u64;
        self.cost += among as u64;
        let lacking = self.app.lacking(self.endpoint, wanted).await?;
        let count = count_of(&lacking);
        if self.dry_run || count == 0 {
            self.missing += count;
            return Ok(true);
        }
        let sent = self.app.send_again(self.endpoint, lacking, AgainFor::Missing).await?;
        self.missing += sent;
        Ok(sent == count)
    }
}
