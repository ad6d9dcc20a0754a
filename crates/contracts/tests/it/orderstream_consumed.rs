//! What messages of Kafka do to orders of `orderstream`, and what is told there of them.

use crate::harness::{Fixture, LEASE};
use contracts::orderstream::consumed::{self, Undone};
use contracts::orderstream::events::{Ack, AckStatus, INSTALLATION, OrderEvent, shown_id};
use contracts::orderstream::telling::{AcksTold, EventsTold};
use order_core::command::Command;
use order_core::desk::Desks;
use order_core::intake::{Accepted, Intake};
use order_core::json::JsonLimits;
use order_core::lane::LanePolicy;
use order_core::order::Content;
use order_core::state::Processing;
use order_core::telling::{AsOf, Telling, Told};
use order_core::{App, Fault, Order, OrderId, Shard, SourceId, TenantId, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testkit::{ManualClock, MemoryStorage, SeededIds, Wrapped};
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
                told.extend(telling.tell(&event, before, after).unwrap());
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

/// An event of that second, with this amount.
fn event_of(order_id: Uuid, second: u32, amount: u32) -> OrderEvent {
    let event = json!({
        "order_id": order_id.to_string(), "user_id": USER, "payload": {"amount": amount},
        "timestamp": format!("2025-12-20T10:00:{second:02}Z"),
    });
    OrderEvent::parse(Some(event.to_string().as_bytes()), JsonLimits::default()).unwrap()
}

/// An event that happens now.
fn event_now(f: &Fixture, order_id: Uuid, amount: u32) -> OrderEvent {
    let event = json!({
        "order_id": order_id.to_string(), "user_id": USER, "payload": {"amount": amount},
        "timestamp": f.app.clock.now().to_string(),
    });
    OrderEvent::parse(Some(event.to_string().as_bytes()), JsonLimits::default()).unwrap()
}

async fn amount(f: &Fixture, order_id: Uuid) -> Value {
    f.orderstream.get(&format!("/orders/{order_id}")).await.json()["order"]["amount"].clone()
}

async fn post(f: &Fixture, body: Value) -> Uuid {
    let posted = f.orderstream.post_to("/orders", body.to_string()).await.json();
    Uuid::try_parse(posted["order_id"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing_that_was_changed_here_since() {
    let f = Fixture::new();
    let create = event_now(&f, FOREIGN, 1);
    hear(&f, &create).await;
    f.pass(1);
    let update = event_now(&f, FOREIGN, 2);
    hear(&f, &update).await;
    f.pass(1);
    let between = event_now(&f, FOREIGN, 7);
    f.pass(1);
    post(&f, json!({"order_id": FOREIGN, "user_id": USER, "payload": {"amount": 3}})).await;
    f.step().await;
    for (event, status) in
        [(&create, AckStatus::Created), (&update, AckStatus::Updated), (&between, AckStatus::Updated)]
    {
        assert_eq!(hear(&f, event).await.map(|(status, _)| status), Some(status), "as before, and older");
        assert_eq!(amount(&f, FOREIGN).await, 3);
    }
    f.pass(1);
    assert_eq!(hear(&f, &event_now(&f, FOREIGN, 4)).await, None, "newer");
    assert_eq!(amount(&f, FOREIGN).await, 4);
    // An order that was made here, changed over our own API: of what it holds, that keeps the time of an event.
    let ours = post(&f, json!({"user_id": USER, "payload": {"amount": 1}})).await;
    f.pass(1);
    hear(&f, &event_now(&f, ours, 2)).await;
    f.pass(1);
    let between = event_now(&f, ours, 7);
    f.pass(1);
    let order = f.order(OrderId(ours)).await;
    let content = Content { currency: Some("EUR".to_owned()), ..order.content };
    f.revise(order.id, content).await;
    f.step().await;
    assert_eq!(hear(&f, &between).await.map(|(status, _)| status), Some(AckStatus::Updated));
    assert_eq!(f.order(OrderId(ours)).await.content.currency.as_deref(), Some("EUR"));
}

#[tokio::test]
async fn of_events_of_one_moment_each_counts_and_none_twice() {
    let f = Fixture::new();
    for amount in [1, 2, 3] {
        assert_eq!(hear(&f, &event_of(FOREIGN, 5, amount)).await, None);
    }
    f.step().await;
    assert_eq!(amount(&f, FOREIGN).await, 3);
    let events = f.events().await;
    let expected = [(1, AckStatus::Created), (2, AckStatus::Updated), (3, AckStatus::Updated)];
    for (amount, expected) in expected {
        let (status, _) = hear(&f, &event_of(FOREIGN, 5, amount)).await.unwrap();
        assert_eq!(status, expected, "as before");
    }
    assert_eq!((f.events().await, amount(&f, FOREIGN).await), (events, json!(3)));
}

#[tokio::test]
async fn an_order_of_any_tenant_is_found() {
    let f = Fixture::new();
    let acme = TenantId::new("acme").unwrap();
    let content = Content { customer: Some(USER.to_owned()), ..Content::default() };
    let source = SourceId::new("orderstream").unwrap();
    let intake = Intake { tenant: acme.clone(), source, reference: None, content, key: None };
    let Accepted::New(order) = f.app.accept_scattered(intake).await.unwrap() else { panic!("it is new") };
    let id = order.id;
    let order = async || f.app.storage.order(&acme, id).await.unwrap().unwrap();
    acknowledge(&f, id.0, AckStatus::Created, None).await;
    assert_eq!(order().await.processing, Processing::Done);
    f.pass(1);
    assert_eq!(hear(&f, &event_now(&f, id.0, 7)).await, None);
    let order = order().await;
    assert_eq!((order.content.total.to_string(), order.version), ("7".to_owned(), 3));
    assert_eq!(f.events().await, 3, "and nobody else has got one");
}

#[tokio::test]
async fn an_acknowledgement_of_an_earlier_update_ends_nothing() {
    let f = Fixture::new();
    let id = post(&f, json!({"user_id": USER, "payload": {"amount": 1}})).await;
    let update = async |amount: u32| {
        f.pass(10);
        post(&f, json!({"order_id": id, "user_id": USER, "payload": {"amount": amount}})).await;
        f.app.clock.now()
    };
    let processing = async || f.order(OrderId(id)).await.processing;
    // However slow its clock: it can be of nothing else.
    acknowledge(&f, id, AckStatus::Created, Timestamp::parse("2001-01-01T00:00:00Z").ok()).await;
    assert_eq!(processing().await, Processing::Done);
    let first = update(2).await;
    // Back to what it was at first: an update all the same.
    let second = update(1).await;
    acknowledge(&f, id, AckStatus::Updated, Some(first)).await;
    assert_eq!(processing().await, Processing::Queued, "that was the first's");
    acknowledge(&f, id, AckStatus::Updated, Some(second)).await;
    assert_eq!(processing().await, Processing::Done);
    let third = update(4).await;
    acknowledge(&f, id, AckStatus::Updated, Some(second)).await;
    assert_eq!(processing().await, Processing::Queued, "that comes again");
    // A clock that is a little slow, as it is written: to the millisecond.
    acknowledge(&f, id, AckStatus::Updated, Some(Timestamp::from_micros(third.micros() - 1_000_000))).await;
    assert_eq!(processing().await, Processing::Done);
}

#[tokio::test]
async fn a_delete_of_nothing_leaves_a_tombstone() {
    let f = Fixture::new();
    assert_eq!(hear(&f, &event(FOREIGN, "deleted", 5)).await.unwrap().0, AckStatus::Deleted);
    assert_eq!(f.step().await, 0, "nobody works on it");
    assert_eq!(told(&f, &AcksTold::new("acks")).await, [], "what was acknowledged at once is not again");
    assert_eq!(hear(&f, &event(FOREIGN, "new", 4)).await.unwrap().0, AckStatus::Deleted);
    assert_eq!(f.orderstream.get(&format!("/orders/{FOREIGN}")).await.status, http::StatusCode::NOT_FOUND);
}

/// However it ends: a tombstone is there whole, or not at all, and then its event comes again.
#[tokio::test]
async fn a_tombstone_is_one_commit() {
    let (storage, left) = (MemoryStorage::new(), Arc::new(AtomicUsize::new(1)));
    let writes = |batch: &[Command]| batch.iter().any(|one| !matches!(one, Command::Probe));
    let one_more = move |batch: &[Command]| {
        let spent = writes(batch)
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        spent.then(|| Fault::Unavailable { why: "the plug is out".to_owned(), retry_after: Duration::ZERO })
    };
    let port = Wrapped::failing(storage.port(), Box::new(one_more), Box::new(|_| None));
    let app = App::start(port, ManualClock::new(), SeededIds::new(1), LanePolicy::default());
    let heard = consumed::hear(&app, &TenantId::default_tenant(), &event(FOREIGN, "deleted", 5)).await;
    let (status, order) = heard.expect("one commit is enough").expect("an acknowledgement");
    assert_eq!((status, order.withdrawn, order.processing), (AckStatus::Deleted, true, Processing::Done));
    let claimed = App::start(storage.port(), ManualClock::new(), SeededIds::new(2), LanePolicy::default());
    let claimed = claimed.claim(None, Desks::ALL, 10, LEASE, 3).await.unwrap();
    assert!(claimed.leased.is_empty(), "nobody works on it");
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
    let order = async || f.order(OrderId(id)).await;
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
    let order = f.order(OrderId(id)).await;
    assert!(order.withdrawn && order.processing == Processing::Done);
    let told = told(&f, &EventsTold::new("events", "i".to_owned())).await;
    assert_eq!(statuses(&told), ["new"], "its worker knows");
}

#[tokio::test]
async fn what_others_delete_of_ours_is_worked_on_before_that_is_acknowledged() {
    let f = Fixture::new();
    let created = f.orderstream.post_to("/orders", json!({"user_id": USER, "payload": {}}).to_string()).await;
    let id = Uuid::try_parse(created.json()["order_id"].as_str().unwrap()).unwrap();
    f.step().await;
    f.pass(1);
    assert_eq!(hear(&f, &event(id, "deleted", 5)).await, None, "nobody has worked on that");
    let order = f.order(OrderId(id)).await;
    assert!(order.withdrawn && order.processing == Processing::Queued);
    let deleted_at = order.updated_at;
    assert_eq!(f.step().await, 1, "its processor hears of it");
    let acks = told(&f, &AcksTold::new("acks")).await;
    assert_eq!(statuses(&acks), ["deleted"]);
    let (status, order) = hear(&f, &event(id, "deleted", 5)).await.unwrap();
    assert_eq!(status, AckStatus::Deleted);
    assert!(order.processed_at.unwrap() >= deleted_at);
}
