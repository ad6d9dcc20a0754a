//! Lists, the feed, and their cursors.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::{Shard, TenantId};
use rig::Rig;
use serde_json::{Value, json};
use testkit::MemoryStorage;

fn references(page: &Value) -> Vec<&str> {
    page["orders"].as_array().unwrap().iter().map(|order| order["reference"].as_str().unwrap()).collect()
}

async fn five(rig: &Rig) -> Vec<Value> {
    let mut orders = Vec::new();
    for index in 0..5 {
        let source = if index % 2 == 0 { "api" } else { "shop" };
        let body = json!({"reference": format!("r{index}"), "source": source, "customer": format!("c{}", index / 2), "total": "1"});
        orders.push(rig.order(&body.to_string()).await);
    }
    orders
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let rig = Rig::new();
    five(&rig).await;
    let (mut seen, mut path) = (Vec::new(), "/v1/orders?limit=2".to_owned());
    loop {
        let page = rig.get(&path).await.json();
        assert!(page.as_object().unwrap().keys().eq(["orders", "next"]));
        seen.extend(references(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/orders?limit=2&after={next}");
    }
    assert_eq!(seen, ["r4", "r3", "r2", "r1", "r0"]);
}

#[tokio::test]
async fn lists_are_filtered() {
    let rig = Rig::new();
    let orders = five(&rig).await;
    rig.work(&[(&orders[1], "no such warehouse")]).await;
    let late = rig.order(r#"{"reference": "late", "total": 1}"#).await;
    assert_eq!(late["processing"], "queued");
    for (query, expected) in [
        ("source=shop", &["r3", "r1"][..]),
        ("processing=queued", &["late"]),
        ("processing=done&source=api", &["r4", "r2", "r0"]),
        ("processing=parked", &["r1"]),
        ("customer=c1", &["r3", "r2"]),
        ("withdrawn=true", &[]),
        ("withdrawn=false&fulfilment=unshipped&limit=200", &["late", "r4", "r3", "r2", "r1", "r0"]),
        ("reference=r2", &["r2"]),
        ("reference=r2&source=shop", &[]),
        ("reference=r3&source=shop", &["r3"]),
        ("reference=r3&source=shop&customer=c9", &[]),
    ] {
        let said = rig.get(&format!("/v1/orders?{query}")).await;
        assert_eq!(references(&said.json()), expected, "{query}");
    }
    let parked = rig.get("/v1/parked?source=shop&customer=c0").await.json();
    assert_eq!(references(&parked), ["r1"]);
    assert_eq!(parked["orders"][0]["last_error"], "no such warehouse");
    assert_eq!(references(&rig.get("/v1/parked?source=api").await.json()), Vec::<&str>::new());
}

#[tokio::test]
async fn parameters_are_strict() {
    let rig = Rig::new();
    for (path, errors) in [
        ("/v1/orders?limit=0", &["/limit form"][..]),
        ("/v1/orders?limit=201&x=1", &["/x unknown-parameter", "/limit form"]),
        ("/v1/orders?customer=%ff", &["/customer encoding"]),
        ("/v1/orders?customer=a%C3", &["/customer encoding"]),
        ("/v1/orders?limit=1&limit=2", &["/limit given-twice"]),
        (
            "/v1/orders?processing=asleep&withdrawn=maybe&fulfilment=lost",
            &["/processing form", "/fulfilment form", "/withdrawn form"],
        ),
        ("/v1/orders?reference=&customer=", &["/reference form", "/customer form"]),
        ("/v1/orders?source=A", &["/source form"]),
        ("/v1/parked?processing=done", &["/processing unknown-parameter"]),
        ("/v1/events?limit=1001", &["/limit form"]),
        ("/v1/events?limit=-1", &["/limit form"]),
        ("/v1/events?last=0", &["/last form"]),
        ("/v1/events?last=201", &["/last form"]),
        ("/v1/events?last=1&limit=1", &["/last contradicts"]),
        ("/v1/events?last=1&after=x", &["/last contradicts"]),
        ("/v1/followers?x", &["/x unknown-parameter"]),
        ("/readyz?wordy", &["/wordy unknown-parameter"]),
    ] {
        let said = rig.get(path).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "invalid-parameter"), "{path}");
        assert_eq!(said.errors(), errors, "{path}");
    }
}

#[tokio::test]
async fn cursors_are_good_for_what_they_were_made_for() {
    let rig = Rig::new();
    five(&rig).await;
    let list = rig.get("/v1/orders?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    let feed = rig.get("/v1/events?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    let mut tampered = feed.clone().into_bytes();
    tampered[3] = if tampered[3] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();
    for path in [
        format!("/v1/orders?after={feed}"),
        format!("/v1/events?after={list}"),
        format!("/v1/events?after={tampered}"),
        format!("/v1/events?after={feed}AA"),
        "/v1/events?after=".to_owned(),
        "/v1/orders?after=17".to_owned(),
        "/v1/parked?after=17".to_owned(),
        "/v1/redrives/230e0945-205f-8eaa-8fef-55ebf134b616/items?after=17".to_owned(),
    ] {
        let said = rig.get(&path).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "cursor-invalid"), "{path}");
        assert_eq!(said.errors(), ["/after cursor-invalid"], "{path}");
        assert_eq!(said.json()["errors"][0]["parameter"], "after", "{path}");
    }
    let other = Rig::with(|_| {}, TenantId::new("other").unwrap());
    assert_eq!(other.get(&format!("/v1/events?after={feed}")).await.problem(), "cursor-invalid");
    let behind = Rig::new().get(&format!("/v1/events?after={feed}")).await;
    assert_eq!(behind.problem(), "cursor-invalid", "the journal has not reached this place");
    assert_eq!(behind.errors(), ["/after cursor-invalid"]);
}

/// Asks the feed and a follower to go on from `cursor`, which must be gone; `kind` says why.
async fn gone(rig: &Rig, cursor: &str, kind: &str) {
    let feed = rig.get(&format!("/v1/events?after={cursor}")).await;
    assert_eq!((feed.status, feed.problem().as_str()), (410, kind));
    assert_eq!(feed.errors(), [format!("/after {kind}")]);
    assert_eq!(feed.json()["errors"][0]["parameter"], "after");
    rig.app.ensure_follower("ndjson", "file", true).await.unwrap();
    let replay = rig.post("/v1/followers/ndjson/replay", &json!({ "from": cursor }).to_string()).await;
    assert_eq!((replay.status, replay.problem().as_str()), (410, kind));
    assert_eq!(replay.errors(), [format!("/from {kind}")]);
    assert_eq!(rig.get("/v1/followers/ndjson").await.json()["lag"], 0, "it stays where it is");
}

#[tokio::test]
async fn a_cursor_of_an_earlier_history_is_gone() {
    let before = Rig::new();
    five(&before).await;
    let old = before.get("/v1/events?limit=3").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(before.get(&format!("/v1/events?after={old}")).await.status, 200);
    let rig = Rig::over(before.storage.restored());
    gone(&rig, &old, "epoch-changed").await;
    let page = rig.get("/v1/events?limit=3").await.json();
    assert_eq!(page["events"].as_array().unwrap().len(), 3, "whoever begins anew reads on");
    let new = page["next"].as_str().unwrap();
    assert_eq!(
        rig.get(&format!("/v1/events?after={new}")).await.json()["events"].as_array().unwrap().len(),
        2
    );
    let said = before.get(&format!("/v1/events?after={new}")).await;
    assert_eq!((said.status, said.problem().as_str()), (400, "cursor-invalid"), "no epoch comes back");
}

#[tokio::test]
async fn a_cursor_below_what_is_kept_is_gone() {
    let rig = Rig::over(MemoryStorage::with(1, 1));
    five(&rig).await;
    let mut at = Vec::new();
    for position in 1..=5 {
        let page = rig.get(&format!("/v1/events?limit={position}")).await.json();
        at.push(page["next"].as_str().unwrap().to_owned());
    }
    let of_first = rig.get("/v1/events?limit=1").await.json()["events"][0]["order_id"].clone();
    let history = format!("/v1/orders/{}/events", of_first.as_str().unwrap());
    assert_eq!(rig.get(&history).await.json()["truncated"], false);
    rig.storage.raise_floor(Shard(0), 3);
    let kept = rig.get(&history).await.json();
    assert_eq!(kept, json!({ "events": [], "next": null, "truncated": true }), "and the order is there");
    for lost in &at[..2] {
        gone(&rig, lost, "cursor-expired").await;
    }
    for path in [format!("/v1/events?after={}", at[2]), "/v1/events".to_owned()] {
        let page = rig.get(&path).await.json();
        let positions: Vec<_> =
            page["events"].as_array().unwrap().iter().map(|event| &event["position"]).collect();
        assert_eq!(positions, [4, 5], "{path}: what is kept can be read from its beginning");
    }
}

#[tokio::test]
async fn the_newest_events_are_those_of_the_end_and_the_feed_goes_on_behind_them() {
    let rig = Rig::new();
    five(&rig).await;
    let ids = |page: &Value| -> Vec<Value> {
        page["events"].as_array().unwrap().iter().map(|event| event["event_id"].clone()).collect()
    };
    let all = ids(&rig.get("/v1/events").await.json());
    for last in [1, 2, 3, 5, 200] {
        let page = rig.get(&format!("/v1/events?last={last}")).await.json();
        assert_eq!(ids(&page), all[all.len().saturating_sub(last)..], "{last}");
        let behind = page["next"].as_str().unwrap();
        assert_eq!(ids(&rig.get(&format!("/v1/events?after={behind}")).await.json()), Vec::<Value>::new());
    }
    // Those of others are looked past.
    for number in 0..40 {
        let foreign = testkit::build::intake(&format!("f-{number}")).tenant("other").build();
        rig.app.accept(foreign).await.unwrap();
    }
    assert_eq!(ids(&rig.get("/v1/events?last=2").await.json()), all[all.len() - 2..]);
    let none = Rig::new().get("/v1/events?last=2").await.json();
    assert_eq!(none["events"], json!([]));
}

#[tokio::test]
async fn the_feed_tells_everything_in_order() {
    let rig = Rig::new();
    let orders = five(&rig).await;
    rig.work(&[(&orders[1], "no")]).await;
    let foreign = testkit::build::intake("foreign").tenant("other").build();
    rig.app.accept(foreign).await.unwrap();
    let (mut events, mut path) = (Vec::new(), "/v1/events?limit=3".to_owned());
    let mut last = None;
    loop {
        let page = rig.get(&path).await.json();
        let next = page["next"].as_str().unwrap().to_owned();
        events.extend(page["events"].as_array().unwrap().clone());
        if last.as_ref() == Some(&next) {
            break;
        }
        path = format!("/v1/events?limit=3&after={next}");
        last = Some(next);
    }
    assert_eq!(events.len(), 10, "{events:?}");
    for order in &orders {
        let of_one: Vec<_> =
            events.iter().filter(|event| event["order_id"] == order["order_id"]).cloned().collect();
        let versions: Vec<_> = of_one.iter().map(|event| event["version"].as_u64().unwrap()).collect();
        assert_eq!(versions, [1, 2]);
        let keys: Vec<_> = of_one[0].as_object().unwrap().keys().cloned().collect();
        let expected = [
            "event_id",
            "order_id",
            "version",
            "shard",
            "position",
            "type",
            "occurred_at",
            "epoch",
            "data_version",
            "data",
        ];
        assert_eq!(keys, expected);
        let id = order["order_id"].as_str().unwrap();
        let history = rig.get(&format!("/v1/orders/{id}/events")).await.json();
        assert_eq!(history, json!({ "events": of_one, "next": null, "truncated": false }));
    }
    let more = rig.order(r#"{"total": 1}"#).await;
    let page = rig.get(&path).await.json();
    assert_eq!(
        (page["events"].as_array().unwrap().len(), &page["events"][0]["order_id"]),
        (1, &more["order_id"])
    );
    assert_eq!(page["events"][0]["data"]["total"], "1");
}
