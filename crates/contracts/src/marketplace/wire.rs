//! What goes over the wire of `marketplace`, and how a request is read.

use super::fields::Fields;
use super::refuse::No;
use order_core::Reference;
use order_core::ids::TEXT_BYTES_MAX;
use order_core::marketplace::{MarketplaceName, SyncToken};
use order_core::sealing::Secret;
use order_core::webhook::endpoint::URL_BYTES_MAX;
use order_core::webhook::listens::STORE_EVENTS;
use order_core::webhook::{Listens, signing};
use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// Currency of an order for which nobody named one.
const CURRENCY: &str = "USD";
/// Longest access token of a marketplace, in bytes.
const ACCESS_TOKEN_BYTES_MAX: usize = 4_096;

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

    /// As the core calls it.
    pub(super) fn name(self) -> MarketplaceName {
        match self {
            Self::Etsy => MarketplaceName::Etsy,
            Self::Shopify => MarketplaceName::Shopify,
            Self::Amazon => MarketplaceName::Amazon,
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

/// What tells the two answers of a union apart.
fn always(value: bool, description: &'static str) -> Object {
    let constant = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([value]));
    constant.description(Some(description)).build()
}

fn always_true() -> Object {
    always(true, "Always true.")
}

fn always_false() -> Object {
    always(false, "Always false.")
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
    #[schema(schema_with = always_true)]
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
    #[schema(schema_with = always_false)]
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

/// A store as a client registers it. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(
    rename_all = "camelCase",
    examples(json!({
        "organizationId": "org-123", "marketplace": "etsy", "externalStoreId": "store-456", "storeName": "My Store",
        "accessToken": "token-abc", "currency": "USD"
    }))
)]
pub(super) struct RegisterStore {
    /// Organization that it belongs to.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) organization_id: String,
    /// Where it is.
    #[schema(value_type = String, pattern = "^(etsy|shopify|amazon)$")]
    pub(super) marketplace: Marketplace,
    /// What the marketplace calls it.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) external_store_id: String,
    /// What people call it.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) store_name: String,
    /// What opens it at the marketplace: 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) access_token: String,
    /// Its currency.
    #[schema(pattern = "^[A-Za-z]{3}$")]
    pub(super) currency: String,
}

impl RegisterStore {
    /// Reads a body; names every field that is wrong.
    ///
    /// # Errors
    /// [`No::Invalid`].
    pub(super) fn read(body: &Value) -> Result<Self, No> {
        let mut fields = Fields::of(body)?;
        let organization_id = fields.text("organizationId", TEXT_BYTES_MAX);
        let marketplace = fields.read("marketplace", "must be etsy, shopify or amazon", Marketplace::of);
        let external_store_id = fields.text("externalStoreId", TEXT_BYTES_MAX);
        let store_name = fields.text("storeName", TEXT_BYTES_MAX);
        let access_token = fields.text("accessToken", ACCESS_TOKEN_BYTES_MAX);
        let currency = fields.read("currency", "must be 3 letters", currency);
        fields.settle(|| {
            Some(Self {
                organization_id: organization_id?,
                marketplace: marketplace?,
                external_store_id: external_store_id?,
                store_name: store_name?,
                access_token: access_token?,
                currency: currency?,
            })
        })
    }
}

/// A receipt of a store that is to be an order.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(
    rename_all = "camelCase",
    examples(json!({"syncToken": "6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52", "receipt": "receipt-123"}))
)]
pub(super) struct ImportOrder {
    /// What registering the store answered.
    #[schema(value_type = String, format = "uuid")]
    pub(super) sync_token: SyncToken,
    /// The receipt.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub(super) receipt: Reference,
}

impl ImportOrder {
    /// Reads a body; names every field that is wrong.
    ///
    /// # Errors
    /// [`No::Invalid`].
    pub(super) fn read(body: &Value) -> Result<Self, No> {
        let mut fields = Fields::of(body)?;
        let sync_token = fields.read("syncToken", TOKEN_FORM, SyncToken::parse);
        let receipt =
            fields.read("receipt", "must be a string of 1 to 255 bytes", |text| Reference::new(text).ok());
        fields.settle(|| Some(Self { sync_token: sync_token?, receipt: receipt? }))
    }
}

/// The query that names a store.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct ByToken {
    #[serde(rename = "syncToken")]
    sync_token: Option<String>,
}

impl ByToken {
    /// The token.
    ///
    /// # Errors
    /// [`No::Invalid`].
    pub(super) fn read(&self) -> Result<SyncToken, No> {
        let token = self.sync_token.as_deref().and_then(SyncToken::parse);
        token.ok_or_else(|| No::Invalid(vec![Issue { field: "syncToken", message: TOKEN_FORM.to_owned() }]))
    }
}

const TOKEN_FORM: &str = "must be a UUID";

/// A store that is registered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "storeId": "0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11", "syncToken": "6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52"
})))]
pub(super) struct Registered {
    /// Its id.
    #[schema(format = "uuid")]
    pub(super) store_id: String,
    /// What later calls name it by: the same each time.
    #[schema(format = "uuid")]
    pub(super) sync_token: String,
}

/// What became of a receipt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ImportReply {
    /// It is an order.
    Success(ImportSuccess),
    /// It is none, or not yet.
    Failure(ImportFailure),
}

/// A receipt that is an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "success": true, "orderId": "order-123", "amount": 99.99, "currency": "USD", "importedAt": "2024-01-01T12:00:00.000Z"
})))]
pub(super) struct ImportSuccess {
    /// Always true.
    #[schema(schema_with = always_true)]
    pub(super) success: bool,
    /// The marketplace's id of the order.
    pub(super) order_id: String,
    /// Its sum, with the digits that the marketplace wrote.
    #[schema(value_type = f64, format = "decimal")]
    pub(super) amount: Number,
    /// Its currency.
    pub(super) currency: String,
    /// When it was imported.
    #[schema(format = DateTime)]
    pub(super) imported_at: String,
}

/// A receipt that is no order, or not yet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"success": false, "error": "invalid_receipt"})))]
pub(super) struct ImportFailure {
    /// Always false.
    #[schema(schema_with = always_false)]
    pub(super) success: bool,
    /// `invalid_receipt`, `rate_limited`, `marketplace_unavailable`, or what the marketplace says.
    pub(super) error: String,
}

/// How a store is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "lastSyncAt": "2024-01-01T12:00:00.000Z", "importedOrders": 10, "syncStatus": "success", "rateLimitedCount": 2
})))]
pub(super) struct SyncState {
    /// When something was imported or synced last; null before.
    #[schema(format = DateTime, required)]
    pub(super) last_sync_at: Option<String>,
    /// Receipts that are orders.
    pub(super) imported_orders: u64,
    /// How what was done last went.
    #[schema(pattern = "^(pending|success|partial|failed)$")]
    pub(super) sync_status: &'static str,
    /// Receipts that wait because too many calls were made.
    pub(super) rate_limited_count: u64,
}

/// A webhook as a client registers it. Other fields are ignored.
#[derive(Debug, ToSchema)]
#[schema(
    rename_all = "camelCase",
    examples(json!({
        "organizationId": "org-123", "event": "sync.completed", "targetUrl": "https://hooks.example.com/sync"
    }))
)]
pub(super) struct RegisterWebhook {
    /// Whose stores it is told of.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) organization_id: String,
    /// What it is told of.
    #[schema(value_type = String, pattern = r"^sync\.(started|completed|failed)$")]
    pub(super) event: Listens,
    /// Where it is: http or https; https alone at a server for others.
    #[schema(format = "uri", min_length = 1, max_length = 2048)]
    pub(super) target_url: String,
    /// What deliveries are signed with; they are not signed without one. 24 to 64 bytes: as they are, or in base64 behind `whsec_`.
    #[schema(value_type = Option<String>, pattern = "^[!-~]{24,64}$", write_only)]
    pub(super) secret: Option<Secret>,
}

impl RegisterWebhook {
    /// Reads a body; names every field that is wrong. `check` says what is wrong with a URL.
    ///
    /// # Errors
    /// [`No::Invalid`].
    pub(super) fn read(body: &Value, check: impl Fn(&str) -> Result<(), String>) -> Result<Self, No> {
        let mut fields = Fields::of(body)?;
        let organization_id = fields.text("organizationId", TEXT_BYTES_MAX);
        let event = fields.read("event", EVENT_FORM, event);
        let target_url = fields.text("targetUrl", URL_BYTES_MAX).and_then(|url| match check(&url) {
            Ok(()) => Some(url),
            Err(why) => fields.wrong("targetUrl", why),
        });
        let secret = fields.optional("secret", SECRET_FORM, secret);
        fields.settle(|| {
            Some(Self {
                organization_id: organization_id?,
                event: event?,
                target_url: target_url?,
                secret: secret?,
            })
        })
    }
}

const EVENT_FORM: &str = "must be sync.started, sync.completed or sync.failed";
const SECRET_FORM: &str = "must be 24 to 64 bytes, as they are or in base64 behind whsec_";

fn event(text: &str) -> Option<Listens> {
    let known = STORE_EVENTS.contains(&text);
    known.then(|| Listens::parse([text]).ok())?
}

fn secret(text: &str) -> Option<Secret> {
    let secret = Secret::new(text.as_bytes().to_vec());
    signing::is_long_enough(&secret).then_some(secret)
}

/// The query that names an organization.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct ByOrganization {
    #[serde(rename = "organizationId")]
    organization_id: Option<String>,
}

impl ByOrganization {
    /// The organization.
    ///
    /// # Errors
    /// [`No::Invalid`].
    pub(super) fn read(self) -> Result<String, No> {
        let is_text = |text: &String| {
            (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(['\0', char::REPLACEMENT_CHARACTER])
        };
        self.organization_id.filter(is_text).ok_or_else(|| {
            let message = format!("must be 1 to {TEXT_BYTES_MAX} bytes");
            No::Invalid(vec![Issue { field: "organizationId", message }])
        })
    }
}

/// A URL that is told of syncs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "01936b7e-8f3a-7c41-9d2e-5a1b3c4d5e6f", "organizationId": "org-123", "event": "sync.completed",
    "targetUrl": "https://hooks.example.com/sync", "isActive": true
})))]
pub(super) struct Webhook {
    /// Its id.
    #[schema(format = "uuid")]
    pub(super) id: String,
    /// Whose stores it is told of.
    pub(super) organization_id: String,
    /// What it is told of.
    pub(super) event: String,
    /// Where it is.
    pub(super) target_url: String,
    /// Whether it is told at all: not after it answered 410, or took nothing for five days. To register it again makes it so.
    pub(super) is_active: bool,
}

/// A refusal of fields, or of a body that is no JSON.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "error": "Validation error", "details": [{"field": "currency", "message": "must be 3 letters"}]
})))]
pub(super) struct Invalid {
    /// `Validation error`; of a body that is no JSON, where it is not.
    pub(super) error: &'static str,
    /// Each field that is wrong; absent where the body is no JSON.
    #[schema(required = false)]
    pub(super) details: Vec<Issue>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Issue {
    /// Its name; empty for the body as a whole.
    pub(super) field: &'static str,
    /// What is wrong.
    pub(super) message: String,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"error": "receipt is required"})))]
pub(super) struct Refused {
    /// Why.
    pub(super) error: String,
}
