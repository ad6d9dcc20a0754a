//! What goes over the wire of `oscarps`, and how a body is read.

use super::refuse::Issues;
use crate::exact::{ABOVE_ZERO, NoAmount, amount, amount_schema};
use order_core::ids::{InvalidText, check_text};
use order_core::order::money::InvalidMoney;
use order_core::{Money, Reference};
use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

/// An order as a client sends it. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase", examples(json!({"orderId": "A-1001", "customer": "c-42", "total": 199.99})))]
pub(super) struct CreateOrder {
    /// The client's own id: 1 to 255 bytes. The same id is the same order, for ever.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub(super) order_id: Reference,
    /// Whose order it is: 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) customer: String,
    /// Above 0, as a number or as a string that holds one; at most 28 significant digits and 28 decimals, kept exactly.
    #[schema(schema_with = positive_amount)]
    pub(super) total: Money,
}

impl CreateOrder {
    /// Reads a body.
    ///
    /// # Errors
    /// Everything that is wrong with it, field by field.
    pub(super) fn read(body: &Value) -> Result<Self, Issues> {
        let mut issues = Issues::default();
        let Value::Object(body) = body else {
            issues.whole(format!("Expected object, received {}", type_name(body)));
            return Err(issues);
        };
        let order_id = text(body, "orderId", &mut issues, Reference::new);
        let customer = text(body, "customer", &mut issues, |text| check_text(text).map(|()| text.to_owned()));
        let total = positive(body, "total", &mut issues);
        match (order_id, customer, total) {
            (Some(order_id), Some(customer), Some(total)) => Ok(Self { order_id, customer, total }),
            _ => Err(issues),
        }
    }
}

fn text<T>(
    body: &Map<String, Value>,
    field: &str,
    issues: &mut Issues,
    accept: impl FnOnce(&str) -> Result<T, InvalidText>,
) -> Option<T> {
    let wrong = match body.get(field) {
        Some(Value::String(text)) => match accept(text) {
            Ok(text) => return Some(text),
            Err(InvalidText::Empty) => "String must contain at least 1 character(s)".to_owned(),
            Err(InvalidText::TooLong) => "String must contain at most 255 byte(s)".to_owned(),
            Err(InvalidText::Nul) => "String must not contain U+0000".to_owned(),
        },
        Some(other) => format!("Expected string, received {}", type_name(other)),
        None => "Required".to_owned(),
    };
    issues.field(field, wrong);
    None
}

fn positive(body: &Map<String, Value>, field: &str, issues: &mut Issues) -> Option<Money> {
    let Some(value) = body.get(field) else {
        issues.field(field, "Required".to_owned());
        return None;
    };
    let wrong = match amount(value) {
        Ok(money) if money > Money::ZERO => return Some(money),
        Ok(_) => "Number must be greater than 0".to_owned(),
        Err(NoAmount::Type) => format!("Expected number, received {}", type_name(value)),
        Err(NoAmount::Money(InvalidMoney::NotANumber)) => "Expected a decimal number".to_owned(),
        Err(NoAmount::Money(InvalidMoney::TooLong)) => {
            "Number must have at most 28 significant digits and 28 decimals".to_owned()
        }
    };
    issues.field(field, wrong);
    None
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn positive_amount() -> RefOr<Schema> {
    let text = "Above 0, as a number or as a string that holds one; at most 28 significant digits and 28 decimals, kept \
                exactly.";
    amount_schema(ObjectBuilder::new().exclusive_minimum(Some(0)), ABOVE_ZERO, text)
}

/// An order as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0b54a1f7-9d5c-8f4e-9a0b-3c1d2e4f5a6b",
    "orderId": "A-1001",
    "customer": "c-42",
    "total": 199.99,
    "status": "PENDING",
    "attempts": 0,
    "lockedAt": null,
    "lastError": null,
    "createdAt": "2025-02-23T10:00:00.000Z"
})))]
pub(super) struct Row {
    /// Our id of the order.
    #[schema(format = "uuid")]
    pub(super) id: String,
    /// The client's own id.
    pub(super) order_id: String,
    /// Whose order it is.
    pub(super) customer: String,
    /// With the digits that were sent.
    #[schema(value_type = f64, format = "decimal")]
    pub(super) total: Number,
    /// How far it is.
    pub(super) status: Status,
    /// Attempts that failed: 0 after a clean success.
    pub(super) attempts: u32,
    /// When the worker that is at it now began; null when none is.
    #[schema(format = DateTime, required)]
    pub(super) locked_at: Option<String>,
    /// Why the last attempt failed.
    #[schema(required)]
    pub(super) last_error: Option<String>,
    /// When it came in.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// Waits for a worker, is in the hands of one, or is out of attempts (`lastError` says why).
    Pending,
    /// Its work is done.
    Processed,
}

/// Whether the API is alive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
pub(super) struct Health {
    /// Always `ok`.
    pub(super) status: &'static str,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"message": "Order not found"})))]
pub(super) struct Message {
    /// Why, for people.
    pub(super) message: String,
}

/// A body that is refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "message": "Invalid request body",
    "issues": {"total": {"_errors": ["Number must be greater than 0"]}}
})))]
pub(super) struct InvalidBody {
    /// Always `Invalid request body`.
    pub(super) message: &'static str,
    /// For each field at fault `{"_errors": [why, …]}`; `{"_errors": [why]}` itself when it is the body as a whole.
    #[schema(value_type = Object)]
    pub(super) issues: Map<String, Value>,
}
