//! `PATCH /v1/orders/{order_id}`.

use crate::Api;
use crate::changing::change_as_read;
use crate::create::{answer, currency, read_lines, sum};
use crate::if_match::IfMatch;
use crate::merge_patch::{MergePatch, merge};
use crate::object::{Object, Offences, typed};
use crate::params::{Params, PathId};
use crate::problem::Failure;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, Guard};
use http::{HeaderMap, StatusCode};
use order_core::command::ChangeKind;
use order_core::order::{Content, Line, render};
use order_core::{Fault, Money, Order, OrderId};
use serde_json::{Map, Value};
use std::sync::Arc;

const FIELDS: [&str; 5] = ["customer", "currency", "lines", "total", "attributes"];

/// Revise an order.
///
/// The body is a merge patch (RFC 7396): what it names is replaced, what it gives as `null` is removed, the rest stays;
/// `attributes` merge member by member, `lines` are replaced as a whole. A total that the patch does not name follows
/// from its lines. Work that is open starts anew with the new content; an order that is done or parked is processed
/// again only with `requeue=true`. Content that is equal by value changes nothing.
#[utoipa::path(
    patch,
    path = "/v1/orders/{order_id}",
    tag = "orders",
    operation_id = "revise_order",
    params(
        ("order_id" = String, Path, description = "The order", format = "uuid"),
        ("If-Match" = String, Header, description = "The `ETag` of the order that you looked at; several, apart by commas; or \
            `*` for any version. Without it: 428. With none that the order has: 412, with the version that it has",
            pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#, example = "\"1\""),
        ("requeue" = Option<bool>, Query, description = "Whether an order that is done or parked is processed again; `false` \
            unless said"),
    ),
    request_body(content(
        (crate::schema::OrderPatch = "application/merge-patch+json"),
        (crate::schema::OrderPatch = "application/json"),
    )),
    responses((status = 200, description = "The order as it is now, changed or equal", body = crate::schema::Order, headers(
        ("ETag" = String, description = "Its version"),
    )))
)]
pub(crate) async fn revise(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(order_id): PathId,
    Extension(guard): Extension<Arc<Guard>>,
    headers: HeaderMap,
    params: Params,
    MergePatch(patch): MergePatch,
) -> Result<Response, Failure> {
    let mut params = params.read(&["requeue"]);
    let requeue = params.parsed("requeue", "must be true or false", |text| text.parse().ok());
    params.settle()?;
    let if_match = IfMatch::required(&headers)?;
    let revision = |order: &Order| {
        let content = Box::new(revised(order, &patch, guard.limits.body_bytes_max)?);
        Ok(ChangeKind::Revise { content, requeue: requeue.unwrap_or(false) })
    };
    let changed = change_as_read(&api, &caller, OrderId(order_id), &if_match, revision).await?;
    Ok(answer(&api, &caller, StatusCode::OK, &changed.order))
}

/// The order's content with the patch merged into it. Only what the patch names is looked at: what another contract wrote
/// may have a form that is refused here.
fn revised(order: &Order, patch: &Value, bytes_max: usize) -> Result<Content, Failure> {
    let mut offences = Offences::default();
    let Some(read) = Object::read(patch, "", &FIELDS, &mut offences) else {
        offences.settle()?;
        return Err(Fault::internal("a patch was neither read nor refused").into());
    };
    let mut content = order.content.clone();
    if read.names("customer") {
        content.customer = read.text("customer", &mut offences).map(str::to_owned);
    }
    if read.names("currency") {
        content.currency = currency(&read, &mut offences);
    }
    let sent = read.names("lines").then(|| read.array("lines", &mut offences).map_or(&[][..], Vec::as_slice));
    if let Some(sent) = sent {
        content.lines = read_lines(&read, sent, &mut offences);
    }
    let understood = sent.is_none_or(|sent| sent.len() == content.lines.len());
    let sum = if understood { summed(&read, sent.is_some(), &content.lines, &mut offences) } else { None };
    if let Some(total) = total(&read, sum, sent.is_some(), &mut offences) {
        content.total = total;
    }
    if read.names("attributes") {
        content.attributes = attributes(&read, &order.content.attributes, bytes_max, &mut offences);
    }
    offences.settle()?;
    Ok(content)
}

/// What the lines add up to, if there are any. Lines that were there before are not refused now.
fn summed(patch: &Object<'_>, patched: bool, lines: &[Line], offences: &mut Offences) -> Option<Money> {
    if patched { sum(patch, lines, offences) } else { sum(patch, lines, &mut Offences::default()) }
}

/// The new total, if it becomes another: the one that is said, which must agree with the lines, else what new lines add
/// up to.
fn total(
    patch: &Object<'_>,
    sum: Option<Money>,
    lines_patched: bool,
    offences: &mut Offences,
) -> Option<Money> {
    if patch.get("total").is_some() {
        let said = patch.money("total", offences)?;
        if let Some(sum) = sum.filter(|sum| *sum != said) {
            let message = format!("is {said}, but the lines add up to {sum}");
            offences.refused(patch.at("total"), "disagrees", message);
        }
        return Some(said);
    }
    if patch.names("total") && sum.is_none() {
        offences.refused(patch.at("total"), "missing", "must not be removed when there are no lines");
    }
    sum.filter(|_| lines_patched || patch.names("total"))
}

fn attributes(
    patch: &Object<'_>,
    present: &Map<String, Value>,
    bytes_max: usize,
    offences: &mut Offences,
) -> Map<String, Value> {
    let Some(value) = patch.get("attributes") else { return Map::new() };
    let read = typed(value.as_object(), || patch.at("attributes"), "must be an object", offences);
    let mut merged = present.clone();
    if let Some(read) = read {
        merge(&mut merged, read);
        // Each patch is within the limit of a body; what many of them add up to must be too.
        if render::attributes(&merged).len() > bytes_max {
            let message = format!("must be at most {bytes_max} bytes, merged with what is there");
            offences.refused(patch.at("attributes"), "too-large", message);
        }
    }
    merged
}
