//! The contract `marketplace` with its webhooks, from end to end: what existing programs are tested with by hand, done by our commands.

use crate::harness::{Home, Server};
use crate::webhook_receiver::Receiver;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use order_core::{Clock, Timestamp};
use ring::hmac;
use serde_json::{Value, json};
use testkit::ManualClock;
use testkit::shopify::{ShopOrder, ShopifyStandIn};

/// 32 bytes, in base64 behind their prefix.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

async fn post(server: &Server, path: &str, body: &str) -> Value {
    let reply = server.send("POST", path, JSON, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

/// What is told of a sync, without what is another each time.
fn told(line: &Value) -> Value {
    let body = &line["body"];
    json!([
        line["signature"],
        body["event"],
        body["organizationId"],
        body["data"]["processedCount"],
        body["data"]["successCount"],
        body["data"]["rateLimitedCount"]
    ])
}

/// "Automated endpoint flow", then a sync: its events reach who registered, signed, in order.
#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_flow_ends_at_a_receiver_that_is_told_of_the_sync() {
    let receiver = Receiver::start(&["--secret", SECRET]).await;
    let home = Home::new();
    let server = home.server().args(&["--as", "marketplace", "--role", "api", "--role", "relay"]);
    let server = server.env("WEBHOOK_SECRET", SECRET).start().await;
    let (base, webhook) =
        (format!("http://{}", server.address), format!("http://{}/webhook", receiver.address));
    let variables = [
        ("BASE_URL", base.as_str()),
        ("ORG_ID", "org-1"),
        ("MARKETPLACE", "etsy"),
        ("EXTERNAL_STORE_ID", "ext-100"),
        ("STORE_NAME", "My Etsy Store"),
        ("ACCESS_TOKEN", "token-v2"),
        ("CURRENCY", "USD"),
        ("WEBHOOK_URL", webhook.as_str()),
        ("RECEIPTS", "order-101,order-102,order-115"),
    ];
    let ran = home.run_bare(&variables, &["simulate", "marketplace-flow", "--json"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let flow = ran.json();
    let calls: Vec<&str> =
        flow["steps"].as_array().unwrap().iter().map(|step| step["call"].as_str().unwrap()).collect();
    let (import, register) = ("POST /orders/import", "POST /webhooks/register");
    let expected = [
        "POST /stores/register",
        import,
        import,
        import,
        "GET /stores/sync-status",
        register,
        register,
        register,
        "GET /webhooks",
    ];
    assert_eq!(calls.len(), expected.len());
    for (call, expected) in calls.iter().zip(expected) {
        assert!(call.starts_with(expected), "{call}, not {expected}");
    }
    let registered = flow["steps"][8]["answer"].as_array().unwrap().clone();
    let events: Vec<_> = registered.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["sync.started", "sync.completed", "sync.failed"]);
    // What was not allowed is due again at once, and is tried; until then all is as it was.
    let before = flow["steps"][4]["answer"].clone();
    let retried = home.run(&["imports", "retry", "order-115", "--now"]);
    assert_eq!(retried.code(), 0, "{retried:?}");
    let status = format!("/stores/sync-status?syncToken={}", flow["syncToken"].as_str().unwrap());
    assert_eq!(server.json(&status).await, before);
    let synced = home.run(&["sync", "--once"]);
    assert_eq!(synced.code(), 0, "{synced:?}");
    let said = receiver.said(2).await;
    let mut got: Vec<Value> = said.iter().map(told).collect();
    // They go to two webhooks, side by side.
    got.sort_by_key(|told| told[1] == "sync.completed");
    let expected = [
        json!(["good", "sync.started", "org-1", 0, 0, 0]),
        json!(["good", "sync.completed", "org-1", 1, 0, 1]),
    ];
    assert_eq!(got, expected, "{said:?}");
    let again = home.run_bare(&variables, &["simulate", "marketplace-flow", "--json"]).json();
    assert_eq!(again["steps"][8]["answer"], flow["steps"][8]["answer"], "the same three webhooks");
}

/// "Manual Task 5 Test", from its sixth step on: what it posts, as it posts it.
#[tokio::test(flavor = "multi_thread")]
async fn the_manual_test_of_webhooks_goes_as_it_is_printed() {
    let (receiver, failing) = (Receiver::start(&[]).await, Receiver::start(&["--fail-rate", "1"]).await);
    let home = Home::new();
    let server = home.server().args(&["--as", "marketplace"]).start().await;
    let register = |address: std::net::SocketAddr| {
        format!(
            r#"{{"organizationId":"org-manual","event":"sync.completed","targetUrl":"http://{address}/webhook"}}"#
        )
    };
    let made = post(&server, "/webhooks/register", &register(receiver.address)).await;
    let names: Vec<_> = made.as_object().unwrap().keys().collect();
    assert_eq!(names, ["id", "organizationId", "event", "targetUrl", "isActive"]);
    let bad = post(&server, "/webhooks/register", &register(failing.address)).await;
    let store = post(
        &server,
        "/stores/register",
        r#"{"organizationId":"org-manual","marketplace":"etsy","externalStoreId":"ext1","storeName":"Store","accessToken":"tok","currency":"USD"}"#,
    )
    .await;
    let synced = home.run(&["sync", "--once"]);
    assert_eq!(synced.code(), 0, "{synced:?}");
    let said = receiver.said(1).await;
    let body = &said[0]["body"];
    let names: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["eventId", "event", "timestamp", "organizationId", "storeId", "data"]);
    assert_eq!(
        json!([body["event"], body["organizationId"], body["storeId"], said[0]["status"]]),
        json!(["sync.completed", "org-manual", store["storeId"], 200])
    );
    let refused = failing.said(1).await;
    assert_eq!((&refused[0]["status"], &refused[0]["body"]), (&json!(500), body), "the same, and not taken");
    // It waits a minute for its second try, and nobody else is told twice.
    let path = format!("/v1/deliveries?state=waiting&endpoint_id={}", bad["id"].as_str().unwrap());
    let waiting = server.until(&path, |page| page["deliveries"][0]["attempt"] == 1).await;
    assert_eq!(waiting["deliveries"].as_array().unwrap().len(), 1, "{waiting}");
    assert_eq!(receiver.said(1).await.len(), 1);
}

/// What Shopify tells is held against its signature, and looked at by the next sync, which is due at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_shopify_tells_of_a_store_is_looked_at_at_once() {
    let clock = ManualClock::new();
    let shop = ShopifyStandIn::start(clock.clone()).await;
    let home = Home::new();
    let server = home.server().args(&["--role", "api"]).env("WELLORDER_MARKETPLACE_SHOPIFY", "admin");
    let server = server.env("WELLORDER_MARKETPLACE_SHOPIFY_URL", &shop.url());
    let server = server.env("WELLORDER_MARKETPLACE_SHOPIFY_SECRET", "hush").start().await;
    let store = json!({ "organization": "org-1", "marketplace": "shopify", "external_id": "my-shop", "name": "My store",
        "access_token": "shpat_1", "currency": "USD" });
    let store = server.post("/v1/stores", &store.to_string()).await.json();
    let now = Timestamp::parse(store["created_at"].as_str().unwrap()).unwrap();
    clock.advance(now.since(clock.now()));
    let sync = async || server.post("/v1/syncs", "").await.json();
    assert_eq!(
        json!([sync().await["synced"], sync().await["found"]]),
        json!([1, 0]),
        "then not for a minute"
    );
    // One that no listing of what changed lately finds.
    shop.put([ShopOrder::new(7, Timestamp::from_micros(0), "19.90")]);
    let path = format!("/v1/stores/{}/notifications", store["store_id"].as_str().unwrap());
    let body = br#"{"id":7,"total_price":"0.01"}"#;
    let tell = async |secret: &str, shop: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = BASE64_STANDARD.encode(hmac::sign(&key, body));
        let headers = [
            ("content-type", "application/json"),
            ("x-shopify-topic", "orders/create"),
            ("x-shopify-shop-domain", shop),
            ("x-shopify-hmac-sha256", signature.as_str()),
        ];
        server.send("POST", &path, &headers, body).await.status
    };
    assert_eq!(tell("guessed", "my-shop.myshopify.com").await, 401);
    assert_eq!(tell("hush", "other.myshopify.com").await, 401);
    assert_eq!(sync().await["found"], 0, "nobody is believed who signs otherwise");
    for _ in 0..3 {
        assert_eq!(tell("hush", "my-shop.myshopify.com").await, 204);
    }
    assert_eq!(sync().await["synced"], 1);
    let orders = server.json("/v1/orders").await["orders"].as_array().unwrap().clone();
    assert_eq!(orders.len(), 1, "once, however often it is told");
    let told = json!([orders[0]["reference"], orders[0]["total"]]);
    assert_eq!(told, json!(["7", "19.90"]), "as the marketplace says when it is asked");
}
