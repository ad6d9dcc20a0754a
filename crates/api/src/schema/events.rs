//! What the `data` of each type of event holds. A type only ever gains members; what would break a reader is a new type.

use super::{Line, Money};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What an order was taken in with.
#[derive(ToSchema)]
#[schema(example = json!({
    "order_id": "230e0945-205f-8eaa-8fef-55ebf134b616", "number": 17, "source": "api", "reference": "A-1001",
    "customer": "c-42", "currency": "EUR",
    "lines": [{"sku": "tea", "name": "Green tea", "quantity": 2, "unit_price": "9.95", "amount": "19.90"}],
    "total": "19.90", "attributes": {"gift": true}, "by": "key:0123456789abcdef"
}))]
pub struct OrderAccepted {
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
    /// Whose it is; `null` too once it is erased.
    #[schema(required)]
    pub customer: Option<String>,
    /// ISO 4217 code.
    #[schema(required)]
    pub currency: Option<String>,
    /// What was bought; empty when only a total is known.
    pub lines: Vec<Line>,
    /// The sum.
    pub total: Money,
    /// What the client added; empty once it is erased.
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// Who brought it: the subject of a token, `key:` and the id of a key, `contract:` and its name where it asks for no
    /// login, or `local`. `null` where nobody is known; events of earlier versions lack it.
    pub by: Option<String>,
}

/// The whole content of an order after a change, and what changed.
#[derive(ToSchema)]
#[schema(example = json!({
    "order_id": "230e0945-205f-8eaa-8fef-55ebf134b616", "number": 17, "source": "api", "reference": "A-1001",
    "customer": "c-43", "currency": "EUR", "lines": [], "total": "19.90", "attributes": {},
    "changed": ["/customer"], "requeued": true, "by": "key:0123456789abcdef"
}))]
pub struct OrderRevised {
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
    /// Whose it is; `null` too once it is erased.
    #[schema(required)]
    pub customer: Option<String>,
    /// ISO 4217 code.
    #[schema(required)]
    pub currency: Option<String>,
    /// What was bought; empty when only a total is known.
    pub lines: Vec<Line>,
    /// The sum.
    pub total: Money,
    /// What the client added; empty once it is erased.
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// JSON pointers (RFC 6901) of what changed.
    pub changed: Vec<String>,
    /// Whether the new content is worked on.
    pub requeued: bool,
    /// Who: the subject of a token, `key:` and the id of a key, `contract:` and its name where it asks for no
    /// login, or `local`. `null` where nobody is known; events of earlier versions lack it.
    pub by: Option<String>,
}

/// The attempt that did it.
#[derive(ToSchema)]
#[schema(example = json!({"attempt": 1, "started_at": "2026-11-20T10:00:00.234567Z"}))]
pub struct OrderProcessed {
    /// Which attempt since acceptance or the last redrive.
    #[schema(minimum = 1)]
    pub attempt: u32,
    /// When it began.
    #[schema(format = DateTime)]
    pub started_at: String,
}

/// The attempt that failed; another follows.
#[derive(ToSchema)]
#[schema(example = json!({
    "attempt": 1, "started_at": "2026-11-20T10:00:00.234567Z", "error": "timed out",
    "retry_at": "2026-11-20T10:00:04.234567Z"
}))]
pub struct OrderProcessingFailed {
    /// Which attempt since acceptance or the last redrive.
    #[schema(minimum = 1)]
    pub attempt: u32,
    /// When it began.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// Why, for people; empty once it is erased.
    pub error: String,
    /// When the next attempt is due.
    #[schema(format = DateTime)]
    pub retry_at: String,
}

/// Why an order waits for an operator.
#[derive(ToSchema)]
#[schema(example = json!({
    "attempt": 3, "lapses": 0, "error": "timed out", "started_at": "2026-11-20T10:00:00.234567Z"
}))]
pub struct OrderParked {
    /// Attempts used up.
    pub attempt: u32,
    /// Leases in a row that ran out.
    pub lapses: u32,
    /// Why, for people; empty once it is erased.
    pub error: String,
    /// When the attempt began; `null` when none ended: its leases kept running out. Events of earlier versions lack it.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
}

/// Who gave a parked order a fresh budget of attempts.
#[derive(ToSchema)]
#[schema(example = json!({"reason": "stock is back", "by": "key:0123456789abcdef"}))]
pub struct OrderRedriven {
    /// Why, in the operator's words; empty once it is erased.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// The goods are on their way.
#[derive(ToSchema)]
#[schema(example = json!({
    "shipped_at": "2026-11-20T12:00:00.000000Z", "tracking_number": "1Z999", "by": "key:0123456789abcdef"
}))]
pub struct OrderShipped {
    /// When.
    #[schema(format = DateTime)]
    pub shipped_at: String,
    /// The carrier's number; `null` too once it is erased.
    #[schema(required)]
    pub tracking_number: Option<String>,
    /// Who told of it: the subject of a token, `key:` and the id of a key, `contract:` and its name where it asks for no
    /// login, or `local`. `null` where nobody is known; events of earlier versions lack it.
    pub by: Option<String>,
}

/// The goods arrived.
#[derive(ToSchema)]
#[schema(example = json!({"delivered_at": "2026-11-21T09:00:00.000000Z", "by": "key:0123456789abcdef"}))]
pub struct OrderDelivered {
    /// When.
    #[schema(format = DateTime)]
    pub delivered_at: String,
    /// Who told of it: the subject of a token, `key:` and the id of a key, `contract:` and its name where it asks for no
    /// login, or `local`. `null` where nobody is known; events of earlier versions lack it.
    pub by: Option<String>,
}

/// Who withdrew the order.
#[derive(ToSchema)]
#[schema(example = json!({"reason": "changed their mind", "by": "key:0123456789abcdef", "requeued": false}))]
pub struct OrderWithdrawn {
    /// Why; empty once it is erased.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Whether the withdrawal itself is worked on.
    pub requeued: bool,
}

/// What was blanked in the order and in its earlier events. Whoever keeps a copy does the same.
#[derive(ToSchema)]
#[schema(example = json!({"pointers": ["/customer", "/attributes", "/lines/*/name"], "by": "key:0123456789abcdef"}))]
pub struct OrderErased {
    /// JSON pointers into the order as `/v1` shows it; `*` stands for every item.
    pub pointers: Vec<String>,
    /// Who asked for it: the subject of a token, `key:` and the id of a key, `contract:` and its name where it asks for no
    /// login, or `local`. `null` where nobody is known; events of earlier versions lack it.
    pub by: Option<String>,
}
