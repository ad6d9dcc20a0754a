//! What messages of Kafka do to orders of `orderstream`, and what is told there of them.

use crate::harness::Fixture;
use contracts::orderstream::consumed::{self, Undone};
use contracts::orderstream::events::{Ack, AckStatus, INSTALLATION, OrderEvent, shown_id};
use contracts::orderstream::telling::{AcksTold, EventsTold};
use order_core::json::JsonLimits;
use order_core::state::Processing;
use order_core::telling::{AsOf, Telling, Told};
use order_core::{Order, Shard, TenantId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";
const FOREIGN: Uuid = Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111);

fn event(order_id: Uuid, status: &str, second: u32) -> OrderEvent {
    let timestamp = format!("2025-12-20T10:00:{second:02}Z");
    let event = json!({
        "order_id": order_id.to_string(), "user_id": USER, "status": status, "timestamp": timestamp,
        "payload": {"amount": second},
    });
    OrderEvent::parse(Some(event.to_string().as_bytes()), JsonLimits::default()).unwrap()
}

async fn hear(f: &Fixture, event: &OrderEvent) -> Option<(AckStatus, Order)> {
    consumed::hear(&f.app, &TenantId::default_tenant(), event).await.unwrap()
}

async fn acknowledge(f: &Fixture, order_id: Uuid, status: AckStatus, processed_at: Option<Timestamp>) {
    let ack = Ack { order_id, status, processed_at };
    consumed::acknowledged(&f.app, &TenantId::default_tenant(), &ack).await.unwrap();
}

/// What is told of all that has happened.
async fn told(f: &Fixture, telling: &dyn Telling) -> Vec<Told> {
    let (storage, mut told) = (f.app.storage.as_ref(), Vec::new());
    let mut as_of = AsOf::new(storage);
    for shard in 0..storage.install().shards {
        for event in storage.journal(Shard(shard), 0, 1_000).await.unwrap() {
            if telling.covers(&event.source) && telling.concerns(&event) {
                let (before, after) = as_of.around(&event).await.unwrap();
                told.extend(telling.tell(&event, before, after));
            }
        }
    }
    told
}

fn statuses(told: &[Told]) -> Vec<Value> {
    told.iter().map(|told| serde_json::from_slice::<Value>(&told.body).unwrap()["status"].clone()).collect()
}

#[tokio::test]
async fn events_of_others_count_once_and_the_newest_wins() {
    let f = Fixture::new();
    assert_eq!(hear(&f, &event(FOREIGN, "new", 5)).await, None, "acknowledged once it is worked on");
    assert_eq!(hear(&f, &event(FOREIGN, "new", 5)).await, None, "the same, which is still to come");
    assert_eq!(f.step().await, 1);
    let (status, order) = hear(&f, &event(FOREIGN, "new", 5)).await.unwrap();
    assert_eq!((status, shown_id(&order), order.version), (AckStatus::Created, FOREIGN, 2));
    assert_eq!(hear(&f, &event(FOREIGN, "new", 7)).await, None);
    f.step().await;
    let (status, order) = hear(&f, &event(FOREIGN, "new", 6)).await.unwrap();
    assert_eq!((status, order.content.total.to_string()), (AckStatus::Updated, "7".to_owned()));
    assert_eq!(hear(&f, &event(FOREIGN, "deleted", 8)).await, None);
    f.step().await;
    assert_eq!(hear(&f, &event(FOREIGN, "new", 9)).await.unwrap().0, AckStatus::Deleted);
    let acks = told(&f, &AcksTold::new("acks")).await;
    assert_eq!(statuses(&acks), ["created", "updated", "deleted"]);
    assert!(acks.iter().all(|ack| ack.key == FOREIGN.to_string() && ack.to == "acks"));
    assert_eq!(
        told(&f, &EventsTold::new("events", "i".to_owned())).await,
        [],
        "where it came from it is known"
    );
}

#[tokio::test]
async fn a_delete_of_nothing_leaves_a_tombstone() {
    let f = Fixture::new();
    assert_eq!(hear(&f, &event(FOREIGN, "deleted", 5)).await.unwrap().0, AckStatus::Deleted);
    assert_eq!(f.step().await, 0, "nobody works on it");
    assert_eq!(hear(&f, &event(FOREIGN, "new", 4)).await.unwrap().0, AckStatus::Deleted);
    assert_eq!(f.orderstream.get(&format!("/orders/{FOREIGN}")).await.status, http::StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_an_order_does_not_allow_is_never_done() {
    let f = Fixture::new();
    hear(&f, &event(FOREIGN, "new", 5)).await;
    f.step().await;
    let (_, order) = hear(&f, &event(FOREIGN, "new", 5)).await.unwrap();
    f.ship(order.id).await;
    let heard = consumed::hear(&f.app, &TenantId::default_tenant(), &event(FOREIGN, "new", 6)).await;
    assert!(matches!(heard, Err(Undone::Never(_))), "{heard:?}");
}

#[tokio::test]
async fn changes_made_here_are_told_and_an_acknowledgement_ends_their_work() {
    let f = Fixture::new();
    let post = async |body: Value| f.orderstream.post_to("/orders", body.to_string()).await.json();
    let created = post(json!({"user_id": USER, "payload": {"id": 7, "amount": 1}})).await;
    let id = Uuid::try_parse(created["order_id"].as_str().unwrap()).unwrap();
    acknowledge(&f, FOREIGN, AckStatus::Created, None).await;
    acknowledge(&f, id, AckStatus::Created, None).await;
    let order = async || f.order(order_core::OrderId(id)).await;
    assert_eq!((order().await.processing, f.step().await), (Processing::Done, 0));
    f.pass(1);
    post(json!({"order_id": id, "user_id": USER, "payload": {"id": 7, "amount": 2}})).await;
    let before = order().await.accepted_at;
    acknowledge(&f, id, AckStatus::Created, Some(before)).await;
    assert_eq!(order().await.processing, Processing::Queued, "that was the create's");
    acknowledge(&f, id, AckStatus::Updated, None).await;
    assert_eq!(order().await.processing, Processing::Done);
    post(json!({"order_id": id, "user_id": USER, "status": "deleted"})).await;
    acknowledge(&f, id, AckStatus::Updated, None).await;
    assert_eq!(order().await.processing, Processing::Queued, "that was the update's");
    acknowledge(&f, id, AckStatus::Deleted, None).await;
    assert_eq!(order().await.processing, Processing::Done);
    let told = told(&f, &EventsTold::new("events", "i".to_owned())).await;
    assert_eq!(statuses(&told), ["new", "new", "deleted"]);
    assert!(
        told.iter()
            .all(|told| told.key == id.to_string() && told.headers == [(INSTALLATION, "i".to_owned())])
    );
}

#[tokio::test]
async fn what_its_worker_has_deleted_is_deleted_here() {
    let f = Fixture::new();
    let created = f.orderstream.post_to("/orders", json!({"user_id": USER, "payload": {}}).to_string()).await;
    let id = Uuid::try_parse(created.json()["order_id"].as_str().unwrap()).unwrap();
    acknowledge(&f, id, AckStatus::Deleted, None).await;
    let order = f.order(order_core::OrderId(id)).await;
    assert!(order.withdrawn && order.processing == Processing::Done);
    let told = told(&f, &EventsTold::new("events", "i".to_owned())).await;
    assert_eq!(statuses(&told), ["new"], "its worker knows");
}
