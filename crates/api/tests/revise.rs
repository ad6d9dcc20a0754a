//! `PATCH /v1/orders/{order_id}`: merge patches, and on which versions they are made.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::Fault;
use order_core::command::Command;
use rig::{Rig, Said};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use testkit::Wrapped;

const MERGE_PATCH: &str = "application/merge-patch+json";

fn documented() -> Value {
    json!({
        "reference": "A-1001", "customer": "c-42", "currency": "EUR",
        "lines": [{"sku": "tea", "quantity": 2, "unit_price": "9.95", "name": "Green tea"}],
        "total": "19.90", "attributes": {"gift": true, "note": {"to": "Ada", "from": "Bob"}}
    })
}

async fn send(rig: &Rig, order: &Value, query: &str, if_match: &str, patch: &Value) -> Said {
    rig.clock.tick();
    let path = format!("/v1/orders/{}{query}", order["order_id"].as_str().unwrap());
    let headers = [("content-type", MERGE_PATCH), ("if-match", if_match)];
    rig.ask("PATCH", &path, &headers, &patch.to_string()).await
}

/// Patches the newest version, which must be possible.
async fn patched(rig: &Rig, order: &Value, patch: Value) -> Value {
    let said = send(rig, order, "", "*", &patch).await;
    assert_eq!(said.status, 200, "{patch}: {}", said.text);
    said.json()
}

async fn events(rig: &Rig, order: &Value) -> Vec<Value> {
    let id = order["order_id"].as_str().unwrap();
    rig.get(&format!("/v1/orders/{id}/events")).await.json()["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_patch_replaces_merges_and_removes() {
    let rig = Rig::new();
    let order = rig.order(&documented().to_string()).await;
    let patch = json!({
        "customer": null, "currency": "USD",
        "attributes": {"gift": null, "note": {"from": null, "on": "card"}, "rush": [1, null]}
    });
    let said = send(&rig, &order, "", "\"1\"", &patch).await;
    assert_eq!((said.status, said.header("etag")), (200, Some("\"2\"")), "{}", said.text);
    let revised = said.json();
    let content =
        json!([revised["customer"], revised["currency"], revised["attributes"], revised["version"]]);
    assert_eq!(content, json!([null, "USD", {"note": {"to": "Ada", "on": "card"}, "rush": [1, null]}, 2]));
    assert_eq!((&revised["lines"], &revised["total"]), (&order["lines"], &order["total"]), "the rest stays");
    assert_eq!(revised["reference"], "A-1001");
    let events = events(&rig, &order).await;
    assert_eq!((events.len(), &events[1]["type"]), (2, &json!("order.revised")));
    let changed = &events[1]["data"]["changed"];
    let pointers =
        ["/customer", "/currency", "/attributes/gift", "/attributes/note/from", "/attributes/note/on"];
    assert_eq!(*changed, json!([&pointers[..], &["/attributes/rush"]].concat()));
    assert_eq!(events[1]["data"]["currency"], "USD");
    assert_eq!(
        events[1]["data"].get("actions"),
        None,
        "the journal says what happened, not what may be done"
    );
}

#[tokio::test]
async fn totals_follow_from_the_lines_or_agree_with_them() {
    let rig = Rig::new();
    let order = rig.order(&documented().to_string()).await;
    let line = |quantity: u32| json!({"sku": "tea", "quantity": quantity, "unit_price": "9.95"});
    assert_eq!(patched(&rig, &order, json!({"lines": [line(3)]})).await["total"], "29.85");
    let both = json!({"lines": [line(1), line(1)], "total": 19.9});
    assert_eq!(patched(&rig, &order, both).await["total"], "19.9");
    assert_eq!(patched(&rig, &order, json!({"total": null})).await["total"], "19.9", "equal by value");
    assert_eq!(patched(&rig, &order, json!({"lines": []})).await["total"], "19.9", "stays without lines");
    assert_eq!(patched(&rig, &order, json!({"total": "5.00"})).await["total"], "5.00");
    assert_eq!(patched(&rig, &order, json!({"lines": [line(1)], "total": null})).await["total"], "9.95");
    let version = patched(&rig, &order, json!({"lines": null, "total": 7})).await["version"].clone();
    for (patch, error) in [
        (json!({"lines": [line(1)], "total": "9.94"}), "/total disagrees"),
        (json!({"total": null}), "/total missing"),
        (json!({"total": "-1"}), "/total negative"),
        (json!({"lines": [{"sku": "tea", "quantity": 0, "unit_price": 1}]}), "/lines/0/quantity range"),
        (json!({"lines": [{"quantity": 1, "unit_price": 1}]}), "/lines/0/sku missing"),
        (json!({"currency": "eur"}), "/currency form"),
        (json!({"customer": ""}), "/customer empty"),
    ] {
        let said = send(&rig, &order, "", "*", &patch).await;
        assert_eq!((said.status, said.problem().as_str()), (422, "value-refused"), "{patch}");
        assert_eq!(said.errors(), [error], "{patch}");
    }
    patched(&rig, &order, json!({"lines": [line(1)]})).await;
    let said = send(&rig, &order, "", "*", &json!({"total": "1"})).await;
    assert_eq!(
        (said.status, said.errors()),
        (422, vec!["/total disagrees".to_owned()]),
        "with the lines there"
    );
    assert_eq!(
        events(&rig, &order).await.len() as u64,
        version.as_u64().unwrap() + 1,
        "nothing else was written"
    );
}

#[tokio::test]
async fn what_is_no_patch_is_refused() {
    let rig = Rig::new();
    let order = rig.order(&documented().to_string()).await;
    for (patch, error) in [
        (json!([]), " wrong-type"),
        (json!("x"), " wrong-type"),
        (json!({"reference": "B"}), "/reference unknown-field"),
        (json!({"version": 3}), "/version unknown-field"),
        (
            json!({"lines": [{"sku": "a", "quantity": 1, "unit_price": 1, "amount": 1}]}),
            "/lines/0/amount unknown-field",
        ),
        (json!({"lines": {}}), "/lines wrong-type"),
        (json!({"attributes": []}), "/attributes wrong-type"),
        (json!({"customer": 7}), "/customer wrong-type"),
    ] {
        let said = send(&rig, &order, "", "*", &patch).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "invalid-body"), "{patch}");
        assert_eq!(said.errors(), [error], "{patch}");
    }
    let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    for kind in ["application/json-patch+json", "text/plain", "application/merge-patch+json; charset=latin1"]
    {
        let said = rig.ask("PATCH", &path, &[("content-type", kind), ("if-match", "*")], "{}").await;
        assert_eq!((said.status, said.problem().as_str()), (415, "media-type-unsupported"), "{kind}");
        assert_eq!(said.header("accept-patch"), Some("application/merge-patch+json, application/json"));
    }
    let plain = [("content-type", "application/json"), ("if-match", "*"), ("idempotency-key", "any key")];
    let said = rig.ask("PATCH", &path, &plain, r#"{"customer": "c-43"}"#).await;
    assert_eq!((said.status, &said.json()["version"]), (200, &json!(2)), "plain JSON is read so too");
    let said = send(&rig, &order, "?requeue=yes", "*", &json!({})).await;
    assert_eq!((said.status, said.problem().as_str()), (400, "invalid-parameter"));
    assert_eq!(
        rig.ask("PATCH", &path, &plain, "{\"customer\": \"\\u0000\"}").await.problem(),
        "invalid-json"
    );
    let said = rig.ask("PATCH", "/v1/orders/00000000-0000-4000-8000-000000000000", &plain, "{}").await;
    assert_eq!((said.status, said.problem().as_str()), (404, "order-unknown"));
    assert_eq!(rig.ask("PUT", &path, &plain, "{}").await.header("allow"), Some("GET,HEAD,PATCH"));
}

#[tokio::test]
async fn attributes_do_not_grow_without_bound() {
    let rig = Rig::new();
    let order = rig.order(r#"{"total": 1}"#).await;
    let text = "x".repeat(200_000);
    patched(&rig, &order, json!({"attributes": {"a": text}})).await;
    let said = send(&rig, &order, "", "*", &json!({"attributes": {"b": text}})).await;
    assert_eq!((said.status, said.errors()), (422, vec!["/attributes too-large".to_owned()]));
    patched(&rig, &order, json!({"attributes": {"a": null, "b": text}})).await;
}

#[tokio::test]
async fn only_the_version_that_was_looked_at_is_changed() {
    let rig = Rig::new();
    let order = rig.order(&documented().to_string()).await;
    let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let json = ("content-type", "application/json");
    let said = rig.ask("PATCH", &path, &[json], r#"{"customer": "x"}"#).await;
    assert_eq!((said.status, said.problem().as_str()), (428, "precondition-required"));
    patched(&rig, &order, json!({"customer": "c-43"})).await;
    for stale in ["\"1\"", "\"3\"", "W/\"2\"", "\"02\"", "\"x\"", "\"1\", W/\"2\""] {
        let said = send(&rig, &order, "", stale, &json!({"customer": "c-44"})).await;
        assert_eq!((said.status, said.problem().as_str()), (412, "version-mismatch"), "{stale}");
        assert_eq!((said.header("etag"), &said.json()["version"]), (Some("\"2\""), &json!(2)), "{stale}");
    }
    for bad in ["2", "\"2", "*, \"2\"", "", "\"2\" \"3\""] {
        let said = send(&rig, &order, "", bad, &json!({"customer": "c-44"})).await;
        assert_eq!((said.status, said.errors()), (400, vec!["/If-Match form".to_owned()]), "{bad}");
    }
    let said = send(&rig, &order, "", "\"7\", \"2\"", &json!({"customer": "c-44"})).await;
    assert_eq!((said.status, said.header("etag")), (200, Some("\"3\"")), "one of them is enough");
    let both = [json, ("if-match", "\"1\""), ("if-match", "\"3\"")];
    assert_eq!(
        rig.ask("PATCH", &path, &both, r#"{"customer": "c-45"}"#).await.status,
        200,
        "two fields are one list"
    );
    assert_eq!(rig.get(&path).await.json()["customer"], "c-45");
}

#[tokio::test]
async fn content_that_is_equal_by_value_changes_nothing() {
    let rig = Rig::new();
    let order = rig.order(&documented().to_string()).await;
    for patch in [
        json!({}),
        json!({"total": 19.9}),
        json!({"lines": [{"sku": "tea", "quantity": 2, "unit_price": 9.950, "name": "Green tea"}]}),
        json!({"attributes": {"gift": true, "absent": null}}),
    ] {
        let said = send(&rig, &order, "?requeue=true", "\"1\"", &patch).await;
        assert_eq!((said.status, said.header("etag")), (200, Some("\"1\"")), "{patch}");
        assert_eq!(said.json(), order, "{patch}");
    }
    assert_eq!(events(&rig, &order).await.len(), 1);
}

#[tokio::test]
async fn what_the_table_forbids_is_refused_with_the_states() {
    let rig = Rig::new();
    let order = rig.order(&documented().to_string()).await;
    let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    rig.post(&format!("{path}/shipments"), "").await;
    assert_eq!(rig.post(&format!("{path}/shipments"), "{}").await.status, 200);
    let said = send(&rig, &order, "", "*", &json!({"customer": "x"})).await;
    assert_eq!((said.status, said.problem().as_str()), (409, "illegal-change"));
    let problem = said.json();
    let named =
        json!([problem["change"], problem["processing"], problem["fulfilment"], problem["withdrawn"]]);
    assert_eq!(named, json!(["revise", "queued", "shipped", false]));
    assert_eq!(problem["detail"], "revise is not allowed: the order is queued, shipped");
}

#[tokio::test]
async fn work_that_is_open_starts_anew_and_what_is_done_only_when_asked() {
    let rig = Rig::new();
    let order = rig.order(r#"{"total": 1}"#).await;
    rig.work(&[(&order, "no")]).await;
    let parked = patched(&rig, &order, json!({"total": 2})).await;
    assert_eq!((&parked["processing"], &parked["last_error"]), (&json!("parked"), &json!("no")));
    let said = send(&rig, &order, "?requeue=true", "*", &json!({"total": 3})).await.json();
    assert_eq!((&said["processing"], &said["attempt"]), (&json!("queued"), &json!(0)));
    assert_eq!(events(&rig, &order).await.last().unwrap()["data"]["requeued"], true);
    rig.work(&[]).await;
    let done = patched(&rig, &order, json!({"total": 4})).await;
    assert_eq!(done["processing"], "done");
    assert!(done["processed_at"].is_string());
    assert_eq!(events(&rig, &order).await.last().unwrap()["data"]["requeued"], false);
    let again = send(&rig, &order, "?requeue=true", "*", &json!({"total": 5})).await.json();
    assert_eq!((&again["processing"], &again["processed_at"]), (&json!("queued"), &Value::Null));
    let open = patched(&rig, &order, json!({"total": 6})).await;
    assert_eq!(open["processing"], "queued");
    assert_eq!(events(&rig, &order).await.last().unwrap()["data"]["requeued"], true, "open work starts anew");
}

/// Others change the order between the look at it and the commit: the patch is made on what it is then.
#[tokio::test]
async fn a_patch_of_any_version_is_made_on_the_newest() {
    let stale = |times: u32| {
        let left = AtomicU32::new(times);
        move |command: Command| match command {
            Command::Change(mut change) => {
                let again = |left: u32| left.checked_sub(1);
                if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, again).is_ok() {
                    change.expected_version = Some(99);
                }
                Command::Change(change)
            }
            other => other,
        }
    };
    let rig = Rig::behind(|storage| Wrapped::rewriting(storage, Box::new(stale(3))));
    let order = rig.order(r#"{"total": 1}"#).await;
    assert_eq!(patched(&rig, &order, json!({"customer": "a"})).await["version"], 2);
    let rig = Rig::behind(|storage| Wrapped::rewriting(storage, Box::new(stale(1_000))));
    let order = rig.order(r#"{"total": 1}"#).await;
    let said = send(&rig, &order, "", "*", &json!({"customer": "a"})).await;
    assert_eq!((said.status, said.problem().as_str()), (503, "unavailable"), "not for ever");
    assert!(said.header("retry-after").is_some_and(|seconds| ["1", "2", "3", "4"].contains(&seconds)));
    rig.storage.down(Some(Fault::internal("gone")));
    assert_eq!(send(&rig, &order, "", "*", &json!({})).await.status, 500);
}
