//! The timeline of an order.

use super::{FollowerState, Fulfilment, Processing};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Everything that happened to an order, what goes on now, and who has heard of it.
#[derive(ToSchema)]
#[schema(example = json!({
    "order_id": "230e0945-205f-8eaa-8fef-55ebf134b616", "version": 2, "shard": 0, "position": 4711,
    "now": {
        "at": "2026-11-20T10:00:05.000000Z",
        "summary": "Waits for attempt 2, due at 2026-11-20T10:00:06.500000Z",
        "processing": "queued", "fulfilment": "unshipped", "withdrawn": false, "attempt": null,
        "due_at": "2026-11-20T10:00:06.500000Z", "lapses": 0, "parked_since": null, "last_error": "timed out"
    },
    "entries": [
        {
            "version": 1, "at": "2026-11-20T10:00:00.123456Z", "type": "order.accepted",
            "summary": "Taken in from api as A-1001", "by": "api", "caused_by": null, "attempt": null,
            "event_id": "0193473d-2c3b-7000-8000-000000000001", "position": 4702,
            "data": {
                "order_id": "230e0945-205f-8eaa-8fef-55ebf134b616", "number": 17, "source": "api",
                "reference": "A-1001", "customer": "c-42", "currency": "EUR", "lines": [], "total": "19.90",
                "attributes": {}
            }
        },
        {
            "version": 2, "at": "2026-11-20T10:00:04.500000Z", "type": "order.processing_failed",
            "summary": "Attempt 1 failed after 3.000 s: timed out; the next is due at 2026-11-20T10:00:06.500000Z",
            "by": "worker", "caused_by": 1,
            "attempt": {
                "number": 1, "outcome": "failed", "began_at": "2026-11-20T10:00:01.500000Z",
                "ended_at": "2026-11-20T10:00:04.500000Z", "error": "timed out",
                "retry_at": "2026-11-20T10:00:06.500000Z"
            },
            "event_id": "0193473d-2c3b-7000-8000-000000000002", "position": 4711,
            "data": {
                "attempt": 1, "started_at": "2026-11-20T10:00:01.500000Z", "error": "timed out",
                "retry_at": "2026-11-20T10:00:06.500000Z"
            }
        }
    ],
    "truncated": false,
    "followers": [{"name": "ndjson", "state": "running", "position": 4711, "carried": true}]
}))]
pub struct Timeline {
    /// The order.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// Its version: how many events it has.
    pub version: u64,
    /// The part of the journal that it belongs to.
    pub shard: u16,
    /// The place of its newest event in that shard.
    pub position: u64,
    /// What goes on.
    pub now: TimelineNow,
    /// What happened, oldest first.
    pub entries: Vec<TimelineEntry>,
    /// Whether earlier entries are left out: the newest 1000 are shown, and fewer when they are large.
    pub truncated: bool,
    /// Who carries events on, and whether each has carried the order's newest one. Empty for tenants that do not run the
    /// installation.
    pub followers: Vec<TimelineFollower>,
}

/// What goes on with an order.
#[derive(ToSchema)]
pub struct TimelineNow {
    /// When this was read.
    #[schema(format = DateTime)]
    pub at: String,
    /// What goes on, in one sentence, for people.
    pub summary: String,
    /// How far its work is.
    pub processing: Processing,
    /// How far the goods are.
    pub fulfilment: Fulfilment,
    /// Whether it was deleted softly or cancelled.
    pub withdrawn: bool,
    /// The attempt that runs, if one does.
    #[schema(required)]
    pub attempt: Option<RunningAttempt>,
    /// From when on a worker may take it; `null` when an attempt runs or nothing is to do.
    #[schema(required, format = DateTime)]
    pub due_at: Option<String>,
    /// Leases in a row that ran out: workers died or hung.
    pub lapses: u32,
    /// Since when it waits for an operator.
    #[schema(required, format = DateTime)]
    pub parked_since: Option<String>,
    /// Why the last attempt failed.
    #[schema(required)]
    pub last_error: Option<String>,
}

/// An attempt that runs.
#[derive(ToSchema)]
pub struct RunningAttempt {
    /// Which one, from 1.
    pub number: u32,
    /// When a worker took it.
    #[schema(format = DateTime)]
    pub began_at: String,
    /// When the worker's right to it ends, unless extended.
    #[schema(format = DateTime)]
    pub lease_until: String,
}

/// Something that happened to an order.
#[derive(ToSchema)]
pub struct TimelineEntry {
    /// The version that it made.
    pub version: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What: a type of event.
    pub r#type: String,
    /// What, in one sentence, for people.
    pub summary: String,
    /// Who: `worker` for what became of an attempt; else the subject of a token, `key:` and the id of a key, `contract:` and
    /// its name where it asks for no login, or `local`. Of what earlier versions recorded, the source of an acceptance, and
    /// `null` where nothing is known.
    #[schema(required)]
    pub by: Option<String>,
    /// The version that led to this: for an attempt the event that asked for the work, for a redrive the parking.
    #[schema(required)]
    pub caused_by: Option<u64>,
    /// The attempt that ended with it, if one did.
    #[schema(required)]
    pub attempt: Option<EndedAttempt>,
    /// The event.
    #[schema(format = "uuid")]
    pub event_id: String,
    /// Its place in the shard.
    pub position: u64,
    /// The event's particulars, as in the feed.
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

/// An attempt that ended.
#[derive(ToSchema)]
pub struct EndedAttempt {
    /// Which one, from 1; a redrive or a revision starts over.
    pub number: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When it began; `null` where an earlier version did not record it.
    #[schema(required, format = DateTime)]
    pub began_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub ended_at: String,
    /// Why it failed.
    #[schema(required)]
    pub error: Option<String>,
    /// When the next one was due.
    #[schema(required, format = DateTime)]
    pub retry_at: Option<String>,
}

/// How an attempt ended.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum AttemptOutcome {
    /// Its work was done.
    Done,
    /// It failed, another follows.
    Failed,
    /// It failed, the order waits for an operator.
    Parked,
}

/// Whether a follower has carried an order's newest event on.
#[derive(ToSchema)]
pub struct TimelineFollower {
    /// Its name.
    pub name: String,
    /// Whether it carries events on.
    pub state: FollowerState,
    /// The newest position of the order's shard that its sink has safely.
    pub position: u64,
    /// Whether its sink has the order's newest event.
    pub carried: bool,
}
