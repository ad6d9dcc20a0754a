//! What goes over the wire of `parspec`, and how a request is read.

use super::refuse::No;
use crate::exact::{FROM_ZERO, amount, amount_schema};
use http::{HeaderMap, HeaderName};
use order_core::Money;
use order_core::ids::{TEXT_BYTES_MAX, check_text};
use order_core::intake::IdempotencyKey;
use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A field of an order as a client sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// Whose order it is.
    UserId,
    /// What was bought.
    ItemIds,
    /// What it costs.
    TotalAmount,
}

impl Field {
    /// All of them, in the order in which they are looked at.
    pub(super) const ALL: [Self; 3] = [Self::UserId, Self::ItemIds, Self::TotalAmount];

    /// Its name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UserId => "userId",
            Self::ItemIds => "itemIds",
            Self::TotalAmount => "totalAmount",
        }
    }
}

/// An order as a client sends it. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(
    rename_all = "camelCase",
    examples(json!({"userId": "user-123", "itemIds": ["item1", "item2"], "totalAmount": 59.99}))
)]
pub(super) struct CreateOrder {
    /// Whose order it is: 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) user_id: String,
    /// What was bought: strings of at most 255 bytes or integers, kept as they are sent. May be empty.
    #[schema(schema_with = item_ids)]
    pub(super) item_ids: Vec<Value>,
    /// At least 0, as a number or as a string that holds one; at most 28 significant digits and 28 decimals, kept
    /// exactly.
    #[schema(schema_with = total_amount)]
    pub(super) total_amount: Money,
}

impl CreateOrder {
    /// Reads a body. What is missing comes before what is wrong.
    ///
    /// # Errors
    /// [`No::BodyNotObject`], [`No::FieldsMissing`], [`No::FieldInvalid`].
    pub(super) fn read(body: Value) -> Result<Self, No> {
        let Value::Object(mut body) = body else {
            return Err(No::BodyNotObject);
        };
        if Field::ALL.iter().any(|field| is_missing(&body, *field)) {
            return Err(No::FieldsMissing);
        }
        let mut take = |field: Field| body.remove(field.name()).unwrap_or(Value::Null);
        Ok(Self {
            user_id: read_user_id(take(Field::UserId)).ok_or(No::FieldInvalid(Field::UserId))?,
            item_ids: read_item_ids(take(Field::ItemIds)).ok_or(No::FieldInvalid(Field::ItemIds))?,
            total_amount: read_total(&take(Field::TotalAmount))
                .ok_or(No::FieldInvalid(Field::TotalAmount))?,
        })
    }
}

fn is_missing(body: &Map<String, Value>, field: Field) -> bool {
    match body.get(field.name()) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    }
}

fn read_user_id(value: Value) -> Option<String> {
    match value {
        Value::String(text) => check_text(&text).is_ok().then_some(text),
        _ => None,
    }
}

fn read_item_ids(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => items.iter().all(is_item_id).then_some(items),
        _ => None,
    }
}

fn is_item_id(item: &Value) -> bool {
    match item {
        Value::String(text) => text.len() <= TEXT_BYTES_MAX,
        Value::Number(number) => {
            let digits = number.as_str();
            let digits = digits.strip_prefix('-').unwrap_or(digits);
            digits.len() <= TEXT_BYTES_MAX && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

fn read_total(value: &Value) -> Option<Money> {
    amount(value).ok().filter(|money| !money.is_negative())
}

/// The idempotency key of a request; `None` when it has none.
///
/// # Errors
/// [`No::KeyInvalid`] when it is not one field of 1 to 255 visible ASCII characters.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, No> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let visible =
        (1..=TEXT_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if visible && values.next().is_none() => {
            Ok(Some(IdempotencyKey { route: "parspec.orders", key: key.to_owned() }))
        }
        _ => Err(No::KeyInvalid),
    }
}

/// A number in a path; `None` when it is larger than any order's.
///
/// # Errors
/// [`No::IdInvalid`] unless it is all digits.
pub(super) fn order_number(text: &str) -> Result<Option<i64>, No> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(No::IdInvalid);
    }
    Ok(text.parse().ok())
}

fn item_ids() -> RefOr<Schema> {
    let text =
        ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).max_length(Some(TEXT_BYTES_MAX));
    let integer = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
    let items = OneOfBuilder::new().item(text).item(integer);
    let description =
        "What was bought: strings of at most 255 bytes or integers, kept as they are sent. May be empty.";
    ArrayBuilder::new().items(items).description(Some(description)).into()
}

fn total_amount() -> RefOr<Schema> {
    let text = "At least 0, as a number or as a string that holds one; at most 28 significant digits and 28 decimals, \
                kept exactly.";
    amount_schema(ObjectBuilder::new().minimum(Some(0)), FROM_ZERO, text)
}

/// An order, wrapped as every reply wraps it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"order": {
    "id": 1,
    "userId": "user-123",
    "itemIds": ["item1", "item2"],
    "totalAmount": 59.99,
    "status": "PROCESSING",
    "createdAt": "2025-02-23T10:00:00.000Z",
    "updatedAt": "2025-02-23T10:00:00.000Z",
    "processingStartTime": "2025-02-23T10:00:10.000Z",
    "processingEndTime": null
}})))]
pub(super) struct OrderReply {
    /// The order.
    pub(super) order: Order,
}

/// An order as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    /// Its number.
    pub(super) id: i64,
    /// Whose order it is.
    pub(super) user_id: String,
    /// As they were sent.
    #[schema(schema_with = item_ids)]
    pub(super) item_ids: Vec<Value>,
    /// With the digits that were sent.
    #[schema(value_type = f64, format = "decimal")]
    pub(super) total_amount: Number,
    /// How far it is.
    pub(super) status: Status,
    /// When it came in.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    /// When it changed last; the start of processing is no change.
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
    /// When the worker began; null until one has, and while the order waits for another attempt.
    #[schema(format = DateTime, required)]
    pub(super) processing_start_time: Option<String>,
    /// When its work was done; null until then.
    #[schema(format = DateTime, required)]
    pub(super) processing_end_time: Option<String>,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// Waits for a worker, or is out of attempts.
    Pending,
    /// A worker is at it.
    Processing,
    /// Its work is done.
    Completed,
}

/// Counts of all orders of this contract, exact at one moment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "totalOrders": 10,
    "processedCount": 5,
    "avgProcessingTime": 2.0,
    "statuses": {"pending": 2, "processing": 3, "completed": 5}
})))]
pub(super) struct Metrics {
    /// All orders.
    pub(super) total_orders: u64,
    /// Orders whose work is done.
    pub(super) processed_count: u64,
    /// From the start of the attempt that succeeded to its end, in seconds, on average; 0 when there is none.
    #[schema(value_type = f64)]
    pub(super) avg_processing_time: Number,
    /// Orders by status.
    pub(super) statuses: Statuses,
}

/// Orders by status; they sum up to all orders.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Statuses {
    /// Waiting, or out of attempts.
    pub(super) pending: u64,
    /// In the hands of a worker.
    pub(super) processing: u64,
    /// Done.
    pub(super) completed: u64,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"error": "Missing required fields"})))]
pub(super) struct Refused {
    /// Why, for people.
    pub(super) error: String,
}
