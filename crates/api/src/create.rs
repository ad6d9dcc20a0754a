//! `POST /v1/orders`.

use crate::Api;
use crate::actions::order_json;
use crate::object::{Object, Offences, typed, whole};
use crate::params::NoParams;
use crate::prefer::Prefer;
use crate::problem::{DUPLICATE_DIFFERS, Failure, INVALID_KEY, Problem, differing};
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, Json, LoggedOrder, Room, Standing};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use order_core::desk::Desk;
use order_core::intake::{Accepted, IdempotencyKey, Intake};
use order_core::order::{Content, Line};
use order_core::{Fault, Money, Order, Reference, SourceId, TenantId};
use serde_json::Value;
use std::sync::Arc;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Names the route in stored keys: never changes.
const KEY_ROUTE: &str = "v1.orders";
/// The source of orders that name none.
pub(crate) const SOURCE_UNLESS_SAID: &str = "api";
/// Most of one line's quantity.
const QUANTITY_MAX: u64 = 2_147_483_647;
/// Longest name of a source.
const SOURCE_BYTES_MAX: usize = 64;

#[rustfmt::skip]
const ORDER_FIELDS: [&str; 7] = ["reference", "source", "customer", "currency", "lines", "total", "attributes"];
const LINE_FIELDS: [&str; 4] = ["sku", "name", "quantity", "unit_price"];

/// Take an order in.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "orders",
    operation_id = "create_order",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key \
            again with the same request is answered with the same order; kept for 24 hours at least",
            pattern = "^[!-~]{1,255}$"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: the answer comes when the order is done, parked or \
            withdrawn, or after N seconds (1 to 50, more counts as 50), whichever is first; it shows the order as it is \
            then (RFC 7240)"),
    ),
    request_body = crate::schema::NewOrder,
    responses(
        (status = 201, description = "Taken in: order, event and work are committed", body = crate::schema::Order, headers(
            ("Location" = String, description = "The order's address"),
            ("ETag" = String, description = "Its version"),
            ("Preference-Applied" = String, description = "`wait=N`, if it was waited for"),
        )),
        (status = 200, description = "Was taken in before, with the same content: the order as it is now",
            body = crate::schema::Order, headers(
                ("Idempotent-Replayed" = String, description = "`true`"),
                ("ETag" = String, description = "Its version"),
                ("Preference-Applied" = String, description = "`wait=N`, if it was waited for"),
            )),
    )
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    (caller, mut standing): (Caller, Standing),
    headers: HeaderMap,
    prefer: Prefer,
    _: NoParams,
    _: Room,
    Json(body): Json,
) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let intake = read(&body, caller.tenant.clone(), key)?;
    match api.app.accept(intake).await? {
        Accepted::New(order) => {
            let waited = prefer.settled(&api.app, &mut standing, *order).await;
            let order = &waited.order;
            let mut response = waited.told(answer(&api, &caller, StatusCode::CREATED, order));
            let location = HeaderValue::from_str(&format!("/v1/orders/{}", order.id));
            if let Ok(location) = location {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        Accepted::Duplicate { order, differs } if differs.is_empty() => {
            let waited = prefer.settled(&api.app, &mut standing, *order).await;
            let mut response = waited.told(answer(&api, &caller, StatusCode::OK, &waited.order));
            response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Accepted::Duplicate { order, differs } => Err(duplicate_differs(&order, &differs).into()),
    }
}

/// There is an order with this reference, and it is another.
pub(crate) fn duplicate_differs(order: &Order, differs: &[String]) -> Problem {
    let detail = "An order with this reference exists with other content; see errors for what differs";
    let pointers: Value = differs.iter().map(String::as_str).collect();
    let problem = Problem::new(DUPLICATE_DIFFERS, detail).offences(differing(differs));
    problem.with("order_id", order.id.to_string()).with("pointers", pointers)
}

/// One order as `/v1` shows it to the caller, with its version as the entity tag.
pub(crate) fn answer(api: &Api, caller: &Caller, status: StatusCode, order: &Order) -> Response {
    let json = order_json(order, api.app.clock.now(), caller.scopes);
    tagged(edge::respond::json(status, json), order)
}

/// A reply about one order, with its version as the entity tag.
pub(crate) fn tagged(mut response: Response, order: &Order) -> Response {
    if let Some(tag) = entity_tag(order.version) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.extensions_mut().insert(LoggedOrder(order.id));
    response
}

/// The entity tag of a version, which is strong: the same version is the same order.
pub(crate) fn entity_tag(version: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{version}\"")).ok()
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Failure> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if visible && (1..=255).contains(&key.len()) && values.next().is_none() => {
            Ok(Some(IdempotencyKey { route: KEY_ROUTE, key: key.to_owned() }))
        }
        _ => {
            Err(Problem::new(INVALID_KEY, "Idempotency-Key must be 1 to 255 visible ASCII characters, once")
                .into())
        }
    }
}

/// An order as a client sends it.
pub(crate) fn read(body: &Value, tenant: TenantId, key: Option<IdempotencyKey>) -> Result<Intake, Failure> {
    let mut offences = Offences::default();
    let intake = Object::read(body, "", &ORDER_FIELDS, &mut offences).and_then(|order| {
        let reference = order.text("reference", &mut offences).and_then(|text| Reference::new(text).ok());
        let source = source(&order, &mut offences);
        let content = content(&order, &mut offences);
        Some(Intake { tenant, source: source?, reference, content, key })
    });
    offences.settle()?;
    // Where there is no intake, something was found.
    intake.ok_or_else(|| Fault::internal("an order was neither read nor refused").into())
}

fn content(order: &Object<'_>, offences: &mut Offences) -> Content {
    let customer = order.text("customer", offences).map(str::to_owned);
    let currency = currency(order, offences);
    let sent = order.array("lines", offences).map_or(&[][..], Vec::as_slice);
    let lines = read_lines(order, sent, offences);
    // Lines that were not understood add up to nothing that could be compared.
    let sum = if lines.len() == sent.len() { sum(order, &lines, offences) } else { None };
    let total = total(order, sum, offences);
    let attributes = order.get("attributes").and_then(|attributes| {
        typed(attributes.as_object(), || order.at("attributes"), "must be an object", offences).cloned()
    });
    let total = total.unwrap_or_default();
    Content { customer, currency, lines, total, attributes: attributes.unwrap_or_default() }
}

/// The source that is said, or the usual one.
fn source(order: &Object<'_>, offences: &mut Offences) -> Option<SourceId> {
    let said = order.text("source", offences).filter(|said| !said.is_empty());
    if let Some(said) = said {
        if !is_source(said) {
            offences.refused(order.at("source"), "form", "must be 1 to 64 of a-z, 0-9 and -");
        } else if Desk::reserved(said).is_some() {
            offences.refused(
                order.at("source"),
                "reserved",
                "is the name of a contract; its orders come through it",
            );
        }
    }
    SourceId::new(said.unwrap_or(SOURCE_UNLESS_SAID)).ok()
}

/// Whether the text has the form of a source: `[a-z0-9-]{1,64}`.
pub(crate) fn is_source(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=SOURCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

pub(crate) fn currency(order: &Object<'_>, offences: &mut Offences) -> Option<String> {
    let value = order.get("currency")?;
    let text = typed(value.as_str(), || order.at("currency"), "must be a string", offences)?;
    if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        offences.refused(order.at("currency"), "form", "must be three capital letters (ISO 4217)");
    }
    Some(text.to_owned())
}

/// The lines; those with a problem are left out, which has been noted.
pub(crate) fn read_lines(order: &Object<'_>, lines: &[Value], offences: &mut Offences) -> Vec<Line> {
    let at = order.at("lines");
    let read = |(index, line)| read_line(line, &format!("{at}/{index}"), offences);
    lines.iter().enumerate().filter_map(read).collect()
}

fn read_line(line: &Value, pointer: &str, offences: &mut Offences) -> Option<Line> {
    let line = Object::read(line, pointer, &LINE_FIELDS, offences)?;
    let sku = line.required("sku", offences).and_then(|_| line.text("sku", offences));
    let name = line.text("name", offences).map(str::to_owned);
    let quantity = line.required("quantity", offences).and_then(|value| quantity(&line, value, offences));
    let unit_price = line.required("unit_price", offences).and_then(|_| line.money("unit_price", offences));
    let line_read = Line { sku: sku?.to_owned(), name, quantity: quantity?, unit_price: unit_price? };
    if line_read.amount().is_none() {
        let message = "times quantity must have at most 28 digits";
        offences.refused(line.at("unit_price"), "too-many-digits", message);
        return None;
    }
    Some(line_read)
}

fn quantity(line: &Object<'_>, value: &Value, offences: &mut Offences) -> Option<u32> {
    let number = typed(value.as_number(), || line.at("quantity"), "must be an integer", offences)?;
    let fits = whole(number).filter(|quantity| (1..=QUANTITY_MAX).contains(quantity));
    if fits.is_none() {
        offences.refused(
            line.at("quantity"),
            "range",
            format!("must be an integer from 1 to {QUANTITY_MAX}"),
        );
    }
    fits.and_then(|quantity| u32::try_from(quantity).ok())
}

/// What the lines add up to, if there are any.
pub(crate) fn sum(order: &Object<'_>, lines: &[Line], offences: &mut Offences) -> Option<Money> {
    let sum = lines.iter().map(Line::amount).try_fold(Money::ZERO, |sum, amount| sum.plus(amount?));
    if sum.is_none() {
        offences.refused(order.at("lines"), "too-many-digits", "must add up to at most 28 digits");
    }
    sum.filter(|_| !lines.is_empty())
}

/// The total that is said, which must agree with the lines; else their sum.
fn total(order: &Object<'_>, sum: Option<Money>, offences: &mut Offences) -> Option<Money> {
    let has_lines =
        order.get("lines").is_some_and(|lines| lines.as_array().is_none_or(|lines| !lines.is_empty()));
    if order.get("total").is_none() {
        if !has_lines {
            offences.refused(order.at("total"), "missing", "must be given when there are no lines");
        }
        return sum;
    }
    let said = order.money("total", offences)?;
    if let Some(sum) = sum.filter(|sum| *sum != said) {
        offences.refused(order.at("total"), "disagrees", format!("is {said}, but the lines add up to {sum}"));
    }
    Some(said)
}
