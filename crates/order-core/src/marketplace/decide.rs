//! What a command means for a store and its imports: pure, shared by every storage. A storage holds the store's row, reads
//! what [`wants`] names, asks [`decide`], and writes what comes back, all in one transaction.

use super::command::{Begun, ImportOutcome, MarketReply, Seen, SettleImport, StoreAction, StoreCommand};
use super::rules::{backoff, next_sync_at};
use super::{
    Import, ImportState, ListPlace, Registration, Store, StoreEvent, StoreEventType, SyncEnd, SyncLease,
    SyncRun,
};
use crate::clock::Timestamp;
use crate::error::Rejection;
use crate::fault_point;
use crate::ids::{EventId, LeaseToken, Reference};
use crate::process::ERROR_BYTES_MAX;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is said of an import that the marketplace does not know.
pub const INVALID_RECEIPT: &str = "invalid_receipt";
/// What is said of one that was not allowed.
pub const RATE_LIMITED: &str = "rate_limited";
/// What is said of one whose marketplace could not be reached.
pub const UNAVAILABLE: &str = "marketplace_unavailable";
/// What is said of one that nobody ended, again and again.
pub const NEVER_ENDED: &str = "its import was broken off again and again";

/// Tries that may be broken off before an import waits as if it had failed.
const LAPSES_MAX: u32 = 3;

/// What a command is decided on besides the store and its newest run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants<'c> {
    /// Nothing more.
    Nothing,
    /// The imports of these receipts, those that are there.
    Receipts(Vec<&'c str>),
    /// At most so many imports that are due, the longest due first, by number among equals.
    Due(usize),
}

/// What a storage must read for a command.
pub fn wants(command: &StoreCommand) -> Wants<'_> {
    match &command.action {
        StoreAction::Begin { receipt, .. } | StoreAction::Retry { receipt } => {
            Wants::Receipts(vec![receipt.as_str()])
        }
        StoreAction::Hear { receipt } => Wants::Receipts(receipt.iter().map(Reference::as_str).collect()),
        StoreAction::Settle(settle) => Wants::Receipts(vec![settle.receipt.as_str()]),
        StoreAction::ExtendSync { held, .. } => {
            Wants::Receipts(held.iter().map(|(receipt, _)| receipt.as_str()).collect())
        }
        StoreAction::Note { seen, .. } => {
            Wants::Receipts(seen.iter().map(|seen| seen.receipt.as_str()).collect())
        }
        StoreAction::ClaimDue { tokens, .. } => Wants::Due(tokens.len()),
        StoreAction::Register(_)
        | StoreAction::ClaimSync { .. }
        | StoreAction::KeepPlace { .. }
        | StoreAction::EndSync { .. } => Wants::Nothing,
    }
}

/// What a storage found.
#[derive(Debug, Default)]
pub struct Found {
    /// The store.
    pub store: Option<Store>,
    /// Its newest run, if it has one.
    pub run: Option<SyncRun>,
    /// The imports that were wanted, in the order in which they were wanted.
    pub imports: Vec<Import>,
}

/// What is to be written.
#[derive(Debug)]
pub struct Decided {
    /// The store, if it changed.
    pub store: Option<Store>,
    /// Imports that are new, or changed.
    pub imports: Vec<Import>,
    /// Its newest run, if it is new or changed.
    pub run: Option<SyncRun>,
    /// What happened, in order.
    pub events: Vec<StoreEvent>,
    /// What the command is answered.
    pub reply: MarketReply,
}

/// Decides what a command comes to.
///
/// # Errors
/// [`Rejection::StoreUnknown`], [`Rejection::ImportUnknown`]; [`Rejection::LeaseLost`] where the token is not the one that holds.
pub fn decide(found: Found, command: &StoreCommand) -> Result<Decided, Rejection> {
    let Found { store, run, imports } = found;
    if let StoreAction::Register(registration) = &command.action {
        return Ok(register(store, command, registration));
    }
    let store = store.ok_or(Rejection::StoreUnknown)?;
    let imports = imports.into_iter().map(|import| (import.receipt.as_str().to_owned(), import)).collect();
    let desk = Bench {
        before: store.clone(),
        store,
        run,
        run_moved: false,
        imports,
        moved: Vec::new(),
        events: Vec::new(),
        asked: false,
    };
    desk.carry_out(command)
}

fn register(found: Option<Store>, command: &StoreCommand, said: &Registration) -> Decided {
    let StoreCommand { store_id, now, again, .. } = *command;
    let made = || Store {
        store_id,
        tenant: said.tenant.clone(),
        organization: said.organization.clone(),
        marketplace: said.marketplace,
        external_id: said.external_id.clone(),
        name: String::new(),
        currency: String::new(),
        access_token: said.access_token.clone(),
        token_hash: said.token_hash,
        created_at: now,
        updated_at: now,
        counts: super::ImportCounts::default(),
        newest: super::rules::Newest::default(),
        last_sync_at: None,
        synced_at: None,
        next_sync_at: None,
        lease: None,
        run: 0,
        version: 0,
        listing: None,
    };
    let mut store = found.unwrap_or_else(made);
    store.name.clone_from(&said.name);
    store.currency.clone_from(&said.currency);
    store.access_token = said.access_token.clone();
    store.token_hash = said.token_hash;
    store.updated_at = now;
    store.listing = said.lists.then(|| store.listing.take().unwrap_or_default());
    let asked = store.next_sync_at.filter(|told| *told <= now);
    store.next_sync_at = next_sync_at(&store, again).map(|next| asked.map_or(next, |told| next.min(told)));
    let reply = MarketReply::Store(Box::new(store.clone()));
    Decided { store: Some(store), imports: Vec::new(), run: None, events: Vec::new(), reply }
}

/// A store and what belongs to it while a command is carried out.
struct Bench {
    before: Store,
    store: Store,
    run: Option<SyncRun>,
    run_moved: bool,
    imports: BTreeMap<String, Import>,
    moved: Vec<Import>,
    events: Vec<StoreEvent>,
    /// Somebody asks for a sync, at once.
    asked: bool,
}

impl Bench {
    fn carry_out(mut self, command: &StoreCommand) -> Result<Decided, Rejection> {
        let now = command.now;
        let reply = match &command.action {
            StoreAction::Register(_) => MarketReply::Store(Box::new(self.store.clone())),
            StoreAction::Begin { receipt, token, until } => {
                MarketReply::Begun(self.begin(receipt, *token, *until, now))
            }
            StoreAction::Settle(settle) => MarketReply::Import(Box::new(self.settle(settle, now)?)),
            StoreAction::Retry { receipt } => MarketReply::Import(Box::new(self.retry(receipt, now)?)),
            StoreAction::Hear { receipt } => {
                self.hear(receipt.as_ref(), now);
                MarketReply::Store(Box::new(self.store.clone()))
            }
            StoreAction::ClaimSync { token, until } => MarketReply::Claimed(self.claim(*token, *until, now)),
            StoreAction::ExtendSync { token, until, held } => {
                self.check(*token)?;
                self.extend(*token, *until, held, now);
                MarketReply::Store(Box::new(self.store.clone()))
            }
            StoreAction::Note { token, seen, event_id } => {
                self.check(*token)?;
                let noted = seen.iter().map(|seen| u64::from(self.note(seen, *event_id, now)));
                MarketReply::Noted(noted.sum())
            }
            StoreAction::KeepPlace { token, place } => {
                self.check(*token)?;
                self.keep_place(place);
                MarketReply::Store(Box::new(self.store.clone()))
            }
            StoreAction::ClaimDue { token, tokens, until, event_id } => {
                self.check(*token)?;
                MarketReply::Due(self.claim_due(tokens, *until, *event_id, now))
            }
            StoreAction::EndSync { token, end, detail, event_ids, .. } => {
                self.check(*token)?;
                MarketReply::Ended(self.end((*end, detail.as_deref()), *event_ids, now))
            }
        };
        self.store.next_sync_at = match &command.action {
            StoreAction::EndSync { not_before, .. } => {
                let next = next_sync_at(&self.store, command.again);
                next.map(|next| not_before.map_or(next, |told| next.max(told)))
            }
            // Whatever it waits for: a call that may not be made is not made by a sync either.
            _ if self.asked => Some(self.store.next_sync_at.map_or(now, |next| next.min(now))),
            _ => self.sooner(now, command.again),
        };
        let store = (self.store != self.before).then_some(self.store);
        let run = self.run.filter(|_| self.run_moved);
        Ok(Decided { store, imports: self.moved, run, events: self.events, reply })
    }

    /// When the store is synced next, if what happened does not want it sooner: what a sync was told to wait for, it waits for.
    fn sooner(&self, now: Timestamp, again: Duration) -> Option<Timestamp> {
        let next = next_sync_at(&self.store, again)?;
        Some(match self.before.next_sync_at {
            Some(told) if told > now => next.max(told),
            // Its time has come already: what else happens to it keeps nobody from syncing it.
            Some(told) => next.min(told),
            None => next,
        })
    }

    fn check(&self, token: LeaseToken) -> Result<(), Rejection> {
        // One that ran out counts as long as nobody else has come.
        let holds = self.store.lease.as_ref().is_some_and(|lease| lease.token == token);
        if holds { Ok(()) } else { Err(Rejection::LeaseLost) }
    }

    /// Takes an import in hands; a fresh one where there is none.
    fn take(&mut self, receipt: &Reference, now: Timestamp) -> Import {
        if let Some(import) = self.imports.get(receipt.as_str()) {
            return import.clone();
        }
        Import {
            store_id: self.store.store_id,
            tenant: self.store.tenant.clone(),
            receipt: receipt.clone(),
            number: 0,
            state: ImportState::Pending,
            attempt: 0,
            due_at: Some(now),
            token: None,
            result: None,
            error: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Puts it back as it is now.
    fn put(&mut self, mut import: Import, now: Timestamp) -> Import {
        import.updated_at = now;
        match self.imports.get(import.receipt.as_str()) {
            Some(before) => {
                let count = self.store.counts.of_mut(before.state);
                *count = count.saturating_sub(1);
            }
            // Nothing that was counted is ever deleted: numbers are never given twice.
            None => import.number = self.store.counts.all() + 1,
        }
        *self.store.counts.of_mut(import.state) += 1;
        self.imports.insert(import.receipt.as_str().to_owned(), import.clone());
        self.moved.retain(|moved| moved.receipt != import.receipt);
        self.moved.push(import.clone());
        import
    }

    fn begin(&mut self, receipt: &Reference, token: LeaseToken, until: Timestamp, now: Timestamp) -> Begun {
        let mut import = self.take(receipt, now);
        let ours = import.token == Some(token);
        if import.state != ImportState::Pending {
            return Begun::Stored(Box::new(import));
        }
        let in_flight = import.is_in_flight(now) && !ours && !fault_point::planted("double-import");
        if let Some(until) = import.due_at.filter(|_| in_flight) {
            return Begun::InFlight { until };
        }
        (import.token, import.due_at) = (Some(token), Some(until));
        Begun::Yours(Box::new(self.put(import, now)))
    }

    fn settle(&mut self, settle: &SettleImport, now: Timestamp) -> Result<Import, Rejection> {
        let import = self.imports.get(settle.receipt.as_str()).cloned().ok_or(Rejection::ImportUnknown)?;
        if import.token != Some(settle.token) {
            return Err(Rejection::LeaseLost);
        }
        let import = self.settled(import, &settle.outcome, now);
        if settle.of_sync && !matches!(settle.outcome, ImportOutcome::Released { .. }) {
            self.count(import.state);
        }
        Ok(import)
    }

    /// What an outcome makes of an import that somebody was at.
    fn settled(&mut self, mut import: Import, outcome: &ImportOutcome, now: Timestamp) -> Import {
        import.token = None;
        if let ImportOutcome::Released { at } = outcome {
            import.due_at = Some(*at);
            return self.put(import, now);
        }
        import.attempt = import.attempt.saturating_add(1);
        let wait = backoff(import.attempt);
        let (state, due_at, error) = match outcome {
            ImportOutcome::Imported(result) => {
                import.result = Some(result.clone());
                (ImportState::Success, None, None)
            }
            ImportOutcome::Invalid => (ImportState::Invalid, None, Some(INVALID_RECEIPT)),
            ImportOutcome::Failed { why } => (ImportState::Failed, Some(now.plus(wait)), Some(&**why)),
            ImportOutcome::RateLimited { retry_after } => {
                let wait = retry_after.map_or(wait, |asked| asked.max(wait));
                (ImportState::RateLimited, Some(now.plus(wait)), Some(RATE_LIMITED))
            }
            ImportOutcome::Unavailable => (ImportState::Failed, Some(now.plus(wait)), Some(UNAVAILABLE)),
            ImportOutcome::Released { at } => (import.state, Some(*at), None),
        };
        (import.state, import.due_at, import.error) = (state, due_at, error.map(shortened));
        self.store.newest.note(import.receipt.as_str(), state);
        self.store.last_sync_at = self.store.last_sync_at.max(Some(now));
        self.put(import, now)
    }

    fn count(&mut self, state: ImportState) {
        let Some(run) = self.run.as_mut().filter(|run| run.ended_at.is_none()) else { return };
        run.processed += 1;
        match state {
            ImportState::Success => run.success += 1,
            ImportState::RateLimited => run.rate_limited += 1,
            ImportState::Failed | ImportState::Invalid | ImportState::Pending => run.failed += 1,
        }
        self.run_moved = true;
    }

    fn retry(&mut self, receipt: &Reference, now: Timestamp) -> Result<Import, Rejection> {
        let mut import = self.imports.get(receipt.as_str()).cloned().ok_or(Rejection::ImportUnknown)?;
        if import.state == ImportState::Success || import.is_in_flight(now) {
            return Ok(import);
        }
        // What came of it is what is known of it until it has been tried; what was given up is taken up afresh.
        if import.state == ImportState::Invalid {
            (import.state, import.attempt) = (ImportState::Failed, 0);
            self.store.newest.change(receipt.as_str(), ImportState::Failed);
        } else if import.error.as_deref() == Some(NEVER_ENDED) {
            import.attempt = 0;
        }
        (import.token, import.due_at) = (None, Some(import.due_at.map_or(now, |at| at.min(now))));
        self.asked = true;
        Ok(self.put(import, now))
    }

    /// Whatever is said of an order, it is asked for; what is an order already is looked at by the listing.
    fn hear(&mut self, receipt: Option<&Reference>, now: Timestamp) {
        self.asked = true;
        let Some(receipt) = receipt else { return };
        match self.imports.get(receipt.as_str()).map(|import| import.state) {
            None => {
                let import = self.take(receipt, now);
                self.put(import, now);
            }
            // It is there after all, or reads now.
            Some(ImportState::Invalid | ImportState::Failed) => drop(self.retry(receipt, now)),
            Some(ImportState::Pending | ImportState::RateLimited | ImportState::Success) => {}
        }
    }

    fn claim(
        &mut self,
        token: LeaseToken,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Box<Store>, Timestamp> {
        match self.store.live_lease(now) {
            Some(lease) if lease.token != token => Err(lease.until),
            Some(_) | None => {
                self.store.lease = Some(SyncLease { token, until });
                Ok(Box::new(self.store.clone()))
            }
        }
    }

    fn extend(
        &mut self,
        token: LeaseToken,
        until: Timestamp,
        held: &[(Reference, LeaseToken)],
        now: Timestamp,
    ) {
        self.store.lease = Some(SyncLease { token, until });
        for (receipt, token) in held {
            let import = self.imports.get(receipt.as_str()).filter(|import| import.token == Some(*token));
            if let Some(mut import) = import.cloned() {
                import.due_at = Some(until);
                self.put(import, now);
            }
        }
    }

    /// Notes an order of a page; returns whether that was news. One that was imported before is, if its marketplace says otherwise of it
    /// now.
    fn note(&mut self, seen: &Seen, event_id: EventId, now: Timestamp) -> bool {
        let known = self.imports.contains_key(seen.receipt.as_str());
        let import = self.take(&seen.receipt, now);
        let is_other = |outcome: &ImportOutcome| match (outcome, &import.result) {
            (ImportOutcome::Imported(result), Some(before)) => !before.says_as(result),
            _ => false,
        };
        let settled = import.state == ImportState::Success && !seen.outcome.as_ref().is_some_and(is_other);
        // Whoever is at it will say what comes of it.
        if settled || import.is_in_flight(now) {
            return false;
        }
        match &seen.outcome {
            None if known => false,
            None => {
                self.put(import, now);
                true
            }
            // What could not be read before is still there to be read again when its time comes.
            Some(ImportOutcome::Failed { .. }) if known => false,
            Some(outcome) => {
                self.open_run(event_id, now);
                let import = self.settled(import, outcome, now);
                self.count(import.state);
                true
            }
        }
    }

    fn open_run(&mut self, event_id: EventId, now: Timestamp) {
        if self.run.as_ref().is_none_or(|run| run.ended_at.is_some()) {
            self.start(event_id, now);
        }
    }

    fn keep_place(&mut self, place: &ListPlace) {
        if let Some(listing) = &mut self.store.listing {
            *listing = place.clone();
        }
    }

    /// Leases what was found due, and begins a run if there is something to tell of.
    fn claim_due(
        &mut self,
        tokens: &[LeaseToken],
        until: Timestamp,
        event_id: EventId,
        now: Timestamp,
    ) -> Vec<Import> {
        let is_due = |import: &&Import| import.due_at.is_some_and(|at| at <= now);
        let mut due: Vec<Import> = self.imports.values().filter(is_due).cloned().collect();
        due.sort_by_key(|import| (import.due_at, import.number));
        if !due.is_empty() || self.store.synced_at.is_none() {
            self.open_run(event_id, now);
        }
        let mut leased = Vec::with_capacity(due.len());
        for (mut import, token) in due.into_iter().zip(tokens) {
            if import.token.take().is_some() {
                // Whoever was at it is gone. If that comes of this very receipt, the others must not wait for it.
                import.attempt = import.attempt.saturating_add(1);
                if import.attempt >= LAPSES_MAX {
                    let why = NEVER_ENDED.to_owned();
                    let import = self.settled(import, &ImportOutcome::Failed { why }, now);
                    self.count(import.state);
                    continue;
                }
            }
            (import.token, import.due_at) = (Some(*token), Some(until));
            leased.push(self.put(import, now));
        }
        leased
    }

    fn start(&mut self, event_id: EventId, now: Timestamp) {
        self.store.run += 1;
        let run = SyncRun {
            store_id: self.store.store_id,
            run: self.store.run,
            started_at: now,
            ended_at: None,
            processed: 0,
            success: 0,
            failed: 0,
            rate_limited: 0,
            end: None,
            detail: None,
        };
        self.tell(StoreEventType::Started, &run, event_id, now);
        (self.run, self.run_moved) = (Some(run), true);
    }

    fn end(
        &mut self,
        (end, detail): (SyncEnd, Option<&str>),
        [event_id, before]: [EventId; 2],
        now: Timestamp,
    ) -> Option<Box<SyncRun>> {
        self.store.lease = None;
        self.store.synced_at = Some(now);
        let told = self.run.as_ref().and_then(|run| run.end);
        if end.is_failure() && told != Some(end) {
            self.open_run(before, now);
        }
        let mut run = self.run.clone().filter(|run| run.ended_at.is_none())?;
        (run.ended_at, run.end, run.detail) = (Some(now), Some(end), detail.map(shortened));
        self.store.last_sync_at = self.store.last_sync_at.max(Some(now));
        let kind = if end.is_failure() { StoreEventType::Failed } else { StoreEventType::Completed };
        self.tell(kind, &run, event_id, now);
        (self.run, self.run_moved) = (Some(run.clone()), true);
        Some(Box::new(run))
    }

    fn tell(&mut self, kind: StoreEventType, run: &SyncRun, event_id: EventId, now: Timestamp) {
        self.store.version += 1;
        let event = StoreEvent {
            store_id: self.store.store_id,
            version: self.store.version,
            event_id,
            tenant: self.store.tenant.clone(),
            organization: self.store.organization.clone(),
            kind,
            occurred_at: now,
            data: run.told().to_string(),
        };
        self.events.push(event);
    }
}

/// An error text of at most [`ERROR_BYTES_MAX`], without U+0000.
fn shortened(why: &str) -> String {
    let mut end = why.len().min(ERROR_BYTES_MAX);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    why[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
pub(crate) mod tests;
