//! Endpoints of webhooks: who is told of events, and how.

use crate::Api;
use crate::cursor::{Purpose, Signer};
use crate::object::{Object, Offences, typed, whole};
use crate::params::{NoBody, NoParams, Params, PathId};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, Json, MaybeJson};
use http::{HeaderValue, StatusCode, header};
use order_core::ports::Deliverer;
use order_core::webhook::endpoint::{
    Dialect, DisabledFor, EndpointAction, EndpointChange, RATE_MAX, URL_BYTES_MAX,
};
use order_core::webhook::listens::{InvalidListens, STORE_EVENTS};
use order_core::webhook::manage::{AskedEndpoint, AskedSecret, GRACE};
use order_core::webhook::sending::Answered;
use order_core::webhook::{Endpoint, EndpointId, Listens};
use order_core::{Fault, Rejection, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const ENDPOINTS_UNLESS_SAID: u32 = 50;
const ENDPOINTS_MAX: u32 = 200;
/// Most names that a list of events has.
const EVENTS_MAX: usize = 50;

/// Make an endpoint: a URL that is told of events.
///
/// It hears of what is committed after this was answered. Each delivery is the event as the feed shows it, signed as Standard
/// Webhooks says with `secret`. On a server for others it is disabled at first, as `unproven`: bring the secret to the receiver, then
/// enable it.
#[utoipa::path(
    post,
    path = "/v1/endpoints",
    tag = "webhooks",
    operation_id = "create_endpoint",
    request_body = crate::schema::webhooks::NewEndpoint,
    responses((status = 201, description = "The endpoint; `secret` is shown this once",
        body = crate::schema::webhooks::Endpoint,
        headers(("Location" = String, description = "The endpoint's address"))))
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let deliverer = deliverer(&api)?;
    let mut offences = Offences::default();
    let asked = Object::read(&body, "", &["url", "events", "rate"], &mut offences).and_then(|body| {
        body.required("url", &mut offences);
        body.required("events", &mut offences);
        let url = read_url(&body, deliverer.as_ref(), &mut offences);
        let listens = read_events(&body, &mut offences);
        let rate = read_rate(&body, &mut offences);
        Some((url?, listens?, rate))
    });
    offences.settle()?;
    let (url, listens, rate) =
        asked.ok_or_else(|| Fault::internal("a new endpoint was neither read nor refused"))?;
    let (dialect, secret) = (Dialect::V1, AskedSecret::Fresh);
    let asked = AskedEndpoint { url, listens, dialect, organization: None, rate, secret };
    let (endpoint, secret) = api.app.create_endpoint(&caller.tenant, asked).await?;
    let secret = secret.as_ref().and_then(|secret| secret.text());
    let mut response = shown(StatusCode::CREATED, &api, &endpoint, secret);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/endpoints/{}", endpoint.endpoint_id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// List endpoints.
#[utoipa::path(
    get,
    path = "/v1/endpoints",
    tag = "webhooks",
    operation_id = "list_endpoints",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "Endpoints, the newest first", body = crate::schema::webhooks::EndpointList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["limit", "after"]);
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let place = params.place(&signer, Purpose::Endpoints)?;
    let before = place.map(|place| i64::try_from(place).unwrap_or(i64::MAX));
    let limit = params.limit(ENDPOINTS_UNLESS_SAID, ENDPOINTS_MAX);
    params.settle()?;
    let endpoints = api.app.storage.endpoints(&caller.tenant, None, before, limit).await?;
    let last = endpoints.last().filter(|_| endpoints.len() as u64 == u64::from(limit));
    let next = last.map(|last| signer.place(Purpose::Endpoints, last.number.unsigned_abs()));
    let now = api.app.clock.now();
    let endpoints: Vec<Value> = endpoints.iter().map(|endpoint| show(endpoint, now)).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "endpoints": endpoints, "next": next }).to_string()))
}

/// Show an endpoint.
#[utoipa::path(
    get,
    path = "/v1/endpoints/{endpoint_id}",
    tag = "webhooks",
    operation_id = "get_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    responses((status = 200, description = "The endpoint, without its secret", body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    let found = api.app.storage.endpoint(&caller.tenant, EndpointId(id)).await?;
    Ok(shown(StatusCode::OK, &api, &found.ok_or(Rejection::EndpointUnknown)?, None))
}

/// Change an endpoint: where it is, what it hears of, how often.
///
/// What is left out stays; a `rate` of `null` is none. On a server for others, a new `url` is sent a challenge, as by
/// `enable`: without its answer nothing changes.
#[utoipa::path(
    patch,
    path = "/v1/endpoints/{endpoint_id}",
    tag = "webhooks",
    operation_id = "change_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    request_body = crate::schema::webhooks::EndpointPatch,
    responses((status = 200, description = "The endpoint as it is now", body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn change(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let deliverer = deliverer(&api)?;
    let mut offences = Offences::default();
    let change = Object::read(&body, "", &["url", "events", "rate"], &mut offences).map(|body| {
        for name in ["url", "events"].into_iter().filter(|name| body.names(name)) {
            let must = "must not be null: what is left out stays";
            typed(body.get(name), || body.at(name), must, &mut offences);
        }
        EndpointChange {
            url: read_url(&body, deliverer.as_ref(), &mut offences),
            listens: read_events(&body, &mut offences),
            rate: body.names("rate").then(|| read_rate(&body, &mut offences)),
        }
    });
    if let Some(listens) = change.as_ref().and_then(|change| change.listens.as_ref()) {
        let found = api.app.storage.endpoint(&caller.tenant, EndpointId(id)).await?;
        let of_contract = found.is_some_and(|found| found.dialect == Dialect::Marketplace);
        if of_contract && !STORE_EVENTS.contains(&listens.text().as_str()) {
            let must = "must be one of sync.started, sync.completed and sync.failed: the contract marketplace shows no more";
            offences.refused("/events", "contract", must);
        }
    }
    offences.settle()?;
    let change = change.ok_or_else(|| Fault::internal("a change was neither read nor refused"))?;
    let endpoint = api.app.edit_endpoint(&caller.tenant, EndpointId(id), change).await?;
    Ok(shown(StatusCode::OK, &api, &endpoint, None))
}

/// Delete an endpoint, for ever: nothing more is sent to it.
#[utoipa::path(
    delete,
    path = "/v1/endpoints/{endpoint_id}",
    tag = "webhooks",
    operation_id = "delete_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    responses((status = 200, description = "The endpoint as it was last, disabled", body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    act(&api, &caller, EndpointId(id), EndpointAction::Delete).await
}

/// Keep for an endpoint what it hears of, and send it nothing.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{endpoint_id}/pause",
    tag = "webhooks",
    operation_id = "pause_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    responses((status = 200, description = "The endpoint, paused", body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn pause(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
    _: NoBody,
) -> Result<Response, Failure> {
    act(&api, &caller, EndpointId(id), EndpointAction::Pause).await
}

/// Send to an endpoint again that was paused or disabled: first what waited.
///
/// One that is `unproven` is sent an `endpoint.challenge` first, signed as all that it is sent: it must answer 2xx within ten
/// seconds, with the `challenge` of the `data` as its body or as the member `challenge` of a JSON object. It hears of what is
/// committed from then on.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{endpoint_id}/enable",
    tag = "webhooks",
    operation_id = "enable_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    responses((status = 200, description = "The endpoint, active", body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn enable(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
    _: NoBody,
) -> Result<Response, Failure> {
    let endpoint = api.app.enable_endpoint(&caller.tenant, EndpointId(id)).await?;
    Ok(shown(StatusCode::OK, &api, &endpoint, None))
}

/// Send an endpoint nothing, and keep nothing new for it.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{endpoint_id}/disable",
    tag = "webhooks",
    operation_id = "disable_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    responses((status = 200, description = "The endpoint, disabled", body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn disable(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
    _: NoBody,
) -> Result<Response, Failure> {
    act(&api, &caller, EndpointId(id), EndpointAction::Disable(DisabledFor::Asked)).await
}

/// Give an endpoint another secret.
///
/// What is sent is signed with the present one too, for a day or as long as is said: time to bring the new one to the receiver.
/// While one before it still counts, this is refused (409), unless `end_previous` ends that.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{endpoint_id}/rotate",
    tag = "webhooks",
    operation_id = "rotate_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    request_body(content = crate::schema::webhooks::EndpointRotation, description = "May be left out"),
    responses((status = 200, description = "The endpoint; `secret` is shown this once",
        body = crate::schema::webhooks::Endpoint))
)]
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    let mut offences = Offences::default();
    let asked = Object::read(&body, "", &["grace_seconds", "end_previous"], &mut offences).map(|body| {
        let grace = read_count(&body, "grace_seconds", (0, GRACE.as_secs()), &mut offences);
        (grace, body.flag("end_previous", &mut offences).unwrap_or(false))
    });
    offences.settle()?;
    let (grace, end_previous) = asked.unwrap_or_default();
    let grace = grace.map_or(GRACE, Duration::from_secs);
    let rotated = api.app.rotate_endpoint_secret(&caller.tenant, EndpointId(id), grace, end_previous).await;
    let (endpoint, secret) = rotated?;
    Ok(shown(StatusCode::OK, &api, &endpoint, secret.text()))
}

/// Send an endpoint an event that tells of nothing, now and once.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{endpoint_id}/test",
    tag = "webhooks",
    operation_id = "test_endpoint",
    params(("endpoint_id" = String, Path, description = "The endpoint's id", format = "uuid")),
    responses((status = 200, description = "What came back", body = crate::schema::webhooks::EndpointTest))
)]
pub(crate) async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(id): PathId,
    _: NoParams,
    _: NoBody,
) -> Result<Response, Failure> {
    let deliverer = deliverer(&api)?;
    let (event_id, answered) =
        api.app.test_endpoint(&caller.tenant, EndpointId(id), deliverer.as_ref()).await?;
    let Answered { status, took, why, .. } = &answered;
    let body = json!({
        "event_id": event_id.to_string(),
        "taken": answered.is_taken(),
        "status": status,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "error": why,
        "answer": String::from_utf8_lossy(&answered.body),
    });
    Ok(edge::respond::json(StatusCode::OK, body.to_string()))
}

/// What carries deliveries here.
fn deliverer(api: &Api) -> Result<Arc<dyn Deliverer>, Failure> {
    let deliverer = api.app.deliverer().map(Arc::clone);
    Ok(deliverer.ok_or_else(|| Fault::internal("this process has no way to deliver webhooks"))?)
}

async fn act(
    api: &Api,
    caller: &Caller,
    endpoint_id: EndpointId,
    action: EndpointAction,
) -> Result<Response, Failure> {
    let endpoint = api.app.change_endpoint(&caller.tenant, endpoint_id, action).await?;
    Ok(shown(StatusCode::OK, api, &endpoint, None))
}

fn shown(status: StatusCode, api: &Api, endpoint: &Endpoint, secret: Option<&str>) -> Response {
    let mut body = show(endpoint, api.app.clock.now());
    if let Some(secret) = secret {
        body["secret"] = secret.into();
    }
    let mut response = edge::respond::json(status, body.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An endpoint as it is shown.
fn show(endpoint: &Endpoint, now: Timestamp) -> Value {
    let previous = endpoint.previous.as_ref().map(|previous| previous.until).filter(|until| now < *until);
    json!({
        "endpoint_id": endpoint.endpoint_id.to_string(),
        "url": endpoint.url,
        "events": endpoint.listens.names().collect::<Vec<_>>(),
        "dialect": endpoint.dialect.word(),
        "organization": endpoint.organization,
        "state": endpoint.state.word(),
        "disabled_for": endpoint.disabled_for.map(DisabledFor::word),
        "rate": endpoint.rate,
        "failing_since": endpoint.failing_since.map(|since| since.to_string()),
        "previous_secret_until": previous.map(|until| until.to_string()),
        "created_at": endpoint.created_at.to_string(),
        "updated_at": endpoint.updated_at.to_string(),
    })
}

fn read_url(body: &Object<'_>, deliverer: &dyn Deliverer, offences: &mut Offences) -> Option<String> {
    let url = body.text_within("url", URL_BYTES_MAX, offences)?;
    if let Err(refused) = deliverer.check(url) {
        offences.refused(body.at("url"), refused.rule, refused.detail);
        return None;
    }
    Some(url.to_owned())
}

fn read_events(body: &Object<'_>, offences: &mut Offences) -> Option<Listens> {
    let at = body.at("events");
    let list = body.array("events", offences)?;
    if list.len() > EVENTS_MAX {
        offences.refused(at, "too-many", format!("must name at most {EVENTS_MAX}"));
        return None;
    }
    let mut names = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = || format!("{at}/{index}");
        names.push(typed(value.as_str(), place, "must be a string", offences)?);
    }
    match Listens::parse(names.iter().copied()) {
        Ok(listens) => Some(listens),
        Err(InvalidListens::Empty) => {
            offences.refused(at, "empty", "must name at least one type of event");
            None
        }
        Err(InvalidListens::Unknown(name)) => {
            let index = names.iter().position(|one| *one == name).unwrap_or(0);
            let message = "is no type of event; there are those of the feed, sync.started, sync.completed, sync.failed, \
                 order.*, sync.* and *";
            offences.refused(format!("{at}/{index}"), "unknown", message);
            None
        }
    }
}

fn read_rate(body: &Object<'_>, offences: &mut Offences) -> Option<u32> {
    let rate = read_count(body, "rate", (1, RATE_MAX.into()), offences)?;
    u32::try_from(rate).ok()
}

/// A whole number within bounds, if it is there.
fn read_count(
    body: &Object<'_>,
    name: &str,
    (least, most): (u64, u64),
    offences: &mut Offences,
) -> Option<u64> {
    let value = body.get(name)?;
    let number = typed(value.as_number(), || body.at(name), "must be a number", offences)?;
    let count = whole(number).filter(|count| (least..=most).contains(count));
    if count.is_none() {
        offences.refused(body.at(name), "range", format!("must be a whole number from {least} to {most}"));
    }
    count
}
