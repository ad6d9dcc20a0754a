//! The gate: which header names whom.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rig;

use auth::{ApiKeys, Issuer, Login, Secret, Tokens};
use edge::{Caller, Gate, Refusal, Scope, Scopes};
use http::Request;
use order_core::api_key::{ApiKey, ApiKeyAction, KeyText, NewApiKey, Pepper};
use order_core::lane::LanePolicy;
use order_core::{App, Clock, Fault, TenantId, Timestamp};
use rig::{SECRET, Signer, claims};
use std::sync::Arc;
use std::time::Duration;
use testkit::{ManualClock, MemoryStorage, SeededIds};

struct Fixture {
    clock: Arc<ManualClock>,
    storage: MemoryStorage,
    app: Arc<App>,
    pepper: Pepper,
    login: Login,
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

impl Fixture {
    fn new() -> Self {
        let (clock, storage) = (ManualClock::new(), MemoryStorage::new());
        let app = App::start(storage.port(), clock.clone(), SeededIds::new(7), LanePolicy::default());
        let pepper = Pepper::new([9; 32]);
        let issuer = Issuer::sharing(Secret::new(SECRET.as_bytes()), None, None);
        let tokens = Tokens::new(vec![issuer], clock.clone());
        let login = Login::new(ApiKeys::new(Arc::clone(&app), pepper.clone()), tokens);
        Self { clock, storage, app, pepper, login }
    }

    async fn key(&self, expires_at: Option<Timestamp>) -> (ApiKey, String) {
        let new = NewApiKey {
            name: "ci".into(),
            scopes: "orders:read keys:admin".into(),
            by: "t".into(),
            expires_at,
        };
        let (key, text) = self.app.create_api_key(&acme(), new, &self.pepper).await.unwrap();
        (key, text.shown())
    }

    async fn ask(&self, login: &Login, headers: &[&str]) -> Result<Caller, Refusal> {
        let mut request = Request::builder().uri("/v1/orders");
        for header in headers {
            request = request.header("authorization", *header);
        }
        login.admit(&request.body(()).unwrap().into_parts().0).await
    }

    async fn with(&self, credential: &str) -> Result<Caller, Refusal> {
        self.ask(&self.login, &[&format!("Bearer {credential}")]).await
    }

    async fn is_refused(&self, credential: &str) -> bool {
        matches!(self.with(credential).await, Err(Refusal::Unauthenticated))
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn kept(&self, key: &ApiKey) -> ApiKey {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.app.storage.api_key(key.key_id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_key_names_its_tenant_and_scopes() {
    let fixture = Fixture::new();
    let (key, text) = fixture.key(None).await;
    let caller = fixture.with(&text).await.unwrap();
    assert_eq!(caller.tenant, acme());
    assert_eq!(*caller.subject, *format!("key:{}", key.key_id));
    assert_eq!(caller.scopes, [Scope::OrdersRead, Scope::KeysAdmin].into_iter().collect());
    for header in [format!("bearer {text}"), format!("BEARER  {text}")] {
        assert!(fixture.ask(&fixture.login, &[&header]).await.is_ok());
    }
}

#[tokio::test]
async fn only_the_whole_secret_of_the_very_key_opens_it() {
    let fixture = Fixture::new();
    let ((_, one), (_, two)) = (fixture.key(None).await, fixture.key(None).await);
    let mixed = format!("{}{}", &one[..19], &two[19..]);
    let fresh = KeyText::fresh(SeededIds::new(99).as_ref()).shown();
    for bad in [mixed, fresh, one[..61].to_owned(), format!("{one}x"), one.to_uppercase(), "wo_".to_owned()] {
        assert!(fixture.is_refused(&bad).await, "{bad}");
    }
}

#[tokio::test]
async fn what_is_revoked_works_for_seconds_at_most() {
    let fixture = Fixture::new();
    let (key, text) = fixture.key(None).await;
    assert!(fixture.with(&text).await.is_ok());
    fixture.app.change_api_key(&acme(), key.key_id, ApiKeyAction::Revoke).await.unwrap();
    fixture.pass(3);
    assert!(fixture.is_refused(&text).await);
}

#[tokio::test]
async fn the_old_secret_works_until_its_grace_is_over() {
    let fixture = Fixture::new();
    let (key, old) = fixture.key(None).await;
    let (acme, hour) = (acme(), Duration::from_secs(3600));
    let rotate = fixture.app.rotate_api_key(&acme, key.key_id, hour, false, &fixture.pepper);
    assert!(fixture.with(&old).await.is_ok(), "so it is in memory");
    let new = rotate.await.unwrap().1.shown();
    assert!(fixture.with(&old).await.is_ok() && fixture.with(&new).await.is_ok());
    fixture.pass(3_599);
    assert!(fixture.with(&old).await.is_ok());
    fixture.pass(1);
    assert!(fixture.is_refused(&old).await && fixture.with(&new).await.is_ok());
}

#[tokio::test]
async fn an_expired_key_is_refused_at_its_very_moment() {
    let fixture = Fixture::new();
    let (_, text) = fixture.key(Some(fixture.clock.now().plus(Duration::from_secs(2)))).await;
    assert!(fixture.with(&text).await.is_ok());
    fixture.pass(2);
    assert!(fixture.is_refused(&text).await, "though it is still in memory");
}

#[tokio::test]
async fn use_is_noted_once_a_minute_and_behind_the_request() {
    let fixture = Fixture::new();
    let (key, text) = fixture.key(None).await;
    let commits = fixture.storage.commits();
    for _ in 0..59 {
        fixture.with(&text).await.unwrap();
        fixture.kept(&key).await;
        fixture.pass(1);
    }
    let first = fixture.kept(&key).await.last_used_at;
    assert_eq!((fixture.storage.commits() - commits, first), (1, Some(key.created_at)));
    fixture.pass(1);
    fixture.with(&text).await.unwrap();
    assert_eq!(fixture.kept(&key).await.last_used_at, Some(fixture.clock.now()));
    assert_eq!(fixture.storage.commits() - commits, 2);
}

#[tokio::test]
async fn who_cannot_be_looked_up_is_not_refused_and_not_admitted() {
    let fixture = Fixture::new();
    let (_, text) = fixture.key(None).await;
    let down = Fault::Unavailable { why: "gone".into(), retry_after: Duration::from_secs(1) };
    fixture.storage.down(Some(down));
    assert!(matches!(fixture.with(&text).await, Err(Refusal::Fault(_))));
    fixture.storage.down(None);
    assert!(fixture.with(&text).await.is_ok());
}

#[tokio::test]
async fn a_token_is_a_credential_too() {
    let fixture = Fixture::new();
    let token = Signer::new().token("HS256", r#"{"alg":"HS256"}"#, &claims(&[]));
    assert_eq!(&*fixture.with(&token).await.unwrap().subject, "u-1");
}

#[tokio::test]
async fn a_credential_comes_once_and_in_its_form_or_it_is_refused() {
    let fixture = Fixture::new();
    let (_, text) = fixture.key(None).await;
    let nobody =
        Caller { tenant: acme(), subject: "local".into(), scopes: Scopes::all(), tenant_said: false };
    let open = fixture.login.or(nobody.clone());
    assert!(matches!(fixture.ask(&fixture.login, &[]).await, Err(Refusal::Unauthenticated)));
    assert_eq!(fixture.ask(&open, &[]).await.unwrap_or_else(|_| panic!()), nobody);
    let good = format!("Bearer {text}");
    for headers in [
        &[good.as_str(), good.as_str()][..],
        &["Bearer"],
        &["Bearer "],
        &[""],
        &[text.as_str()],
        &["Basic dTpw"],
        &["Bearer a b"],
        &["Bearer é"],
        &["Bearer x", "Basic dTpw"],
        &[&format!("{good} ")],
        &[&format!("Bearer\t{text}")],
        &[&format!("Token {text}")],
    ] {
        for login in [&fixture.login, &open] {
            let refused = matches!(fixture.ask(login, headers).await, Err(Refusal::Unauthenticated));
            assert!(refused, "{headers:?}");
        }
    }
    assert!(fixture.ask(&open, &[&good]).await.is_ok_and(|caller| caller.tenant == acme()));
}

#[tokio::test]
async fn a_token_that_names_no_tenant_opens_its_orders_and_is_no_operators() {
    let fixture = Fixture::new();
    let token = |claims: &str| Signer::new().token("HS256", r#"{"alg":"HS256"}"#, claims);
    let bare = fixture.with(&token(&claims(&[("tenant", "")]))).await.unwrap();
    let named = fixture.with(&token(&claims(&[("tenant", "\"default\"")]))).await.unwrap();
    assert_eq!((&bare.tenant, &bare.tenant), (&TenantId::default_tenant(), &named.tenant));
    assert!(!fixture.login.is_operator(&bare), "an issuer that knows of no tenants makes no operators");
    assert!(fixture.login.is_operator(&named));
    let of_acme = fixture.with(&token(&claims(&[]))).await.unwrap();
    assert!(
        !fixture.login.is_operator(&of_acme) && fixture.login.clone().run_by(acme()).is_operator(&of_acme)
    );
    let (_, key) = fixture.key(None).await;
    let key = fixture.with(&key).await.unwrap();
    assert!(fixture.login.clone().run_by(acme()).is_operator(&key), "a key is of the tenant it was made for");
}

#[tokio::test]
async fn what_is_refused_is_counted_for_the_action_log() {
    let fixture = Fixture::new();
    assert!(fixture.is_refused("wo_x").await && fixture.is_refused("wo_y").await);
    assert!(matches!(fixture.ask(&fixture.login, &[]).await, Err(Refusal::Unauthenticated)));
    let failed = fixture.login.failed().take();
    let brief: Vec<_> = failed.iter().map(|failed| (failed.why, failed.count)).collect();
    assert_eq!(brief, [(Some("api-key"), 2)], "no credential at all is no login");
}
