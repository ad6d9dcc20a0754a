//! Work for workers outside.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

use super::{Order, Processing};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

/// How much work to lease, and for how long.
#[derive(ToSchema)]
#[schema(example = json!({"max": 10, "lease_seconds": 30}))]
pub struct Claim {
    /// At most so many.
    #[schema(minimum = 1, maximum = 100, default = 10)]
    pub max: Option<u32>,
    /// How long the leases last unless they are extended; the setting `worker.lease_ms` unless said.
    #[schema(minimum = 1, maximum = 3600)]
    pub lease_seconds: Option<u32>,
}

/// Work that was leased.
#[derive(ToSchema)]
pub struct ClaimedWork {
    /// Each piece; what is due longest comes first.
    pub work: Vec<LeasedWork>,
}

/// A piece of work in the hands of a worker.
#[derive(ToSchema)]
pub struct LeasedWork {
    /// The order.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// Extends the lease and ends the work. Nobody else can do either.
    pub token: String,
    /// Which try it is, from 1.
    #[schema(minimum = 1)]
    pub attempt: u32,
    /// When somebody else may claim it.
    #[schema(format = DateTime)]
    pub lease_until: String,
    /// For what the work does outside: the same over retries, leases that ran out, and redrives.
    #[schema(format = "uuid")]
    pub idempotency_key: String,
    /// Where in a trace (W3C Trace Context, `traceparent`) the try is: send it along with whatever the work calls. `null`
    /// when the order is of no trace.
    #[schema(required, example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    pub traceparent: Option<String>,
    /// The order as it was when claimed.
    pub order: Order,
}

/// Leases to extend: give `token`, or `tokens`.
#[derive(ToSchema)]
pub struct Heartbeat {
    /// One; 409 when it is lost.
    pub token: Option<String>,
    /// Several.
    #[schema(min_items = 1, max_items = 100)]
    pub tokens: Option<Vec<String>>,
    /// How long from now; the setting `worker.lease_ms` unless said.
    #[schema(minimum = 1, maximum = 3600)]
    pub lease_seconds: Option<u32>,
}

/// Leases that were extended.
#[derive(ToSchema)]
pub struct Extended {
    /// Until when.
    #[schema(format = DateTime)]
    pub lease_until: String,
    /// Those that are lost: stop the work.
    pub lost: Vec<String>,
}

/// How one piece of work ended.
#[derive(ToSchema)]
#[schema(example = json!({"token": "AZNHPSw7cACAAAAA", "outcome": "retry", "error": "the warehouse timed out"}))]
pub struct WorkResult {
    /// As the claim gave it.
    pub token: String,
    /// How it ended.
    pub outcome: WorkOutcome,
    /// Why, for people; with `retry` and `park`. What is over 1000 bytes is cut.
    #[schema(min_length = 1)]
    pub error: Option<String>,
    /// With `retry`: not before. The usual wait may be longer.
    #[schema(minimum = 0, maximum = 86_400)]
    pub retry_after_seconds: Option<u32>,
}

/// How work ends.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum WorkOutcome {
    /// Nothing is left to do.
    Done,
    /// It may succeed later: uses up an attempt, and the last one parks.
    Retry,
    /// It cannot succeed: an operator must look.
    Park,
}

/// Several pieces of work that ended.
#[derive(ToSchema)]
pub struct WorkResults {
    /// How each ended.
    #[schema(min_items = 1, max_items = 100)]
    pub results: Vec<WorkResult>,
}

/// One result, or several.
pub struct Finish;

impl ToSchema for Finish {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in [
            ("WorkResult", WorkResult::schema()),
            ("WorkResults", WorkResults::schema()),
            ("WorkOutcome", WorkOutcome::schema()),
        ] {
            schemas.push((name.to_owned(), schema));
        }
    }
}

impl PartialSchema for Finish {
    fn schema() -> RefOr<Schema> {
        one_of("WorkResult", "WorkResults", "One result, or several")
    }
}

/// What became of each.
#[derive(ToSchema)]
pub struct EndedList {
    /// In the order in which they were given.
    pub results: Vec<Ended>,
}

/// What became of one.
#[derive(ToSchema)]
pub struct Ended {
    /// The order.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// As it was given.
    pub token: String,
    /// What became of it.
    pub result: EndedAs,
    /// How far the order's work is now.
    #[schema(required)]
    pub processing: Option<Processing>,
}

/// What became of the end of a piece of work.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum EndedAs {
    /// It counts.
    Finished,
    /// Another has the work, or it is ended already: nothing was changed.
    LeaseLost,
    /// Send it again.
    Unavailable,
}

/// The order, or what became of each.
pub struct Finished;

impl ToSchema for Finished {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in
            [("EndedList", EndedList::schema()), ("Ended", Ended::schema()), ("EndedAs", EndedAs::schema())]
        {
            schemas.push((name.to_owned(), schema));
        }
    }
}

impl PartialSchema for Finished {
    fn schema() -> RefOr<Schema> {
        one_of("Order", "EndedList", "The order as it is now, or what became of each")
    }
}

fn one_of(one: &str, several: &str, description: &str) -> RefOr<Schema> {
    use utoipa::openapi::Ref;
    OneOfBuilder::new()
        .item(Ref::from_schema_name(one))
        .item(Ref::from_schema_name(several))
        .description(Some(description))
        .into()
}
