//! The journal: an append-only log of everything that happened to every order, numbered per order and per shard.

use crate::clock::Timestamp;
use crate::error::{Fault, Rejection};
use crate::ids::{EventId, OrderId, Shard, SourceId, TenantId};
use crate::order::event::EventType;
use crate::ports::Storage;
use crate::trace::TraceContext;

/// A past-tense fact of one order, as it lies in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id; the same however often it is sent.
    pub event_id: EventId,
    /// Whose order it is. Not on the wire: a reader sees its own tenant only.
    pub tenant: TenantId,
    /// Where that order came from. Not on the wire.
    pub source: SourceId,
    /// The order.
    pub order_id: OrderId,
    /// Its number within the order: 1, 2, 3 … without gaps.
    pub version: u64,
    /// The shard of the order.
    pub shard: Shard,
    /// Its place in the shard: 1, 2, 3 … without gaps, in commit order.
    pub position: u64,
    /// Position of the order's event before this one in the same shard; 0 for the first.
    pub prev_position: u64,
    /// Which history of the database it belongs to; raised by a restore.
    pub epoch: u32,
    /// What happened.
    pub kind: EventType,
    /// The form of `data`.
    pub data_version: u16,
    /// The particulars: a JSON object.
    pub data: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Where in a trace it happened. Not on the wire.
    pub trace: Option<TraceContext>,
}

impl Event {
    /// The event as every consumer sees it: one JSON object, without a line break.
    pub fn to_json(&self) -> String {
        use std::fmt::Write;
        let mut json = String::with_capacity(self.data.len() + 320);
        // Ids, numbers and the names of types need no escaping; `data` is JSON already.
        let written = write!(
            json,
            r#"{{"event_id":"{}","order_id":"{}","version":{},"shard":{},"position":{},"type":"{}","occurred_at":"{}","epoch":{},"data_version":{},"data":{}}}"#,
            self.event_id,
            self.order_id,
            self.version,
            self.shard,
            self.position,
            self.kind.as_str(),
            self.occurred_at,
            self.epoch,
            self.data_version,
            self.data,
        );
        debug_assert!(written.is_ok());
        json
    }
}

/// What whoever waits for an order must know of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its place in the shard.
    pub position: u64,
    /// The order.
    pub order_id: OrderId,
    /// What happened.
    pub kind: EventType,
}

/// The head of a shard: what lies in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The shard.
    pub shard: Shard,
    /// The highest position below which nothing is kept; 0 when everything is.
    pub floor: u64,
    /// The newest position; the floor when nothing is there.
    pub position: u64,
}

/// What is to be read of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The shard.
    pub shard: Shard,
    /// The position behind which it begins.
    pub after: u64,
    /// At most so many events.
    pub limit: u32,
}

/// What lies in a slice, for who wants events of some sources alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The shard.
    pub shard: Shard,
    /// The last position.
    pub to: u64,
    /// How many events there are up to it.
    pub count: u64,
    /// All of them, if some are wanted; else none.
    pub events: Vec<Event>,
}

/// How far a reader has come: the newest position it has seen of each shard, in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch that the positions belong to.
    pub epoch: u32,
    /// By shard.
    pub positions: Vec<u64>,
}

impl Cursor {
    /// Before the first event of every shard.
    pub fn beginning(epoch: u32, shards: u16) -> Self {
        Self { epoch, positions: vec![0; usize::from(shards)] }
    }

    /// At the newest event of every shard.
    pub fn at_heads(epoch: u32, heads: &[Head]) -> Self {
        Self { epoch, positions: heads.iter().map(|head| head.position).collect() }
    }

    /// Moves behind an event, unless it is there already.
    pub fn pass(&mut self, event: &Event) {
        if let Some(position) = self.positions.get_mut(usize::from(event.shard.0)) {
            *position = event.position.max(*position);
        }
    }

    /// Whether an event lies behind.
    pub fn has_passed(&self, event: &Event) -> bool {
        self.positions.get(usize::from(event.shard.0)).is_some_and(|position| event.position <= *position)
    }

    /// Moves to where `other`, a cursor of the same epoch and shards, is further.
    pub fn reach(&mut self, other: &Self) {
        for (here, there) in self.positions.iter_mut().zip(&other.positions) {
            *here = (*here).max(*there);
        }
    }

    /// Whether this is nowhere before `other`, a cursor of the same epoch and shards.
    pub fn has_reached(&self, other: &Self) -> bool {
        self.positions.iter().zip(&other.positions).all(|(here, there)| here >= there)
    }

    /// Whether the journal can be read on from here.
    ///
    /// # Errors
    /// [`Rejection::EpochChanged`] for an older epoch, [`Rejection::CursorExpired`] below a floor,
    /// [`Rejection::CursorInvalid`] for another number of shards or a place that the journal has not reached.
    pub fn check(&self, epoch: u32, heads: &[Head]) -> Result<(), Rejection> {
        // Another history may have had other shards.
        if self.epoch < epoch {
            return Err(Rejection::EpochChanged);
        }
        if self.positions.len() != heads.len() || self.epoch > epoch {
            return Err(Rejection::CursorInvalid);
        }
        for (position, head) in self.positions.iter().zip(heads) {
            // A cursor at 0 means "the beginning of what is kept".
            if *position != 0 && *position < head.floor {
                return Err(Rejection::CursorExpired);
            }
            if *position > head.position {
                return Err(Rejection::CursorInvalid);
            }
        }
        Ok(())
    }
}

/// When the newest event happened; `None` when there is none.
///
/// # Errors
/// When the storage cannot be read.
pub async fn newest(storage: &dyn Storage) -> Result<Option<Timestamp>, Fault> {
    let mut newest = None;
    for head in storage.heads().await? {
        let last = storage.journal(head.shard, head.position.saturating_sub(1).max(head.floor), 1).await?;
        newest = newest.max(last.first().map(|event| event.occurred_at));
    }
    Ok(newest)
}
