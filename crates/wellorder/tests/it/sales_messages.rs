//! The contract `sales` between real servers of Kafka and RabbitMQ, with foreign programs at the other ends (`kcat`, Debian's
//! `amqp-tools`): see `kafka.rs` and `rabbitmq.rs` for where they are.

use crate::harness::kafka::{brokers, topic, until_records};
use crate::harness::{Home, Server, eventually};
use crate::login::{SECRET, Token, ask};
use crate::rabbitmq::{delete, send, take, unique, url};
use crate::sales::body;
use serde_json::{Value, json};
use std::sync::Arc;

/// Retries of a message, in milliseconds.
const RETRIES: [&str; 2] = ["10", "20"];

/// Names of topics and queues that nobody else has.
pub(crate) struct Names {
    topic: String,
    created: String,
    pub(crate) shipped: String,
    delivered: String,
}

impl Names {
    pub(crate) fn new() -> Self {
        let [created, shipped, delivered] = ["created", "shipped", "delivered"].map(unique);
        Self { topic: topic(), created, shipped, delivered }
    }

    /// A server that talks to both, and leaves the work of its orders to others: nothing but messages changes them.
    async fn start(&self, home: &Arc<Home>) -> Server {
        self.start_at(home, &url()).await
    }

    /// The same, with RabbitMQ at this address.
    pub(crate) async fn start_at(&self, home: &Arc<Home>, rabbitmq: &str) -> Server {
        let server = home
            .server()
            .env("JWT_SECRET", SECRET)
            .env("WELLORDER_PROCESSOR", "pull")
            .env("KAFKA_BROKERS", &brokers())
            .env("WELLORDER_KAFKA_TOPIC", &format!("{}-all", self.topic))
            .env("WELLORDER_CONTRACTS_SALES_TOPIC", &self.topic)
            .env("RABBITMQ_URL", rabbitmq)
            .env("WELLORDER_RABBITMQ_EXCHANGE", "")
            .env("WELLORDER_RABBITMQ_RETRY_MS", &RETRIES.join(","))
            .env("WELLORDER_CONTRACTS_SALES_CREATED", &self.created)
            .env("WELLORDER_CONTRACTS_SALES_SHIPPED", &self.shipped)
            .env("WELLORDER_CONTRACTS_SALES_DELIVERED", &self.delivered)
            .start()
            .await;
        // A message for a queue that is not there yet would be lost.
        for queue in [&self.shipped, &self.delivered] {
            server.until_metric(&format!(r#"wellorder_consumer_connected{{queue="{queue}"}} 1"#)).await;
        }
        server
    }

    pub(crate) fn forget(&self) {
        delete(&[&self.created]);
        for queue in [&self.shipped, &self.delivered] {
            let beside = [".dlq".to_owned()].into_iter().chain(RETRIES.map(|wait| format!(".retry.{wait}")));
            beside.chain([String::new()]).for_each(|end| delete(&[&format!("{queue}{end}")]));
        }
    }
}

pub(crate) async fn sell(server: &Server, tenant: &'static str, key: &str) -> String {
    let bearer = Token::all(tenant).bearer();
    let sold = ask(server, "POST", "/sales/api/v1/orders", Some(&bearer), Some(&body(key, 2))).await;
    assert_eq!(sold.status, 201, "{}", sold.text());
    sold.json()["order_id"].as_str().unwrap().to_owned()
}

async fn order(server: &Server, tenant: &'static str, order_id: &str) -> Value {
    let path = format!("/sales/api/v1/orders/{order_id}");
    ask(server, "GET", &path, Some(&Token::all(tenant).bearer()), None).await.json()
}

pub(crate) async fn until(
    server: &Server,
    tenant: &'static str,
    order_id: &str,
    is: impl Fn(&Value) -> bool,
) -> Value {
    eventually("an order", async || Some(order(server, tenant, order_id).await).filter(&is)).await
}

/// Waits until a consumer has counted so many.
pub(crate) async fn until_counted(server: &Server, queue: &str, outcome: &str, count: u64) {
    let of = format!(r#"queue="{queue}",outcome="{outcome}""#);
    server.until_metric(&format!("wellorder_consumer_messages_total{{{of}}} {count}")).await;
}

async fn taken(queue: &str) -> String {
    eventually("a message", async || take(queue)).await
}

/// What the topic tells of an order: types and payloads, in order.
async fn told(topic: &str, order_id: &str, all: usize) -> Vec<Value> {
    let records = until_records(topic, all).await;
    let own = records.iter().filter(|record| record["key"] == order_id);
    own.map(|record| serde_json::from_str(record["payload"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_foreign_program_reads_new_orders_and_says_what_became_of_them() {
    let (names, home) = (Names::new(), Home::new());
    let server = names.start(&home).await;
    // Another contract's order is told of elsewhere.
    server.accept(&json!({ "total": 1 })).await;
    let ours = sell(&server, "default", "k-1").await;
    let created: Value = serde_json::from_str(&taken(&names.created).await).unwrap();
    assert_eq!(json!([created["event_type"], created["order_id"]]), json!(["OrderCreated", ours]));
    for field in ["user_id", "product_id", "quantity", "status", "created_at"] {
        assert_eq!(created[field], created["data"][field], "both forms: {created}");
    }
    assert_eq!(created["data"], order(&server, "default", &ours).await);

    // Bare, and what came before comes again, in another form: it is the same fact.
    let at = "2026-01-02T03:04:05.678Z";
    let bare = json!({ "order_id": ours, "status": "Shipped", "tracking_number": "T-1", "shipped_at": at });
    send(&names.shipped, &bare.to_string());
    let shipped = until(&server, "default", &ours, |order| order["status"] == "Shipped").await;
    assert_eq!(shipped["shipped_at"], at);
    send(&names.shipped, &bare.to_string());
    until_counted(&server, &names.shipped, "done", 2).await;
    let envelope = json!({ "event_id": "e-1", "event_type": "OrderDelivered", "order_id": ours,
        "timestamp": at, "data": { "order_id": ours, "status": "Delivered", "delivered_at": at } });
    for _ in 0..2 {
        send(&names.delivered, &envelope.to_string());
    }
    until_counted(&server, &names.delivered, "done", 2).await;
    let delivered = order(&server, "default", &ours).await;
    assert_eq!(json!([delivered["status"], delivered["delivered_at"]]), json!(["Delivered", at]));

    let events = server.json(&format!("/v1/orders/{ours}/events")).await;
    let by: Vec<&Value> = events["events"].as_array().unwrap().iter().map(|one| &one["data"]["by"]).collect();
    let consumer = |queue: &str| json!(format!("consumer:{queue}"));
    assert_eq!(by[1..], [&consumer(&names.shipped), &consumer(&names.delivered)], "no token can say so");

    let told = told(&names.topic, &ours, 3).await;
    let types: Vec<&Value> = told.iter().map(|one| &one["event_type"]).collect();
    assert_eq!(types, ["OrderCreated", "OrderStatusChanged", "OrderStatusChanged"]);
    assert_eq!(
        [&told[0]["data"], &told[1]["data"], &told[2]["data"]],
        [&created["data"], &shipped, &delivered]
    );
    assert_eq!(told[0]["event_id"], created["event_id"]);
    let health = server.json("/sales/health").await;
    assert_eq!(health, json!({ "status": "healthy", "database": true, "rabbitmq": true, "kafka": true }));
    assert_eq!(take(&names.created), None, "each once");
    names.forget();
}

#[tokio::test]
async fn what_comes_back_is_sent_again_and_not_logged() {
    let (names, home) = (Names::new(), Home::new());
    let server = names.start(&home).await;
    sell(&server, "default", "k-1").await;
    taken(&names.created).await;
    // What is published now comes back; the queue is then made again.
    delete(&[&names.created]);
    let order_id = sell(&server, "default", "k-2").await;
    assert!(taken(&names.created).await.contains(&order_id));
    let log = server.terminate().await.stderr;
    assert!(!log.contains("returned us") && !log.contains("product_id"), "{log}");
    names.forget();
}

#[tokio::test]
async fn messages_find_the_orders_of_every_tenant_in_whatever_order_they_come() {
    let (names, home) = (Names::new(), Home::new());
    let server = names.start(&home).await;
    let theirs = sell(&server, "acme", "k-1").await;
    send(&names.delivered, &json!({ "order_id": theirs, "status": "Delivered" }).to_string());
    let delivered = until(&server, "acme", &theirs, |order| order["status"] == "Delivered").await;
    assert_eq!(delivered["shipped_at"], Value::Null);
    send(&names.shipped, &json!({ "order_id": theirs, "shipped_at": "2026-01-02T03:04:05Z" }).to_string());
    let late = until(&server, "acme", &theirs, |order| order["shipped_at"].is_string()).await;
    assert_eq!(late["status"], "Delivered", "a late shipment only fills in when");
    let last = sell(&server, "acme", "k-2").await;
    until_records(&names.topic, 3).await;
    assert_eq!(told(&names.topic, &last, 3).await.len(), 1);
    let types = told(&names.topic, &theirs, 3).await;
    let types: Vec<&Value> = types.iter().map(|one| &one["event_type"]).collect();
    assert_eq!(types, ["OrderCreated", "OrderStatusChanged"], "the late shipment is not told");
    names.forget();
}

#[tokio::test]
async fn what_cannot_be_dealt_with_is_parked_with_its_reason() {
    let (names, home) = (Names::new(), Home::new());
    let server = names.start(&home).await;
    let dead = format!("{}.dlq", names.shipped);
    let never = json!({ "order_id": "00000000-0000-0000-0000-000000000000", "status": "Shipped" });
    for (body, reason) in [
        ("{\"order_id\":".to_owned(), "JSON"),
        (json!({ "order_id": "7" }).to_string(), "order_id is no UUID"),
        (never.to_string(), "no such order"),
    ] {
        send(&names.shipped, &body);
        assert_eq!(taken(&dead).await, body);
        server.stderr().until(reason).await;
    }
    until_counted(&server, &names.shipped, "retried", 2).await;
    until_counted(&server, &names.shipped, "dead", 3).await;
    // An order of another source is none of this contract's.
    let other = server.accept(&json!({ "total": 1 })).await;
    let body = json!({ "order_id": other["order_id"] }).to_string();
    send(&names.delivered, &body);
    assert_eq!(taken(&format!("{}.dlq", names.delivered)).await, body);
    names.forget();
}

#[tokio::test]
async fn a_simulated_delivery_service_sees_every_order_to_its_end() {
    const ORDERS: usize = 5;
    let (names, home) = (Names::new(), Home::new());
    let server = names.start(&home).await;
    let mut sold = Vec::new();
    for number in 0..ORDERS {
        sold.push(sell(&server, "default", &format!("k-{number}")).await);
    }
    let (count, rabbitmq) = (ORDERS.to_string(), url());
    let mut args = vec!["simulate", "delivery", "--ship-after-ms", "0", "--deliver-after-ms", "0"];
    args.extend(["--created", &names.created, "--shipped", &names.shipped, "--delivered", &names.delivered]);
    args.extend(["--duplicates", "0.5", "--reorder", "0.5", "--count", &count]);
    let simulated = home.run_with(&[("RABBITMQ_URL", &rabbitmq)], &args);
    assert_eq!(simulated.code(), 0, "{simulated:?}");
    for order_id in &sold {
        let whole = |order: &Value| order["status"] == "Delivered" && order["shipped_at"].is_string();
        until(&server, "default", order_id, whole).await;
        let versions = server.json(&format!("/v1/orders/{order_id}/events")).await;
        let types: Vec<&str> =
            versions["events"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert_eq!(types.len(), 3, "{types:?}");
    }
    server.terminate().await;
    home.audited();
    names.forget();
}

#[tokio::test]
async fn health_tells_of_brokers_in_every_role_and_an_order_needs_none() {
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::builder()
        .api_alone()
        .env("JWT_SECRET", SECRET)
        .env("RABBITMQ_URL", &format!("amqp://guest:guest@{away}"))
        .env("KAFKA_BROKERS", &brokers())
        .start()
        .await;
    let health = server.json("/sales/health").await;
    assert_eq!(health, json!({ "status": "healthy", "database": true, "rabbitmq": false, "kafka": true }));
    sell(&server, "default", "k-1").await;
}
