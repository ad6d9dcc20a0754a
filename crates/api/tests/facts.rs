//! Withdrawals, shipments, deliveries and erasures.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::Clock;
use rig::{Rig, Said};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn tell(rig: &Rig, order: &Value, what: &str, body: &Value) -> Said {
    rig.clock.tick();
    rig.post(&path(order, what), &body.to_string()).await
}

fn path(order: &Value, what: &str) -> String {
    format!("/v1/orders/{}/{what}", order["order_id"].as_str().unwrap())
}

async fn new_order(rig: &Rig) -> Value {
    rig.order(r#"{"customer": "Ada", "total": "1.00", "attributes": {"note": "for Ada"}}"#).await
}

async fn last_event(rig: &Rig, order: &Value) -> Value {
    let events = rig.get(&path(order, "events")).await.json()["events"].clone();
    events.as_array().unwrap().last().unwrap().clone()
}

/// What was answered: status, whether it is a repetition, the entity tag.
fn answered(said: &Said) -> (u16, bool, &str) {
    (said.status, said.header("idempotent-replayed") == Some("true"), said.header("etag").unwrap_or("none"))
}

#[tokio::test]
async fn a_withdrawal_ends_the_work_and_is_told_once() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    let body = json!({"reason": "changed their mind"});
    let said = tell(&rig, &order, "withdrawals", &body).await;
    assert_eq!(answered(&said), (200, false, "\"2\""), "{}", said.text);
    let withdrawn = said.json();
    assert_eq!(
        json!([withdrawn["withdrawn"], withdrawn["processing"], withdrawn["processed_at"]]),
        json!([true, "done", null])
    );
    let event = last_event(&rig, &order).await;
    assert_eq!(event["type"], "order.withdrawn");
    assert_eq!(event["data"], json!({"reason": "changed their mind", "by": "local", "requeued": false}));
    let again = tell(&rig, &order, "withdrawals", &body).await;
    assert_eq!((answered(&again), again.json()), ((200, true, "\"2\""), withdrawn));
    let other = tell(&rig, &order, "withdrawals", &json!({"reason": "a mistake"})).await;
    assert_eq!((other.status, other.problem().as_str()), (409, "already-differs"));
    assert_eq!((other.errors(), other.header("etag")), (vec!["/reason differs".to_owned()], Some("\"2\"")));
    for what in ["shipments", "deliveries"] {
        let said = tell(&rig, &order, what, &json!({})).await;
        assert_eq!((said.status, said.problem().as_str()), (409, "illegal-change"), "{what}");
        assert_eq!(said.json()["withdrawn"], true, "{what}");
    }
    assert_eq!(last_event(&rig, &order).await["version"], 2);
}

#[tokio::test]
async fn a_shipment_is_told_once_and_its_tracking_number_may_come_later() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    let body = json!({"shipped_at": "2025-02-20T17:30:00+01:00", "tracking_number": "T-1"});
    let said = tell(&rig, &order, "shipments", &body).await;
    assert_eq!(answered(&said), (200, false, "\"2\""), "{}", said.text);
    let shown = said.json();
    assert_eq!(
        json!([shown["fulfilment"], shown["shipped_at"], shown["tracking_number"], shown["delivered_at"]]),
        json!(["shipped", "2025-02-20T16:30:00.000000Z", "T-1", null])
    );
    let read = rig.get(&format!("/v1/orders/{}", shown["order_id"].as_str().unwrap())).await.json();
    assert_eq!(read, shown, "whoever reads it later sees the same");
    let data = last_event(&rig, &order).await["data"].clone();
    assert_eq!(
        data,
        json!({"shipped_at": "2025-02-20T16:30:00.000000Z", "tracking_number": "T-1", "by": "local"})
    );
    for same in [
        &body,
        &json!({}),
        &json!({"tracking_number": "T-1"}),
        &json!({"shipped_at": "2025-02-20T16:30:00Z"}),
    ] {
        let again = tell(&rig, &order, "shipments", same).await;
        assert_eq!(answered(&again), (200, true, "\"2\""), "{same}: {}", again.text);
    }
    let other = json!({"shipped_at": "2025-02-20T16:30:01Z", "tracking_number": "T-2"});
    let said = tell(&rig, &order, "shipments", &other).await;
    assert_eq!((said.status, said.problem().as_str()), (409, "already-differs"));
    assert_eq!(said.errors(), ["/shipped_at differs", "/tracking_number differs"]);

    let bare = new_order(&rig).await;
    let path = path(&bare, "shipments");
    let said = rig.ask("POST", &path, &[("idempotency-key", "not needed")], "").await;
    assert_eq!(answered(&said), (200, false, "\"2\""), "no body at all, and a key: {}", said.text);
    assert_eq!(
        last_event(&rig, &bare).await["data"]["shipped_at"],
        last_event(&rig, &bare).await["occurred_at"]
    );
    let shipped = last_event(&rig, &bare).await;
    let said = tell(&rig, &bare, "shipments", &json!({"tracking_number": "late"})).await;
    assert_eq!(answered(&said), (200, false, "\"3\""), "{}", said.text);
    let event = last_event(&rig, &bare).await;
    assert_eq!((&event["type"], &event["version"]), (&json!("order.shipped"), &json!(3)));
    assert_eq!(
        event["data"],
        json!({"shipped_at": shipped["data"]["shipped_at"], "tracking_number": "late", "by": "local"}),
        "it was shipped when it was"
    );
    let said = tell(&rig, &bare, "shipments", &json!({"tracking_number": "late"})).await;
    assert_eq!(answered(&said), (200, true, "\"3\""), "{}", said.text);
    let said = tell(&rig, &bare, "shipments", &json!({"tracking_number": "other"})).await;
    assert_eq!((said.status, said.errors()), (409, vec!["/tracking_number differs".to_owned()]));
    let other = new_order(&rig).await;
    tell(&rig, &other, "shipments", &json!({})).await;
    let body = json!({"shipped_at": "2020-01-01T00:00:00Z", "tracking_number": "late"});
    let said = tell(&rig, &other, "shipments", &body).await;
    assert_eq!((said.status, said.problem().as_str()), (409, "already-differs"), "of another shipment");
    assert_eq!(last_event(&rig, &other).await["version"], 2);
}

/// Clocks differ by minutes; what is to come has not happened.
#[tokio::test]
async fn nothing_has_happened_in_the_future() {
    for (what, name) in [("shipments", "shipped_at"), ("deliveries", "delivered_at")] {
        let rig = Rig::new();
        let order = new_order(&rig).await;
        let ahead = |by: Duration| json!({ name: rig.clock.now().plus(by).to_string() });
        let said = tell(&rig, &order, what, &ahead(Duration::from_secs(301))).await;
        assert_eq!((said.status, said.problem().as_str()), (422, "value-refused"), "{}", said.text);
        assert_eq!(said.errors(), [format!("/{name} range")]);
        assert_eq!(last_event(&rig, &order).await["version"], 1);
        let near = ahead(Duration::from_secs(300));
        assert_eq!(answered(&tell(&rig, &order, what, &near).await), (200, false, "\"2\""));
        // What was told is known, whatever the clock says now.
        assert_eq!(answered(&tell(&rig, &order, what, &near).await), (200, true, "\"2\""));
    }
}

#[tokio::test]
async fn what_was_known_before_a_withdrawal_may_be_told_again_after_it() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    let shipped = json!({"tracking_number": "T-1"});
    tell(&rig, &order, "shipments", &shipped).await;
    tell(&rig, &order, "deliveries", &json!({})).await;
    tell(&rig, &order, "withdrawals", &json!({"reason": "sent back"})).await;
    for (what, body) in [("shipments", &shipped), ("deliveries", &json!({}))] {
        let again = tell(&rig, &order, what, body).await;
        assert_eq!(answered(&again), (200, true, "\"4\""), "{what}: {}", again.text);
    }
    let other = tell(&rig, &order, "shipments", &json!({"tracking_number": "T-2"})).await;
    assert_eq!((other.status, other.problem().as_str()), (409, "already-differs"));
}

#[tokio::test]
async fn facts_come_in_any_order_and_each_once() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    let delivered = json!({"delivered_at": "2025-02-21T09:00:00Z"});
    assert_eq!(tell(&rig, &order, "deliveries", &delivered).await.json()["fulfilment"], "delivered");
    let late = tell(&rig, &order, "shipments", &json!({"tracking_number": "T-1"})).await;
    assert_eq!(late.json()["tracking_number"], "T-1");
    assert_eq!(late.json()["delivered_at"], "2025-02-21T09:00:00.000000Z");
    assert_eq!((answered(&late), &late.json()["fulfilment"]), ((200, false, "\"3\""), &json!("delivered")));
    assert_eq!(answered(&tell(&rig, &order, "shipments", &json!({})).await), (200, true, "\"3\""));
    assert_eq!(answered(&tell(&rig, &order, "deliveries", &delivered).await), (200, true, "\"3\""));
    assert_eq!(answered(&tell(&rig, &order, "deliveries", &json!({})).await), (200, true, "\"3\""));
    let said = tell(&rig, &order, "deliveries", &json!({"delivered_at": "2025-02-21T09:00:01Z"})).await;
    assert_eq!((said.status, said.errors()), (409, vec!["/delivered_at differs".to_owned()]));
    assert_eq!(tell(&rig, &order, "withdrawals", &json!({"reason": "sent back"})).await.status, 200);
}

#[tokio::test]
async fn a_version_may_be_insisted_on() {
    let rig = Rig::new();
    for (what, body) in
        [("shipments", "{}"), ("deliveries", "{}"), ("withdrawals", r#"{"reason": "x"}"#), ("erasures", "{}")]
    {
        let order = new_order(&rig).await;
        let json = ("content-type", "application/json");
        let said = rig.ask("POST", &path(&order, what), &[json, ("if-match", "\"2\"")], body).await;
        assert_eq!((said.status, said.problem().as_str()), (412, "version-mismatch"), "{what}");
        assert_eq!((said.header("etag"), &said.json()["version"]), (Some("\"1\""), &json!(1)), "{what}");
        for (good, tag) in [("\"9\", \"1\"", "\"2\""), ("*", "\"2\"")] {
            let said = rig.ask("POST", &path(&order, what), &[json, ("if-match", good)], body).await;
            assert_eq!((said.status, said.header("etag")), (200, Some(tag)), "{what} {good}: {}", said.text);
        }
        let said = rig.ask("POST", &path(&order, what), &[json, ("if-match", "1")], body).await;
        assert_eq!((said.status, said.errors()), (400, vec!["/If-Match form".to_owned()]), "{what}");
    }
}

#[tokio::test]
async fn what_is_malformed_changes_nothing() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    for (what, body, status, error) in [
        ("withdrawals", json!({}), 422, "/reason missing"),
        ("withdrawals", json!({"reason": ""}), 422, "/reason empty"),
        ("withdrawals", json!({"reason": "x".repeat(1_001)}), 422, "/reason too-long"),
        ("withdrawals", json!({"reason": 1}), 400, "/reason wrong-type"),
        ("withdrawals", json!({"reason": "x", "by": "me"}), 400, "/by unknown-field"),
        ("shipments", json!({"shipped_at": "yesterday"}), 422, "/shipped_at form"),
        ("shipments", json!({"shipped_at": 1}), 400, "/shipped_at wrong-type"),
        ("shipments", json!({"tracking_number": ""}), 422, "/tracking_number empty"),
        ("shipments", json!([]), 400, " wrong-type"),
        ("deliveries", json!({"delivered_at": "1969-12-31T23:59:59Z"}), 422, "/delivered_at form"),
        ("deliveries", json!({"shipped_at": null}), 400, "/shipped_at unknown-field"),
        ("erasures", json!({"reason": "x"}), 400, "/reason unknown-field"),
    ] {
        let said = tell(&rig, &order, what, &body).await;
        assert_eq!((said.status, said.errors()), (status, vec![error.to_owned()]), "{what} {body}");
    }
    for what in ["withdrawals", "shipments", "deliveries", "erasures"] {
        let said = rig.ask("POST", &path(&order, what), &[("content-type", "text/plain")], "{}").await;
        assert_eq!((said.status, said.problem().as_str()), (415, "media-type-unsupported"), "{what}");
        let nobody = json!({"order_id": "00000000-0000-4000-8000-000000000000"});
        let body = if what == "withdrawals" { json!({"reason": "x"}) } else { json!({}) };
        let said = tell(&rig, &nobody, what, &body).await;
        assert_eq!((said.status, said.problem().as_str()), (404, "order-unknown"), "{what}");
        let said = rig.post(&format!("{}?force=true", path(&order, what)), &body.to_string()).await;
        assert_eq!(
            (said.status, said.errors()),
            (400, vec!["/force unknown-parameter".to_owned()]),
            "{what}"
        );
    }
    assert_eq!(last_event(&rig, &order).await["version"], 1);
}

#[tokio::test]
async fn an_erasure_says_what_was_blanked() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    tell(&rig, &order, "shipments", &json!({"tracking_number": "Ada-7"})).await;
    tell(&rig, &order, "withdrawals", &json!({"reason": "Ada moved"})).await;
    let said = tell(&rig, &order, "erasures", &json!({})).await;
    assert_eq!(answered(&said), (200, false, "\"4\""), "{}", said.text);
    let erased = said.json();
    assert_eq!(erased["pointers"], json!(["/customer", "/attributes", "/tracking_number"]), "what was there");
    let shown = rig.get(path(&order, "").trim_end_matches('/')).await.json();
    assert_eq!(erased["order"], shown);
    let remains: Vec<_> = erased["remains"].as_array().unwrap().iter().map(|one| &one["where"]).collect();
    assert_eq!(remains, ["copies"], "nobody followed, and nobody redrove it: {erased}");
    assert_eq!(json!([erased["order"]["customer"], erased["order"]["attributes"]]), json!([null, {}]));
    assert_eq!((&erased["order"]["total"], &erased["order"]["version"]), (&json!("1.00"), &json!(4)));
    let events = rig.get(&path(&order, "events")).await.text;
    assert!(!events.contains("Ada"), "{events}");
    assert_eq!(last_event(&rig, &order).await["data"]["pointers"], erased["pointers"]);
    let again = tell(&rig, &order, "withdrawals", &json!({"reason": "Ada moved"})).await;
    assert_eq!(answered(&again), (200, true, "\"4\""), "what the reason was is not known any more");
    let again = tell(&rig, &order, "erasures", &json!({})).await;
    assert_eq!(answered(&again), (200, true, "\"4\""), "{}", again.text);
    assert_eq!((&again.json()["pointers"], &again.json()["order"]), (&json!([]), &erased["order"]));
    assert_eq!(again.json()["order"]["last_error"], json!(null));
}

#[tokio::test]
async fn an_erasure_says_where_earlier_data_remains() {
    let rig = Rig::new();
    let order = new_order(&rig).await;
    rig.app.ensure_follower("late", "ndjson", true).await.unwrap();
    rig.app.ensure_follower("lines", "ndjson", false).await.unwrap();
    rig.work(&[(&order, "no")]).await;
    let redrive = rig.post("/v1/redrives", r#"{"filter": {"all": true}, "reason": "Ada called"}"#).await;
    let address = redrive.header("location").unwrap().to_owned();
    while rig.get(&address).await.json()["state"] != "finished" {
        tokio::task::yield_now().await;
    }
    let places = async |rig: &Rig| {
        let erased = tell(rig, &order, "erasures", &json!({})).await.json();
        let remains = erased["remains"].as_array().unwrap().clone();
        assert!(remains.iter().all(|one| one["advice"].as_str().is_some_and(|advice| !advice.is_empty())));
        remains.iter().map(|one| json!([one["where"], one["name"], one["sink"]])).collect::<Vec<_>>()
    };
    let (redrives, copies) = (json!(["redrives", null, null]), json!(["copies", null, null]));
    let late = json!(["follower", "late", "ndjson"]);
    let before = places(&rig).await;
    assert_eq!(before, [late.clone(), redrives.clone(), copies.clone()], "lines has carried nothing yet");
    let sink = testkit::RecordingSink::new();
    let policy = order_core::follow::FollowerPolicy::default();
    let follower = order_core::follow::Follower::new(Arc::clone(&rig.app), "lines", sink, policy);
    follower.step().await.unwrap();
    let lines = json!(["follower", "lines", "ndjson"]);
    assert_eq!(places(&rig).await, [late, lines, redrives, copies]);
}
