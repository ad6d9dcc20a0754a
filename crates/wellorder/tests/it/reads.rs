//! Reads that nobody takes, and more reads than can be done: memory stays bounded, writes and health go on.

use crate::harness::{Server, eventually};
use serde_json::{Value, json};
use testkit::http::Reply;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const MIB: usize = 1 << 20;
/// What the server may hold of answers, half of it for the one tenant that there is.
const ANSWERS_MIB: usize = 8;

async fn server() -> Server {
    let server = Server::builder()
        .api_alone()
        .env("WELLORDER_LIMITS_ANSWERS_MIB", &ANSWERS_MIB.to_string())
        .start()
        .await;
    for number in 0..30 {
        let filling = "x".repeat(250_000);
        let order =
            json!({ "reference": format!("big-{number}"), "total": 1, "attributes": { "a": filling } });
        server.accept(&order).await;
    }
    server
}

async fn metric(server: &Server, name: &str) -> usize {
    let metrics = server.get("/metrics").await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// A client that asks and takes nothing.
async fn stalled(server: &Server, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// In one to four seconds, in turn.
fn told_when(reply: &Reply) {
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_page_of_large_orders_is_no_larger_than_others() {
    let server = server().await;
    let (mut seen, mut after) = (0, String::new());
    loop {
        let reply = server.get(&format!("/v1/orders?limit=200{after}")).await;
        assert!(reply.body.len() < 5 * MIB, "{} bytes", reply.body.len());
        let page = reply.json();
        seen += page["orders"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, 30);
}

#[tokio::test]
async fn clients_that_take_nothing_hold_a_bounded_part_of_the_memory() {
    let server = server().await;
    let order: Value = server.json("/v1/orders?limit=1").await["orders"][0].clone();
    let one = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let events = format!("{one}/events");
    let mut clients = Vec::new();
    for path in
        ["/v1/orders?limit=200", "/v1/events?limit=1000", "/v1/parked", &events].iter().cycle().take(80)
    {
        clients.push(stalled(&server, path).await);
    }
    eventually("a refusal", async || {
        let reply = server.get("/v1/orders?limit=200").await;
        if reply.status != 503 {
            clients.push(stalled(&server, "/v1/orders?limit=200").await);
            return None;
        }
        told_when(&reply);
        assert_eq!(reply.json()["type"], "urn:wellorder:problem:unavailable", "{}", reply.text());
        Some(())
    })
    .await;
    let held = metric(&server, "wellorder_answers_bytes").await;
    // Those that had their turn when the last room was taken may have left a page each.
    assert!(held > MIB && held < (ANSWERS_MIB + 3 * 5) * MIB, "{held} bytes");
    assert!(metric(&server, "wellorder_reads_shed_total{class=\"list\"}").await > 0);
    assert_eq!(server.get(&one).await.status, 503, "a look-up leaves an answer too");
    server.accept(&json!({ "reference": "small", "total": 1 })).await;
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    let claim = server.post("/v1/work/claim", r#"{"max": 100}"#).await;
    assert_eq!(claim.status, 503, "nothing is leased that cannot be told: {}", claim.text());
    drop(clients);
    eventually("room again", async || (server.get(&one).await.status == 200).then_some(())).await;
    eventually("nothing held", async || {
        (metric(&server, "wellorder_answers_bytes").await == 0).then_some(())
    })
    .await;
}

/// How many are refused is a matter of the machine; that each is answered, and each refusal counted, is not.
#[tokio::test]
async fn a_crowd_of_readers_gets_answers_or_refusals() {
    let server = Server::builder()
        .api_alone()
        .env("WELLORDER_LIMITS_READ_WAIT_MS", "1")
        .env("WELLORDER_LIMITS_LISTS_AT_ONCE", "1")
        .start()
        .await;
    for number in 0..50 {
        server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
    }
    let crowd = (0..100).map(|_| server.get("/v1/orders?limit=200"));
    let replies = futures_util::future::join_all(crowd).await;
    let mut refused = 0;
    for reply in &replies {
        match reply.status {
            200 => assert_eq!(reply.json()["orders"].as_array().unwrap().len(), 50),
            503 => {
                told_when(reply);
                refused += 1;
            }
            other => panic!("{other}: {}", reply.text()),
        }
    }
    assert!(refused < replies.len(), "some are answered");
    assert_eq!(metric(&server, "wellorder_reads_shed_total{class=\"list\"}").await, refused);
}
