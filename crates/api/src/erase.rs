//! `POST /v1/orders/{order_id}/erasures`.

use crate::Api;
use crate::actions::order_json;
use crate::changing::change;
use crate::create::{IDEMPOTENT_REPLAYED, tagged};
use crate::facts::read;
use crate::if_match::IfMatch;
use crate::params::{NoParams, PathId};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, MaybeJson};
use http::{HeaderMap, HeaderValue, StatusCode};
use order_core::command::{ChangeKind, Changed};
use order_core::event::{EventBody, EventType};
use order_core::{Fault, Order, OrderId};
use serde_json::{Value, json};
use std::sync::Arc;

/// Events that are looked through for what may remain, newest first.
const EVENTS_MAX: u32 = 1_000;

/// Erase a person's data.
///
/// Blanks what is personal in the order, in its earlier events and in the files of the database. Ids, reference, digest
/// and amounts stay, and what the order does next. Whoever followed the journal has the earlier events already: the event
/// `order.erased` tells them to do the same. It may be repeated, for what came since; where nothing did, nothing happens.
/// `remains` names what this installation keeps or has given out all the same.
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
    let remains = remains(&api, &caller, &erased.order).await?;
    let order = order_json(&erased.order, api.app.clock.now(), caller.scopes);
    let body = format!("{{\"pointers\":{pointers},\"remains\":{remains},\"order\":{order}}}");
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
        Some(Ok(EventBody::Erased { pointers, .. })) => Ok(Value::from(pointers)),
        _ => Err(Fault::internal("an erasure that was committed is not in the journal").into()),
    }
}

/// What an erasure does not reach. Looked up behind it: what a follower carries from now on is blank.
async fn remains(api: &Api, caller: &Caller, order: &Order) -> Result<Value, Failure> {
    let storage = &api.app.storage;
    let dossier = storage.dossier(&caller.tenant, order.id, EVENTS_MAX).await?;
    let events = dossier.map(|dossier| dossier.events).unwrap_or_default();
    // Where the first events are not looked at, a follower may have carried them.
    let whole = events.first().filter(|first| first.version == 1);
    let first = whole.map_or(1, |first| first.position);
    let (shard, epoch) = (usize::from(order.id.shard(storage.install().shards).0), storage.install().epoch);
    let mut remains = Vec::new();
    for row in storage.followers().await? {
        let carried = row.cursor.positions.get(shard).is_some_and(|position| *position >= first);
        if carried || row.cursor.epoch != epoch {
            let advice =
                "Its sink may hold earlier events of this order: blank the same there, or delete them";
            remains
                .push(json!({ "where": "follower", "name": row.name, "sink": row.sink, "advice": advice }));
        }
    }
    if whole.is_none() || events.iter().any(|event| event.kind == EventType::OrderRedriven) {
        let advice = "The reasons that were given for redrives of this order stay with the redrives";
        remains.push(json!({ "where": "redrives", "name": null, "sink": null, "advice": advice }));
    }
    let advice = "Copies of the database that were made before hold it as it was: delete them in time";
    remains.push(json!({ "where": "copies", "name": null, "sink": null, "advice": advice }));
    Ok(remains.into())
}
