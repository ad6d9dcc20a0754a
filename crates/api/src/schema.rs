//! What goes over the wire, as the OpenAPI document describes it. Replies are written by hand from the core's own
//! types; a test holds them against these.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

mod changes;
pub mod events;
mod followers;
pub mod keys;
pub mod operate;
pub mod stores;
mod timeline;
pub mod webhooks;
pub mod work;

pub use changes::{Action, ActionName, Erasure, NewDelivery, NewShipment, NewWithdrawal, OrderPatch};
pub use followers::{
    Follower, FollowerList, FollowerParked, FollowerParkedList, FollowerRedrive, FollowerRedriven,
    FollowerRefusal, FollowerReplay, FollowerShard, FollowerState, Replay,
};
pub use timeline::{
    AttemptOutcome, EndedAttempt, RunningAttempt, Timeline, TimelineEntry, TimelineFollower, TimelineNow,
};

use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// An amount: a decimal of at most 28 digits and 28 decimals, as a string, so that no reader rounds it.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$", example = "19.90")]
pub struct Money(pub String);

/// An amount of zero or more: a decimal as a string, or a JSON number, which is read exactly.
pub struct NewMoney(pub Value);

impl ToSchema for NewMoney {}

impl PartialSchema for NewMoney {
    fn schema() -> RefOr<Schema> {
        let text =
            ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"));
        let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0));
        let description =
            "An amount of zero or more: a decimal as a string, or a number, which is read exactly";
        OneOfBuilder::new().item(text).item(number).description(Some(description)).examples(["19.90"]).into()
    }
}

/// How many match, exact up to 10000.
pub struct Matched(pub Value);

impl ToSchema for Matched {}

impl PartialSchema for Matched {
    fn schema() -> RefOr<Schema> {
        let exact = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(10_000));
        let more = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["10000+"]));
        OneOfBuilder::new()
            .item(exact)
            .item(more)
            .description(Some("A number, or `10000+`"))
            .examples([3])
            .into()
    }
}

/// How far an order's work is: `queued` (waits for a worker), `running` (a worker has it), `done`, or `parked` (waits
/// for an operator).
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Processing {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Nothing is left to do.
    Done,
    /// Waits for an operator.
    Parked,
}

/// How far the goods have come.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Fulfilment {
    /// Not sent yet.
    Unshipped,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
}

/// The answer to one line of a bulk request.
#[derive(ToSchema)]
pub struct BulkAnswer {
    /// The number of the line, from 1; blank lines count.
    #[schema(minimum = 1)]
    pub line: u64,
    /// What a request with this order alone would be answered: 201, 200 if it was taken in before, or why not.
    pub status: u16,
    /// The order, when it is taken in.
    #[schema(format = "uuid")]
    pub order_id: Option<String>,
    /// `true` when it was taken in before, with the same content.
    pub replayed: Option<bool>,
    /// Why it is not taken in; `retry_after` (seconds) when the same line may be taken in later.
    pub problem: Option<Problem>,
}

/// An order to take in. Give `lines`, `total`, or both; both must agree.
#[derive(ToSchema)]
#[schema(
    example = json!({
        "reference": "A-1001", "customer": "c-42", "currency": "EUR",
        "lines": [{"sku": "tea", "quantity": 2, "unit_price": "9.95", "name": "Green tea"}],
        "total": "19.90", "attributes": {"gift": true}
    })
)]
pub struct NewOrder {
    /// Your own id for it, 1 to 255 bytes. Together with `source` it is unique for ever: the same again is answered
    /// with the order that exists.
    #[schema(min_length = 1, max_length = 255)]
    pub reference: Option<String>,
    /// Which system it comes from; `api` unless said. Names of contracts are reserved.
    #[schema(pattern = "^[a-z0-9-]{1,64}$", default = "api")]
    pub source: Option<String>,
    /// Whose it is, in your words, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub customer: Option<String>,
    /// ISO 4217 code.
    #[schema(pattern = "^[A-Z]{3}$")]
    pub currency: Option<String>,
    /// What was bought.
    pub lines: Option<Vec<NewLine>>,
    /// The sum.
    pub total: Option<NewMoney>,
    /// Anything else; kept as it is and given back.
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Map<String, Value>>,
}

/// One item of an order to take in.
#[derive(ToSchema)]
pub struct NewLine {
    /// What it is, in your words, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub sku: String,
    /// How it is called, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// How many.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    pub quantity: u32,
    /// Price of one.
    pub unit_price: NewMoney,
}

/// An order as it is now.
#[derive(ToSchema)]
#[schema(example = json!({
    "order_id": "230e0945-205f-8eaa-8fef-55ebf134b616", "number": 17, "source": "api", "reference": "A-1001",
    "customer": "c-42", "currency": "EUR",
    "lines": [{"sku": "tea", "name": "Green tea", "quantity": 2, "unit_price": "9.95", "amount": "19.90"}],
    "total": "19.90", "attributes": {"gift": true}, "version": 1, "processing": "queued", "fulfilment": "unshipped",
    "withdrawn": false, "attempt": 0, "last_error": null, "accepted_at": "2026-11-20T10:00:00.123456Z",
    "updated_at": "2026-11-20T10:00:00.123456Z", "processed_at": null,
    "shipped_at": null, "tracking_number": null, "delivered_at": null,
    "actions": [
        {"name": "revise", "method": "PATCH", "href": "/v1/orders/230e0945-205f-8eaa-8fef-55ebf134b616"},
        {"name": "withdraw", "method": "POST", "href": "/v1/orders/230e0945-205f-8eaa-8fef-55ebf134b616/withdrawals"},
        {"name": "ship", "method": "POST", "href": "/v1/orders/230e0945-205f-8eaa-8fef-55ebf134b616/shipments"},
        {"name": "deliver", "method": "POST", "href": "/v1/orders/230e0945-205f-8eaa-8fef-55ebf134b616/deliveries"},
        {"name": "erase", "method": "POST", "href": "/v1/orders/230e0945-205f-8eaa-8fef-55ebf134b616/erasures"}
    ]
}))]
pub struct Order {
    /// Its id.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// A number of its own, rising in the order of acceptance, with gaps.
    #[schema(minimum = 1)]
    pub number: i64,
    /// Where it came from.
    pub source: String,
    /// The client's own id.
    #[schema(required)]
    pub reference: Option<String>,
    /// Whose it is.
    #[schema(required)]
    pub customer: Option<String>,
    /// ISO 4217 code.
    #[schema(required)]
    pub currency: Option<String>,
    /// What was bought; empty when only a total is known.
    pub lines: Vec<Line>,
    /// The sum.
    pub total: Money,
    /// What the client added.
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// How many events it has; the entity tag.
    #[schema(minimum = 1)]
    pub version: u64,
    /// How far its work is.
    pub processing: Processing,
    /// How far the goods are.
    pub fulfilment: Fulfilment,
    /// Whether it was deleted softly or cancelled.
    pub withdrawn: bool,
    /// Attempts since acceptance or the last redrive: used up, or the one that runs.
    pub attempt: u32,
    /// Why the last attempt failed.
    #[schema(required)]
    pub last_error: Option<String>,
    /// When it came in.
    #[schema(format = DateTime)]
    pub accepted_at: String,
    /// When its last event happened.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// When its work was done.
    #[schema(required, format = DateTime)]
    pub processed_at: Option<String>,
    /// When it was shipped, as whoever shipped it said.
    #[schema(required, format = DateTime)]
    pub shipped_at: Option<String>,
    /// How its carrier calls it.
    #[schema(required)]
    pub tracking_number: Option<String>,
    /// When it was delivered, as whoever delivered it said.
    #[schema(required, format = DateTime)]
    pub delivered_at: Option<String>,
    /// What may be done with it now, by whoever asked.
    pub actions: Vec<Action>,
}

/// One item of an order.
#[derive(ToSchema)]
pub struct Line {
    /// What it is, in the client's words.
    pub sku: String,
    /// How it is called.
    #[schema(required)]
    pub name: Option<String>,
    /// How many.
    pub quantity: u32,
    /// Price of one.
    pub unit_price: Money,
    /// Price of all.
    pub amount: Money,
}

/// A page of orders.
#[derive(ToSchema)]
pub struct OrderList {
    /// The orders; may be empty although a next page exists.
    pub orders: Vec<Order>,
    /// Give it as `after`, with the same filters, to get the next page; `null` when this was the last. With
    /// `updated_since` it is always there: give it as `updated_since` to hear of what changes from now on.
    #[schema(required)]
    pub next: Option<String>,
    /// With `updated_since`: whether nothing that has changed is left.
    pub up_to_date: Option<bool>,
}

/// Something that happened to an order. Readers ignore types and fields that they do not know.
#[derive(ToSchema)]
#[schema(example = json!({
    "event_id": "0193473d-2c3b-7000-8000-000000000001", "order_id": "230e0945-205f-8eaa-8fef-55ebf134b616",
    "version": 2, "shard": 6, "position": 4711, "type": "order.processed",
    "occurred_at": "2026-11-20T10:00:02.123456Z", "epoch": 1, "data_version": 1,
    "data": {"attempt": 1, "started_at": "2026-11-20T10:00:00.234567Z"}
}))]
pub struct Event {
    /// Its id; the same however often it is read.
    #[schema(format = "uuid")]
    pub event_id: String,
    /// The order.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// Its number within the order: 1, 2, 3 … without gaps.
    #[schema(minimum = 1)]
    pub version: u64,
    /// The part of the journal that the order belongs to.
    pub shard: u16,
    /// Its place in the shard: 1, 2, 3 … without gaps, in commit order.
    #[schema(minimum = 1)]
    pub position: u64,
    /// What happened: `order.accepted`, `order.revised`, `order.processed`, `order.processing_failed`, `order.parked`,
    /// `order.redriven`, `order.shipped`, `order.delivered`, `order.withdrawn`, `order.erased`.
    pub r#type: String,
    /// When.
    #[schema(format = DateTime)]
    pub occurred_at: String,
    /// Which history of the database it belongs to; raised by a restore.
    pub epoch: u32,
    /// The form of `data`.
    pub data_version: u16,
    /// The particulars; `/schemas/events` has a JSON Schema for each type.
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
}

/// Events, oldest first.
#[derive(ToSchema)]
pub struct EventList {
    /// The events; may be empty although more follow.
    pub events: Vec<Event>,
    /// Give it as `after` to read on. It is always there, and stands still at the end.
    #[schema(required)]
    pub next: Option<String>,
}

/// Events of one order, oldest first.
#[derive(ToSchema)]
pub struct OrderEventList {
    /// The events.
    pub events: Vec<Event>,
    /// Give it as `after` to read on; `null` on the last page.
    #[schema(required)]
    pub next: Option<String>,
    /// Whether events that belong before these, or all, are no longer kept: where the journal is not kept for ever.
    pub truncated: bool,
}

/// Which parked orders to redrive: name them, or say `all`, or give conditions, which must all hold. The conditions are those
/// of `GET /v1/parked`.
#[derive(ToSchema)]
pub struct RedriveFilter {
    /// These orders, 1 to 1000.
    #[schema(min_items = 1, max_items = 1000, format = "uuid")]
    pub order_ids: Option<Vec<String>>,
    /// All parked orders that meet the rest.
    pub all: Option<bool>,
    /// Only orders whose id, reference or customer begins with this, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub q: Option<String>,
    /// Only orders of this source.
    #[schema(pattern = "^[a-z0-9-]{1,64}$")]
    pub source: Option<String>,
    /// Only orders in this state.
    pub fulfilment: Option<Fulfilment>,
    /// Only withdrawn, or only not withdrawn, ones.
    pub withdrawn: Option<bool>,
    /// Only orders of this customer, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub customer: Option<String>,
    /// Only orders accepted at this moment or later.
    #[schema(format = DateTime)]
    pub accepted_from: Option<String>,
    /// Only orders accepted before this moment.
    #[schema(format = DateTime)]
    pub accepted_to: Option<String>,
    /// Only orders whose last error contains this text, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub error_contains: Option<String>,
}

/// A redrive to start, or to try dry.
#[derive(ToSchema)]
#[schema(
    example = json!({"filter": {"error_contains": "timed out"}, "reason": "the warehouse is back", "dry_run": false})
)]
pub struct NewRedrive {
    /// Which orders.
    pub filter: RedriveFilter,
    /// Why, in your words, 1 to 1000 bytes; required unless `dry_run`.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: Option<String>,
    /// Only count what matches.
    #[schema(default = false)]
    pub dry_run: Option<bool>,
}

/// What a redrive would take.
#[derive(ToSchema)]
pub struct DryRun {
    /// Always `true`.
    pub dry_run: bool,
    /// How many orders match.
    pub matched: Matched,
}

/// A redrive job and how far it is.
#[derive(ToSchema)]
pub struct Redrive {
    /// Its id.
    #[schema(format = "uuid")]
    pub redrive_id: String,
    /// `running` or `finished`.
    pub state: RedriveState,
    /// Why.
    pub reason: String,
    /// Orders redriven so far.
    pub redriven: u64,
    /// Orders that could not be: unknown, or not parked.
    pub refused: u64,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it moved last.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// How far a redrive job is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum RedriveState {
    /// Orders are left.
    Running,
    /// Nothing is left to do.
    Finished,
}

/// What became of one order of a redrive.
#[derive(ToSchema)]
pub struct RedriveItem {
    /// The order.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// `redriven`, `unknown` or `not_parked`.
    pub result: String,
}

/// A page of a redrive's results, in the order in which they came.
#[derive(ToSchema)]
pub struct RedriveItemList {
    /// The results.
    pub items: Vec<RedriveItem>,
    /// Give it as `after` to get the next page; `null` when this was the last so far.
    #[schema(required)]
    pub next: Option<String>,
}

/// A refusal (RFC 9457).
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "urn:wellorder:problem:value-refused", "title": "A value is refused", "status": 422,
    "detail": "One value is refused; see errors", "request_id": "0193473d2c3b70008000000000000001",
    "errors": [{"pointer": "/lines/0/quantity", "code": "range", "message": "must be an integer from 1 to 2147483647"}]
}))]
pub struct Problem {
    /// `urn:wellorder:problem:` and the name of the kind; never changes its meaning.
    pub r#type: String,
    /// The kind, for people.
    pub title: String,
    /// The status of the reply.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// The id of the request, also in `X-Request-Id` and in the log.
    pub request_id: String,
    /// What is wrong with the input, each at its place.
    pub errors: Option<Vec<ProblemError>>,
    /// `duplicate-differs`, `key-reused`: the order that exists.
    #[schema(format = "uuid")]
    pub order_id: Option<String>,
    /// `duplicate-differs`: JSON pointers of what differs.
    pub pointers: Option<Vec<String>>,
    /// `version-mismatch`, `already-differs`: the version that the order has.
    pub version: Option<u64>,
    /// Of a line of a bulk request: after how many seconds it may be sent again.
    pub retry_after: Option<u64>,
    /// `illegal-change`: what was asked for.
    pub change: Option<ActionName>,
    /// `illegal-change`: how far the order's work is.
    pub processing: Option<Processing>,
    /// `illegal-change`: how far its goods are.
    pub fulfilment: Option<Fulfilment>,
    /// `illegal-change`: whether it is withdrawn.
    pub withdrawn: Option<bool>,
}

/// One thing that is wrong with the input: at `pointer` in the body, or in `parameter` (then `pointer` is its name).
#[derive(ToSchema)]
pub struct ProblemError {
    /// JSON pointer (RFC 6901) into the body; empty for the whole of it.
    pub pointer: Option<String>,
    /// A parameter of the path or the query.
    pub parameter: Option<String>,
    /// What is wrong, for programs.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
}

/// Whether the process lives.
#[derive(ToSchema)]
pub struct Alive {
    /// `ok`.
    pub status: String,
}

/// Whether orders can be taken in.
#[derive(ToSchema)]
pub struct Ready {
    /// `ready` or `not-ready`.
    pub status: String,
    /// With `?verbose`: what was looked at.
    pub checks: Option<Vec<ReadyCheck>>,
}

/// One thing that was looked at.
#[derive(ToSchema)]
pub struct ReadyCheck {
    /// What.
    pub name: String,
    /// Whether it is well enough to take orders in.
    pub ok: bool,
    /// How it is.
    pub detail: String,
}
