//! What people and keys of the caller's tenant did.

use crate::Api;
use crate::cursor::{Purpose, Signer};
use crate::params::Params;
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::Caller;
use http::StatusCode;
use order_core::action_log::Action;
use order_core::action_log::chain::hex;
use serde_json::{Value, json};
use std::sync::Arc;

const ACTIONS_UNLESS_SAID: u32 = 50;
const ACTIONS_MAX: u32 = 200;

/// List what people and keys did.
#[utoipa::path(
    get,
    path = "/v1/actions",
    tag = "operations",
    operation_id = "list_actions",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "Rows of the action log, the newest first",
        body = crate::schema::operate::ActionList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["limit", "after"]);
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let before = params.place(&signer, Purpose::Actions)?;
    let limit = params.limit(ACTIONS_UNLESS_SAID, ACTIONS_MAX);
    params.settle()?;
    let rows = api.app.storage.actions(&caller.tenant, before, limit).await?;
    let last = rows.last().filter(|_| rows.len() as u64 == u64::from(limit));
    let next = last.map(|row| signer.place(Purpose::Actions, row.number));
    let rows: Vec<Value> = rows.iter().map(show).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "actions": rows, "next": next }).to_string()))
}

fn show(row: &Action) -> Value {
    let state = |hash: Option<[u8; 32]>| hash.map(|hash| hex(&hash));
    // What is kept is an object, unless somebody changed it.
    let details: Value = serde_json::from_str(&row.details).unwrap_or_else(|_| json!({}));
    json!({
        "number": row.number,
        "action": row.kind,
        "subject": row.subject,
        "details": details,
        "by": row.by,
        "address": row.address,
        "request_id": row.request_id,
        "at": row.at.to_string(),
        "epoch": row.epoch,
        "state_before": state(row.before),
        "state_after": state(row.after),
        "previous_hash": hex(&row.previous),
        "hash": hex(&row.hash),
    })
}
