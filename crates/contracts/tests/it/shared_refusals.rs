//! The refusals that every mounted API shares, in each contract's own form.

use crate::harness::{Client, Exchange, Fixture, transcript};
use http::Request;
use order_core::Fault;
use std::time::Duration;

const OVERLOADED: Fault = Fault::Overloaded { retry_after: Duration::from_secs(1) };

async fn send(client: &Client, method: &str, path: &str, content_type: Option<&str>, body: &str) -> Exchange {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    client.send(request.body(body.as_bytes().to_vec()).unwrap()).await
}

/// Each refusal once.
async fn refusals(f: &Fixture, client: &Client, body: &str) -> Vec<Exchange> {
    let json = Some("application/json");
    let mut seen = vec![
        send(client, "GET", "/nothing/here", None, "").await,
        send(client, "GET", "/", None, "").await,
        send(client, "GET", "/orders/", None, "").await,
        send(client, "GET", "/orders", None, "").await,
        send(client, "PUT", "/orders/1", json, body).await,
        send(client, "DELETE", "/orders/1", None, "").await,
        send(client, "POST", "/orders", None, body).await,
        send(client, "POST", "/orders", Some("text/plain"), body).await,
        send(client, "POST", "/orders", Some("application/x-www-form-urlencoded"), "a=b").await,
        send(client, "POST", "/orders", Some("application/json; charset=latin1"), body).await,
        send(client, "POST", "/orders", json, &format!("{body}{}", " ".repeat(256 * 1024))).await,
    ];
    let unavailable = Fault::Unavailable {
        why: "disk full at /secret/path".to_owned(),
        retry_after: Duration::from_secs(2),
    };
    for fault in [unavailable.clone(), OVERLOADED, Fault::internal("SQLITE_CORRUPT at src/x.rs")] {
        f.storage.down(Some(fault));
        seen.push(send(client, "POST", "/orders", json, body).await);
        seen.push(send(client, "GET", "/orders/1", None, "").await);
    }
    f.storage.down(None);
    seen
}

fn check_none_leaks(seen: &[Exchange]) {
    for exchange in seen {
        for word in ["secret", "SQL", "src/", "disk full"] {
            assert!(!exchange.text().contains(word), "{exchange}");
        }
    }
}

#[tokio::test]
async fn oscarps_says_them_as_a_message() {
    let f = Fixture::new();
    let body = r#"{"orderId":"A-1001","customer":"c-42","total":199.99}"#;
    let seen = refusals(&f, &f.oscarps, body).await;
    assert!(seen.iter().all(|exchange| exchange.json()["message"].is_string()));
    check_none_leaks(&seen);
    assert_text!(transcript(&seen));
    assert_eq!(f.events().await, 0);
}

#[tokio::test]
async fn parspec_says_them_as_an_error() {
    let f = Fixture::new();
    let body = r#"{"userId":"user-123","itemIds":[],"totalAmount":59.99}"#;
    let mut seen = refusals(&f, &f.parspec, body).await;
    f.storage.down(Some(OVERLOADED));
    seen.push(f.parspec.get("/metrics").await);
    f.storage.down(None);
    assert!(seen.iter().all(|exchange| exchange.json()["error"].is_string()));
    check_none_leaks(&seen);
    assert_text!(transcript(&seen));
    assert_eq!(f.events().await, 0);
}

#[tokio::test]
async fn sales_says_them_as_errors() {
    let f = Fixture::new();
    let body = r#"{"user_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","quantity":2}"#;
    let json = Some("application/json");
    let (orders, order) = ("/api/v1/orders", "/api/v1/orders/16fd2706-8baf-433b-82eb-8c7fada847da");
    let mut seen = vec![
        send(&f.sales, "GET", "/nothing/here", None, "").await,
        send(&f.sales, "GET", "/", None, "").await,
        send(&f.sales, "GET", "/orders", None, "").await,
        send(&f.sales, "GET", "/api/v1/orders/", None, "").await,
        send(&f.sales, "PUT", order, json, body).await,
        send(&f.sales, "DELETE", order, None, "").await,
        send(&f.sales, "DELETE", orders, None, "").await,
        send(&f.sales, "POST", "/health", json, body).await,
        send(&f.sales, "POST", orders, None, body).await,
        send(&f.sales, "POST", orders, Some("text/plain"), body).await,
        send(&f.sales, "POST", orders, Some("application/json; charset=latin1"), body).await,
        send(&f.sales, "POST", orders, json, &format!("{body}{}", " ".repeat(256 * 1024))).await,
    ];
    let unavailable = Fault::Unavailable {
        why: "disk full at /secret/path".to_owned(),
        retry_after: Duration::from_secs(2),
    };
    for fault in [unavailable.clone(), OVERLOADED, Fault::internal("SQLITE_CORRUPT at src/x.rs")] {
        f.storage.down(Some(fault));
        seen.push(send(&f.sales, "POST", orders, json, body).await);
        seen.push(send(&f.sales, "GET", order, None, "").await);
        seen.push(send(&f.sales, "GET", orders, None, "").await);
    }
    f.storage.down(None);
    for exchange in &seen {
        let entry = &exchange.json()["errors"][0];
        assert!(entry["error_code"].is_string() && entry["error_severity"] == "error", "{exchange}");
    }
    check_none_leaks(&seen);
    assert_text!(transcript(&seen));
    assert_eq!(f.events().await, 0);
}

#[tokio::test]
async fn marketplace_says_them_as_an_error() {
    let f = Fixture::new();
    let (body, json) = (r#"{"receipt":"test1"}"#, Some("application/json"));
    let path = "/mock/etsy/validate";
    let mut seen = vec![
        send(&f.marketplace, "GET", "/nothing/here", None, "").await,
        send(&f.marketplace, "GET", "/", None, "").await,
        send(&f.marketplace, "POST", "/mock/etsy", json, body).await,
        send(&f.marketplace, "GET", path, None, "").await,
        send(&f.marketplace, "DELETE", path, json, body).await,
        send(&f.marketplace, "POST", path, None, body).await,
        send(&f.marketplace, "POST", path, Some("text/plain"), body).await,
        send(&f.marketplace, "POST", path, Some("application/x-www-form-urlencoded"), "receipt=1").await,
        send(&f.marketplace, "POST", path, Some("application/json; charset=latin1"), body).await,
        send(&f.marketplace, "POST", path, json, &format!("{body}{}", " ".repeat(256 * 1024))).await,
    ];
    let store = r#"{"organizationId":"o","marketplace":"etsy","externalStoreId":"e","storeName":"s","accessToken":"t","currency":"USD"}"#;
    let token = "6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52";
    let import = format!(r#"{{"syncToken":"{token}","receipt":"r"}}"#);
    let webhook = r#"{"organizationId":"o","event":"sync.failed","targetUrl":"https://hooks.example.com/"}"#;
    let (status, list) = (format!("/stores/sync-status?syncToken={token}"), "/webhooks?organizationId=o");
    let posts = [("/stores/register", store), ("/orders/import", &*import), ("/webhooks/register", webhook)];
    for (path, body) in posts {
        seen.push(send(&f.marketplace, "GET", path, None, "").await);
        seen.push(send(&f.marketplace, "POST", path, None, body).await);
        seen.push(send(&f.marketplace, "POST", path, Some("text/plain"), body).await);
        seen.push(
            send(&f.marketplace, "POST", path, json, &format!("{body}{}", " ".repeat(256 * 1024))).await,
        );
    }
    for path in [&*status, list] {
        seen.push(send(&f.marketplace, "POST", path, json, "{}").await);
    }
    let unavailable = Fault::Unavailable {
        why: "disk full at /secret/path".to_owned(),
        retry_after: Duration::from_secs(2),
    };
    for fault in [unavailable, OVERLOADED, Fault::internal("SQLITE_CORRUPT at src/x.rs")] {
        f.storage.down(Some(fault));
        for (path, body) in posts {
            seen.push(send(&f.marketplace, "POST", path, json, body).await);
        }
        for path in [&*status, list] {
            seen.push(send(&f.marketplace, "GET", path, None, "").await);
        }
    }
    f.storage.down(None);
    check_none_leaks(&seen);
    assert!(seen.iter().all(|exchange| exchange.json()["error"].is_string()));
    assert_text!(transcript(&seen));
}

#[tokio::test]
async fn orderstream_says_them_as_an_error() {
    let f = Fixture::new();
    let body = r#"{"user_id":"4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11"}"#;
    let seen = refusals(&f, &f.orderstream, body).await;
    assert!(seen.iter().all(|exchange| exchange.json()["error"].is_string()));
    check_none_leaks(&seen);
    assert_text!(transcript(&seen));
    assert_eq!(f.events().await, 0);
}

#[tokio::test]
async fn json_by_another_name_is_read() {
    let f = Fixture::new();
    let body = r#"{"userId":"user-123","itemIds":[],"totalAmount":59.99}"#;
    for good in ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.orders+json"] {
        send(&f.parspec, "POST", "/orders", Some(good), body).await.expect(201);
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let f = Fixture::new();
    let head = send(&f.oscarps, "HEAD", "/health", None, "").await.expect(200);
    assert!(head.body.is_empty());
}
