//! What the logs say, and what they never say.

use crate::harness::{Answer, Receiver, Server, eventually};
use serde_json::{Value, json};

/// In everything that a log must not repeat.
const CANARY: &str = "CANARY-7f2c";
/// Of a client that traces.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn talk(server: &Server) {
    let secrets = [
        ("content-type", "application/json"),
        ("cookie", "session=CANARY-7f2c-cookie"),
        ("x-api-key", "CANARY-7f2c-key"),
        ("user-agent", "CANARY-7f2c-agent"),
    ];
    for (path, body) in [
        ("/v1/orders", r#"{"reference":"CANARY-7f2c-r","customer":"CANARY-7f2c-c","total":"1"}"#),
        ("/v1/orders", r#"{"reference":"CANARY-7f2c-r","customer":"CANARY-7f2c-d","total":"1"}"#),
        ("/v1/orders", r#"{"reference":"CANARY-7f2c-q","total":"CANARY-7f2c","CANARY-7f2c":1}"#),
        ("/v1/orders?token=CANARY-7f2c-query", r#"{"total":"1"}"#),
        ("/v1/orders", r#"{"reference":"CANARY-7f2c"#),
        ("/oscarps/orders?t=CANARY-7f2c", r#"{"orderId":"CANARY-7f2c","customer":"CANARY-7f2c","total":1}"#),
        ("/oscarps/orders", r#"{"orderId":"CANARY-7f2c","customer":"CANARY-7f2c-other","total":1}"#),
        (
            "/parspec/orders?t=CANARY-7f2c",
            r#"{"userId":"CANARY-7f2c","itemIds":["CANARY-7f2c"],"totalAmount":1}"#,
        ),
        ("/CANARY-7f2c/orders", "{}"),
    ] {
        let reply = server.send("POST", path, &secrets, body.as_bytes()).await;
        assert!(reply.status < 500, "{path}: {}", reply.text());
    }
    let bearer = [("authorization", "Bearer CANARY-7f2c-token")];
    assert_eq!(server.send("GET", "/v1/orders", &bearer, b"").await.status, 401);
    let keyed = [("content-type", "application/json"), ("idempotency-key", "CANARY-7f2c-idem")];
    server.send("POST", "/v1/orders", &keyed, br#"{"total":"1"}"#).await;
    for path in [
        "/oscarps/orders/CANARY-7f2c",
        "/v1/orders?reference=CANARY-7f2c",
        "/v1/events?after=CANARY-7f2c",
        "/CANARY-7f2c",
    ] {
        server.send("GET", path, &secrets, b"").await;
    }
}

#[tokio::test]
async fn neither_credentials_nor_queries_nor_bodies_are_logged() {
    // The processor's answers carry the canary too: they belong to the order's history, not to the log.
    let receiver = Receiver::start(|call| match call.before {
        0 => Answer::Tells(500, CANARY),
        _ => Answer::Tells(400, CANARY),
    })
    .await;
    let url = format!("http://user:CANARY-7f2c-password@{}/CANARY-7f2c?t=CANARY-7f2c", receiver.address);
    for format in ["json", "text"] {
        let server = Server::builder()
            .env("WELLORDER_LOG_LEVEL", "trace")
            .env("WELLORDER_LOG_FORMAT", format)
            .processor(&url)
            .start()
            .await;
        talk(&server).await;
        server
            .until("/v1/orders?processing=parked", |page| page["orders"].as_array().unwrap().len() == 4)
            .await;
        let shown = server.home().run_with(
            &[("WELLORDER_PROCESSOR", "http"), ("WELLORDER_HTTP_PROCESSOR_URL", &url)],
            &["config", "show"],
        );
        assert!(shown.stdout.contains("http_processor.url"), "{shown:?}");
        assert!(!shown.stdout.contains(CANARY), "the address is a secret: {}", shown.stdout);
        let ended = server.terminate().await;
        assert_eq!(ended.code(), 0);
        let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(lines.is_empty(), "{format}: {lines:#?}");
        assert!(ended.stderr.lines().count() > 10, "{format}: there was something to log");
    }
}

#[tokio::test]
async fn what_comes_from_outside_forges_no_line() {
    let forged =
        "\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\n2030-01-01T00:00:00Z ERROR forged \u{1b}[31m";
    let receiver = Receiver::start(|_| {
        Answer::Tells(
            400,
            "\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\n2030-01-01T00:00:00Z ERROR forged \u{1b}[31m",
        )
    })
    .await;
    for format in ["json", "text"] {
        let server = Server::builder()
            .env("WELLORDER_LOG_LEVEL", "trace")
            .env("WELLORDER_LOG_FORMAT", format)
            .processor(&receiver.url())
            .start()
            .await;
        let order = server.accept(&json!({ "reference": forged, "customer": forged, "total": 1 })).await;
        server.until_order(&order, "parked").await;
        server.get("/oscarps/orders/a%0d%0a2030-01-01T00:00:00Z%20ERROR%20forged").await;
        let ids = [("x-request-id", "a\tb forged")];
        server.send("GET", "/v1/orders", &ids, b"").await;
        let ended = server.terminate().await;
        for line in ended.stderr.lines().filter(|line| *line != "stopping: what runs may end") {
            assert!(
                !line.starts_with("2030") && !line.contains('\u{1b}') && !line.contains('\r'),
                "{line:?}"
            );
            if format == "json" {
                let event: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert_ne!(event["message"], "forged");
            }
        }
    }
}

#[tokio::test]
async fn a_line_about_a_request_carries_its_id_and_its_orders() {
    let server = Server::builder()
        .env("WELLORDER_LOG_LEVEL", "debug")
        .env("WELLORDER_LOG_FORMAT", "json")
        .api_alone()
        .start()
        .await;
    let headers = [("content-type", "application/json"), ("x-request-id", "my-request-1")];
    let reply = server.send("POST", "/v1/orders", &headers, br#"{"total":"1"}"#).await;
    assert_eq!(reply.header("x-request-id"), Some("my-request-1"));
    let ended = server.terminate().await;
    let events: Vec<Value> =
        ended.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_request = |event: &&Value| {
        let spans = event["spans"].as_array().cloned().unwrap_or_default();
        spans.iter().any(|span| span["request_id"] == "my-request-1")
    };
    let line = events
        .iter()
        .find(of_request)
        .unwrap_or_else(|| panic!("no line names the request: {}", ended.stderr));
    assert_eq!(json!([line["status"], line["order_id"]]), json!([201, reply.json()["order_id"]]), "{line}");
}

#[tokio::test]
async fn a_request_that_fails_on_our_side_is_logged_with_its_id() {
    let server = Server::builder().env("WELLORDER_LOG_FORMAT", "json").api_alone().start().await;
    let home = server.home();
    std::fs::rename(home.database(), home.data().join("away")).unwrap();
    let headers = [("content-type", "application/json"), ("x-request-id", "my-request-2")];
    let reply = server.send("POST", "/v1/orders", &headers, br#"{"total":"1"}"#).await;
    assert_eq!(reply.status, 503);
    let line = server.stderr().until("my-request-2").await;
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json!([event["level"], event["status"]]), json!(["WARN", 503]), "{line}");
    std::fs::rename(home.data().join("away"), home.database()).unwrap();
}

/// Whoever made it: the log of a server whose work others do tells of their failures too.
#[tokio::test]
async fn a_try_of_a_worker_outside_is_logged_as_any_other() {
    let server = Server::builder()
        .env("WELLORDER_LOG_FORMAT", "json")
        .env("WELLORDER_PROCESSOR", "pull")
        .env("WELLORDER_WORKER_MAX_ATTEMPTS", "2")
        .env("WELLORDER_WORKER_BACKOFF_BASE_MS", "1")
        .start()
        .await;
    let order = traced_order(&server).await;
    for _ in 0..2 {
        let claim = async || {
            server.post("/v1/work/claim", "{}").await.json()["work"][0]["token"].as_str().map(str::to_owned)
        };
        let token = eventually("work that is due", claim).await;
        let result = json!({ "token": token, "outcome": "retry", "error": CANARY }).to_string();
        assert_eq!(server.post("/v1/work/finish", &result).await.status, 200);
    }
    server.until_order(&order, "parked").await;
    let ended = server.terminate().await;
    for (message, attempt) in [("failed; to be tried again", 1), ("parked: somebody should look at it", 2)] {
        let lines = lines_of(&ended.stderr, message);
        let said: Vec<_> =
            lines.iter().map(|line| json!([line["trace_id"], line["order_id"], line["attempt"]])).collect();
        assert_eq!(said, [json!([TRACE, order["order_id"], attempt])], "{message}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
}

/// With no collector too: the trace is the client's own.
#[tokio::test]
async fn a_line_about_a_try_carries_the_trace_of_its_order() {
    let receiver = Receiver::start(|_| Answer::Says(503, "")).await;
    let server = Server::builder()
        .env("WELLORDER_LOG_FORMAT", "json")
        .env("WELLORDER_WORKER_MAX_ATTEMPTS", "2")
        .env("WELLORDER_WORKER_BACKOFF_BASE_MS", "1")
        .processor(&receiver.url())
        .start()
        .await;
    let order = traced_order(&server).await;
    server.until_order(&order, "parked").await;
    let ended = server.terminate().await;
    for message in ["failed; to be tried again", "parked: somebody should look at it"] {
        let lines = lines_of(&ended.stderr, message);
        assert_eq!(lines.len(), 1, "{message}: {}", ended.stderr);
        assert_eq!(
            (&lines[0]["trace_id"], &lines[0]["order_id"]),
            (&json!(TRACE), &order["order_id"]),
            "{message}"
        );
    }
}

/// An order whose client traces.
async fn traced_order(server: &Server) -> Value {
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
    server.send("POST", "/v1/orders", &headers, br#"{"total":"1"}"#).await.json()
}

/// The lines of a log that say `message`.
fn lines_of(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}
