//! What a sink refuses for good: the order's events from the refused one on wait for that follower, all others go on. An
//! operator sees them, and has them sent again, from that version on and in order, or without the refused event.

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::ids::{OrderId, Shard, TenantId};
use crate::journal::Event;
use crate::ports::RefusedEvent;
use crate::share;
use std::collections::BTreeMap;

/// About how many orders may be parked for one follower: each node that carries it looks for itself, so that many batches
/// more may be. A sink that refuses more than that counts as failing: it is the sink that is wrong, not the events.
pub const PARKED_MAX: u64 = 10_000;

/// Bytes of what a sink says of a refusal that are kept.
pub const DETAIL_BYTES_MAX: usize = 500;

/// Why a sink will never take an event as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedFor {
    /// It is larger than the sink takes.
    TooLarge,
    /// Nobody is there to take it.
    Unroutable,
    /// It is not what the sink takes.
    Invalid,
}

impl RefusedFor {
    /// Its name in rows and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::Unroutable => "unroutable",
            Self::Invalid => "invalid",
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::TooLarge, Self::Unroutable, Self::Invalid].into_iter().find(|reason| reason.name() == name)
    }
}

/// The events of one order that wait for one follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    /// The order's shard.
    pub shard: Shard,
    /// The order.
    pub order_id: OrderId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The event with this version and those behind it wait.
    pub from_version: u64,
    /// Why that event was refused.
    pub reason: RefusedFor,
    /// What the sink said of it; at most [`DETAIL_BYTES_MAX`].
    pub detail: String,
    /// When.
    pub parked_at: Timestamp,
    /// Whether they are to be sent again.
    pub redriving: bool,
}

/// Which of a follower's parked orders are asked for; they come by shard and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichStreams {
    /// A page of all of them, behind a place.
    Page {
        /// The last of the page before.
        after: Option<(Shard, OrderId)>,
        /// At most so many.
        limit: u32,
    },
    /// Those that are to be sent again.
    Redriving {
        /// Of these shards.
        shards: Vec<Shard>,
        /// At most so many.
        limit: u32,
    },
    /// Those of these orders.
    Of(Vec<OrderId>),
}

/// How far a parked order was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resent {
    /// The order.
    pub order_id: OrderId,
    /// From which version on it was parked.
    pub from_version: u64,
    /// From which version on there is more to send; `None` when it is not parked any more.
    pub next: Option<u64>,
}

/// What is parked when a sink has refused these of `events`: each order once, from its first refused version on.
///
/// # Errors
/// When the sink refused an event that it was not given, or none.
pub fn parked(
    events: &[Event],
    refused: &[RefusedEvent],
    now: Timestamp,
) -> Result<Vec<ParkedStream>, Fault> {
    let mut streams: BTreeMap<(Shard, OrderId), ParkedStream> = BTreeMap::new();
    for refused in refused {
        let event = events.get(refused.index);
        let event = event.ok_or_else(|| Fault::internal("a sink refused an event that it was not given"))?;
        let detail = share::beginning(refused.why.clone(), DETAIL_BYTES_MAX);
        let stream = ParkedStream {
            shard: event.shard,
            order_id: event.order_id,
            tenant: event.tenant.clone(),
            from_version: event.version,
            reason: refused.reason,
            detail,
            parked_at: now,
            redriving: false,
        };
        let first = streams.entry((event.shard, event.order_id)).or_insert_with(|| stream.clone());
        if stream.from_version < first.from_version {
            *first = stream;
        }
    }
    if streams.is_empty() {
        return Err(Fault::internal("a sink refused events and named none"));
    }
    Ok(streams.into_values().collect())
}

/// The events that do not wait for an operator.
pub fn without_parked(mut events: Vec<Event>, streams: &[ParkedStream]) -> Vec<Event> {
    let waiting: BTreeMap<OrderId, u64> =
        streams.iter().map(|stream| (stream.order_id, stream.from_version)).collect();
    events.retain(|event| waiting.get(&event.order_id).is_none_or(|from| event.version < *from));
    events
}
