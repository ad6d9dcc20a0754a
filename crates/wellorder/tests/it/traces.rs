//! Traces: from a request over its commit and its tries to every sink, and to a collector.

use crate::harness::collector::{Collector, hex, text};
use crate::harness::{Answer, Builder, Home, Receiver, Server, eventually};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// In everything that no span may repeat.
const CANARY: &str = "CANARY-7f2c";

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

fn traced(builder: Builder, collector: &Collector) -> Builder {
    builder.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
}

async fn post(server: &Server, traceparent: Option<&str>) -> Value {
    let body = format!(r#"{{"reference":"{CANARY}-r","customer":"{CANARY}-c","total":"1"}}"#);
    let mut headers = vec![("content-type", "application/json"), ("x-request-id", CANARY)];
    headers.extend(traceparent.map(|value| ("traceparent", value)));
    let reply = server.send("POST", "/v1/orders", &headers, body.as_bytes()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// The one span of this name below `parent`.
#[track_caller]
fn below<'s>(spans: &'s [Span], name: &str, parent: &[u8]) -> &'s Span {
    let found: Vec<_> = named(spans, name).into_iter().filter(|span| span.parent_span_id == parent).collect();
    assert_eq!(found.len(), 1, "{name} below {}: {spans:#?}", hex(parent));
    found[0]
}

fn delivered(spans: &[Span], event_type: &str) -> bool {
    let is = |span: &&Span| text(&span.attributes, "wellorder.event_type").as_deref() == Some(event_type);
    named(spans, "deliver").iter().any(is)
}

fn whole(spans: &[Span]) -> Option<Vec<Span>> {
    (delivered(spans, "order.accepted") && delivered(spans, "order.processed") && spans.len() >= 8)
        .then(|| spans.to_vec())
}

#[tokio::test]
async fn one_trace_leads_from_the_request_over_its_commit_and_its_try_to_the_sink() {
    let (collector, receiver) = (Collector::start().await, Receiver::start(|_| Answer::Says(200, "")).await);
    let builder = traced(Server::builder(), &collector).env("OTEL_SERVICE_NAME", "shop");
    let server = builder.processor(&receiver.url()).start().await;
    let order = post(&server, Some(&sampled())).await;
    let spans = collector.until("both deliveries", whole).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let request = named(&spans, "POST /v1/orders");
    assert_eq!(request.len(), 1, "{spans:#?}");
    let request = request[0];
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind()), (PARENT, SpanKind::Server));
    assert_eq!(text(&request.attributes, "http.response.status_code").as_deref(), Some("201"));
    assert_eq!(text(&request.attributes, "http.route").as_deref(), Some("/v1/orders"));
    let lane = below(&spans, "lane commit", &request.span_id);
    let storage = below(&spans, "storage commit", &lane.span_id);
    let batch: u32 = text(&storage.attributes, "wellorder.batch_size").unwrap().parse().unwrap();
    assert!(batch >= 1, "{storage:#?}");
    let process = below(&spans, "process", &request.span_id);
    assert_eq!(text(&process.attributes, "wellorder.attempt").as_deref(), Some("1"));
    assert_eq!(text(&process.attributes, "wellorder.outcome").as_deref(), Some("done"));
    let settle = below(&spans, "lane commit", &process.span_id);
    below(&spans, "storage commit", &settle.span_id);
    let accepted = below(&spans, "deliver", &request.span_id);
    assert_eq!(text(&accepted.attributes, "wellorder.event_type").as_deref(), Some("order.accepted"));
    let processed = below(&spans, "deliver", &process.span_id);
    assert_eq!(text(&processed.attributes, "wellorder.follower").as_deref(), Some("ndjson"));
    let order_id = order["order_id"].as_str();
    for span in [request, process, accepted, processed] {
        assert_eq!(text(&span.attributes, "wellorder.order_id").as_deref(), order_id, "{span:#?}");
    }
    for span in &spans {
        assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(span.status.is_none(), "all went well: {span:#?}");
    }
    let call = &receiver.calls()[0];
    assert_eq!(call.header("traceparent"), format!("00-{TRACE}-{}-01", hex(&process.span_id)));
    assert_eq!(collector.services().into_iter().collect::<BTreeSet<_>>(), ["shop".to_owned()].into());
}

#[tokio::test]
async fn a_span_says_nothing_that_a_client_put_in() {
    let (collector, receiver) =
        (Collector::start().await, Receiver::start(|_| Answer::Tells(400, CANARY)).await);
    let server = traced(Server::builder(), &collector).processor(&receiver.url()).start().await;
    let order = post(&server, None).await;
    server.until_order(&order, "parked").await;
    server.get("/v1/CANARY-7f2c?t=CANARY-7f2c").await;
    server.get("/v1/orders/CANARY-7f2c?t=CANARY-7f2c").await;
    let known = [
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "wellorder.order_id",
        "wellorder.attempt",
        "wellorder.outcome",
        "wellorder.batch_size",
        "wellorder.processor",
        "wellorder.follower",
        "wellorder.sink",
        "wellorder.event_type",
    ];
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let spans = collector.spans();
    assert!(!named(&spans, "GET unmatched").is_empty() && !named(&spans, "process").is_empty(), "{spans:#?}");
    assert!(!named(&spans, "GET /v1/orders/{order_id}").is_empty(), "{spans:#?}");
    assert!(!collector.holds(CANARY), "{spans:#?}");
    let keys = spans.iter().flat_map(|span| &span.attributes).map(|attribute| attribute.key.as_str());
    let unknown: Vec<_> = keys.filter(|key| !known.contains(key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let failed = named(&spans, "process")[0].status.as_ref().map(|status| status.code);
    assert_eq!(failed, Some(2), "a try that parks has failed");
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one_which_the_log_names() {
    let collector = Collector::start().await;
    let builder = Server::builder().env("WELLORDER_LOG_LEVEL", "debug").env("WELLORDER_LOG_FORMAT", "json");
    let server = traced(builder, &collector).api_alone().start().await;
    for malformed in [None, Some("00-nonsense"), Some(sampled().to_uppercase().as_str())] {
        let headers: Vec<_> = malformed.iter().map(|value| ("traceparent", *value)).collect();
        server.send("GET", "/v1/orders", &headers, b"").await;
    }
    server.get("/readyz").await;
    let ended = server.terminate().await;
    let spans = collector.spans();
    let requests = named(&spans, "GET /v1/orders");
    assert_eq!(requests.len(), 3, "{spans:#?}");
    let ids: BTreeSet<String> = requests.iter().map(|span| hex(&span.trace_id)).collect();
    assert_eq!(ids.len(), 3, "each its own");
    assert!(requests.iter().all(|span| span.parent_span_id.is_empty()), "{spans:#?}");
    assert!(ids.iter().all(|id| ended.stderr.contains(&format!(r#""trace_id":"{id}""#))), "{}", ended.stderr);
    assert!(spans.iter().all(|span| span.name != "GET /readyz"), "health is not worth a trace: {spans:#?}");
}

#[tokio::test]
async fn without_a_collector_a_trace_goes_through_as_it_came() {
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let builder = Server::builder().env("WELLORDER_LOG_LEVEL", "debug").env("WELLORDER_LOG_FORMAT", "json");
    let server = builder.processor(&receiver.url()).start().await;
    post(&server, Some(&sampled())).await;
    receiver.until_calls(1).await;
    let body = br#"{"total":"1"}"#;
    let json = ("content-type", "application/json");
    let twice = [json, ("traceparent", &sampled()), ("traceparent", &sampled())];
    let malformed = [json, ("traceparent", &format!("00-{}-{PARENT}-01", "0".repeat(32)))];
    for headers in [&[json][..], &malformed, &twice] {
        assert_eq!(server.send("POST", "/v1/orders", headers, body).await.status, 201);
    }
    let calls = receiver.until_calls(4).await;
    assert_eq!(calls[0].header("traceparent"), sampled());
    assert!(calls[1..].iter().all(|call| call.find("traceparent").is_none()), "{calls:#?}");
    let ended = server.terminate().await;
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("trace_id")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(TRACE)), "{lines:#?}");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent_but_goes_on_as_such() {
    let (collector, receiver) = (Collector::start().await, Receiver::start(|_| Answer::Says(200, "")).await);
    let builder = traced(Server::builder(), &collector).env("WELLORDER_TELEMETRY_SAMPLE_RATIO", "0");
    let server = builder.processor(&receiver.url()).start().await;
    let order = post(&server, None).await;
    server.until_order(&order, "done").await;
    let flags = receiver.calls()[0].header("traceparent").rsplit_once('-').unwrap().1.to_owned();
    assert_eq!(u8::from_str_radix(&flags, 16).unwrap() & 1, 0, "{flags}");
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    server.send("GET", "/v1/orders", &[("traceparent", &unsampled)], b"").await;
    // Whoever sampled a trace is taken at its word.
    server.send("GET", "/v1/orders", &[("traceparent", &sampled())], b"").await;
    server.terminate().await;
    let spans = collector.spans();
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["GET /v1/orders"]);
}

#[tokio::test]
async fn without_trust_a_strangers_trace_goes_on_but_is_not_recorded_at_their_word() {
    let (collector, receiver) = (Collector::start().await, Receiver::start(|_| Answer::Says(200, "")).await);
    let builder = traced(Server::builder(), &collector)
        .env("WELLORDER_TELEMETRY_SAMPLE_RATIO", "0")
        .env("WELLORDER_TELEMETRY_TRUST_INCOMING", "false");
    let server = builder.processor(&receiver.url()).start().await;
    let order = post(&server, Some(&sampled())).await;
    server.until_order(&order, "done").await;
    assert_eq!(receiver.calls()[0].header("traceparent"), format!("00-{TRACE}-{PARENT}-00"));
    server.terminate().await;
    assert_eq!(collector.spans().len(), 0);
}

/// An address at which nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nobody_up_and_is_told_of_once() {
    let address = free_address();
    let server = Server::builder()
        .env("WELLORDER_TELEMETRY_OTLP_ENDPOINT", &format!("http://user:hunter2@{address}/"))
        .env("WELLORDER_LOG_FORMAT", "json")
        .start()
        .await;
    let order = post(&server, Some(&sampled())).await;
    server.until_order(&order, "done").await;
    server.stderr().until("cannot send spans to the collector").await;
    let collector = Collector::start_at(address).await;
    collector.until("what waited", |spans| (!spans.is_empty()).then_some(())).await;
    server.stderr().until("sends spans to the collector again").await;
    drop(collector);
    server.get("/v1/orders").await;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let said = ended.stderr.matches("cannot send spans").count();
    assert!((1..=2).contains(&said), "once each time: {}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_of_once_and_its_spans_are_counted() {
    let collector = Collector::refusing(401).await;
    let server = traced(Server::builder(), &collector).api_alone().start().await;
    server.get("/v1/orders").await;
    server.stderr().until("the collector refuses spans").await;
    server.get("/v1/orders").await;
    let refused = |page: &str| page.lines().any(|line| line == "wellorder_spans_refused_total 2");
    eventually("both are counted", async || refused(server.get("/metrics").await.text()).then_some(())).await;
    let ended = server.terminate().await;
    assert_eq!(ended.stderr.matches("the collector refuses spans").count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn a_collector_that_hangs_keeps_no_process_from_ending() {
    // It takes connections, and that is all.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::builder()
        .env("WELLORDER_TELEMETRY_OTLP_ENDPOINT", &format!("http://{}", listener.local_addr().unwrap()))
        .env("WELLORDER_SHUTDOWN_DRAIN_MS", "100")
        .api_alone()
        .start()
        .await;
    post(&server, None).await;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("could not send all spans"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent() {
    let collector = Collector::start().await;
    let server = traced(Server::builder(), &collector).api_alone().start().await;
    post(&server, Some(&sampled())).await;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let names: BTreeSet<String> = collector.spans().into_iter().map(|span| span.name).collect();
    let expected = ["POST /v1/orders", "lane commit", "storage commit"].map(str::to_owned);
    assert_eq!(names, expected.into());
}

#[tokio::test]
async fn every_line_of_a_bulk_request_is_of_its_trace() {
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let headers = [("content-type", "application/x-ndjson"), ("traceparent", &sampled())];
    let body = b"{\"total\":\"1\"}\n{\"total\":\"2\"}\n";
    let reply = server.send("POST", "/v1/orders/bulk", &headers, body).await;
    assert_eq!((reply.status, reply.text().lines().count()), (200, 2), "{}", reply.text());
    let calls = receiver.until_calls(2).await;
    assert!(calls.iter().all(|call| call.header("traceparent") == sampled()), "{calls:#?}");
}

#[tokio::test]
async fn a_redrive_is_of_the_trace_of_whoever_asked_for_it() {
    let (collector, receiver) = (
        Collector::start().await,
        Receiver::start(|call| Answer::Says(if call.before == 0 { 400 } else { 200 }, "")).await,
    );
    let server = traced(Server::builder(), &collector).processor(&receiver.url()).start().await;
    let order = post(&server, None).await;
    server.until_order(&order, "parked").await;
    let headers = [("content-type", "application/json"), ("traceparent", &sampled())];
    let body = br#"{"filter":{"source":"api"},"reason":"mended"}"#;
    let reply = server.send("POST", "/v1/redrives", &headers, body).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let calls = receiver.until_calls(2).await;
    assert!(!calls[0].header("traceparent").contains(TRACE), "{calls:#?}");
    assert!(calls[1].header("traceparent").contains(TRACE), "{calls:#?}");
}

/// Work for workers outside: their try is of the order's trace, whichever trace they ask in themselves.
#[tokio::test]
async fn a_try_of_a_worker_outside_is_of_the_orders_trace() {
    let collector = Collector::start().await;
    let home = Home::new();
    let start = || traced(home.server(), &collector).env("WELLORDER_PROCESSOR", "pull").start();
    let server = start().await;
    let order = post(&server, Some(&sampled())).await;
    let theirs = "00-11111111111111111111111111111111-2222222222222222-01";
    let headers = [("content-type", "application/json"), ("traceparent", theirs)];
    let claimed = server.send("POST", "/v1/work/claim", &headers, b"{}").await.json();
    let work = &claimed["work"][0];
    let place = work["traceparent"].as_str().unwrap_or_else(|| panic!("{claimed}")).to_owned();
    assert!(place.contains(TRACE) && !place.contains(PARENT), "{place}");
    // What was claimed is ended under its token after a restart too.
    server.terminate().await;
    let server = start().await;
    let beat = json!({ "token": work["token"] }).to_string();
    assert_eq!(server.send("POST", "/v1/work/heartbeat", &headers, beat.as_bytes()).await.status, 200);
    let end = json!({ "token": work["token"], "outcome": "done" }).to_string();
    assert_eq!(server.send("POST", "/v1/work/finish", &headers, end.as_bytes()).await.status, 200);
    let spans = collector.until("both deliveries", whole).await;
    server.terminate().await;
    let spans = [spans, collector.spans()].into_iter().max_by_key(Vec::len).unwrap();
    let request = named(&spans, "POST /v1/orders")[0];
    let process = below(&spans, "process", &request.span_id);
    assert_eq!(format!("00-{TRACE}-{}-01", hex(&process.span_id)), place, "what the claim said");
    for (key, value) in [("attempt", "1"), ("outcome", "done"), ("processor", "pull")] {
        let said = text(&process.attributes, &format!("wellorder.{key}"));
        assert_eq!(said.as_deref(), Some(value), "{process:#?}");
    }
    assert_eq!(text(&process.attributes, "wellorder.order_id").as_deref(), order["order_id"].as_str());
    let asks = named(&spans, "POST /v1/work/finish")[0];
    assert_eq!(hex(&asks.trace_id), theirs[3..35], "the worker's own trace is its own");
    let linked: Vec<_> = process.links.iter().map(|link| &link.span_id).collect();
    assert_eq!(linked, [&asks.span_id], "and linked");
    let claim = named(&spans, "POST /v1/work/claim")[0];
    assert!(process.start_time_unix_nano >= claim.start_time_unix_nano, "from the claim");
    assert!(process.end_time_unix_nano >= asks.start_time_unix_nano, "to the end");
    let settle = below(&spans, "lane commit", &process.span_id);
    below(&spans, "storage commit", &settle.span_id);
    let delivered = below(&spans, "deliver", &process.span_id);
    assert_eq!(text(&delivered.attributes, "wellorder.event_type").as_deref(), Some("order.processed"));
    below(&spans, "heartbeat", &process.span_id);
}

#[tokio::test]
async fn a_worker_outside_gets_a_trace_as_it_came_where_there_is_no_collector() {
    let server = Server::builder().env("WELLORDER_PROCESSOR", "pull").start().await;
    post(&server, Some(&sampled())).await;
    server.accept(&json!({ "total": 1 })).await;
    let headers = [("content-type", "application/json")];
    let claimed = server.send("POST", "/v1/work/claim", &headers, b"{}").await.json();
    let places: Vec<&Value> =
        claimed["work"].as_array().unwrap().iter().map(|work| &work["traceparent"]).collect();
    assert_eq!(places, [&json!(sampled()), &Value::Null]);
    for work in claimed["work"].as_array().unwrap() {
        let end = json!({ "token": work["token"], "outcome": "done" }).to_string();
        assert_eq!(server.send("POST", "/v1/work/finish", &headers, end.as_bytes()).await.status, 200);
    }
}
