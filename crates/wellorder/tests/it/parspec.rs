//! The contract `parspec`, as a client of it finds it.

use crate::harness::{Answer, Receiver, Server};
use crate::{is_moment, names};
use serde_json::{Value, json};

const ORDER: [&str; 9] = [
    "id",
    "userId",
    "itemIds",
    "totalAmount",
    "status",
    "createdAt",
    "updatedAt",
    "processingStartTime",
    "processingEndTime",
];
const BODY: &str = r#"{ "userId": "user-123", "itemIds": ["item1", "item2"], "totalAmount": 59.99 }"#;

#[tokio::test]
async fn every_documented_request_works_at_the_root_and_under_the_prefix() {
    let server = Server::builder().args(&["--as", "parspec"]).api_alone().start().await;
    for (base, number) in [("", 1), ("/parspec", 2)] {
        let created = server.post(&format!("{base}/orders"), BODY).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let wrapped = created.json();
        assert_eq!(names(&wrapped), ["order"]);
        let order = &wrapped["order"];
        assert_eq!(names(order), ORDER);
        let found = json!([
            order["id"],
            order["userId"],
            order["itemIds"],
            order["status"],
            order["processingStartTime"]
        ]);
        assert_eq!(found, json!([number, "user-123", ["item1", "item2"], "PENDING", null]));
        assert!(created.text().contains(r#""totalAmount":59.99,"#), "{}", created.text());
        assert!(is_moment(&order["createdAt"], 3) && order["createdAt"] == order["updatedAt"], "{order}");

        let found = server.get(&format!("{base}/orders/{number}")).await;
        assert_eq!((found.status, found.json()), (200, wrapped));
        let invalid = server.get(&format!("{base}/orders/abc")).await;
        assert_eq!((invalid.status, invalid.text()), (400, r#"{"error":"Invalid order ID"}"#));
        let missing = server.get(&format!("{base}/orders/999")).await;
        assert_eq!((missing.status, missing.text()), (404, r#"{"error":"Order not found"}"#));
        let lacking = server.post(&format!("{base}/orders"), r#"{"userId":"u","itemIds":[]}"#).await;
        assert_eq!((lacking.status, lacking.text()), (400, r#"{"error":"Missing required fields"}"#));

        let metrics = server.get(&format!("{base}/metrics")).await.json();
        assert_eq!(names(&metrics), ["totalOrders", "processedCount", "avgProcessingTime", "statuses"]);
        assert_eq!(metrics["totalOrders"], number, "exact right after the post");
        assert_eq!(metrics["processedCount"], 0);
        assert_eq!(metrics["avgProcessingTime"].as_f64(), Some(0.0));
        assert_eq!(metrics["statuses"], json!({ "pending": number, "processing": 0, "completed": 0 }));
    }
}

#[tokio::test]
async fn two_posts_are_two_orders_unless_a_key_says_that_they_are_one() {
    let server = Server::builder().api_alone().start().await;
    let post = async |key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        server.send("POST", "/parspec/orders", &headers, body.as_bytes()).await
    };
    let one = server.post("/parspec/orders", BODY).await.json();
    let two = server.post("/parspec/orders", BODY).await.json();
    assert_ne!(one["order"]["id"], two["order"]["id"]);
    let new = post("k-1", BODY).await;
    assert_eq!((new.status, new.header("idempotent-replayed")), (201, None));
    let same = post("k-1", &BODY.replace("59.99", r#""59.990""#)).await;
    assert_eq!((same.status, same.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(same.json(), new.json());
    let other = post("k-1", &BODY.replace("59.99", "60")).await;
    assert_eq!(other.status, 422);
    let expected = json!({ "error": "Idempotency-Key was used for another order: other totalAmount" });
    assert_eq!(other.json(), expected);
    assert_eq!(server.json("/parspec/metrics").await["totalOrders"], 3);
}

#[tokio::test]
async fn an_order_goes_from_pending_over_processing_to_completed() {
    let receiver = Receiver::gated().await;
    let server = Server::builder().args(&["--as", "parspec"]).processor(&receiver.url()).start().await;
    let created = server.post("/orders", BODY).await.json();
    assert_eq!(created["order"]["status"], "PENDING");
    receiver.until_calls(1).await;
    let running = server.until("/orders/1", |reply| reply["order"]["status"] == "PROCESSING").await;
    let order = &running["order"];
    assert!(is_moment(&order["processingStartTime"], 3) && order["processingEndTime"].is_null(), "{order}");
    let metrics = server.json("/metrics").await;
    assert_eq!(metrics["statuses"], json!({ "pending": 0, "processing": 1, "completed": 0 }));
    receiver.open();
    let done = server.until("/orders/1", |reply| reply["order"]["status"] == "COMPLETED").await;
    let order = &done["order"];
    assert!(is_moment(&order["processingEndTime"], 3), "{order}");
    assert_eq!(order["processingStartTime"], running["order"]["processingStartTime"]);
    assert!(order["processingEndTime"].as_str() >= order["processingStartTime"].as_str(), "{order}");
    let metrics = server.json("/metrics").await;
    assert_eq!(json!([metrics["totalOrders"], metrics["processedCount"]]), json!([1, 1]));
    assert_eq!(metrics["statuses"], json!({ "pending": 0, "processing": 0, "completed": 1 }));
    assert!(metrics["avgProcessingTime"].as_f64().unwrap() > 0.0, "{metrics}");
}

#[tokio::test]
async fn with_the_simulated_worker_the_average_is_what_it_takes() {
    let server =
        Server::builder().args(&["--as", "parspec"]).env("WORKER_PROCESSING_DELAY_MS", "50").start().await;
    for _ in 0..3 {
        assert_eq!(server.post("/orders", BODY).await.status, 201);
    }
    let metrics = server.until("/metrics", |metrics| metrics["processedCount"] == 3).await;
    assert!(metrics["avgProcessingTime"].as_f64().unwrap() >= 0.05, "in seconds: {metrics}");
    assert_eq!(server.json("/orders/3").await["order"]["status"], "COMPLETED");
}

#[tokio::test]
async fn a_parked_order_is_pending_without_times() {
    let receiver = Receiver::start(|_| Answer::Says(400, "")).await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    server.post("/parspec/orders", BODY).await;
    server.until("/v1/parked", |page| page["orders"][0]["source"] == "parspec").await;
    let order = server.json("/parspec/orders/1").await["order"].clone();
    let found = json!([order["status"], order["processingStartTime"], order["processingEndTime"]]);
    assert_eq!(found, json!(["PENDING", null, null]));
    let statuses = server.json("/parspec/metrics").await["statuses"].clone();
    assert_eq!(statuses, json!({ "pending": 1, "processing": 0, "completed": 0 }));
}

#[tokio::test]
async fn the_queue_and_the_counts_survive_a_restart() {
    let receiver = Receiver::gated().await;
    let server = Server::builder().args(&["--as", "parspec"]).processor(&receiver.url()).start().await;
    for _ in 0..3 {
        server.post("/orders", BODY).await;
    }
    receiver.until_calls(3).await;
    let server = server.restart().await;
    receiver.open();
    let metrics = server.until("/metrics", |metrics| metrics["processedCount"] == 3).await;
    assert_eq!(metrics["totalOrders"], 3);
    assert_eq!(server.post("/orders", BODY).await.json()["order"]["id"], 4);
}

#[tokio::test]
async fn at_the_root_it_takes_the_metrics_and_the_start_says_so() {
    let server = Server::builder().args(&["--as", "parspec"]).for_people().start().await;
    let line = server.stdout().until("/metrics").await;
    assert!(line.contains("--ops"), "{line}");
    assert!(server.json("/metrics").await["statuses"].is_object());
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn with_an_address_for_operators_both_metrics_are_served() {
    let server = Server::builder().args(&["--as", "parspec", "--ops", "127.0.0.1:0"]).start().await;
    server.post("/orders", BODY).await;
    let ops = testkit::http::Client::new(server.started["ops"].as_str().unwrap().parse().unwrap());
    let ours = ops.get("/metrics").await;
    assert_eq!(ours.status, 200);
    assert!(ours.header("content-type").unwrap().starts_with("text/plain"), "{ours:?}");
    let counted =
        r#"wellorder_http_requests_total{mount="parspec",method="POST",route="/orders",status="201"} 1"#;
    assert!(ours.text().contains(counted), "{}", ours.text());
    assert!(ours.text().contains(r#"wellorder_orders{source="parspec""#), "{}", ours.text());
    assert_eq!(server.json("/metrics").await["totalOrders"], Value::from(1));
    for path in ["/livez", "/readyz", "/readyz?verbose"] {
        assert_eq!(ops.get(path).await.status, 200, "{path}");
    }
    for path in ["/v1/orders", "/orders", "/parspec/orders/1", "/docs"] {
        assert_eq!(ops.get(path).await.status, 404, "operators alone: {path}");
    }
}
