//! What goes over the wire of `orderstream`, and how a request is read.

use super::payload::{NoPayload, Payload};
use super::refuse::No;
use order_core::json::JsonLimits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::openapi::schema::{AdditionalProperties, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Statuses that ask for a delete.
const DELETED: [&str; 2] = ["deleted", "cancelled"];

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upsert {
    /// A new order.
    Create {
        /// Whose.
        user_id: Uuid,
        /// What is in it.
        payload: Payload,
    },
    /// New content of an order.
    Update {
        /// Which.
        order_id: Uuid,
        /// What is in it now.
        payload: Payload,
    },
    /// A soft delete.
    Delete {
        /// Which.
        order_id: Uuid,
    },
}

impl Upsert {
    /// Reads a body: of JSON, whatever its content type said.
    ///
    /// # Errors
    /// What is wrong with it, the first thing in the order user, order, status, payload.
    pub(crate) fn read(body: Value, limits: JsonLimits) -> Result<Self, No> {
        let Value::Object(mut body) = body else { return Err(No::BodyNotObject) };
        let user_id = text(&body, "user_id")?.to_owned();
        let order_id = text(&body, "order_id")?.to_owned();
        let status = text(&body, "status")?.to_owned();
        let mut take = |name: &str| body.remove(name).filter(|value| !value.is_null());
        let payload = take("payload").or_else(|| take("payload_json")).unwrap_or(Value::Null);
        Self::of(&order_id, &user_id, &status, || Payload::read(payload, limits))
    }

    /// The same, of the parts; the payload is read when it is needed.
    pub(crate) fn of(
        order_id: &str,
        user_id: &str,
        status: &str,
        payload: impl FnOnce() -> Result<Payload, NoPayload>,
    ) -> Result<Self, No> {
        let user_id = uuid(user_id).ok_or(No::UserIdInvalid)?;
        let is_new = matches!(order_id, "" | "0");
        let order_id = if is_new { None } else { Some(uuid(order_id).ok_or(No::OrderIdInvalid)?) };
        match (order_id, is_delete(status)) {
            (Some(order_id), true) => Ok(Self::Delete { order_id }),
            (None, true) => Err(No::OrderIdInvalid),
            (Some(order_id), false) => Ok(Self::Update { order_id, payload: payload()? }),
            (None, false) => Ok(Self::Create { user_id, payload: payload()? }),
        }
    }
}

/// Whether a status asks for a delete.
pub(crate) fn is_delete(status: &str) -> bool {
    DELETED.contains(&status)
}

/// A UUID in any of its usual forms.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// A text; empty when it is absent or null.
fn text<'b>(body: &'b Map<String, Value>, name: &'static str) -> Result<&'b str, No> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => match name {
            "user_id" => Err(No::UserIdInvalid),
            "order_id" => Err(No::OrderIdInvalid),
            _ => Err(No::StatusInvalid),
        },
    }
}

/// An order as a client sends it. Other fields are ignored.
#[derive(ToSchema)]
#[schema(examples(json!({
    "order_id": "0",
    "user_id": "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11",
    "payload": {"id": "external-123", "items": [{"price": 9.95, "qty": 2}]}
})))]
#[expect(dead_code, reason = "describes what `Upsert::read` reads")]
pub(super) struct PutOrder {
    /// Absent, empty or `0`: a new order. Else which.
    order_id: Option<String>,
    /// Whose order it is; of an order that is there it changes nothing.
    #[schema(format = "uuid")]
    user_id: String,
    /// `deleted` or `cancelled` deletes; anything else means nothing.
    status: Option<String>,
    /// What is in it, kept as it comes: an object, or a string that holds one. Not needed for a delete.
    #[schema(schema_with = payload)]
    payload: Option<Value>,
    /// The same, looked at where `payload` is absent.
    #[schema(schema_with = payload)]
    payload_json: Option<Value>,
}

fn payload() -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Object))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let about = "`id` (a text or a number) is what the order can be looked up by. `amount` (a number, or a string that \
                 holds one) is its amount; without one it is the sum of `price` times `qty` (1 when absent) over `items`.";
    OneOfBuilder::new().item(object).item(text).description(Some(about)).into()
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Became {
    /// A new order, acknowledged.
    Created,
    /// New content, acknowledged.
    Updated,
    /// A soft delete, acknowledged.
    Deleted,
    /// It is safe; nobody has acknowledged it yet.
    Pending,
}

impl Became {
    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Pending => "pending",
        }
    }
}

/// The reply to a request that was carried out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"order_id": "9f1c7a52-6d0e-4c5b-8a1f-2b3c4d5e6f70", "status": "created"})))]
pub(super) struct Done {
    /// The order.
    #[schema(format = "uuid")]
    pub(super) order_id: String,
    /// What became of the request.
    pub(super) status: Became,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Waits for a worker, or for an operator.
    New,
    /// A worker is at it.
    Processing,
    /// Its work is done.
    Done,
    /// It was deleted.
    Deleted,
}

impl Status {
    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Deleted => "deleted",
        }
    }
}

/// An order, wrapped as every reply wraps it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"order": {
    "order_id": "9f1c7a52-6d0e-4c5b-8a1f-2b3c4d5e6f70",
    "user_id": "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11",
    "amount": 19.90,
    "status": "done",
    "payload_json": {"id": "external-123", "items": [{"price": 9.95, "qty": 2}]},
    "created_at": "2025-12-20T10:00:00.000Z",
    "updated_at": "2025-12-20T10:00:02.000Z",
    "bucket": 3
}})))]
pub(super) struct OrderReply {
    /// The order.
    pub(super) order: Order,
}

/// An order as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Order {
    /// Its id.
    #[schema(format = "uuid")]
    pub(crate) order_id: String,
    /// Whose it is.
    pub(crate) user_id: String,
    /// What it costs, exactly.
    #[schema(value_type = f64, format = "decimal")]
    pub(crate) amount: Number,
    /// How far it is.
    pub(crate) status: Status,
    /// The payload as it came.
    #[schema(value_type = Object, additional_properties)]
    pub(crate) payload_json: Map<String, Value>,
    /// When it came in.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it changed last; the start of processing is no change.
    #[schema(format = DateTime)]
    pub(crate) updated_at: String,
    /// The first byte of its id, modulo 4.
    #[schema(minimum = 0, maximum = 3)]
    pub(crate) bucket: u8,
}

/// Whose order is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ByExternal {
    /// Whose.
    #[param(required = true, format = "uuid")]
    pub(super) user_id: Option<String>,
}

/// That the API is alive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
pub(super) struct Health {
    /// Always `ok`.
    pub(super) status: &'static str,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"error": "not found"})))]
pub(super) struct Refused {
    /// Why, for people.
    pub(super) error: String,
}

/// A refusal that has to do with how far the order is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "order_id": "9f1c7a52-6d0e-4c5b-8a1f-2b3c4d5e6f70", "status": "deleted", "error": "the order is deleted"
})))]
pub(super) struct Conflict {
    /// The order.
    #[schema(format = "uuid")]
    pub(super) order_id: String,
    /// How far it is.
    pub(super) status: Status,
    /// Why, for people.
    pub(super) error: String,
}
