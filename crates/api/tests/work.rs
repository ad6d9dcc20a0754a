//! Work over HTTP: claimed, extended, ended.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::TenantId;
use order_core::desk::{Desk, Desks};
use rig::{Rig, Said};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn accept(rig: &Rig, reference: &str) -> Value {
    rig.order(&json!({"reference": reference, "total": "1"}).to_string()).await
}

async fn claim(rig: &Rig, body: &str) -> Vec<Value> {
    let said = rig.post("/v1/work/claim", body).await;
    assert_eq!(said.status, 200, "{}", said.text);
    said.json()["work"].as_array().unwrap().clone()
}

async fn finish(rig: &Rig, work: &Value, more: Value) -> Said {
    let mut body = more;
    body["token"] = work["token"].clone();
    rig.post("/v1/work/finish", &body.to_string()).await
}

#[tokio::test]
async fn work_is_claimed_once_and_ended_under_its_token() {
    let rig = Rig::new();
    let order = accept(&rig, "r1").await;
    let work = claim(&rig, r#"{"max": 10, "lease_seconds": 30}"#).await;
    assert_eq!(work.len(), 1);
    let work = &work[0];
    let members = ["attempt", "idempotency_key", "lease_until", "order", "order_id", "token", "traceparent"];
    let mut names: Vec<_> = work.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, members);
    assert_eq!((&work["order_id"], &work["attempt"]), (&order["order_id"], &json!(1)));
    assert_eq!(
        (&work["order"]["processing"], &work["order"]["reference"]),
        (&json!("running"), &json!("r1"))
    );
    let events = rig.get("/v1/events").await.json();
    assert_eq!(work["idempotency_key"], events["events"][0]["event_id"], "the event that made the work");
    assert_eq!(claim(&rig, "{}").await, Vec::<Value>::new(), "nobody else gets it");
    let done = finish(&rig, work, json!({"outcome": "done"})).await;
    assert_eq!((done.status, done.header("etag")), (200, Some("\"2\"")));
    assert_eq!((&done.json()["processing"], &done.json()["attempt"]), (&json!("done"), &json!(1)));
    let again = finish(&rig, work, json!({"outcome": "park", "error": "x"})).await;
    assert_eq!((again.status, again.problem().as_str()), (409, "lease-lost"));
}

#[tokio::test]
async fn work_is_handed_out_from_the_desks_of_workers_outside_alone() {
    let rig =
        Rig::with(|options| options.pulled = Desks::from(Desk::COMMON).others(), TenantId::default_tenant());
    accept(&rig, "r1").await;
    let sale = testkit::build::intake("s1").source("sales").build();
    rig.app.accept(sale).await.unwrap();
    let work = claim(&rig, "{}").await;
    let sources: Vec<&Value> = work.iter().map(|work| &work["order"]["source"]).collect();
    assert_eq!(sources, ["sales"]);
    let rig = Rig::with(|options| options.pulled = Desks::NONE, TenantId::default_tenant());
    let refused = rig.post("/v1/work/claim", "{}").await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "work-not-pulled"));
}

#[tokio::test]
async fn a_retry_uses_up_an_attempt_and_the_last_one_parks() {
    let rig = Rig::with(|options| options.lease.attempts_max = 2, TenantId::default_tenant());
    accept(&rig, "r1").await;
    let work = claim(&rig, "{}").await;
    let retry = json!({"outcome": "retry", "error": "later", "retry_after_seconds": 60});
    let queued = finish(&rig, &work[0], retry.clone()).await.json();
    assert_eq!(
        json!([queued["processing"], queued["attempt"], queued["last_error"]]),
        json!(["queued", 1, "later"])
    );
    assert_eq!(claim(&rig, "{}").await.len(), 0, "not before the time that was asked for");
    rig.clock.advance(Duration::from_secs(60));
    let work = claim(&rig, "{}").await;
    assert_eq!(work[0]["attempt"], 2);
    let parked = finish(&rig, &work[0], retry).await.json();
    assert_eq!((&parked["processing"], &parked["attempt"]), (&json!("parked"), &json!(2)));
}

#[tokio::test]
async fn a_zombie_changes_nothing() {
    let rig = Rig::new();
    accept(&rig, "r1").await;
    let zombie = claim(&rig, r#"{"lease_seconds": 1}"#).await;
    rig.clock.advance(Duration::from_secs(1));
    let heir = claim(&rig, r#"{"lease_seconds": 1}"#).await;
    assert_eq!(heir[0]["order_id"], zombie[0]["order_id"]);
    assert_eq!(
        (&heir[0]["attempt"], &heir[0]["idempotency_key"]),
        (&json!(1), &zombie[0]["idempotency_key"])
    );
    assert_ne!(heir[0]["token"], zombie[0]["token"]);
    let before = rig.get("/v1/orders?reference=r1").await.text;
    for outcome in [
        json!({"outcome": "done"}),
        json!({"outcome": "retry", "error": "x"}),
        json!({"outcome": "park", "error": "x"}),
    ] {
        assert_eq!(finish(&rig, &zombie[0], outcome).await.problem(), "lease-lost");
    }
    let beat = rig.post("/v1/work/heartbeat", &json!({"token": zombie[0]["token"]}).to_string()).await;
    assert_eq!((beat.status, beat.problem().as_str()), (409, "lease-lost"));
    assert_eq!(rig.get("/v1/orders?reference=r1").await.text, before);
    assert_eq!(finish(&rig, &heir[0], json!({"outcome": "done"})).await.status, 200);
}

#[tokio::test]
async fn heartbeats_extend_leases_and_name_those_that_are_lost() {
    let rig = Rig::new();
    for reference in ["r1", "r2"] {
        accept(&rig, reference).await;
    }
    let work = claim(&rig, r#"{"lease_seconds": 10}"#).await;
    finish(&rig, &work[1], json!({"outcome": "done"})).await;
    let one = json!({"token": work[0]["token"], "lease_seconds": 20});
    let extended = rig.post("/v1/work/heartbeat", &one.to_string()).await.json();
    assert_eq!(extended["lost"], json!([]));
    assert!(extended["lease_until"].as_str() > work[0]["lease_until"].as_str());
    let both = json!({"tokens": [work[0]["token"], work[1]["token"]], "lease_seconds": 20});
    let extended = rig.post("/v1/work/heartbeat", &both.to_string()).await.json();
    assert_eq!(extended["lost"], json!([work[1]["token"]]));
    rig.clock.advance(Duration::from_secs(19));
    assert_eq!(claim(&rig, "{}").await.len(), 0, "the lease was extended");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(claim(&rig, "{}").await.len(), 1);
}

#[tokio::test]
async fn results_may_come_together() {
    let rig = Rig::new();
    for reference in ["r1", "r2", "r3"] {
        accept(&rig, reference).await;
    }
    let work = claim(&rig, "{}").await;
    finish(&rig, &work[0], json!({"outcome": "done"})).await;
    let results = json!({"results": [
        {"token": work[0]["token"], "outcome": "done"},
        {"token": work[1]["token"], "outcome": "done"},
        {"token": work[2]["token"], "outcome": "park", "error": "never"},
    ]});
    let said = rig.post("/v1/work/finish", &results.to_string()).await;
    assert_eq!(said.status, 200, "{}", said.text);
    let ended = said.json();
    let result =
        |index: usize| json!([ended["results"][index]["result"], ended["results"][index]["processing"]]);
    assert_eq!(result(0), json!(["lease-lost", null]));
    assert_eq!(result(1), json!(["finished", "done"]));
    assert_eq!(result(2), json!(["finished", "parked"]));
    assert_eq!(ended["results"][1]["order_id"], work[1]["order_id"]);
}

#[tokio::test]
async fn a_token_of_another_tenant_is_unknown() {
    let theirs = Rig::with(|_| {}, TenantId::new("acme").unwrap());
    accept(&theirs, "r1").await;
    let work = claim(&theirs, "{}").await;
    let ours = Rig::over(theirs.storage.clone());
    assert_eq!(claim(&ours, "{}").await.len(), 0, "nor is its work handed out");
    for token in [work[0]["token"].as_str().unwrap(), "x", "", "AZNHPSw7cACAAAAA"] {
        let finish = json!({"token": token, "outcome": "done"}).to_string();
        let said = ours.post("/v1/work/finish", &finish).await;
        assert_eq!((said.status, said.problem().as_str()), (422, "value-refused"), "{token}");
        assert_eq!(said.errors(), ["/token unknown"], "{token}");
        let beat = ours.post("/v1/work/heartbeat", &json!({"tokens": [token]}).to_string()).await;
        assert_eq!(beat.errors(), ["/tokens/0 unknown"], "{token}");
    }
    let done = finish(&theirs, &work[0], json!({"outcome": "done"})).await;
    assert_eq!(done.status, 200);
}

#[tokio::test]
async fn bodies_are_strict() {
    let rig = Rig::new();
    accept(&rig, "r1").await;
    let token = claim(&rig, r#"{"max": 1}"#).await[0]["token"].as_str().unwrap().to_owned();
    for (path, body, status, errors) in [
        ("claim", json!({"max": 0}), 422, &["/max range"][..]),
        ("claim", json!({"max": 101, "lease_seconds": 3601}), 422, &["/max range", "/lease_seconds range"]),
        ("claim", json!({"max": 1.5, "lease_seconds": 0}), 422, &["/max range", "/lease_seconds range"]),
        ("claim", json!({"max": "1"}), 400, &["/max wrong-type"]),
        ("claim", json!({"limit": 1}), 400, &["/limit unknown-field"]),
        ("claim", json!([]), 400, &[" wrong-type"]),
        ("heartbeat", json!({}), 422, &["/token missing"]),
        ("heartbeat", json!({"token": token, "tokens": [token]}), 422, &["/tokens contradicts"]),
        ("heartbeat", json!({"tokens": []}), 422, &["/tokens range"]),
        ("heartbeat", json!({"tokens": [7]}), 400, &["/tokens/0 wrong-type"]),
        ("finish", json!({}), 422, &["/token missing", "/outcome missing"]),
        ("finish", json!({"token": token, "outcome": "lost"}), 422, &["/outcome form"]),
        ("finish", json!({"token": token, "outcome": "retry"}), 422, &["/error missing"]),
        ("finish", json!({"token": token, "outcome": "park", "error": ""}), 422, &["/error empty"]),
        ("finish", json!({"token": token, "outcome": "done", "error": "x"}), 422, &["/error contradicts"]),
        (
            "finish",
            json!({"token": token, "outcome": "park", "error": "x", "retry_after_seconds": 1}),
            422,
            &["/retry_after_seconds contradicts"],
        ),
        (
            "finish",
            json!({"token": token, "outcome": "retry", "error": "x", "retry_after_seconds": 86_401}),
            422,
            &["/retry_after_seconds range"],
        ),
        ("finish", json!({"results": []}), 422, &["/results range"]),
        (
            "finish",
            json!({"results": [{"token": token, "outcome": "x"}], "a": 1}),
            400,
            &["/a unknown-field", "/results/0/outcome form"],
        ),
    ] {
        let said = rig.post(&format!("/v1/work/{path}"), &body.to_string()).await;
        assert_eq!(
            (said.status, said.errors()),
            (status, errors.iter().map(|error| (*error).to_owned()).collect()),
            "{path} {body}"
        );
    }
    let events = rig.get("/v1/events").await.json();
    assert_eq!(events["events"].as_array().unwrap().len(), 1, "nothing was written");
    let long = json!({"token": token, "outcome": "park", "error": "é".repeat(2_000)}).to_string();
    let parked = rig.post("/v1/work/finish", &long).await.json();
    assert!(parked["last_error"].as_str().unwrap().len() < 1_010, "a long error is cut");
}

#[tokio::test]
async fn a_claim_waits_until_work_comes() {
    let rig = Arc::new(Rig::new());
    let waiting = {
        let rig = Arc::clone(&rig);
        let headers = [("content-type", "application/json"), ("prefer", "wait=50")];
        tokio::spawn(async move { rig.ask("POST", "/v1/work/claim", &headers, "{}").await })
    };
    // Whether it waits already or is about to ask: the order is there for it.
    tokio::task::yield_now().await;
    let order = accept(&rig, "r1").await;
    let said = waiting.await.unwrap();
    assert_eq!((said.status, said.header("preference-applied")), (200, Some("wait=50")));
    assert_eq!(said.json()["work"][0]["order_id"], order["order_id"]);
    let headers = [("content-type", "application/json"), ("prefer", "wait=1")];
    let nothing = rig.ask("POST", "/v1/work/claim", &headers, "{}").await;
    assert_eq!(nothing.json(), json!({"work": []}), "and no longer than was asked");
}
