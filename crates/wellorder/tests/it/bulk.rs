//! Many orders in one request: a line each, streamed both ways.

use crate::harness::{Home, Server, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::http::{Connection, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATH: &str = "/v1/orders/bulk";
const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

async fn bulk(server: &Server, body: &str) -> Reply {
    server.send("POST", PATH, &NDJSON, body.as_bytes()).await
}

fn answers(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn order(reference: &str) -> String {
    json!({ "reference": reference, "total": "1.50" }).to_string()
}

/// Status and kind of problem of an answer.
fn word(answer: &Value) -> (u64, &str) {
    let kind = answer["problem"]["type"].as_str().unwrap_or_default();
    assert!(answer["problem"].is_null() || answer["problem"]["status"] == answer["status"], "{answer}");
    assert_eq!(answer["problem"].is_null(), answer["order_id"].is_string(), "{answer}");
    (answer["status"].as_u64().unwrap(), kind.strip_prefix("urn:wellorder:problem:").unwrap_or(kind))
}

/// A request whose body comes bit by bit.
async fn open(server: &Server) -> Connection {
    let mut connection = server.connect().await;
    connection.write_head("POST", PATH, &NDJSON).await;
    connection
}

async fn begun(connection: &mut Connection) {
    let head = connection.reply_head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-ndjson")));
}

async fn answer(connection: &mut Connection) -> Value {
    let text = connection.text_until(|text| text.ends_with('\n')).await.unwrap();
    answers(&text).pop().unwrap()
}

async fn metric(server: &Server, name: &str) -> Option<f64> {
    let page = server.get("/metrics").await;
    let line = page.text().lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn thousands_of_lines_are_answered_in_their_order_and_bad_ones_harm_no_other() {
    let server = Server::builder().api_alone().start().await;
    let long = json!({ "total": 1, "attributes": { "a": "x".repeat(300 * 1024) } }).to_string();
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    for number in 1..=5_000_u64 {
        let (line, said) = match number % 50 {
            7 => (r#"{"total": nope}"#.to_owned(), Some((400, "invalid-json"))),
            13 => (String::new(), None),
            19 => (r#"{"total": "1", "colour": "red"}"#.to_owned(), Some((400, "invalid-body"))),
            23 => (r#"{"reference": "r", "total": "-1"}"#.to_owned(), Some((422, "value-refused"))),
            29 => (order("again"), Some(if number == 29 { (201, "") } else { (200, "") })),
            31 => (r#"{"reference": "again", "total": 2}"#.to_owned(), Some((422, "duplicate-differs"))),
            37 => (r#"{"total": 1, "total": 2}"#.to_owned(), Some((400, "invalid-json"))),
            41 if number < 1_000 => (long.clone(), Some((413, "body-too-large"))),
            43 => ("\u{0}".to_owned(), Some((400, "invalid-json"))),
            _ => (order(&format!("r-{number}")), Some((201, ""))),
        };
        lines.push(line);
        expected.extend(said.map(|said| (number, said)));
    }
    let body = lines.join("\n");
    let reply = bulk(&server, &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")));
    let said = answers(reply.text());
    let found: Vec<_> = said.iter().map(|answer| (answer["line"].as_u64().unwrap(), word(answer))).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    let replayed: BTreeSet<_> = said
        .iter()
        .filter(|answer| answer["status"] == 200)
        .collect::<Vec<_>>()
        .iter()
        .map(|answer| (answer["replayed"].clone().to_string(), answer["order_id"].to_string()))
        .collect();
    assert_eq!(replayed.len(), 1, "{replayed:?}");

    // The whole again: every order is there once.
    let again = answers(bulk(&server, &body).await.text());
    for (first, second) in said.iter().zip(&again) {
        assert_eq!(first["order_id"], second["order_id"]);
        assert_ne!(second["status"], 201, "{second}");
    }
    let accepted = said.iter().filter(|answer| answer["status"] == 201).count();
    assert_eq!(
        metric(&server, r#"wellorder_bulk_lines_total{outcome="accepted"}"#).await,
        Some(accepted as f64)
    );
    let home = server.home();
    server.terminate().await;
    assert_eq!(home.audited()["orders"], accepted);
}

#[tokio::test]
async fn answers_come_before_the_request_ends() {
    let server = Server::builder().api_alone().start().await;
    let mut connection = open(&server).await;
    begun(&mut connection).await;
    for number in 1..=3 {
        connection.write_chunk(format!("{}\n", order(&format!("r-{number}"))).as_bytes()).await;
        let answer = answer(&mut connection).await;
        assert_eq!(json!([answer["line"], answer["status"]]), json!([number, 201]));
    }
    // Half a line is none; the last one needs no end.
    let (half, rest) = (r#"{"reference": "r-4", "#, r#""total": 1}"#);
    connection.write_chunk(half.as_bytes()).await;
    connection.write_chunk(rest.as_bytes()).await;
    connection.write_chunk(b"").await;
    let end = answers(&connection.text_to_end().await.unwrap());
    assert_eq!((end.len(), word(&end[0])), (1, (201, "")));
    assert!(server.by_reference("r-4").await.is_some());
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::builder().api_alone().start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = order("a");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\nexpect: 100-continue\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(std::str::from_utf8(&interim).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains(r#""status":201"#), "{reply}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_held_up_and_then_cut_off() {
    let server = Server::builder().api_alone().env("WELLORDER_LIMITS_STALL_TIMEOUT_MS", "300").start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        16 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Each answer is a hundred times as long as its line.
    let lines = "x\n".repeat(8 * 1024);
    let mut sent = 0;
    while stream.write_all(lines.as_bytes()).await.is_ok() {
        sent += lines.len();
        assert!(sent < 16 << 20, "the server read all of it");
    }
    eventually("the cut", async || {
        metric(&server, "wellorder_http_stalled_total").await.filter(|cut| *cut > 0.0)
    })
    .await;
    assert_eq!(bulk(&server, &order("a")).await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_whole_orders_and_room_for_others() {
    let server = Server::builder().api_alone().env("WELLORDER_LIMITS_BULK_REQUESTS_MAX", "1").start().await;
    let mut connection = open(&server).await;
    begun(&mut connection).await;
    let lines: String = (0..2_000).map(|number| order(&format!("r-{number}")) + "\n").collect();
    connection.write_chunk(lines.as_bytes()).await;
    let first = answer(&mut connection).await;
    let refused = bulk(&server, &order("b")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(connection);
    let reply = eventually("room for another", async || {
        Some(bulk(&server, &order("b")).await).filter(|reply| reply.status == 200)
    })
    .await;
    assert_eq!(word(&answers(reply.text())[0]), (201, ""));
    assert!(first["order_id"].is_string());
    // What was not answered may be sent again.
    let again = answers(bulk(&server, &lines).await.text());
    assert_eq!(
        (again.len(), &again[0]["order_id"]),
        (2_000, &json!(server.by_reference("r-0").await.unwrap()["order_id"]))
    );
    assert!(again.iter().all(|answer| matches!(word(answer), (200 | 201, ""))));
    let home = server.home();
    server.terminate().await;
    assert_eq!(home.audited()["orders"], 2_001);
}

#[tokio::test]
async fn a_server_that_stops_says_which_line_it_did_not_read() {
    let server = Server::builder().api_alone().env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000").start().await;
    let mut connection = open(&server).await;
    begun(&mut connection).await;
    connection.write_chunk(format!("{}\n\n", order("a")).as_bytes()).await;
    assert_eq!(word(&answer(&mut connection).await), (201, ""));
    server.signal(Signal::TERM);
    let end = answers(&connection.text_to_end().await.unwrap());
    assert_eq!((end.len(), word(&end[0]), &end[0]["line"]), (1, (503, "unavailable"), &json!(3)));
    assert_eq!(end[0]["problem"]["retry_after"], 1);
    let ended = server.ended().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
}

#[tokio::test]
async fn too_much_is_refused_at_once_when_it_is_announced_and_else_where_it_ends() {
    let server = Server::builder().api_alone().env("WELLORDER_LIMITS_BULK_MIB", "1").start().await;
    let line = order(&"r".repeat(200)) + "\n";
    let many = line.repeat((1 << 20) / line.len() + 1);
    let announced = bulk(&server, &many).await;
    assert_eq!(
        (announced.status, announced.json()["type"].as_str()),
        (413, Some("urn:wellorder:problem:body-too-large"))
    );
    let mut connection = open(&server).await;
    connection.write_chunk(many.as_bytes()).await;
    begun(&mut connection).await;
    let said = answers(&connection.text_to_end().await.unwrap());
    let (last, whole) = said.split_last().unwrap();
    assert_eq!(whole.len(), (1 << 20) / line.len());
    assert!(whole.iter().skip(1).all(|answer| word(answer) == (200, "")));
    assert_eq!((word(last), last["line"].as_u64().unwrap()), ((413, "body-too-large"), said.len() as u64));
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stalls_is_answered_as_far_as_it_came() {
    let server = Server::builder().api_alone().env("WELLORDER_LIMITS_BODY_TIMEOUT_MS", "300").start().await;
    let mut connection = open(&server).await;
    connection.write_chunk(format!("{}\nhalf", order("a")).as_bytes()).await;
    begun(&mut connection).await;
    let said = answers(&connection.text_to_end().await.unwrap());
    assert_eq!(said.iter().map(word).collect::<Vec<_>>(), [(201, ""), (408, "body-timeout")]);
    let mut connection = open(&server).await;
    connection.write_chunk(format!("{}\nhalf", order("b")).as_bytes()).await;
    connection.write(b"no size\r\n").await;
    begun(&mut connection).await;
    let said = answers(&connection.text_to_end().await.unwrap());
    assert_eq!(said.iter().map(word).collect::<Vec<_>>(), [(201, ""), (400, "bad-framing")]);
}

#[tokio::test]
async fn a_storage_that_is_away_fails_lines_that_may_be_sent_again() {
    // The file is hidden; what a server that is away comes to, its own tests tell.
    let home = Home::on(None);
    let server = home.server().api_alone().start().await;
    let lines: String = (0..100).map(|number| order(&format!("r-{number}")) + "\n").collect();
    std::fs::rename(home.database(), home.data().join("away")).unwrap();
    let failed = answers(bulk(&server, &lines).await.text());
    assert_eq!(failed.len(), 100);
    for answer in &failed {
        assert_eq!(word(answer), (503, "unavailable"));
        assert!(answer["problem"]["retry_after"].as_u64().unwrap() >= 1, "{answer}");
    }
    std::fs::rename(home.data().join("away"), home.database()).unwrap();
    let again = eventually("the storage is back", async || {
        let said = answers(bulk(&server, &lines).await.text());
        said.iter().all(|answer| word(answer).0 < 300).then_some(said)
    })
    .await;
    assert_eq!(again.len(), 100);
}

#[tokio::test]
async fn what_is_no_bulk_request_is_refused_as_a_whole() {
    let server = Server::builder().api_alone().start().await;
    let key = [NDJSON[0], ("idempotency-key", "k")];
    let reply = server.send("POST", PATH, &key, order("a").as_bytes()).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.json()["detail"].as_str().unwrap().contains("give each line a reference"),
        "{}",
        reply.text()
    );
    let reply = server.post(PATH, &order("a")).await;
    assert_eq!(reply.status, 415);
    assert!(reply.json()["detail"].as_str().unwrap().contains("application/x-ndjson"), "{}", reply.text());
    assert_eq!(server.send("POST", &format!("{PATH}?x=1"), &NDJSON, b"").await.status, 400);
    assert_eq!(server.get(PATH).await.status, 405);
    let nothing = bulk(&server, "").await;
    assert_eq!((nothing.status, nothing.text()), (200, ""));
    assert_eq!(server.json("/v1/orders").await["orders"], json!([]));
}
