//! The contract `marketplace`, as a client of it finds it.

use crate::KEPT;
use crate::harness::{Answer, Home, Kept, Receiver, Server};
use crate::login::serving;
use crate::{is_moment, names};
use serde_json::json;
use testkit::http::Reply;

/// What a marketplace elsewhere says of every receipt.
const FOUND: &str = r#"{"status":true,"orderId":"there","amount":12.50,"currency":"USD"}"#;

/// `etsy_user:etsy_pass`.
const ETSY: &str = "Basic ZXRzeV91c2VyOmV0c3lfcGFzcw==";

async fn validate(server: &Server, path: &str, login: &str, body: &str) -> Reply {
    let headers = [("content-type", "application/json"), ("authorization", login)];
    server.send("POST", path, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn the_mock_answers_every_documented_request_at_the_root_and_under_the_prefix() {
    let server = Server::builder().args(&["--as", "marketplace"]).api_alone().start().await;
    for base in ["", "/marketplace"] {
        let path = format!("{base}/mock/etsy/validate");
        let found = validate(&server, &path, ETSY, r#"{"receipt": "test1", "currency": "EUR"}"#).await;
        let body = found.json();
        assert_eq!((found.status, names(&body).len()), (200, 5), "{body}");
        assert_eq!(
            json!([body["status"], body["orderId"], body["amount"], body["currency"]]),
            json!([true, "mock-b821e075c812619d", 507, "EUR"])
        );
        assert!(is_moment(&body["importedAtUTC"], 3), "{body}");
        let none = validate(&server, &path, ETSY, r#"{"receipt": "test2"}"#).await;
        assert_eq!((none.status, none.json()), (200, json!({ "status": false })));
        let busy = validate(&server, &path, ETSY, r#"{"receipt": "test24"}"#).await;
        assert_eq!((busy.status, busy.json()), (429, json!({ "error": "rate_limited" })));
        let stranger = validate(&server, &path, "Basic YTpi", r#"{"receipt": "test1"}"#).await;
        assert_eq!((stranger.status, stranger.json()), (401, json!({ "error": "Unauthorized" })));
        assert!(stranger.header("www-authenticate").unwrap().starts_with("Basic "));
    }
}

#[tokio::test]
async fn a_server_for_others_has_the_mock_where_it_is_named_with_a_login() {
    let home = Home::new();
    let server = serving(&home).start().await;
    let path = "/marketplace/mock/etsy/validate";
    assert_eq!(validate(&server, path, ETSY, r#"{"receipt": "1"}"#).await.status, 404);
    drop(server);
    let named = serving(&home).env("WELLORDER_MARKETPLACE_MOCK", "true");
    let server = named.env("MOCK_ETSY_USER", "a").env("MOCK_ETSY_PASS", "b").start().await;
    assert_eq!(validate(&server, path, ETSY, r#"{"receipt": "1"}"#).await.status, 401);
    assert_eq!(validate(&server, path, "Basic YTpi", r#"{"receipt": "1"}"#).await.status, 200);
}

/// The seed's endpoint flow, with its variables.
#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_flow_runs_with_its_variables() {
    let home = Home::new();
    let server = home.server().args(&["--as", "marketplace"]).api_alone().start().await;
    let base = format!("http://{}", server.address);
    let variables = [
        ("BASE_URL", base.as_str()),
        ("ORG_ID", "org-1"),
        ("MARKETPLACE", "etsy"),
        ("EXTERNAL_STORE_ID", "ext-100"),
        ("STORE_NAME", "My Etsy Store"),
        ("ACCESS_TOKEN", "token-v2"),
        ("CURRENCY", "USD"),
        ("RECEIPTS", "order-101,order-102,order-115"),
    ];
    let ran = home.run_bare(&variables, &["simulate", "marketplace-flow", "--json"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let told = ran.json();
    let steps = told["steps"].as_array().unwrap();
    let answers: Vec<_> = steps[1..4].iter().map(|step| step["answer"]["success"].clone()).collect();
    assert_eq!(answers, [true, false, false], "{told}");
    let status = &steps[4]["answer"];
    let seen = json!([status["importedOrders"], status["syncStatus"], status["rateLimitedCount"]]);
    assert_eq!(seen, json!([1, "partial", 1]));
    assert_eq!(server.json("/v1/orders?q=order-101").await["orders"][0]["currency"], "USD");
    let again = home.run_bare(&variables, &["simulate", "marketplace-flow", "--json"]).json();
    assert_eq!(again["syncToken"], told["syncToken"]);
    assert_eq!(again["steps"].as_array().unwrap()[1..4], steps[1..4], "the same results, without a call");
}

/// By itself, a sync says why it cannot reach a marketplace, and is no success; where the settings say where one is, it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_without_a_server_says_why_it_failed_or_finds_the_marketplace_that_is_named() {
    if matches!(KEPT, Kept::OnServer) {
        // The key for secrets lies in a folder of `dev` alone.
        return;
    }
    let home = Home::new();
    let server = home.server().args(&["--as", "marketplace"]).api_alone().start().await;
    let register = r#"{"organizationId":"org-1","marketplace":"etsy","externalStoreId":"ext1","storeName":"Store","accessToken":"tok","currency":"USD"}"#;
    let headers = [("content-type", "application/json")];
    let store = server.send("POST", "/stores/register", &headers, register.as_bytes()).await.json();
    let import = json!({ "syncToken": store["syncToken"], "receipt": "RL15" }).to_string();
    let limited = server.send("POST", "/orders/import", &headers, import.as_bytes()).await.json();
    assert_eq!(limited["error"], "rate_limited");
    assert_eq!(home.run(&["imports", "retry", "RL15", "--now"]).code(), 0);
    drop(server);
    let failed = home.run(&["sync", "--once"]);
    let said = format!("{failed:?}");
    assert_eq!(failed.code(), 1, "{said}");
    for part in
        ["1 store was due, 0 synced, 1 failed", "No such marketplace is connected", "marketplace.mock_url"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let marketplace = Receiver::start(|_| Answer::Tells(200, FOUND)).await;
    let url = marketplace.url().replace("/work", "");
    let synced = home.run_with(&[("WELLORDER_MARKETPLACE_MOCK_URL", &url)], &["sync", "--once"]);
    assert_eq!(synced.code(), 0, "{synced:?}");
    assert!(format!("{synced:?}").contains("1 store was due, 1 synced, 0 failed"), "{synced:?}");
    assert_eq!(marketplace.calls().len(), 1);
    let found = home.run(&["imports", "find", "RL15", "--json"]).json();
    assert_eq!(found["imports"][0]["state"], "success", "{found}");
}
