//! What is kept of tries; having deliveries made again, of stores too; and endpoints that are registered once more.

use super::Rig;
use super::stores::{a_store, claim_due, claim_sync, end, imported, registered, registration, settle, tried};
use super::webhook_endpoints::{change, delivery};
use super::webhooks::Hooks;
use crate::receivers::{ScriptedReceiver, header};
use order_core::TenantId;
use order_core::clock::Timestamp;
use order_core::error::{Error, Rejection};
use order_core::journal::Cursor;
use order_core::marketplace::Store;
use order_core::marketplace::command::ImportOutcome;
use order_core::sealing::Secret;
use order_core::webhook::endpoint::{Dialect, DisabledFor, EndpointAction, EndpointChange};
use order_core::webhook::missed::{MissedFrom, Missing, StoresFrom};
use order_core::webhook::registering::RegisteredEndpoint;
use order_core::webhook::sending::Sending;
use order_core::webhook::{Endpoint, Listens, signing};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn beginning(hooks: &Hooks) -> MissedFrom {
    let install = hooks.rig.storage().install();
    MissedFrom::new(Timestamp::from_micros(i64::MIN), Cursor::beginning(install.epoch, install.shards))
}

async fn look(hooks: &Hooks, endpoint: &Endpoint, from: MissedFrom, dry_run: bool) -> Missing {
    hooks.rig.app.replay_missing(endpoint, from, dry_run).await.expect("it is looked for")
}

/// Syncs a store that has something to sync; returns how many events it has had then.
async fn synced(hooks: &Hooks, store: &Store, receipt: &str) -> u64 {
    tried(&hooks.rig, store, receipt, ImportOutcome::Released { at: hooks.rig.now() }).await;
    let token = hooks.rig.token();
    claim_sync(&hooks.rig, store, token).await.expect("nobody else syncs it");
    for due in claim_due(&hooks.rig, store, token, 5).await.expect("the lease holds") {
        let (token, outcome) = (due.token.expect("leased"), imported("1", hooks.rig.now()));
        settle(&hooks.rig, store, due.receipt.as_str(), token, outcome).await.expect("the lease holds");
    }
    end(&hooks.rig, store, token).await.expect("the lease holds");
    hooks.rig.clock.advance(Duration::from_secs(3_600));
    let events = hooks.rig.storage().markets().store_events(store.store_id, 0, 100).await.expect("events");
    assert!(!events.is_empty());
    events.len() as u64
}

fn is_disabled<T: Debug>(asked: Result<T, Error>) -> bool {
    matches!(asked, Err(Error::Rejection(Rejection::EndpointDisabled)))
}

/// The ids of what was sent, by store.
fn of_stores(got: &[Sending]) -> BTreeSet<(String, String)> {
    let told = |sent: &Sending| {
        let body: serde_json::Value = serde_json::from_slice(&sent.body).expect("JSON");
        let store = if body["storeId"].is_null() { &body["store_id"] } else { &body["storeId"] };
        (store.as_str().expect("a store").to_owned(), header(sent, "webhook-id").expect("an id").to_owned())
    };
    got.iter().map(told).collect()
}

/// A try keeps the URL that was called, wherever the endpoint is since.
pub async fn a_try_keeps_the_url_that_was_called(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/a?b=c", &["*"]).await;
    let order = hooks.order("a", 1).await;
    assert_eq!(hooks.deliver().await.len(), 1);
    let moved = EndpointChange { url: Some("https://two.example/".to_owned()), ..EndpointChange::default() };
    change(&hooks, &endpoint, EndpointAction::Change(moved)).await.expect("it is changed");
    hooks.rig.clock.tick();
    let again = hooks.rig.app.resend(&endpoint.tenant, delivery(&endpoint, order.id.0, 1)).await;
    assert!(again.expect("it is there"));
    assert_eq!(hooks.deliver().await.len(), 1);
    let urls: Vec<String> = hooks.attempts(&endpoint).await.into_iter().map(|one| one.url).collect();
    assert_eq!(urls, ["https://two.example/", "https://one.example/a?b=c"]);
}

/// Nothing is sent again to an endpoint that is disabled: whoever asks is told, and nothing waits for it.
pub async fn nothing_is_sent_again_to_an_endpoint_that_is_disabled(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let order = hooks.order("a", 1).await;
    assert_eq!(hooks.deliver().await.len(), 1);
    let disabled = change(&hooks, &endpoint, EndpointAction::Disable(DisabledFor::Asked)).await;
    let disabled = disabled.expect("it is disabled");
    hooks.order("b", 1).await;
    hooks.fan_out().await;
    let app = &hooks.rig.app;
    let since = Timestamp::from_micros(0);
    let delivery = delivery(&endpoint, order.id.0, 1);
    assert!(is_disabled(app.resend(&endpoint.tenant, delivery).await));
    assert!(is_disabled(app.recover(&disabled, since, false).await));
    assert!(is_disabled(app.replay_missing(&disabled, beginning(&hooks), false).await));
    assert_eq!(hooks.streams().await, [], "nothing waits");
    assert_eq!(app.recover(&disabled, since, true).await.expect("it may be counted").count, 0);
    assert_eq!(look(&hooks, &disabled, beginning(&hooks), true).await.missing, 1, "it may be counted");
    let enabled = change(&hooks, &endpoint, EndpointAction::Enable).await.expect("it is enabled");
    assert_eq!(look(&hooks, &enabled, beginning(&hooks), false).await.missing, 1);
    assert!(app.resend(&endpoint.tenant, delivery).await.expect("it is there"));
    assert_eq!(hooks.deliver().await.len(), 2);
}

/// What was missed of stores is made up for: all of it, that since a moment, or that behind a place.
pub async fn what_was_missed_of_stores_is_made_up_for(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("acme", "https://one.example/", &["sync.*"]).await;
    let store = a_store(&hooks.rig).await;
    // Stores are looked at in the order in which they were made.
    hooks.rig.clock.advance(Duration::from_secs(1));
    let other = registered(&hooks.rig, registration("acme", "org-2", "ext-2", false)).await;
    let foreign = registered(&hooks.rig, registration("zeta", "org-1", "ext-1", false)).await;
    let sent = synced(&hooks, &store, "sent").await;
    assert_eq!(hooks.deliver().await.len() as u64, sent);
    change(&hooks, &endpoint, EndpointAction::Disable(DisabledFor::Asked)).await.expect("it is disabled");
    let missed = synced(&hooks, &store, "missed").await - sent;
    let since = hooks.rig.now();
    let late = synced(&hooks, &other, "late").await;
    synced(&hooks, &foreign, "foreign").await;
    assert_eq!(hooks.deliver().await, []);
    let endpoint = change(&hooks, &endpoint, EndpointAction::Enable).await.expect("it is enabled");
    let found = look(&hooks, &endpoint, beginning(&hooks), true).await;
    assert_eq!((found.missing, found.looked_at, found.next), (missed + late, sent + missed + late, None));
    let from = |since, behind| MissedFrom { stores: Some(StoresFrom { since, behind }), ..beginning(&hooks) };
    assert_eq!(look(&hooks, &endpoint, from(since, None), true).await.missing, late);
    let place = |store: &Store| (store.created_at, store.store_id);
    let always = Timestamp::from_micros(i64::MIN);
    let behind = from(always, Some((place(&store), sent + 1)));
    assert_eq!(look(&hooks, &endpoint, behind, true).await.missing, missed - 1 + late);
    let done = MissedFrom { stores: None, ..beginning(&hooks) };
    assert_eq!(look(&hooks, &endpoint, done, true).await.missing, 0, "they were looked at before");
    assert_eq!(look(&hooks, &endpoint, beginning(&hooks), false).await.missing, missed + late);
    assert_eq!(look(&hooks, &endpoint, beginning(&hooks), true).await.missing, 0, "they are to come");
    let got = hooks.deliver().await;
    let stores: BTreeSet<String> = of_stores(&got).into_iter().map(|(store, _)| store).collect();
    assert_eq!((got.len() as u64, of_stores(&got).len() as u64), (missed + late, missed + late), "each once");
    assert_eq!(stores, BTreeSet::from([store.store_id.to_string(), other.store_id.to_string()]));
    assert_eq!(look(&hooks, &endpoint, beginning(&hooks), true).await.missing, 0);
}

async fn register(
    hooks: &Hooks,
    listens: Listens,
    secret: Option<&str>,
    unless_said: Option<&str>,
) -> Endpoint {
    let secret_of = |text: &str| Secret::new(text.as_bytes().to_vec());
    let asked = RegisteredEndpoint {
        dialect: Dialect::Marketplace,
        organization: "org-1".to_owned(),
        listens,
        url: "https://contract.example/".to_owned(),
        secret: secret.map(secret_of),
        unless_said: unless_said.map(secret_of),
    };
    let tenant = TenantId::new("acme").expect("a tenant");
    hooks.rig.app.register_endpoint(&tenant, asked).await.expect("it is registered")
}

/// An organization is told of its own stores alone, later too, and of no orders: these are of none.
pub async fn an_organization_is_told_of_its_own_stores_alone(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = register(&hooks, Listens::all(), None, None).await;
    let own = a_store(&hooks.rig).await;
    let other = registered(&hooks.rig, registration("acme", "org-2", "ext-2", false)).await;
    hooks.rig.new_order(crate::build::intake("a").tenant("acme")).await;
    let count = synced(&hooks, &own, "a").await;
    synced(&hooks, &other, "b").await;
    let got = hooks.deliver().await;
    assert_eq!(got.len() as u64, count);
    assert!(of_stores(&got).iter().all(|(store, _)| *store == own.store_id.to_string()));
    change(&hooks, &endpoint, EndpointAction::Disable(DisabledFor::Asked)).await.expect("it is disabled");
    let missed = synced(&hooks, &own, "c").await - count;
    synced(&hooks, &other, "d").await;
    let endpoint = change(&hooks, &endpoint, EndpointAction::Enable).await.expect("it is enabled");
    assert_eq!(look(&hooks, &endpoint, beginning(&hooks), true).await.missing, missed);
}

/// A registration keeps its secret unless another is said; then both sign for a day.
pub async fn a_registration_keeps_its_secret_unless_another_is_said(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let (first, second, third) =
        ("the-first-secret-of-it-all", "the-second-secret-of-it-all", "the-third-secret-of-it-all");
    let shared = Some("the-secret-that-all-of-them-share");
    let listens = || Listens::parse(["sync.failed"]).expect("a type of event");
    let receiver = Arc::<ScriptedReceiver>::clone(&hooks.receiver);
    let signed = async |endpoint: &Endpoint, secrets: &[&str]| {
        let app = &hooks.rig.app;
        app.test_endpoint(&endpoint.tenant, endpoint.endpoint_id, receiver.as_ref())
            .await
            .expect("it is tried");
        let sent = hooks.receiver.got().remove(0);
        let (id, at) = (header(&sent, "webhook-id").expect("an id"), header(&sent, "webhook-timestamp"));
        let at: i64 = at.and_then(|at| at.parse().ok()).expect("seconds");
        let expected: Vec<String> = secrets
            .iter()
            .map(|secret| signing::standard(&Secret::new(secret.as_bytes().to_vec()), id, at, &sent.body))
            .collect();
        assert_eq!(header(&sent, "webhook-signature"), Some(expected.join(" ").as_str()), "{secrets:?}");
    };
    let made = register(&hooks, listens(), Some(first), shared).await;
    let kept = register(&hooks, listens(), None, shared).await;
    assert_eq!(kept, made, "it keeps what it has");
    signed(&kept, &[first]).await;
    let rotated = register(&hooks, listens(), Some(second), shared).await;
    assert_eq!((rotated.endpoint_id, rotated.number), (made.endpoint_id, made.number));
    assert_eq!(rotated.previous.as_ref().map(|previous| previous.until), Some(hooks.rig.now().plus(DAY)));
    signed(&rotated, &[second, first]).await;
    let same = register(&hooks, listens(), Some(second), shared).await;
    assert_eq!(same, rotated, "it has that already");
    let newest = register(&hooks, listens(), Some(third), shared).await;
    signed(&newest, &[third, second]).await;
    hooks.rig.clock.advance(DAY);
    signed(&newest, &[third]).await;
}
