//! `parspec`: an order in every state that it can be seen in, and the counts beside it.

use crate::harness::{Exchange, Fixture, LEASE, transcript};
use order_core::ports::Processed;
use testkit::processors::Act;

const ORDER: &str = r#"{"userId":"user-123","itemIds":["item1","item2"],"totalAmount":59.99}"#;

async fn get(f: &Fixture, id: i64) -> Exchange {
    f.parspec.get(&format!("/orders/{id}")).await.expect(200)
}

async fn script(f: &Fixture, id: i64, acts: impl IntoIterator<Item = Act>) {
    f.processor.script(f.order_by_number(id).await.id, acts);
}

#[tokio::test]
async fn from_pending_over_processing_to_completed() {
    let f = Fixture::new();
    f.parspec.post(ORDER).await.expect(201);
    script(&f, 1, [Act::Hang(Processed::Done)]).await;
    let mut seen = vec![get(&f, 1).await];
    f.pass(10);
    let step = f.step_until_begun(1).await;
    seen.push(get(&f, 1).await);
    seen.push(f.parspec.get("/metrics").await);
    f.pass(2);
    f.processor.release();
    step.await.unwrap();
    seen.push(get(&f, 1).await);
    seen.push(f.parspec.get("/metrics").await);
    assert_text!(transcript(&seen));
}

#[tokio::test]
async fn what_waits_for_a_retry_or_an_operator_is_pending_without_times() {
    let f = Fixture::new();
    f.parspec.post(ORDER).await.expect(201);
    script(&f, 1, [Act::fail("no stock"), Act::hopeless("no such item")]).await;
    f.pass(1);
    f.step().await;
    let waiting = get(&f, 1).await;
    f.pass(60);
    f.step().await;
    assert_text!(transcript(&[waiting, get(&f, 1).await, f.parspec.get("/metrics").await]));
}

#[tokio::test]
async fn a_lapsed_lease_is_no_processing() {
    let f = Fixture::new();
    f.parspec.post(ORDER).await.expect(201);
    script(&f, 1, [Act::Hang(Processed::Done)]).await;
    f.step_until_begun(1).await.abort();
    assert_eq!(get(&f, 1).await.json()["order"]["status"], "PROCESSING");
    f.clock.advance(LEASE);
    let order = &get(&f, 1).await.json()["order"];
    assert_eq!(order["status"], "PENDING");
    assert!(order["processingStartTime"].is_null());
    f.step().await;
    assert_eq!(get(&f, 1).await.json()["order"]["status"], "COMPLETED");
}

#[tokio::test]
async fn counts_are_exact_right_after_each_change() {
    let f = Fixture::new();
    for _ in 0..5 {
        f.parspec.post(ORDER).await.expect(201);
    }
    // Two take 2 s, one takes 5 s, one parks, one hangs.
    script(&f, 4, [Act::hopeless("no")]).await;
    for id in [1, 2, 3, 5] {
        script(&f, id, [Act::Hang(Processed::Done)]).await;
    }
    let step = f.step_until_begun(5).await;
    f.pass(2);
    for processed in 1..=2 {
        f.processor.release();
        settled(&f, processed).await;
    }
    f.pass(3);
    f.processor.release();
    settled(&f, 3).await;
    let metrics = f.parspec.get("/metrics").await.expect(200);
    assert_eq!(
        metrics.text(),
        concat!(
            r#"{"totalOrders":5,"processedCount":3,"avgProcessingTime":3.0,"#,
            r#""statuses":{"pending":1,"processing":1,"completed":3}}"#
        )
    );
    f.processor.release();
    step.await.unwrap();
}

/// Waits until so many orders are processed; each turn lets the worker run.
async fn settled(f: &Fixture, processed: u64) {
    loop {
        let metrics = f.parspec.get("/metrics").await.json();
        if metrics["processedCount"] == processed && metrics["statuses"]["pending"] == 1 {
            return;
        }
        tokio::task::yield_now().await;
    }
}
