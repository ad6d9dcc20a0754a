//! `marketplace`: its mock marketplace.

use crate::harness::{Client, Exchange, Fixture, transcript};
use contracts::marketplace::{self, Means};
use http::Request;
use std::sync::Arc;

/// `etsy_user:etsy_pass`.
const ETSY: &str = "Basic ZXRzeV91c2VyOmV0c3lfcGFzcw==";
const PATH: &str = "/mock/etsy/validate";

async fn ask(client: &Client, path: &str, login: Option<&str>, json: &str) -> Exchange {
    let mut request = Request::post(path).header("content-type", "application/json");
    if let Some(login) = login {
        request = request.header("authorization", login);
    }
    client.send(request.body(json.as_bytes().to_vec()).unwrap()).await
}

#[tokio::test]
async fn the_documented_receipts_answer_as_documented() {
    let f = Fixture::new();
    let validate = async |json| ask(&f.marketplace, PATH, Some(ETSY), json).await;
    assert_text!(transcript(&[
        validate(r#"{"receipt": "test1", "currency": "EUR"}"#).await,
        validate(r#"{"receipt": "test2"}"#).await,
        validate(r#"{"receipt": "test24"}"#).await,
        validate(r#"{"receipt": "test1", "currency": "eur", "other": [1]}"#).await,
        validate(r#"{"receipt": "order-101", "currency": null}"#).await,
        validate(r#"{"receipt": "RL00"}"#).await,
    ]));
    assert_eq!(f.storage.commits(), 0, "a mock keeps nothing");
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_documented_order() {
    let f = Fixture::new();
    let validate = async |path, login, json| ask(&f.marketplace, path, login, json).await;
    let long = format!(r#"{{"receipt": "{}1"}}"#, "x".repeat(255));
    assert_text!(transcript(&[
        // All of it wrong: each time one thing less.
        validate("/mock/ebay/validate", None, "").await,
        validate("/mock/ETSY/validate", None, r#"{"receipt": "1"}"#).await,
        validate("/mock/%ff/validate", Some(ETSY), r#"{"receipt": "1"}"#).await,
        validate(PATH, None, "").await,
        validate(PATH, None, "[]").await,
        validate(PATH, None, "{}").await,
        validate(PATH, None, r#"{"receipt": ""}"#).await,
        validate(PATH, None, r#"{"receipt": null}"#).await,
        validate(PATH, None, r#"{"receipt": 115}"#).await,
        validate(PATH, None, &long).await,
        validate(PATH, None, r#"{"receipt": "RL15", "currency": "EURO"}"#).await,
        validate(PATH, None, r#"{"receipt": "RL15", "currency": 1}"#).await,
        validate(PATH, None, r#"{"receipt": "RL15"}"#).await,
        validate("/mock/amazon/validate", Some(ETSY), r#"{"receipt": "RL15"}"#).await,
        validate(PATH, Some(ETSY), r#"{"receipt": "RL15"}"#).await,
    ]));
}

#[tokio::test]
async fn the_scheme_of_a_login_is_of_any_case() {
    let f = Fixture::new();
    for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
        let login = ETSY.replace("Basic", scheme);
        ask(&f.marketplace, PATH, Some(&login), r#"{"receipt": "1"}"#).await.expect(200);
    }
    for bad in ["Bearer ZXRzeV91c2VyOmV0c3lfcGFzcw==", "Basic", "Basic x", "Basic ZXRzeV91c2VyOg=="] {
        ask(&f.marketplace, PATH, Some(bad), r#"{"receipt": "1"}"#).await.expect(401);
    }
}

#[tokio::test]
async fn without_the_mock_there_is_no_such_route_and_nothing_tells_of_it() {
    let f = Fixture::new();
    let gate: Arc<dyn edge::Gate> = Arc::new(edge::Open::new(order_core::TenantId::default_tenant()));
    let client = Client::new(marketplace::router(f.stores.clone(), f.guard.clone(), gate, Means::default()));
    let refused = ask(&client, PATH, Some(ETSY), r#"{"receipt": "1"}"#).await.expect(404);
    assert_eq!(refused.text(), r#"{"error":"No such route"}"#);
    assert!(!client.get("/docs/json").await.expect(200).text().contains("mock"));
}
