//! `/v1/endpoints` and `/v1/deliveries`: made, changed, tried out; what became of deliveries, and having them made again.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::TenantId;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::sealing::Keyring;
use order_core::webhook::courier::{Courier, CourierPolicy};
use order_core::webhook::endpoint::Dialect;
use order_core::webhook::fan_out::FanOut;
use order_core::webhook::registering::RegisteredEndpoint;
use order_core::webhook::{FOLLOWER, Listens};
use rig::{Rig, Said};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::ScriptedReceiver;

const NEW: &str = r#"{"url": "https://shop.example/hooks", "events": ["order.accepted", "order.processed"]}"#;

fn with_key() -> Rig {
    let rig = Rig::new();
    let key = Keyring::fresh_key(rig.app.ids.as_ref());
    rig.app.hold_keys(Arc::new(Keyring::parse(&key).unwrap()));
    rig
}

async fn made(rig: &Rig, body: &str) -> Value {
    let said = rig.post("/v1/endpoints", body).await;
    assert_eq!(said.status, 201, "{}", said.text);
    said.json()
}

fn at(endpoint: &Value) -> String {
    format!("/v1/endpoints/{}", endpoint["endpoint_id"].as_str().unwrap())
}

async fn patch(rig: &Rig, endpoint: &Value, body: &str) -> Said {
    rig.ask("PATCH", &at(endpoint), &[("content-type", "application/json")], body).await
}

/// Fans out, and sends what is due once.
async fn carry(rig: &Rig, receiver: &Arc<ScriptedReceiver>) {
    let sink = Arc::new(FanOut::new(Arc::clone(&rig.app)));
    let follower = Follower::new(Arc::clone(&rig.app), FOLLOWER, sink, FollowerPolicy::default());
    while follower.step().await.unwrap() != Progress::UpToDate {}
    let to = Arc::<ScriptedReceiver>::clone(receiver);
    Courier::new(
        Arc::clone(&rig.app),
        to,
        CourierPolicy { unproven_in_flight_max: 16, ..CourierPolicy::default() },
    )
    .step()
    .await
    .unwrap();
}

#[tokio::test]
async fn an_endpoint_is_made_changed_and_deleted_and_its_secret_is_shown_once() {
    let rig = with_key();
    let said = rig.post("/v1/endpoints", NEW).await;
    let made = said.json();
    assert_eq!(said.header("location"), Some(at(&made).as_str()));
    assert_eq!(said.header("cache-control"), Some("no-store"));
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    let mut kept = made.clone();
    kept.as_object_mut().unwrap().remove("secret");
    assert_eq!(rig.get(&at(&made)).await.json(), kept);
    assert_eq!(rig.get("/v1/endpoints").await.json(), json!({ "endpoints": [kept], "next": null }));
    let changed = patch(&rig, &made, r#"{"events": ["*"], "rate": 9}"#).await.json();
    assert_eq!(
        json!([changed["url"], changed["events"], changed["rate"]]),
        json!([made["url"], ["*"], 9]),
        "what is left out stays"
    );
    assert_eq!(patch(&rig, &made, r#"{"rate": null}"#).await.json()["rate"], Value::Null);
    for (verb, state, why) in [
        ("pause", "paused", Value::Null),
        ("disable", "disabled", json!("asked")),
        ("enable", "active", Value::Null),
    ] {
        let said = rig.post(&format!("{}/{verb}", at(&made)), "").await;
        let endpoint = said.json();
        assert_eq!(
            json!([said.status, endpoint["state"], endpoint["disabled_for"]]),
            json!([200, state, why])
        );
    }
    let rotated = rig.post(&format!("{}/rotate", at(&made)), r#"{"grace_seconds": 60}"#).await.json();
    assert_ne!(rotated["secret"], made["secret"]);
    assert!(rotated["previous_secret_until"].is_string());
    rig.clock.advance(Duration::from_secs(61));
    assert_eq!(rig.get(&at(&made)).await.json()["previous_secret_until"], Value::Null);
    let tried = rig.post(&format!("{}/test", at(&made)), "").await.json();
    assert_eq!(json!([tried["taken"], tried["status"], tried["answer"]]), json!([true, 200, "so it is"]));
    assert_eq!(rig.delete(&at(&made)).await.json()["state"], "disabled");
    for said in [rig.get(&at(&made)).await, rig.delete(&at(&made)).await] {
        assert_eq!((said.status, said.problem().as_str()), (404, "endpoint-unknown"));
    }
    assert_eq!(rig.get("/v1/endpoints").await.json()["endpoints"], json!([]));
}

#[tokio::test]
async fn what_no_endpoint_can_be_made_of_is_told() {
    let rig = with_key();
    for (body, expected) in [
        ("{}", (422, vec!["/url missing", "/events missing"])),
        (r#"{"url": 5, "events": "x"}"#, (400, vec!["/url wrong-type", "/events wrong-type"])),
        (r#"{"url": "ftp://x", "events": []}"#, (422, vec!["/url https-only", "/events empty"])),
        (
            r#"{"url": "https://x", "events": ["order.accepted", "order.eaten"]}"#,
            (422, vec!["/events/1 unknown"]),
        ),
        (r#"{"url": "https://x", "events": ["*", 7]}"#, (400, vec!["/events/1 wrong-type"])),
        (r#"{"url": "https://x", "events": ["*"], "rate": 0}"#, (422, vec!["/rate range"])),
        (r#"{"url": "https://x", "events": ["*"], "secret": "mine"}"#, (400, vec!["/secret unknown-field"])),
    ] {
        let said = rig.post("/v1/endpoints", body).await;
        let errors = said.errors();
        let errors = errors.iter().map(String::as_str).collect();
        assert_eq!((said.status, errors), expected, "{body}");
    }
    let many = json!({ "url": "https://x", "events": vec!["*"; 51] }).to_string();
    assert_eq!(rig.post("/v1/endpoints", &many).await.errors(), ["/events too-many"]);
    let made = made(&rig, NEW).await;
    assert_eq!(patch(&rig, &made, r#"{"url": "gopher://x"}"#).await.errors(), ["/url https-only"]);
    let rotated = rig.post(&format!("{}/rotate", at(&made)), r#"{"grace_seconds": 86401}"#).await;
    assert_eq!(rotated.errors(), ["/grace_seconds range"]);
    assert_eq!(rig.get("/v1/endpoints/x").await.problem(), "invalid-parameter");
    let keyless = Rig::new();
    assert_eq!(keyless.post("/v1/endpoints", NEW).await.problem(), "secrets-key-missing");
}

#[tokio::test]
async fn endpoints_are_paged_the_newest_first_and_there_is_an_end_to_them() {
    let rig = with_key();
    for number in 0..5 {
        made(&rig, &NEW.replace("hooks", &number.to_string())).await;
    }
    let (mut urls, mut path) = (Vec::new(), "/v1/endpoints?limit=2".to_owned());
    loop {
        let page = rig.get(&path).await.json();
        let of_page = page["endpoints"].as_array().unwrap().iter();
        urls.extend(of_page.map(|endpoint| endpoint["url"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/endpoints?limit=2&after={next}");
    }
    assert_eq!(urls, [4, 3, 2, 1, 0].map(|number| format!("https://shop.example/{number}")));
    assert_eq!(rig.get("/v1/endpoints?after=x").await.problem(), "cursor-invalid");
    for _ in 5..order_core::webhook::endpoint::ENDPOINTS_MAX {
        made(&rig, NEW).await;
    }
    let said = rig.post("/v1/endpoints", NEW).await;
    assert_eq!((said.status, said.problem().as_str()), (409, "endpoints-too-many"));
}

/// States of the deliveries on a page, with the versions that they are of.
async fn listed(rig: &Rig, query: &str) -> Vec<(String, u64)> {
    let said = rig.get(&format!("/v1/deliveries?{query}")).await;
    assert_eq!(said.status, 200, "{}", said.text);
    let page = said.json();
    let of = |one: &Value| (one["state"].as_str().unwrap().to_owned(), one["version"].as_u64().unwrap());
    page["deliveries"].as_array().unwrap().iter().map(of).collect()
}

/// The tries that follow the first, each as late as it may be.
async fn all_tries(rig: &Rig, receiver: &Arc<ScriptedReceiver>) {
    for seconds in [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400] {
        rig.clock.advance(Duration::from_secs(seconds * 11 / 10 + 1));
        carry(rig, receiver).await;
    }
}

#[tokio::test]
async fn a_delivery_waits_is_given_up_and_is_recovered() {
    let (rig, receiver) = (with_key(), ScriptedReceiver::new());
    let endpoint = made(&rig, NEW).await;
    let endpoint_id = endpoint["endpoint_id"].as_str().unwrap();
    let order = rig.order(r#"{"reference": "a", "total": "1"}"#).await;
    let order_id = order["order_id"].as_str().unwrap();
    rig.work(&[]).await;
    let since = rig.app.clock.now().to_string();
    let path = format!("/v1/deliveries/{endpoint_id}.{order_id}.1");
    assert_eq!(rig.get(&path).await.problem(), "delivery-unknown", "it was not raised yet");
    receiver.always(500);
    carry(&rig, &receiver).await;
    assert_eq!(listed(&rig, "state=waiting").await, [("waiting".to_owned(), 1)]);
    let waiting = rig.get(&path).await.json();
    assert_eq!(json!([waiting["attempt"], waiting["behind"]]), json!([1, 1]), "{waiting}");
    let first = &waiting["attempts"][0];
    assert_eq!(
        json!([first["outcome"], first["status"], first["answer"]]),
        json!(["retry", 500, "so it is"])
    );
    assert_eq!(waiting["due_at"], first["retry_at"]);
    let events = rig.get(&format!("/v1/orders/{order_id}/events")).await.json();
    let event = &events["events"][0];
    let (event_id, began) = (event["event_id"].as_str().unwrap(), first["at"].as_str().unwrap());
    let seconds = (order_core::Timestamp::parse(began).unwrap().micros() / 1_000_000).to_string();
    let headers = json!({ "webhook-id": event_id, "webhook-timestamp": seconds });
    let request = json!({ "method": "POST", "url": "https://shop.example/hooks", "headers": headers });
    assert_eq!(first["request"], request);
    let body: Value = serde_json::from_str(waiting["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, *event, "what is sent is the event");
    let list = rig.get("/v1/deliveries?state=waiting").await.json();
    for shown in [&waiting, &list["deliveries"][0]] {
        assert_eq!(
            json!([shown["type"], shown["event_id"], shown["status"], shown["error"], shown["attempt"]]),
            json!(["order.accepted", event_id, 500, "the receiver answered 500", 1]),
            "{shown}"
        );
    }
    let behind = rig.get(&path.replace(&format!("{order_id}.1"), &format!("{order_id}.2"))).await.json();
    assert_eq!(json!([behind["state"], behind["attempt"], behind["status"]]), json!(["waiting", 0, null]));
    all_tries(&rig, &receiver).await;
    assert_eq!(listed(&rig, "state=failed").await, [("failed".to_owned(), 1)]);
    let given_up = rig.get(&path).await.json();
    assert_eq!(
        json!([given_up["state"], given_up["attempt"], given_up["due_at"]]),
        json!(["failed", 10, null])
    );
    assert!(rig.get(&at(&endpoint)).await.json()["failing_since"].is_string());
    receiver.always(200);
    let recovery =
        |dry_run: bool| json!({ "endpoint_id": endpoint_id, "since": since, "dry_run": dry_run }).to_string();
    for (dry_run, count) in [(true, 1), (true, 1), (false, 1), (true, 0), (false, 0)] {
        let said = rig.post("/v1/deliveries/recover", &recovery(dry_run)).await;
        assert_eq!((said.status, said.json()), (200, json!({ "dry_run": dry_run, "count": count })));
    }
    while !listed(&rig, "state=waiting").await.is_empty() {
        carry(&rig, &receiver).await;
    }
    let all = listed(&rig, &format!("endpoint_id={endpoint_id}")).await;
    assert_eq!(all.iter().filter(|(state, _)| state == "delivered").count(), 2, "{all:?}");
    assert_eq!(listed(&rig, &format!("state=delivered&order_id={order_id}")).await.len(), 2);
    assert_eq!(rig.post("/v1/deliveries/recover", &recovery(true)).await.json()["count"], 0);
    assert_eq!(rig.get(&path).await.json()["attempts"].as_array().unwrap().len(), 11);
}

#[tokio::test]
async fn deliveries_are_paged_and_made_once_more() {
    let (rig, receiver) = (with_key(), ScriptedReceiver::new());
    let endpoint = made(&rig, NEW).await;
    let endpoint_id = endpoint["endpoint_id"].as_str().unwrap();
    for number in 0..5 {
        rig.order(&json!({ "reference": format!("r-{number}"), "total": "1" }).to_string()).await;
    }
    carry(&rig, &receiver).await;
    let (mut ids, mut path) = (Vec::new(), "/v1/deliveries?limit=2".to_owned());
    loop {
        let page = rig.get(&path).await.json();
        let of_page = page["deliveries"].as_array().unwrap().iter();
        ids.extend(of_page.map(|one| one["delivery_id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/deliveries?limit=2&after={next}");
        assert_eq!(rig.get(&format!("{path}&state=failed")).await.problem(), "cursor-invalid");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    let resend = format!("/v1/deliveries/{}/resend", ids[0]);
    for queued in [true, false] {
        let said = rig.post(&resend, "").await;
        assert_eq!((said.status, said.json()["queued"].clone()), (202, json!(queued)));
    }
    receiver.got();
    carry(&rig, &receiver).await;
    assert_eq!(receiver.got().len(), 1);
    let nothing = "00000000-0000-7000-8000-000000000000";
    for unknown in [format!("{endpoint_id}.{nothing}.1"), format!("{nothing}.{nothing}.1"), "x".to_owned()] {
        let said = rig.post(&format!("/v1/deliveries/{unknown}/resend"), "").await;
        assert_eq!((said.status, said.problem().as_str()), (404, "delivery-unknown"), "{unknown}");
    }
    assert_eq!(rig.get(&format!("/v1/deliveries?endpoint_id={nothing}")).await.problem(), "endpoint-unknown");
    let wrong = rig.get("/v1/deliveries?state=lost&endpoint_id=x").await;
    assert_eq!((wrong.status, wrong.errors().len()), (400, 2), "{}", wrong.text);
}

#[tokio::test]
async fn an_erasure_is_seen_in_what_was_sent() {
    let (rig, receiver) = (with_key(), ScriptedReceiver::new());
    let endpoint = made(&rig, NEW).await;
    let order = rig.order(r#"{"reference": "a", "total": "1", "customer": "Ada Lovelace"}"#).await;
    let order_id = order["order_id"].as_str().unwrap();
    carry(&rig, &receiver).await;
    let path = format!("/v1/deliveries/{}.{order_id}.1", endpoint["endpoint_id"].as_str().unwrap());
    let sent = receiver.got().remove(0);
    let shown = rig.get(&path).await.json();
    assert_eq!(shown["body"].as_str().unwrap().as_bytes(), sent.body, "byte for byte");
    assert!(shown["body"].as_str().unwrap().contains("Ada Lovelace"));
    assert_eq!(rig.post(&format!("/v1/orders/{order_id}/erasures"), "").await.status, 200);
    let shown = rig.get(&path).await.json();
    assert_eq!(json!([shown["state"], shown["attempts"][0]["answer"]]), json!(["delivered", ""]));
    assert!(!shown["body"].as_str().unwrap().contains("Ada Lovelace"), "{shown}");
}

#[tokio::test]
async fn what_a_disabled_endpoint_is_not_sent_is_refused() {
    let (rig, receiver) = (with_key(), ScriptedReceiver::new());
    let endpoint = made(&rig, NEW).await;
    let endpoint_id = endpoint["endpoint_id"].as_str().unwrap();
    let order = rig.order(r#"{"reference": "a", "total": "1"}"#).await;
    carry(&rig, &receiver).await;
    rig.post(&format!("{}/disable", at(&endpoint)), "").await;
    let resend = format!("/v1/deliveries/{endpoint_id}.{}.1/resend", order["order_id"].as_str().unwrap());
    let since = "2000-01-01T00:00:00Z";
    let recovery =
        |dry_run| json!({ "endpoint_id": endpoint_id, "since": since, "dry_run": dry_run }).to_string();
    let replay =
        |dry_run| json!({ "endpoint_id": endpoint_id, "from": since, "dry_run": dry_run }).to_string();
    for (path, body) in [
        (resend.as_str(), String::new()),
        ("/v1/deliveries/recover", recovery(false)),
        ("/v1/deliveries/replay", replay(false)),
    ] {
        let said = rig.post(path, &body).await;
        assert_eq!((said.status, said.problem().as_str()), (409, "endpoint-disabled"), "{path}");
    }
    for (path, body) in [("/v1/deliveries/recover", recovery(true)), ("/v1/deliveries/replay", replay(true))]
    {
        assert_eq!(rig.post(path, &body).await.status, 200, "{path}: it may be counted");
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_ignored() {
    let rig = with_key();
    let endpoint = made(&rig, NEW).await;
    let nothing = "00000000-0000-7000-8000-000000000000";
    for path in ["pause", "enable", "disable", "test"]
        .map(|verb| format!("{}/{verb}", at(&endpoint)))
        .into_iter()
        .chain([format!("/v1/deliveries/{nothing}.{nothing}.1/resend"), "/v1/syncs".to_owned()])
    {
        let said = rig.post(&path, r#"{"dry_run": true}"#).await;
        assert_eq!((said.status, said.errors()), (400, vec!["/dry_run unknown-field".to_owned()]), "{path}");
    }
    assert_eq!(rig.get(&at(&endpoint)).await.json()["state"], "active");
    let null = patch(&rig, &endpoint, r#"{"url": null, "events": null}"#).await;
    assert_eq!(
        (null.status, null.errors()),
        (400, vec!["/url wrong-type".to_owned(), "/events wrong-type".to_owned()])
    );
    assert_eq!(patch(&rig, &endpoint, "{}").await.status, 200, "what is left out stays");
}

#[tokio::test]
async fn a_second_rotation_does_not_end_the_secret_of_the_first_unasked() {
    let rig = with_key();
    let rotate = format!("{}/rotate", at(&made(&rig, NEW).await));
    let first = rig.post(&rotate, "").await.json();
    let refused = rig.post(&rotate, r#"{"grace_seconds": 60}"#).await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "endpoint-grace"));
    assert_eq!(refused.json()["previous_until"], first["previous_secret_until"]);
    let second = rig.post(&rotate, r#"{"grace_seconds": 60, "end_previous": true}"#).await.json();
    assert_ne!(second["previous_secret_until"], first["previous_secret_until"]);
    rig.clock.advance(Duration::from_secs(61));
    assert_eq!(rig.post(&rotate, "").await.status, 200, "the one before has ended");
}

#[tokio::test]
async fn a_webhook_of_the_contract_stays_one_that_the_contract_can_show() {
    let rig = with_key();
    let asked = RegisteredEndpoint {
        dialect: Dialect::Marketplace,
        organization: "org-1".to_owned(),
        listens: Listens::parse(["sync.failed"]).unwrap(),
        url: "https://hooks.example/".to_owned(),
        secret: None,
        unless_said: None,
    };
    rig.app.register_endpoint(&TenantId::default_tenant(), asked).await.unwrap();
    let endpoint = rig.get("/v1/endpoints").await.json()["endpoints"][0].clone();
    assert_eq!(json!([endpoint["organization"], endpoint["dialect"]]), json!(["org-1", "marketplace"]));
    for events in [r#"["order.*", "sync.failed"]"#, r#"["sync.*"]"#, r#"["*"]"#, r#"["order.accepted"]"#] {
        let said = patch(&rig, &endpoint, &format!(r#"{{"events": {events}}}"#)).await;
        assert_eq!((said.status, said.errors()), (422, vec!["/events contract".to_owned()]), "{events}");
    }
    let changed = patch(&rig, &endpoint, r#"{"events": ["sync.completed"], "rate": 5}"#).await;
    assert_eq!((changed.status, changed.json()["events"].clone()), (200, json!(["sync.completed"])));
    assert_eq!(made(&rig, NEW).await["organization"], Value::Null);
}

#[tokio::test]
async fn what_was_before_an_endpoint_is_counted_and_made_when_that_is_asked_for() {
    let (rig, receiver) = (with_key(), ScriptedReceiver::new());
    rig.order(r#"{"reference": "before", "total": "1"}"#).await;
    let endpoint = made(&rig, NEW).await;
    let asked = |from: &str, dry_run: bool| {
        json!({ "endpoint_id": endpoint["endpoint_id"], "from": from, "dry_run": dry_run }).to_string()
    };
    let replay = async |from: &str, dry_run: bool| {
        let said = rig.post("/v1/deliveries/replay", &asked(from, dry_run)).await;
        assert_eq!(said.status, 200, "{}", said.text);
        said.json()["missing"].as_u64().unwrap()
    };
    carry(&rig, &receiver).await;
    assert_eq!(receiver.got().len(), 0);
    assert_eq!((replay("beginning", true).await, replay("beginning", false).await), (1, 1));
    assert_eq!(replay("beginning", true).await, 0, "it is to come");
    carry(&rig, &receiver).await;
    assert_eq!((receiver.got().len(), replay("beginning", true).await), (1, 0));
    let late = rig.app.clock.now().plus(Duration::from_secs(60)).to_string();
    assert_eq!(replay(&late, true).await, 0);
    let feed = rig.get("/v1/events").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(replay(&feed, true).await, 0, "a place of the feed will do");
    let said = rig.post("/v1/deliveries/replay", &asked("nowhere", true)).await;
    assert_eq!((said.status, said.problem().as_str()), (400, "cursor-invalid"), "{}", said.text);
    let other = Rig::of(rig.storage.clone(), TenantId::new("other").unwrap());
    let said = other.post("/v1/deliveries/replay", &asked("beginning", true)).await;
    assert_eq!(said.problem(), "endpoint-unknown");
}
