//! `oscarps`: an order in every state that it can be seen in.

use crate::harness::{Exchange, Fixture, LEASE, oscarps_id, transcript};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::ports::Processed;
use order_core::{OrderId, TenantId};
use testkit::processors::Act;

const ORDER: &str = r#"{"orderId":"A-1001","customer":"c-42","total":199.99}"#;

async fn get(f: &Fixture) -> Exchange {
    f.oscarps.get("/orders/A-1001").await.expect(200)
}

async fn change(f: &Fixture, order_id: OrderId, kind: ChangeKind) {
    let target =
        Target { tenant: TenantId::default_tenant(), source: None, order_id, expected_version: None };
    f.app.change(target, kind).await.unwrap();
}

#[tokio::test]
async fn from_pending_over_locked_to_processed() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    f.processor.script(oscarps_id("A-1001"), [Act::Hang(Processed::Done)]);
    let mut seen = vec![get(&f).await];
    f.pass(1);
    let step = f.step_until_begun(1).await;
    f.pass(2);
    seen.push(get(&f).await);
    f.processor.release();
    step.await.unwrap();
    seen.push(get(&f).await);
    seen.push(f.oscarps.post(ORDER).await.expect(200));
    assert_text!(transcript(&seen));
}

#[tokio::test]
async fn failed_attempts_are_counted_and_out_of_attempts_it_stays_pending() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    f.processor.script(
        oscarps_id("A-1001"),
        [Act::fail("no stock"), Act::fail("no stock"), Act::fail("card declined")],
    );
    let mut seen = Vec::new();
    for _ in 0..3 {
        assert_eq!(f.step().await, 1);
        seen.push(get(&f).await);
        f.pass(60);
    }
    assert_eq!(f.step().await, 0);
    seen.push(f.oscarps.post(ORDER).await.expect(200));
    assert_text!(transcript(&seen));
}

#[tokio::test]
async fn a_success_after_failures_keeps_their_count_and_clears_the_error() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    f.processor.script(oscarps_id("A-1001"), [Act::fail("no stock")]);
    f.step().await;
    f.pass(60);
    f.step().await;
    let row = get(&f).await.json();
    assert_eq!(row["status"], "PROCESSED");
    assert_eq!(row["attempts"], 1);
    assert!(row["lastError"].is_null() && row["lockedAt"].is_null());
}

#[tokio::test]
async fn a_crashed_workers_order_is_taken_up_again() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    f.processor.script(oscarps_id("A-1001"), [Act::Hang(Processed::Done)]);
    let crashed = f.step_until_begun(1).await;
    crashed.abort();
    assert!(get(&f).await.json()["lockedAt"].is_string());
    f.clock.advance(LEASE);
    let free = get(&f).await.json();
    assert!(free["lockedAt"].is_null());
    assert_eq!((&free["status"], &free["attempts"]), (&"PENDING".into(), &0.into()));
    assert_eq!(f.step().await, 1);
    let row = get(&f).await.json();
    assert_eq!((&row["status"], &row["attempts"]), (&"PROCESSED".into(), &0.into()));
}

#[tokio::test]
async fn a_redriven_order_starts_anew() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    f.processor.script(oscarps_id("A-1001"), [Act::hopeless("no such customer")]);
    f.step().await;
    let parked = get(&f).await.json();
    assert_eq!((&parked["status"], &parked["attempts"]), (&"PENDING".into(), &1.into()));
    assert_eq!(parked["lastError"], "no such customer");
    let redrive = ChangeKind::Redrive { reason: "customer made".to_owned(), by: "op".to_owned() };
    change(&f, oscarps_id("A-1001"), redrive).await;
    assert_eq!(get(&f).await.json()["attempts"], 0);
    f.step().await;
    assert_eq!(get(&f).await.json()["status"], "PROCESSED");
}

#[tokio::test]
async fn a_withdrawn_order_is_pending_unless_it_was_processed() {
    let withdraw =
        || ChangeKind::Withdraw { reason: "mistake".to_owned(), by: "op".to_owned(), requeue: false };
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    change(&f, oscarps_id("A-1001"), withdraw()).await;
    assert_eq!(f.step().await, 0);
    assert_eq!(get(&f).await.json()["status"], "PENDING");

    f.oscarps.post(ORDER.replace("A-1001", "A-1002")).await.expect(201);
    assert_eq!(f.step().await, 1);
    change(&f, oscarps_id("A-1002"), withdraw()).await;
    assert_eq!(f.oscarps.get("/orders/A-1002").await.json()["status"], "PROCESSED");
}

#[tokio::test]
async fn an_erased_order_keeps_its_form_and_its_id() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    change(&f, oscarps_id("A-1001"), ChangeKind::Erase).await;
    let row = get(&f).await.json();
    assert_eq!((&row["orderId"], &row["customer"]), (&"A-1001".into(), &"".into()));
    f.oscarps.post(ORDER).await.expect(200);
}
