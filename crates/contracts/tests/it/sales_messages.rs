//! What `sales` tells brokers: the forms, and when.

use crate::harness::Fixture;
use crate::sales_states::{sold, tell};
use contracts::sales::OrderEvents;
use contracts::sales::consumed::Fact;
use contracts::sales::message::{TOPIC, created};
use order_core::journal::Event;
use order_core::telling::{AsOf, Telling};
use order_core::{Order, OrderId, TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

async fn events(f: &Fixture, order_id: &str) -> Vec<Event> {
    let order_id = OrderId(Uuid::parse_str(order_id).unwrap());
    let page = f.app.storage.order_events(&TenantId::default_tenant(), order_id, 0, 100).await.unwrap();
    page.unwrap().events
}

/// What each event of an order tells, as a reader of Kafka finds it.
async fn told(f: &Fixture, order_id: &str) -> Vec<Value> {
    let telling = OrderEvents::new(TOPIC).unwrap();
    let (mut as_of, mut told) = (AsOf::new(f.app.storage.as_ref()), Vec::new());
    for event in &events(f, order_id).await {
        if !telling.concerns(event) {
            as_of.pass(event);
            continue;
        }
        let (before, after) = as_of.around(event).await.unwrap();
        if let Some(one) = telling.tell(event, before, after).unwrap() {
            assert_eq!((one.to.as_str(), one.key.as_str()), (TOPIC, order_id));
            told.push(serde_json::from_slice(&one.body).unwrap());
        }
    }
    told
}

#[tokio::test]
async fn an_order_is_told_of_when_it_is_made_sent_and_delivered() {
    let f = Fixture::new();
    let order_id = sold(&f).await;
    assert_eq!(f.step().await, 1);
    f.pass(60);
    tell(&f, Fact::Shipped, json!({ "order_id": order_id })).await;
    f.pass(60);
    tell(&f, Fact::Delivered, json!({ "order_id": order_id })).await;
    let mut told = told(&f, &order_id).await;
    // What it is now is what was told last.
    let now = f.sales.get(&format!("/api/v1/orders/{order_id}")).await.json();
    assert_eq!(told.last().unwrap()["data"], now);
    // The ids are those of the events; what has a part in drawing them by chance is not always the same.
    let ids: Vec<String> =
        events(&f, &order_id).await.iter().map(|event| event.event_id.to_string()).collect();
    for message in &mut told {
        let id = message["event_id"].take();
        assert!(ids.iter().any(|known| id == **known), "{id}");
        message["event_id"] = "of the event".into();
    }
    assert_text!(told.iter().map(|message| format!("{message:#}")).collect::<Vec<_>>().join("\n"));
}

#[tokio::test]
async fn a_late_shipment_and_a_number_of_the_carrier_tell_nothing() {
    let f = Fixture::new();
    let late = sold(&f).await;
    tell(&f, Fact::Delivered, json!({ "order_id": late })).await;
    assert!(tell(&f, Fact::Shipped, json!({ "order_id": late, "shipped_at": "2025-02-22T09:00:00Z" })).await);
    let types = |told: Vec<Value>| told.iter().map(|one| one["event_type"].clone()).collect::<Vec<_>>();
    assert_eq!(types(told(&f, &late).await), ["OrderCreated", "OrderStatusChanged"]);
    let (sent, at) = (sold(&f).await, "2025-02-22T09:00:00Z");
    tell(&f, Fact::Shipped, json!({ "order_id": sent, "shipped_at": at })).await;
    assert!(
        tell(&f, Fact::Shipped, json!({ "order_id": sent, "shipped_at": at, "tracking_number": "T" })).await
    );
    assert_eq!(types(told(&f, &sent).await), ["OrderCreated", "OrderStatusChanged"]);
}

#[tokio::test]
async fn a_new_order_can_be_read_with_its_envelope_and_without() {
    let f = Fixture::new();
    let order_id = sold(&f).await;
    let events = events(&f, &order_id).await;
    let after = Order::fold(None, &events[0]).unwrap();
    let message: Value = serde_json::from_slice(&created(&after, &events[0]).unwrap()).unwrap();
    for field in ["user_id", "product_id", "quantity", "status", "created_at"] {
        assert_eq!(message[field], message["data"][field], "{field}");
    }
    assert_eq!(message["event_id"], events[0].event_id.to_string());
    assert_text!(format!("{message:#}"));
}
