//! `marketplace`: stores and imports, over a marketplace that says what it is told to.

use crate::harness::{Exchange, Fixture, transcript};
use async_trait::async_trait;
use order_core::Reference;
use order_core::marketplace::calls::{
    Allowances, Answer, ChangesAsked, Fetched, Imported, Listed, Operation, StoreAccess,
};
use order_core::marketplace::{Connectors, MarketplaceName};
use order_core::ports::Marketplace;
use order_core::{Clock, Money, SourceId, TenantId};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use testkit::ManualClock;
use tokio::sync::Semaphore;

/// Calls that go on at once while the gate is open.
const GATE: u32 = 64;

/// Says of a receipt what its beginning says; each call waits for the gate, if that is closed.
pub(crate) struct ScriptedMarketplace {
    clock: Arc<ManualClock>,
    calls: AtomicUsize,
    tokens: Mutex<Vec<String>>,
    gate: Semaphore,
}

impl ScriptedMarketplace {
    pub(crate) fn new(clock: Arc<ManualClock>) -> Arc<Self> {
        let (calls, gate) = (AtomicUsize::new(0), Semaphore::new(GATE as usize));
        Arc::new(Self { clock, calls, tokens: Mutex::default(), gate })
    }

    /// At each marketplace of the contract but `amazon`.
    pub(crate) fn everywhere(self: &Arc<Self>) -> Connectors {
        let one = |name| (name, Arc::clone(self) as Arc<dyn Marketplace>);
        Connectors::from([one(MarketplaceName::Etsy), one(MarketplaceName::Shopify)])
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Marketplace for ScriptedMarketplace {
    fn lists(&self) -> bool {
        false
    }

    fn allowances(&self, _: &StoreAccess, _: Operation) -> Allowances {
        Allowances::new()
    }

    async fn fetch(&self, access: &StoreAccess, receipt: &Reference) -> Answer<Fetched> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.tokens.lock().unwrap().push(access.access_token.text().unwrap().to_owned());
        let _open = self.gate.acquire().await.unwrap();
        Answer::bare(match receipt.as_str().split('-').next().unwrap() {
            "good" => Fetched::Imported(Box::new(Imported {
                external_order_id: format!("there-{}", receipt.as_str()),
                customer: None,
                amount: Money::parse("99.90").unwrap(),
                currency: access.currency.clone(),
                imported_at: self.clock.now(),
                payload: Map::new(),
            })),
            "none" => Fetched::Invalid,
            "busy" => Fetched::RateLimited { retry_after: None },
            "away" => Fetched::Unavailable { why: "secret address refused".to_owned() },
            _ => Fetched::Failed { why: "the order is a draft".to_owned() },
        })
    }

    async fn changed_since(&self, _: &StoreAccess, _: &ChangesAsked) -> Answer<Listed> {
        Answer::bare(Listed::Page { orders: Vec::new(), next: None })
    }
}

const STORE: &str = r#"{
    "organizationId": "org-123",
    "marketplace": "etsy",
    "externalStoreId": "store-456",
    "storeName": "My Store",
    "accessToken": "token-abc",
    "currency": "USD"
  }"#;

async fn token(f: &Fixture) -> String {
    let store = f.marketplace.post_to("/stores/register", STORE).await.expect(200).json();
    store["syncToken"].as_str().unwrap().to_owned()
}

async fn import(f: &Fixture, token: &str, receipt: &str) -> Exchange {
    let body = json!({ "syncToken": token, "receipt": receipt }).to_string();
    f.marketplace.post_to("/orders/import", body).await
}

async fn status(f: &Fixture, token: &str) -> Exchange {
    f.marketplace.get(&format!("/stores/sync-status?syncToken={token}")).await
}

#[tokio::test]
async fn the_documented_calls_answer_as_documented() {
    let f = Fixture::new();
    let registered = f.marketplace.post_to("/stores/register", STORE).await;
    let token = registered.json()["syncToken"].as_str().unwrap().to_owned();
    let mut seen = vec![registered, status(&f, &token).await];
    for receipt in ["good-1", "none-1", "busy-1", "away-1", "draft-1", "good-1", "none-1"] {
        f.pass(60);
        seen.push(import(&f, &token, receipt).await);
    }
    seen.push(status(&f, &token).await);
    assert!(seen.iter().all(|exchange| !exchange.text().contains("secret")));
    assert_text!(transcript(&seen));
    assert_eq!(f.market.calls(), 5, "what was asked for before is not asked for again");
}

#[tokio::test]
async fn a_store_registered_again_keeps_its_token_and_takes_what_is_said_anew() {
    let f = Fixture::new();
    let first = f.marketplace.post_to("/stores/register", STORE).await.expect(200).json();
    let again = STORE.replace("token-abc", "token-new").replace("My Store", "Ours").replace("USD", "eur");
    assert_eq!(f.marketplace.post_to("/stores/register", again).await.expect(200).json(), first);
    let token = first["syncToken"].as_str().unwrap();
    let order = import(&f, token, "good-1").await.expect(200).json();
    assert_eq!((&order["currency"], &order["amount"].to_string()), (&json!("EUR"), &"99.90".to_owned()));
    assert_eq!(*f.market.tokens.lock().unwrap(), ["token-new"]);
    for other in [
        STORE.replace("org-123", "org-124"),
        STORE.replace("store-456", "store-457"),
        STORE.replace("etsy", "shopify"),
    ] {
        let other = f.marketplace.post_to("/stores/register", other).await.expect(200).json();
        assert_ne!((&other["storeId"], &other["syncToken"]), (&first["storeId"], &first["syncToken"]));
    }
}

#[tokio::test]
async fn an_import_that_succeeds_is_one_order_of_the_core() {
    let f = Fixture::new();
    let token = token(&f).await;
    import(&f, &token, "good-1").await.expect(200);
    import(&f, &token, "good-1").await.expect(200);
    import(&f, &token, "none-1").await.expect(200);
    assert_eq!(f.events().await, 1);
    let store =
        f.app.storage.markets().imports_of_receipt(&TenantId::default_tenant(), "good-1", 9).await.unwrap();
    let order = f.order(store[0].result.as_ref().unwrap().order_id).await;
    assert_eq!(order.source, SourceId::new(&format!("store-{}", store[0].store_id)).unwrap());
    assert_eq!(order.reference, Some(Reference::new("good-1").unwrap()));
    assert_eq!(order.content.total, Money::parse("99.90").unwrap());
}

/// However many ask at once: one call, one row, one order, one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_for_one_receipt_at_once_are_one_call() {
    let f = Arc::new(Fixture::new());
    let token = token(&f).await;
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (f, token) = (Arc::clone(&f), token.clone());
            tokio::spawn(async move { import(&f, &token, "good-1").await.expect(200).json() })
        })
        .collect();
    let mut answers: Vec<Value> = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap());
    }
    answers.dedup();
    assert_eq!((answers.len(), f.market.calls(), f.events().await), (1, 1, 1), "{answers:?}");
    assert_eq!(answers[0]["success"], true);
}

#[tokio::test]
async fn what_is_wrong_is_told_field_by_field_and_nothing_is_written() {
    let f = Fixture::new();
    let unknown = "6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52";
    let post = async |path: &str, body: String| f.marketplace.post_to(path, body).await;
    let seen = [
        post("/stores/register", "{}".to_owned()).await,
        post("/stores/register", "[]".to_owned()).await,
        post("/stores/register", STORE.replace("etsy", "ebay").replace("USD", "EURO")).await,
        post("/stores/register", STORE.replace("\"My Store\"", "7").replace("org-123", "")).await,
        post("/stores/register", STORE.replace("token-abc", &"x".repeat(4_097))).await,
        post("/stores/register", STORE.replace("etsy", "amazon")).await,
        post("/orders/import", "{}".to_owned()).await,
        post("/orders/import", r#"{"syncToken": "x", "receipt": ""}"#.to_owned()).await,
        import(&f, unknown, "good-1").await,
        f.marketplace.get("/stores/sync-status").await,
        f.marketplace.get("/stores/sync-status?syncToken=").await,
        f.marketplace.get("/stores/sync-status?syncToken=%ff").await,
        f.marketplace.get(&format!("/stores/sync-status?syncToken={unknown}&syncToken={unknown}")).await,
        status(&f, unknown).await,
    ];
    assert!(seen.iter().all(|exchange| exchange.status.is_client_error()));
    assert_text!(transcript(&seen));
    assert_eq!((f.events().await, f.market.calls()), (0, 0));
}
