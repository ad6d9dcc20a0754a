//! What can be asked of a storage about webhooks. Those that change orders' neighbours alone, never orders or their journal,
//! have a lane beside the others where the storage has one ([`crate::ports::Storage::has_lane_beside`]).

use super::attempt::Attempt;
use super::endpoint::{Endpoint, EndpointCommand, EndpointId};
use super::stream::{Head, Stream, Subject};
use crate::clock::Timestamp;
use crate::ids::{LeaseToken, TenantId};
use crate::journal::Event;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Most streams that one command puts versions into again.
pub const AGAIN_STREAMS_MAX: usize = 1_000;

/// See the module.
#[derive(Debug, Clone)]
pub enum WebhookCommand {
    /// Make or change an endpoint.
    Endpoint(EndpointCommand),
    /// Raise the streams of whoever listens.
    FanOut(FanOut),
    /// Lease due streams.
    Claim(ClaimStreams),
    /// End tries, and keep what became of them.
    Settle(SettleStreams),
    /// Send again what was sent or given up.
    Again(SendAgain),
    /// Take away what belongs to deleted endpoints, and tries before a moment.
    Sweep(SweepWebhooks),
}

impl WebhookCommand {
    /// Whether it waits for its turn rather than be refused: there is no more of it than was read or claimed.
    pub fn is_urgent(&self) -> bool {
        match self {
            Self::FanOut(_) | Self::Claim(_) | Self::Settle(_) => true,
            Self::Endpoint(_) | Self::Again(_) | Self::Sweep(_) => false,
        }
    }

    /// Bytes that it holds in memory, roughly, as [`crate::command::Command::footprint`] counts them.
    pub(crate) fn footprint(&self) -> usize {
        match self {
            Self::Endpoint(command) => command.action.footprint(),
            Self::FanOut(fan_out) => size_of_val(&*fan_out.events),
            Self::Settle(settle) => {
                let kept = |attempt: &Attempt| size_of::<Attempt>() + attempt.answer.len();
                let kept = settle.settles.iter().filter_map(|one| one.attempt.as_deref()).map(kept);
                size_of_val(&*settle.settles) + kept.sum::<usize>()
            }
            Self::Again(again) => {
                let versions = again.versions.iter().map(|(_, versions)| size_of_val(&**versions));
                size_of_val(&*again.versions) + versions.sum::<usize>()
            }
            Self::Claim(claim) => claim.held.len() * size_of::<(i64, usize)>(),
            Self::Sweep(_) => 0,
        }
    }
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookReply {
    /// To [`WebhookCommand::Endpoint`]: the endpoint as it is now.
    Endpoint(Box<Endpoint>),
    /// To [`WebhookCommand::FanOut`]: how many streams were raised, at most; those that were so already count.
    Raised(u64),
    /// To [`WebhookCommand::Claim`].
    Claimed(StreamsClaimed),
    /// To [`WebhookCommand::Settle`].
    Settled(StreamsSettled),
    /// To [`WebhookCommand::Again`]: how many deliveries are made that would not have been.
    Again(u64),
    /// To [`WebhookCommand::Sweep`]: how many rows went.
    Swept(u32),
}

/// See [`WebhookCommand::FanOut`]. The same events may come again.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// Events of the journal, in the order of their orders; `data` is not needed.
    pub events: Vec<Event>,
    /// When.
    pub now: Timestamp,
}

/// See [`WebhookCommand::Claim`].
#[derive(Debug, Clone)]
pub struct ClaimStreams {
    /// The fence value of all that it leases.
    pub token: LeaseToken,
    /// At most so many.
    pub room: usize,
    /// How many places the node has that claims.
    pub pool: usize,
    /// Streams that it holds, by endpoint.
    pub held: BTreeMap<i64, usize>,
    /// With which endpoint it begins where there is room for some alone: any number.
    pub turn: u64,
    /// Most streams of one endpoint that are leased at once, on all nodes together.
    pub in_flight_max: u32,
    /// The same of an endpoint that is not known to take anything: see [`super::claims::Standing`].
    pub unproven_max: u32,
    /// When.
    pub now: Timestamp,
    /// How long the lease lasts.
    pub lease: Duration,
}

/// See [`WebhookReply::Claimed`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamsClaimed {
    /// The streams, as they are now.
    pub streams: Vec<Stream>,
    /// The endpoints of these.
    pub endpoints: Vec<Endpoint>,
    /// When the next stream may be claimed that waits for its time, or for its endpoint's rate.
    pub next_due: Option<Timestamp>,
}

/// See [`WebhookCommand::Settle`].
#[derive(Debug, Clone)]
pub struct SettleStreams {
    /// What ended, each stream once.
    pub settles: Vec<Settle>,
    /// When.
    pub now: Timestamp,
}

/// A try that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The number of the endpoint.
    pub endpoint: i64,
    /// Which of its streams.
    pub subject: Subject,
    /// The fence value.
    pub token: LeaseToken,
    /// What was at its head.
    pub head: Head,
    /// Which version was sent; the last one that was passed over when none was.
    pub version: u64,
    /// How the stream goes on.
    pub how: SettleAs,
    /// What became of the try; `None` when nothing was sent.
    pub attempt: Option<Box<Attempt>>,
}

/// How a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleAs {
    /// Behind the version that was sent: it was taken, given up, or not wanted.
    Passed {
        /// From when on.
        at: Timestamp,
    },
    /// With the same once more.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// As if nothing had been tried: for faults of our own.
    Release {
        /// When.
        at: Timestamp,
    },
}

/// See [`WebhookReply::Settled`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamsSettled {
    /// The streams that were not held any more: nothing of their tries is kept.
    pub lost: Vec<(i64, Subject)>,
    /// Endpoints, among those that were sent something, that have not taken anything since then.
    pub failing: Vec<(i64, Timestamp)>,
}

/// See [`WebhookCommand::Again`].
#[derive(Debug, Clone)]
pub struct SendAgain {
    /// Whose.
    pub tenant: TenantId,
    /// The number of the endpoint.
    pub endpoint: i64,
    /// Its id.
    pub endpoint_id: EndpointId,
    /// Versions by subject, each subject once; at most [`AGAIN_STREAMS_MAX`].
    pub versions: Vec<(Subject, Vec<u64>)>,
    /// When.
    pub now: Timestamp,
    /// Who says so and why, for the action log: see [`crate::action_log::ActionKind`].
    pub because: AgainFor,
}

/// Why something is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgainFor {
    /// Somebody asked for one delivery.
    Asked,
    /// What was given up since a moment is recovered.
    Recovery,
    /// What was missed since a moment is made up for.
    Missing,
}

/// See [`WebhookCommand::Sweep`].
#[derive(Debug, Clone, Copy)]
pub struct SweepWebhooks {
    /// Tries that ended before this moment go.
    pub before: Timestamp,
    /// At most so many rows.
    pub limit: u32,
}

/// The streams of an endpoint that one tries to settle: tells what tries say of its health.
pub fn health(settles: &[Settle]) -> Vec<(i64, bool)> {
    use super::attempt::AttemptOutcome;
    let mut of: BTreeMap<i64, bool> = BTreeMap::new();
    for settle in settles {
        let Some(attempt) = &settle.attempt else { continue };
        *of.entry(settle.endpoint).or_default() |= attempt.outcome == AttemptOutcome::Delivered;
    }
    of.into_iter().collect()
}

/// The attempts of a batch as rows, but for those of streams that were lost.
pub fn kept_attempts<'s>(
    settles: impl IntoIterator<Item = &'s Settle>,
    lost: &[(i64, Subject)],
) -> impl Iterator<Item = &'s Attempt> {
    let lost: std::collections::BTreeSet<(i64, Uuid)> =
        lost.iter().map(|(endpoint, subject)| (*endpoint, subject.id)).collect();
    settles
        .into_iter()
        .filter(move |settle| !lost.contains(&(settle.endpoint, settle.subject.id)))
        .filter_map(|settle| settle.attempt.as_deref())
}
