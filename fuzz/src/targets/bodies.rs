//! What clients send as the body of a request.

use order_core::event::parse_lines;
use order_core::ids::TEXT_BYTES_MAX;
use order_core::intake::digest;
use order_core::json::{JsonLimits, parse};
use order_core::order::Content;
use order_core::order::render::{Named, facts};
use order_core::redrive::ORDER_IDS_MAX;
use order_core::{Money, OrderId};
use serde_json::Value;
use uuid::Uuid;

use super::{Seen, accepted, magnitude, refused, text};

/// Most problems that a refusal names.
const ERRORS_MAX: usize = 100;

pub(super) const V1_ORDER: &[&str] = &[
    "{\"total\":\"1\"}",
    "\"reference\":\"A\"",
    "\"source\":\"api\"",
    "\"customer\":",
    "\"currency\":\"EUR\"",
    "\"lines\":[{\"sku\":\"a\",\"quantity\":1,\"unit_price\":1}]",
    "\"total\":",
    "\"attributes\":{}",
    "\"name\":null",
    "\"unit_price\":\"0.10\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"\"",
    "1e28",
    "\\u0000",
    "oscarps",
    "-1",
    "2147483648",
];

/// What is accepted is within its limits, adds up, and survives its own text; what is refused is refused with reasons.
pub(super) fn v1_order(data: &[u8]) -> Seen {
    let Ok(body) = parse(data, JsonLimits::default()) else {
        return refused("no JSON");
    };
    let intake = match api::fuzzing::order(&body) {
        Ok(intake) => intake,
        Err(problem) => return reasons(&problem, data),
    };
    let content = &intake.content;
    let texts = content.lines.iter().flat_map(|line| [Some(&line.sku), line.name.as_ref()]);
    for text in texts.chain([content.customer.as_ref()]).flatten() {
        assert!((1..=TEXT_BYTES_MAX).contains(&text.len()), "a text without bounds");
    }
    let amounts = content.lines.iter().map(|line| line.amount());
    if let Some(sum) = amounts.reduce(|sum, amount| sum?.plus(amount?)) {
        assert_eq!(sum, Some(content.total), "the lines do not add up");
    }
    assert!(!content.total.is_negative() && content.lines.iter().all(|line| line.quantity >= 1));
    let order_id = OrderId(Uuid::nil());
    let (source, reference) = (&intake.source, intake.reference.as_ref());
    let written = format!("{{{}}}", facts(&Named { order_id, number: 1, source, reference }, content));
    let again = read_back(&serde_json::from_str(&written).expect("an order is written as JSON"));
    assert_eq!((&again, digest(&again)), (content, digest(content)), "the order does not read back");
    let optional = [reference.is_some(), content.customer.is_some(), content.currency.is_some()];
    accepted((content.lines.len(), optional, magnitude(content.attributes.len())))
}

fn read_back(facts: &Value) -> Content {
    let text = |name: &str| facts[name].as_str().map(str::to_owned);
    Content {
        customer: text("customer"),
        currency: text("currency"),
        lines: parse_lines(&facts["lines"]).expect("lines"),
        total: Money::parse(&text("total").expect("a total")).expect("an amount"),
        attributes: facts["attributes"].as_object().expect("attributes").clone(),
    }
}

/// A refusal tells why, not without end, and points into what was sent.
fn reasons(problem: &Value, data: &[u8]) -> Seen {
    let errors = problem["errors"].as_array().expect("reasons");
    assert!((1..=ERRORS_MAX).contains(&errors.len()), "{} reasons", errors.len());
    let shown = problem.to_string().len();
    assert!(shown <= 1_024 + errors.len() * (512 + 2 * data.len()), "a refusal of {shown} bytes");
    assert!(matches!(problem["status"].as_u64(), Some(400 | 422)), "{problem}");
    let codes: Vec<_> = errors.iter().map(|error| error["code"].as_str().expect("a code")).collect();
    let first = errors[0]["pointer"].as_str().unwrap_or_default().chars().filter(|c| !c.is_ascii_digit());
    // Names of unknown fields are without number.
    let first: String = if codes[0] == "unknown-field" { String::new() } else { first.take(24).collect() };
    refused((codes[0].to_owned(), first, magnitude(errors.len())))
}

pub(super) const V1_REDRIVE: &[&str] = &[
    "{\"filter\":{\"all\":true},\"reason\":\"x\"}",
    "\"filter\":",
    "\"order_ids\":[",
    "\"all\":true",
    "\"all\":false",
    "\"source\":\"api\"",
    "\"error_contains\":\"x\"",
    "\"reason\":\"x\"",
    "\"dry_run\":true",
    "\"230e0945-205f-8eaa-8fef-55ebf134b616\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
];

/// What is accepted says which orders: nothing said never means everything.
pub(super) fn v1_redrive(data: &[u8]) -> Seen {
    let Ok(body) = parse(data, JsonLimits::default()) else {
        return refused("no JSON");
    };
    let (filter, reason, dry_run) = match api::fuzzing::redrive(&body) {
        Ok(asked) => asked,
        Err(problem) => return reasons(&problem, data),
    };
    let narrowed = filter.order_ids.is_some() || filter.source.is_some() || filter.asks_what_is_in_it();
    assert!(narrowed || body["filter"]["all"] == true, "nothing said means everything");
    assert!(filter.order_ids.as_ref().is_none_or(|ids| (1..=ORDER_IDS_MAX).contains(&ids.len())));
    assert!(dry_run || (1..=1_000).contains(&reason.len()), "no reason");
    accepted((filter.order_ids.map_or(0, |ids| ids.len()).min(5), filter.source.is_some(), narrowed, dry_run))
}

pub(super) const OSCARPS: &[&str] = &[
    "{\"orderId\":\"A\",\"customer\":\"c\",\"total\":1}",
    "\"orderId\":",
    "\"customer\":",
    "\"total\":",
    "\"0.10\"",
    "0",
    "-1",
    "1e28",
    "null",
    "{",
    "}",
    ",",
    "\\u0000",
];

/// What is accepted is bounded and above zero, and its total is shown as the number that was sent.
pub(super) fn oscarps(data: &[u8]) -> Seen {
    let Ok(body) = parse(data, JsonLimits::default()) else {
        return refused("no JSON");
    };
    let (reference, customer, total) = match contracts::fuzzing::oscarps(&body) {
        Ok(order) => order,
        Err(issues) => {
            assert!(issues.len() < 1_024, "{issues}");
            return refused(issues);
        }
    };
    assert_eq!(body["orderId"], reference.as_str());
    assert_eq!(body["customer"], customer);
    assert!((1..=TEXT_BYTES_MAX).contains(&customer.len()) && total > Money::ZERO);
    shown_as_sent(total, &body["total"]);
    accepted((body["total"].is_string(), total.to_string().len()))
}

/// An amount is shown as a number of JSON with the value that was sent.
fn shown_as_sent(amount: Money, sent: &Value) {
    let shown = contracts::fuzzing::number(amount);
    let shown = serde_json::to_string(&shown).expect("a number is JSON");
    let number: Value = serde_json::from_str(&shown).expect("an amount is shown as a number");
    assert!(number.is_number());
    let sent = sent.as_str().map_or_else(|| sent.to_string(), str::to_owned);
    assert_eq!(Money::parse(&shown), Money::parse(&sent), "shown as {shown}, sent as {sent}");
    // Whoever sent no exponent gets back what was sent.
    assert!(
        sent.contains(['e', 'E']) || sent.starts_with("-0") || shown == sent || amount.is_zero(),
        "{shown}, {sent}"
    );
}

pub(super) const PARSPEC: &[&str] = &[
    "{\"userId\":\"u\",\"itemIds\":[\"a\",1],\"totalAmount\":0}",
    "\"userId\":",
    "\"itemIds\":[",
    "\"totalAmount\":",
    "\"\"",
    "-0",
    "1.0",
    "1e5",
    "123456789012345678901234567890",
    "null",
    "{",
    "}",
    "]",
    ",",
    "\\u0000",
];

/// What is accepted is bounded and kept as it was sent.
pub(super) fn parspec(data: &[u8]) -> Seen {
    let Ok(body) = parse(data, JsonLimits::default()) else {
        return refused("no JSON");
    };
    let (user, items, total) = match contracts::fuzzing::parspec(body.clone()) {
        Ok(order) => order,
        Err(no) => return refused(no),
    };
    assert_eq!(body["userId"], user);
    assert!((1..=TEXT_BYTES_MAX).contains(&user.len()) && !total.is_negative());
    assert_eq!(body["itemIds"], Value::Array(items.clone()), "items are not kept");
    shown_as_sent(total, &body["totalAmount"]);
    let kinds = items.iter().filter(|item| item.is_number()).count();
    accepted((items.len().min(9), kinds.min(9), body["totalAmount"].is_string()))
}

/// All digits is a number, whether or not an order can have it.
pub(super) fn parspec_number(data: &[u8]) -> Seen {
    let text = text(data);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = contracts::fuzzing::order_number(&text);
    assert_eq!(read.is_some(), digits);
    match read {
        Some(Some(number)) => {
            assert!(number >= 0);
            assert_eq!(number.to_string().trim_start_matches('0'), text.trim_start_matches('0'));
            accepted(magnitude(text.len()))
        }
        Some(None) => {
            assert!(text.trim_start_matches('0').len() >= 19, "a small number is too large");
            accepted("too large")
        }
        None => refused(magnitude(text.len())),
    }
}

pub(super) const ORDERSTREAM: &[&str] = &[
    "\"user_id\":\"4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11\"",
    "\"order_id\":\"0\"",
    "\"status\":\"deleted\"",
    "\"payload\":",
    "\"payload_json\":",
    "\"items\":[{\"price\":9.95,\"qty\":2}]",
    "\"amount\":\"19.90\"",
    "\"id\":42",
    "\"timestamp\":\"2025-12-20T10:00:00Z\"",
    "\\\"",
];

/// What is taken keeps its payload, and its external id is a text.
pub(super) fn orderstream(data: &[u8]) -> Seen {
    let message = contracts::fuzzing::orderstream_message(data);
    let Ok(body) = parse(data, JsonLimits::default()) else {
        assert!(!message, "what is no JSON is no message");
        return refused("no JSON");
    };
    let content = match contracts::fuzzing::orderstream(body.clone()) {
        Ok(Some(content)) => content,
        Ok(None) => return accepted("delete"),
        Err(no) => return refused((no.split('(').next().map(str::len), message)),
    };
    let kept = &content.attributes["payload"];
    let sent = if body["payload"].is_null() { &body["payload_json"] } else { &body["payload"] };
    assert!(kept.is_object());
    assert!(sent.is_string() || sent == kept, "a payload is not kept");
    let external = content.attributes.get("external_id");
    assert!(external.is_none_or(|id| id.as_str().is_some_and(|id| !id.is_empty())));
    accepted((external.is_some(), content.total.is_zero(), sent.is_string(), message))
}
