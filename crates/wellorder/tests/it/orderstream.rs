//! The contract `orderstream`, as a client of it finds it.

use crate::harness::{Answer, Receiver, Server};
use crate::{is_moment, names};
use serde_json::{Value, json};

const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";
const ORDER: [&str; 8] =
    ["order_id", "user_id", "amount", "status", "payload_json", "created_at", "updated_at", "bucket"];

fn create() -> String {
    let payload = json!({"id": "external-123", "items": [{"price": 9.95, "qty": 2}]});
    json!({"order_id": "0", "user_id": USER, "payload": payload}).to_string()
}

fn told(reply: &testkit::http::Reply) -> (u16, Value) {
    (reply.status, reply.json()["status"].clone())
}

#[tokio::test]
async fn every_documented_request_works_at_the_root_and_under_the_prefix() {
    let receiver = Receiver::start(|_| Answer::Says(204, "")).await;
    let server = Server::builder().args(&["--as", "orderstream"]).processor(&receiver.url()).start().await;
    for base in ["", "/orderstream"] {
        let orders = format!("{base}/orders");
        assert_eq!(server.get(&format!("{base}/health")).await.text(), "ok");
        let created = server.post(&orders, &create()).await;
        assert_eq!(told(&created), (201, "created".into()), "{}", created.text());
        let id = created.json()["order_id"].as_str().unwrap().to_owned();
        let found = server.get(&format!("{orders}/{id}")).await;
        let order = &found.json()["order"];
        assert_eq!((found.status, names(order)), (200, ORDER.to_vec()));
        assert!(found.text().contains(r#""amount":19.90,"status":"done""#), "{}", found.text());
        assert!(is_moment(&order["created_at"], 3) && is_moment(&order["updated_at"], 3), "{order}");
        let by_external = server.get(&format!("{orders}/by-external/external-123?user_id={USER}")).await;
        assert_eq!((by_external.status, by_external.json()), (200, found.json()));
        let update =
            json!({"order_id": id, "user_id": USER, "payload": {"id": "external-123", "amount": "25.00"}});
        assert_eq!(told(&server.post(&orders, &update.to_string()).await), (200, "updated".into()));
        let delete = json!({"order_id": id, "user_id": USER, "status": "deleted"}).to_string();
        assert_eq!(told(&server.post(&orders, &delete).await), (200, "deleted".into()));
        assert_eq!(server.get(&format!("{orders}/{id}")).await.json()["order"]["status"], "deleted");
        assert_eq!(told(&server.post(&orders, &delete).await), (409, "deleted".into()));
        assert_eq!(told(&server.post(&orders, &update.to_string()).await), (409, "deleted".into()));
        let unknown = server.get(&format!("{orders}/00000000-0000-4000-8000-000000000000")).await;
        assert_eq!((unknown.status, unknown.text()), (404, r#"{"error":"not found"}"#));
        assert_eq!(server.get(&format!("{orders}/17")).await.status, 400);
    }
    let audited = server.home().audited();
    assert_eq!(audited["findings"], json!([]), "{audited}");
}

#[tokio::test]
async fn what_nobody_works_on_is_pending_and_safe() {
    let server = Server::builder()
        .args(&["--as", "orderstream"])
        .env("ACK_WAIT_TIMEOUT", "50ms")
        .api_alone()
        .start()
        .await;
    let reply = server.post("/orders", &create()).await;
    assert_eq!(told(&reply), (202, "pending".into()));
    let id = reply.json()["order_id"].as_str().unwrap().to_owned();
    let order = server.get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!((&order["source"], &order["total"]), (&"orderstream".into(), &"19.90".into()));
}

#[tokio::test]
async fn it_has_an_address_of_its_own_and_one_for_grpc() {
    // Both at once, so that they are two.
    let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let further = taken.map(|listener| listener.local_addr().unwrap());
    let server = Server::builder()
        .env("WELLORDER_CONTRACTS_ORDERSTREAM_LISTEN", &further[0].to_string())
        .env("WELLORDER_CONTRACTS_ORDERSTREAM_GRPC", &further[1].to_string())
        .api_alone()
        .start()
        .await;
    assert_eq!(server.get("/orderstream/health").await.status, 200);
    let own = testkit::http::Client::new(further[0]);
    assert_eq!(own.get("/health").await.status, 200);
    assert_eq!(own.get("/v1/orders").await.status, 404, "nothing but the contract");
    let grpc = testkit::http::Client::new(further[1]);
    assert_eq!(grpc.get("/health").await.status, 404, "nothing but gRPC");
}
