//! What commands do.

use super::state::{KeyRow, State, WorkRow};
use order_core::clock::Timestamp;
use order_core::command::{
    Accept, Change, ChangeKind, Changed, Claim, Claimed, Command, Heartbeat, Reply, Settle,
};
use order_core::decide::{self, ClaimDecision, Decision, WorkEffect};
use order_core::desk::Desk;
use order_core::error::Rejection;
use order_core::event::{Accepted as AcceptedBody, EventBody};
use order_core::ids::{EventId, LeaseToken, OrderId, TenantId};
use order_core::intake::Accepted;
use order_core::lease::{Leased, Work};
use order_core::order::Order;
use order_core::ports::Committed;
use order_core::query::PageWeight;

impl State {
    pub(super) fn apply_all(&mut self, batch: &[Command]) -> Committed {
        (self.journal_grew, self.work_due) = (false, false);
        let replies = batch.iter().map(|command| self.apply(command)).collect();
        Committed { replies, journal_grew: self.journal_grew, work_due: self.work_due }
    }

    pub(super) fn apply(&mut self, command: &Command) -> Result<Reply, Rejection> {
        self.trace = command.trace();
        match command {
            Command::Accept(accept) => self.accept(accept).map(Reply::Accepted),
            Command::Change(change) => self.change(change).map(Reply::Changed),
            Command::Consume(consume) => self.consume(consume).map(Reply::Consumed),
            Command::Claim(claim) => Ok(Reply::Claimed(self.claim(claim))),
            Command::Heartbeat(heartbeat) => Ok(Reply::Extended { lost: self.heartbeat(heartbeat) }),
            Command::Settle(settle) => self.settle(settle).map(|order| Reply::Settled(Box::new(order))),
            Command::Advance(advance) => self.advance(advance).map(|()| Reply::Done),
            Command::Follower(command) => self.follower(command),
            Command::Share(share) => self.share(share).map(|()| Reply::Done),
            Command::StartRedrive(start) => Ok(Reply::Redrive(Box::new(self.start_redrive(start)))),
            Command::StepRedrive(step) => {
                self.step_redrive(step).map(|redrive| Reply::Redrive(Box::new(redrive)))
            }
            Command::ApiKey(command) => self.api_key(command).map(|key| Reply::ApiKey(Box::new(key))),
            Command::Market(command) => self.market(command).map(|reply| Reply::Market(Box::new(reply))),
            Command::Recorded(recorded) => self.record(recorded),
            Command::Secrets(command) => Ok(self.secrets(command)),
            Command::Webhook(command) => self.webhook(command).map(|reply| Reply::Webhook(Box::new(reply))),
            Command::Sweep { before, limit } => Ok(Reply::Swept(self.sweep(*before, *limit))),
            Command::SweepInbox { before, limit } => Ok(Reply::Swept(self.sweep_inbox(*before, *limit))),
            Command::Probe => Ok(Reply::Done),
        }
    }

    fn accept(&mut self, accept: &Accept) -> Result<Accepted, Rejection> {
        let intake = &accept.intake;
        let key = intake.key.as_ref().map(|key| (intake.tenant.clone(), key.route, key.key.clone()));
        if let Some(row) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return self.accept_again(accept, row);
        }
        let accepted = match self.order(accept.order_id) {
            Some(order) => {
                let differs = decide::duplicate(&order, &accept.digest, &intake.content);
                Accepted::Duplicate { order: Box::new(order), differs }
            }
            None => Accepted::New(Box::new(self.insert(accept))),
        };
        let (Accepted::New(order) | Accepted::Duplicate { order, .. }) = &accepted;
        let equal = !matches!(&accepted, Accepted::Duplicate { differs, .. } if !differs.is_empty());
        if let Some(key) = key.filter(|_| equal) {
            let row = KeyRow { order_id: order.id, digest: accept.digest, used_at: accept.now };
            self.keys.insert(key, row);
        }
        Ok(accepted)
    }

    /// An accept whose idempotency key was used before.
    fn accept_again(&self, accept: &Accept, row: &KeyRow) -> Result<Accepted, Rejection> {
        let order = self.order(row.order_id).expect("the order of a key is kept");
        decide::replay(&order, &row.digest, accept)?;
        Ok(Accepted::Duplicate { order: Box::new(order), differs: Vec::new() })
    }

    fn insert(&mut self, accept: &Accept) -> Order {
        let number = self.numbers.last_key_value().map_or(1, |(number, _)| number + 1);
        let accepted = AcceptedBody {
            order_id: accept.order_id,
            number,
            source: accept.intake.source.clone(),
            reference: accept.intake.reference.clone(),
            content: accept.intake.content.clone(),
            by: accept.by.clone(),
        };
        let body = EventBody::Accepted(Box::new(accepted.clone()));
        let place = self.place(accept.order_id, accept.event_id, accept.now);
        let order = Order::accepted(accept.intake.tenant.clone(), accepted, accept.digest, place);
        self.append(order.clone(), &body, place, 0);
        match decide::withdrawal(accept) {
            Some((event_id, body)) => self.happen(order.id, &body, event_id, accept.now),
            None => self.work_effect(order.id, WorkEffect::Fresh, accept.now),
        }
        self.order(order.id).expect("it is there")
    }

    pub(super) fn change(&mut self, change: &Change) -> Result<Changed, Rejection> {
        let order = self.order(change.order_id).ok_or(Rejection::OrderUnknown)?;
        let mut decision = decide::change(&order, change)?;
        if change.kind == ChangeKind::Erase {
            let erased = self.erase(&order).body(change.by.clone()).map(Some);
            decision = decision.zip(erased).map(|(decision, body)| Decision { body, ..decision });
        }
        let changed = decision.is_some();
        if let Some(decision) = decision {
            self.carry_out(change.order_id, decision, change.event_id, change.now);
        }
        Ok(Changed { order: Box::new(self.order(change.order_id).ok_or(Rejection::OrderUnknown)?), changed })
    }

    fn carry_out(&mut self, order_id: OrderId, decision: Decision, event_id: EventId, now: Timestamp) {
        if let Some(body) = &decision.body {
            self.happen(order_id, body, event_id, now);
        }
        self.work_effect(order_id, decision.work, now);
    }

    fn work_effect(&mut self, order_id: OrderId, effect: WorkEffect, now: Timestamp) {
        match effect {
            WorkEffect::Keep => {}
            WorkEffect::Drop => {
                self.work.remove(&order_id);
            }
            WorkEffect::Fresh => {
                let work = Work {
                    order_id,
                    due_at: now,
                    attempt: 0,
                    lapses: 0,
                    token: None,
                    claimed_at: None,
                    trace: self.trace,
                };
                let order = &self.orders[&order_id];
                let (key, desk) = (order.number, Desk::of(&order.source));
                let row = WorkRow { key, tenant: order.tenant.clone(), desk, work };
                self.work.insert(order_id, row);
                self.work_due = true;
            }
            WorkEffect::Due { at, attempt, settled } => {
                let work = &mut self.work.get_mut(&order_id).expect("settled work has a row").work;
                (work.due_at, work.attempt) = (at, attempt);
                (work.token, work.claimed_at) = (None, None);
                if settled {
                    work.lapses = 0;
                }
                self.work_due |= at <= now;
            }
        }
    }

    fn claim(&mut self, claim: &Claim) -> Claimed {
        let mut due: Vec<(Timestamp, i64, OrderId)> = Vec::new();
        for (order_id, row) in &self.work {
            if row.work.due_at <= claim.now && self.is_work_for(claim, row) {
                due.push((row.work.due_at, row.key, *order_id));
            }
        }
        due.sort_unstable();
        let (mut claimed, mut weight) = (Claimed::default(), PageWeight::default());
        let (mut tokens, mut event_ids) = (claim.tokens.iter().peekable(), claim.event_ids.iter().peekable());
        for (_, _, order_id) in due {
            if weight.is_full() {
                break;
            }
            let (Some(token), Some(event_id)) = (tokens.peek(), event_ids.peek()) else { break };
            let work = self.work[&order_id].work.clone();
            claimed.lapsed += u32::from(work.token.is_some());
            match decide::claim(&work, claim.now, claim.lease, claim.lapses_max) {
                ClaimDecision::Park(body) => {
                    self.trace = work.trace;
                    self.happen(order_id, &body, **event_id, claim.now);
                    event_ids.next();
                    self.work.remove(&order_id);
                    claimed.parked += 1;
                }
                ClaimDecision::Lease { lapses, attempt, until } => {
                    let leased = self.lease(order_id, **token, claim.now, (lapses, attempt, until));
                    tokens.next();
                    weight.add(&leased.order);
                    claimed.leased.push(leased);
                }
            }
        }
        let taken = |row: &WorkRow| claimed.leased.iter().any(|leased| leased.order.id == row.work.order_id);
        let left = self.work.values().filter(|row| !taken(row));
        let left = left.filter(|row| self.is_work_for(claim, row));
        claimed.next_due = left.map(|row| row.work.due_at).min();
        claimed
    }

    fn is_work_for(&self, claim: &Claim, row: &WorkRow) -> bool {
        let owner = &self.orders[&row.work.order_id].tenant;
        claim.tenant.as_ref().is_none_or(|tenant| owner == tenant) && claim.desks.has(row.desk)
    }

    fn lease(
        &mut self,
        order_id: OrderId,
        token: LeaseToken,
        now: Timestamp,
        (lapses, attempt, until): (u32, u32, Timestamp),
    ) -> Leased {
        let began_at = decide::lease_begins(&self.orders[&order_id], now);
        let work = &mut self.work.get_mut(&order_id).expect("due work has a row").work;
        (work.lapses, work.due_at) = (lapses, until);
        (work.token, work.claimed_at) = (Some(token), Some(began_at));
        let trace = work.trace;
        let order = self.order(order_id).expect("work has an order");
        let (shard, effect_key) = (order_id.shard(self.shards), order.cause);
        Leased { order, shard, token, attempt, lapses, began_at, until, effect_key, trace }
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Vec<LeaseToken> {
        let mut lost = Vec::new();
        for (order_id, token) in &heartbeat.held {
            match self.work.get_mut(order_id) {
                Some(row) if row.work.token == Some(*token) => row.work.due_at = heartbeat.until,
                _ => lost.push(*token),
            }
        }
        lost
    }

    fn settle(&mut self, settle: &Settle) -> Result<Order, Rejection> {
        let order = self.order(settle.order_id).ok_or(Rejection::OrderUnknown)?;
        let work = self.work.get(&settle.order_id).map(|row| &row.work);
        let decision = decide::settle(&order, work, settle.token, &settle.outcome)?;
        self.carry_out(settle.order_id, decision, settle.event_id, settle.now);
        self.order(settle.order_id).ok_or(Rejection::OrderUnknown)
    }

    fn sweep(&mut self, before: Timestamp, limit: u32) -> u32 {
        let mut old: Vec<(Timestamp, (TenantId, &'static str, String))> = Vec::new();
        for (key, row) in self.keys.iter().filter(|(_, row)| row.used_at < before) {
            old.push((row.used_at, key.clone()));
        }
        old.sort();
        old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for (_, key) in &old {
            self.keys.remove(key);
        }
        u32::try_from(old.len()).unwrap_or(u32::MAX)
    }
}
