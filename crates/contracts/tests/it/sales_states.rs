//! What a client of `sales` sees as its order goes on.

use crate::harness::{Exchange, Fixture, transcript};
use contracts::sales::consumed::{Fact, Message};
use order_core::change::Target;
use order_core::inbox::{self, Outcome};
use order_core::{OrderId, SourceId, TenantId};
use serde_json::json;
use uuid::Uuid;

const ORDER: &str = r#"{"user_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","quantity":2}"#;

/// Takes an order in; returns its id.
pub(crate) async fn sold(f: &Fixture) -> String {
    f.sales.sell(ORDER).await.expect(201).json()["order_id"].as_str().unwrap().to_owned()
}

/// Lets a message of a queue, which is another one where it says something else, happen to an order; whether it changed
/// anything.
pub(crate) async fn tell(f: &Fixture, fact: Fact, message: serde_json::Value) -> bool {
    let said = Message::read(fact, message.to_string().as_bytes()).unwrap();
    let (before, message_id) = (f.events().await, message.to_string());
    let kind = said.change(order_core::Clock::now(f.clock.as_ref()));
    let source = Some(SourceId::new("sales").unwrap());
    let heard = inbox::Fact { event_id: said.event_id, tenant: None, source, order_id: said.order_id, kind };
    assert_eq!(f.app.hear(&format!("{fact:?}").into(), Some(&message_id), heard).await, Outcome::Done);
    f.events().await > before
}

async fn read(f: &Fixture, order_id: &str) -> Exchange {
    f.sales.get(&format!("/api/v1/orders/{order_id}")).await.expect(200)
}

#[tokio::test]
async fn from_pending_over_shipped_to_delivered() {
    let f = Fixture::new();
    let order_id = sold(&f).await;
    // Its processing is not seen here.
    assert_eq!(f.step().await, 1);
    let mut seen = vec![read(&f, &order_id).await];
    f.pass(60);
    tell(
        &f,
        Fact::Shipped,
        json!({ "order_id": order_id, "shipped_at": "2025-02-22T10:00:30Z", "tracking_number": "T-1" }),
    )
    .await;
    seen.push(read(&f, &order_id).await);
    f.pass(60);
    tell(&f, Fact::Delivered, json!({ "order_id": order_id })).await;
    seen.push(read(&f, &order_id).await);
    assert_text!(transcript(&seen));
}

#[tokio::test]
async fn a_shipment_that_comes_late_only_fills_in_when_it_was() {
    let f = Fixture::new();
    let order_id = sold(&f).await;
    tell(&f, Fact::Delivered, json!({ "order_id": order_id, "delivered_at": "2025-02-25T12:00:00Z" })).await;
    let early = read(&f, &order_id).await.json();
    assert_eq!(json!([early["status"], early["shipped_at"]]), json!(["Delivered", null]));
    assert!(
        tell(&f, Fact::Shipped, json!({ "order_id": order_id, "shipped_at": "2025-02-24T08:00:00Z" })).await
    );
    let late = read(&f, &order_id).await.json();
    assert_eq!(
        json!([late["status"], late["shipped_at"], late["delivered_at"]]),
        json!(["Delivered", "2025-02-24T08:00:00.000Z", "2025-02-25T12:00:00.000Z"])
    );
    assert!(
        !tell(&f, Fact::Shipped, json!({ "order_id": order_id, "shipped_at": "2025-02-26T08:00:00Z" })).await
    );
}

#[tokio::test]
async fn an_erased_order_keeps_its_product_and_loses_its_user() {
    let f = Fixture::new();
    let order_id = sold(&f).await;
    let target = Target {
        tenant: TenantId::default_tenant(),
        source: None,
        order_id: OrderId(Uuid::parse_str(&order_id).unwrap()),
        expected_version: None,
    };
    f.app.change(target, order_core::command::ChangeKind::Erase).await.unwrap();
    let erased = read(&f, &order_id).await.json();
    assert!(erased["user_id"].is_null());
    assert_eq!(erased["product_id"], "16fd2706-8baf-433b-82eb-8c7fada847da");
}
