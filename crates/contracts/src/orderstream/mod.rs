//! The contract `orderstream`: orders with a payload of the client's, taken in, changed and deleted by one call that waits
//! for a worker's acknowledgement; over HTTP and gRPC.
//!
//! | call | reply |
//! |---|---|
//! | `POST /orders` | 201 created, 200 updated or deleted; 202 when nobody acknowledged it in time; 409 deleted already |
//! | `GET /orders/{id}` | 200 the order; 400 no UUID; 404 |
//! | `GET /orders/by-external/{external}?user_id=` | 200 the newest order of that user with that `payload.id`; 404 |
//! | `GET /health` | 200 `ok` |
//! | `GET /docs`, `/docs/json` | Swagger UI; the OpenAPI document |

pub mod consumed;
pub mod events;
#[cfg(test)]
mod events_tests;
#[cfg(feature = "grpc")]
pub mod grpc;
mod history;
mod map;
mod payload;
mod refuse;
mod service;
pub mod telling;
mod wire;

use crate::contract::{Contract, Mounted};
use crate::reply;
use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query};
use axum::response::{IntoResponse, Response};
use edge::{Declared, Gate, Guard, Mount, Need, RawBody, Room, Routes, Scope, Standing};
use http::{HeaderMap, Method, StatusCode, header};
use order_core::{App, TenantId, json};
use refuse::No;
use service::Outcome;
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi;
use wire::Became;

/// The contract's name: its prefix, its source, its label in metrics.
pub const NAME: &str = "orderstream";
/// The source of orders that came in as events of other programs: their ids are references.
pub const EVENTS: &str = "orderstream-events";
/// How it is mounted.
pub const MOUNT: Mount = Mount { name: NAME, style: refuse::style };
/// How long a request waits for its acknowledgement unless it is told otherwise.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// How long a request waits for its acknowledgement; not at all when zero.
#[derive(Debug, Clone, Copy)]
pub struct AckWait(pub Duration);

impl Default for AckWait {
    fn default() -> Self {
        Self(ACK_WAIT)
    }
}

impl AckWait {
    /// As long as the time of the whole request allows.
    fn within(self, guard: &Guard) -> Duration {
        self.0.min(guard.limits.request_timeout * 11 / 12)
    }
}

/// The contract under its documented paths; `gate` says who calls, and so whose orders are seen.
pub fn router(app: Arc<App>, guard: Arc<Guard>, gate: Arc<dyn Gate>, wait: AckWait) -> Router {
    Mounted::new(app, NAME).mounted(routes(gate, wait), (Docs::openapi, "Refused"), MOUNT, guard)
}

/// What each route needs.
pub fn declared() -> Vec<Declared> {
    let gate = Arc::new(edge::Open::new(TenantId::default_tenant()));
    routes(gate, AckWait::default()).declared().to_vec()
}

fn routes(gate: Arc<dyn Gate>, wait: AckWait) -> Routes<Mounted> {
    let put = move |contract: Contract, guard, standing, room, body| {
        put_order(wait, contract, guard, standing, room, body)
    };
    Routes::new(gate)
        .route(Method::POST, "/orders", Need::Scope(Scope::OrdersWrite), put)
        .route(Method::GET, "/orders/{id}", Need::Scope(Scope::OrdersRead), get_order)
        .route(
            Method::GET,
            "/orders/by-external/{external}",
            Need::Scope(Scope::OrdersRead),
            get_order_by_external,
        )
        .route(Method::GET, "/health", Need::Nothing, health)
}

/// Create, update or delete an order
///
/// Without an `order_id` (or with `0`) the order is new. The reply waits until the order's work is done; when that takes too
/// long it is 202, and the order is no less safe.
#[utoipa::path(
    post,
    path = "/orders",
    tag = "orders",
    request_body(content((wire::PutOrder = "application/json"), (wire::PutOrder = "*/*"))),
    responses(
        (status = 201, description = "The order is new", body = wire::Done),
        (status = 200, description = "The order has new content, or is deleted", body = wire::Done),
        (status = 202, description = "It is committed; nobody has acknowledged it yet", body = wire::Done),
        (status = 400, description = "The body is refused", body = wire::Refused),
        (status = 404, description = "No such order", body = wire::Refused),
        (status = 409, description = "The order is deleted already", body = wire::Conflict),
    ),
)]
async fn put_order(
    wait: AckWait,
    contract: Contract,
    Extension(guard): Extension<Arc<Guard>>,
    mut standing: Standing,
    _: Room,
    RawBody(body): RawBody,
) -> Result<Response, No> {
    let limits = guard.limits.json;
    let body = json::parse(&body, limits).map_err(edge::Refusal::InvalidJson)?;
    let upsert = wire::Upsert::read(body, limits)?;
    let Outcome { order, mut became } = service::upsert(&contract, upsert, wait.within(&guard)).await?;
    if standing.ask_if_due().await.is_err() {
        // Whoever may not see it any more is not told what became of it.
        became = Became::Pending;
    }
    let status = match became {
        Became::Created => StatusCode::CREATED,
        Became::Updated | Became::Deleted => StatusCode::OK,
        Became::Pending => StatusCode::ACCEPTED,
    };
    let order_id = map::shown_id(&order).to_string();
    Ok(reply::order(status, order.id, &wire::Done { order_id, status: became }))
}

/// Get an order
#[utoipa::path(
    get,
    path = "/orders/{id}",
    tag = "orders",
    params(("id" = String, Path, description = "The order's id", format = "uuid")),
    responses(
        (status = 200, description = "The order as it is now", body = wire::OrderReply),
        (status = 400, description = "The id is no UUID", body = wire::Refused),
        (status = 404, description = "No such order", body = wire::Refused),
    ),
)]
async fn get_order(contract: Contract, id: Result<Path<String>, PathRejection>) -> Result<Response, No> {
    let Path(id) = id.map_err(|_| No::OrderIdInvalid)?;
    let order_id = wire::uuid(&id).ok_or(No::OrderIdInvalid)?;
    Ok(shown(&contract, &service::order(&contract, order_id).await?))
}

/// Get an order by its external id
///
/// The newest order of the user whose `payload.id` this is.
#[utoipa::path(
    get,
    path = "/orders/by-external/{external}",
    tag = "orders",
    params(("external" = String, Path, description = "`payload.id`; a number as it is printed"), wire::ByExternal),
    responses(
        (status = 200, description = "The order as it is now", body = wire::OrderReply),
        (status = 400, description = "`user_id` is no UUID", body = wire::Refused),
        (status = 404, description = "No such order", body = wire::Refused),
    ),
)]
async fn get_order_by_external(
    contract: Contract,
    external: Result<Path<String>, PathRejection>,
    query: Result<Query<wire::ByExternal>, QueryRejection>,
) -> Result<Response, No> {
    let user_id = query.ok().and_then(|Query(query)| query.user_id);
    let user_id = user_id.as_deref().and_then(wire::uuid).ok_or(No::UserIdInvalid)?;
    // A path that is no UTF-8 names no order.
    let Path(external) = external.map_err(|_| No::OrderUnknown)?;
    Ok(shown(&contract, &service::by_external(&contract, &external, user_id).await?))
}

fn shown(contract: &Contract, order: &order_core::Order) -> Response {
    let reply = wire::OrderReply { order: map::shown(order, contract.now()) };
    reply::order(StatusCode::OK, order.id, &reply)
}

/// Tell that the API is alive
///
/// As text, or as JSON to whoever asks for that.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses((status = 200, description = "Alive", content(
        (wire::Health = "application/json"), (String = "text/plain", example = "ok"),
    ))),
)]
async fn health(headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let asks_for_json = accepts.flat_map(|accept| accept.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    });
    if asks_for_json {
        return reply::json(StatusCode::OK, &wire::Health { status: "ok" });
    }
    "ok".into_response()
}

/// The contract's OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "orderstream",
        description = "Orders with a payload, taken in, changed and deleted by one call that waits for a worker's acknowledgement.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(put_order, get_order, get_order_by_external, health)
)]
struct Docs;

/// Reads a body for the fuzz targets; see [`crate::fuzzing`].
#[cfg(feature = "fuzzing")]
pub(crate) fn read(body: serde_json::Value) -> Result<Option<order_core::order::Content>, String> {
    use order_core::json::JsonLimits;

    let upsert = wire::Upsert::read(body, JsonLimits::default());
    Ok(match upsert.map_err(|no| format!("{no:?}"))? {
        wire::Upsert::Create { payload, .. } | wire::Upsert::Update { payload, .. } => {
            Some(map::content(None, payload))
        }
        wire::Upsert::Delete { .. } => None,
    })
}
