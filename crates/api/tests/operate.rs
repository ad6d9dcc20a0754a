//! Redrives, followers, health, metrics, and what describes the API.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rig;

use metrics_exporter_prometheus::PrometheusBuilder;
use order_core::command::Command;
use order_core::follow::{Follower, FollowerPolicy};
use order_core::query::Space;
use order_core::share::Share;
use order_core::{Fault, LeaseToken, TenantId};
use rig::Rig;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use testkit::{RecordingSink, Wrapped};
use tokio::task::AbortHandle;

async fn parked(rig: &Rig, count: usize) -> Vec<Value> {
    let mut orders = Vec::new();
    for index in 0..count {
        let source = if index % 2 == 0 { "api" } else { "shop" };
        let customer = if source == "api" { "c-1" } else { "c-2" };
        let body = json!({"source": source, "customer": customer, "total": "1"});
        orders.push(rig.order(&body.to_string()).await);
    }
    let hopeless: Vec<_> = orders
        .iter()
        .map(|order| (order, if order["source"] == "api" { "timed out" } else { "refused" }))
        .collect();
    rig.work(&hopeless).await;
    orders
}

/// Waits for the end of a job.
async fn finished(rig: &Rig, address: &str) -> Value {
    loop {
        let job = rig.get(address).await.json();
        if job["state"] == "finished" {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_redrive_is_tried_dry_and_then_carried_out() {
    let rig = Rig::new();
    let orders = parked(&rig, 5).await;
    for (filter, matched) in [
        (json!({"all": true}), 5),
        (json!({"source": "shop"}), 2),
        (json!({"error_contains": "timed"}), 3),
        (json!({"order_ids": [orders[0]["order_id"], orders[1]["order_id"]]}), 2),
        (json!({"all": true, "source": "api", "error_contains": "refused"}), 0),
        (json!({"customer": "c-1"}), 3),
        (json!({"customer": "c-1", "source": "shop"}), 0),
        (json!({"q": "c-"}), 5),
        (json!({"q": orders[1]["order_id"]}), 1),
        (json!({"fulfilment": "shipped"}), 0),
        (json!({"fulfilment": "unshipped", "withdrawn": false}), 5),
        (json!({"withdrawn": true}), 0),
        (json!({"accepted_from": orders[0]["accepted_at"], "accepted_to": "2999-01-01T00:00:00Z"}), 5),
        (json!({"accepted_to": orders[0]["accepted_at"]}), 0),
    ] {
        // What is redriven is what the list shows under the same names.
        let conditions = filter.as_object().unwrap().iter().filter(|(name, _)| *name != "all");
        let conditions: Vec<String> = conditions
            .map(|(name, value)| {
                format!("{name}={}", value.to_string().trim_matches('"').replace('+', "%2B"))
            })
            .collect();
        if filter.get("order_ids").is_none() {
            let page = rig.get(&format!("/v1/parked?{}", conditions.join("&"))).await.json();
            assert_eq!(page["orders"].as_array().unwrap().len(), matched, "{filter}");
        }
        let said = rig.post("/v1/redrives", &json!({"filter": filter, "dry_run": true}).to_string()).await;
        assert_eq!(
            (said.status, said.json()),
            (200, json!({"dry_run": true, "matched": matched})),
            "{filter}"
        );
    }
    let body = json!({"filter": {"error_contains": "timed out"}, "reason": "the warehouse is back"});
    let said = rig.post("/v1/redrives", &body.to_string()).await;
    assert_eq!(said.status, 202, "{}", said.text);
    let address = said.header("location").unwrap().to_owned();
    assert_eq!(address, format!("/v1/redrives/{}", said.json()["redrive_id"].as_str().unwrap()));
    let job = finished(&rig, &address).await;
    assert_eq!(
        (&job["redriven"], &job["refused"], &job["reason"]),
        (&json!(3), &json!(0), &json!("the warehouse is back"))
    );
    let first = rig.get(&format!("{address}/items?limit=2")).await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(first["items"][0]["result"], "redriven");
    let second =
        rig.get(&format!("{address}/items?limit=2&after={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next"]), (1, &Value::Null));
    assert_eq!(rig.get("/v1/parked").await.json()["orders"].as_array().unwrap().len(), 2);
    let unknown = json!({"filter": {"order_ids": [orders[0]["order_id"], "230e0945-205f-8eaa-8fef-55ebf134b616"]}, "reason": "x"});
    let said = rig.post("/v1/redrives", &unknown.to_string()).await;
    let job = finished(&rig, said.header("location").unwrap()).await;
    assert_eq!((&job["redriven"], &job["refused"]), (&json!(0), &json!(2)));
}

#[tokio::test]
async fn a_redrive_that_was_cut_off_is_taken_up_again() {
    let rig = Rig::new();
    parked(&rig, 3).await;
    let filter = order_core::redrive::RedriveFilter::default();
    let job =
        rig.app.start_redrive(TenantId::default_tenant(), filter, "x".into(), "me".into()).await.unwrap();
    let address = format!("/v1/redrives/{}", job.redrive_id);
    assert_eq!(rig.get(&address).await.json()["state"], "running");
    api::resume_redrives(Arc::clone(&rig.app)).await.unwrap();
    assert_eq!(finished(&rig, &address).await["redriven"], 3);
}

const ALL: &str = r#"{"filter": {"all": true}, "reason": "x"}"#;

fn starts(batch: &[Command]) -> bool {
    batch.iter().any(|command| matches!(command.itself(), Command::StartRedrive(_)))
}

/// Waits until nothing is parked; a job that nobody carries out fails the test.
async fn all_redriven(rig: &Rig) {
    for _ in 0..1_000 {
        if rig.get("/v1/parked").await.json()["orders"] == json!([]) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("nobody carries the job out");
}

#[tokio::test]
async fn a_redrive_is_carried_out_though_its_client_went_away() {
    let asking: Arc<OnceLock<AbortHandle>> = Arc::default();
    let client = Arc::clone(&asking);
    let goes_away = move |batch: &[Command]| {
        if starts(batch) {
            client.get().unwrap().abort();
        }
        None
    };
    let rig = Rig::behind(|storage| Wrapped::failing(storage, Box::new(goes_away), Box::new(|_| None)));
    parked(&rig, 3).await;
    let rig = Arc::new(rig);
    let client = Arc::clone(&rig);
    let task = tokio::spawn(async move { client.post("/v1/redrives", ALL).await });
    asking.set(task.abort_handle()).unwrap();
    assert!(task.await.unwrap_err().is_cancelled(), "nobody hears the reply");
    all_redriven(&rig).await;
}

#[tokio::test]
async fn a_redrive_whose_start_is_not_sure_is_carried_out_if_it_is_recorded() {
    let unheard = |batch: &[Command]| starts(batch).then_some(Fault::OutcomeUnknown);
    let rig = Rig::behind(|storage| Wrapped::failing(storage, Box::new(|_| None), Box::new(unheard)));
    parked(&rig, 3).await;
    let said = rig.post("/v1/redrives", ALL).await;
    assert_eq!((said.status, said.problem().as_str()), (503, "outcome-unknown"));
    all_redriven(&rig).await;
}

#[tokio::test]
async fn a_redrive_must_say_what_and_why() {
    let rig = Rig::new();
    let many: Vec<_> = (0..1_001).map(|_| "230e0945-205f-8eaa-8fef-55ebf134b616").collect();
    for (body, status, errors) in [
        (json!({}), 422, &["/filter missing", "/reason missing"][..]),
        (json!({"filter": {}, "reason": "x"}), 422, &["/filter missing"]),
        (json!({"filter": {"all": false}, "reason": "x"}), 422, &["/filter missing"]),
        (json!({"filter": {"order_ids": []}, "reason": "x"}), 422, &["/filter/order_ids range"]),
        (json!({"filter": {"order_ids": many}, "reason": "x"}), 422, &["/filter/order_ids range"]),
        (
            json!({"filter": {"order_ids": ["x", 1]}, "reason": "x"}),
            400,
            &["/filter/order_ids/0 form", "/filter/order_ids/1 wrong-type"],
        ),
        (
            json!({"filter": {"everything": true}, "reason": ""}),
            400,
            &["/filter/everything unknown-field", "/filter missing", "/reason empty"],
        ),
        (
            json!({"filter": {"all": 1}, "reason": "x", "dry_run": "no"}),
            400,
            &["/filter/all wrong-type", "/filter missing", "/dry_run wrong-type"],
        ),
        (
            json!({"filter": {"all": true, "order_ids": ["230e0945-205f-8eaa-8fef-55ebf134b616"]}, "reason": "x"}),
            422,
            &["/filter/all contradicts"],
        ),
    ] {
        let said = rig.post("/v1/redrives", &body.to_string()).await;
        assert_eq!(
            (said.status, said.errors()),
            (status, errors.iter().map(|text| (*text).to_owned()).collect()),
            "{body}"
        );
    }
    let unknown = rig.get("/v1/redrives/230e0945-205f-8eaa-8fef-55ebf134b616/items").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "redrive-unknown"));
    assert_eq!(rig.get("/v1/redrives/1").await.errors(), ["/redrive_id form"]);
}

#[tokio::test]
async fn a_follower_is_watched_and_steered() {
    let rig = Rig::new();
    let orders = parked(&rig, 3).await;
    assert_eq!(rig.get("/v1/followers").await.json(), json!({"followers": []}));
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let shown = rig.get("/v1/followers/ndjson").await.json();
    let keys: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        ["name", "sink", "state", "lag", "cursor", "replay", "parked", "relays", "last_error", "shards"]
    );
    assert_eq!(
        (&shown["state"], &shown["lag"], &shown["last_error"]),
        (&json!("running"), &json!(6), &Value::Null)
    );
    assert_eq!(shown["shards"].as_array().unwrap().len(), 16);

    let sink = Arc::new(RecordingSink::default());
    let follower = Follower::new(Arc::clone(&rig.app), "ndjson", sink, FollowerPolicy::default());
    follower.step().await.unwrap();
    let shown = rig.get("/v1/followers/ndjson").await.json();
    assert_eq!(shown["lag"], 0);
    let cursor = shown["cursor"].as_str().unwrap();
    let page = rig.get(&format!("/v1/events?after={cursor}")).await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), page["next"].as_str()), (0, Some(cursor)));

    let paused = rig.post("/v1/followers/ndjson/pause", "").await;
    assert_eq!((paused.status, &paused.json()["state"]), (200, &json!("paused")));
    assert_eq!(rig.post("/v1/followers/ndjson/resume", "").await.json()["state"], "running");
    let replay =
        async |from: &str| rig.post("/v1/followers/ndjson/replay", &json!({"from": from}).to_string()).await;
    assert_eq!(replay("beginning").await.json()["lag"], 6);
    assert_eq!(replay("now").await.json()["lag"], 0);
    let first = rig.get("/v1/events?limit=2").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(replay(&first).await.json()["lag"], 4);
    assert_eq!(
        (replay("yesterday").await.problem().as_str(), replay("").await.status),
        ("cursor-invalid", 422)
    );
    assert_eq!(replay("yesterday").await.errors(), ["/from cursor-invalid"]);
    assert_eq!(rig.post("/v1/followers/ndjson/replay", "{}").await.errors(), ["/from missing"]);
    for path in ["/v1/followers/x/pause", "/v1/followers/x/resume"] {
        let said = rig.post(path, "").await;
        assert_eq!((said.status, said.problem().as_str()), (404, "follower-unknown"), "{path}");
    }
    assert_eq!(rig.post("/v1/followers/x/replay", r#"{"from": "now"}"#).await.problem(), "follower-unknown");
    assert_eq!(rig.get("/v1/followers/x").await.problem(), "follower-unknown");
    drop(orders);
}

#[tokio::test]
async fn a_follower_carries_a_range_on_once_more() {
    let rig = Rig::new();
    parked(&rig, 3).await;
    let middle = rig.clock.advance(Duration::from_secs(60)).to_string();
    parked(&rig, 2).await;
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let sink = Arc::new(RecordingSink::default());
    let feeds = Arc::clone(&sink);
    let follower = Follower::new(Arc::clone(&rig.app), "ndjson", feeds, FollowerPolicy::default());
    follower.step().await.unwrap();
    let all = sink.events().len();
    let before = rig.get("/v1/followers/ndjson").await.json();
    assert_eq!(before["replay"], Value::Null);
    let replay = async |from: &str, to: &str| {
        let body = json!({ "from": from, "to": to }).to_string();
        rig.post("/v1/followers/ndjson/replay", &body).await
    };
    let left = async |from: &str, to: &str| {
        let shown = replay(from, to).await.json();
        assert_eq!((&shown["cursor"], &shown["lag"]), (&before["cursor"], &json!(0)), "it stays where it is");
        shown["replay"]["left"].as_u64()
    };
    let first = rig.get("/v1/events?limit=2").await.json()["next"].as_str().unwrap().to_owned();
    let later = "2999-01-01T00:00:00Z";
    assert_eq!(left("beginning", "now").await, Some(10));
    // Nothing happened between these two, which does not put them in order.
    let said = replay("2998-01-01T00:00:00Z", "2997-01-01T00:00:00Z").await;
    assert_eq!((said.status, said.errors()), (422, vec!["/to contradicts".to_owned()]), "{}", said.text);
    assert_eq!(left(&middle, later).await, Some(4));
    assert_eq!(left(&first, "now").await, Some(8));
    assert_eq!(left("now", "now").await, None, "an empty range ends the one before");
    assert_eq!(left("beginning", &middle).await, Some(6), "what happened before that moment");
    let shown = rig.get("/v1/followers/ndjson").await.json()["replay"].clone();
    let behind = |cursor: &Value| format!("/v1/events?after={}", cursor.as_str().unwrap());
    let page = rig.get(&behind(&shown["from"])).await.json();
    assert_eq!(page["events"].as_array().unwrap().len(), 10, "a cursor of the feed");
    assert_eq!(rig.get(&behind(&shown["to"])).await.json()["events"].as_array().unwrap().len(), 4);
    follower.step().await.unwrap();
    assert_eq!(rig.get("/v1/followers/ndjson").await.json(), before, "when it is over, all is as before");
    assert_eq!(sink.events().len(), all + 6);
    for (from, to, status, offence) in [
        ("now", "beginning", 422, "/to contradicts"),
        (later, middle.as_str(), 422, "/to contradicts"),
        ("beginning", "yesterday", 400, "/to cursor-invalid"),
        ("yesterday", "now", 400, "/from cursor-invalid"),
        ("beginning", "", 422, "/to empty"),
    ] {
        let refused = replay(from, to).await;
        assert_eq!((refused.status, refused.errors()), (status, vec![offence.to_owned()]), "{from} {to}");
    }
    assert_eq!(rig.get("/v1/followers/ndjson").await.json(), before);
    let body = json!({ "from": middle }).to_string();
    let moved = rig.post("/v1/followers/ndjson/replay", &body).await.json();
    assert_eq!(
        (&moved["lag"], &moved["replay"]),
        (&json!(4), &Value::Null),
        "without an end it is set there"
    );
}

#[tokio::test]
async fn a_follower_whose_sink_fails_is_shown_as_failing_also_while_it_is_left_alone() {
    let rig = Rig::new();
    rig.order(r#"{"total": 1}"#).await;
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let sink = RecordingSink::new();
    let feeds: Arc<RecordingSink> = Arc::clone(&sink);
    let follower = Follower::new(Arc::clone(&rig.app), "ndjson", feeds, FollowerPolicy::default());
    let shown = async || {
        let list = rig.get("/v1/followers").await.json();
        let one = &list["followers"][0];
        (one["state"].clone(), one["lag"].clone(), one["last_error"].to_string().contains("full"))
    };
    sink.fail("full");
    for _ in 0..20 {
        follower.step().await.unwrap_err();
        assert_eq!(shown().await, (json!("failing"), json!(1), true));
    }
    follower.step().await.unwrap();
    assert_eq!((shown().await, sink.deliveries()), ((json!("failing"), json!(1), true), 20));
    sink.recover();
    rig.clock.advance(Duration::from_secs(5));
    follower.step().await.unwrap();
    assert_eq!(shown().await, (json!("running"), json!(0), false));
}

#[tokio::test]
async fn health_follows_the_storage() {
    let rig = Rig::new();
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    rig.storage.set_space(Some(Space { free: 5 << 20, least: 4 << 20 }));
    let ready = rig.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"status": "ready"})));
    let checks = rig.get("/readyz?verbose").await.json();
    let names: Vec<_> =
        checks["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["storage", "space", "queue", "followers", "clock"]);
    assert_eq!(checks["checks"][1]["detail"], "5 MiB free");
    rig.storage.down(Some(Fault::Unavailable { why: "secret".into(), retry_after: Duration::from_secs(1) }));
    for path in ["/readyz", "/readyz?verbose"] {
        let red = rig.get(path).await;
        assert_eq!((red.status, red.header("retry-after")), (503, Some("1")));
        assert_eq!(red.json()["status"], "not-ready");
        assert!(!red.text.contains("secret"));
    }
    assert_eq!(rig.get("/livez").await.status, 200);
    // Of two red checks, the one that explains the other is named.
    rig.storage.set_space(Some(Space { free: 5 << 20, least: 256 << 20 }));
    let checks = rig.get("/readyz?verbose").await.json()["checks"].clone();
    assert_eq!(
        checks[0],
        json!({"name": "storage", "ok": false, "detail": "cannot be written: see the check `space`"})
    );
    assert_eq!(checks[1]["ok"], false);
    assert_eq!(
        checks[1]["detail"],
        "5 MiB free, 256 must stay free: make room, or lower storage.free_space_min_mib"
    );
    rig.storage.set_space(None);
    rig.storage.down(None);
    assert_eq!(rig.get("/readyz").await.status, 200);
}

/// Orders are taken in all the same; that nobody tells of them must not go unseen.
#[tokio::test]
async fn that_nobody_carries_events_is_shown_and_never_red() {
    let rig = Rig::new();
    let followers = async || {
        let ready = rig.get("/readyz?verbose").await;
        assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
        let check = ready.json()["checks"][3].clone();
        (check["ok"].clone(), check["detail"].as_str().unwrap().to_owned())
    };
    assert_eq!(followers().await, (json!(true), "0 in all, 0 failing, 0 paused".to_owned()));
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let (ok, detail) = followers().await;
    assert_eq!(ok, false);
    assert!(detail.ends_with("; nobody carries events: start a node with --role relay"), "{detail}");
    rig.post("/v1/followers/ndjson/pause", "").await;
    assert_eq!(followers().await.0, true, "by an operator's will");
    rig.post("/v1/followers/ndjson/resume", "").await;
    assert_eq!(followers().await.0, false);
    let now = rig.app.clock.now();
    let share = Share {
        follower: "ndjson".to_owned(),
        token: LeaseToken(rig.app.ids.uuid_v4()),
        now,
        until: Some(now.plus(Duration::from_secs(30))),
        fault: None,
        extends_only: false,
        stands_back: false,
    };
    rig.app.lanes.submit(Command::Share(share)).await.unwrap();
    assert_eq!(followers().await.0, true);
    rig.clock.advance(Duration::from_secs(31));
    assert_eq!(followers().await.0, false, "its lease has run out");
}

#[tokio::test]
async fn metrics_show_the_state_of_the_whole() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let rig = Rig::with(
        |options| (options.metrics, options.serves_metrics) = (Some(handle), true),
        TenantId::default_tenant(),
    );
    parked(&rig, 3).await;
    rig.order(r#"{"total": 1}"#).await;
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let text = rig.get("/metrics").await.text;
    for line in [
        "wellorder_storage_up 1",
        "wellorder_lane_queue_depth 0",
        "wellorder_lane_oldest_seconds 0",
        "wellorder_spans_waiting 0",
        "wellorder_lane_queue_bytes 0",
        "wellorder_journal_events 7",
        "wellorder_follower_lag_events{follower=\"ndjson\"} 7",
        "wellorder_worker_attempts_total{outcome=\"parked\"} 3",
        "wellorder_orders{source=\"api\",state=\"queued\"} 1",
        "wellorder_orders{source=\"api\",state=\"parked\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("shop"), "sources that clients name are no labels");
    rig.storage.down(Some(Fault::internal("x")));
    let said = rig.get("/metrics").await;
    assert_eq!(said.status, 200);
    assert!(said.text.contains("wellorder_storage_up 0"));
    let none = Rig::new();
    assert_eq!(none.get("/metrics").await.problem(), "route-unknown");
}

#[tokio::test]
async fn the_root_belongs_to_a_contract_or_to_the_index() {
    let rig = Rig::new();
    let index = rig.get("/").await;
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(!index.text.contains("//"), "no other host");
    let style = index.text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(style.as_bytes());
    let hash = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, hash);
    assert!(index.header("content-security-policy").unwrap().contains(&format!("'sha256-{hash}'")), "{hash}");
    for path in ["/docs/", "/v1/docs/", "/openapi.json", "/v1/openapi.json", "/livez"] {
        assert_eq!(rig.get(path).await.status, 200, "{path}");
    }
    assert_eq!(rig.get("/nowhere").await.problem(), "route-unknown");
    assert_eq!(rig.get("/v1/nowhere").await.problem(), "route-unknown");
    let put = rig.ask("PUT", "/v1/orders", &[], "").await;
    assert_eq!((put.problem().as_str(), put.header("allow")), ("method-not-allowed", Some("GET,HEAD,POST")));

    let taken = Rig::with(|options| options.root_taken = true, TenantId::default_tenant());
    for path in ["/docs/", "/"] {
        let said = taken.get(path).await;
        assert_eq!((said.status, said.text.as_str()), (404, ""), "{path}");
    }
    for path in ["/v1/docs/", "/v1/openapi.json", "/openapi.json", "/livez", "/v1/orders"] {
        assert_eq!(taken.get(path).await.status, 200, "{path}");
    }
    assert_eq!(taken.get("/v1/nowhere").await.problem(), "route-unknown");
}
