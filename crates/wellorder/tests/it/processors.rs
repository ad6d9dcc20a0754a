//! A processor for each contract: who does the work of its orders, and who leaves them alone.

use crate::harness::{Answer, Home, Receiver, Server, eventually};
use serde_json::{Value, json};

const OSCARPS: &str = r#"{"orderId": "A-1", "customer": "c-42", "total": 1}"#;
const PARSPEC: &str = r#"{"userId": "u", "itemIds": ["a"], "totalAmount": 1}"#;

async fn made(server: &Server, path: &str, body: &str) -> Value {
    let reply = server.post(path, body).await;
    assert_eq!(reply.status, 201, "{path}: {}", reply.text());
    reply.json()
}

async fn claim(server: &Server) -> Vec<Value> {
    let reply = server.post("/v1/work/claim", r#"{"max": 10, "lease_seconds": 600}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["work"].as_array().unwrap().clone()
}

async fn until_processed(server: &Server) {
    server.until("/oscarps/orders/A-1", |order| order["status"] == "PROCESSED").await;
}

#[tokio::test]
async fn the_orders_of_each_contract_go_to_its_own_processor() {
    let home = Home::new();
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let builder = || {
        home.server()
            .processor(&receiver.url())
            .env("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "pull")
            .env("WELLORDER_CONTRACTS_PARSPEC_PROCESSOR", "simulate")
            .for_people()
    };
    let server = builder().start().await;
    for line in ["parspec: simulate (0 ms an order)", "oscarps: yours (POST /v1/work/claim)"] {
        server.stdout().until(line).await;
    }
    made(&server, "/oscarps/orders", OSCARPS).await;
    let parspec = made(&server, "/parspec/orders", PARSPEC).await["order"]["id"].to_string();
    let order = server.accept(&json!({ "reference": "A-1", "total": 1 })).await;
    server.until_order(&order, "done").await;
    server
        .until(&format!("/parspec/orders/{parspec}"), |found| found["order"]["status"] == "COMPLETED")
        .await;
    let calls = receiver.calls();
    let posted: Vec<&Value> = calls.iter().map(|call| &call.order["source"]).collect();
    assert_eq!(posted, ["api"], "orders of contracts with a processor of their own are not posted");

    let work = claim(&server).await;
    let claimed: Vec<&Value> = work.iter().map(|work| &work["order"]["source"]).collect();
    assert_eq!(claimed, ["oscarps"], "nothing else is handed out");
    assert_eq!(claim(&server).await, [json!(null); 0]);
    // Whoever has it lives on while the server is away.
    assert_eq!(server.terminate().await.code(), 0);
    let server = builder().start().await;
    assert_eq!(claim(&server).await, [json!(null); 0]);
    let end = json!({ "token": work[0]["token"], "outcome": "done" }).to_string();
    assert_eq!(server.post("/v1/work/finish", &end).await.status, 200);
    until_processed(&server).await;
    assert_eq!(receiver.calls().len(), 1);
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
}

#[tokio::test]
async fn who_pulls_hears_of_work_at_its_own_desks_alone() {
    let server = Server::builder()
        .env("WELLORDER_PROCESSOR", "pull")
        .env("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "simulate")
        .env("WORKER_PROCESSING_DELAY_MS", "3600000")
        .start()
        .await;
    made(&server, "/oscarps/orders", OSCARPS).await;
    eventually("the worker here has it", async || {
        (server.json("/oscarps/orders/A-1").await["lockedAt"] != json!(null)).then_some(())
    })
    .await;
    assert_eq!(claim(&server).await, [json!(null); 0]);
    let client = server.client();
    let waiting = tokio::spawn(async move {
        let headers = [("content-type", "application/json"), ("prefer", "wait=50")];
        client.send("POST", "/v1/work/claim", &headers, b"{}").await.json()
    });
    let order = server.accept(&json!({ "reference": "A-2", "total": 1 })).await;
    let claimed = waiting.await.unwrap();
    assert_eq!(claimed["work"][0]["order_id"], order["order_id"], "{claimed}");
    assert_eq!(claimed["work"].as_array().unwrap().len(), 1, "{claimed}");
}

/// An empty answer would mean that nothing is due.
#[tokio::test]
async fn where_nothing_is_left_to_workers_outside_a_claim_says_so() {
    let server = Server::builder().start().await;
    let refused = server.post("/v1/work/claim", "{}").await;
    let problem = refused.json();
    assert_eq!(
        (refused.status, problem["type"].as_str()),
        (409, Some("urn:wellorder:problem:work-not-pulled")),
        "{problem}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("contracts.NAME.processor = \"pull\""), "{detail}");
}

/// Each contract whose work was left to nobody here goes on once the settings say otherwise.
#[tokio::test]
async fn work_is_taken_up_at_once_by_whoever_the_settings_name_now() {
    let home = Home::new();
    let server = home.server().env("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "pull").start().await;
    made(&server, "/oscarps/orders", OSCARPS).await;
    let later = server.accept(&json!({ "reference": "A-2", "total": 1 })).await;
    server.until_order(&later, "done").await;
    assert_eq!(server.json("/oscarps/orders/A-1").await["status"], "PENDING");
    assert_eq!(server.terminate().await.code(), 0);
    let server = home.server().start().await;
    until_processed(&server).await;
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
}
