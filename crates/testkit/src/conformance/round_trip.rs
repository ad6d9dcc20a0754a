//! What goes in comes out: to the last digit, microsecond and character; also after the storage was opened again.

use super::Rig;
use super::rig::LEASE;
use crate::build::{intake, money};
use order_core::clock::Timestamp;
use order_core::command::ChangeKind;
use order_core::ids::{Reference, TEXT_BYTES_MAX};
use order_core::intake::Intake;
use order_core::lease::Outcome;
use order_core::order::{Content, Line, Order};
use std::time::Duration;

/// Texts that storages like to get wrong.
pub const TEXTS: [&str; 10] = [
    "plain",
    " spaces around ",
    "quotes ' \" ` and \\ slashes /",
    "percent % under_score * ? [a]",
    "line\nbreak, tab\t, bell\u{7}, escape\u{1b}, delete\u{7f}",
    "ä é ß 日本語 العربية",
    "e\u{301} is not é",
    "🦀👨\u{200d}👩\u{200d}👧 beyond the basic plane",
    "\u{feff}\u{fffd}\u{ffff}\u{10ffff}",
    "null",
];

/// As `Debug` shows it: amounts with their digits, objects in their order; `==` would forgive both.
fn exactly<T: std::fmt::Debug>(value: &T) -> String {
    format!("{value:#?}")
}

/// Takes `sent` in and checks that it comes back, from the answer, a read, the journal and a storage opened again.
async fn round_trip(rig: Rig, sent: Vec<Intake>) -> Rig {
    let mut orders: Vec<Order> = Vec::new();
    for intake in &sent {
        let order = rig.new_order(intake.clone()).await;
        assert_eq!(exactly(&order.content), exactly(&intake.content), "the answer must hold what was sent");
        assert_eq!((&order.tenant, &order.source), (&intake.tenant, &intake.source));
        assert_eq!(order.reference, intake.reference);
        orders.push(order);
        rig.clock.tick();
    }
    rig.assert_sound().await;
    let rig = rig.reopen().await;
    for order in &orders {
        let read = rig.order_of(&order.tenant, order.id).await.expect("the order is there");
        assert_eq!(exactly(&read), exactly(order), "a read must give what was sent");
        let events = rig.events_of(&order.tenant, order.id).await.expect("it is there");
        let folded = Order::fold(None, &events[0]).expect("the event folds");
        assert_eq!(exactly(&folded), exactly(order), "the journal must hold what was sent");
    }
    rig.assert_sound().await;
    rig
}

/// 28 digits, the scale as given, signs and zeros.
pub async fn amounts_keep_every_digit(rig: Rig) {
    let amounts = [
        "19.90",
        "19.9",
        "0",
        "0.00",
        "0.0000000000000000000000000001",
        "9999999999999999999999999999",
        "99999999999999.99999999999999",
        "-3.50",
        "12345678901234567.890",
        "1000000000000000000000000000",
    ];
    let with = |amount: &str| intake(&format!("m{amount}")).total(amount).line("x", 1, amount).build();
    let rig = round_trip(rig, amounts.iter().map(|amount| with(amount)).collect()).await;
    let order = rig.order(crate::build::id_of(&with("19.90"))).await;
    assert_eq!(order.content.total.to_string(), "19.90", "19.90 stays 19.90");
    assert_eq!(order.content.lines[1].unit_price.to_string(), "19.90");
}

/// Texts come back character by character.
pub async fn texts_keep_every_character(rig: Rig) {
    let mut sent = Vec::new();
    for (index, text) in TEXTS.iter().enumerate() {
        let mut intake = intake(text).tenant(text).source(text).customer(Some(text)).build();
        intake.content.lines[0].sku = (*text).to_owned();
        intake.content.lines[0].name = Some((*text).to_owned());
        let json = serde_json::Value::from(*text);
        intake.content.attributes.insert((*text).to_owned(), json);
        intake.content.attributes.insert(format!("n{index}"), serde_json::Value::Null);
        sent.push(intake);
    }
    round_trip(rig, sent).await;
}

/// The longest identities, in bytes; and those that differ in one byte, in case or in a trailing space stay apart.
pub async fn identities_are_compared_byte_by_byte(rig: Rig) {
    let longest = "é".repeat(TEXT_BYTES_MAX / 2) + "x";
    assert_eq!(longest.len(), TEXT_BYTES_MAX);
    let names = [
        longest.clone(),
        longest.replace('x', "y"),
        "a".into(),
        "A".into(),
        "a ".into(),
        "é".into(),
        "e\u{301}".into(),
    ];
    let mut sent = Vec::new();
    for name in &names {
        sent.push(intake(name).build());
        sent.push(intake("same").tenant(name).build());
        sent.push(intake("same").source(name).build());
    }
    round_trip(rig, sent).await;
}

/// Attributes are kept verbatim: numbers with their digits, members in their order, whatever nests.
pub async fn attributes_are_kept_verbatim(rig: Rig) {
    let deep = format!("{}1{}", "[{\"a\":".repeat(14), "}]".repeat(14));
    let json = [
        "12345678901234567890.1234567890",
        "1e400",
        "-0.0",
        "1E-7",
        "18446744073709551616",
        "{\"z\":1,\"a\":{\"b\":[],\"\":{}},\"é/~\":null}",
        "[true,false,null,\"\",[],{}]",
        "\"quote \\\" slash \\\\ line \\n\"",
        deep.as_str(),
    ];
    let mut sent = intake("A-1");
    for (index, json) in json.iter().enumerate() {
        sent = sent.attribute(&format!("key {index}"), json);
    }
    let sent = sent.build();
    let written = serde_json::to_string(&sent.content.attributes).expect("JSON");
    let rig = round_trip(rig, vec![sent.clone()]).await;
    let order = rig.order(crate::build::id_of(&sent)).await;
    let read = serde_json::to_string(&order.content.attributes).expect("JSON");
    assert_eq!(read, written, "attributes must come back verbatim");
}

/// What is not there is not there, and differs from what is empty.
pub async fn what_is_missing_stays_missing(rig: Rig) {
    let empty = Content { total: money("0"), ..Content::default() };
    let line = |name: Option<&str>| Line {
        sku: "x".to_owned(),
        name: name.map(str::to_owned),
        quantity: 1,
        unit_price: money("0"),
    };
    let lines = vec![line(None), line(Some("")), line(Some("null"))];
    let sent = vec![
        intake("empty").content(empty.clone()).build(),
        intake("none").content(empty.clone()).no_reference().build(),
        intake("empty texts").content(Content { customer: Some(String::new()), ..empty.clone() }).build(),
        intake("lines").content(Content { lines, ..empty }).build(),
    ];
    let rig = round_trip(rig, sent).await;
    let order = rig.new_order(intake("fresh")).await;
    let unset = (order.last_error, order.started_at, order.processed_at, order.shipped_at);
    assert_eq!(unset, (None, None, None, None), "nothing has happened to it");
    assert_eq!((order.tracking_number, order.delivered_at, order.lease), (None, None, None));
}

/// Many lines, and the largest quantity.
pub async fn many_lines_are_kept_in_order(rig: Rig) {
    let mut sent = intake("A-1").no_lines();
    for index in 0..1_000_u32 {
        sent = sent.line(&format!("sku-{index}"), index + 1, "0.01");
    }
    round_trip(rig, vec![sent.line("most", 2_147_483_647, "0.01").build()]).await;
}

/// Moments keep their microseconds, from 1970 to 9999.
pub async fn moments_keep_their_microseconds(rig: Rig) {
    let moments = [0, 1, 999_999, 1_740_218_400_123_456, 253_402_300_799_999_999].map(Timestamp::from_micros);
    for (index, &moment) in moments.iter().enumerate() {
        let order = rig.new_order(intake(&format!("t-{index}"))).await;
        rig.changed(order.id, ChangeKind::Ship { shipped_at: Some(moment), tracking_number: None }).await;
        let delivered = rig.changed(order.id, ChangeKind::Deliver { delivered_at: moment }).await;
        assert_eq!((delivered.shipped_at, delivered.delivered_at), (Some(moment), Some(moment)));
        assert_eq!(exactly(&rig.order(order.id).await), exactly(&delivered));
    }
    rig.clock.advance(Duration::from_micros(7));
    for leased in rig.claim(10).await.leased {
        rig.clock.tick();
        let done = rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
        assert_eq!((done.started_at, done.processed_at), (Some(leased.began_at), Some(rig.now())));
        assert_eq!(exactly(&rig.order(done.id).await), exactly(&done));
    }
    rig.assert_sound().await;
}

/// Texts that come later than the acceptance: errors, reasons, tracking numbers.
pub async fn later_texts_keep_every_character(rig: Rig) {
    for text in TEXTS {
        let order = rig.parked(intake(text), text).await;
        assert_eq!(order.last_error.as_deref(), Some(text));
        let redrive = ChangeKind::Redrive { reason: text.to_owned(), by: text.to_owned() };
        rig.changed(order.id, redrive).await;
        let leased = rig.claim_one().await;
        let retry = Outcome::Retry { at: rig.now().plus(LEASE), why: text.repeat(20) };
        rig.settle(&leased, retry).await.expect("the lease is held");
        let number = Some(text.to_owned());
        rig.changed(order.id, ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: number })
            .await;
        let withdraw = ChangeKind::Withdraw { reason: text.to_owned(), by: text.to_owned(), requeue: false };
        let last = rig.changed(order.id, withdraw).await;
        assert_eq!(last.tracking_number.as_deref(), Some(text));
        assert_eq!(last.last_error, Some(text.repeat(20)));
        assert_eq!(exactly(&rig.order(order.id).await), exactly(&last));
        rig.clock.tick();
    }
    rig.assert_sound().await;
}

/// An order is found under a reference that holds no more than its bytes say.
pub async fn a_reference_is_found_again_whatever_it_holds(rig: Rig) {
    for text in TEXTS {
        let order = rig.new_order(intake(text)).await;
        assert_eq!(order.reference, Some(Reference::new(text).expect("a reference")));
        let (found, differs) = rig.duplicate(intake(text)).await;
        assert_eq!((found.id, differs), (order.id, Vec::new()), "{text:?} names one order");
    }
}
