//! What goes over the wire of `sales`, and how a request is read.

use super::refuse::{Issue, No};
use order_core::Money;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// Most characters of an idempotency key.
pub(super) const KEY_CHARACTERS_MAX: usize = 255;
/// Largest quantity.
const QUANTITY_MAX: u32 = 2_147_483_647;

/// An order as a client sends it. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(examples(json!({
    "idempotency_key": "3f1c8f0e-6f0b-4a0e-9a57-0d4f3c1b7a11",
    "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "product_id": "16fd2706-8baf-433b-82eb-8c7fada847da",
    "quantity": 2
})))]
pub(super) struct CreateOrder {
    /// The client's own key for this order: 1 to 255 characters, unique within the tenant for ever. `null` is none.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) idempotency_key: Option<String>,
    /// Whose order it is.
    #[schema(value_type = String, format = "uuid")]
    pub(super) user_id: Uuid,
    /// What is bought.
    #[schema(value_type = String, format = "uuid")]
    pub(super) product_id: Uuid,
    /// How many.
    #[schema(minimum = 1, maximum = 2147483647)]
    pub(super) quantity: u32,
}

impl CreateOrder {
    /// Reads a body.
    ///
    /// # Errors
    /// Everything that is wrong with it, one entry a field.
    pub(super) fn read(body: &Value) -> Result<Self, Vec<Issue>> {
        let Value::Object(body) = body else {
            return Err(vec![Issue::new("Body must be a JSON object")]);
        };
        let mut issues = Vec::new();
        let key = read_key(body.get("idempotency_key"), &mut issues);
        let user_id = read_uuid(body, "user_id", "User ID", &mut issues);
        let product_id = read_uuid(body, "product_id", "Product ID", &mut issues);
        let quantity = read_quantity(body.get("quantity"), &mut issues);
        match (key, user_id, product_id, quantity) {
            (Some(idempotency_key), Some(user_id), Some(product_id), Some(quantity)) => {
                Ok(Self { idempotency_key, user_id, product_id, quantity })
            }
            _ => Err(issues),
        }
    }
}

fn read_key(value: Option<&Value>, issues: &mut Vec<Issue>) -> Option<Option<String>> {
    let why = match value {
        None | Some(Value::Null) => return Some(None),
        Some(Value::String(key)) if (1..=KEY_CHARACTERS_MAX).contains(&key.chars().count()) => {
            return Some(Some(key.clone()));
        }
        Some(Value::String(_)) => "Idempotency key must have 1 to 255 characters",
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            "Idempotency key must be a string"
        }
    };
    issues.push(Issue::new(why));
    None
}

fn read_uuid(body: &Map<String, Value>, field: &str, name: &str, issues: &mut Vec<Issue>) -> Option<Uuid> {
    let why = match body.get(field) {
        None | Some(Value::Null) => format!("{name} is required"),
        Some(Value::String(text)) => match uuid(text) {
            Some(uuid) => return Some(uuid),
            None => format!("{name} must be a UUID"),
        },
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            format!("{name} must be a UUID")
        }
    };
    issues.push(Issue::new(why));
    None
}

fn read_quantity(value: Option<&Value>, issues: &mut Vec<Issue>) -> Option<u32> {
    let why = match value {
        None | Some(Value::Null) => "Quantity is required",
        Some(Value::Number(number)) => match whole(number.as_str()) {
            Some(quantity @ 1..=QUANTITY_MAX) => return Some(quantity),
            _ => "Quantity must be an integer from 1 to 2147483647",
        },
        Some(Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
            "Quantity must be an integer from 1 to 2147483647"
        }
    };
    issues.push(Issue::new(why));
    None
}

/// A whole number, however it is written: `2.0` is 2.
fn whole(digits: &str) -> Option<u32> {
    Money::parse(digits).ok()?.canonical().parse().ok()
}

/// A UUID in its one form with hyphens, in any case.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == 36;
    hyphenated.then(|| Uuid::try_parse(text).ok())?
}

/// The id in a path.
///
/// # Errors
/// [`No::Invalid`] when it is no UUID.
pub(super) fn order_id(text: &str) -> Result<Uuid, No> {
    uuid(text).ok_or_else(|| No::Invalid(vec![Issue::new("Order ID must be a UUID")]))
}

/// What a client is told of the order that it made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "order_id": "0b54a1f7-9d5c-8f4e-9a0b-3c1d2e4f5a6b",
    "status": "Pending Shipment",
    "created_at": "2025-02-23T10:00:00.000Z"
})))]
pub(super) struct Created {
    /// Its id.
    #[schema(format = "uuid")]
    pub(super) order_id: String,
    /// How far it is.
    pub(super) status: Status,
    /// When it came in.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
}

/// An order as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "order_id": "0b54a1f7-9d5c-8f4e-9a0b-3c1d2e4f5a6b",
    "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "product_id": "16fd2706-8baf-433b-82eb-8c7fada847da",
    "quantity": 2,
    "status": "Shipped",
    "idempotency_key": "3f1c8f0e-6f0b-4a0e-9a57-0d4f3c1b7a11",
    "created_at": "2025-02-23T10:00:00.000Z",
    "shipped_at": "2025-02-24T08:30:00.000Z",
    "delivered_at": null,
    "updated_at": "2025-02-24T08:30:01.000Z"
})))]
pub(super) struct Order {
    /// Its id.
    #[schema(format = "uuid")]
    pub(super) order_id: String,
    /// Whose order it is; null once that was erased.
    #[schema(format = "uuid", required)]
    pub(super) user_id: Option<String>,
    /// What was bought; null when a revision left nothing.
    #[schema(required)]
    pub(super) product_id: Option<String>,
    /// How many.
    pub(super) quantity: u32,
    /// How far it is.
    pub(super) status: Status,
    /// The client's own key; null when it sent none, or an erasure blanked it.
    #[schema(required)]
    pub(super) idempotency_key: Option<String>,
    /// When it came in.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    /// When it was sent; null until that is known.
    #[schema(format = DateTime, required)]
    pub(super) shipped_at: Option<String>,
    /// When it arrived; null until then.
    #[schema(format = DateTime, required)]
    pub(super) delivered_at: Option<String>,
    /// When it changed last.
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) enum Status {
    /// Not sent yet.
    #[serde(rename = "Pending Shipment")]
    PendingShipment,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
}

/// Why a request is refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"errors": [{
    "error_code": "VALIDATION_ERROR",
    "error_description": "Product ID is required",
    "error_severity": "error"
}]})))]
pub(super) struct Refused {
    /// One entry for each thing that is wrong.
    pub(super) errors: Vec<ErrorEntry>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorEntry {
    /// Which, for programs.
    pub(super) error_code: &'static str,
    /// What, for people.
    pub(super) error_description: String,
    /// Always `error`.
    pub(super) error_severity: &'static str,
    /// With `DUPLICATE_IDEMPOTENCY_KEY`: the order that the key made.
    #[schema(format = "uuid")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) order_id: Option<String>,
}

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "healthy", "database": true, "rabbitmq": null, "kafka": null})))]
pub(super) struct Health {
    /// `healthy` as long as orders can be taken in.
    pub(super) status: HealthStatus,
    /// Whether the database takes writes.
    pub(super) database: bool,
    /// Whether RabbitMQ can be reached; null when none is configured.
    #[schema(required)]
    pub(super) rabbitmq: Option<bool>,
    /// Whether Kafka can be reached; null when none is configured.
    #[schema(required)]
    pub(super) kafka: Option<bool>,
}

/// Whether orders can be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum HealthStatus {
    /// They can.
    Healthy,
    /// They cannot: the database is away.
    Unhealthy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_one_form() {
        let good = "7C9E6679-7425-40de-944b-e07fc1f90ae7";
        assert_eq!(uuid(good).map(|uuid| uuid.to_string()), Some(good.to_lowercase()));
        for bad in [
            "",
            "7c9e6679742540de944be07fc1f90ae7",
            "{7c9e6679-7425-40de-944b-e07fc1f90ae7}",
            "urn:uuid:7c9e6679-7425-40de-944b-e07fc1f90ae7",
            " 7c9e6679-7425-40de-944b-e07fc1f90ae",
            "7c9e6679-7425-40de-944b-e07fc1f90aeg",
            "7c9e66797-425-40de-944b-e07fc1f90ae7",
        ] {
            assert_eq!(uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_quantity_is_whole_however_it_is_written() {
        for (text, expected) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("2e0", Some(2)),
            ("0", Some(0)),
            ("2.5", None),
            ("-1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
    }
}
