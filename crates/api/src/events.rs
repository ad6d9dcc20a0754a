//! `GET /v1/events`: the journal, page by page, or as a stream.

use crate::accept::prefers_stream;
use crate::cursor::Signer;
use crate::params::{Params, Reader, after_refused};
use crate::problem::Failure;
use crate::{Api, sse};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, Stalled, Standing};
use http::{HeaderMap, StatusCode};
use order_core::journal::{Cursor, Event};
use std::sync::Arc;

pub(crate) const LIMIT_UNLESS_SAID: u32 = 100;
pub(crate) const LIMIT_MAX: u32 = 1_000;
const LAST_MAX: u32 = 200;

/// Read the feed.
///
/// `next` is always there: ask again with it. With `Accept: text/event-stream` it is a stream that goes on
/// and on: each event has its cursor as `id`, its type as `event` and its JSON as `data`; `limit` has no meaning there. The
/// weights of `Accept` decide; who gives both the same gets the stream. It ends within 5 seconds once the credential is no
/// longer good.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    operation_id = "list_events",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before; from the beginning without it",
            min_length = 1, pattern = "^[A-Za-z0-9_-]+$"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless said", minimum = 1, maximum = 1000),
        ("last" = Option<u32>, Query, description = "Begin with the newest so many events instead, 1 to 200; fewer where \
            those of others lie between. Not of a stream, and neither with `after` nor with `limit`",
            minimum = 1, maximum = 200),
        ("Last-Event-ID" = Option<String>, Header, description = "Of a stream: the `id` of the newest event that the \
            client has; wins over `after`"),
    ),
    responses((status = 200, description = "Events of all orders; those of one order come in its order",
        content((crate::schema::EventList = "application/json"), (String = "text/event-stream"))))
)]
pub(crate) async fn feed(
    State(api): State<Arc<Api>>,
    caller: Caller,
    standing: Standing,
    stalled: Option<Extension<Stalled>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    if prefers_stream(&headers) {
        let stalled = stalled.map(|Extension(stalled)| stalled);
        return sse::open(&api, stalled, (caller, standing), &headers, params).await;
    }
    let mut params = params.read(&["after", "limit", "last"]);
    let last = read_last(&mut params);
    let limit = params.limit(LIMIT_UNLESS_SAID, LIMIT_MAX);
    let after = params.get("after").map(str::to_owned);
    params.settle()?;
    let install = api.app.storage.install();
    let signer = Signer::new(install, &caller.tenant);
    let cursor = match after {
        Some(text) => signer.read_journal(&text).map_err(after_refused)?,
        None => Cursor::beginning(install.epoch, install.shards),
    };
    let read = match last {
        Some(count) => order_core::follow::newest(&api.app, &caller.tenant, count).await,
        None => order_core::follow::feed(&api.app, cursor, limit).await,
    };
    let (mut events, next) = read.map_err(after_refused)?;
    events.retain(|event| event.tenant == caller.tenant);
    Ok(edge::respond::json(StatusCode::OK, events_json(&events, Some(&signer.journal(&next)))))
}

/// How many of the newest are asked for, if so.
fn read_last(params: &mut Reader) -> Option<u32> {
    params.get("last")?;
    for other in ["after", "limit"] {
        if params.get(other).is_some() {
            params.refuse("last", "contradicts", "is not given together with after or limit");
            return None;
        }
    }
    params.count("last", LAST_MAX)
}

/// A list of events; a cursor needs no escaping.
pub(crate) fn events_json(events: &[Event], next: Option<&str>) -> String {
    let mut json =
        String::with_capacity(64 + events.iter().map(|event| event.data.len() + 320).sum::<usize>());
    json.push_str("{\"events\":[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&event.to_json());
    }
    json.push_str("],\"next\":");
    push_next(&mut json, next);
    json.push('}');
    json
}

/// Appends a cursor, which needs no escaping, or `null`.
pub(crate) fn push_next(json: &mut String, next: Option<&str>) {
    match next {
        Some(next) => {
            json.push('"');
            json.push_str(next);
            json.push('"');
        }
        None => json.push_str("null"),
    }
}
