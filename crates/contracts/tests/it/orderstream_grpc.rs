//! `orderstream` over gRPC: what it answers, and each refusal as a status with details. The client is the generated one,
//! over the routes themselves.

use crate::harness::Fixture;
use crate::orderstream::{USER, create, id};
use axum::Router;
use axum::body::Body;
use contracts::orderstream::grpc::orders::service::v1::orders_service_client::OrdersServiceClient;
use contracts::orderstream::grpc::orders::service::v1::{
    GetOrderByExternalIdRequest, GetOrderByIdRequest, HealthRequest, UpsertOrderRequest,
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, header};
use order_core::Fault;
use serde_json::json;
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// The routes, as a client's connection.
#[derive(Clone)]
struct Over(Router);

impl Service<Request<tonic::body::Body>> for Over {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let mut request = request.map(Body::new);
        let local = HeaderValue::from_static("localhost:8080");
        request.headers_mut().insert(header::HOST, local);
        Box::pin(self.0.clone().oneshot(request))
    }
}

fn client(f: &Fixture) -> OrdersServiceClient<Over> {
    OrdersServiceClient::new(Over(f.grpc.clone()))
}

fn put(order_id: &str, status: &str, payload_json: &str) -> UpsertOrderRequest {
    UpsertOrderRequest {
        order_id: order_id.to_owned(),
        user_id: USER.to_owned(),
        status: status.to_owned(),
        payload_json: payload_json.to_owned(),
    }
}

/// Calls, and lets the worker run until it is answered: id and status.
async fn worked(f: &Fixture, request: UpsertOrderRequest) -> Result<(String, String), Status> {
    let mut client = client(f);
    let mut asked = tokio::spawn(async move { client.upsert_order(request).await });
    loop {
        tokio::select! {
            biased;
            done = &mut asked => return done.unwrap().map(|done| {
                let done = done.into_inner();
                (done.order_id, done.status)
            }),
            () = tokio::task::yield_now() => { f.step().await; }
        }
    }
}

#[tokio::test]
async fn an_order_goes_its_way() {
    let f = Fixture::new();
    let health = client(&f).health(HealthRequest {}).await.unwrap().into_inner();
    assert_eq!(health.status, "ok");
    let payload = r#"{"id":"external-123","items":[{"price":9.95,"qty":2}]}"#;
    let (order_id, status) = worked(&f, put("0", "", payload)).await.unwrap();
    assert_eq!(status, "created");
    let by_id = GetOrderByIdRequest { order_id: order_id.clone() };
    let order = client(&f).get_order_by_id(by_id).await.unwrap().into_inner().order.unwrap();
    let by_external =
        GetOrderByExternalIdRequest { external_id: "external-123".to_owned(), user_id: USER.to_owned() };
    let found = client(&f).get_order_by_external_id(by_external).await.unwrap().into_inner().order.unwrap();
    assert_eq!(order, found);
    assert_eq!((order.order_id.as_str(), order.user_id.as_str()), (order_id.as_str(), USER));
    assert_eq!((order.status.as_str(), order.payload_json.as_str()), ("done", payload));
    assert!(
        (order.amount - 19.9).abs() < 1e-9
            && order.created_at.ends_with('Z')
            && (0..4).contains(&order.bucket)
    );
    assert_eq!(worked(&f, put(&order_id, "", "{}")).await.unwrap().1, "updated");
    assert_eq!(
        worked(&f, put(&order_id, "deleted", "")).await.unwrap(),
        (order_id.clone(), "deleted".to_owned())
    );
    let again = worked(&f, put(&order_id, "deleted", "")).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let details = again.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!((violation.r#type.as_str(), violation.subject.as_str()), ("DELETED", order_id.as_str()));
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_field() {
    let f = Fixture::new();
    for (request, field) in [
        (UpsertOrderRequest { user_id: "u".to_owned(), ..put("", "", "{}") }, "user_id"),
        (put("17", "", "{}"), "order_id"),
        (put("", "deleted", ""), "order_id"),
        (put("", "", ""), "payload_json"),
        (put("", "", "[]"), "payload_json"),
        (put("", "", "{"), "payload_json"),
        (put("", "", r#"{"amount":"x"}"#), "payload_json"),
    ] {
        let refused = client(&f).upsert_order(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, field);
    }
    let no_id = GetOrderByIdRequest { order_id: "x".to_owned() };
    assert_eq!(client(&f).get_order_by_id(no_id).await.unwrap_err().code(), Code::InvalidArgument);
    let no_user = GetOrderByExternalIdRequest::default();
    assert_eq!(client(&f).get_order_by_external_id(no_user).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = GetOrderByIdRequest { order_id: UNKNOWN.to_owned() };
    let none = client(&f).get_order_by_id(unknown).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    assert_eq!(none.get_details_resource_info().unwrap().resource_type, "order");
    assert_eq!(client(&f).upsert_order(put(UNKNOWN, "", "{}")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(f.events().await, 0);
}

#[tokio::test]
async fn what_every_api_refuses_is_refused_as_grpc() {
    let f = Fixture::new();
    let large = put("", "", &format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024)));
    let refused = client(&f).upsert_order(large).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let unavailable =
        Fault::Unavailable { why: "disk full at /secret".to_owned(), retry_after: Duration::from_secs(2) };
    f.storage.down(Some(unavailable));
    for refused in [
        client(&f).upsert_order(put("", "", "{}")).await.unwrap_err(),
        client(&f).get_order_by_id(GetOrderByIdRequest { order_id: UNKNOWN.to_owned() }).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::Unavailable);
        let details = refused.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
        assert!(!refused.message().contains("secret"));
    }
    f.storage.down(Some(Fault::internal("SQLITE_CORRUPT")));
    let broken = client(&f).upsert_order(put("", "", "{}")).await.unwrap_err();
    assert_eq!((broken.code(), broken.message().contains("SQLITE")), (Code::Internal, false));
    f.storage.down(None);
    let raw = async |path: &str, kind: &'static str| {
        let request =
            Request::post(path).header(header::HOST, "localhost").header(header::CONTENT_TYPE, kind);
        f.grpc.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let unknown = raw("/orders.service.v1.OrdersService/Nothing", "application/grpc").await;
    assert_eq!(
        (unknown.status().as_u16(), &unknown.headers()["grpc-status"]),
        (200, &HeaderValue::from_static("12"))
    );
    let json = raw("/orders.service.v1.OrdersService/UpsertOrder", "application/json").await;
    assert_eq!(
        (json.status().as_u16(), &json.headers()["grpc-status"]),
        (415, &HeaderValue::from_static("3"))
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_bad_input() {
    let f = Fixture::new();
    let framed = |flag: u8, length: u32, message: &[u8]| {
        let mut bytes = vec![flag];
        bytes.extend(length.to_be_bytes());
        bytes.extend(message);
        bytes
    };
    // Field 4, payload_json: two bytes that are no UTF-8.
    let no_text = [0x22, 2, 0xff, 0xff];
    for (what, bytes) in [
        ("no protobuf", framed(0, 3, &[0xff; 3])),
        ("no text", framed(0, 4, &no_text)),
        ("nothing", Vec::new()),
        ("no length", vec![0, 0]),
        ("cut off", framed(0, 9, &no_text)),
        ("more than it says", framed(0, 0, &no_text)),
        ("compressed by nothing", framed(1, 4, &no_text)),
    ] {
        // A coding may be named that the message does not have.
        let codings = if bytes.first() == Some(&1) { &[None][..] } else { &[None, Some("identity")] };
        for (method, coding) in ["UpsertOrder", "GetOrderByID", "GetOrderByExternalID", "Health"]
            .into_iter()
            .filter(|method| what != "no text" || *method == "UpsertOrder")
            .flat_map(|method| codings.iter().map(move |coding| (method, *coding)))
        {
            let request = Request::post(format!("/orders.service.v1.OrdersService/{method}"))
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, "application/grpc");
            let request =
                coding.into_iter().fold(request, |request, coding| request.header("grpc-encoding", coding));
            let request = request.body(Body::from(bytes.clone())).unwrap();
            let refused = f.grpc.clone().oneshot(request).await.unwrap();
            let refused = Status::from_header_map(refused.headers()).unwrap();
            assert_eq!(refused.code(), Code::InvalidArgument, "{what}, {method}: {refused}");
            assert!(refused.get_details_bad_request().is_some(), "{what}, {method}: {refused}");
        }
    }
}

#[tokio::test]
async fn both_ways_lead_to_the_same_orders() {
    let f = Fixture::new();
    let order_id = id(&f.orderstream.post(create(&json!({"id": 7}))).await.expect(202));
    let by_external = GetOrderByExternalIdRequest { external_id: "7".to_owned(), user_id: USER.to_owned() };
    let order = client(&f).get_order_by_external_id(by_external).await.unwrap().into_inner().order.unwrap();
    assert_eq!(order.order_id, order_id);
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_before_the_client_gives_up() {
    let f = Fixture::new();
    let mut request = tonic::Request::new(put("", "", "{}"));
    request.set_timeout(Duration::from_secs(3));
    let began = tokio::time::Instant::now();
    let reply = client(&f).upsert_order(request).await.unwrap().into_inner();
    assert_eq!(reply.status, "pending");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn it_is_serving_until_it_stops() {
    let f = Fixture::new();
    let mut client = HealthClient::new(Over(f.grpc.clone()));
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for ours in ["", "orders.service.v1.OrdersService"] {
        assert_eq!(client.check(of(ours)).await.unwrap().into_inner().status, 1);
    }
    assert_eq!(client.check(of("other")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
    f.app.stop();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 2);
    assert!(watched.message().await.unwrap().is_none(), "the stream ends with the process");
}
