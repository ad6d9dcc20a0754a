//! The contract `sales`: orders of one product each, checked against a catalogue, then shipped and delivered.
//!
//! | call | reply |
//! |---|---|
//! | `POST /api/v1/orders` | 201 what was made; 409 the key was used, or the product is not to be had; 503 no catalogue |
//! | `GET /api/v1/orders` | 200 the caller's newest 200 |
//! | `GET /api/v1/orders/{id}` | 200 the order; 400 no UUID; 404 |
//! | `GET /health` | 200, 503 |
//! | `GET /metrics` | 200 the text form of Prometheus |
//! | `GET /docs`, `/docs/json` | Swagger UI; the OpenAPI document |
//!
//! What goes to brokers and comes from them: [`message`], [`OrderEvents`], [`consumed`].

pub mod consumed;
mod kept;
mod map;
pub mod message;
mod page;
mod refuse;
mod telling;
mod wire;

use crate::contract::{Contract, Mounted};
use crate::reply;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use edge::{Declared, Gate, Guard, Json, Mount, Need, Refusal, Room, Routes, Scope};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use kept::Kept;
use order_core::catalog::Catalog;
use order_core::intake::{Accepted, derived_id};
use order_core::{App, OrderId, TenantId};
use refuse::{Issue, No};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
pub use telling::OrderEvents;
use utoipa::OpenApi;

/// The contract's name: its prefix, its source, its label in metrics.
pub const NAME: &str = "sales";
/// How it is mounted.
pub const MOUNT: Mount = Mount { name: NAME, style: refuse::style };

/// Most orders of a list.
const LIST_MAX: u32 = 200;
/// How long a write may take before the database counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The text form of Prometheus.
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Whether brokers can be reached; `None` for one that is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokerStates {
    /// RabbitMQ.
    pub rabbitmq: Option<bool>,
    /// Kafka.
    pub kafka: Option<bool>,
}

/// Finds something out.
pub type Ask<T> = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;

/// What the contract needs besides the core.
#[derive(Clone)]
pub struct Means {
    /// What can be sold.
    pub catalog: Arc<dyn Catalog>,
    /// How the brokers are.
    pub brokers: Ask<BrokerStates>,
    /// All metrics of the installation, in the text form of Prometheus; the contract shows its own part.
    pub metrics: Ask<String>,
}

/// The means, and what was found out with them a moment ago.
#[derive(Clone)]
struct Shared {
    means: Means,
    health: Kept<(bool, BrokerStates)>,
    page: Kept<Arc<str>>,
}

/// The contract under its documented paths; `gate` says who calls, and so whose orders are seen.
pub fn router(app: Arc<App>, guard: Arc<Guard>, gate: Arc<dyn Gate>, means: Means) -> Router {
    let mount = MOUNT;
    let shared = Shared { means, health: Kept::default(), page: Kept::default() };
    let mounted = Mounted::new(app, NAME).mounted(routes(gate), (Docs::openapi, "Refused"), mount, guard);
    mounted.layer(Extension(shared))
}

/// What each route needs.
pub fn declared() -> Vec<Declared> {
    routes(Arc::new(edge::Open::new(TenantId::default_tenant()))).declared().to_vec()
}

fn routes(gate: Arc<dyn Gate>) -> Routes<Mounted> {
    Routes::new(gate)
        .route(Method::POST, "/api/v1/orders", Need::Scope(Scope::OrdersWrite), create_order)
        .route(Method::GET, "/api/v1/orders", Need::Scope(Scope::OrdersRead), list_orders)
        .route(Method::GET, "/api/v1/orders/{id}", Need::Scope(Scope::OrdersRead), get_order)
        .route(Method::GET, "/health", Need::Nothing, health)
        .route(Method::GET, "/metrics", Need::Nothing, metrics)
}

/// Create an order
///
/// The order is committed when the reply is sent; brokers are told of it after that. A key makes one order, for ever: whoever
/// got no reply sends it again, and finds the order in the refusal.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "orders",
    request_body = wire::CreateOrder,
    responses(
        (status = 201, description = "The order is made", body = wire::Created),
        (status = 400, description = "A field is missing or refused, or the body is no JSON: one entry a field", body = wire::Refused),
        (status = 409, description = "The key was used (`DUPLICATE_IDEMPOTENCY_KEY`, with the order's id), or the product is \
            not to be had (`PRODUCT_UNAVAILABLE`)", body = wire::Refused),
    ),
)]
async fn create_order(
    contract: Contract,
    Extension(shared): Extension<Shared>,
    _: Room,
    Json(body): Json,
) -> Result<Response, No> {
    let order = wire::CreateOrder::read(&body).map_err(No::Invalid)?;
    let (product_id, quantity) = (order.product_id, order.quantity);
    let intake = map::intake(&contract, order).map_err(|fault| No::Shared(Refusal::Fault(fault)))?;
    // A retry is told of its order whether or not the product can still be had.
    if let Some(order_id) = derived_id(&intake) {
        match contract.order(order_id).await.map_err(No::from) {
            Ok(order) => return Err(No::KeyUsed(order.id)),
            Err(No::OrderUnknown) => {}
            Err(no) => return Err(no),
        }
    }
    match shared.means.catalog.available(product_id).await {
        Ok(Some(available)) if available.covers(quantity) => {}
        Ok(_) => return Err(No::ProductUnavailable),
        // Why is for whoever asks the catalogue to log.
        Err(away) => return Err(No::CatalogUnavailable { retry_after: away.retry_after }),
    }
    match contract.accept(intake).await? {
        Accepted::New(order) => Ok(reply::order(StatusCode::CREATED, order.id, &map::created(&order))),
        // Somebody with the same key was faster.
        Accepted::Duplicate { order, .. } => Err(No::KeyUsed(order.id)),
    }
}

/// Get an order
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    params(("id" = String, Path, description = "The order's id", format = "uuid")),
    responses(
        (status = 200, description = "The order as it is now", body = wire::Order),
        (status = 400, description = "The id is no UUID", body = wire::Refused),
        (status = 404, description = "No such order", body = wire::Refused),
    ),
)]
async fn get_order(contract: Contract, id: Result<Path<String>, PathRejection>) -> Result<Response, No> {
    let Path(id) = id.map_err(|_| No::Invalid(vec![Issue::new("Order ID must be a UUID")]))?;
    let order = contract.order(OrderId(wire::order_id(&id)?)).await?;
    Ok(reply::order(StatusCode::OK, order.id, &map::order(&order)))
}

/// List the newest orders
#[utoipa::path(
    get,
    path = "/api/v1/orders",
    tag = "orders",
    responses(
        (status = 200, description = "The newest 200 orders of the caller's tenant, the newest first", body = Vec<wire::Order>),
    ),
)]
async fn list_orders(contract: Contract) -> Result<Response, No> {
    let newest = contract.newest(LIST_MAX).await?;
    Ok(reply::json(StatusCode::OK, &newest.iter().map(map::order).collect::<Vec<_>>()))
}

/// How is the service?
#[utoipa::path(
    get,
    path = "/health",
    tag = "operations",
    responses(
        (status = 200, description = "Orders can be taken in", body = wire::Health),
        (status = 503, description = "The database is away", body = wire::Health),
    ),
)]
async fn health(State(mounted): State<Mounted>, Extension(shared): Extension<Shared>) -> Response {
    let look = async {
        let database = async {
            let probed = tokio::time::timeout(PROBE_TIMEOUT, mounted.app().probe()).await;
            matches!(probed, Ok(Ok(())))
        };
        tokio::join!(database, (shared.means.brokers)())
    };
    let (database, BrokerStates { rabbitmq, kafka }) = shared.health.get(look).await;
    let (status, code) = if database {
        (wire::HealthStatus::Healthy, StatusCode::OK)
    } else {
        (wire::HealthStatus::Unhealthy, StatusCode::SERVICE_UNAVAILABLE)
    };
    reply::json(code, &wire::Health { status, database, rabbitmq, kafka })
}

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "The text form of Prometheus", body = String, content_type = "text/plain")),
)]
async fn metrics(Extension(shared): Extension<Shared>) -> Response {
    let look = async { Arc::from(page::own(&(shared.means.metrics)().await)) };
    let page: Arc<str> = shared.page.get(look).await;
    ([(CONTENT_TYPE, PROMETHEUS)], page.to_string()).into_response()
}

/// The contract's OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "sales",
        description = "Orders of one product each, checked against a catalogue, then shipped and delivered.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(create_order, list_orders, get_order, health, metrics)
)]
struct Docs;
