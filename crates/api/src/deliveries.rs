//! Deliveries of webhooks: what became of each, and sending them again.

use crate::Api;
use crate::cursor::{Purpose, Signer};
use crate::object::{Object, Offences};
use crate::params::{NoBody, NoParams, Params, uuid};
use crate::problem::{Failure, Offence, cursor_refused};
use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use edge::{Caller, Json, Scope};
use http::StatusCode;
use http::request::Parts;
use order_core::ids::TenantId;
use order_core::journal::Cursor;
use order_core::webhook::attempt::{Attempt, AttemptOutcome, AttemptQuery, DeliveryId, StreamQuery};
use order_core::webhook::body::Told;
use order_core::webhook::endpoint::ENDPOINTS_MAX;
use order_core::webhook::missed::{MissedFrom, Missing};
use order_core::webhook::stream::{Head, Stream, Subject, SubjectKind};
use order_core::webhook::{Endpoint, EndpointId};
use order_core::{Fault, Rejection, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const DELIVERIES_UNLESS_SAID: u32 = 50;
const DELIVERIES_MAX: u32 = 200;
/// Most tries of one delivery that are shown, the newest.
const ATTEMPTS_MAX: u32 = 100;
/// Longest text of a place, in bytes.
const PLACE_BYTES_MAX: usize = 16 * 1024;

/// The delivery in the route's path: an id that cannot be one is of no delivery.
pub(crate) struct Delivery(DeliveryId);

impl<S: Send + Sync> FromRequestParts<S> for Delivery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Rejection::DeliveryUnknown)?;
        Ok(Self(DeliveryId::parse(&text).ok_or(Rejection::DeliveryUnknown)?))
    }
}

/// List deliveries: those that wait, or those that ended.
///
/// Of those that wait, the next of each order is listed, with how many are behind it.
#[utoipa::path(
    get,
    path = "/v1/deliveries",
    tag = "webhooks",
    operation_id = "list_deliveries",
    params(
        ("endpoint_id" = Option<String>, Query, description = "To this endpoint alone", format = "uuid"),
        ("order_id" = Option<String>, Query, description = "About this order alone", format = "uuid"),
        ("store_id" = Option<String>, Query, description = "About this store alone", format = "uuid"),
        ("state" = Option<crate::schema::webhooks::DeliveryState>, Query,
            description = "Only those that wait, were made, or were given up; unless said, those that ended"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "Deliveries: of those that ended, the newest first",
        body = crate::schema::webhooks::DeliveryList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["endpoint_id", "order_id", "store_id", "state", "limit", "after"]);
    let mut id = |name| params.parsed(name, "must be a UUID", uuid);
    let (endpoint_id, order, store) = (id("endpoint_id"), id("order_id"), id("store_id"));
    if order.is_some() && store.is_some() {
        params.refuse("store_id", "contradicts", "must not be given with order_id");
    }
    let state = params.parsed("state", "must be waiting, delivered or failed", Wanted::parse);
    let state = state.unwrap_or(Wanted::Ended);
    let limit = params.limit(DELIVERIES_UNLESS_SAID, DELIVERIES_MAX);
    let filters = format!("{endpoint_id:?} {order:?} {store:?} {state:?}");
    let signer = Signer::new(api.app.storage.install(), &caller.tenant).with_filters(filters);
    let after = params.key(&signer, Purpose::Deliveries)?;
    params.settle()?;
    let endpoints = endpoints(&api, &caller.tenant).await?;
    let endpoint = match endpoint_id {
        None => None,
        Some(id) => {
            let of_id = |(_, one): &(&i64, &Endpoint)| one.endpoint_id == EndpointId(id);
            Some(*endpoints.iter().find(of_id).ok_or(Rejection::EndpointUnknown)?.0)
        }
    };
    let of = Of { tenant: caller.tenant.clone(), endpoint, subject: order.or(store), limit };
    let (deliveries, next) = match state {
        Wanted::Waiting => waiting(&api, &endpoints, of, after.as_deref()).await?,
        Wanted::Ended => {
            ended(
                &api,
                &endpoints,
                of,
                &[AttemptOutcome::Delivered, AttemptOutcome::Failed],
                after.as_deref(),
            )
            .await?
        }
        Wanted::Only(outcome) => ended(&api, &endpoints, of, &[outcome], after.as_deref()).await?,
    };
    let next = next.map(|next| signer.key(Purpose::Deliveries, &next));
    Ok(edge::respond::json(StatusCode::OK, json!({ "deliveries": deliveries, "next": next }).to_string()))
}

/// Which deliveries are asked for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Waiting,
    Ended,
    Only(AttemptOutcome),
}

impl Wanted {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "waiting" => Some(Self::Waiting),
            "delivered" => Some(Self::Only(AttemptOutcome::Delivered)),
            "failed" => Some(Self::Only(AttemptOutcome::Failed)),
            _ => None,
        }
    }
}

struct Of {
    tenant: TenantId,
    endpoint: Option<i64>,
    subject: Option<Uuid>,
    limit: u32,
}

type Shown = (Vec<Value>, Option<Vec<u8>>);

async fn waiting(
    api: &Api,
    endpoints: &BTreeMap<i64, Endpoint>,
    of: Of,
    after: Option<&[u8]>,
) -> Result<Shown, Failure> {
    let after = after.map(|bytes| -> Option<(i64, Uuid)> {
        let (endpoint, subject) = bytes.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*endpoint), Uuid::from_slice(subject).ok()?))
    });
    let after = match after {
        Some(None) => return Err(Rejection::CursorInvalid.into()),
        Some(after) => after,
        None => None,
    };
    let Of { tenant, endpoint, subject, limit } = of;
    let streams = api.app.storage.streams(&StreamQuery { tenant, endpoint, subject, after, limit }).await?;
    let last = streams.last().filter(|_| streams.len() as u64 == u64::from(limit));
    let next = last.map(|last| {
        let mut place = last.endpoint.to_be_bytes().to_vec();
        place.extend_from_slice(last.subject.id.as_bytes());
        place
    });
    let mut shown = Vec::with_capacity(streams.len());
    for stream in &streams {
        let Some(endpoint) = endpoints.get(&stream.endpoint) else { continue };
        let Some(Head::Again(version) | Head::Next(version)) = stream.head() else { continue };
        let last = last_failed(api, stream).await?;
        // The first that may be heard of was not, if another was tried.
        let version = last.as_ref().map_or(version, |last| last.version);
        shown.push(show_waiting(stream, endpoint, version, last.as_ref(), api.app.clock.now()));
    }
    Ok((shown, next))
}

/// The last try at what is at the head of a stream, if any has failed.
async fn last_failed(api: &Api, stream: &Stream) -> Result<Option<Attempt>, Failure> {
    if stream.attempt == 0 {
        return Ok(None);
    }
    let query = AttemptQuery {
        tenant: stream.tenant.clone(),
        endpoint: Some(stream.endpoint),
        subject: Some(stream.subject.id),
        version: None,
        outcomes: vec![AttemptOutcome::Retry],
        before: None,
        limit: 1,
    };
    Ok(api.app.storage.attempts(&query).await?.pop())
}

async fn ended(
    api: &Api,
    endpoints: &BTreeMap<i64, Endpoint>,
    of: Of,
    outcomes: &[AttemptOutcome],
    after: Option<&[u8]>,
) -> Result<Shown, Failure> {
    let before = after.map(Uuid::from_slice).transpose().map_err(|_| Rejection::CursorInvalid)?;
    let Of { tenant, endpoint, subject, limit } = of;
    let outcomes = outcomes.to_vec();
    let query = AttemptQuery { tenant, endpoint, subject, version: None, outcomes, before, limit };
    let attempts = api.app.storage.attempts(&query).await?;
    let last = attempts.last().filter(|_| attempts.len() as u64 == u64::from(limit));
    let next = last.map(|last| last.attempt_id.as_bytes().to_vec());
    let shown = attempts.iter().filter_map(|one| Some(show_ended(one, endpoints.get(&one.endpoint)?)));
    Ok((shown.collect(), next))
}

/// All endpoints of a tenant, by number: there are few.
async fn endpoints(api: &Api, tenant: &TenantId) -> Result<BTreeMap<i64, Endpoint>, Failure> {
    let most = u32::try_from(ENDPOINTS_MAX).unwrap_or(u32::MAX);
    let all = api.app.storage.endpoints(tenant, None, None, most).await?;
    Ok(all.into_iter().map(|endpoint| (endpoint.number, endpoint)).collect())
}

/// Show a delivery, with what became of each try.
#[utoipa::path(
    get,
    path = "/v1/deliveries/{delivery_id}",
    tag = "webhooks",
    operation_id = "get_delivery",
    params(("delivery_id" = String, Path, description = "The delivery's id")),
    responses((status = 200, description = "The delivery; the newest 100 tries, the newest first",
        body = crate::schema::webhooks::Delivery))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Delivery(id): Delivery,
    _: NoParams,
) -> Result<Response, Failure> {
    let endpoint = api.app.storage.endpoint(&caller.tenant, id.endpoint_id).await?;
    let endpoint = endpoint.ok_or(Rejection::DeliveryUnknown)?;
    let (tenant, of, subject) = (caller.tenant.clone(), Some(endpoint.number), Some(id.subject));
    let query = AttemptQuery {
        tenant: tenant.clone(),
        endpoint: of,
        subject,
        version: Some(id.version),
        outcomes: AttemptOutcome::ALL.to_vec(),
        before: None,
        limit: ATTEMPTS_MAX,
    };
    let attempts = api.app.storage.attempts(&query).await?;
    let streams = StreamQuery { tenant, endpoint: of, subject, after: None, limit: 1 };
    let streams = api.app.storage.streams(&streams).await?;
    let comes = streams.first().filter(|stream| {
        (stream.next..=stream.upto).contains(&id.version) || stream.again.contains(&id.version)
    });
    let told = api.app.told(&caller.tenant, id).await?;
    let newest = attempts.first();
    // Of those that wait, not all are heard of.
    let is_heard = |told: &Told| {
        let is_again = comes.is_some_and(|stream| stream.again.contains(&id.version));
        newest.is_some() || is_again || endpoint.listens.hears(told.kind())
    };
    let told = told.filter(is_heard);
    let mut body = match (comes, newest) {
        (Some(stream), newest) => {
            let last = newest.filter(|newest| newest.outcome == AttemptOutcome::Retry);
            show_waiting(stream, &endpoint, id.version, last, api.app.clock.now())
        }
        (None, Some(newest)) => show_ended(newest, &endpoint),
        (None, None) => return Err(Rejection::DeliveryUnknown.into()),
    };
    if let Some(told) = &told {
        (body["event_id"], body["type"]) = (told.event_id().to_string().into(), told.kind().into());
    }
    body["body"] = told.filter(|told| may_read(&caller, told)).map(|told| text(&told, &endpoint)).into();
    body["attempts"] = attempts.iter().map(show_attempt).collect();
    Ok(edge::respond::json(StatusCode::OK, body.to_string()))
}

/// What is in an event is for those who may read what it is about.
fn may_read(caller: &Caller, told: &Told) -> bool {
    match told {
        Told::Order(_) => caller.scopes.has(Scope::OrdersRead),
        Told::Store(_) => caller.scopes.has(Scope::StoresRead),
        Told::Test { .. } | Told::Challenge { .. } => true,
    }
}

fn text(told: &Told, endpoint: &Endpoint) -> String {
    String::from_utf8_lossy(&told.body(endpoint)).into_owned()
}

/// Make a delivery once more, whatever became of it.
#[utoipa::path(
    post,
    path = "/v1/deliveries/{delivery_id}/resend",
    tag = "webhooks",
    operation_id = "resend_delivery",
    params(("delivery_id" = String, Path, description = "The delivery's id")),
    responses((status = 202, description = "It is on its way", body = crate::schema::webhooks::Resent))
)]
pub(crate) async fn resend(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Delivery(id): Delivery,
    _: NoParams,
    _: NoBody,
) -> Result<Response, Failure> {
    let queued = match api.app.resend(&caller.tenant, id).await {
        Err(order_core::Error::Rejection(Rejection::EndpointUnknown)) => {
            return Err(Rejection::DeliveryUnknown.into());
        }
        resent => resent?,
    };
    let body = json!({ "delivery_id": id.to_string(), "queued": queued });
    Ok(edge::respond::json(StatusCode::ACCEPTED, body.to_string()))
}

/// Make the deliveries to an endpoint that were given up since a moment, or count them.
#[utoipa::path(
    post,
    path = "/v1/deliveries/recover",
    tag = "webhooks",
    operation_id = "recover_deliveries",
    request_body = crate::schema::webhooks::Recovery,
    responses((status = 200, description = "How many: exact to 10 000, then `10000+`",
        body = crate::schema::webhooks::Recovered))
)]
pub(crate) async fn recover(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let mut offences = Offences::default();
    let asked =
        Object::read(&body, "", &["endpoint_id", "since", "dry_run"], &mut offences).and_then(|body| {
            body.required("endpoint_id", &mut offences);
            body.required("since", &mut offences);
            let endpoint_id = body.parsed("endpoint_id", "must be a UUID", uuid, &mut offences);
            let since = body.time("since", &mut offences);
            let dry_run = body.flag("dry_run", &mut offences).unwrap_or(false);
            Some((endpoint_id?, since?, dry_run))
        });
    offences.settle()?;
    let (endpoint_id, since, dry_run) =
        asked.ok_or_else(|| Fault::internal("a recovery was neither read nor refused"))?;
    let endpoint = endpoint(&api, &caller, endpoint_id).await?;
    let found = api.app.recover(&endpoint, since, dry_run).await?;
    let count = if found.more { Value::from(format!("{}+", found.count)) } else { Value::from(found.count) };
    let body = json!({ "dry_run": dry_run, "count": count });
    Ok(edge::respond::json(StatusCode::OK, body.to_string()))
}

/// Make the deliveries that an endpoint has missed behind a place, or count them.
///
/// Events of stores first, then those of orders. At most 20 000 are looked at for one answer: give `next` as `from` to go on.
#[utoipa::path(
    post,
    path = "/v1/deliveries/replay",
    tag = "webhooks",
    operation_id = "replay_deliveries",
    request_body = crate::schema::webhooks::MissedDeliveries,
    responses((status = 200, description = "How many were missed, and where to go on",
        body = crate::schema::webhooks::Missed))
)]
pub(crate) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let mut offences = Offences::default();
    let asked =
        Object::read(&body, "", &["endpoint_id", "from", "dry_run"], &mut offences).and_then(|body| {
            body.required("endpoint_id", &mut offences);
            body.required("from", &mut offences);
            let endpoint_id = body.parsed("endpoint_id", "must be a UUID", uuid, &mut offences);
            let from = body.text_within("from", PLACE_BYTES_MAX, &mut offences);
            let dry_run = body.flag("dry_run", &mut offences).unwrap_or(false);
            Some((endpoint_id?, from?, dry_run))
        });
    offences.settle()?;
    let (endpoint_id, from, dry_run) =
        asked.ok_or_else(|| Fault::internal("a replay was neither read nor refused"))?;
    let endpoint = endpoint(&api, &caller, endpoint_id).await?;
    let install = api.app.storage.install();
    let signer = Signer::new(install, &caller.tenant);
    let refused = |error: order_core::Error| {
        let message = "must be beginning, an RFC 3339 date-time, or a cursor that can be read on from";
        cursor_refused(error, |code, _| Offence::at("/from", code, message))
    };
    let from = match Timestamp::parse(from) {
        _ if from == "beginning" => {
            let orders = Cursor::beginning(install.epoch, install.shards);
            MissedFrom::new(Timestamp::from_micros(i64::MIN), orders)
        }
        Ok(moment) => MissedFrom::new(moment, api.app.storage.place_of(moment).await?),
        Err(_) => read_place(&api, &signer, from).await.map_err(refused)?,
    };
    let found = api.app.replay_missing(&endpoint, from, dry_run).await.map_err(refused)?;
    let Missing { looked_at, missing, next } = found;
    let next = next.map(|next| signer.missed(&next));
    let body = json!({ "dry_run": dry_run, "looked_at": looked_at, "missing": missing, "next": next });
    Ok(edge::respond::json(StatusCode::OK, body.to_string()))
}

/// Where an answer before ended, or a place of the feed.
async fn read_place(api: &Api, signer: &Signer<'_>, text: &str) -> Result<MissedFrom, order_core::Error> {
    match (signer.read_missed(text), signer.read_journal(text)) {
        (Err(Rejection::CursorInvalid), Ok(orders)) => {
            Ok(MissedFrom::new(api.app.passed_at(&orders).await?, orders))
        }
        (from, _) => Ok(from?),
    }
}

/// The endpoint that a body names.
async fn endpoint(api: &Api, caller: &Caller, endpoint_id: Uuid) -> Result<Endpoint, Failure> {
    let found = api.app.storage.endpoint(&caller.tenant, EndpointId(endpoint_id)).await?;
    Ok(found.ok_or(Rejection::EndpointUnknown)?)
}

fn begun(endpoint: &Endpoint, subject: Subject, version: u64) -> Value {
    let id = DeliveryId { endpoint_id: endpoint.endpoint_id, subject: subject.id, version };
    let of = |kind| (subject.kind == kind).then(|| subject.to_string());
    json!({
        "delivery_id": id.to_string(),
        "endpoint_id": endpoint.endpoint_id.to_string(),
        "order_id": of(SubjectKind::Order),
        "store_id": of(SubjectKind::Store),
        "version": version,
    })
}

/// A delivery that is to be made, with the last try at it that failed.
fn show_waiting(
    stream: &Stream,
    endpoint: &Endpoint,
    version: u64,
    last: Option<&Attempt>,
    now: Timestamp,
) -> Value {
    let mut body = begun(endpoint, stream.subject, version);
    let is_sent = stream.token.is_some() && stream.due_at > now;
    let open = (stream.upto + 1).saturating_sub(stream.next) + stream.again.len() as u64;
    body["state"] = "waiting".into();
    body["event_id"] = last.map(|last| last.event_id.to_string()).into();
    body["type"] = last.map(|last| last.kind.as_str()).into();
    body["attempt"] = last.map_or(0, |_| stream.attempt).into();
    body["due_at"] = (!is_sent).then(|| stream.due_at.to_string()).into();
    body["behind"] = open.saturating_sub(1).into();
    body["ended_at"] = last.map(|last| last.at.plus(last.took).to_string()).into();
    body["status"] = last.and_then(|last| last.status).into();
    body["error"] = last.and_then(|last| last.why.as_deref()).into();
    body
}

/// A delivery by its newest try.
fn show_ended(attempt: &Attempt, endpoint: &Endpoint) -> Value {
    let mut body = begun(endpoint, attempt.subject, attempt.version);
    let state = match attempt.outcome {
        AttemptOutcome::Delivered => "delivered",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::Retry => "waiting",
    };
    body["state"] = state.into();
    body["event_id"] = attempt.event_id.to_string().into();
    body["type"] = attempt.kind.as_str().into();
    body["attempt"] = attempt.attempt.into();
    body["due_at"] = Value::Null;
    body["behind"] = 0.into();
    body["ended_at"] = attempt.at.plus(attempt.took).to_string().into();
    body["status"] = attempt.status.into();
    body["error"] = attempt.why.clone().into();
    body
}

fn show_attempt(attempt: &Attempt) -> Value {
    json!({
        "attempt": attempt.attempt,
        "at": attempt.at.to_string(),
        "request": {
            "method": "POST",
            "url": attempt.url,
            "headers": {
                "webhook-id": attempt.event_id.to_string(),
                "webhook-timestamp": (attempt.at.micros() / 1_000_000).to_string(),
            },
        },
        "took_ms": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        "outcome": attempt.outcome.word(),
        "status": attempt.status,
        "error": attempt.why,
        "answer": String::from_utf8_lossy(&attempt.answer),
        "retry_at": attempt.retry_at.map(|at| at.to_string()),
    })
}
