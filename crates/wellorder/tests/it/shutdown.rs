//! Stopping: what runs may end, what cannot is given back, and nothing is used up by it.

use crate::harness::{Receiver, Server, post_in_peril};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const STOPPING: &str = "stopping";

#[tokio::test]
async fn work_that_can_end_in_time_ends() {
    let receiver = Receiver::gated().await;
    let server = Server::builder()
        .env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000")
        .processor(&receiver.url())
        .start()
        .await;
    let home = server.home();
    let mut orders = Vec::new();
    for number in 0..5 {
        orders.push(server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await);
    }
    receiver.until_calls(5).await;
    server.signal(Signal::TERM);
    server.stderr().until(STOPPING).await;
    receiver.open();
    let ended = server.ended().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let server = home.server().api_alone().start().await;
    for order in &orders {
        let done = server.json(&format!("/v1/orders/{}", order["order_id"].as_str().unwrap())).await;
        assert_eq!(json!([done["processing"], done["attempt"]]), json!(["done", 1]));
    }
    assert_eq!(receiver.calls().len(), 5, "each once");
    home.audited();
}

#[tokio::test]
async fn work_that_takes_longer_is_given_back_and_burns_no_attempt() {
    let receiver = Receiver::gated().await;
    let builder = Server::builder()
        .env("WELLORDER_SHUTDOWN_DRAIN_MS", "50")
        .env("WELLORDER_WORKER_LEASE_MS", "3600000")
        .processor(&receiver.url());
    let server = builder.clone().start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    receiver.until_calls(1).await;
    let home = server.home();
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let offline = home.run(&["orders", "get", "a", "--json"]).json();
    assert_eq!(
        json!([offline["processing"], offline["attempt"], offline["version"]]),
        json!(["queued", 0, 1])
    );
    assert_eq!(home.audited()["work"], 1);
    let server = builder.start().await;
    assert_eq!(server.started["leases_expired"], 0, "nothing was left leased");
    let calls = receiver.until_calls(2).await;
    assert_eq!(calls[1].attempt(), "1");
    receiver.open();
    let done = server.until_order(&order, "done").await;
    assert_eq!(done["attempt"], 1);
    home.audited();
}

#[tokio::test]
async fn simulated_work_is_given_back_too() {
    let server = Server::builder()
        .env("WORKER_PROCESSING_DELAY_MS", "3600000")
        .env("WELLORDER_SHUTDOWN_DRAIN_MS", "50")
        .start()
        .await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "running").await;
    let home = server.home();
    assert_eq!(server.terminate().await.code(), 0);
    let server = home.server().start().await;
    let done = server.until_order(&order, "done").await;
    assert_eq!(done["attempt"], 1);
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_and_new_connections_are_refused() {
    let server = Server::builder().env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000").start().await;
    let home = server.home();
    let body = r#"{"reference":"late","total":"1"}"#;
    let (head, tail) = body.split_at(10);
    let mut begun = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    begun.write_all(request.as_bytes()).await.unwrap();
    // The server asks for the body: it has taken the request up.
    let mut interim = [0; 25];
    begun.read_exact(&mut interim).await.unwrap();
    assert_eq!(std::str::from_utf8(&interim).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    begun.write_all(head.as_bytes()).await.unwrap();
    server.signal(Signal::TERM);
    server.stderr().until(STOPPING).await;
    let address = server.address;
    crate::harness::eventually("a port that refuses", async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    begun.write_all(tail.as_bytes()).await.unwrap();
    let mut reply = String::new();
    begun.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 201 "), "{reply}");
    let ended = server.ended().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(home.run(&["orders", "get", "late"]).code(), 0);
    home.audited();
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_it_alive() {
    let server = Server::builder().env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000").start().await;
    let mut idle = server.connect().await;
    idle.write_request("GET", "/livez", &[], b"", true).await;
    assert_eq!(idle.reply().await.unwrap().status, 200);
    let _silent = server.connect().await;
    assert_eq!(server.terminate().await.code(), 0);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let receiver = Receiver::gated().await;
    let builder = Server::builder().env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000").processor(&receiver.url());
    let server = builder.clone().start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    receiver.until_calls(1).await;
    server.signal(Signal::TERM);
    server.stderr().until(STOPPING).await;
    server.signal(Signal::INT);
    assert_eq!(server.ended().await.code(), 130);
    let server = builder.start().await;
    assert_eq!(receiver.until_calls(2).await[1].attempt(), "1");
    receiver.open();
    assert_eq!(server.until_order(&order, "done").await["attempt"], 1);
    server.home().audited();
}

#[tokio::test]
async fn an_interrupt_stops_it_like_a_termination() {
    let server = Server::builder().start().await;
    server.accept(&json!({ "total": 1 })).await;
    server.signal(Signal::INT);
    let ended = server.ended().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
}

#[tokio::test]
async fn a_signal_at_the_very_start_stops_it_in_order_too() {
    for _ in 0..5 {
        let server = Server::builder().start().await;
        let home = server.home();
        let ended = server.terminate().await;
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(!home.data().join("wellorder.db-wal").exists(), "the database is one whole file at rest");
    }
}

#[tokio::test]
async fn what_was_acknowledged_while_it_stopped_is_there() {
    let server = Server::builder().start().await;
    let home = server.home();
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(server.connect().await);
    }
    let mut clients = tokio::task::JoinSet::new();
    for (client, mut connection) in connections.into_iter().enumerate() {
        clients.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let reference = format!("{client}-{number}");
                let body = json!({ "reference": reference, "total": 1 }).to_string();
                match post_in_peril(&mut connection, "/v1/orders", &[], &body).await {
                    Some(reply) if reply.status == 201 => acknowledged.push(reference),
                    Some(reply) => assert_eq!(reply.status, 503, "{}", reply.text()),
                    None => break,
                }
            }
            acknowledged
        });
    }
    server.until("/v1/orders?limit=50", |page| page["orders"].as_array().unwrap().len() == 50).await;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let acknowledged = clients.join_all().await.concat();
    assert!(acknowledged.len() >= 50);
    home.audited();
    let server = home.server().start().await;
    for reference in &acknowledged {
        let order = server.by_reference(reference).await.unwrap_or_else(|| panic!("{reference} is lost"));
        assert_eq!(server.until_order(&order, "done").await["attempt"], 1);
    }
}
