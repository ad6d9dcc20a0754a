//! The order: what was bought, by whom, and how far it has come.

pub mod erasure;
pub mod event;
mod event_data;
pub mod money;
pub mod render;
pub mod state;

use crate::clock::Timestamp;
use crate::ids::{EventId, LeaseToken, OrderId, Reference, SourceId, TenantId};
use money::Money;
use serde_json::{Map, Value};
use state::{Fulfilment, Processing};

/// What the client said, as far as the core understands it; the rest is in `attributes`, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// Whose order it is, in the client's words.
    pub customer: Option<String>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// The things bought; may be empty when only a total is known.
    pub lines: Vec<Line>,
    /// The sum.
    pub total: Money,
    /// Kept verbatim and echoed.
    pub attributes: Map<String, Value>,
}

/// One item of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is, in the client's words.
    pub sku: String,
    /// How it is called.
    pub name: Option<String>,
    /// How many: 1 to 2147483647.
    pub quantity: u32,
    /// Price of one.
    pub unit_price: Money,
}

impl Line {
    /// `quantity × unit_price`; `None` when that has too many digits.
    pub fn amount(&self) -> Option<Money> {
        self.unit_price.times(self.quantity)
    }
}

impl Default for Money {
    fn default() -> Self {
        Self::ZERO
    }
}

/// A live or lapsed lease on an order's work, as read beside the order. Not part of what the journal folds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseView {
    /// The attempt that it is for, from 1.
    pub attempt: u32,
    /// When it was claimed.
    pub began_at: Timestamp,
    /// When it runs out.
    pub until: Timestamp,
    /// The fence value.
    pub token: LeaseToken,
}

/// An order as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// A number of its own, rising in the order of acceptance (with gaps).
    pub number: i64,
    /// Who owns it.
    pub tenant: TenantId,
    /// Where it came from.
    pub source: SourceId,
    /// The client's own id.
    pub reference: Option<Reference>,
    /// What was bought.
    pub content: Content,
    /// SHA-256 of the accepted content, so that `19.9` equals `19.90`.
    pub digest: [u8; 32],
    /// How many events it has: 1, 2, 3 …
    pub version: u64,
    /// The stored processing state: `queued`, `done` or `parked`.
    pub processing: Processing,
    /// How far the goods have come.
    pub fulfilment: Fulfilment,
    /// Soft-deleted or cancelled.
    pub withdrawn: bool,
    /// Attempts used up since acceptance or the last redrive: failed ones, and the one that succeeded.
    pub attempt: u32,
    /// Why the last attempt failed; cleared by success.
    pub last_error: Option<String>,
    /// When it came in.
    pub accepted_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
    /// When the attempt that ended last began.
    pub started_at: Option<Timestamp>,
    /// When its work was done.
    pub processed_at: Option<Timestamp>,
    /// When it was sent.
    pub shipped_at: Option<Timestamp>,
    /// The carrier's number.
    pub tracking_number: Option<String>,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
    /// The event that its present work is for: the idempotency key of that work's outside effect.
    pub cause: EventId,
    /// Position of its newest event in the journal of its shard.
    pub last_position: u64,
    /// The lease on its work, when there is one.
    pub lease: Option<LeaseView>,
}

impl Order {
    /// The processing state at `now`: `running` while a lease is live.
    pub fn processing_at(&self, now: Timestamp) -> Processing {
        if self.live_lease(now).is_some() { Processing::Running } else { self.processing }
    }

    /// The lease, unless it ran out before `now`.
    pub fn live_lease(&self, now: Timestamp) -> Option<&LeaseView> {
        self.lease.as_ref().filter(|lease| lease.until > now)
    }

    /// How many attempts failed since acceptance or the last redrive.
    pub fn failed_attempts(&self) -> u32 {
        match self.processing {
            Processing::Done if self.processed_at.is_some() => self.attempt.saturating_sub(1),
            Processing::Done | Processing::Queued | Processing::Running | Processing::Parked => self.attempt,
        }
    }
}
