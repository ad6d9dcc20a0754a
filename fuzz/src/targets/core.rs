//! What the domain reads: JSON within limits, amounts, ids, moments, events of the journal.

use std::mem::discriminant;

use order_core::event::{Accepted, EventBody, EventType, Place, blanked};
use order_core::ids::TEXT_BYTES_MAX;
use order_core::journal::Event;
use order_core::json::{InvalidJson, JsonLimits, parse};
use order_core::order::Content;
use order_core::order::money::{DIGITS_MAX, InvalidMoney};
use order_core::trace::TraceContext;
use order_core::{EventId, Money, Order, OrderId, Reference, Shard, SourceId, TenantId, Timestamp};
use serde_json::{Number, Value};
use uuid::Uuid;

use super::{Seen, accepted, magnitude, refused, text};

/// Tighter than the product's, so that short inputs reach them.
const LIMITS: JsonLimits = JsonLimits { depth_max: 8, items_max: 16 };

/// What is accepted is within the limits, is what serde_json reads, and reads back from its own text. What is refused
/// is refused for what is there.
pub(super) fn json(data: &[u8]) -> Seen {
    let plain = serde_json::from_slice::<Value>(data);
    let invalid = match parse(data, LIMITS) {
        Ok(value) => {
            let (depth, widest) = extent(&value);
            assert!(depth <= LIMITS.depth_max && widest <= LIMITS.items_max, "beyond the limits");
            assert_eq!(value, plain.expect("what is accepted is JSON"));
            let written = value.to_string();
            let again = parse(written.as_bytes(), LIMITS).expect("what is written can be read");
            assert_eq!((&again, again.to_string()), (&value, written));
            return accepted((depth, magnitude(widest), magnitude(data.len())));
        }
        Err(invalid) => invalid,
    };
    assert!(invalid.pointer().len() <= 16 + 2 * data.len(), "a pointer longer than what it points into");
    match (&invalid, plain) {
        (InvalidJson::Syntax { .. }, plain) => assert!(plain.is_err(), "serde_json reads it"),
        (
            InvalidJson::DuplicateKey { pointer }
            | InvalidJson::TooDeep { pointer, .. }
            | InvalidJson::TooMany { pointer, .. }
            | InvalidJson::ReservedKey { pointer },
            Ok(value),
        ) => {
            // The parser's own keys change what they stand in.
            let plain = !text(data).contains("serde_json") && !text(data).contains("\\u");
            assert!(!plain || value.pointer(pointer).is_some(), "nothing is at {pointer}");
        }
        _ => {}
    }
    refused((discriminant(&invalid), invalid.pointer().matches('/').count(), magnitude(data.len())))
}

/// The deepest nesting and the most items of a value that holds no U+0000.
fn extent(value: &Value) -> (usize, usize) {
    let inner: Vec<_> = match value {
        Value::Array(items) => items.iter().map(extent).collect(),
        Value::Object(members) => {
            assert!(members.keys().all(|key| !key.contains('\0')), "U+0000 in a key");
            members.values().map(extent).collect()
        }
        Value::String(text) => {
            assert!(!text.contains('\0'), "U+0000 in a text");
            return (0, 0);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => return (0, 0),
    };
    let deepest = inner.iter().map(|(depth, _)| *depth).max().unwrap_or(0);
    (deepest + 1, inner.iter().map(|(_, widest)| *widest).fold(inner.len(), usize::max))
}

pub(super) const MONEY: &[&str] = &[
    "0.00",
    "19.90",
    "-",
    "+",
    ".",
    "e",
    "E",
    "e-28",
    "e28",
    "e999999",
    "9999999999999999999999999999",
    "0.0000000000000000000000000001",
    "NaN",
    "\n",
];

/// What is an amount is a number of JSON, exactly that, and reads back from its own text; sums and products are exact.
pub(super) fn money(data: &[u8]) -> Seen {
    let text = text(data);
    let (first, second) = text.split_once('\n').unwrap_or((&text, "1"));
    // serde_json lets blanks be around a number.
    let is_number = first.trim() == first && serde_json::from_str::<Number>(first).is_ok();
    let amount = match Money::parse(first) {
        Ok(amount) => amount,
        Err(InvalidMoney::NotANumber) => {
            assert!(!is_number, "a number of JSON is no number");
            return refused("not a number");
        }
        Err(InvalidMoney::TooLong) => {
            assert!(is_number && first.len() > 3, "no number is too long");
            return refused("too long");
        }
    };
    assert!(is_number, "an amount is no number of JSON");
    let written = amount.to_string();
    assert!(written.len() <= DIGITS_MAX + 32, "a text of unbounded length");
    assert_eq!(Money::parse(&written).map(|again| again.to_string()).as_ref(), Ok(&written));
    assert_eq!(exact(first), exact(&written), "another value");
    let canonical = amount.canonical();
    assert_eq!(exact(&canonical), exact(first), "another canonical value");
    let Ok(other) = Money::parse(second) else {
        return accepted((written.len(), amount.is_negative()));
    };
    assert_eq!(amount == other, exact(first) == exact(second), "equal, or not");
    assert_eq!(amount == other, canonical == other.canonical());
    let sum = amount.plus(other);
    assert_eq!(sum, other.plus(amount));
    if let Some(sum) = sum {
        assert_eq!(Money::parse(&sum.to_string()), Ok(sum), "a sum does not read back");
    }
    if let Some(twice) = amount.times(2) {
        assert_eq!(Some(twice), amount.plus(amount), "twice is not the sum");
    }
    accepted((written.len(), amount.is_negative(), sum.is_some()))
}

/// The value of a number of JSON: sign, digits without zeros around them, and the power of ten of the last.
fn exact(number: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, decimals) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{decimals}", whole.trim_start_matches('-'));
    let kept = digits.trim_end_matches('0');
    let power = exponent.parse::<i64>().unwrap() - decimals.len() as i64 + (digits.len() - kept.len()) as i64;
    match kept.trim_start_matches('0') {
        "" => (false, String::new(), 0),
        digits => (number.starts_with('-'), digits.to_owned(), power),
    }
}

pub(super) const IDS: &[&str] =
    &["\n", "\0", "é", "230e0945-205f-8eaa-8fef-55ebf134b616", "-", "{", "urn:uuid:"];

/// A text of three lines: tenant, source, reference. Texts are bounded; an id follows from all three and has a shard.
pub(super) fn ids(data: &[u8]) -> Seen {
    let text = text(data);
    if let Some(uuid) = api::fuzzing::uuid(&text) {
        assert_eq!(uuid.to_string(), text.to_ascii_lowercase(), "a UUID in another form");
        return accepted(("uuid", uuid.get_version_num()));
    }
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (tenant, source, reference) = (line(), line(), line());
    for part in [tenant, source, reference] {
        let fits = (1..=TEXT_BYTES_MAX).contains(&part.len()) && !part.contains('\0');
        match Reference::new(part) {
            Ok(read) => assert!(fits && read.as_str() == part && read.to_string() == part),
            Err(_) => assert!(!fits),
        }
    }
    let (Ok(tenant), Ok(source), Ok(reference)) =
        (TenantId::new(tenant), SourceId::new(source), Reference::new(reference))
    else {
        return refused(magnitude(text.len()));
    };
    let id = OrderId::derived(&tenant, &source, &reference);
    assert_eq!(id, OrderId::derived(&tenant, &source, &reference));
    assert_eq!(api::fuzzing::uuid(&id.to_string()), Some(id.0), "an id is not read back");
    for shards in [0, 1, 16, u16::MAX] {
        assert!(id.shard(shards).0 < shards.max(1));
    }
    let swapped = (TenantId::new(source.as_str()).unwrap(), SourceId::new(tenant.as_str()).unwrap());
    let other = OrderId::derived(&swapped.0, &swapped.1, &reference);
    assert_eq!(other == id, tenant.as_str() == source.as_str(), "tenant and source are not told apart");
    accepted(("texts", id.shard(16)))
}

pub(super) const TIMESTAMP: &[&str] = &[
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "T",
    "t",
    "z",
    "Z",
    "+23:59",
    "-00:00",
    ".000000",
    ":60",
    " ",
    "2024-02-29",
];

/// What is a moment reads back from its text; the contracts' text is the same moment without microseconds.
pub(super) fn timestamp(data: &[u8]) -> Seen {
    let text = text(data);
    if let Ok(bytes) = <[u8; 8]>::try_from(data) {
        let moment = Timestamp::from_micros(i64::from_le_bytes(bytes));
        assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
    }
    let Ok(moment) = Timestamp::parse(&text) else {
        return refused(magnitude(text.len()));
    };
    let (written, short) = (moment.to_string(), moment.millis_text());
    assert_eq!((written.len(), short.len()), (27, 24), "{written} {short}");
    assert_eq!(Timestamp::parse(&written), Ok(moment));
    let cut = Timestamp::parse(&short).expect("the contracts' text is a moment");
    assert_eq!(cut.micros(), moment.micros() - moment.micros() % 1_000);
    assert_eq!(moment.plus(std::time::Duration::ZERO), moment);
    accepted((text.len().min(40), moment.micros() % 1_000 == 0))
}

pub(super) const TRACEPARENT: &[&str] = &[
    "00-",
    "cc-",
    "ff-",
    "-",
    "-01",
    "-03",
    "-ff",
    "0000000000000000",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    "4BF92F35",
    "\u{e9}",
];

/// What is a place in a trace names no zeros, and reads back from the header that it is sent on with and from the bytes
/// that it is kept as.
pub(super) fn traceparent(data: &[u8]) -> Seen {
    let back = |place: TraceContext| {
        assert!(place.trace_id() != [0; 16] && place.span_id() != [0; 8], "zeros");
        assert_eq!(TraceContext::from_bytes(&place.to_bytes()), Some(place));
        let header = place.to_string();
        assert_eq!((header.len(), TraceContext::parse(&header)), (55, Some(place)));
    };
    TraceContext::from_bytes(data).into_iter().for_each(back);
    let text = text(data);
    let Some(place) = TraceContext::parse(&text) else {
        return refused((magnitude(text.len()), text.matches('-').count().min(5)));
    };
    back(place);
    assert_eq!(place.trace_id_hex().to_string(), text[3..35]);
    accepted((place.flags(), text.len() == 55, text.starts_with("00")))
}

pub(super) const EVENT: &[&str] = &[
    "order.accepted\n",
    "order.revised\n",
    "order.processed\n",
    "order.processing_failed\n",
    "order.parked\n",
    "order.redriven\n",
    "order.shipped\n",
    "order.delivered\n",
    "order.withdrawn\n",
    "order.erased\n",
    "order.later\n",
    "\"order_id\":",
    "\"attempt\":",
    "\"started_at\":",
    "\"attributes\":",
    "\"lines\":",
    "\"changed\":",
    "\"total\":",
    "\"pointers\":[\"/customer\"]",
    "null",
    "{",
    "}",
    "[",
    "]",
    "\"2026-11-20T10:00:00.123456Z\"",
    "\\u0000",
];

const ORDER_ID: OrderId = OrderId(Uuid::from_u128(0x230e_0945_205f_8eaa_8fef_55eb_f134_b616));

/// A row of the journal: the name of its type, a line break, its data. What is read is written as what reads back, also
/// after an erasure; and it can be folded onto an order.
pub(super) fn event(data: &[u8]) -> Seen {
    let text = text(data);
    let (kind, data) = text.split_once('\n').unwrap_or((&text, ""));
    let kind = EventType::from_word(kind);
    let first = matches!(kind, EventType::OrderAccepted);
    let row = row(kind, if first { 1 } else { 2 }, data);
    let body = match EventBody::parse(&row) {
        Ok(body) => body,
        // Where the JSON breaks off tells little.
        Err(fault) => return refused(fault.0.split(" at ").next().map(str::to_owned)),
    };
    let before = (!first).then(order);
    let order = Order::fold(before.clone(), &row).expect("what can be read can be folded");
    assert_eq!(order.version, row.version);
    if body.kind().is_none() {
        return accepted("a later version's");
    }
    let written = body.to_json(&order);
    assert_eq!(EventBody::parse(&Event { data: written.clone(), ..row.clone() }).as_ref(), Ok(&body));
    let erased = blanked(&row, &order).expect("what can be read can be blanked");
    let erased_row = Event { data: erased.clone(), ..row.clone() };
    assert_eq!(blanked(&erased_row, &order).as_ref(), Ok(&erased), "blanked twice");
    Order::fold(before, &erased_row).expect("what was blanked folds");
    serde_json::from_str::<Value>(&order.to_json(Timestamp::from_micros(1)))
        .expect("an order is shown as JSON");
    serde_json::from_str::<Value>(&row.to_json()).expect("an event is shown as JSON");
    accepted((discriminant(&body), magnitude(written.len()), order.content.lines.len().min(8)))
}

fn row(kind: EventType, version: u64, data: &str) -> Event {
    Event {
        event_id: EventId(Uuid::from_u128(1)),
        tenant: TenantId::default_tenant(),
        source: SourceId::new("api").unwrap(),
        order_id: ORDER_ID,
        version,
        shard: Shard(0),
        position: version,
        prev_position: version - 1,
        epoch: 1,
        kind,
        data_version: 1,
        data: data.to_owned(),
        occurred_at: Timestamp::from_micros(1_000_000),
        trace: None,
    }
}

/// An order that was just accepted.
fn order() -> Order {
    let accepted = Accepted {
        order_id: ORDER_ID,
        number: 1,
        source: SourceId::new("api").unwrap(),
        reference: Reference::new("A-1").ok(),
        content: Content::default(),
        by: None,
    };
    let place = Place {
        event_id: EventId(Uuid::from_u128(2)),
        position: 1,
        occurred_at: Timestamp::from_micros(1_000_000),
    };
    Order::accepted(TenantId::default_tenant(), accepted, [0; 32], place)
}
