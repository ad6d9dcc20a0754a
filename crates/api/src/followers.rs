//! Followers: how far each is, and what an operator can do about it.

use crate::Api;
use crate::cursor::Signer;
use crate::object::{Object, Offences};
use crate::params::NoParams;
use crate::problem::{Failure, Offence, cursor_refused};
use axum::extract::{Path, State};
use axum::response::Response;
use edge::{Caller, Json};
use http::StatusCode;
use order_core::command::FollowerAction;
use order_core::follow::lag;
use order_core::journal::{Cursor, Head};
use order_core::query::FollowerRow;
use order_core::{Error, Rejection};
use serde_json::{Value, json};
use std::sync::Arc;

/// List followers.
#[utoipa::path(
    get,
    path = "/v1/followers",
    tag = "operations",
    operation_id = "list_followers",
    responses((status = 200, description = "All followers", body = crate::schema::FollowerList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
) -> Result<Response, Failure> {
    // Heads after rows: no follower is ahead of what is shown.
    let rows = api.app.storage.followers().await?;
    let heads = api.app.storage.heads().await?;
    let followers: Vec<Value> = rows.iter().map(|row| show(&api, &caller, row, &heads)).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "followers": followers }).to_string()))
}

/// Show a follower.
#[utoipa::path(
    get,
    path = "/v1/followers/{name}",
    tag = "operations",
    operation_id = "get_follower",
    params(("name" = String, Path, description = "The follower")),
    responses((status = 200, description = "The follower", body = crate::schema::Follower))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoParams,
) -> Result<Response, Failure> {
    answer(&api, &caller, &name).await
}

/// Pause a follower.
#[utoipa::path(
    post,
    path = "/v1/followers/{name}/pause",
    tag = "operations",
    operation_id = "pause_follower",
    params(("name" = String, Path, description = "The follower")),
    responses((status = 200, description = "The follower, which carries nothing on now", body = crate::schema::Follower))
)]
pub(crate) async fn pause(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoParams,
) -> Result<Response, Failure> {
    act(&api, &caller, &name, FollowerAction::Pause).await
}

/// Let a paused follower go on.
#[utoipa::path(
    post,
    path = "/v1/followers/{name}/resume",
    tag = "operations",
    operation_id = "resume_follower",
    params(("name" = String, Path, description = "The follower")),
    responses((status = 200, description = "The follower, which goes on", body = crate::schema::Follower))
)]
pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoParams,
) -> Result<Response, Failure> {
    act(&api, &caller, &name, FollowerAction::Resume).await
}

/// Let a follower go on from another place.
#[utoipa::path(
    post,
    path = "/v1/followers/{name}/replay",
    tag = "operations",
    operation_id = "replay_follower",
    params(("name" = String, Path, description = "The follower")),
    request_body = crate::schema::Replay,
    responses((status = 200, description = "The follower at its new place", body = crate::schema::Follower))
)]
pub(crate) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let from = from(&body)?;
    let install = api.app.storage.install();
    let heads = api.app.storage.heads().await?;
    let cursor = match from.as_str() {
        "beginning" => Cursor::beginning(install.epoch, install.shards),
        "now" => Cursor::at_heads(install.epoch, &heads),
        text => Signer::new(install, &caller.tenant).read_journal(text).map_err(from_refused)?,
    };
    cursor.check(install.epoch, &heads).map_err(from_refused)?;
    api.app.follower(&name, FollowerAction::Replay(cursor)).await.map_err(from_refused)?;
    answer(&api, &caller, &name).await
}

/// A refusal of the cursor in the member `from`, which it names; any other failure as it is.
fn from_refused(error: impl Into<Error>) -> Failure {
    cursor_refused(error, |code, message| Offence::at("/from", code, message))
}

fn from(body: &Value) -> Result<String, Failure> {
    let mut offences = Offences::default();
    let from = Object::read(body, "", &["from"], &mut offences).and_then(|body| {
        body.required("from", &mut offences)?;
        body.text_within("from", 16 * 1024, &mut offences).map(str::to_owned)
    });
    offences.settle()?;
    Ok(from.unwrap_or_default())
}

/// Does something with a follower and shows it as it is then.
async fn act(api: &Api, caller: &Caller, name: &str, action: FollowerAction) -> Result<Response, Failure> {
    api.app.follower(name, action).await?;
    answer(api, caller, name).await
}

async fn answer(api: &Api, caller: &Caller, name: &str) -> Result<Response, Failure> {
    let row = api.app.storage.follower(name).await?.ok_or(Rejection::FollowerUnknown)?;
    let heads = api.app.storage.heads().await?;
    Ok(edge::respond::json(StatusCode::OK, show(api, caller, &row, &heads).to_string()))
}

fn show(api: &Api, caller: &Caller, row: &FollowerRow, heads: &[Head]) -> Value {
    let shards = row.cursor.positions.iter().zip(heads);
    let shards = shards.map(
        |(position, head)| json!({ "shard": head.shard.0, "position": position, "head": head.position }),
    );
    json!({
        "name": row.name,
        "sink": row.sink,
        "state": state(api, row),
        "lag": lag(&row.cursor, heads),
        "cursor": Signer::new(api.app.storage.install(), &caller.tenant).journal(&row.cursor),
        "last_error": api.app.follower_faults.of(&row.name),
        "shards": shards.collect::<Vec<_>>(),
    })
}

/// The word for what a follower does.
pub(crate) fn state(api: &Api, row: &FollowerRow) -> &'static str {
    match (row.paused, api.app.follower_faults.of(&row.name)) {
        (true, _) => "paused",
        (false, Some(_)) => "failing",
        (false, None) => "running",
    }
}
