//! The contract `marketplace`: stores at marketplaces, and their orders, imported by receipts.
//!
//! | call | reply |
//! |---|---|
//! | `POST /stores/register` | 200 the store and its sync token |
//! | `POST /orders/import` | 200 the order of a receipt, or why there is none; 404 no such store |
//! | `GET /stores/sync-status?syncToken=` | 200 how the store is doing; 404 |
//! | `POST /webhooks/register` | 200 a webhook: a URL that is told of syncs |
//! | `GET /webhooks?organizationId=` | 200 the webhooks of an organization |
//! | `POST /mock/{marketplace}/validate` | 200 the order of a receipt, or that there is none; 401 no login; 429 later |
//! | `GET /docs`, `/docs/json` | Swagger UI; the OpenAPI document |

mod fields;
mod map;
mod mock;
mod refuse;
mod webhooks;
mod wire;

use crate::contract::{Contract, Mounted};
use crate::reply;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::{Extension, Router};
use edge::{Declared, Gate, Guard, Json, Mount, Need, Refused, Room, Routes, Scope};
use http::{HeaderMap, Method, StatusCode};
pub use mock::{Login, Mock};
use order_core::TenantId;
use order_core::marketplace::{Market, Store, SyncToken};
use order_core::sealing::Secret;
use refuse::No;
use std::sync::Arc;
use utoipa::OpenApi;
use webhooks::{list_webhooks, register_webhook};
use wire::Marketplace;

/// The contract's name: its prefix, its source, its label in metrics.
pub const NAME: &str = "marketplace";
/// How it is mounted.
pub const MOUNT: Mount = Mount { name: NAME, style: refuse::style };

/// What the contract needs besides the core.
#[derive(Debug, Default)]
pub struct Means {
    /// The mock marketplace; there is none without.
    pub mock: Option<Mock>,
    /// What webhooks are signed with that are registered without a secret of their own.
    pub webhook_secret: Option<Secret>,
}

/// What webhooks are signed with that have no secret of their own.
#[derive(Clone)]
struct SharedSecret(Option<Secret>);

/// The contract under its documented paths; `gate` says who calls, and so whose stores are seen.
pub fn router(market: Arc<Market>, guard: Arc<Guard>, gate: Arc<dyn Gate>, means: Means) -> Router {
    let Means { mock, webhook_secret } = means;
    let document = if mock.is_some() { MockDocs::openapi } else { Docs::openapi };
    let mounted = Mounted::new(Arc::clone(&market.app), NAME);
    let mounted = mounted.mounted(routes(gate, mock), (document, "Refused"), MOUNT, guard);
    mounted.layer(Extension(market)).layer(Extension(SharedSecret(webhook_secret)))
}

/// What each route needs, those of the mock marketplace among them.
pub fn declared() -> Vec<Declared> {
    let gate = Arc::new(edge::Open::new(TenantId::default_tenant()));
    routes(gate, Some(Mock::default())).declared().to_vec()
}

fn routes(gate: Arc<dyn Gate>, mock: Option<Mock>) -> Routes<Mounted> {
    let routes = Routes::new(gate)
        .route(Method::POST, "/stores/register", Need::Scope(Scope::StoresWrite), register_store)
        .route(Method::POST, "/orders/import", Need::Scope(Scope::StoresWrite), import_order)
        .route(Method::GET, "/stores/sync-status", Need::Scope(Scope::StoresRead), get_sync_status)
        .route(Method::POST, "/webhooks/register", Need::Scope(Scope::WebhooksWrite), register_webhook)
        .route(Method::GET, "/webhooks", Need::Scope(Scope::WebhooksRead), list_webhooks);
    let Some(mock) = mock.map(Arc::new) else { return routes };
    let validate = move |mounted, marketplace, headers, body| {
        validate_receipt(Arc::clone(&mock), mounted, marketplace, headers, body)
    };
    // It asks for a login of its own, as the marketplaces do that it stands for.
    routes.route(Method::POST, "/mock/{marketplace}/validate", Need::Nothing, validate)
}

/// Register a store, or change what is said of it
///
/// The same organization, marketplace and external id are the same store, with the same sync token.
#[utoipa::path(
    post,
    path = "/stores/register",
    tag = "stores",
    request_body = wire::RegisterStore,
    responses(
        (status = 200, description = "The store", body = wire::Registered),
        (status = 400, description = "A field is missing or refused, or the body is no JSON", body = wire::Invalid),
    ),
)]
async fn register_store(
    contract: Contract,
    Extension(market): Extension<Arc<Market>>,
    _: Room,
    Json(body): Json,
) -> Result<Response, No> {
    let asked = wire::RegisterStore::read(&body)?;
    let (store, token) = market.register(map::new_store(contract.tenant, asked)).await?;
    let (store_id, sync_token) = (store.store_id.to_string(), token.shown());
    Ok(reply::json(StatusCode::OK, &wire::Registered { store_id, sync_token }))
}

/// Import an order
///
/// A receipt that was asked for before is answered as it is, without a call to the marketplace.
#[utoipa::path(
    post,
    path = "/orders/import",
    tag = "orders",
    request_body = wire::ImportOrder,
    responses(
        (status = 200, description = "The order of the receipt, or why there is none", body = wire::ImportReply),
        (status = 400, description = "A field is missing or refused, or the body is no JSON", body = wire::Invalid),
        (status = 404, description = "No such store", body = wire::Refused),
    ),
)]
async fn import_order(
    contract: Contract,
    Extension(market): Extension<Arc<Market>>,
    _: Room,
    Json(body): Json,
) -> Result<Response, No> {
    let asked = wire::ImportOrder::read(&body)?;
    let store = store_of(&contract, &market, &asked.sync_token).await?;
    let import = market.import(&store, asked.receipt).await?;
    Ok(reply::json(StatusCode::OK, &map::imported(&import)))
}

/// How is a store doing?
#[utoipa::path(
    get,
    path = "/stores/sync-status",
    tag = "stores",
    params(("syncToken" = String, Query, description = "What registering the store answered", format = "uuid")),
    responses(
        (status = 200, description = "How it is doing", body = wire::SyncState),
        (status = 400, description = "The token is missing, or no UUID", body = wire::Invalid),
        (status = 404, description = "No such store", body = wire::Refused),
    ),
)]
async fn get_sync_status(
    contract: Contract,
    Extension(market): Extension<Arc<Market>>,
    query: Result<Query<wire::ByToken>, QueryRejection>,
) -> Result<Response, No> {
    let token = query.map(|Query(query)| query).unwrap_or_default().read()?;
    let store = store_of(&contract, &market, &token).await?;
    Ok(reply::json(StatusCode::OK, &map::sync_state(&store)))
}

/// The caller's store with that token: another tenant's is not there.
async fn store_of(contract: &Contract, market: &Market, token: &SyncToken) -> Result<Store, No> {
    let store = market.store_of_token(token).await?;
    if store.tenant == contract.tenant { Ok(store) } else { Err(No::StoreUnknown) }
}

/// Ask the mock marketplace about a receipt
///
/// Each marketplace has a name and a password of its own (`MOCK_ETSY_USER`, `MOCK_ETSY_PASS` and so on). What is said of a
/// receipt follows from its end: two digits that sum up to a multiple of 6 are refused for now, an odd digit is an order,
/// anything else is none.
#[utoipa::path(
    post,
    path = "/mock/{marketplace}/validate",
    tag = "mock marketplace",
    params(("marketplace" = String, Path, description = "`etsy`, `shopify` or `amazon`", example = "etsy",
        pattern = "^(etsy|shopify|amazon)$")),
    request_body = wire::Validate,
    responses(
        (status = 200, description = "The order of the receipt, or that there is none", body = wire::Validated),
        (status = 400, description = "The marketplace is unknown, or the body is refused", body = wire::Refused),
        (status = 401, description = "Not the name and password of this marketplace", body = wire::Refused, headers(
            ("WWW-Authenticate" = String, description = "`Basic`"),
        )),
        (status = 413, description = "The body is too large", body = wire::Refused),
        (status = 415, description = "The content type is not `application/json`", body = wire::Refused),
        (status = 429, description = "`rate_limited`: ask later", body = wire::Refused),
        (status = 500, description = "A defect of ours", body = wire::Refused),
        (status = 503, description = "Unavailable: send it again", body = wire::Refused),
    ),
    security(("mock" = [])),
)]
async fn validate_receipt(
    mock: Arc<Mock>,
    State(mounted): State<Mounted>,
    marketplace: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Json, Refused>,
) -> Result<Response, No> {
    let marketplace = marketplace.ok().and_then(|Path(name)| Marketplace::of(&name));
    let marketplace = marketplace.ok_or(No::MarketplaceUnknown)?;
    let asked = wire::Validate::read(body?.0)?;
    if !mock.admits(marketplace, &headers) {
        return Err(No::LoginRefused);
    }
    map::validated(asked, mounted.app().clock.now())
}

/// The contract's OpenAPI document, without the mock marketplace.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "marketplace",
        description = "Stores at marketplaces, their orders, and who is told of syncs.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        register_store,
        import_order,
        get_sync_status,
        webhooks::register_webhook,
        webhooks::list_webhooks
    )
)]
struct Docs;

/// The same with it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "marketplace",
        description = "Stores at marketplaces, their orders, and who is told of syncs; and a mock marketplace.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        register_store,
        import_order,
        get_sync_status,
        webhooks::register_webhook,
        webhooks::list_webhooks,
        validate_receipt
    ),
    modifiers(&BasicLogin)
)]
struct MockDocs;

/// Names how clients of the mock marketplace log in.
struct BasicLogin;

impl utoipa::Modify for BasicLogin {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

        let basic = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Basic).build());
        document.components.get_or_insert_default().add_security_scheme("mock", basic);
    }
}
