//! `Prefer: wait`: the answer comes when the work has ended.

use crate::harness::{Receiver, Server};
use rustix::process::Signal;
use serde_json::json;
use testkit::http::{Connection, Reply};

async fn ask(server: &Server, wait: &str, body: &str) -> Connection {
    let mut connection = server.connect().await;
    let headers = [("content-type", "application/json"), ("prefer", wait)];
    connection.write_request("POST", "/v1/orders", &headers, body.as_bytes(), false).await;
    connection
}

fn told(reply: &Reply) -> Option<&str> {
    reply.header("preference-applied")
}

#[tokio::test]
async fn the_answer_comes_when_the_work_is_done() {
    let receiver = Receiver::gated().await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let mut first = ask(&server, "wait=99", r#"{"reference":"a","total":1}"#).await;
    receiver.until_calls(1).await;
    // A duplicate may wait too.
    let mut second = ask(&server, "respond-async, wait=20", r#"{"reference":"a","total":1}"#).await;
    crate::harness::eventually("both wait", async || {
        server.get("/metrics").await.text().contains("\nwellorder_waiters 2\n").then_some(())
    })
    .await;
    receiver.open();
    let reply = first.reply().await.unwrap();
    assert_eq!((reply.status, told(&reply), reply.header("etag")), (201, Some("wait=50"), Some("\"2\"")));
    assert_eq!(json!([reply.json()["processing"], reply.json()["attempt"]]), json!(["done", 1]));
    let reply = second.reply().await.unwrap();
    assert_eq!((reply.status, told(&reply)), (200, Some("wait=20")));
    assert_eq!(reply.json()["processing"], "done");
    // What has ended is answered at once; what is malformed is ignored.
    let reply = ask(&server, "wait=50", r#"{"reference":"a","total":1}"#).await.reply().await.unwrap();
    assert_eq!((reply.status, told(&reply)), (200, Some("wait=50")));
    let reply = ask(&server, "wait=soon", r#"{"reference":"b","total":1}"#).await.reply().await.unwrap();
    assert_eq!((reply.status, told(&reply)), (201, None));
}

#[tokio::test]
async fn a_wait_that_is_over_shows_the_order_as_it_is() {
    let receiver = Receiver::gated().await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let reply = ask(&server, "wait=1", r#"{"reference":"a","total":1}"#).await.reply().await.unwrap();
    assert_eq!((reply.status, told(&reply)), (201, Some("wait=1")));
    assert_eq!(reply.json()["processing"], "running");
}

#[tokio::test]
async fn stopping_answers_at_once_and_who_goes_away_is_forgotten() {
    let receiver = Receiver::gated().await;
    let server =
        Server::builder().env("WELLORDER_SHUTDOWN_DRAIN_MS", "50").processor(&receiver.url()).start().await;
    let gone = ask(&server, "wait=50", r#"{"reference":"a","total":1}"#).await;
    let mut stays = ask(&server, "wait=50", r#"{"reference":"b","total":1}"#).await;
    let until_waiters = async |count: usize| {
        crate::harness::eventually("so many wait", async || {
            let line = format!("\nwellorder_waiters {count}\n");
            server.get("/metrics").await.text().contains(&line).then_some(())
        })
        .await;
    };
    until_waiters(2).await;
    drop(gone);
    until_waiters(1).await;
    server.signal(Signal::TERM);
    let reply = stays.reply().await.unwrap();
    assert_eq!((reply.status, told(&reply)), (201, Some("wait=50")));
    assert_ne!(reply.json()["processing"], "done");
    assert_eq!(server.ended().await.code(), 0);
}
