//! What goes over the wire of `marketplace`, and how a request is read.

use super::refuse::No;
use order_core::ids::TEXT_BYTES_MAX;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Currency of an order for which nobody named one.
const CURRENCY: &str = "USD";

/// A marketplace that the contract knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marketplace {
    Etsy,
    Shopify,
    Amazon,
}

impl Marketplace {
    /// The one of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "etsy" => Some(Self::Etsy),
            "shopify" => Some(Self::Shopify),
            "amazon" => Some(Self::Amazon),
            _ => None,
        }
    }
}

/// A receipt that the mock marketplace is asked about. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(examples(json!({"receipt": "test1", "currency": "EUR"})))]
pub(super) struct Validate {
    /// The receipt: 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) receipt: String,
    /// Currency of the order: three letters, `USD` when absent or null.
    #[schema(pattern = "^[A-Za-z]{3}$", required = false, nullable)]
    pub(super) currency: String,
}

impl Validate {
    /// Reads a body.
    ///
    /// # Errors
    /// [`No::BodyNotObject`], [`No::ReceiptMissing`], [`No::ReceiptInvalid`], [`No::CurrencyInvalid`].
    pub(super) fn read(body: Value) -> Result<Self, No> {
        let Value::Object(mut body) = body else {
            return Err(No::BodyNotObject);
        };
        let receipt = match taken(&mut body, "receipt") {
            Value::Null => return Err(No::ReceiptMissing),
            Value::String(text) if text.is_empty() => return Err(No::ReceiptMissing),
            Value::String(text) if text.len() <= TEXT_BYTES_MAX => text,
            _ => return Err(No::ReceiptInvalid),
        };
        let currency = match taken(&mut body, "currency") {
            Value::Null => CURRENCY.to_owned(),
            Value::String(text) => currency(&text).ok_or(No::CurrencyInvalid)?,
            _ => return Err(No::CurrencyInvalid),
        };
        Ok(Self { receipt, currency })
    }
}

fn taken(body: &mut Map<String, Value>, field: &str) -> Value {
    body.remove(field).unwrap_or(Value::Null)
}

/// A currency as it is kept, in capitals; `None` unless it is three letters.
fn currency(text: &str) -> Option<String> {
    let is_currency = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_currency.then(|| text.to_ascii_uppercase())
}

/// An order that the mock marketplace has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "status": true,
    "orderId": "mock-b821e075c812619d",
    "amount": 507,
    "currency": "EUR",
    "importedAtUTC": "2024-01-01T12:00:00.000Z"
})))]
pub(super) struct Found {
    /// Always true.
    pub(super) status: bool,
    /// The order's id there: the same for the same receipt.
    #[serde(rename = "orderId")]
    pub(super) order_id: String,
    /// What it costs: the same for the same receipt.
    #[schema(minimum = 10, maximum = 1009)]
    pub(super) amount: u32,
    /// As it was asked for.
    pub(super) currency: String,
    /// Now: UTC, three decimals.
    #[serde(rename = "importedAtUTC")]
    #[schema(format = DateTime)]
    pub(super) imported_at_utc: String,
}

/// The mock marketplace has no such order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": false})))]
pub(super) struct NotFound {
    /// Always false.
    pub(super) status: bool,
}

/// What the mock marketplace says of a receipt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Validated {
    /// There is such an order.
    Found(Found),
    /// There is none.
    NotFound(NotFound),
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"error": "receipt is required"})))]
pub(super) struct Refused {
    /// Why.
    pub(super) error: String,
}
