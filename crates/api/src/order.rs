//! One order, and its history.

use crate::Api;
use crate::create::answer;
use crate::events::events_json;
use crate::params::{NoParams, PathId};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, LoggedOrder};
use http::StatusCode;
use order_core::{OrderId, Rejection};
use std::sync::Arc;

/// Show an order.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}",
    tag = "orders",
    operation_id = "get_order",
    params(("order_id" = String, Path, description = "The order", format = "uuid")),
    responses((status = 200, description = "The order", body = crate::schema::Order, headers(
        ("ETag" = String, description = "Its version; `queued` and `running` are of one version"),
    )))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    let order_id = OrderId(order_id);
    let order = api.app.storage.order(&caller.tenant, order_id).await?.ok_or(Rejection::OrderUnknown)?;
    Ok(answer(&api, &caller, StatusCode::OK, &order))
}

/// Show an order's history.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}/events",
    tag = "orders",
    operation_id = "list_order_events",
    params(("order_id" = String, Path, description = "The order", format = "uuid")),
    responses((status = 200, description = "All its events, oldest first", body = crate::schema::EventList))
)]
pub(crate) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    let order_id = OrderId(order_id);
    let events =
        api.app.storage.order_events(&caller.tenant, order_id).await?.ok_or(Rejection::OrderUnknown)?;
    let mut response = edge::respond::json(StatusCode::OK, events_json(&events, None));
    response.extensions_mut().insert(LoggedOrder(order_id));
    Ok(response)
}
