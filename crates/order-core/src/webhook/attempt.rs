//! What became of each try, as it is kept; and what can be asked about deliveries.

use super::endpoint::{EndpointId, words};
use super::stream::{Stream, Subject};
use crate::clock::Timestamp;
use crate::ids::{EventId, TenantId};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

words! {
    /// How a try ended.
    AttemptOutcome {
        /// The receiver has it.
        Delivered = "delivered",
        /// It has not, and another try follows.
        Retry = "retry",
        /// It has not, and that was the last try: the stream goes on without it.
        Failed = "failed",
    }
}

/// One try. Rows of these are added, and never changed but for an erasure, which blanks the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its id (UUIDv7), by which tries are in order.
    pub attempt_id: Uuid,
    /// The number of the endpoint.
    pub endpoint: i64,
    /// Whose.
    pub tenant: TenantId,
    /// What the event is about.
    pub subject: Subject,
    /// The version of the event.
    pub version: u64,
    /// Its id, which was the `webhook-id`.
    pub event_id: EventId,
    /// Its type.
    pub kind: String,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// When it began; the `webhook-timestamp` to the second.
    pub at: Timestamp,
    /// The URL that was called; the endpoint may be elsewhere since.
    pub url: String,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// Why it was not taken, for people.
    pub why: Option<String>,
    /// The first bytes of the answer.
    pub answer: Vec<u8>,
    /// When the next try is due.
    pub retry_at: Option<Timestamp>,
}

/// One event for one endpoint: what a delivery is called. `ENDPOINT.SUBJECT.VERSION`, so that it needs no row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryId {
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// The id of the order or the store.
    pub subject: Uuid,
    /// The version of the event.
    pub version: u64,
}

impl DeliveryId {
    /// Reads what is shown.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (endpoint, subject, version) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = !version.is_empty() && version.len() < 20 && version.bytes().all(|b| b.is_ascii_digit());
        if parts.next().is_some() || endpoint.len() != 36 || subject.len() != 36 || !digits {
            return None;
        }
        Some(Self {
            endpoint_id: EndpointId(Uuid::try_parse(endpoint).ok()?),
            subject: Uuid::try_parse(subject).ok()?,
            version: version.parse().ok().filter(|version| *version > 0)?,
        })
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.endpoint_id, self.subject.hyphenated(), self.version)
    }
}

/// Which tries are asked for: those of a tenant, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Of this endpoint alone.
    pub endpoint: Option<i64>,
    /// About this order or store alone.
    pub subject: Option<Uuid>,
    /// Of this version alone.
    pub version: Option<u64>,
    /// With these outcomes alone; never empty.
    pub outcomes: Vec<AttemptOutcome>,
    /// Only tries with a lower id: where the page before ended.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: u32,
}

/// Which streams are asked for: those of a tenant, by endpoint and subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Of this endpoint alone.
    pub endpoint: Option<i64>,
    /// About this order or store alone.
    pub subject: Option<Uuid>,
    /// Only those behind this one: where the page before ended.
    pub after: Option<(i64, Uuid)>,
    /// At most so many.
    pub limit: u32,
}

impl StreamQuery {
    /// Whether it asks for a stream.
    pub fn matches(&self, stream: &Stream) -> bool {
        stream.tenant == self.tenant
            && self.endpoint.is_none_or(|endpoint| stream.endpoint == endpoint)
            && self.subject.is_none_or(|subject| stream.subject.id == subject)
            && self.after.is_none_or(|after| (stream.endpoint, stream.subject.id) > after)
    }
}

impl AttemptQuery {
    /// Whether it asks for a try.
    pub fn matches(&self, attempt: &Attempt) -> bool {
        attempt.tenant == self.tenant
            && self.endpoint.is_none_or(|endpoint| attempt.endpoint == endpoint)
            && self.subject.is_none_or(|subject| attempt.subject.id == subject)
            && self.version.is_none_or(|version| attempt.version == version)
            && self.outcomes.contains(&attempt.outcome)
            && self.before.is_none_or(|before| attempt.attempt_id < before)
    }
}

/// Deliveries that were given up, as a recovery finds them: the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The number of the endpoint.
    pub endpoint: i64,
    /// Given up at this moment or later.
    pub since: Timestamp,
    /// Those behind this try alone: where the page before ended.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: u32,
}

/// How much waits for receivers; for metrics. Read at a cost that does not grow with the number of streams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookBacklog {
    /// Streams of active endpoints that are due, counted up to [`crate::query::DUE_COUNT_MAX`].
    pub due: u64,
    /// Since when the oldest of them is due.
    pub due_since: Option<Timestamp>,
    /// Deliveries on their way.
    pub leased: u64,
    /// Endpoints by state: active, paused, disabled.
    pub endpoints: [u64; 3],
    /// Active endpoints that have failed since their last success.
    pub failing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_delivery_reads_back_and_nothing_else_does() {
        let id = DeliveryId {
            endpoint_id: EndpointId(Uuid::from_u128(7)),
            subject: Uuid::from_u128(9),
            version: 12,
        };
        let text = id.to_string();
        assert_eq!(DeliveryId::parse(&text), Some(id));
        for bad in [
            "",
            "a.b.c",
            &text[1..],
            &format!("{text}.1"),
            &text.replace(".12", ".0"),
            &text.replace(".12", ".+1"),
        ] {
            assert_eq!(DeliveryId::parse(bad), None, "{bad}");
        }
    }
}
