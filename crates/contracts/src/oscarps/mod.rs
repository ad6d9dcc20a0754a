//! The contract `oscarps`: orders by the client's own id, taken in once, processed in the background.
//!
//! | call | reply |
//! |---|---|
//! | `POST /orders` | 201 the new order; 200 for every duplicate, the order as it is |
//! | `GET /orders/{orderId}` | 200 the order; 404 |
//! | `GET /health` | 200 |
//! | `GET /docs`, `/docs/json` | Swagger UI; the OpenAPI document |

mod map;
mod refuse;
mod wire;

use crate::contract::{Contract, Mounted};
use crate::reply;
use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use edge::{Declared, Gate, Guard, Json, Mount, Need, Room, Routes, Scope};
use http::{Method, StatusCode};
use order_core::{App, TenantId};
use refuse::No;
use std::sync::Arc;
use utoipa::OpenApi;

/// The contract's name: its prefix, its source, its label in metrics.
pub const NAME: &str = "oscarps";
/// How it is mounted.
pub const MOUNT: Mount = Mount { name: NAME, style: refuse::style };

/// The contract under its documented paths; `gate` says who calls, and so whose orders are seen.
pub fn router(app: Arc<App>, guard: Arc<Guard>, gate: Arc<dyn Gate>) -> Router {
    metrics::describe_counter!(
        map::DUPLICATES_DIFFERING,
        "Duplicates that differ from the order that is there, by contract"
    );
    // There from the start: a rate needs a zero to rise from.
    metrics::counter!(map::DUPLICATES_DIFFERING, "contract" => NAME).increment(0);
    let mount = MOUNT;
    Mounted::new(app, NAME).mounted(routes(gate), (Docs::openapi, "Message"), mount, guard)
}

/// What each route needs.
pub fn declared() -> Vec<Declared> {
    routes(Arc::new(edge::Open::new(TenantId::default_tenant()))).declared().to_vec()
}

fn routes(gate: Arc<dyn Gate>) -> Routes<Mounted> {
    Routes::new(gate)
        .route(Method::POST, "/orders", Need::Scope(Scope::OrdersWrite), create_order)
        .route(Method::GET, "/orders/{orderId}", Need::Scope(Scope::OrdersRead), get_order)
        .route(Method::GET, "/health", Need::Nothing, health)
}

/// Create an order
///
/// The same `orderId` is the same order, for ever: every duplicate answers 200 with the order as it is now, and writes
/// nothing. The order is committed when the reply is sent, and is processed in the background.
#[utoipa::path(
    post,
    path = "/orders",
    tag = "orders",
    request_body = wire::CreateOrder,
    responses(
        (status = 201, description = "The order is new", body = wire::Row),
        (status = 200, description = "The order was there; this is how it is now", body = wire::Row, headers(
            ("Wellorder-Duplicate-Differs" = String, description = "When what was sent differs by value from what is \
            there: JSON pointers of the fields that do, apart by commas, such as `/customer,/total`"),
        )),
        (status = 400, description = "The body is refused; all fields at fault are named", body = wire::InvalidBody),
    ),
)]
async fn create_order(contract: Contract, _: Room, Json(body): Json) -> Result<Response, No> {
    let order = wire::CreateOrder::read(&body)?;
    let accepted = contract.accept(map::intake(&contract, order)).await?;
    Ok(map::accepted(&accepted, contract.now()))
}

/// Get an order
#[utoipa::path(
    get,
    path = "/orders/{orderId}",
    tag = "orders",
    params(("orderId" = String, Path, description = "The client's own id, percent-encoded", example = "A-1001")),
    responses(
        (status = 200, description = "The order as it is now", body = wire::Row),
        (status = 400, description = "The path is not percent-encoded UTF-8", body = wire::Message),
        (status = 404, description = "No such order", body = wire::Message),
    ),
)]
async fn get_order(
    contract: Contract,
    order_id: Result<Path<String>, PathRejection>,
) -> Result<Response, No> {
    // A path that is no UTF-8 names no order either.
    let Path(order_id) = order_id.map_err(|_| No::OrderUnknown)?;
    let order_id = map::order_id(&contract, &order_id).ok_or(No::OrderUnknown)?;
    let order = contract.order(order_id).await?;
    Ok(reply::order(StatusCode::OK, order.id, &map::row(&order, contract.now())))
}

/// Tell that the API is alive
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses((status = 200, description = "Alive", body = wire::Health)),
)]
async fn health() -> Response {
    reply::json(StatusCode::OK, &wire::Health { status: "ok" })
}

/// The contract's OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "oscarps",
        description = "Orders by the client's own id, taken in once and processed in the background.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(create_order, get_order, health)
)]
struct Docs;

/// Reads a body for the fuzz targets; see [`crate::fuzzing`].
#[cfg(feature = "fuzzing")]
pub(crate) fn read(
    body: &serde_json::Value,
) -> Result<(order_core::Reference, String, order_core::Money), String> {
    let order = wire::CreateOrder::read(body).map_err(|issues| format!("{issues:?}"))?;
    Ok((order.order_id, order.customer, order.total))
}
