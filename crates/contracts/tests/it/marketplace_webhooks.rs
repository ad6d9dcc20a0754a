//! `marketplace`: webhooks, and what is sent to them.

use crate::harness::{Client, Exchange, Fixture, transcript};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use contracts::marketplace::{self, Means};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use order_core::TenantId;
use order_core::sealing::Secret;
use order_core::webhook::EndpointId;
use order_core::webhook::attempt::{AttemptOutcome, AttemptQuery};
use order_core::webhook::courier::{Courier, CourierPolicy};
use order_core::webhook::endpoint::{DisabledFor, EndpointAction};
use order_core::webhook::sending::Sending;
use serde_json::{Value, json};
use sha2::Sha256;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use testkit::receivers::{ScriptedReceiver, header};

const URL: &str = "https://hooks.example.com/sync";
/// 32 bytes, in base64 behind its prefix.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const KEY: &[u8] = b"01234567890123456789012345678901";

async fn register(f: &Fixture, body: &Value) -> Exchange {
    f.marketplace.post_to("/webhooks/register", body.to_string()).await
}

fn asked(organization: &str, event: &str, url: &str) -> Value {
    json!({ "organizationId": organization, "event": event, "targetUrl": url })
}

async fn webhooks(f: &Fixture, organization: &str) -> Vec<Value> {
    let list =
        f.marketplace.get(&format!("/webhooks?organizationId={organization}")).await.expect(200).json();
    list.as_array().unwrap().clone()
}

fn courier(f: &Fixture) -> Courier {
    Courier::new(
        f.app.clone(),
        f.receiver.clone(),
        CourierPolicy { unproven_in_flight_max: 16, ..CourierPolicy::default() },
    )
}

/// Registers a store of an organization and syncs it; what is due is delivered once.
async fn synced(f: &Fixture, organization: &str) -> (Value, Vec<Sending>) {
    let said = json!({ "organizationId": organization, "marketplace": "etsy", "externalStoreId": "ext-1",
        "storeName": "My store", "accessToken": "token", "currency": "USD" });
    let store = f.marketplace.post_to("/stores/register", said.to_string()).await.expect(200).json();
    for receipt in ["good-1", "none-2", "busy-3"] {
        let body = json!({ "syncToken": store["syncToken"], "receipt": receipt });
        f.marketplace.post_to("/orders/import", body.to_string()).await.expect(200);
    }
    f.pass(3_600);
    f.stores.round(&mut None).await.unwrap();
    (store, delivered(f).await)
}

async fn delivered(f: &Fixture) -> Vec<Sending> {
    let courier = courier(f);
    let mut got = Vec::new();
    while courier.step().await.unwrap().0 > 0 {
        got.extend(f.receiver.got());
    }
    got
}

#[tokio::test]
async fn a_webhook_is_registered_once_and_listed_for_its_organization() {
    let f = Fixture::new();
    let mut seen = Vec::new();
    for event in ["sync.started", "sync.completed", "sync.failed", "sync.completed"] {
        seen.push(register(&f, &asked("org-1", event, URL)).await);
    }
    seen.push(register(&f, &asked("org-1", "sync.completed", "http://127.0.0.1:4000/webhook")).await);
    seen.push(register(&f, &asked("org-2", "sync.completed", URL)).await);
    seen.push(f.marketplace.get("/webhooks?organizationId=org-1").await);
    seen.push(f.marketplace.get("/webhooks?organizationId=org-3").await);
    assert!(seen.iter().all(|exchange| exchange.status == 200));
    assert_eq!(seen[1].json(), seen[3].json(), "the same is the same");
    assert_eq!((webhooks(&f, "org-1").await.len(), webhooks(&f, "org-2").await.len()), (4, 1));
    assert_text!(transcript(&seen));
}

/// However many ask at once, it is one webhook.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_for_one_webhook_at_once_make_one() {
    let f = Arc::new(Fixture::new());
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let f = f.clone();
            tokio::spawn(
                async move { register(&f, &asked("org-1", "sync.failed", URL)).await.expect(200).json() },
            )
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap()["isActive"], true);
    }
    assert_eq!(webhooks(&f, "org-1").await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_is_told_field_by_field_and_nothing_is_written() {
    let f = Fixture::new();
    let long = format!("https://hooks.example.com/{}", "x".repeat(2_048));
    let with_secret = |secret: Value| {
        let mut body = asked("org-1", "sync.failed", URL);
        body["secret"] = secret;
        body
    };
    let mut seen = vec![
        register(&f, &json!({})).await,
        register(&f, &json!([])).await,
        register(&f, &asked("", "sync.done", "ftp://hooks.example.com/")).await,
        register(&f, &json!({ "organizationId": 1, "event": ["sync.failed"], "targetUrl": null })).await,
        register(&f, &asked("org-1", "*", "hooks.example.com")).await,
        register(&f, &asked("org-1", "order.accepted", &long)).await,
        register(&f, &asked(&"x".repeat(256), "sync.failed", URL)).await,
        register(&f, &with_secret(json!("short"))).await,
        register(&f, &with_secret(json!("whsec_no base64 at all, however long it is"))).await,
        register(&f, &with_secret(json!(7))).await,
        f.marketplace.get("/webhooks").await,
        f.marketplace.get("/webhooks?organizationId=").await,
        f.marketplace.get("/webhooks?organizationId=%00").await,
        f.marketplace.get("/webhooks?organizationId=%ff").await,
        f.marketplace.get(&format!("/webhooks?organizationId={}", "x".repeat(256))).await,
    ];
    assert!(seen.iter().all(|exchange| exchange.status == 400));
    let other = http::Request::builder().method("DELETE").uri("/webhooks").body(Vec::new());
    seen.push(f.marketplace.send(other.unwrap()).await.expect(405));
    let typeless = http::Request::post("/webhooks/register").body(b"{}".to_vec());
    seen.push(f.marketplace.send(typeless.unwrap()).await.expect(415));
    let padded = format!("{}{}", asked("org-1", "sync.failed", URL), " ".repeat(256 * 1_024));
    seen.push(f.marketplace.post_to("/webhooks/register", padded).await.expect(413));
    assert_text!(transcript(&seen));
    assert_eq!((webhooks(&f, "org-1").await.len(), f.storage.commits()), (0, 0));
}

fn hex_hmac(key: &[u8], body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[tokio::test]
async fn a_sync_is_told_in_the_documented_body_with_the_documented_headers() {
    let f = Fixture::new();
    let mut with_secret = asked("org-1", "sync.completed", URL);
    with_secret["secret"] = SECRET.into();
    register(&f, &with_secret).await.expect(200);
    register(&f, &asked("org-1", "sync.started", "https://plain.example.com/")).await.expect(200);
    register(&f, &asked("org-2", "sync.completed", "https://other.example.com/")).await.expect(200);
    let (store, sent) = synced(&f, "org-1").await;
    let of = |url: &str| sent.iter().filter(|sent| sent.url == url).collect::<Vec<_>>();
    let (completed, started) = (of(URL), of("https://plain.example.com/"));
    assert_eq!((sent.len(), completed.len(), started.len()), (2, 1, 1), "each event to whom it concerns");

    let sending = completed[0];
    let body: Value = serde_json::from_slice(&sending.body).unwrap();
    let names: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["eventId", "event", "timestamp", "organizationId", "storeId", "data"]);
    let data = json!({ "storeId": store["storeId"], "processedCount": 1, "successCount": 0, "failedCount": 0,
        "rateLimitedCount": 1 });
    assert_eq!(body["data"], data, "what was due: the one that was not allowed");
    assert_eq!(
        json!([body["event"], body["organizationId"], body["storeId"]]),
        json!(["sync.completed", "org-1", store["storeId"]])
    );
    let moment = body["timestamp"].as_str().unwrap();
    assert!(moment.len() == 24 && moment.ends_with('Z'), "{moment}: three decimals");
    assert_eq!(sending.timeout, Duration::from_secs(5));
    assert_eq!(header(sending, "x-event-id"), body["eventId"].as_str());
    assert_eq!(header(sending, "webhook-id"), body["eventId"].as_str());
    let signed = format!("sha256={}", hex_hmac(SECRET.as_bytes(), &sending.body));
    assert_eq!(header(sending, "x-webhook-signature"), Some(signed.as_str()));
    let told = header(sending, "x-webhook-timestamp").unwrap();
    assert!(told.ends_with('Z') && told.contains('T'), "{told}: RFC 3339");
    // Standard Webhooks beside it: its key is what lies in base64 behind the prefix.
    let seconds = header(sending, "webhook-timestamp").unwrap();
    let text =
        format!("{}.{seconds}.{}", body["eventId"].as_str().unwrap(), String::from_utf8_lossy(&sending.body));
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(KEY).unwrap();
    mac.update(text.as_bytes());
    let signature = header(sending, "webhook-signature").unwrap().strip_prefix("v1,").unwrap();
    let signature = BASE64_STANDARD.decode(signature).unwrap();
    mac.verify_slice(&signature).unwrap();

    let body: Value = serde_json::from_slice(&started[0].body).unwrap();
    let zeros = json!({ "storeId": store["storeId"], "processedCount": 0, "successCount": 0, "failedCount": 0,
        "rateLimitedCount": 0 });
    assert_eq!((&body["event"], &body["data"]), (&json!("sync.started"), &zeros));
    assert_eq!(header(started[0], "x-event-id"), body["eventId"].as_str());
    for unsigned in ["x-webhook-signature", "x-webhook-timestamp", "webhook-signature"] {
        assert_eq!(header(started[0], unsigned), None, "there is no secret to sign with");
    }
}

/// At once, after a minute, after five more; then it has failed, and nobody else was told twice.
#[tokio::test]
async fn a_delivery_is_tried_three_times_by_the_documented_schedule() {
    let f = Fixture::new();
    let failing = register(&f, &asked("org-1", "sync.completed", URL)).await.expect(200).json();
    register(&f, &asked("org-1", "sync.completed", "https://well.example.com/")).await.expect(200);
    f.receiver.fail(URL);
    let (_, first) = synced(&f, "org-1").await;
    assert_eq!(first.len(), 2);
    let mut tries = vec![first.into_iter().find(|sent| sent.url == URL).unwrap()];
    for (before, then) in [(59, 1), (299, 1)] {
        f.pass(before);
        assert_eq!(delivered(&f).await, [], "not sooner");
        f.pass(then);
        let got = delivered(&f).await;
        assert_eq!((got.len(), got[0].url.as_str()), (1, URL), "only to whom it was not delivered");
        tries.extend(got);
    }
    f.pass(24 * 3_600);
    assert_eq!(delivered(&f).await, [], "three tries in all");
    let ids: Vec<_> = tries.iter().map(|sent| header(sent, "x-event-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one event: {ids:?}");
    assert!(tries.iter().all(|sent| sent.body == tries[0].body), "the same bytes");
    let endpoint = EndpointId(failing["id"].as_str().unwrap().parse().unwrap());
    let tenant = TenantId::default_tenant();
    let number = f.app.storage.endpoint(&tenant, endpoint).await.unwrap().unwrap().number;
    let query = AttemptQuery {
        tenant,
        endpoint: Some(number),
        subject: None,
        version: None,
        outcomes: AttemptOutcome::ALL.to_vec(),
        before: None,
        limit: 10,
    };
    let attempts = f.app.storage.attempts(&query).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().rev().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Retry, AttemptOutcome::Retry, AttemptOutcome::Failed]);
}

#[tokio::test]
async fn a_webhook_that_was_disabled_is_active_again_when_it_is_registered_again() {
    let f = Fixture::new();
    let made = register(&f, &asked("org-1", "sync.completed", URL)).await.expect(200).json();
    f.receiver.next(ScriptedReceiver::answer(410));
    synced(&f, "org-1").await;
    let gone = webhooks(&f, "org-1").await;
    assert_eq!((gone[0]["id"].clone(), gone[0]["isActive"].clone()), (made["id"].clone(), json!(false)));
    let again = register(&f, &asked("org-1", "sync.completed", URL)).await.expect(200).json();
    assert_eq!(again, made, "the same webhook, active");
    let (tenant, endpoint) =
        (TenantId::default_tenant(), EndpointId(made["id"].as_str().unwrap().parse().unwrap()));
    f.app.change_endpoint(&tenant, endpoint, EndpointAction::Disable(DisabledFor::Asked)).await.unwrap();
    assert_eq!(webhooks(&f, "org-1").await[0]["isActive"], false);
}

/// A secret that is said anew is the one from then on.
#[tokio::test]
async fn another_secret_replaces_the_one_before() {
    let f = Fixture::new();
    let mut body = asked("org-1", "sync.completed", URL);
    let mut ids = Vec::new();
    for secret in [None, Some("a secret of thirty-two bytes, raw"), Some(SECRET), Some(SECRET)] {
        if let Some(secret) = secret {
            body["secret"] = secret.into();
        }
        ids.push(register(&f, &body).await.expect(200).json()["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let (_, sent) = synced(&f, "org-1").await;
    let signed = format!("sha256={}", hex_hmac(SECRET.as_bytes(), &sent[0].body));
    assert_eq!(header(&sent[0], "x-webhook-signature"), Some(signed.as_str()));
    let shown = f.marketplace.get("/webhooks?organizationId=org-1").await;
    assert!(!shown.text().contains("whsec"), "a secret is never shown");
}

/// What is registered again without a secret keeps the one that it has, whatever the installation's is.
#[tokio::test]
async fn a_secret_of_its_own_stays_when_the_webhook_is_registered_again_without() {
    let f = Fixture::new();
    let gate: Arc<dyn edge::Gate> = Arc::new(edge::Open::new(TenantId::default_tenant()));
    let means = Means { mock: None, webhook_secret: Some(Secret::new(b"shared".to_vec())) };
    let client = Client::new(marketplace::router(f.stores.clone(), f.guard.clone(), gate, means));
    let plain = asked("org-1", "sync.completed", URL);
    let mut own = plain.clone();
    own["secret"] = SECRET.into();
    for body in [&own, &plain] {
        client.post_to("/webhooks/register", body.to_string()).await.expect(200);
    }
    let (_, sent) = synced(&f, "org-1").await;
    let signed = format!("sha256={}", hex_hmac(SECRET.as_bytes(), &sent[0].body));
    assert_eq!(header(&sent[0], "x-webhook-signature"), Some(signed.as_str()));
    assert_eq!(header(&sent[0], "webhook-signature").unwrap().split(' ').count(), 1, "there was no other");
}

/// The installation's secret signs for those that are registered without one.
#[tokio::test]
async fn webhooks_without_a_secret_of_their_own_are_signed_with_the_shared_one() {
    let f = Fixture::new();
    let gate: Arc<dyn edge::Gate> = Arc::new(edge::Open::new(TenantId::default_tenant()));
    let means = Means { mock: None, webhook_secret: Some(Secret::new(b"shared".to_vec())) };
    let client = Client::new(marketplace::router(f.stores.clone(), f.guard.clone(), gate, means));
    let mut own = asked("org-1", "sync.completed", "https://own.example.com/");
    own["secret"] = SECRET.into();
    for body in [asked("org-1", "sync.completed", URL), own] {
        client.post_to("/webhooks/register", body.to_string()).await.expect(200);
    }
    let (_, sent) = synced(&f, "org-1").await;
    assert_eq!(sent.len(), 2);
    for sending in &sent {
        let key = if sending.url == URL { "shared" } else { SECRET };
        let signed = format!("sha256={}", hex_hmac(key.as_bytes(), &sending.body));
        assert_eq!(header(sending, "x-webhook-signature"), Some(signed.as_str()), "{}", sending.url);
    }
}
