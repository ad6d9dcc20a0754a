//! What a command means for an order: pure decisions, shared by every storage. A storage loads rows, asks here, and
//! writes what comes back.

use crate::clock::Timestamp;
use crate::command::{Accept, Change, ChangeKind};
use crate::error::Rejection;
use crate::fault_point;
use crate::ids::EventId;
use crate::intake;
use crate::lease::{Outcome, Work};
use crate::order::Order;
use crate::order::erasure::Erasure;
use crate::order::event::EventBody;
use crate::order::state::{Processing, Ruling};
use std::sync::Arc;
use std::time::Duration;

/// What becomes of the order's work row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkEffect {
    /// Nothing.
    Keep,
    /// It goes: nothing is left to do.
    Drop,
    /// A fresh row, due now; whoever holds the old one has lost it.
    Fresh,
    /// Due again at `at`, lease given up; `attempt` used up so far, lapses back to 0 if `settled`.
    Due {
        /// When.
        at: Timestamp,
        /// Attempts used up.
        attempt: u32,
        /// Whether a try ended (a release does not count).
        settled: bool,
    },
}

/// A change that is to be made: the event, and what becomes of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happens to the order; `None` when no event is appended.
    pub body: Option<EventBody>,
    /// What happens to the work row.
    pub work: WorkEffect,
}

/// How an accept meets an order that is there: the pointers that differ, empty when equal.
pub fn duplicate(order: &Order, digest: &[u8; 32], sent: &crate::order::Content) -> Vec<String> {
    if order.digest == *digest { Vec::new() } else { intake::differences(&order.content, sent) }
}

/// Whether an idempotency key that was used for `order` with content of digest `used` may be used for `accept`: for the
/// same request again, that is the same source, reference and content. No reference is another one than any reference.
///
/// # Errors
/// [`Rejection::KeyReused`], with what differs.
pub fn replay(order: &Order, used: &[u8; 32], accept: &Accept) -> Result<(), Rejection> {
    let sent = &accept.intake;
    let identity = [
        ("/source", sent.source == order.source),
        // An order keeps the reference that every request for it had.
        ("/reference", sent.reference == order.reference),
    ];
    let other = identity.iter().filter(|(_, same)| !same).map(|(pointer, _)| (*pointer).to_owned());
    let mut differs: Vec<String> = other.collect();
    let same_content = *used == accept.digest;
    if differs.is_empty() && same_content {
        return Ok(());
    }
    if !same_content {
        differs.extend(intake::differences(&order.content, &sent.content));
        differs.truncate(intake::DIFFERENCES_MAX);
    }
    Err(Rejection::KeyReused { order_id: order.id, differs })
}

/// What happens to a new order right behind its acceptance, in the same commit, so that it never has work; most often nothing.
pub fn withdrawal(accept: &Accept) -> Option<(EventId, EventBody)> {
    let withdrawal = accept.withdrawal.as_ref()?;
    let (reason, by) = (withdrawal.reason.clone(), withdrawal.by.clone());
    Some((withdrawal.event_id, EventBody::Withdrawn { reason, by, requeued: false }))
}

/// Decides a change; `Ok(None)` when it is so already. An erasure is decided by what lies in the order's history besides:
/// a storage puts [`Erasure::body`] in the place of this body, or does nothing when that is `None`.
///
/// # Errors
/// [`Rejection::OrderUnknown`] for another tenant's or source's order, [`Rejection::VersionMismatch`],
/// [`Rejection::IllegalChange`].
pub fn change(order: &Order, change: &Change) -> Result<Option<Decision>, Rejection> {
    if order.tenant != change.tenant || change.source.as_ref().is_some_and(|source| *source != order.source) {
        return Err(Rejection::OrderUnknown);
    }
    if let Some(expected) = change.expected_version.filter(|expected| *expected != order.version) {
        return Err(Rejection::VersionMismatch { expected, actual: order.version });
    }
    match change.kind.name().map(|name| (name, order.ruling(name))) {
        None | Some((_, Ruling::Change)) => Ok(decided(order, change)),
        Some((_, Ruling::Already)) => Ok(None),
        Some((name, Ruling::Refused)) => Err(Rejection::IllegalChange {
            change: name,
            processing: order.processing_at(change.now),
            fulfilment: order.fulfilment,
            withdrawn: order.withdrawn,
        }),
    }
}

fn decided(order: &Order, change: &Change) -> Option<Decision> {
    let by = change.by.clone();
    let (body, work) = match &change.kind {
        ChangeKind::Revise { content, requeue } => {
            let changed = intake::differences(&order.content, content);
            if changed.is_empty() {
                return None;
            }
            // Open work starts anew: whoever holds it, or tried it before, has the old content.
            let requeued = *requeue || must_have_work(order);
            let work = if requeued { WorkEffect::Fresh } else { WorkEffect::Keep };
            (EventBody::Revised { content: content.clone(), changed, requeued, by }, work)
        }
        ChangeKind::Withdraw { reason, by, requeue } => {
            let work = if *requeue { WorkEffect::Fresh } else { WorkEffect::Drop };
            (EventBody::Withdrawn { reason: reason.clone(), by: by.clone(), requeued: *requeue }, work)
        }
        ChangeKind::Ship { shipped_at, tracking_number } => {
            (shipped(order, *shipped_at, tracking_number.as_ref(), change.now, by)?, WorkEffect::Keep)
        }
        ChangeKind::Deliver { delivered_at } => {
            (EventBody::Delivered { delivered_at: *delivered_at, by }, WorkEffect::Keep)
        }
        ChangeKind::Redrive { reason, by } => {
            (EventBody::Redriven { reason: reason.clone(), by: by.clone() }, WorkEffect::Fresh)
        }
        ChangeKind::Erase => {
            // Whoever holds the work knows what is erased now, and would write it back with the words of a failure.
            let work = order.lease.map_or(WorkEffect::Keep, |lease| WorkEffect::Due {
                at: change.now,
                attempt: lease.attempt.saturating_sub(1),
                settled: false,
            });
            // The storage looks at the history besides, and perhaps there is nothing to do.
            (Erasure::of(order).body(by)?, work)
        }
        ChangeKind::Finish => (finished(order)?, WorkEffect::Drop),
    };
    Some(Decision { body: Some(body), work })
}

/// Work that was done elsewhere; the try that did it counts, though nobody here saw it. Nobody knows when that began: with
/// the last that happened to the order, for then the other program learned of it, or of what it now is. So a shipment in
/// between makes the try look shorter than it was, never longer than the order waited.
fn finished(order: &Order) -> Option<EventBody> {
    if order.processing == Processing::Done {
        return None;
    }
    let (attempt, started_at) =
        order.lease.map_or((order.attempt + 1, order.updated_at), |lease| (lease.attempt, lease.began_at));
    Some(EventBody::Processed { attempt, started_at })
}

/// An order is shipped once. Told again, that only fills in a tracking number that is not known yet.
fn shipped(
    order: &Order,
    shipped_at: Option<Timestamp>,
    tracking_number: Option<&String>,
    now: Timestamp,
    by: Option<Arc<str>>,
) -> Option<EventBody> {
    let Some(known) = order.shipped_at else {
        let shipped_at = shipped_at.unwrap_or(now);
        return Some(EventBody::Shipped { shipped_at, tracking_number: tracking_number.cloned(), by });
    };
    let agrees = shipped_at.is_none_or(|said| said == known) && order.tracking_number.is_none();
    let tracking_number = tracking_number.filter(|_| agrees)?.clone();
    Some(EventBody::Shipped { shipped_at: known, tracking_number: Some(tracking_number), by })
}

/// Decides the end of a leased piece of work. Being late is no loss by itself: until somebody else claims it, the
/// token still holds.
///
/// # Errors
/// [`Rejection::LeaseLost`] when the work is gone or the token is not the one that holds it.
pub fn settle(
    order: &Order,
    work: Option<&Work>,
    token: crate::ids::LeaseToken,
    outcome: &Outcome,
) -> Result<Decision, Rejection> {
    let held = work.is_some_and(|work| work.token == Some(token));
    if !held && !fault_point::planted("finish-without-token") {
        return Err(Rejection::LeaseLost);
    }
    let used = work.map_or(order.attempt, |work| work.attempt);
    let started_at = work.and_then(|work| work.claimed_at).unwrap_or(order.updated_at);
    let attempt = used + 1;
    Ok(match outcome {
        Outcome::Done => {
            Decision { body: Some(EventBody::Processed { attempt, started_at }), work: WorkEffect::Drop }
        }
        Outcome::Retry { at, why } => Decision {
            body: Some(EventBody::Failed { attempt, started_at, error: why.clone(), retry_at: *at }),
            work: WorkEffect::Due { at: *at, attempt, settled: true },
        },
        Outcome::Park { why } => Decision {
            body: Some(EventBody::Parked {
                attempt,
                lapses: work.map_or(0, |work| work.lapses),
                error: why.clone(),
                started_at: Some(started_at),
            }),
            work: WorkEffect::Drop,
        },
        Outcome::Release { at } => {
            Decision { body: None, work: WorkEffect::Due { at: *at, attempt: used, settled: false } }
        }
    })
}

/// What a claim does with a due piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Lease it; `lapses` leases in a row ran out before.
    Lease {
        /// As said.
        lapses: u32,
        /// Which try it is, from 1.
        attempt: u32,
        /// When the lease runs out.
        until: Timestamp,
    },
    /// Its leases keep running out: park it.
    Park(Box<EventBody>),
}

/// Decides a claim of due work. A lease that ran out counts as a lapse, not as an attempt.
pub fn claim(work: &Work, now: Timestamp, lease: Duration, lapses_max: u32) -> ClaimDecision {
    let lapses = work.lapses + u32::from(work.token.is_some());
    if lapses >= lapses_max.max(1) {
        let error = format!("{lapses} leases in a row ran out: the worker died or hung each time");
        return ClaimDecision::Park(Box::new(EventBody::Parked {
            attempt: work.attempt,
            lapses,
            error,
            started_at: None,
        }));
    }
    ClaimDecision::Lease { lapses, attempt: work.attempt + 1, until: now.plus(lease) }
}

/// When a lease of an order's work begins that is claimed at `now`: not before the order was accepted, though the clock
/// may have been set back since.
pub fn lease_begins(order: &Order, now: Timestamp) -> Timestamp {
    now.max(order.accepted_at)
}

/// Whether an order in this state must have a work row.
pub fn must_have_work(order: &Order) -> bool {
    match order.processing {
        Processing::Queued | Processing::Running => true,
        Processing::Done | Processing::Parked => false,
    }
}
