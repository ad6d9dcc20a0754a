//! What can go wrong: business says no ([`Rejection`]), or infrastructure broke ([`Fault`]). Rejections carry data, not
//! sentences; each edge translates them exhaustively into its own words.

use crate::clock::Timestamp;
use crate::ids::OrderId;
use crate::order::state::{ChangeName, Fulfilment, Processing};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest time that those who are refused for overload are sent away for.
const RETRY_SECONDS_MAX: u64 = 4;

/// Either kind of failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Business says no.
    #[error(transparent)]
    Rejection(#[from] Rejection),
    /// Infrastructure broke.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Business says no. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such order for this tenant (and source, where the caller sees one only).
    #[error("no such order")]
    OrderUnknown,
    /// The idempotency key was used before, with another source, another reference (or none), or other content.
    #[error("the idempotency key was used for another request")]
    KeyReused {
        /// The order that the key stands for.
        order_id: OrderId,
        /// JSON pointers of what differs from that order as it is now; empty when the order has been revised since to
        /// what was sent.
        differs: Vec<String>,
    },
    /// The caller expected another version.
    #[error("version {actual} is not the expected {expected}")]
    VersionMismatch {
        /// What the caller expected.
        expected: u64,
        /// What the order has.
        actual: u64,
    },
    /// The table of transitions does not allow this change in this state.
    #[error("{change} is not allowed in state {processing}/{fulfilment}")]
    IllegalChange {
        /// What was asked for.
        change: ChangeName,
        /// Processing state at that time.
        processing: Processing,
        /// Fulfilment state at that time.
        fulfilment: Fulfilment,
        /// Whether the order is withdrawn.
        withdrawn: bool,
    },
    /// The lease is no longer ours: it ran out and was claimed again, or the work was replaced.
    #[error("the lease is lost")]
    LeaseLost,
    /// No such follower.
    #[error("no such follower")]
    FollowerUnknown,
    /// No such redrive job.
    #[error("no such redrive")]
    RedriveUnknown,
    /// No such API key for this tenant.
    #[error("no such API key")]
    ApiKeyUnknown,
    /// The API key is revoked or expired.
    #[error("the API key has ended")]
    ApiKeyEnded,
    /// The API key was rotated, and the secret before works until then.
    #[error("the secret before works until {until}")]
    ApiKeyGrace {
        /// When that is over.
        until: Timestamp,
    },
    /// The tenant has as many live API keys as it may.
    #[error("too many API keys")]
    ApiKeysTooMany,
    /// This process was given no key for secrets at rest, so it keeps and opens none.
    #[error("no key for secrets at rest is set")]
    SecretsKeyMissing,
    /// No such store for this tenant, or no store has this sync token.
    #[error("no such store")]
    StoreUnknown,
    /// Nobody connected that marketplace to this process.
    #[error("no such marketplace here")]
    MarketplaceUnknown,
    /// Nobody asked this store for that receipt.
    #[error("no such import")]
    ImportUnknown,
    /// No such endpoint of webhooks for this tenant.
    #[error("no such endpoint")]
    EndpointUnknown,
    /// The tenant has as many endpoints as it may.
    #[error("too many endpoints")]
    EndpointsTooMany,
    /// The endpoint is not any more as it was when this was asked for.
    #[error("the endpoint was changed meanwhile")]
    EndpointChanged,
    /// Whoever is at an endpoint has not said that they want to be called; what came instead, as the end of a sentence that
    /// begins with the endpoint.
    #[error("the endpoint {0}")]
    EndpointUnproven(String),
    /// The endpoint is disabled: what it would be sent would wait for as long as it is.
    #[error("the endpoint is disabled")]
    EndpointDisabled,
    /// The endpoint's secret was changed, and the one before counts until then.
    #[error("the secret before counts until {until}")]
    EndpointGrace {
        /// When that is over.
        until: Timestamp,
    },
    /// No such event for an endpoint to be sent.
    #[error("no such delivery")]
    DeliveryUnknown,
    /// The cursor was not made here, or was changed.
    #[error("the cursor is not valid")]
    CursorInvalid,
    /// The cursor belongs to an earlier history of the database.
    #[error("the cursor belongs to an earlier epoch")]
    EpochChanged,
    /// The cursor lies below what the journal still keeps.
    #[error("the cursor lies below what is kept")]
    CursorExpired,
}

/// Infrastructure broke. What was asked for did not happen, unless it says so.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// Storage cannot be written or read now (locked, full, missing, down); it may recover.
    #[error("unavailable for now: {why}")]
    Unavailable {
        /// For the log; never shown to a client.
        why: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Whether a credential is good cannot be found out now, through no fault of ours: who vouches for it is away.
    #[error("{why}")]
    LoginUnavailable {
        /// For the log; never shown to a client.
        why: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// More is asked for than can be queued: [`Fault::overloaded`].
    #[error("overloaded")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The process is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// Whether the commit took place could not be found out.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// The database refuses these very values; other commands of the batch are not to blame.
    #[error("the database refuses the data: {why}")]
    Data {
        /// For the log; never shown to a client.
        why: String,
    },
    /// Anything else: a defect, a corrupt row.
    #[error("internal: {why}")]
    Internal {
        /// For the log; never shown to a client.
        why: String,
    },
}

impl Fault {
    /// An internal fault, with what happened.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        Self::Internal { why: why.to_string() }
    }

    /// More is asked for than can be queued. Callers are told 1, 2, 3, 4 s in turn: those who are refused together do not come
    /// back together, and the refusals of a long overload, which cost as much as other work, become few.
    pub fn overloaded() -> Self {
        static REFUSED: AtomicU64 = AtomicU64::new(0);
        let turn = REFUSED.fetch_add(1, Ordering::Relaxed) % RETRY_SECONDS_MAX;
        Self::Overloaded { retry_after: Duration::from_secs(1 + turn) }
    }

    /// When a client may try again, for faults that pass.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. }
            | Self::LoginUnavailable { retry_after, .. }
            | Self::Overloaded { retry_after } => Some(*retry_after),
            Self::ShuttingDown | Self::OutcomeUnknown => Some(Duration::from_secs(1)),
            Self::Data { .. } | Self::Internal { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn who_is_refused_together_does_not_come_back_together() {
        let told: BTreeSet<_> =
            (0..100).filter_map(|_| Fault::overloaded().retry_after()).map(|wait| wait.as_secs()).collect();
        assert_eq!(told, BTreeSet::from([1, 2, 3, 4]));
    }
}
