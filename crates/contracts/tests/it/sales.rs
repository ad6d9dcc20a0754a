//! `sales`: the documented calls, keys, the catalogue.

use crate::catalog::ScriptedCatalog;
use crate::harness::{Client, Fixture, means, transcript};
use async_trait::async_trait;
use contracts::sales::{self, BrokerStates};
use edge::{Caller, Gate, Guard, Limits, Refusal, Scope};
use http::request::Parts;
use order_core::{Fault, TenantId};
use std::sync::Arc;
use std::time::Duration;
use testkit::{SeededIds, build};

const PRODUCT: &str = "16fd2706-8baf-433b-82eb-8c7fada847da";
const ORDER: &str = r#"{
  "idempotency_key": "3f1c8f0e-6f0b-4a0e-9a57-0d4f3c1b7a11",
  "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
  "product_id": "16fd2706-8baf-433b-82eb-8c7fada847da",
  "quantity": 2
}"#;

fn without_key() -> String {
    ORDER.replace(r#""idempotency_key": "3f1c8f0e-6f0b-4a0e-9a57-0d4f3c1b7a11","#, "")
}

fn keyed(key: &str) -> String {
    ORDER.replace("3f1c8f0e-6f0b-4a0e-9a57-0d4f3c1b7a11", key)
}

async fn made(client: &Client, body: &str) -> String {
    client.sell(body).await.expect(201).json()["order_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_documented_calls_answer_as_documented() {
    let f = Fixture::new();
    let created = f.sales.sell(ORDER).await;
    let path = format!("/api/v1/orders/{}", created.json()["order_id"].as_str().unwrap());
    assert_text!(transcript(&[
        created,
        f.sales.get(&path).await,
        f.sales.get("/api/v1/orders").await,
        f.sales.get("/health").await,
        f.sales.get("/metrics").await,
    ]));
}

#[tokio::test]
async fn a_key_makes_one_order_and_the_refusal_names_it() {
    let f = Fixture::new();
    let order_id = made(&f.sales, ORDER).await;
    let refused = vec![
        f.sales.sell(ORDER).await,
        f.sales.sell(ORDER.replace("\"quantity\": 2", "\"quantity\": 3")).await,
    ];
    for refused in &refused {
        let entry = refused.json()["errors"][0].clone();
        assert_eq!(entry["order_id"], order_id.as_str());
        assert!(entry["error_description"].as_str().unwrap().contains(&order_id));
    }
    assert_text!(transcript(&refused));
    assert_eq!((f.events().await, f.catalog.asked()), (1, 1));
}

#[tokio::test]
async fn the_key_is_looked_up_before_the_catalogue_is_asked() {
    let f = Fixture::new();
    let order_id = made(&f.sales, ORDER).await;
    f.catalog.away(Some(Duration::from_secs(5)));
    let refused = f.sales.sell(ORDER).await.expect(409).json();
    assert_eq!(refused["errors"][0]["order_id"], order_id.as_str());
    f.catalog.away(None);
    f.catalog.say(PRODUCT, None);
    assert_eq!(
        f.sales.sell(ORDER).await.expect(409).json()["errors"][0]["error_code"],
        "DUPLICATE_IDEMPOTENCY_KEY"
    );
}

#[tokio::test]
async fn posts_at_once_with_one_key_make_one_order() {
    let f = Fixture::new();
    let posts = (0..20).map(|_| {
        let client = f.sales.clone();
        tokio::spawn(async move { client.sell(ORDER).await })
    });
    let mut made = Vec::new();
    let mut named = Vec::new();
    for post in posts.collect::<Vec<_>>() {
        let answer = post.await.unwrap();
        match answer.status.as_u16() {
            201 => made.push(answer.json()["order_id"].clone()),
            409 => named.push(answer.json()["errors"][0]["order_id"].clone()),
            _ => panic!("{answer}"),
        }
    }
    assert_eq!((made.len(), named.len()), (1, 19));
    assert!(named.iter().all(|order_id| *order_id == made[0]));
    assert_eq!(f.events().await, 1);
}

#[tokio::test]
async fn no_key_or_null_makes_an_order_each_time() {
    let f = Fixture::new();
    let one = made(&f.sales, &without_key()).await;
    let two = made(&f.sales, &ORDER.replace("\"3f1c8f0e-6f0b-4a0e-9a57-0d4f3c1b7a11\"", "null")).await;
    assert_ne!(one, two);
    assert!(f.sales.get(&format!("/api/v1/orders/{two}")).await.json()["idempotency_key"].is_null());
}

#[tokio::test]
async fn keys_are_counted_in_characters() {
    let f = Fixture::new();
    for key in ["k".to_owned(), "k".repeat(255), "ü".repeat(255), "😀".repeat(255), " ".to_owned()] {
        let order_id = made(&f.sales, &keyed(&key)).await;
        let read = f.sales.get(&format!("/api/v1/orders/{order_id}")).await.expect(200).json();
        assert_eq!(read["idempotency_key"], key.as_str());
        let refused = f.sales.sell(keyed(&key)).await.expect(409).json();
        assert_eq!(refused["errors"][0]["order_id"], order_id.as_str());
    }
    for key in [String::new(), "k".repeat(256), "ü".repeat(256)] {
        f.sales.sell(keyed(&key)).await.expect(400);
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_one_entry_a_field() {
    let f = Fixture::new();
    let mut seen = Vec::new();
    for body in [
        "{}",
        "[]",
        "null",
        r#"{"user_id": "#,
        r#"{"idempotency_key":"","user_id":"u","product_id":7,"quantity":0}"#,
        r#"{"idempotency_key":7,"user_id":null,"product_id":"16fd27068baf433b82eb8c7fada847da","quantity":"2"}"#,
        &ORDER.replace("\"quantity\": 2", "\"quantity\": 2.5"),
        &ORDER.replace("\"quantity\": 2", "\"quantity\": -1"),
        &ORDER.replace("\"quantity\": 2", "\"quantity\": 2147483648"),
        &ORDER.replace("\"quantity\": 2", "\"quantity\": 2, \"quantity\": 3"),
        &keyed("a\\u0000b"),
    ] {
        seen.push(f.sales.sell(body).await.expect(400));
    }
    assert!(seen.iter().all(|no| no.json()["errors"][0]["error_code"] == "VALIDATION_ERROR"));
    assert_text!(transcript(&seen));
    assert_eq!((f.events().await, f.catalog.asked()), (0, 0));
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_a_whole_number_may_have_a_point() {
    let f = Fixture::new();
    let body =
        ORDER.replace("\"quantity\": 2", "\"quantity\": 2.0, \"status\": \"Delivered\", \"order_id\": \"x\"");
    let order_id = made(&f.sales, &body).await;
    let read = f.sales.get(&format!("/api/v1/orders/{order_id}")).await.json();
    assert_eq!((&read["quantity"], &read["status"]), (&2.into(), &"Pending Shipment".into()));
}

#[tokio::test]
async fn what_the_catalogue_says_decides_and_nothing_is_written_else() {
    let f = Fixture::new();
    let mut seen = Vec::new();
    for available in [None, Some(0), Some(1)] {
        f.catalog.say(PRODUCT, available);
        seen.push(f.sales.sell(ORDER).await.expect(409));
    }
    f.catalog.away(Some(Duration::from_millis(4_200)));
    let away = f.sales.sell(ORDER).await.expect(503);
    assert!(!away.text().contains("secret-host"), "{away}");
    seen.push(away);
    assert_text!(transcript(&seen));
    assert_eq!((f.events().await, f.storage.commits()), (0, 0));
    f.catalog.away(None);
    f.catalog.say(PRODUCT, Some(2));
    made(&f.sales, ORDER).await;
}

#[tokio::test]
async fn ids_that_lead_nowhere() {
    let f = Fixture::new();
    made(&f.sales, ORDER).await;
    let nobody = "00000000-0000-0000-0000-000000000000";
    let mut seen = vec![f.sales.get(&format!("/api/v1/orders/{nobody}")).await.expect(404)];
    for bad in ["1", "x", "%FF", "16fd27068baf433b82eb8c7fada847da"] {
        seen.push(f.sales.get(&format!("/api/v1/orders/{bad}")).await.expect(400));
    }
    for foreign in [build::intake("A").source("api"), build::intake("A").source("sales").tenant("other")] {
        let order = f.accept(foreign).await;
        f.sales.get(&format!("/api/v1/orders/{}", order.id)).await.expect(404);
    }
    assert_text!(transcript(&seen));
    let listed = f.sales.get("/api/v1/orders").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_list_holds_the_newest_two_hundred() {
    let f = Fixture::new();
    let mut made_last = String::new();
    for _ in 0..201 {
        made_last = made(&f.sales, &without_key()).await;
    }
    let listed = f.sales.get("/api/v1/orders").await.expect(200).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["order_id"]), (200, &made_last.as_str().into()));
}

#[tokio::test]
async fn health_tells_of_each_server_and_is_red_without_the_database() {
    let f = Fixture::new();
    let gate: Arc<dyn Gate> = Arc::new(edge::Open::new(TenantId::default_tenant()));
    let guard = Arc::new(Guard::new(Limits::default(), true, f.clock.clone(), SeededIds::new(3)));
    let with = |rabbitmq, kafka| {
        let means = means(&ScriptedCatalog::new(), BrokerStates { rabbitmq, kafka });
        Client::new(sales::router(f.app.clone(), guard.clone(), gate.clone(), means))
    };
    let mut seen = vec![
        with(Some(true), Some(true)).get("/health").await.expect(200),
        with(Some(false), None).get("/health").await.expect(200),
    ];
    f.storage.down(Some(Fault::Unavailable { why: "gone".to_owned(), retry_after: Duration::from_secs(1) }));
    seen.push(with(None, Some(false)).get("/health").await.expect(503));
    assert_text!(transcript(&seen));
}

/// Lets everybody in as somebody of `acme`, with these scopes.
struct As(Vec<Scope>);

#[async_trait]
impl Gate for As {
    async fn admit(&self, head: &Parts) -> Result<Caller, Refusal> {
        if !head.headers.contains_key("authorization") {
            return Err(Refusal::Unauthenticated);
        }
        let (tenant, scopes) = (TenantId::new("acme").unwrap(), self.0.iter().copied().collect());
        Ok(Caller { tenant, subject: "somebody".into(), scopes, tenant_said: true })
    }
}

#[tokio::test]
async fn who_may_do_what_and_whose_orders_they_are() {
    let f = Fixture::new();
    let guard = Arc::new(Guard::new(Limits::default(), true, f.clock.clone(), SeededIds::new(3)));
    let with = |scopes: &[Scope]| {
        let means = means(&ScriptedCatalog::new(), BrokerStates::default());
        Client::new(sales::router(f.app.clone(), guard.clone(), Arc::new(As(scopes.to_vec())), means))
    };
    let request = |method: &str, path: &str, body: &str| {
        let request = http::Request::builder().method(method).uri(path).header("authorization", "Bearer x");
        request.header("content-type", "application/json").body(body.as_bytes().to_vec()).unwrap()
    };
    let (reader, writer) = (with(&[Scope::OrdersRead]), with(&[Scope::OrdersWrite]));
    let mut seen = vec![reader.sell(ORDER).await.expect(401), reader.get("/api/v1/orders").await.expect(401)];
    seen.push(reader.send(request("POST", "/api/v1/orders", ORDER)).await.expect(403));
    seen.push(writer.send(request("GET", "/api/v1/orders", "")).await.expect(403));
    assert_text!(transcript(&seen));
    let order = writer.send(request("POST", "/api/v1/orders", ORDER)).await.expect(201).json();
    let path = format!("/api/v1/orders/{}", order["order_id"].as_str().unwrap());
    reader.send(request("GET", &path, "")).await.expect(200);
    // The same key of another tenant is another order, which nobody else sees.
    let other = made(&f.sales, ORDER).await;
    assert_ne!(order["order_id"], other.as_str());
    f.sales.get(&path).await.expect(404);
    for open in ["/health", "/metrics"] {
        reader.get(open).await.expect(200);
    }
}
