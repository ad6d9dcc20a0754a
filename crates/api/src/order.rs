//! One order, and its history.

use crate::Api;
use crate::create::answer;
use crate::cursor::{Purpose, Signer};
use crate::events::{LIMIT_MAX, LIMIT_UNLESS_SAID, events_json};
use crate::params::{NoParams, Params, PathId};
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

/// Show an order's history: page by page, oldest first.
///
/// Where the journal is not kept for ever, the beginning of a history goes in time, and in the end all of it: `truncated` says so.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}/events",
    tag = "orders",
    operation_id = "list_order_events",
    params(
        ("order_id" = String, Path, description = "The order", format = "uuid"),
        ("after" = Option<String>, Query, description = "`next` of the page before; from the beginning without it",
            min_length = 1, pattern = "^[A-Za-z0-9_-]+$"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless said. A page of large events has fewer",
            minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page of its events, oldest first; `next` is `null` on the last",
        body = crate::schema::OrderEventList))
)]
pub(crate) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["after", "limit"]);
    let limit = params.limit(LIMIT_UNLESS_SAID, LIMIT_MAX);
    let signer = Signer::new(api.app.storage.install(), &caller.tenant).with_filters(order_id.to_string());
    let after = params.place(&signer, Purpose::OrderEvents)?.unwrap_or(0);
    params.settle()?;
    let order_id = OrderId(order_id);
    let page = api.app.storage.order_events(&caller.tenant, order_id, after, limit).await?;
    let page = page.ok_or(Rejection::OrderUnknown)?;
    let next = page.next.map(|version| signer.place(Purpose::OrderEvents, version));
    // Every order has an event, and a page that leads on has one behind it.
    let truncated = page.events.first().is_none_or(|first| first.version != after + 1);
    let mut json = events_json(&page.events, next.as_deref());
    json.pop();
    json.push_str(if truncated { ",\"truncated\":true}" } else { ",\"truncated\":false}" });
    let mut response = edge::respond::json(StatusCode::OK, json);
    response.extensions_mut().insert(LoggedOrder(order_id));
    Ok(response)
}
