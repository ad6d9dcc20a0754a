//! Whoever is shut out has nothing open any more: a revoked key reads and writes on no connection that it opened before.

use crate::harness::{Home, Server, eventually};
use crate::login::{Token, ask, serving};
use serde_json::{Value, json};
use testkit::http::Connection;

/// A key of `acme`, its id and its header.
async fn key(server: &Server) -> (String, String) {
    let body = json!({ "name": "k", "scopes": ["events:read", "orders:write", "orders:read", "work:claim"] });
    let all = Token::all("acme").bearer();
    let made = ask(server, "POST", "/v1/keys", Some(&all), Some(&body.to_string())).await.json();
    (made["key_id"].as_str().unwrap().to_owned(), format!("Bearer {}", made["key"].as_str().unwrap()))
}

async fn revoke(server: &Server, key_id: &str, bearer: &str) {
    let all = Token::all("acme").bearer();
    let path = format!("/v1/keys/{key_id}");
    assert_eq!(ask(server, "DELETE", &path, Some(&all), None).await.status, 200);
    eventually("the key to end", async || {
        (ask(server, "GET", "/v1/orders", Some(bearer), None).await.status == 401).then_some(())
    })
    .await;
}

async fn open(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Connection {
    let mut connection = server.connect().await;
    connection.write_request(method, path, headers, body.as_bytes(), false).await;
    connection
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_key() {
    let server = serving(&Home::new()).start().await;
    let (key_id, bearer) = key(&server).await;
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let mut stream = open(&server, "GET", "/v1/events", &headers, "").await;
    assert_eq!(stream.reply_head().await.unwrap().status, 200);
    revoke(&server, &key_id, &bearer).await;
    let text = stream.text_to_end().await.unwrap();
    assert!(text.ends_with(": cut off: the credential is no longer good\n\n"), "{text}");
}

#[tokio::test]
async fn a_bulk_request_ends_with_its_key() {
    let server = serving(&Home::new()).start().await;
    let (key_id, bearer) = key(&server).await;
    let mut bulk = server.connect().await;
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    bulk.write_head("POST", "/v1/orders/bulk", &headers).await;
    let mut said = Vec::new();
    for number in 1.. {
        if number == 3 {
            revoke(&server, &key_id, &bearer).await;
        }
        let line = json!({ "reference": format!("r-{number}"), "total": 1 });
        bulk.write_chunk(format!("{line}\n").as_bytes()).await;
        if number == 1 {
            assert_eq!(bulk.reply_head().await.unwrap().status, 200);
        }
        let text = bulk.text_until(|text| text.ends_with('\n')).await.unwrap();
        let answer: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        said.push(answer["status"].as_u64().unwrap());
        if answer["status"] != 201 {
            assert_eq!(answer["problem"]["type"], "urn:wellorder:problem:unauthenticated", "{answer}");
            break;
        }
    }
    assert_eq!((said[0], said.last()), (201, Some(&401)));
    assert_eq!(bulk.text_to_end().await.as_deref(), Some(""), "nothing more is read");
}

#[tokio::test]
async fn a_claim_that_waits_leases_nothing_to_a_key_that_ended() {
    let server = serving(&Home::new()).start().await;
    let (key_id, bearer) = key(&server).await;
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("prefer", "wait=50")];
    let mut claim = open(&server, "POST", "/v1/work/claim", &headers, "{}").await;
    revoke(&server, &key_id, &bearer).await;
    let all = Token::all("acme").bearer();
    let order = ask(&server, "POST", "/v1/orders", Some(&all), Some(r#"{"total": 1}"#)).await.json();
    let reply = claim.reply().await.unwrap();
    assert_eq!(reply.status, 401, "{}", reply.text());
    let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let left = ask(&server, "GET", &path, Some(&all), None).await.json();
    assert_eq!(left["processing"], "queued", "the work is left to others");
}
