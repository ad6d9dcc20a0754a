//! Events and acknowledgements, both ways.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::events::*;
use super::history::Known;
use super::map;
use order_core::intake::{Intake, digest};
use order_core::json::JsonLimits;
use order_core::order::event::{Accepted, Place};
use order_core::{EventId, Order, OrderId, TenantId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

const ORDER: &str = "9f1c7a52-6d0e-4c5b-8a1f-2b3c4d5e6f70";
const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";

fn parse(event: &Value) -> Result<OrderEvent, Malformed> {
    OrderEvent::parse(Some(event.to_string().as_bytes()), JsonLimits::default())
}

/// An event of that second.
fn event(status: &str, second: u32, amount: u32) -> OrderEvent {
    let event = json!({
        "order_id": ORDER, "external_id": "7", "user_id": USER, "payload": {"id": 7, "amount": amount},
        "status": status, "timestamp": format!("2025-12-20T10:00:{second:02}Z"),
    });
    parse(&event).unwrap()
}

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn taken_in(intake: Intake) -> Order {
    let order_id = OrderId(Uuid::from_u128(7));
    let accepted = Accepted {
        order_id,
        number: 1,
        source: intake.source,
        reference: intake.reference,
        content: intake.content.clone(),
        by: None,
    };
    let occurred_at = Timestamp::parse("2025-12-20T10:00:00Z").unwrap();
    let place = Place { event_id: EventId(Uuid::nil()), position: 1, occurred_at };
    Order::accepted(intake.tenant, accepted, digest(&intake.content), place)
}

fn order_of(event: &OrderEvent) -> Order {
    match event.ruling(&tenant(), None) {
        Ruling::Accept(intake) | Ruling::Bury(intake) => taken_in(*intake),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_of_an_unknown_order_makes_one_under_its_id() {
    let order = order_of(&event("new", 5, 3));
    assert_eq!(map::shown_id(&order).to_string(), ORDER);
    assert_eq!((order.source.as_str(), order.content.total.to_string().as_str()), (super::EVENTS, "3"));
    assert_eq!(order.content.attributes["external_id"], "7");
    assert!(!is_tombstone(&order));
}

/// As of which moment an order is known, without anything that was seen at that moment.
fn as_of(second: u32) -> Known {
    Known { at: Timestamp::parse(&format!("2025-12-20T10:00:{second:02}Z")).unwrap(), seen: false }
}

#[test]
fn the_newest_event_wins_whatever_order_they_come_in() {
    let order = order_of(&event("new", 5, 3));
    let ruling = |event: &OrderEvent| event.ruling(&tenant(), Some((&order, as_of(5))));
    let seen = Known { seen: true, ..as_of(5) };
    let again = event("new", 5, 3).ruling(&tenant(), Some((&order, seen)));
    assert_eq!(again, Ruling::Acknowledge(AckStatus::Created), "seen before");
    assert_eq!(ruling(&event("new", 4, 9)), Ruling::Acknowledge(AckStatus::Updated), "older");
    for event in [event("new", 6, 9), event("new", 5, 9)] {
        let Ruling::Revise(content) = ruling(&event) else { panic!("newer, or another of that moment") };
        assert_eq!(content.total.to_string(), "9");
    }
    let Ruling::Revise(content) = ruling(&event("new", 6, 9)) else { panic!("newer") };
    let revised = Order { content: *content, ..order.clone() };
    let ruling = |event: &OrderEvent, known| event.ruling(&tenant(), Some((&revised, known)));
    let seen = Known { seen: true, ..as_of(6) };
    assert_eq!(ruling(&event("new", 6, 9), seen), Ruling::Acknowledge(AckStatus::Updated));
    let create = ruling(&event("new", 5, 3), as_of(6));
    assert_eq!(create, Ruling::Acknowledge(AckStatus::Created), "as it was acknowledged then");
    for delete in ["deleted", "cancelled"] {
        assert_eq!(ruling(&event(delete, 6, 0), as_of(6)), Ruling::Withdraw);
    }
    let deleted = Order { withdrawn: true, ..order.clone() };
    for late in [event("new", 9, 1), event("deleted", 9, 1)] {
        let late = late.ruling(&tenant(), Some((&deleted, as_of(5))));
        assert_eq!(late, Ruling::Acknowledge(AckStatus::Deleted));
    }
}

#[test]
fn a_delete_of_an_unknown_order_leaves_a_tombstone() {
    let buried = order_of(&event("deleted", 5, 0));
    assert!(is_tombstone(&buried));
    let tombstone = Order { withdrawn: true, ..buried };
    assert_eq!(
        event("new", 1, 1).ruling(&tenant(), Some((&tombstone, as_of(5)))),
        Ruling::Acknowledge(AckStatus::Deleted)
    );
}

#[test]
fn what_is_no_event_says_why() {
    for (value, why) in [
        (None, "null"),
        (Some("null"), "no JSON object"),
        (Some("[]"), "no JSON object"),
        (Some("{"), "malformed"),
        (Some("{}"), "user_id"),
    ] {
        let malformed = OrderEvent::parse(value.map(str::as_bytes), JsonLimits::default()).unwrap_err();
        assert!(malformed.0.contains(why), "{value:?}: {malformed}");
    }
    let good = json!({"order_id": "0", "user_id": USER, "payload": {}, "timestamp": "2025-12-20T10:00:00Z"});
    assert_eq!(parse(&good).unwrap().order_id, None);
    for status in ["", "new", "processing", "done", "created", "updated"] {
        let mut known = good.clone();
        known["status"] = json!(status);
        assert!(parse(&known).is_ok(), "{known}");
    }
    let mut bare = good.clone();
    bare["payload"] = json!(null);
    assert_eq!(parse(&bare).unwrap_err().0, "payload is required");
    for (name, value) in [
        ("order_id", json!("x")),
        ("order_id", json!(1)),
        ("user_id", json!("u")),
        ("timestamp", json!("yesterday")),
        ("timestamp", json!(null)),
        ("payload", json!([])),
        ("payload", json!({"amount": "x"})),
        ("status", json!("deleted")),
        ("status", json!("lost")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_written_reads_back() {
    let order = order_of(&event("new", 5, 3));
    let at = Timestamp::parse("2025-12-20T10:00:05Z").unwrap();
    let message = event_message(&order, &order.content, at, false);
    assert_eq!(
        message.to_string(),
        json!({
            "order_id": ORDER, "external_id": "7", "user_id": USER, "payload": {"id": 7, "amount": 3},
            "status": "new", "timestamp": "2025-12-20T10:00:05.000Z",
        })
        .to_string()
    );
    assert_eq!(parse(&message).unwrap(), event("new", 5, 3));
    let deleted = event_message(&order, &order.content, at, true);
    let withdrawn = parse(&deleted).unwrap().ruling(&tenant(), Some((&order, as_of(5))));
    assert_eq!(withdrawn, Ruling::Withdraw);
    let ack = Ack { order_id: ORDER.parse().unwrap(), status: ack_of(&order), processed_at: Some(at) };
    let value = ack.message().to_string();
    assert_eq!(
        value,
        format!(r#"{{"order_id":"{ORDER}","status":"created","processed_at":"2025-12-20T10:00:05.000Z"}}"#)
    );
    assert_eq!(Ack::parse(Some(value.as_bytes()), JsonLimits::default()), Ok(ack));
    for bad in ["null", "{}", r#"{"order_id":"x","status":"created"}"#] {
        assert!(Ack::parse(Some(bad.as_bytes()), JsonLimits::default()).is_err(), "{bad}");
    }
    let odd = format!(r#"{{"order_id":"{ORDER}","status":"lost"}}"#);
    assert!(Ack::parse(Some(odd.as_bytes()), JsonLimits::default()).is_err());
}

#[test]
fn a_result_is_what_existing_programs_read() {
    let order = Order { withdrawn: true, ..order_of(&event("new", 5, 3)) };
    assert_eq!(result_key(&order), format!("order_result:{ORDER}"));
    let (order_id, processed_at) = (ORDER.parse().unwrap(), Some(order.accepted_at));
    let result = result(&order, &Ack { order_id, status: AckStatus::Deleted, processed_at });
    let names: Vec<&String> = result.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "order_id",
            "status",
            "processed_at",
            "order_status",
            "user_id",
            "amount",
            "payload",
            "created_at",
            "updated_at",
            "bucket"
        ]
    );
    assert_eq!((&result["status"], &result["order_status"]), (&json!("deleted"), &json!("deleted")));
}
