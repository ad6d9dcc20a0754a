//! The processor `http`: the user's own program does the work.

use crate::harness::{Answer, Call, Receiver, Server};
use serde_json::json;
use std::collections::BTreeSet;

/// The keys under which these calls came, each once.
fn keys(calls: &[Call]) -> BTreeSet<&str> {
    calls.iter().map(Call::key).collect()
}

#[tokio::test]
async fn it_gets_the_order_as_v1_shows_it_and_a_2xx_is_done() {
    for status in [200, 201, 204] {
        let receiver = Receiver::start(move |_| Answer::Says(status, "")).await;
        let server = Server::builder().processor(&receiver.url()).start().await;
        let order = server.accept(&json!({ "reference": "a", "customer": "c", "total": "19.90" })).await;
        let done = server.until_order(&order, "done").await;
        assert_eq!(json!([done["attempt"], done["last_error"]]), json!([1, null]));
        let calls = receiver.calls();
        assert_eq!(calls.len(), 1);
        let call = &calls[0];
        assert_eq!(call.header("content-type"), "application/json");
        assert_eq!(call.header("wellorder-order-id"), order["order_id"].as_str().unwrap());
        assert_eq!(call.attempt(), "1");
        let mut shown = call.order.clone();
        assert_eq!(shown["processing"], "running");
        (shown["processing"], shown["attempt"]) = (json!("queued"), json!(0));
        // Who processes it is no caller, who could be told what may be done with it.
        let mut expected = order.clone();
        expected.as_object_mut().unwrap().remove("actions");
        assert_eq!(shown, expected);
        let (events, _) = server.feed(10).await;
        assert_eq!(call.key(), events[0]["event_id"].as_str().unwrap(), "the event that made the work");
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_under_the_same_key() {
    let receiver = Receiver::start(|call| match call.before {
        0 => Answer::Tells(500, "out of stock"),
        1 => Answer::Says(408, ""),
        2 => Answer::Says(425, ""),
        3 => Answer::Says(503, ""),
        _ => Answer::Says(200, ""),
    })
    .await;
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "5").processor(&receiver.url()).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let done = server.until_order(&order, "done").await;
    assert_eq!(json!([done["attempt"], done["last_error"]]), json!([5, null]));
    let calls = receiver.calls();
    assert_eq!(keys(&calls).len(), 1, "{calls:?}");
    let attempts: Vec<&str> = calls.iter().map(|call| call.attempt()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4", "5"]);
    let (events, _) = server.feed(10).await;
    let failed = &events[1];
    assert_eq!(failed["type"], "order.processing_failed");
    assert_eq!(failed["data"]["error"], "500 Internal Server Error: out of stock");
    assert_eq!(json!([failed["data"]["attempt"], failed["version"]]), json!([1, 2]));
    assert!(failed["data"]["retry_at"].as_str() > failed["occurred_at"].as_str(), "{failed}");
}

#[tokio::test]
async fn the_wait_that_it_asks_for_is_honoured() {
    let receiver = Receiver::start(|call| match call.before {
        0 => Answer::Says(429, "retry-after: 2\r\n"),
        _ => Answer::Says(200, ""),
    })
    .await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let (events, _) = server.feed(10).await;
    let micros = |text: &str| {
        let parsed =
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
        parsed.unix_timestamp_nanos() / 1_000
    };
    let failed = &events[1];
    let asked = micros(failed["data"]["retry_at"].as_str().unwrap())
        - micros(failed["occurred_at"].as_str().unwrap());
    assert!(asked >= 2_000_000, "the wait outlasts the backoff: {asked} µs");
    let again = micros(events[2]["data"]["started_at"].as_str().unwrap());
    assert!(again >= micros(failed["data"]["retry_at"].as_str().unwrap()), "{events:?}");
}

#[tokio::test]
async fn a_refusal_parks_at_once_and_a_redrive_comes_under_the_same_key() {
    let receiver = Receiver::start(|call| match call.before {
        0 => Answer::Tells(400, "no such product"),
        _ => Answer::Says(200, ""),
    })
    .await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let parked = server.until_order(&order, "parked").await;
    assert_eq!(parked["last_error"], "400 Bad Request: no such product");
    assert_eq!(receiver.calls().len(), 1, "it is not tried again");
    let redriven = server.home().run(&["orders", "redrive", "--all", "--reason", "mended", "--yes"]);
    assert_eq!(redriven.code(), 0, "{redriven:?}");
    let done = server.until_order(&order, "done").await;
    assert_eq!(json!([done["attempt"], done["last_error"]]), json!([1, null]));
    let calls = receiver.calls();
    assert_eq!(keys(&calls).len(), 1, "the effect may have taken place the first time");
}

#[tokio::test]
async fn out_of_attempts_it_is_parked() {
    let receiver = Receiver::start(|_| Answer::Says(500, "")).await;
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "3").processor(&receiver.url()).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let parked = server.until_order(&order, "parked").await;
    assert_eq!(json!([parked["attempt"], parked["last_error"]]), json!([3, "500 Internal Server Error"]));
    assert_eq!(receiver.calls().len(), 3);
    let history = ["order.accepted", "order.processing_failed", "order.processing_failed", "order.parked"];
    assert_eq!(server.history(&order).await, history);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Receiver::start(|_| Answer::Says(200, "")).await;
    let head = format!("location: {}\r\n", other.url()).leak();
    let receiver = Receiver::start(|_| Answer::Says(307, head)).await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let parked = server.until_order(&order, "parked").await;
    assert!(parked["last_error"].as_str().unwrap().starts_with("307"), "{parked}");
    assert!(other.calls().is_empty(), "orders are sent nowhere else");
}

#[tokio::test]
async fn a_processor_that_hangs_is_given_up_and_tried_again() {
    let receiver =
        Receiver::start(|call| if call.before == 0 { Answer::Nothing } else { Answer::Says(200, "") }).await;
    let server = Server::builder()
        .env("WELLORDER_HTTP_PROCESSOR_TIMEOUT_MS", "100")
        .processor(&receiver.url())
        .start()
        .await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let done = server.until_order(&order, "done").await;
    assert_eq!(done["attempt"], 2);
    let (events, _) = server.feed(10).await;
    let error = events[1]["data"]["error"].as_str().unwrap();
    assert!(error.contains("time"), "{error}");
}

#[tokio::test]
async fn a_processor_that_is_away_is_tried_again_until_it_is_there() {
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let (address, url) = (receiver.address, receiver.url());
    drop(receiver);
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "1000").processor(&url).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let waiting = server.until(&path, |order| order["attempt"].as_u64() > Some(1)).await;
    let error = waiting["last_error"].as_str().unwrap();
    assert!(error.contains("connection"), "{error}");
    assert!(!error.contains(&address.to_string()), "the address is a secret: {error}");
    let receiver = Receiver::start_at(address, |_| Answer::Says(200, "")).await;
    server.until_order(&order, "done").await;
    assert_eq!(receiver.calls().len(), 1);
    server.home().audited();
}

#[tokio::test]
async fn one_order_that_hangs_holds_up_no_other() {
    let receiver = Receiver::start(|call| match call.order["reference"].as_str() {
        Some("slow") => Answer::AtTheGate,
        _ => Answer::Says(200, ""),
    })
    .await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let slow = server.accept(&json!({ "reference": "slow", "total": 1 })).await;
    receiver.until_calls(1).await;
    for number in 0..20 {
        let order = server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
        server.until_order(&order, "done").await;
    }
    assert_eq!(
        server.json(&format!("/v1/orders/{}", slow["order_id"].as_str().unwrap())).await["processing"],
        "running"
    );
    receiver.open();
    server.until_order(&slow, "done").await;
}

#[tokio::test]
async fn a_lease_is_held_as_long_as_the_work_takes() {
    let receiver = Receiver::gated().await;
    let server = Server::builder()
        .env("WELLORDER_WORKER_LEASE_MS", "300")
        .env("WELLORDER_WORKER_HEARTBEAT_MS", "50")
        .env("WORKER_POLL_INTERVAL_MS", "10")
        .processor(&receiver.url())
        .start()
        .await;
    let slow = server.accept(&json!({ "reference": "slow", "total": 1 })).await;
    receiver.until_calls(1).await;
    // Heartbeats are seen from outside as leases that end later and later.
    let database = rusqlite::Connection::open(server.home().database()).unwrap();
    let due = || -> i64 { database.query_row("SELECT due_at FROM work", [], |row| row.get(0)).unwrap() };
    let first = due();
    crate::harness::eventually("three leases' time", async || (due() > first + 900_000).then_some(())).await;
    assert_eq!(receiver.calls().len(), 1, "nobody took it over");
    receiver.open();
    let done = server.until_order(&slow, "done").await;
    assert_eq!(done["attempt"], 1);
}
