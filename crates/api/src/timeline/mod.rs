//! `GET /v1/orders/{order_id}/timeline`: everything that happened to an order and what caused it, what goes on now, and
//! who has heard of it. For people who must find out at night what is wrong with one order.

mod entries;

use crate::Api;
use crate::followers;
use crate::params::{NoParams, PathId};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, LoggedOrder, Standing};
use http::StatusCode;
use order_core::event::EventType;
use order_core::parking::WhichStreams;
use order_core::query::{FollowerRow, OrderDossier};
use order_core::state::Processing;
use order_core::{Order, OrderId, Rejection, Shard, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Most entries that are shown: the newest.
const ENTRIES_MAX: u32 = 1_000;

/// Show what happened to an order.
///
/// Everything that happened, oldest first, each with what caused it; what goes on now; and, for the tenant that runs the
/// installation, which followers have carried the newest event on.
#[utoipa::path(
    get,
    path = "/v1/orders/{order_id}/timeline",
    tag = "orders",
    operation_id = "get_order_timeline",
    params(("order_id" = String, Path, description = "The order", format = "uuid")),
    responses((status = 200, description = "The order's timeline", body = crate::schema::Timeline, headers(
        ("ETag" = String, description = "The order's version"),
    )))
)]
pub(crate) async fn timeline(
    State(api): State<Arc<Api>>,
    caller: Caller,
    standing: Standing,
    PathId(order_id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    let order_id = OrderId(order_id);
    let dossier = api.app.storage.dossier(&caller.tenant, order_id, ENTRIES_MAX).await?;
    let dossier = dossier.ok_or(Rejection::OrderUnknown)?;
    // Followers after the order: what they are said to have carried, they have.
    let followers = match standing.is_operator() {
        true => api.app.storage.followers().await?,
        // Followers carry the events of all tenants: they are the operators' alone, as in their own list.
        false => Vec::new(),
    };
    let install = api.app.storage.install();
    let shard = order_id.shard(install.shards);
    let mut carriers = Vec::new();
    for row in &followers {
        let waits = waits(&api, row, order_id).await?;
        carriers.push(follower(&api, row, &dossier.order, (shard, install.epoch), waits));
    }
    let shown = json!({
        "order_id": order_id.to_string(),
        "version": dossier.order.version,
        "shard": shard.0,
        "position": dossier.order.last_position,
        "now": now(&dossier, api.app.clock.now()),
        "entries": entries::entries(&dossier.events),
        "truncated": (dossier.events.len() as u64) < dossier.order.version,
        "followers": carriers,
    });
    let mut response = edge::respond::json(StatusCode::OK, shown.to_string());
    response.extensions_mut().insert(LoggedOrder(order_id));
    Ok(crate::create::tagged(response, &dossier.order))
}

/// Whether the order is parked for a follower.
async fn waits(api: &Api, row: &FollowerRow, order_id: OrderId) -> Result<bool, Failure> {
    if row.parked == 0 {
        return Ok(false);
    }
    let streams = api.app.storage.parked_streams(&row.name, &WhichStreams::Of(vec![order_id])).await?;
    Ok(!streams.is_empty())
}

fn follower(api: &Api, row: &FollowerRow, order: &Order, (shard, epoch): (Shard, u32), waits: bool) -> Value {
    let position = row.cursor.positions.get(usize::from(shard.0)).copied().unwrap_or(0);
    json!({
        "name": row.name,
        "state": followers::state(api, row),
        "position": position,
        "carried": !waits && row.cursor.epoch == epoch && position >= order.last_position,
    })
}

/// What goes on at `now`.
fn now(dossier: &OrderDossier, now: Timestamp) -> Value {
    let OrderDossier { order, events, work, .. } = dossier;
    let lease = order.live_lease(now);
    let parked = events.iter().rev().find(|event| event.kind == EventType::OrderParked);
    let parked_since =
        parked.filter(|_| order.processing == Processing::Parked).map(|event| event.occurred_at);
    let due_at = work.as_ref().filter(|_| lease.is_none()).map(|work| work.due_at);
    let running = lease.map(|lease| {
        json!({
            "number": lease.attempt,
            "began_at": lease.began_at.to_string(),
            "lease_until": lease.until.to_string(),
        })
    });
    json!({
        "at": now.to_string(),
        "summary": summary(dossier, now, parked_since),
        "processing": order.processing_at(now).word(),
        "fulfilment": order.fulfilment.word(),
        "withdrawn": order.withdrawn,
        "attempt": running,
        "due_at": due_at.map(|at| at.to_string()),
        "lapses": work.as_ref().map_or(0, |work| work.lapses),
        "parked_since": parked_since.map(|at| at.to_string()),
        "last_error": order.last_error,
    })
}

/// What goes on, in one sentence.
fn summary(dossier: &OrderDossier, now: Timestamp, parked_since: Option<Timestamp>) -> String {
    let OrderDossier { order, work, .. } = dossier;
    if let Some(lease) = order.live_lease(now) {
        let (attempt, began, until) = (lease.attempt, lease.began_at, lease.until);
        return format!("Attempt {attempt} runs since {began}; its lease ends at {until}");
    }
    match (order.processing, work) {
        (Processing::Parked, _) => {
            let since = parked_since.map(|at| format!(" since {at}")).unwrap_or_default();
            let why = order.last_error.as_deref().unwrap_or_default();
            format!("Parked{since}, waits for an operator: {why}")
        }
        (Processing::Done, _) => match order.processed_at {
            Some(at) => format!("Nothing is left to do: processed at {at}"),
            None => "Nothing is left to do: withdrawn before it was processed".to_owned(),
        },
        (Processing::Queued | Processing::Running, Some(work)) => {
            let (attempt, due) = (work.attempt.saturating_add(1), work.due_at);
            if work.token.is_some() {
                format!("The lease of attempt {attempt} ran out at {due}; waits for a worker to take it over")
            } else if due > now {
                format!("Waits for attempt {attempt}, due at {due}")
            } else {
                format!("Waits for a worker since {due}, for attempt {attempt}")
            }
        }
        (Processing::Queued | Processing::Running, None) => {
            "Waits for a worker, but has no work: run wellorder audit".to_owned()
        }
    }
}
