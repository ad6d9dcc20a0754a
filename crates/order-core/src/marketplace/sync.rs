//! Syncing stores: what changed at the marketplace is noted, what is due is imported, and the run is told of. A sync goes on
//! where the one before stopped, was it broken off or not; it holds a lease, and ends at once when that is lost.

use super::calling::{Called, NotBefore};
use super::calls::{ChangesAsked, Listed, ListedContent, ListedOrder, StoreAccess};
use super::command::{ImportOutcome, MarketReply, Seen, StoreAction};
use super::decide::UNAVAILABLE;
use super::importing::{fresh, odd, refused};
use super::reads::StorePlace;
use super::{Import, ListPlace, Market, Store, SyncEnd, SyncRun};
use crate::budget::Class;
use crate::clock::Timestamp;
use crate::error::{Error, Rejection};
use crate::fault_point;
use crate::ids::{EventId, LeaseToken, Reference, StoreId};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Stores that are looked for at once.
const PAGE: u32 = 100;
/// Most stores of one round.
const ROUND_MAX: usize = 10_000;
/// Calls in a row that did not reach the marketplace before the sync gives up.
const UNREACHED_MAX: u32 = 3;
/// Failures of a round that are told of one by one.
pub const FAILURES_MAX: usize = 20;
/// How long a store is left alone whose marketplace cannot be reached, and one that it does not let in.
const UNREACHED_WAIT: Duration = Duration::from_secs(60);
const REFUSED_WAIT: Duration = Duration::from_secs(15 * 60);

/// What came of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synced {
    /// It came to its end; with its run, if there was anything to do.
    Ended {
        /// Why.
        end: SyncEnd,
        /// What it did.
        run: Option<Box<SyncRun>>,
    },
    /// Somebody else is at it, until then or sooner.
    Busy {
        /// When that lease ends.
        until: Timestamp,
    },
    /// The lease was lost: somebody else goes on.
    Lost,
}

/// What a round over the stores did.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// Stores that were to be synced.
    pub found: usize,
    /// Stores that were.
    pub synced: usize,
    /// Stores whose sync failed: here, or because the marketplace cannot be reached or lets nobody in.
    pub faults: usize,
    /// Which, and why: at most [`FAILURES_MAX`] of them.
    pub failures: Vec<(StoreId, SyncFailure)>,
}

/// Why the sync of a store failed.
#[derive(Debug, Clone)]
pub enum SyncFailure {
    /// It could not be done here.
    Here(Error),
    /// Its marketplace could not be reached, or let nobody in.
    There {
        /// Which of them.
        end: SyncEnd,
        /// What was seen, if anything was.
        detail: Option<String>,
    },
}

/// Why a sync stops, and when it is worth another try.
struct Stop {
    end: SyncEnd,
    detail: Option<String>,
    not_before: Option<Timestamp>,
}

impl Stop {
    fn at(end: SyncEnd) -> Self {
        Self { end, detail: None, not_before: None }
    }
}

/// A sync under way.
struct Syncing<'m> {
    market: &'m Market,
    token: LeaseToken,
    /// The imports that it is at.
    held: Mutex<BTreeMap<Reference, LeaseToken>>,
}

impl Market {
    /// Syncs a store now, unless somebody does.
    ///
    /// # Errors
    /// [`Rejection::StoreUnknown`], [`Rejection::MarketplaceUnknown`], [`Rejection::SecretsKeyMissing`]; faults of storage: then the
    /// lease runs out by itself, and the next sync goes on.
    pub async fn sync(&self, store_id: StoreId) -> Result<Synced, Error> {
        let token = fresh(self.app.ids.as_ref());
        let until = self.app.clock.now().plus(self.policy.lease);
        let store = match self.give(store_id, StoreAction::ClaimSync { token, until }).await? {
            MarketReply::Claimed(Ok(store)) => store,
            MarketReply::Claimed(Err(until)) => return Ok(Synced::Busy { until }),
            other => return Err(odd("the claim of a sync", other)),
        };
        let sync = Syncing { market: self, token, held: Mutex::default() };
        match sync.run(&store).await {
            Ok(synced) => Ok(synced),
            Err(Error::Rejection(Rejection::LeaseLost)) => {
                self.stats.leases_lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%store_id, "lost the lease of a sync; somebody else goes on with it");
                Ok(Synced::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Syncs the stores whose time has come, some at once, the oldest first, behind `place`, which is moved: a round that is broken off
    /// goes on there, so that none is passed over for ever.
    ///
    /// # Errors
    /// When it cannot be found out which they are. What fails at a store counts as one of its faults.
    pub async fn round(self: &Arc<Self>, place: &mut Option<StorePlace>) -> Result<Round, Error> {
        let (mut round, mut syncing) = (Round::default(), JoinSet::new());
        while round.found < ROUND_MAX && !*self.app.stopping.borrow() {
            let now = self.app.clock.now();
            let due = self.app.storage.markets().due_stores(now, *place, PAGE).await?;
            let last = due.len() < PAGE as usize;
            for found in due {
                if syncing.len() >= self.policy.stores_at_once {
                    round.add(syncing.join_next().await);
                }
                if *self.app.stopping.borrow() {
                    break;
                }
                (round.found, *place) = (round.found + 1, Some(found));
                let market = Arc::clone(self);
                syncing.spawn(async move { (found.1, market.sync(found.1).await) });
            }
            if last {
                *place = None;
                break;
            }
        }
        while let Some(ended) = syncing.join_next().await {
            round.add(Some(ended));
        }
        Ok(round)
    }

    /// Syncs stores until `stop` says so: a round now, and one each time that [`super::MarketPolicy::every`] has passed. Each also
    /// forgets what is old of some stores' history.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(self.policy.every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut place, mut swept, mut failing) = (None, None, false);
        loop {
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => return drop(stopped),
                _ = every.tick() => {}
            }
            match self.round(&mut place).await {
                Ok(round) => {
                    failing = false;
                    tracing::debug!(
                        found = round.found,
                        synced = round.synced,
                        "looked which stores are to be synced"
                    );
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "cannot find out which stores are to be synced; trying again");
                }
                Err(_) => {}
            }
            if let Err(error) = self.sweep(&mut swept).await {
                tracing::debug!(%error, "cannot forget what is old of stores");
            }
        }
    }
}

type Joined = Result<(StoreId, Result<Synced, Error>), tokio::task::JoinError>;

impl Round {
    fn add(&mut self, joined: Option<Joined>) {
        match joined {
            Some(Ok((store_id, Ok(Synced::Ended { end, run })))) if end.is_failure() => {
                self.failed(store_id, SyncFailure::There { end, detail: run.and_then(|run| run.detail) });
            }
            Some(Ok((_, Ok(Synced::Ended { .. })))) => self.synced += 1,
            Some(Ok((_, Ok(Synced::Busy { .. } | Synced::Lost)))) | None => {}
            Some(Ok((store_id, Err(error)))) => {
                tracing::warn!(%store_id, %error, "cannot sync a store; it is tried again");
                self.failed(store_id, SyncFailure::Here(error));
            }
            Some(Err(error)) => {
                self.faults += 1;
                tracing::error!(%error, "the sync of a store panicked");
            }
        }
    }

    fn failed(&mut self, store_id: StoreId, why: SyncFailure) {
        self.faults += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push((store_id, why));
        }
    }
}

impl Syncing<'_> {
    /// Works, and extends the lease meanwhile.
    async fn run(&self, store: &Store) -> Result<Synced, Error> {
        let working = self.work(store);
        tokio::pin!(working);
        let mut beat = tokio::time::interval(self.market.policy.heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.reset();
        loop {
            tokio::select! {
                biased;
                worked = &mut working => return worked,
                _ = beat.tick() => match self.extend(store.store_id).await {
                    Ok(()) => {}
                    Err(lost @ Error::Rejection(_)) => return Err(lost),
                    Err(error) => tracing::warn!(%error, "cannot extend the lease of a sync; trying again"),
                },
            }
        }
    }

    async fn extend(&self, store_id: StoreId) -> Result<(), Error> {
        let held = self.held().iter().map(|(receipt, token)| (receipt.clone(), *token)).collect();
        let until = self.market.app.clock.now().plus(self.market.policy.lease);
        let action = StoreAction::ExtendSync { token: self.token, until, held };
        self.market.give(store_id, action).await.map(drop)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Reference, LeaseToken>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, store: &Store) -> Result<Synced, Error> {
        let connector = self.market.connector(store)?;
        let access = self.market.access(store)?;
        let listed = match &store.listing {
            Some(place) if connector.lists() => self.list(store, &access, place.clone()).await?,
            Some(_) | None => None,
        };
        // What could not be listed keeps nothing that is due from being imported, unless nobody is let in.
        let stop = match listed {
            Some(stop) if stop.end == SyncEnd::AccessRefused => Some(stop),
            listed => self.import_due(store, &access).await?.or(listed),
        };
        let Stop { end, detail, not_before } = stop.unwrap_or_else(|| Stop::at(SyncEnd::Done));
        let event_ids = [self.event_id(), self.event_id()];
        let ending = StoreAction::EndSync { token: self.token, end, detail, not_before, event_ids };
        let run = match self.market.give(store.store_id, ending).await? {
            MarketReply::Ended(run) => run,
            other => return Err(odd("the end of a sync", other)),
        };
        let place = SyncEnd::ALL.iter().position(|one| *one == end);
        if let Some(count) = place.and_then(|place| self.market.stats.syncs.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(run) = &run {
            let (processed, success, failed, limited) =
                (run.processed, run.success, run.failed, run.rate_limited);
            tracing::info!(store_id = %store.store_id, run = run.run, %end, processed, success, failed,
                rate_limited = limited, "synced a store");
        }
        Ok(Synced::Ended { end, run })
    }

    fn event_id(&self) -> EventId {
        let app = &self.market.app;
        EventId(app.ids.uuid_v7(app.clock.now()))
    }

    fn stopping(&self) -> bool {
        *self.market.app.stopping.borrow()
    }

    /// Notes what changed, a page at a time; why that came to an early end, if it did.
    async fn list(
        &self,
        store: &Store,
        access: &StoreAccess,
        mut place: ListPlace,
    ) -> Result<Option<Stop>, Error> {
        let (market, policy) = (self.market, self.market.policy);
        // What the first listing of all finds is old.
        let class = if place.since.is_none() { Class::Backfill } else { Class::Live };
        for _ in 0..policy.pages_max {
            if self.stopping() {
                return Ok(Some(Stop::at(SyncEnd::Stopped)));
            }
            let now = market.app.clock.now();
            let began_at = *place.began_at.get_or_insert(now);
            let first = back(store.created_at, policy.first_listing);
            let since = place.since.map_or(first, |since| back(since, policy.overlap));
            let asked = ChangesAsked { since, page: place.page.clone() };
            let called = market.call_list(store, access, &asked, (class, policy.sync_patience)).await?;
            let (orders, next) = match called {
                Ok(Listed::Page { orders, next }) => (orders, next),
                Ok(Listed::PageGone) if place.page.is_some() => {
                    // The listing begins anew; what it found before is there already.
                    place = ListPlace { page: None, began_at: None, ..place };
                    self.keep(store, &place).await?;
                    continue;
                }
                other => return Ok(Some(unlisted(other, now))),
            };
            self.note(store, orders).await?;
            fault_point::pass("sync.after_upsert");
            place = match next {
                Some(page) => ListPlace { page: Some(page), began_at: Some(began_at), ..place },
                None => ListPlace { since: Some(began_at), page: None, began_at: None },
            };
            self.keep(store, &place).await?;
            if place.page.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Stop::at(SyncEnd::Full)))
    }

    async fn keep(&self, store: &Store, place: &ListPlace) -> Result<(), Error> {
        let action = StoreAction::KeepPlace { token: self.token, place: place.clone() };
        self.market.give(store.store_id, action).await.map(drop)
    }

    /// Makes orders of what a page holds whole, and notes the rest of it.
    async fn note(&self, store: &Store, orders: Vec<ListedOrder>) -> Result<(), Error> {
        let mut seen: BTreeMap<Reference, Seen> = BTreeMap::new();
        for ListedOrder { receipt, content } in orders {
            let outcome = match content {
                ListedContent::Whole(imported) => {
                    Some(self.market.taken_in(store, &receipt, *imported).await?)
                }
                ListedContent::Named => None,
                ListedContent::Poisoned { why } => Some(ImportOutcome::Failed { why }),
            };
            seen.insert(receipt.clone(), Seen { receipt, outcome });
        }
        let (token, seen, event_id) = (self.token, seen.into_values().collect(), self.event_id());
        self.market.give(store.store_id, StoreAction::Note { token, seen, event_id }).await.map(drop)
    }

    /// Imports what is due, some at a time; why that came to an early end, if it did.
    async fn import_due(&self, store: &Store, access: &StoreAccess) -> Result<Option<Stop>, Error> {
        let policy = self.market.policy;
        for _ in 0..policy.batches_max {
            let due = self.claim_due(store).await?;
            let full = due.len() >= policy.batch;
            if let Some(stop) = self.import_batch(store, access, due).await? {
                return Ok(Some(stop));
            }
            if !full {
                return Ok(None);
            }
        }
        Ok(Some(Stop::at(SyncEnd::Full)))
    }

    async fn claim_due(&self, store: &Store) -> Result<Vec<Import>, Error> {
        let (market, policy) = (self.market, self.market.policy);
        let tokens = (0..policy.batch).map(|_| fresh(market.app.ids.as_ref())).collect();
        let (until, event_id) = (market.app.clock.now().plus(policy.lease), self.event_id());
        let action = StoreAction::ClaimDue { token: self.token, tokens, until, event_id };
        match market.give(store.store_id, action).await? {
            MarketReply::Due(due) => {
                let held = due.iter().filter_map(|import| Some((import.receipt.clone(), import.token?)));
                self.held().extend(held);
                Ok(due)
            }
            other => Err(odd("a claim of imports", other)),
        }
    }

    /// Imports them one after the other, the longest due first; what is not come to is given back.
    async fn import_batch(
        &self,
        store: &Store,
        access: &StoreAccess,
        due: Vec<Import>,
    ) -> Result<Option<Stop>, Error> {
        let (market, mut unreached) = (self.market, 0);
        let mut due = due;
        // What the marketplace failed at before may be to blame itself: it comes last, and holds nobody up.
        due.sort_by_key(|import| import.error.as_deref() == Some(UNAVAILABLE));
        let mut due = due.into_iter();
        while let Some(import) = due.next() {
            if self.stopping() {
                self.give_back(store, import, due, market.app.clock.now()).await?;
                return Ok(Some(Stop::at(SyncEnd::Stopped)));
            }
            let class = if import.attempt == 0 { Class::Backfill } else { Class::Repair };
            let called =
                market.call(store, access, &import.receipt, (class, market.policy.sync_patience)).await?;
            let now = market.app.clock.now();
            let (outcome, stop) = match called {
                Called::Outcome(outcome) => {
                    let reached = outcome != ImportOutcome::Unavailable;
                    unreached = if reached { 0 } else { unreached + 1 };
                    let not_before = Some(now.plus(UNREACHED_WAIT));
                    let gives_up = unreached >= UNREACHED_MAX;
                    let stop = Stop { not_before, ..Stop::at(SyncEnd::Unavailable) };
                    (outcome, gives_up.then_some(stop))
                }
                Called::AccessRefused(why) => {
                    let outcome = refused(store.store_id, &why);
                    let not_before = Some(now.plus(REFUSED_WAIT));
                    (outcome, Some(Stop { end: SyncEnd::AccessRefused, detail: Some(why), not_before }))
                }
                Called::NotAllowed(at) => {
                    self.give_back(store, import, due, at).await?;
                    return Ok(Some(Stop { not_before: Some(at), ..Stop::at(SyncEnd::Budget) }));
                }
            };
            self.settle(store, &import, outcome).await?;
            if let Some(stop) = stop {
                if let Some(next) = due.next() {
                    self.give_back(store, next, due, now).await?;
                }
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    async fn settle(&self, store: &Store, import: &Import, outcome: ImportOutcome) -> Result<(), Error> {
        let Some(token) = import.token else { return Ok(()) };
        self.market.settle(store.store_id, &import.receipt, token, outcome, true).await?;
        self.held().remove(&import.receipt);
        Ok(())
    }

    async fn give_back(
        &self,
        store: &Store,
        first: Import,
        rest: impl Iterator<Item = Import>,
        at: Timestamp,
    ) -> Result<(), Error> {
        for import in std::iter::once(first).chain(rest) {
            self.settle(store, &import, ImportOutcome::Released { at }).await?;
        }
        Ok(())
    }
}

fn back(moment: Timestamp, span: Duration) -> Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(moment.micros().saturating_sub(micros))
}

/// Why a listing stops at what is no page.
fn unlisted(called: Result<Listed, NotBefore>, now: Timestamp) -> Stop {
    let (end, detail, wait) = match called {
        Err(NotBefore(at)) => return Stop { not_before: Some(at), ..Stop::at(SyncEnd::Budget) },
        Ok(Listed::RateLimited { retry_after }) => {
            (SyncEnd::Budget, None, retry_after.unwrap_or(UNREACHED_WAIT))
        }
        Ok(Listed::AccessRefused { why }) => (SyncEnd::AccessRefused, Some(why), REFUSED_WAIT),
        Ok(Listed::Unavailable { why }) => (SyncEnd::Unavailable, Some(why), UNREACHED_WAIT),
        Ok(Listed::Page { .. } | Listed::PageGone) => {
            (SyncEnd::Unavailable, Some("the first page is gone".to_owned()), UNREACHED_WAIT)
        }
    };
    Stop { end, detail, not_before: Some(now.plus(wait)) }
}
