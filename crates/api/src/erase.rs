//! `POST /v1/orders/{order_id}/erasures`.

use crate::Api;
use crate::actions::order_json;
use crate::changing::{MaybeJson, change};
use crate::create::tagged;
use crate::facts::read;
use crate::if_match::IfMatch;
use crate::params::{NoParams, PathId};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::Caller;
use http::{HeaderMap, StatusCode};
use order_core::OrderId;
use order_core::command::ChangeKind;
use order_core::order::event::ERASED_POINTERS;
use serde_json::Value;
use std::sync::Arc;

/// Erase a person's data.
///
/// Blanks what is personal in the order, in its earlier events and in the files of the database. Ids, reference, digest
/// and amounts stay, and what the order does next. Whoever followed the journal has the earlier events already: the event
/// `order.erased` tells them to do the same. It may be repeated, for what came since.
#[utoipa::path(
    post,
    path = "/v1/orders/{order_id}/erasures",
    tag = "orders",
    operation_id = "erase_order",
    params(
        ("order_id" = String, Path, description = "The order", format = "uuid"),
        crate::if_match::IfMatchParam,
    ),
    responses((status = 200, description = "What was blanked, and the order as it is now", body = crate::schema::Erasure,
        headers(("ETag" = String, description = "The order's version"))))
)]
pub(crate) async fn erase(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    headers: HeaderMap,
    _: NoParams,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    read(&body, &[], |_, _| ())?;
    let if_match = IfMatch::read(&headers)?;
    let erased = change(&api, &caller, OrderId(order_id), if_match.as_ref(), ChangeKind::Erase).await?;
    let pointers: Value = ERASED_POINTERS.iter().copied().collect();
    let order = order_json(&erased.order, api.app.clock.now(), caller.scopes);
    let body = format!("{{\"pointers\":{pointers},\"order\":{order}}}");
    Ok(tagged(edge::respond::json(StatusCode::OK, body), &erased.order))
}
