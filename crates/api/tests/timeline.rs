//! The timeline of an order.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::change::Target;
use order_core::command::{ChangeKind, Claim, Command};
use order_core::desk::Desks;
use order_core::follow::{Follower, FollowerPolicy};
use order_core::ids::{EventId, LeaseToken};
use order_core::order::Content;
use order_core::process::{Worker, WorkerPolicy};
use order_core::{Clock, Ids, TenantId};
use rig::{Rig, order_id};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::processors::Act;
use testkit::{RecordingSink, ScriptedProcessor, SeededIds};

const MINUTE: Duration = Duration::from_secs(60);

async fn timeline(rig: &Rig, order: &Value) -> Value {
    let id = order["order_id"].as_str().unwrap();
    let said = rig.get(&format!("/v1/orders/{id}/timeline")).await;
    assert_eq!(said.status, 200, "{}", said.text);
    assert_eq!(said.header("etag").unwrap(), format!("\"{}\"", said.json()["version"]));
    said.json()
}

async fn tell(rig: &Rig, order: &Value, what: &str, body: &Value) {
    rig.clock.tick();
    let id = order["order_id"].as_str().unwrap();
    let said = rig.post(&format!("/v1/orders/{id}/{what}"), &body.to_string()).await;
    assert_eq!(said.status, 200, "{}", said.text);
}

/// One member of every entry.
fn each(timeline: &Value, name: &str) -> Vec<Value> {
    timeline["entries"].as_array().unwrap().iter().map(|entry| entry[name].clone()).collect()
}

async fn step(rig: &Rig, order: &Value, act: Act) {
    let processor = ScriptedProcessor::new();
    processor.script(order_id(order), [act]);
    Worker::new(Arc::clone(&rig.app), processor, WorkerPolicy::default()).step().await.unwrap();
}

/// Leases what is due and never comes back.
async fn claim_and_die(rig: &Rig, lapses_max: u32) {
    let ids = SeededIds::new(rig.clock.now().micros().unsigned_abs());
    let claim = Claim {
        tenant: None,
        desks: Desks::ALL,
        tokens: vec![LeaseToken(ids.uuid_v4())],
        event_ids: vec![EventId(ids.uuid_v7(rig.clock.now()))],
        now: rig.clock.now(),
        lease: MINUTE,
        lapses_max,
    };
    rig.app.lanes.submit(Command::Claim(claim)).await.unwrap();
}

async fn redrive(rig: &Rig, order: &Value) {
    let target = Target {
        tenant: TenantId::default_tenant(),
        source: None,
        order_id: order_id(order),
        expected_version: None,
    };
    let kind =
        ChangeKind::Redrive { reason: "the warehouse is back".to_owned(), by: "night shift".to_owned() };
    rig.app.change(target, kind).await.unwrap();
}

#[tokio::test]
async fn everything_that_happened_is_told_with_what_caused_it() {
    let rig = Rig::new();
    let order = rig.order(r#"{"reference": "A-1", "total": 1}"#).await;
    step(&rig, &order, Act::fail("timed out")).await;
    rig.clock.advance(MINUTE);
    step(&rig, &order, Act::hopeless("no such sku")).await;
    rig.clock.tick();
    redrive(&rig, &order).await;
    step(&rig, &order, Act::done()).await;
    tell(&rig, &order, "shipments", &json!({"tracking_number": "T-1"})).await;
    tell(&rig, &order, "deliveries", &json!({})).await;
    tell(&rig, &order, "withdrawals", &json!({"reason": "sent back"})).await;
    tell(&rig, &order, "erasures", &json!({})).await;
    let shown = timeline(&rig, &order).await;
    assert_eq!(each(&shown, "version"), (1..=9).map(Value::from).collect::<Vec<_>>());
    let types = [
        "accepted",
        "processing_failed",
        "parked",
        "redriven",
        "processed",
        "shipped",
        "delivered",
        "withdrawn",
        "erased",
    ];
    assert_eq!(each(&shown, "type"), types.map(|name| json!(format!("order.{name}"))));
    let causes = json!([null, 1, 1, 3, 4, null, null, null, null]);
    assert_eq!(Value::from(each(&shown, "caused_by")), causes);
    let by =
        json!(["local", "worker", "worker", "night shift", "worker", "local", "local", "local", "local"]);
    assert_eq!(Value::from(each(&shown, "by")), by);
    let attempts = each(&shown, "attempt");
    let brief = |attempt: &Value| json!([attempt["number"], attempt["outcome"]]);
    assert_eq!(brief(&attempts[1]), json!([1, "failed"]));
    assert_eq!(brief(&attempts[2]), json!([2, "parked"]));
    assert_eq!(brief(&attempts[4]), json!([1, "done"]));
    assert_eq!(attempts[2]["began_at"], attempts[2]["ended_at"], "the clock stood still");
    assert!(attempts[1]["began_at"].is_string() && attempts[1]["retry_at"].is_string(), "{attempts:?}");
    assert_eq!((shown["truncated"].clone(), shown["position"].clone()), (json!(false), json!(9)));
    let summaries = each(&shown, "summary");
    assert_eq!(summaries[0], "Taken in from api as A-1");
    assert!(summaries[5].as_str().unwrap().starts_with("Shipped at 20"), "{summaries:?}");
    // The erasure blanked what people wrote.
    assert_eq!(summaries[7], "Withdrawn by local: ");
    assert_eq!(each(&shown, "data")[8]["pointers"], json!(["/last_error", "/tracking_number"]));
}

#[tokio::test]
async fn what_goes_on_now_is_told() {
    let rig = Rig::new();
    let order = rig.order(r#"{"total": 1}"#).await;
    let now = async || timeline(&rig, &order).await["now"].clone();
    let said = now().await;
    let accepted = order["accepted_at"].as_str().unwrap();
    assert_eq!(said["summary"], format!("Waits for a worker since {accepted}, for attempt 1"));
    assert_eq!(json!([said["due_at"], said["attempt"], said["lapses"]]), json!([accepted, null, 0]));

    claim_and_die(&rig, 3).await;
    let (began, until) = (rig.clock.now(), rig.clock.now().plus(MINUTE));
    rig.clock.tick();
    let said = now().await;
    assert_eq!(said["summary"], format!("Attempt 1 runs since {began}; its lease ends at {until}"));
    let attempt = json!({"number": 1, "began_at": began.to_string(), "lease_until": until.to_string()});
    assert_eq!(
        json!([said["processing"], said["due_at"], said["attempt"]]),
        json!(["running", null, attempt])
    );

    rig.clock.advance(MINUTE);
    let said = now().await;
    assert_eq!(
        said["summary"],
        format!("The lease of attempt 1 ran out at {until}; waits for a worker to take it over")
    );
    assert_eq!(json!([said["processing"], said["attempt"]]), json!(["queued", null]));
    claim_and_die(&rig, 3).await;
    assert_eq!(now().await["lapses"], 1);

    rig.clock.advance(MINUTE);
    step(&rig, &order, Act::fail("timed out")).await;
    let shown = timeline(&rig, &order).await;
    let retry = shown["entries"][1]["attempt"]["retry_at"].as_str().unwrap().to_owned();
    assert_eq!(shown["now"]["summary"], format!("Waits for attempt 2, due at {retry}"));
    assert_eq!((&shown["now"]["last_error"], &shown["now"]["lapses"]), (&json!("timed out"), &json!(0)));

    rig.clock.advance(MINUTE);
    step(&rig, &order, Act::hopeless("no such sku")).await;
    let said = now().await;
    let since = rig.clock.now();
    assert_eq!(said["summary"], format!("Parked since {since}, waits for an operator: no such sku"));
    assert_eq!(json!([said["parked_since"], said["due_at"]]), json!([since.to_string(), null]));

    redrive(&rig, &order).await;
    step(&rig, &order, Act::done()).await;
    assert_eq!(now().await["summary"], format!("Nothing is left to do: processed at {}", rig.clock.now()));
    let other = rig.order(r#"{"total": 1}"#).await;
    tell(&rig, &other, "withdrawals", &json!({"reason": "r"})).await;
    let said = timeline(&rig, &other).await["now"].clone();
    assert_eq!(said["summary"], "Nothing is left to do: withdrawn before it was processed");
}

#[tokio::test]
async fn an_order_whose_workers_die_is_told_from_one_whose_attempt_ended() {
    let rig = Rig::new();
    let order = rig.order(r#"{"total": 1}"#).await;
    step(&rig, &order, Act::fail("timed out")).await;
    rig.clock.advance(MINUTE);
    for _ in 0..3 {
        claim_and_die(&rig, 2).await;
        rig.clock.advance(MINUTE);
    }
    let shown = timeline(&rig, &order).await;
    let parked = &shown["entries"][2];
    assert_eq!((&parked["type"], &parked["attempt"]), (&json!("order.parked"), &Value::Null), "{shown}");
    assert_eq!((&parked["caused_by"], &parked["data"]["lapses"]), (&json!(1), &json!(2)));
    let summary = parked["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("Parked without an end of attempt 2: 2 leases in a row ran out"),
        "{summary}"
    );
}

#[tokio::test]
async fn each_follower_says_whether_it_carried_the_newest_event() {
    let rig = Rig::new();
    for name in ["ahead", "behind"] {
        rig.app.ensure_follower(name, "file", false).await.unwrap();
    }
    let order = rig.order(r#"{"total": 1}"#).await;
    let follower =
        Follower::new(Arc::clone(&rig.app), "ahead", RecordingSink::new(), FollowerPolicy::default());
    follower.step().await.unwrap();
    rig.post("/v1/followers/behind/pause", "").await;
    let shown = timeline(&rig, &order).await;
    let ahead = json!({"name": "ahead", "state": "running", "position": 1, "carried": true});
    let behind = json!({"name": "behind", "state": "paused", "position": 0, "carried": false});
    assert_eq!(shown["followers"], json!([ahead, behind]));
    tell(&rig, &order, "shipments", &json!({})).await;
    assert_eq!(timeline(&rig, &order).await["followers"][0]["carried"], false, "of the newest event");
}

/// A gate whose callers do not run the installation.
struct Tenants(edge::Open);

#[async_trait::async_trait]
impl edge::Gate for Tenants {
    async fn admit(&self, head: &http::request::Parts) -> Result<edge::Caller, edge::Refusal> {
        self.0.admit(head).await
    }

    fn is_operator(&self, _: &edge::Caller) -> bool {
        false
    }
}

#[tokio::test]
async fn followers_are_shown_to_those_alone_who_run_the_installation() {
    let rig = Rig::new();
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let order = rig.order(r#"{"total": 1}"#).await;
    assert_eq!(each(&timeline(&rig, &order).await, "version"), [1]);
    assert_eq!(timeline(&rig, &order).await["followers"].as_array().map(Vec::len), Some(1));
    let theirs = rig.seen_by(Arc::new(Tenants(edge::Open::new(TenantId::default_tenant()))));
    assert_eq!(theirs.get("/v1/followers").await.status, 403);
    let shown = timeline(&theirs, &order).await;
    assert_eq!((&shown["followers"], &shown["version"]), (&json!([]), &json!(1)));
}

#[tokio::test]
async fn a_long_history_ends_with_the_newest_entries() {
    let rig = Rig::new();
    let order = rig.order(r#"{"total": 1}"#).await;
    for total in 2..=1_005_u32 {
        let target = Target {
            tenant: TenantId::default_tenant(),
            source: None,
            order_id: order_id(&order),
            expected_version: None,
        };
        let content = Content { total: testkit::build::money(&total.to_string()), ..Content::default() };
        let kind = ChangeKind::Revise { content: Box::new(content), requeue: false };
        rig.app.change(target, kind).await.unwrap();
    }
    let shown = timeline(&rig, &order).await;
    let versions = each(&shown, "version");
    assert_eq!((versions.len(), &versions[0], versions.last().unwrap()), (1_000, &json!(6), &json!(1_005)));
    assert_eq!(shown["truncated"], true);
    assert_eq!(each(&shown, "summary")[0], "Revised: /total; its work starts anew");
}

#[tokio::test]
async fn an_order_that_is_not_there_has_no_timeline() {
    let rig = Rig::new();
    let said = rig.get("/v1/orders/00000000-0000-4000-8000-000000000000/timeline").await;
    assert_eq!((said.status, said.problem().as_str()), (404, "order-unknown"));
}
