//! `/v1/keys`: made, listed, rotated, revoked, and never more than their maker may do.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use async_trait::async_trait;
use edge::{Caller, Gate, Refusal, Scopes};
use http::request::Parts;
use order_core::TenantId;
use rig::{Rig, Said};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct As(Caller);

#[async_trait]
impl Gate for As {
    async fn admit(&self, _: &Parts) -> Result<Caller, Refusal> {
        Ok(self.0.clone())
    }
}

fn caller(tenant: &str, scopes: &str) -> Arc<dyn Gate> {
    let tenant = TenantId::new(tenant).unwrap();
    Arc::new(As(Caller {
        tenant,
        subject: "somebody".into(),
        scopes: Scopes::parse(scopes),
        tenant_said: true,
    }))
}

const NEW: &str = r#"{"name": "shop", "scopes": ["orders:write", "orders:read"]}"#;

async fn made(rig: &Rig, body: &str) -> Value {
    let said = rig.post("/v1/keys", body).await;
    assert_eq!(said.status, 201, "{}", said.text);
    said.json()
}

fn id(key: &Value) -> &str {
    key["key_id"].as_str().unwrap()
}

fn address(key: &Value) -> String {
    format!("/v1/keys/{}", id(key))
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let rig = Rig::new();
    let said = rig.post("/v1/keys", NEW).await;
    let key = said.json();
    assert_eq!(said.header("location"), Some(address(&key).as_str()));
    assert_eq!(said.header("cache-control"), Some("no-store"));
    let secret = key["key"].as_str().unwrap();
    assert!(secret.starts_with(&format!("wo_{}_", id(&key))) && secret.len() == 63, "{secret}");
    assert_eq!((&key["name"], &key["scopes"]), (&json!("shop"), &json!(["orders:read", "orders:write"])));
    assert_eq!((&key["state"], &key["created_by"]), (&json!("active"), &json!("local")));
    let mut kept = key.clone();
    kept.as_object_mut().unwrap().remove("key");
    assert_eq!(rig.get(&address(&key)).await.json(), kept);
    assert_eq!(rig.get("/v1/keys").await.json(), json!({ "keys": [kept], "next": null }));
}

#[tokio::test]
async fn lists_are_paged_the_newest_first() {
    let rig = Rig::new();
    for number in 0..5 {
        made(&rig, &format!(r#"{{"name": "k-{number}", "scopes": ["events:read"]}}"#)).await;
    }
    let (mut names, mut path) = (Vec::new(), "/v1/keys?limit=2".to_owned());
    loop {
        let page = rig.get(&path).await.json();
        names.extend(
            page["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/keys?limit=2&after={next}");
    }
    assert_eq!(names, ["k-4", "k-3", "k-2", "k-1", "k-0"]);
    let foreign = rig.get("/v1/keys?after=AQ").await;
    assert_eq!((foreign.status, foreign.errors()), (400, vec!["/after cursor-invalid".to_owned()]));
}

#[tokio::test]
async fn a_rotation_keeps_the_id_and_ends_the_old_secret_later() {
    let rig = Rig::new();
    let key = made(&rig, NEW).await;
    rig.clock.advance(Duration::from_secs(10));
    let path = format!("{}/rotate", address(&key));
    let rotated = rig.ask("POST", &path, &[], "").await.json();
    assert!(rotated["key"].is_string() && rotated["key"] != key["key"], "{rotated}");
    assert_eq!((&rotated["key_id"], &rotated["name"]), (&key["key_id"], &key["name"]));
    let day = order_core::Timestamp::parse(rotated["rotated_at"].as_str().unwrap()).unwrap();
    assert_eq!(rotated["previous_until"], day.plus(Duration::from_secs(86_400)).to_string());
    let early = rig.post(&path, r#"{"grace_seconds": 60}"#).await;
    assert_eq!(
        (early.status, early.problem().as_str()),
        (409, "api-key-grace"),
        "the first secret has a day"
    );
    assert_eq!(early.json()["previous_until"], rotated["previous_until"]);
    let short = rig.post(&path, r#"{"grace_seconds": 60, "end_grace": true}"#).await.json();
    assert_eq!(short["previous_until"], day.plus(Duration::from_secs(60)).to_string());
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(rig.get(&address(&key)).await.json()["previous_until"], Value::Null, "it is over");
    for (body, errors) in [
        (r#"{"grace_seconds": -1}"#, "/grace_seconds range"),
        (r#"{"grace_seconds": 1.5}"#, "/grace_seconds range"),
        (r#"{"grace_seconds": 2592001}"#, "/grace_seconds range"),
        (r#"{"grace_seconds": "60"}"#, "/grace_seconds wrong-type"),
        (r#"{"end_grace": 1}"#, "/end_grace wrong-type"),
        (r#"{"grace": 60}"#, "/grace unknown-field"),
    ] {
        assert_eq!(rig.post(&path, body).await.errors(), [errors], "{body}");
    }
    assert_eq!(rig.ask("POST", &path, &[], "{}").await.status, 415);
}

#[tokio::test]
async fn what_is_revoked_stays_revoked() {
    let rig = Rig::new();
    let key = made(&rig, NEW).await;
    let revoked = rig.delete(&address(&key)).await;
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")));
    assert_eq!(rig.delete(&address(&key)).await.json(), revoked.json());
    let rotated = rig.ask("POST", &format!("{}/rotate", address(&key)), &[], "").await;
    assert_eq!((rotated.status, rotated.problem().as_str()), (409, "api-key-ended"));
    let end = rig.clock.advance(Duration::ZERO).plus(Duration::from_secs(5));
    let key =
        made(&rig, &format!(r#"{{"name": "x", "scopes": ["events:read"], "expires_at": "{end}"}}"#)).await;
    rig.clock.advance(Duration::from_secs(5));
    assert_eq!(rig.get(&address(&key)).await.json()["state"], "expired");
}

fn forbidden(said: &Said) -> String {
    assert_eq!((said.status, said.problem().as_str()), (403, "forbidden"));
    said.json()["detail"].as_str().unwrap().to_owned()
}

/// Not by making a key, and not by taking one over.
#[tokio::test]
async fn nobody_gives_what_they_lack() {
    let rig = Rig::new();
    let strong = made(&rig, r#"{"name": "x", "scopes": ["keys:admin", "orders:read", "work:claim"]}"#).await;
    let weak = rig.seen_by(caller("default", "keys:admin orders:read"));
    let said = weak.post("/v1/keys", NEW).await;
    assert!(forbidden(&said).contains("orders:write"), "{}", said.text);
    made(&weak, r#"{"name": "x", "scopes": ["keys:admin", "orders:read"]}"#).await;
    let said = weak.ask("POST", &format!("{}/rotate", address(&strong)), &[], "").await;
    assert!(forbidden(&said).contains("work:claim"), "{}", said.text);
    assert_eq!(rig.get(&address(&strong)).await.json()["rotated_at"], Value::Null);
    assert_eq!(weak.delete(&address(&strong)).await.status, 200, "whoever administers keys may end any");
    let none = rig.seen_by(caller("default", "orders:read"));
    for said in
        [none.get("/v1/keys").await, none.post("/v1/keys", NEW).await, none.get(&address(&strong)).await]
    {
        assert!(forbidden(&said).contains("keys:admin"));
    }
}

#[tokio::test]
async fn another_tenants_key_is_not_there() {
    let rig = Rig::new();
    let key = made(&rig, NEW).await;
    let other = rig.seen_by(caller("other", "keys:admin orders:read orders:write"));
    let rotate = format!("{}/rotate", address(&key));
    for said in [
        other.get(&address(&key)).await,
        other.delete(&address(&key)).await,
        other.ask("POST", &rotate, &[], "").await,
        other.get("/v1/keys/0000000000000000").await,
        other.get("/v1/keys/nonsense").await,
        other.get("/v1/keys/%00").await,
    ] {
        assert!(said.status == 404 || said.status == 400, "{}", said.text);
        assert!(["api-key-unknown", "uri-invalid"].contains(&said.problem().as_str()));
    }
    assert_eq!(other.get("/v1/keys").await.json()["keys"], json!([]));
    assert_eq!(rig.get(&address(&key)).await.json()["state"], "active");
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_named() {
    let rig = Rig::new();
    let long = format!(r#"{{"name": "{}", "scopes": ["events:read"]}}"#, "n".repeat(256));
    for (body, status, errors) in [
        ("{}", 422, &["/name missing", "/scopes missing"][..]),
        (r#"{"name": "", "scopes": []}"#, 422, &["/name empty", "/scopes empty"]),
        (r#"{"name": 1, "scopes": "events:read"}"#, 400, &["/name wrong-type", "/scopes wrong-type"]),
        (r#"{"name": "x", "scopes": ["events:read", "root"]}"#, 422, &["/scopes/1 unknown"]),
        (
            r#"{"name": "x", "scopes": ["EVENTS:READ", 1]}"#,
            400,
            &["/scopes/0 unknown", "/scopes/1 wrong-type"],
        ),
        (r#"{"name": "x", "scopes": ["events:read"], "tenant": "other"}"#, 400, &["/tenant unknown-field"]),
        (r#"{"name": "x", "scopes": ["events:read"], "key": "wo_"}"#, 400, &["/key unknown-field"]),
        (
            r#"{"name": "x", "scopes": ["events:read"], "expires_at": "2001-01-01T00:00:00Z"}"#,
            422,
            &["/expires_at form"],
        ),
        (r#"{"name": "x", "scopes": ["events:read"], "expires_at": "soon"}"#, 422, &["/expires_at form"]),
        (long.as_str(), 422, &["/name too-long"]),
        ("[]", 400, &[" wrong-type"]),
    ] {
        let said = rig.post("/v1/keys", body).await;
        assert_eq!(
            (said.status, said.errors()),
            (status, errors.iter().map(|&e| e.to_owned()).collect()),
            "{body}"
        );
    }
    assert_eq!(rig.get("/v1/keys").await.json()["keys"], json!([]));
}
