//! The contract `parspec`: orders by number, processed in the background, with counts of how that goes.
//!
//! | call | reply |
//! |---|---|
//! | `POST /orders` | 201 the new order; with an `Idempotency-Key` that was used before: 200 the same order |
//! | `GET /orders/{id}` | 200 the order; 400 no number; 404 |
//! | `GET /metrics` | 200 counts |
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
use http::{HeaderMap, Method, StatusCode};
use order_core::{App, TenantId};
use refuse::No;
use std::sync::Arc;
use utoipa::OpenApi;

/// The contract's name: its prefix, its source, its label in metrics.
pub const NAME: &str = "parspec";
/// How it is mounted.
pub const MOUNT: Mount = Mount { name: NAME, style: refuse::style };

/// The contract under its documented paths; `gate` says who calls, and so whose orders are seen.
pub fn router(app: Arc<App>, guard: Arc<Guard>, gate: Arc<dyn Gate>) -> Router {
    let mount = MOUNT;
    Mounted::new(app, NAME).mounted(routes(gate), (Docs::openapi, "Refused"), mount, guard)
}

/// What each route needs.
pub fn declared() -> Vec<Declared> {
    routes(Arc::new(edge::Open::new(TenantId::default_tenant()))).declared().to_vec()
}

fn routes(gate: Arc<dyn Gate>) -> Routes<Mounted> {
    Routes::new(gate)
        .route(Method::POST, "/orders", Need::Scope(Scope::OrdersWrite), create_order)
        .route(Method::GET, "/orders/{id}", Need::Scope(Scope::OrdersRead), get_order)
        .route(Method::GET, "/metrics", Need::Scope(Scope::OrdersRead), get_metrics)
}

/// Create an order
///
/// The order is committed when the reply is sent, and is processed in the background. Two posts are two orders, unless
/// they carry the same `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/orders",
    tag = "orders",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same \
        key with the same body answers the order that it made, for at least 24 hours", pattern = "^[!-~]{1,255}$")),
    request_body = wire::CreateOrder,
    responses(
        (status = 201, description = "The order is new", body = wire::OrderReply),
        (status = 200, description = "The `Idempotency-Key` made this order before", body = wire::OrderReply, headers(
            ("Idempotent-Replayed" = String, description = "Always `true`"),
        )),
        (status = 400, description = "A field is missing or refused, or the body is no JSON", body = wire::Refused),
        (status = 422, description = "The `Idempotency-Key` was used for another body", body = wire::Refused),
    ),
)]
async fn create_order(
    contract: Contract,
    headers: HeaderMap,
    _: Room,
    Json(body): Json,
) -> Result<Response, No> {
    let key = wire::idempotency_key(&headers)?;
    let order = wire::CreateOrder::read(body)?;
    let accepted = contract.accept(map::intake(&contract, order, key)).await?;
    Ok(map::accepted(&accepted, contract.now()))
}

/// Get an order
#[utoipa::path(
    get,
    path = "/orders/{id}",
    tag = "orders",
    params(("id" = u64, Path, description = "The number of the order", example = 1)),
    responses(
        (status = 200, description = "The order as it is now", body = wire::OrderReply),
        (status = 400, description = "The id is no number", body = wire::Refused),
        (status = 404, description = "No such order", body = wire::Refused),
    ),
)]
async fn get_order(contract: Contract, id: Result<Path<String>, PathRejection>) -> Result<Response, No> {
    let Path(id) = id.map_err(|_| No::IdInvalid)?;
    let number = wire::order_number(&id)?.ok_or(No::OrderUnknown)?;
    let order = contract.order_by_number(number).await?;
    Ok(reply::order(StatusCode::OK, order.id, &map::order_reply(&order, contract.now())))
}

/// Count the orders
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "metrics",
    responses(
        (status = 200, description = "Counts, exact at one moment", body = wire::Metrics),
    ),
)]
async fn get_metrics(contract: Contract) -> Result<Response, No> {
    Ok(reply::json(StatusCode::OK, &map::metrics(&contract.tally().await?)))
}

/// The contract's OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "parspec",
        description = "Orders by number, processed in the background, with counts of how that goes.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(create_order, get_order, get_metrics)
)]
struct Docs;

/// Reads a body for the fuzz targets; see [`crate::fuzzing`].
#[cfg(feature = "fuzzing")]
pub(crate) fn read(
    body: serde_json::Value,
) -> Result<(String, Vec<serde_json::Value>, order_core::Money), String> {
    let order = wire::CreateOrder::read(body).map_err(|no| format!("{no:?}"))?;
    Ok((order.user_id, order.item_ids, order.total_amount))
}

/// Reads the number in a path for the fuzz targets; see [`crate::fuzzing`].
#[cfg(feature = "fuzzing")]
pub(crate) fn number(text: &str) -> Option<Option<i64>> {
    wire::order_number(text).ok()
}
