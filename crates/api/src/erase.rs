//! `POST /v1/orders/{order_id}/erasures`.

use crate::Api;
use crate::actions::order_json;
use crate::changing::{MaybeJson, change};
use crate::create::{IDEMPOTENT_REPLAYED, tagged};
use crate::facts::read;
use crate::if_match::IfMatch;
use crate::params::{NoParams, PathId};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::Caller;
use http::{HeaderMap, HeaderValue, StatusCode};
use order_core::command::{ChangeKind, Changed};
use order_core::event::EventBody;
use order_core::{Fault, OrderId};
use serde_json::{Value, json};
use std::sync::Arc;

/// Erase a person's data.
///
/// Blanks what is personal in the order, in its earlier events and in the files of the database. Ids, reference, digest
/// and amounts stay, and what the order does next. Whoever followed the journal has the earlier events already: the event
/// `order.erased` tells them to do the same. It may be repeated, for what came since; where nothing did, nothing happens.
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
        headers(
            ("ETag" = String, description = "The order's version"),
            ("Idempotent-Replayed" = String, description = "`true` when nothing was left to erase"),
        )))
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
    let pointers: Value = if erased.changed { pointers(&api, &caller, &erased).await? } else { json!([]) };
    let order = order_json(&erased.order, api.app.clock.now(), caller.scopes);
    let body = format!("{{\"pointers\":{pointers},\"order\":{order}}}");
    let mut response = tagged(edge::respond::json(StatusCode::OK, body), &erased.order);
    if !erased.changed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What the erasure blanked, as its event tells.
async fn pointers(api: &Api, caller: &Caller, erased: &Changed) -> Result<Value, Failure> {
    let (order_id, before) = (erased.order.id, erased.order.version.saturating_sub(1));
    let page = api.app.storage.order_events(&caller.tenant, order_id, before, 1).await?;
    let event = page.and_then(|page| page.events.into_iter().next());
    match event.as_ref().map(EventBody::parse) {
        Some(Ok(EventBody::Erased { pointers })) => Ok(Value::from(pointers)),
        _ => Err(Fault::internal("an erasure that was committed is not in the journal").into()),
    }
}
