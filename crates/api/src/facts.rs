//! What happened to an order outside: it was withdrawn, shipped, delivered. Each happens once: telling it again is
//! harmless, telling it otherwise is refused.

use crate::Api;
use crate::changing::change;
use crate::create::{IDEMPOTENT_REPLAYED, answer};
use crate::if_match::IfMatch;
use crate::object::{Object, Offences};
use crate::params::{NoParams, PathId};
use crate::problem::{ALREADY_DIFFERS, Failure, Offence, Problem};
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, Json, MaybeJson};
use http::{HeaderMap, HeaderValue, StatusCode};
use order_core::command::{ChangeKind, Changed};
use order_core::event::{EventBody, EventType};
use order_core::{Fault, Order, OrderId, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How far ahead of our clock that of a client may be.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1_000;
/// Events among which the withdrawal of an order is looked for, newest first.
const EVENTS_MAX: u32 = 1_000;

/// Withdraw an order.
///
/// Nothing is left to do for it then: work that is open ends, also in a worker's hands. There is no way back.
#[utoipa::path(
    post,
    path = "/v1/orders/{order_id}/withdrawals",
    tag = "orders",
    operation_id = "withdraw_order",
    params(
        ("order_id" = String, Path, description = "The order", format = "uuid"),
        crate::if_match::IfMatchParam,
    ),
    request_body = crate::schema::NewWithdrawal,
    responses((status = 200, description = "The order, which is withdrawn", body = crate::schema::Order, headers(
        ("ETag" = String, description = "Its version"),
        ("Idempotent-Replayed" = String, description = "`true` when it was withdrawn before, for the same reason"),
    )))
)]
pub(crate) async fn withdraw(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    headers: HeaderMap,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let reason = read(&body, &["reason"], |body, offences| {
        body.required("reason", offences);
        body.text_within("reason", REASON_BYTES_MAX, offences).unwrap_or_default().to_owned()
    })?;
    let by = caller.subject.as_ref().to_owned();
    let kind = ChangeKind::Withdraw { reason: reason.clone(), by, requeue: false };
    let told = tell(&api, &caller, order_id, &headers, kind).await?;
    let differs = !told.changed && !withdrawn_for(&api, &caller, &told.order, &reason).await?;
    answered(&api, &caller, &told, &[("/reason", differs)])
}

/// Record a shipment.
///
/// An order is shipped once. Its tracking number may be told later: then there is a second `order.shipped`, with the same
/// `shipped_at`.
#[utoipa::path(
    post,
    path = "/v1/orders/{order_id}/shipments",
    tag = "orders",
    operation_id = "ship_order",
    params(
        ("order_id" = String, Path, description = "The order", format = "uuid"),
        crate::if_match::IfMatchParam,
    ),
    request_body(content = crate::schema::NewShipment, description = "May be left out"),
    responses((status = 200, description = "The order, which is on its way", body = crate::schema::Order, headers(
        ("ETag" = String, description = "Its version"),
        ("Idempotent-Replayed" = String, description = "`true` when that was known before"),
    )))
)]
pub(crate) async fn ship(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    headers: HeaderMap,
    _: NoParams,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    let (shipped_at, tracking_number) = read(&body, &["shipped_at", "tracking_number"], |body, offences| {
        let shipped_at = happened_at(&api, body, "shipped_at", offences);
        (shipped_at, body.text("tracking_number", offences).map(str::to_owned))
    })?;
    let kind = ChangeKind::Ship { shipped_at, tracking_number: tracking_number.clone() };
    let told = tell(&api, &caller, order_id, &headers, kind).await?;
    let differs = [
        ("/shipped_at", otherwise(&shipped_at, &told.order.shipped_at)),
        ("/tracking_number", otherwise(&tracking_number, &told.order.tracking_number)),
    ];
    answered(&api, &caller, &told, &differs)
}

/// Record a delivery.
///
/// It may be told before the shipment: whichever comes late only fills in what is missing.
#[utoipa::path(
    post,
    path = "/v1/orders/{order_id}/deliveries",
    tag = "orders",
    operation_id = "deliver_order",
    params(
        ("order_id" = String, Path, description = "The order", format = "uuid"),
        crate::if_match::IfMatchParam,
    ),
    request_body(content = crate::schema::NewDelivery, description = "May be left out"),
    responses((status = 200, description = "The order, which has arrived", body = crate::schema::Order, headers(
        ("ETag" = String, description = "Its version"),
        ("Idempotent-Replayed" = String, description = "`true` when that was known before"),
    )))
)]
pub(crate) async fn deliver(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    headers: HeaderMap,
    _: NoParams,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    let delivered_at =
        read(&body, &["delivered_at"], |body, offences| happened_at(&api, body, "delivered_at", offences))?;
    let kind = ChangeKind::Deliver { delivered_at: delivered_at.unwrap_or_else(|| api.app.clock.now()) };
    let told = tell(&api, &caller, order_id, &headers, kind).await?;
    let differs = [("/delivered_at", otherwise(&delivered_at, &told.order.delivered_at))];
    answered(&api, &caller, &told, &differs)
}

/// A moment at which something has happened, if it is there: none that is still to come.
fn happened_at(api: &Api, body: &Object<'_>, name: &str, offences: &mut Offences) -> Option<Timestamp> {
    let at = body.time(name, offences)?;
    if at > api.app.clock.now().plus(AHEAD_MAX) {
        let message = "lies in the future: say when it happened, or leave it out for now";
        offences.refused(body.at(name), "range", message);
    }
    Some(at)
}

/// Reads a body of these members.
pub(crate) fn read<T>(
    body: &Value,
    known: &[&str],
    members: impl FnOnce(&Object<'_>, &mut Offences) -> T,
) -> Result<T, Failure> {
    let mut offences = Offences::default();
    let read = Object::read(body, "", known, &mut offences).map(|body| members(&body, &mut offences));
    offences.settle()?;
    read.ok_or_else(|| Fault::internal("a body was neither read nor refused").into())
}

async fn tell(
    api: &Api,
    caller: &Caller,
    order_id: uuid::Uuid,
    headers: &HeaderMap,
    kind: ChangeKind,
) -> Result<Changed, Failure> {
    let if_match = IfMatch::read(headers)?;
    change(api, caller, OrderId(order_id), if_match.as_ref(), kind).await
}

/// Whether something is said that is not what is known. What is not said agrees with anything.
fn otherwise<T: PartialEq>(said: &Option<T>, known: &Option<T>) -> bool {
    said.is_some() && said != known
}

/// Whether the order was withdrawn for this reason, as far as that is still known: an erasure blanks reasons.
async fn withdrawn_for(api: &Api, caller: &Caller, order: &Order, reason: &str) -> Result<bool, Failure> {
    let dossier = api.app.storage.dossier(&caller.tenant, order.id, EVENTS_MAX).await?;
    let events = dossier.map(|dossier| dossier.events).unwrap_or_default();
    let withdrawal = events.iter().rev().find(|event| event.kind == EventType::OrderWithdrawn);
    match withdrawal.map(EventBody::parse) {
        Some(Ok(EventBody::Withdrawn { reason: known, .. })) => Ok(known.is_empty() || known == reason),
        _ => Ok(true),
    }
}

/// The order as it is now; or, where it was so before and something `differs`, a refusal that names it.
fn answered(
    api: &Api,
    caller: &Caller,
    told: &Changed,
    differs: &[(&'static str, bool)],
) -> Result<Response, Failure> {
    let mut response = answer(api, caller, StatusCode::OK, &told.order);
    if told.changed {
        return Ok(response);
    }
    let offence = |pointer| Offence::at(pointer, "differs", "differs from what was recorded before");
    let offences: Vec<Offence> =
        differs.iter().filter(|(_, differs)| *differs).map(|(pointer, _)| offence(*pointer)).collect();
    if offences.is_empty() {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        return Ok(response);
    }
    let detail = "The order is so already, with other particulars; see errors for what differs";
    Err(Problem::new(ALREADY_DIFFERS, detail).version(told.order.version).offences(offences).into())
}
