//! The feed as a stream: the same events, resumed where it ended, and nobody who is slow holds anything up.

use crate::harness::{Server, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::http::Connection;

const STREAM: (&str, &str) = ("accept", "text/event-stream");

/// What one event of a stream says.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    id: String,
    kind: String,
    event: Value,
}

async fn open(server: &Server, path: &str, last: Option<&str>) -> Connection {
    let mut connection = server.connect().await;
    let mut headers = vec![STREAM];
    headers.extend(last.map(|last| ("last-event-id", last)));
    connection.write_request("GET", path, &headers, b"", true).await;
    let head = connection.reply_head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    connection
}

fn parse(text: &str) -> Vec<Told> {
    let frames = text.split_inclusive("\n\n").filter(|frame| frame.ends_with("\n\n"));
    let field =
        |frame: &str, name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    frames
        .filter_map(|frame| {
            Some(Told {
                event: serde_json::from_str(&field(frame, "data: ")?).unwrap(),
                id: field(frame, "id: ").unwrap(),
                kind: field(frame, "event: ").unwrap(),
            })
        })
        .collect()
}

/// Reads until so many events were told.
async fn read(connection: &mut Connection, count: usize) -> Vec<Told> {
    let text = connection.text_until(|text| parse(text).len() >= count).await;
    parse(&text.expect("the stream goes on"))
}

async fn metric(server: &Server, line: &str) -> bool {
    server.get("/metrics").await.text().lines().any(|found| found == line)
}

async fn until_readers(server: &Server, count: usize) {
    let line = format!("wellorder_feed_readers {count}");
    eventually(&line, async || metric(server, &line).await.then_some(())).await;
}

#[tokio::test]
async fn a_stream_tells_what_the_pages_tell() {
    // With more of them a page goes from shard to shard.
    let server = Server::builder().api_alone().env("WELLORDER_SHARDS", "1").start().await;
    for number in 0..150 {
        server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
    }
    let mut stream = open(&server, "/v1/events", None).await;
    let mut told = read(&mut stream, 150).await;
    for number in 150..160 {
        server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
        told.extend(read(&mut stream, 1).await);
    }
    let (events, _) = server.feed(1_000).await;
    assert_eq!(told.iter().map(|told| told.event.clone()).collect::<Vec<_>>(), events);
    assert!(told.iter().all(|told| told.kind == "order.accepted"));
    // An id is a cursor of the pages too, and the newest id wins over the parameter.
    let page = server.json(&format!("/v1/events?after={}", told[149].id)).await;
    assert_eq!(page["events"], json!(events[150..]));
    let path = format!("/v1/events?after={}", told[20].id);
    let resumed = read(&mut open(&server, &path, None).await, 139).await;
    assert_eq!(resumed, told[21..]);
    let resumed = read(&mut open(&server, &path, Some(&told[157].id)).await, 2).await;
    assert_eq!(resumed, told[158..]);
}

#[tokio::test]
async fn a_reader_comes_back_after_the_server_was_killed_without_loss_or_duplicate() {
    let server = Server::builder().env("WELLORDER_SHARDS", "1").start().await;
    let mut told = Vec::new();
    let mut stream = open(&server, "/v1/events", None).await;
    for number in 0..20 {
        server.accept(&json!({ "reference": format!("a-{number}"), "total": 1 })).await;
    }
    // Somewhere in the middle of it.
    told.extend(read(&mut stream, 25).await);
    let server = server.restart().await;
    for number in 0..20 {
        server.accept(&json!({ "reference": format!("b-{number}"), "total": 1 })).await;
    }
    let last = told.last().map(|told| told.id.clone());
    let mut stream = open(&server, "/v1/events", last.as_deref()).await;
    // 40 orders, each accepted and processed.
    while told.len() < 80 {
        let more = read(&mut stream, 1).await;
        told.extend(more);
    }
    let ids: BTreeSet<_> = told.iter().map(|told| told.event["event_id"].to_string()).collect();
    assert_eq!((told.len(), ids.len()), (80, 80));
    let (events, _) = server.feed(1_000).await;
    assert_eq!(told.iter().map(|told| told.event.clone()).collect::<Vec<_>>(), events);
}

#[tokio::test]
async fn what_is_wrong_is_told_before_the_stream_begins() {
    let server = Server::builder().api_alone().start().await;
    for (path, last) in
        [("/v1/events?after=x", None), ("/v1/events?limit=0", None), ("/v1/events", Some("x"))]
    {
        let mut headers = vec![STREAM];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let reply = server.send("GET", path, &headers, b"").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (400, Some("application/problem+json")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn readers_over_the_limit_are_refused_until_one_goes() {
    let server = Server::builder().api_alone().env("WELLORDER_FEED_READERS_MAX", "1").start().await;
    let stream = open(&server, "/v1/events", None).await;
    let refused = server.send("GET", "/v1/events", &[STREAM], b"").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(server.get("/v1/events").await.status, 200, "pages are for all");
    until_readers(&server, 1).await;
    drop(stream);
    until_readers(&server, 0).await;
    open(&server, "/v1/events", None).await;
}

#[tokio::test]
async fn stopping_ends_streams_at_once() {
    let server = Server::builder().api_alone().env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000").start().await;
    server.accept(&json!({ "total": 1 })).await;
    let mut stream = open(&server, "/v1/events", None).await;
    read(&mut stream, 1).await;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(stream.text_to_end().await.as_deref(), Some(""));
    assert!(stream.rest().await.is_empty());
}

async fn big(server: &Server, number: usize) {
    let filling = "x".repeat(200_000);
    server
        .accept(&json!({ "reference": format!("big-{number}"), "total": 1, "attributes": { "a": filling } }))
        .await;
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_cut_and_resumes() {
    // What one stream tells of two orders comes in their order where they share a shard.
    let builder = Server::builder().api_alone().env("WELLORDER_SHARDS", "1");
    let server = builder.env("WELLORDER_LIMITS_STALL_TIMEOUT_MS", "3600000").start().await;
    server.accept(&json!({ "total": 1 })).await;
    let mut slow = open(&server, "/v1/events", None).await;
    read(&mut slow, 1).await;
    // The stream is at the end of the journal once it tells of what is new.
    server.accept(&json!({ "total": 1 })).await;
    let mut told = read(&mut slow, 1).await;
    let count = 200;
    for number in 0..count {
        big(&server, number).await;
    }
    let text = slow.text_to_end().await.unwrap();
    assert!(
        text.ends_with(": cut off: events came faster than they were taken\n\n"),
        "{}",
        &text[text.len() - 99..]
    );
    told.extend(parse(&text));
    assert!(told.len() < count, "it was cut before the end");
    assert!(metric(&server, r#"wellorder_feed_readers_cut_total{reason="slow"} 1"#).await);
    let last = told.last().map(|told| told.id.clone());
    let mut again = open(&server, "/v1/events", last.as_deref()).await;
    while told.len() < count + 1 {
        let more = read(&mut again, 1).await;
        told.extend(more);
    }
    let numbers: Vec<_> = told[1..].iter().map(|told| told.event["data"]["reference"].clone()).collect();
    assert_eq!(numbers, (0..count).map(|number| json!(format!("big-{number}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let server = Server::builder().api_alone().env("WELLORDER_LIMITS_STALL_TIMEOUT_MS", "200").start().await;
    let _stalled = open(&server, "/v1/events", None).await;
    let mut number = 0;
    eventually("the cut", async || {
        big(&server, number).await;
        number += 1;
        metric(&server, r#"wellorder_feed_readers_cut_total{reason="stalled"} 1"#).await.then_some(())
    })
    .await;
    until_readers(&server, 0).await;
}
