//! Webhooks on the wire.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

use utoipa::ToSchema;

/// An endpoint to be made.
#[derive(ToSchema)]
pub struct NewEndpoint {
    /// Where it is: `https`, on a public address.
    #[schema(min_length = 1, max_length = 2048, example = "https://shop.example/hooks")]
    pub url: String,
    /// What it hears of: types of events, `order.*`, `sync.*`, or `*`.
    #[schema(min_items = 1, max_items = 50, example = json!(["order.accepted", "order.shipped"]))]
    pub events: Vec<String>,
    /// Deliveries a second at most; as many as it takes unless said.
    #[schema(minimum = 1, maximum = 10_000, example = 50)]
    pub rate: Option<u32>,
}

/// What is to be changed of an endpoint.
#[derive(ToSchema)]
pub struct EndpointPatch {
    /// Where it is.
    #[schema(nullable = false, min_length = 1, max_length = 2048)]
    pub url: Option<String>,
    /// What it hears of.
    #[schema(nullable = false, min_items = 1, max_items = 50)]
    pub events: Option<Vec<String>>,
    /// Deliveries a second at most; `null` for as many as it takes.
    #[schema(minimum = 1, maximum = 10_000)]
    pub rate: Option<u32>,
}

/// How to rotate the secret of an endpoint.
#[derive(ToSchema)]
pub struct EndpointRotation {
    /// How long what is sent is signed with the present one too; 86400 unless said.
    #[schema(maximum = 86_400, example = 3600)]
    pub grace_seconds: Option<u32>,
    /// End the secret before the present one, if that still counts; else this is refused.
    pub end_previous: Option<bool>,
}

/// An endpoint.
#[derive(ToSchema)]
pub struct Endpoint {
    /// Its id.
    #[schema(format = "uuid")]
    pub endpoint_id: String,
    /// Where it is.
    pub url: String,
    /// What it hears of.
    pub events: Vec<String>,
    /// In whose words it is told: ours, or those of the contract `marketplace`.
    pub dialect: Dialect,
    /// Of the contract `marketplace`: whose stores alone it hears of.
    #[schema(required)]
    pub organization: Option<String>,
    /// Whether it is sent what it hears of.
    pub state: EndpointState,
    /// Why it is disabled.
    #[schema(required)]
    pub disabled_for: Option<DisabledFor>,
    /// Deliveries a second at most.
    #[schema(required)]
    pub rate: Option<u32>,
    /// Since when it has failed without one success; after five days of that it is disabled.
    #[schema(required, format = "date-time")]
    pub failing_since: Option<String>,
    /// Until when what is sent is signed with the secret before too.
    #[schema(required, format = "date-time")]
    pub previous_secret_until: Option<String>,
    /// When it was made.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it was changed last.
    #[schema(format = "date-time")]
    pub updated_at: String,
    /// What its deliveries are signed with. Only in the reply that makes or rotates it: nobody can show it again.
    #[schema(pattern = "^whsec_[A-Za-z0-9+/]{43}=$")]
    pub secret: Option<String>,
}

/// In whose words an endpoint is told.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Dialect {
    /// Ours.
    V1,
    /// Those of the contract `marketplace`.
    Marketplace,
}

/// Whether an endpoint is sent what it hears of.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum EndpointState {
    /// It is.
    Active,
    /// It is not; what it hears of waits for it.
    Paused,
    /// It is not, and nothing new is kept for it.
    Disabled,
}

/// Why an endpoint is disabled.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum DisabledFor {
    /// Somebody said so.
    Asked,
    /// It answered 410.
    Gone,
    /// It took nothing for five days.
    Failing,
    /// It is new, and has not answered a challenge yet: enable it.
    Unproven,
}

/// A page of endpoints.
#[derive(ToSchema)]
pub struct EndpointList {
    /// The endpoints, the newest first.
    pub endpoints: Vec<Endpoint>,
    /// Give it as `after` to get the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// What came of a test.
#[derive(ToSchema)]
pub struct EndpointTest {
    /// The `webhook-id` that was sent.
    #[schema(format = "uuid")]
    pub event_id: String,
    /// Whether it was taken: any 2xx.
    pub taken: bool,
    /// The status of the answer; `null` when there was none.
    #[schema(required)]
    pub status: Option<u16>,
    /// How long it took.
    pub took_ms: u64,
    /// Why there was no answer.
    #[schema(required)]
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub answer: String,
}

/// What became of a delivery.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is to be made, for the first time or again.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// It was given up.
    Failed,
}

/// One event for one endpoint.
#[derive(ToSchema)]
pub struct Delivery {
    /// Its id.
    pub delivery_id: String,
    /// To whom.
    #[schema(format = "uuid")]
    pub endpoint_id: String,
    /// About which order.
    #[schema(required, format = "uuid")]
    pub order_id: Option<String>,
    /// About which store.
    #[schema(required, format = "uuid")]
    pub store_id: Option<String>,
    /// The event's version. Of one that waits, perhaps the first that the endpoint may hear of.
    pub version: u64,
    /// What became of it.
    pub state: DeliveryState,
    /// The event, and the `webhook-id`; `null` while it is not known which is next.
    #[schema(required, format = "uuid")]
    pub event_id: Option<String>,
    /// The event's type; `null` while it is not known which is next.
    #[schema(required, rename = "type")]
    pub kind: Option<String>,
    /// Which try was the last; of one that waits, how many have failed.
    pub attempt: u32,
    /// When it is tried next; `null` while it is on its way, and when it ended.
    #[schema(required, format = "date-time")]
    pub due_at: Option<String>,
    /// Versions of the same order, or store, that wait behind it.
    pub behind: u64,
    /// When the last try ended.
    #[schema(required, format = "date-time")]
    pub ended_at: Option<String>,
    /// The status of the last answer.
    #[schema(required)]
    pub status: Option<u16>,
    /// Why it was not taken.
    #[schema(required)]
    pub error: Option<String>,
    /// The body that was sent, or is to be, byte for byte but for what was erased since. `null` when the event is not kept any more,
    /// or for callers who may not read orders (`orders:read`), or stores (`stores:read`); not in lists.
    pub body: Option<String>,
    /// What became of each try, the newest first; not in lists.
    pub attempts: Option<Vec<Attempt>>,
}

/// One try.
#[derive(ToSchema)]
pub struct Attempt {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    #[schema(format = "date-time")]
    pub at: String,
    /// What was sent, but for the body.
    pub request: AttemptRequest,
    /// How long it took.
    pub took_ms: u64,
    /// How it ended: `delivered`, `retry`, or `failed` when it was the last.
    pub outcome: String,
    /// The status of the answer.
    #[schema(required)]
    pub status: Option<u16>,
    /// Why it was not taken.
    #[schema(required)]
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub answer: String,
    /// When the next try was due.
    #[schema(required, format = "date-time")]
    pub retry_at: Option<String>,
}

/// What was sent.
#[derive(ToSchema)]
pub struct AttemptRequest {
    /// `POST`.
    pub method: String,
    /// The URL that was called; the endpoint may be elsewhere since.
    pub url: String,
    /// The headers that tell it from others.
    pub headers: AttemptHeaders,
}

/// Headers of a try. Its signatures follow from these and the body.
#[derive(ToSchema)]
pub struct AttemptHeaders {
    /// The id of the event.
    #[schema(rename = "webhook-id", format = "uuid")]
    pub webhook_id: String,
    /// When it was sent: seconds since 1970.
    #[schema(rename = "webhook-timestamp", example = "1767225600")]
    pub webhook_timestamp: String,
}

/// A page of deliveries.
#[derive(ToSchema)]
pub struct DeliveryList {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// Give it as `after` to get the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// What comes of asking for a delivery again.
#[derive(ToSchema)]
pub struct Resent {
    /// The delivery.
    pub delivery_id: String,
    /// Whether it would not have been made anyway.
    pub queued: bool,
}

/// Which deliveries to recover.
#[derive(ToSchema)]
pub struct Recovery {
    /// Whose.
    #[schema(format = "uuid")]
    pub endpoint_id: String,
    /// Given up at this moment or later.
    #[schema(format = "date-time")]
    pub since: String,
    /// Only count them.
    pub dry_run: Option<bool>,
}

/// What a recovery came to.
#[derive(ToSchema)]
pub struct Recovered {
    /// Whether they were only counted.
    pub dry_run: bool,
    /// How many: a number to 10 000, then the text `10000+`.
    #[schema(value_type = Value, example = 17)]
    pub count: String,
}

/// Among which events to look for deliveries that were missed.
#[derive(ToSchema)]
pub struct MissedDeliveries {
    /// Whose.
    #[schema(format = "uuid")]
    pub endpoint_id: String,
    /// `beginning`, a moment, a place of the feed, or `next` of the answer before.
    #[schema(min_length = 1, example = "2026-01-01T00:00:00Z")]
    pub from: String,
    /// Only count them.
    pub dry_run: Option<bool>,
}

/// What was found.
#[derive(ToSchema)]
pub struct Missed {
    /// Whether they were only counted.
    pub dry_run: bool,
    /// Events that were looked at.
    pub looked_at: u64,
    /// Deliveries that were neither made nor are to come; when they are sent, those that are now on their way.
    pub missing: u64,
    /// Where to go on; `null` at the end.
    #[schema(required)]
    pub next: Option<String>,
}
