//! `orderstream`: an order in every state that it can be seen in, and what is answered once its work is done.

use crate::harness::{Exchange, Fixture, transcript};
use crate::orderstream::{USER, create, get, id};
use order_core::OrderId;
use order_core::ports::Processed;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::processors::Act;

/// A fact that does not come to be within this long fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `body` with a client that waits, and lets the worker run until it is answered.
async fn worked(f: &Fixture, body: Value) -> Exchange {
    let client = f.patient.clone();
    let mut asked = tokio::spawn(async move { client.post(body.to_string()).await });
    loop {
        tokio::select! {
            biased;
            done = &mut asked => return done.unwrap(),
            () = tokio::task::yield_now() => { f.step().await; }
        }
    }
}

fn core_id(id: &str) -> OrderId {
    OrderId(uuid::Uuid::try_parse(id).unwrap())
}

#[tokio::test]
async fn an_acknowledged_request_is_answered_with_what_became_of_it() {
    let f = Fixture::new();
    let created = worked(&f, json!({"user_id": USER, "payload": {"id": "e-1", "amount": 1}})).await;
    let id = id(&created);
    let update = json!({"order_id": id, "user_id": USER, "payload": {"id": "e-1", "amount": 2}});
    let delete = json!({"order_id": id, "user_id": USER, "status": "deleted"});
    let seen = [
        created,
        f.patient.get(&format!("/orders/{id}")).await,
        worked(&f, update.clone()).await,
        // Nothing is new, so there is nothing to wait for.
        f.patient.post(update.to_string()).await,
        worked(&f, delete.clone()).await,
        f.patient.get(&format!("/orders/{id}")).await,
        worked(&f, delete).await,
        worked(&f, update).await,
    ];
    assert_text!(transcript(&seen));
    assert_eq!(f.order(core_id(&id)).await.attempt, 1, "each change was work of its own");
}

#[tokio::test]
async fn from_new_over_processing_to_done() {
    let f = Fixture::new();
    let id = id(&f.orderstream.post(create(&json!({}))).await.expect(202));
    f.processor.script(core_id(&id), [Act::Hang(Processed::Done)]);
    assert_eq!(get(&f.orderstream, &id).await["status"], "new");
    let step = f.step_until_begun(1).await;
    assert_eq!(get(&f.orderstream, &id).await["status"], "processing");
    f.processor.release();
    step.await.unwrap();
    assert_eq!(get(&f.orderstream, &id).await["status"], "done");
    let update = json!({"order_id": id, "user_id": USER, "payload": {"amount": 1}});
    f.orderstream.post(update.to_string()).await.expect(202);
    assert_eq!(get(&f.orderstream, &id).await["status"], "new", "the update is work again");
}

#[tokio::test]
async fn what_waits_for_an_operator_is_pending_and_new() {
    let f = Fixture::new();
    let id = id(&f.orderstream.post(create(&json!({}))).await.expect(202));
    f.processor.script(core_id(&id), [Act::hopeless("no such item")]);
    f.step().await;
    assert_eq!(get(&f.patient, &id).await["status"], "new");
    let same = json!({"order_id": id, "user_id": USER, "payload": {}});
    let reply = f.patient.post(same.to_string()).await.expect(202).json();
    assert_eq!(reply["status"], "pending");
}

#[tokio::test]
async fn an_update_that_is_deleted_before_it_is_acknowledged_is_told_so() {
    let f = Fixture::new();
    let id = id(&f.orderstream.post(create(&json!({}))).await.expect(202));
    let (client, order_id) = (f.patient.clone(), id.clone());
    let update = tokio::spawn(async move {
        let update = json!({"order_id": order_id, "user_id": USER, "payload": {"amount": 1}});
        client.post(update.to_string()).await
    });
    let revised = async {
        while f.events().await < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, revised).await.expect("the update is committed");
    let delete = json!({"order_id": id, "user_id": USER, "status": "cancelled"});
    f.orderstream.post(delete.to_string()).await.expect(202);
    f.step().await;
    let told = update.await.unwrap().expect(409).json();
    assert_eq!((&told["order_id"], &told["status"]), (&id.into(), &"deleted".into()));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_answered_in_time_is_told_that_it_is_pending() {
    let f = Fixture::new();
    let before = tokio::time::Instant::now();
    let reply = f.patient.post(create(&json!({}))).await.expect(202).json();
    assert_eq!(reply["status"], "pending");
    assert!(before.elapsed() >= contracts::orderstream::ACK_WAIT);
    f.orderstream.post(create(&json!({}))).await.expect(202);
}

#[tokio::test]
async fn what_is_on_its_way_changes_no_more() {
    let f = Fixture::new();
    let id = id(&f.orderstream.post(create(&json!({}))).await.expect(202));
    f.ship(core_id(&id)).await;
    let update = json!({"order_id": id, "user_id": USER, "payload": {"amount": 1}});
    assert_text!(transcript(&[f.orderstream.post(update.to_string()).await.expect(409)]));
}

#[tokio::test]
async fn an_erased_order_shows_nothing_of_anybody() {
    let f = Fixture::new();
    let id =
        id(&f.orderstream.post(create(&json!({"id": "e-1", "amount": 5, "name": "Ada"}))).await.expect(202));
    f.erase(core_id(&id)).await;
    let order = get(&f.orderstream, &id).await;
    assert_eq!(
        (&order["user_id"], &order["payload_json"], &order["amount"]),
        (&"".into(), &json!({}), &json!(5))
    );
    f.orderstream.get(&format!("/orders/by-external/e-1?user_id={USER}")).await.expect(404);
}
