//! The contract `oscarps`, as a client of it finds it.

use crate::harness::{Answer, Receiver, Server};
use crate::{is_moment, names};
use serde_json::{Value, json};

const ROW: [&str; 9] =
    ["id", "orderId", "customer", "total", "status", "attempts", "lockedAt", "lastError", "createdAt"];

#[tokio::test]
async fn every_documented_request_works_at_the_root_and_under_the_prefix() {
    let server = Server::builder().args(&["--as", "oscarps"]).api_alone().start().await;
    for base in ["", "/oscarps"] {
        let id = format!("A-1001{}", base.len());
        let body = format!(r#"{{ "orderId": "{id}", "customer": "c-42", "total": 199.990 }}"#);
        let created = server.post(&format!("{base}/orders"), &body).await;
        assert_eq!(created.status, 201, "{}", created.text());
        assert!(created.header("x-request-id").is_some());
        assert!(created.text().contains(r#""total":199.990"#), "no digit is lost: {}", created.text());
        let row = created.json();
        assert_eq!(names(&row), ROW);
        assert!(uuid::Uuid::try_parse(row["id"].as_str().unwrap()).is_ok(), "{row}");
        assert!(is_moment(&row["createdAt"], 3), "{row}");
        let expected = json!([id, "c-42", "PENDING", 0, null, null]);
        let found = json!([
            row["orderId"],
            row["customer"],
            row["status"],
            row["attempts"],
            row["lockedAt"],
            row["lastError"]
        ]);
        assert_eq!(found, expected);

        let again = server.post(&format!("{base}/orders"), &body).await;
        assert_eq!((again.status, again.json()), (200, row.clone()));
        assert_eq!(again.header("wellorder-duplicate-differs"), None);
        let by_value = format!(r#"{{ "orderId": "{id}", "customer": "c-42", "total": "199.99" }}"#);
        let again = server.post(&format!("{base}/orders"), &by_value).await;
        assert_eq!((again.status, again.header("wellorder-duplicate-differs")), (200, None));
        let other = format!(r#"{{ "orderId": "{id}", "customer": "c-43", "total": 5 }}"#);
        let differs = server.post(&format!("{base}/orders"), &other).await;
        assert_eq!((differs.status, differs.json()), (200, row.clone()));
        assert_eq!(differs.header("wellorder-duplicate-differs"), Some("/customer,/total"));

        let found = server.get(&format!("{base}/orders/{id}")).await;
        assert_eq!((found.status, found.json()), (200, row));
        let missing = server.get(&format!("{base}/orders/nope")).await;
        assert_eq!((missing.status, missing.text()), (404, r#"{"message":"Order not found"}"#));
        let health = server.get(&format!("{base}/health")).await;
        assert_eq!((health.status, health.text()), (200, r#"{"status":"ok"}"#));
    }
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200, "this contract leaves our own metrics where they are");
    assert!(
        metrics.text().contains(r#"wellorder_duplicates_differing_total{contract="oscarps"} 2"#),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn the_root_and_the_prefix_are_one_contract_and_the_order_is_in_the_core_too() {
    let server = Server::builder().args(&["--as", "oscarps"]).api_alone().start().await;
    let body = r#"{"orderId":"a/b ü","customer":"c","total":"1.10"}"#;
    let row = server.post("/orders", body).await.json();
    assert_eq!(server.post("/oscarps/orders", body).await.status, 200);
    assert_eq!(server.json("/oscarps/orders/a%2Fb%20%C3%BC").await, row);
    let order = server.json(&format!("/v1/orders/{}", row["id"].as_str().unwrap())).await;
    assert_eq!(
        json!([order["source"], order["reference"], order["total"]]),
        json!(["oscarps", "a/b ü", "1.10"])
    );
    assert_eq!(server.get("/parspec/orders/1").await.status, 404, "another contract does not see it");
}

#[tokio::test]
async fn ids_of_the_full_length_read_back_and_longer_ones_are_refused() {
    let server = Server::builder().args(&["--as", "oscarps"]).api_alone().start().await;
    let post = async |id: &str| {
        let body = json!({ "orderId": id, "customer": "c", "total": 1 }).to_string();
        server.post("/orders", &body).await
    };
    let id = "é".repeat(127) + "x";
    assert_eq!(post(&id).await.status, 201);
    let path = format!("/orders/{}x", "%C3%A9".repeat(127));
    assert_eq!(server.json(&path).await["orderId"], id.as_str());
    let refused = post(&"x".repeat(256)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["issues"]["orderId"]["_errors"][0].is_string(), "{}", refused.text());
}

#[tokio::test]
async fn an_order_is_locked_while_it_is_worked_on_and_processed_then() {
    let receiver = Receiver::gated().await;
    let server = Server::builder().args(&["--as", "oscarps"]).processor(&receiver.url()).start().await;
    let body = r#"{"orderId":"A-1","customer":"c","total":1}"#;
    assert_eq!(server.post("/orders", body).await.status, 201);
    receiver.until_calls(1).await;
    let locked = server.until("/orders/A-1", |row| !row["lockedAt"].is_null()).await;
    assert!(is_moment(&locked["lockedAt"], 3), "{locked}");
    assert_eq!(json!([locked["status"], locked["attempts"]]), json!(["PENDING", 0]));
    receiver.open();
    let done = server.until("/orders/A-1", |row| row["status"] == "PROCESSED").await;
    let found = json!([done["attempts"], done["lockedAt"], done["lastError"]]);
    assert_eq!(found, json!([0, null, null]));
    let again = server.post("/orders", body).await;
    assert_eq!((again.status, again.json()), (200, done), "a duplicate shows the order in any state");
}

#[tokio::test]
async fn with_the_simulated_worker_it_goes_from_pending_to_processed() {
    let server =
        Server::builder().args(&["--as", "oscarps"]).env("WORKER_PROCESSING_DELAY_MS", "20").start().await;
    let created = server.post("/orders", r#"{"orderId":"A-1","customer":"c","total":1}"#).await;
    assert_eq!(created.json()["status"], "PENDING");
    server.until("/orders/A-1", |row| row["status"] == "PROCESSED").await;
}

#[tokio::test]
async fn an_order_out_of_attempts_stays_pending_with_its_error_and_can_be_repaired() {
    let receiver = Receiver::start(|call| match call.before {
        0..2 => Answer::Tells(500, "out of stock"),
        _ => Answer::Says(200, ""),
    })
    .await;
    let server = Server::builder()
        .args(&["--as", "oscarps"])
        .env("WORKER_MAX_ATTEMPTS", "2")
        .processor(&receiver.url())
        .start()
        .await;
    server.post("/orders", r#"{"orderId":"A-1","customer":"c","total":1}"#).await;
    let failed = server.until("/orders/A-1", |row| row["attempts"] == 2).await;
    let found = json!([failed["status"], failed["lockedAt"], failed["lastError"]]);
    assert_eq!(found, json!(["PENDING", null, "500 Internal Server Error: out of stock"]));
    let parked = server.json("/v1/parked").await;
    assert_eq!(parked["orders"][0]["reference"], "A-1", "{parked}");
    let redrive = json!({ "filter": { "source": "oscarps" }, "reason": "stock is back" });
    assert_eq!(server.post("/v1/redrives", &redrive.to_string()).await.status, 202);
    let done = server.until("/orders/A-1", |row| row["status"] == "PROCESSED").await;
    assert_eq!(json!([done["attempts"], done["lastError"]]), json!([0, null]));
}

#[tokio::test]
async fn a_failed_attempt_is_counted_and_told_while_the_order_waits() {
    let server = Server::builder()
        .args(&["--as", "oscarps"])
        .env("WELLORDER_SIMULATE_FAIL_RATE", "1.0")
        .env("WELLORDER_WORKER_BACKOFF_BASE_MS", "3600000")
        .env("WELLORDER_WORKER_BACKOFF_CAP_MS", "3600000")
        .start()
        .await;
    server.post("/orders", r#"{"orderId":"A-1","customer":"c","total":1}"#).await;
    let waiting = server.until("/orders/A-1", |row| row["attempts"] == 1).await;
    let found = json!([waiting["status"], waiting["lockedAt"], waiting["lastError"]]);
    assert_eq!(found, json!(["PENDING", null, "simulated failure"]));
    assert_eq!(server.json("/v1/parked").await["orders"], Value::Array(Vec::new()));
}
