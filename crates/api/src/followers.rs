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
use order_core::{Error, Fault, Rejection, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest text of a place, in bytes.
const PLACE_BYTES_MAX: usize = 16 * 1024;

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

/// Let a follower go on from another place, or carry a range on once more.
#[utoipa::path(
    post,
    path = "/v1/followers/{name}/replay",
    tag = "operations",
    operation_id = "replay_follower",
    params(("name" = String, Path, description = "The follower")),
    request_body = crate::schema::Replay,
    responses((status = 200, description = "The follower at its new place, or with what it carries on once more",
        body = crate::schema::Follower))
)]
pub(crate) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let (from, to) = asked(&body)?;
    in_order(to.as_ref().is_none_or(|to| moments_in_order(&from, to)))?;
    let from = place(&api, &caller, "/from", &from).await?;
    let action = match to {
        None => FollowerAction::Replay(from),
        Some(to) => {
            let to = place(&api, &caller, "/to", &to).await?;
            in_order(!from.has_reached(&to) || from == to)?;
            FollowerAction::ReplayRange { from, to }
        }
    };
    api.app.follower(&name, action).await.map_err(|error| place_refused("/from", error))?;
    answer(&api, &caller, &name).await
}

/// Whether two moments are one after the other. Where nothing happened between them they are one place, which does not tell.
fn moments_in_order(from: &str, to: &str) -> bool {
    match (Timestamp::parse(from), Timestamp::parse(to)) {
        (Ok(from), Ok(to)) => from <= to,
        _ => true,
    }
}

fn in_order(is: bool) -> Result<(), Failure> {
    let mut offences = Offences::default();
    if !is {
        offences.refused("/to", "contradicts", "must not lie before from");
    }
    offences.settle()
}

/// The place that the member at `pointer` names.
async fn place(api: &Api, caller: &Caller, pointer: &'static str, text: &str) -> Result<Cursor, Failure> {
    let storage = &api.app.storage;
    let install = storage.install();
    let cursor = match Timestamp::parse(text) {
        _ if text == "beginning" => Cursor::beginning(install.epoch, install.shards),
        _ if text == "now" => Cursor::at_heads(install.epoch, &storage.heads().await?),
        Ok(moment) => storage.place_of(moment).await?,
        Err(_) => Signer::new(install, &caller.tenant)
            .read_journal(text)
            .map_err(|rejection| place_refused(pointer, rejection))?,
    };
    // Read last: the place of a moment to come is where the journal ends by then.
    let heads = storage.heads().await?;
    cursor.check(install.epoch, &heads).map_err(|rejection| place_refused(pointer, rejection))?;
    Ok(cursor)
}

/// A refusal of the cursor in a member, which it names; any other failure as it is.
fn place_refused(pointer: &'static str, error: impl Into<Error>) -> Failure {
    cursor_refused(error, |code, _| {
        let message = "must be beginning, now, an RFC 3339 date-time, or a cursor that can be read on from";
        Offence::at(pointer, code, message)
    })
}

/// From where, and up to where if that is said.
fn asked(body: &Value) -> Result<(String, Option<String>), Failure> {
    let mut offences = Offences::default();
    let asked = Object::read(body, "", &["from", "to"], &mut offences).and_then(|body| {
        body.required("from", &mut offences)?;
        let mut place = |name| body.text_within(name, PLACE_BYTES_MAX, &mut offences).map(str::to_owned);
        let (from, to) = (place("from"), place("to"));
        Some((from?, to))
    });
    offences.settle()?;
    asked.ok_or_else(|| Fault::internal("a replay was neither read nor refused").into())
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
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let cursor = |positions: &[u64]| {
        signer.journal(&Cursor { epoch: row.cursor.epoch, positions: positions.to_vec() })
    };
    let replay = row.replay.as_ref().map(|replay| {
        json!({ "from": cursor(&replay.next), "to": cursor(&replay.up_to), "left": replay.left(heads) })
    });
    let shards = row.cursor.positions.iter().zip(heads);
    let shards = shards.map(
        |(position, head)| json!({ "shard": head.shard.0, "position": position, "head": head.position }),
    );
    json!({
        "name": row.name,
        "sink": row.sink,
        "state": state(api, row),
        "lag": lag(&row.cursor, heads),
        "cursor": signer.journal(&row.cursor),
        "replay": replay,
        "parked": row.parked,
        "relays": row.relays.iter().filter(|relay| relay.until > api.app.clock.now()).count(),
        "last_error": last_error(api, row),
        "shards": shards.collect::<Vec<_>>(),
    })
}

/// The word for what a follower does.
pub(crate) fn state(api: &Api, row: &FollowerRow) -> &'static str {
    match (row.paused, api.app.follower_fault(row)) {
        (true, _) => "paused",
        (false, Some(_)) => "failing",
        (false, None) => "running",
    }
}

/// What an operator should know of it: why its sink takes nothing, else that something waits for them.
fn last_error(api: &Api, row: &FollowerRow) -> Option<String> {
    let parked = || {
        let orders =
            if row.parked == 1 { "1 order is".to_owned() } else { format!("{} orders are", row.parked) };
        format!("{orders} parked: the sink refused events for good")
    };
    let fault = api.app.follower_fault(row);
    fault.or_else(|| (row.parked > 0).then(parked))
}
