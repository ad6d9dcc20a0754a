//! What a mount adds around its routes, at the root and under a prefix.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use edge::{Guard, Json, Limits, Mount, Refusal, Refused, RequestId};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use order_core::Fault;
use std::sync::Arc;
use testkit::{ManualClock, SeededIds};
use tower::ServiceExt;

fn loud(refusal: &Refusal, id: &RequestId) -> Response {
    edge::respond::text(refusal.status(), format!("LOUD {} {}", refusal.detail(), id.0))
}

fn quiet(refusal: &Refusal, _: &RequestId) -> Response {
    edge::respond::text(refusal.status(), format!("quiet {}", refusal.detail()))
}

fn guard() -> Arc<Guard> {
    Arc::new(Guard::new(Limits::default(), false, ManualClock::new(), SeededIds::new(1)))
}

fn routes() -> Router {
    Router::new()
        .route("/things", get(async || "things").post(async |Json(body): Json| body.to_string()))
        .route("/things/{id}", get(async || "a thing"))
        .route(
            "/panic",
            get(async || {
                if true {
                    panic!("on purpose")
                }
            }),
        )
        .route(
            "/down",
            post(async || {
                Refused(Refusal::Fault(Fault::Unavailable {
                    why: "secret".into(),
                    retry_after: std::time::Duration::from_millis(1_500),
                }))
            }),
        )
        .route("/broken", post(async || Refused(Refusal::Fault(Fault::internal("secret")))))
}

/// `LOUD` at the root, `quiet` under `/in`.
fn both() -> Router {
    let inner = edge::mount(routes(), Mount { name: "inner", style: quiet }, guard());
    let outer = edge::mount(routes(), Mount { name: "outer", style: loud }, guard());
    Router::new().nest("/in", inner).merge(outer)
}

async fn ask(
    router: Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (Response<()>, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}

fn header<'r>(response: &'r Response<()>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn each_mount_says_no_in_its_own_words() {
    for (path, status, body) in [
        ("/in/nowhere", 404, "quiet No such route"),
        ("/in", 404, "quiet No such route"),
        ("/nowhere", 404, "LOUD No such route my-id"),
        ("/", 404, "LOUD No such route my-id"),
        ("/in/panic", 500, "quiet Internal server error"),
        ("/panic", 500, "LOUD Internal server error my-id"),
        ("/things/%C3%28", 400, "LOUD Request target is not percent-encoded UTF-8 my-id"),
        ("/in/things?q=%FF", 200, "things"),
        ("/in/things/1", 200, "a thing"),
    ] {
        let (response, text) = ask(both(), "GET", path, &[("x-request-id", "my-id")], "").await;
        assert_eq!((response.status().as_u16(), text.as_str()), (status, body), "{path}");
        assert_eq!(header(&response, "x-request-id"), Some("my-id"), "{path}");
        assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn other_methods_are_named() {
    for prefix in ["", "/in"] {
        let (response, text) = ask(both(), "PUT", &format!("{prefix}/things"), &[], "").await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&response, "allow"), Some("GET,HEAD,POST"));
        assert!(text.contains("Method not allowed"), "{text}");
        let (response, _) =
            ask(both(), "OPTIONS", &format!("{prefix}/things"), &[("origin", "https://example.com")], "")
                .await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&response, "access-control-allow-origin"), None);
        let (response, text) = ask(both(), "HEAD", &format!("{prefix}/things"), &[], "").await;
        assert_eq!((response.status(), text.as_str()), (StatusCode::OK, ""));
        assert_eq!(header(&response, "content-length"), Some("6"));
    }
}

#[tokio::test]
async fn faults_hide_their_cause_and_say_when_to_come_back() {
    let (response, text) = ask(both(), "POST", "/in/down", &[], "").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), Some("2"));
    assert!(!text.contains("secret"));
    let (response, text) = ask(both(), "POST", "/broken", &[], "").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(header(&response, "retry-after"), None);
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn a_request_id_is_taken_or_made() {
    let long = "x".repeat(129);
    for bad in ["", "naïve", long.as_str()] {
        let (response, _) = ask(both(), "GET", "/things", &[("x-request-id", bad)], "").await;
        let made = header(&response, "x-request-id").unwrap();
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    let (response, _) = ask(both(), "GET", "/things", &[("x-request-id", "a b/c:1")], "").await;
    assert_eq!(header(&response, "x-request-id"), Some("a b/c:1"));
}

#[tokio::test]
async fn json_is_read_within_its_limits() {
    let json = ("content-type", "application/json");
    let (response, text) = ask(both(), "POST", "/in/things", &[json], r#"{"b":1.50,"a":[]}"#).await;
    assert_eq!((response.status(), text.as_str()), (StatusCode::OK, r#"{"b":1.50,"a":[]}"#));
    let deep = "[".repeat(40);
    for (headers, body, status) in [
        (&[json][..], "{", 400),
        (&[json], "", 400),
        (&[json], r#"{"a":1,"a":2}"#, 400),
        (&[json], "\"\\u0000\"", 400),
        (&[json], &deep, 400),
        (&[("content-type", "text/plain")], "{}", 415),
        (&[], "{}", 415),
        (&[json, ("content-encoding", "gzip")], "{}", 415),
    ] {
        let (response, text) = ask(both(), "POST", "/in/things", headers, body).await;
        assert_eq!(response.status().as_u16(), status, "{body}: {text}");
    }
}

#[tokio::test]
async fn many_and_large_headers_and_long_targets_are_refused() {
    let names: Vec<String> = (0..65).map(|index| format!("x-{index}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(ask(both(), "GET", "/things", &headers[..64], "").await.0.status().as_u16(), 200);
    assert_eq!(ask(both(), "GET", "/things", &headers, "").await.0.status().as_u16(), 431);
    let path = format!("/in/things?{}", "q".repeat(8 * 1024));
    let (response, text) = ask(both(), "GET", &path, &[], "").await;
    assert_eq!((response.status().as_u16(), text.as_str()), (414, "quiet Request target too long"));
}

#[tokio::test]
async fn the_docs_work_under_a_prefix_and_name_no_other_host() {
    let document =
        utoipa::openapi::OpenApiBuilder::new().info(utoipa::openapi::Info::new("A & <b>", "1")).build();
    let docs = edge::docs("/docs", Arc::new(move || document.clone()), "/docs/json");
    let inner = edge::mount(docs.clone(), Mount { name: "inner", style: quiet }, guard());
    let router = Router::new().nest("/in", inner).merge(edge::mount(
        docs,
        Mount { name: "outer", style: loud },
        guard(),
    ));
    for prefix in ["", "/in"] {
        let get = async |path: &str| ask(router.clone(), "GET", &format!("{prefix}{path}"), &[], "").await;
        let (response, beside) = get("/docs").await;
        assert_eq!(response.status().as_u16(), 200);
        assert!(beside.contains("src=\"docs/start.js\"") && !beside.contains("//"), "{beside}");
        let (response, page) = get("/docs/").await;
        assert!(page.contains("<title>A &amp; &lt;b></title>") && !page.contains("//"), "{page}");
        assert!(header(&response, "content-security-policy").unwrap().starts_with("default-src 'none'"));
        let (_, script) = get("/docs/start.js").await;
        assert!(
            script.contains(&format!("url: \"{prefix}/docs/json\"")) && script.contains("validatorUrl: null")
        );
        let (_, json) = get("/docs/json").await;
        let server = if prefix.is_empty() { "/" } else { prefix };
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["servers"][0]["url"], server);
        assert_eq!(get("/docs/oauth2-redirect.html").await.0.status().as_u16(), 404);
    }
    let request = Request::builder().uri("/docs/swagger-ui-bundle.js").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/javascript");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(response.into_body().collect().await.unwrap().to_bytes().len() > 100_000);
}
