//! Imports: orders that are, or are to be, fetched from stores.

use crate::Api;
use crate::cursor::{Purpose, Signer};
use crate::object::{Object, Offences};
use crate::params::{NoParams, Params, uuid};
use crate::problem::Failure;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use edge::{Caller, Json};
use http::StatusCode;
use http::request::Parts;
use order_core::marketplace::reads::ImportQuery;
use order_core::marketplace::{Import, ImportState};
use order_core::{Fault, Reference, Rejection, StoreId};
use serde_json::{Value, json};
use std::sync::Arc;

const PAGE_UNLESS_SAID: u32 = 50;
const PAGE_MAX: u32 = 200;

/// The import in the route's path: a store's id, and a receipt. What cannot be one is nobody's import.
pub(crate) struct ImportId(StoreId, Reference);

impl<S: Send + Sync> FromRequestParts<S> for ImportId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((store, receipt)) = path.map_err(|_| Rejection::ImportUnknown)?;
        let store = uuid(&store).map(StoreId).ok_or(Rejection::ImportUnknown)?;
        let receipt = Reference::new(&receipt).map_err(|_| Rejection::ImportUnknown)?;
        Ok(Self(store, receipt))
    }
}

/// List the imports of a store, or those of a receipt.
///
/// With `receipt`, those of that receipt in all stores of the tenant: where is it? Else `store_id` is needed.
#[utoipa::path(
    get,
    path = "/v1/imports",
    tag = "stores",
    operation_id = "list_imports",
    params(
        ("receipt" = Option<String>, Query, description = "Of this receipt, in whichever stores", min_length = 1, max_length = 255,
            example = "order-101"),
        ("store_id" = Option<String>, Query, description = "The imports of this store", format = "uuid", example = "0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11"),
        ("state" = Option<String>, Query, description = "In this state alone; with `store_id`",
            pattern = "^(pending|success|failed|rate_limited|invalid)$", example = "failed"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before; with `store_id`", min_length = 1,
            pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "Imports, the newest first", body = crate::schema::stores::ImportList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["receipt", "store_id", "state", "limit", "after"]);
    let receipt = params.text("receipt");
    let store_id = params.parsed("store_id", "must be the id of a store", uuid).map(StoreId);
    let state = params.parsed("state", "must be a state of imports", ImportState::from_word);
    let limit = params.limit(PAGE_UNLESS_SAID, PAGE_MAX);
    match (&receipt, params.get("store_id")) {
        (None, None) => params.refuse("store_id", "missing", "must be given, or receipt"),
        (Some(_), Some(_)) => params.refuse("receipt", "form", "must not be given with store_id"),
        _ => {}
    }
    if receipt.is_some() {
        for name in ["state", "after"] {
            if params.get(name).is_some() {
                params.refuse(name, "form", "must not be given with receipt");
            }
        }
    }
    let signer = Signer::new(api.app.storage.install(), &caller.tenant).with_filters(params.filters());
    let before = params.place(&signer, Purpose::Imports)?;
    params.settle()?;
    let markets = api.app.storage.markets();
    let (imports, next) = match (receipt, store_id) {
        (Some(receipt), _) => (markets.imports_of_receipt(&caller.tenant, &receipt, limit).await?, None),
        (None, Some(store_id)) => {
            api.market.store(&caller.tenant, store_id).await?;
            let query = ImportQuery { tenant: caller.tenant.clone(), store_id, state, before, limit };
            let imports = markets.imports(&query).await?;
            let last = imports.last().filter(|_| imports.len() as u64 == u64::from(limit));
            let next = last.map(|import| signer.place(Purpose::Imports, import.number));
            (imports, next)
        }
        (None, None) => return Err(Fault::internal("a list of imports was neither read nor refused").into()),
    };
    let imports: Vec<Value> = imports.iter().map(show).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "imports": imports, "next": next }).to_string()))
}

/// Import a receipt of a store.
///
/// A receipt that was asked for before is answered as it is, without a call to the marketplace.
#[utoipa::path(
    post,
    path = "/v1/imports",
    tag = "stores",
    operation_id = "import_order",
    request_body = crate::schema::stores::NewImport,
    responses((status = 200, description = "The import as it is now", body = crate::schema::stores::Import))
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let (store_id, receipt) = read_new(&body)?;
    let store = api.market.store(&caller.tenant, store_id).await?;
    shown(&api.market.import(&store, receipt).await?)
}

/// Show an import.
#[utoipa::path(
    get,
    path = "/v1/imports/{store_id}/{receipt}",
    tag = "stores",
    operation_id = "get_import",
    params(
        ("store_id" = String, Path, description = "The store's id", format = "uuid"),
        ("receipt" = String, Path, description = "The receipt, percent-encoded", min_length = 1, max_length = 255),
    ),
    responses((status = 200, description = "The import", body = crate::schema::stores::Import))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ImportId(store_id, receipt): ImportId,
    _: NoParams,
) -> Result<Response, Failure> {
    shown(&of_caller(&api, &caller, store_id, &receipt).await?)
}

/// Have a receipt imported again.
///
/// The next sync of its store does it, which is due at once; until then the import is as it was. What is an order stays one. What would
/// be tried again by itself keeps its time, unless `now` says otherwise. One that is `invalid` has `failed` from here on.
#[utoipa::path(
    post,
    path = "/v1/imports/{store_id}/{receipt}/retry",
    tag = "stores",
    operation_id = "retry_import",
    params(
        ("store_id" = String, Path, description = "The store's id", format = "uuid"),
        ("receipt" = String, Path, description = "The receipt, percent-encoded", min_length = 1, max_length = 255),
    ),
    request_body = crate::schema::stores::ImportRetry,
    responses((status = 200, description = "The import as it is now", body = crate::schema::stores::Import))
)]
pub(crate) async fn retry(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ImportId(store_id, receipt): ImportId,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let now = read_retry(&body)?;
    let import = of_caller(&api, &caller, store_id, &receipt).await?;
    if !now && import.state != ImportState::Invalid {
        return shown(&import);
    }
    shown(&api.market.retry(&caller.tenant, store_id, receipt).await?)
}

async fn of_caller(
    api: &Api,
    caller: &Caller,
    store_id: StoreId,
    receipt: &Reference,
) -> Result<Import, Failure> {
    let import = api.app.storage.markets().import(store_id, receipt.as_str()).await?;
    Ok(import.filter(|import| import.tenant == caller.tenant).ok_or(Rejection::ImportUnknown)?)
}

fn shown(import: &Import) -> Result<Response, Failure> {
    Ok(edge::respond::json(StatusCode::OK, show(import).to_string()))
}

fn show(import: &Import) -> Value {
    let result = import.result.as_ref();
    json!({
        "store_id": import.store_id.to_string(),
        "receipt": import.receipt.as_str(),
        "state": import.state.word(),
        "attempt": import.attempt,
        "due_at": import.due_at.map(|moment| moment.to_string()),
        "order_id": result.map(|result| result.order_id.to_string()),
        "external_order_id": result.map(|result| &result.external_order_id),
        "amount": result.map(|result| result.amount.to_string()),
        "currency": result.map(|result| &result.currency),
        "imported_at": result.map(|result| result.imported_at.to_string()),
        "error": import.error,
        "created_at": import.created_at.to_string(),
        "updated_at": import.updated_at.to_string(),
    })
}

fn read_new(body: &Value) -> Result<(StoreId, Reference), Failure> {
    let mut offences = Offences::default();
    let new = Object::read(body, "", &["store_id", "receipt"], &mut offences).and_then(|body| {
        body.required("store_id", &mut offences);
        body.required("receipt", &mut offences);
        let store_id = body.parsed("store_id", "must be a UUID", uuid, &mut offences);
        let receipt =
            body.parsed("receipt", "must be a text", |text| Reference::new(text).ok(), &mut offences);
        Some((StoreId(store_id?), receipt?))
    });
    offences.settle()?;
    new.ok_or_else(|| Fault::internal("a new import was neither read nor refused").into())
}

fn read_retry(body: &Value) -> Result<bool, Failure> {
    let mut offences = Offences::default();
    let now =
        Object::read(body, "", &["now"], &mut offences).and_then(|body| body.flag("now", &mut offences));
    offences.settle()?;
    Ok(now.unwrap_or(false))
}
