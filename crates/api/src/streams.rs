//! Orders that are parked for a follower, because its sink refused an event of theirs for good.

use crate::Api;
use crate::object::{Object, Offences};
use crate::params::Params;
use crate::problem::Failure;
use crate::redrives::{REASON_BYTES_MAX, read_ids};
use axum::extract::{Path, State};
use axum::response::Response;
use edge::Json;
use http::StatusCode;
use order_core::ids::OrderId;
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::{Fault, Rejection};
use serde_json::{Value, json};
use std::sync::Arc;

/// Parked orders on a page unless said, and at most.
const STREAMS_UNLESS_SAID: u32 = 50;
const STREAMS_MAX: u32 = 200;

/// List the orders that are parked for a follower.
///
/// Its sink refused an event of each for good. That event and the later ones of that order wait; all other orders go on.
#[utoipa::path(
    get,
    path = "/v1/followers/{name}/parked",
    tag = "operations",
    operation_id = "list_follower_parked",
    params(
        ("name" = String, Path, description = "The follower"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after_order_id" = Option<String>, Query, description = "`next` of the page before", format = "uuid"),
    ),
    responses((status = 200, description = "Parked orders, by shard and id", body = crate::schema::FollowerParkedList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    let storage = &api.app.storage;
    let mut params = params.read(&["limit", "after_order_id"]);
    let after = params.parsed("after_order_id", "must be a UUID", crate::params::uuid).map(OrderId);
    let limit = params.limit(STREAMS_UNLESS_SAID, STREAMS_MAX);
    params.settle()?;
    if storage.follower(&name).await?.is_none() {
        return Err(Rejection::FollowerUnknown.into());
    }
    let after = after.map(|order_id| (order_id.shard(storage.install().shards), order_id));
    let streams = storage.parked_streams(&name, &WhichStreams::Page { after, limit }).await?;
    let last = streams.last().filter(|_| streams.len() as u64 == u64::from(limit));
    let next = last.map(|stream| stream.order_id.to_string());
    let parked: Vec<Value> = streams.iter().map(show).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "parked": parked, "next": next }).to_string()))
}

fn show(stream: &ParkedStream) -> Value {
    json!({
        "order_id": stream.order_id.to_string(),
        "tenant": stream.tenant.as_str(),
        "shard": stream.shard.0,
        "from_version": stream.from_version,
        "reason": stream.reason.name(),
        "detail": stream.detail,
        "parked_at": stream.parked_at.to_string(),
        "redriving": stream.redriving,
    })
}

/// Send what is parked for a follower again.
///
/// In order, from the refused event on, as soon as the follower runs. With `skip` the refused event is left out, and what is
/// behind it is sent: why is kept in the action log for ever, so name no person there.
#[utoipa::path(
    post,
    path = "/v1/followers/{name}/redrive",
    tag = "operations",
    operation_id = "redrive_follower",
    params(("name" = String, Path, description = "The follower")),
    request_body = crate::schema::FollowerRedrive,
    responses((status = 200, description = "How many orders will be sent again", body = crate::schema::FollowerRedriven))
)]
pub(crate) async fn redrive(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Json(body): Json,
) -> Result<Response, Failure> {
    let (orders, skip) = asked(&body)?;
    let count = api.app.redrive_follower(&name, orders, skip).await?;
    Ok(edge::respond::json(StatusCode::OK, json!({ "redriven": count }).to_string()))
}

/// Which orders, all when `None`; and why the refused events are left out, if they are.
fn asked(body: &Value) -> Result<(Option<Vec<OrderId>>, Option<String>), Failure> {
    let mut offences = Offences::default();
    let asked = Object::read(body, "", &["order_ids", "all", "skip", "reason"], &mut offences).map(|body| {
        let orders = body.array("order_ids", &mut offences).map(|ids| read_ids(&body, ids, &mut offences));
        let all = body.flag("all", &mut offences).unwrap_or(false);
        if all && orders.is_some() {
            offences.refused(body.at("all"), "contradicts", "must not be given together with order_ids");
        }
        // Nothing said must not mean everything.
        if !all && body.get("order_ids").is_none() {
            offences.refused("", "missing", "must say which orders in order_ids, or all: true");
        }
        let skips = body.flag("skip", &mut offences).unwrap_or(false);
        if skips {
            body.required("reason", &mut offences);
        } else if body.get("reason").is_some() {
            offences.refused(body.at("reason"), "contradicts", "is said of what is skipped alone");
        }
        let reason = body.text_within("reason", REASON_BYTES_MAX, &mut offences).map(str::to_owned);
        (orders, reason)
    });
    offences.settle()?;
    asked.ok_or_else(|| Fault::internal("a redrive was neither read nor refused").into())
}
