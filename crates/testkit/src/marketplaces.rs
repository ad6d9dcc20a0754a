//! A marketplace that answers as a test says, and remembers what it was asked.

use async_trait::async_trait;
use order_core::budget::{Allowance, Limit};
use order_core::ids::{Reference, TenantId};
use order_core::marketplace::calls::{
    Allowances, Answer, ChangesAsked, Fetched, Imported, Listed, Operation, StoreAccess,
};
use order_core::marketplace::{Connectors, Market, MarketPolicy, MarketplaceName, NewStore, Store};
use order_core::ports::Marketplace;
use order_core::sealing::Keyring;
use order_core::{App, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// What is answered to the question for a receipt; how often it was asked for before is told.
pub type Fetch = Box<dyn Fn(&str, usize) -> Answer<Fetched> + Send + Sync>;

/// What is answered to the question what changed.
pub type List = Box<dyn Fn(&ChangesAsked) -> Answer<Listed> + Send + Sync>;

/// See the module.
pub struct FakeMarketplace {
    fetch: Fetch,
    list: Option<List>,
    allowances: Vec<Allowance>,
    /// An answer uses up a permit of it.
    gate: Option<Arc<Semaphore>>,
    asked: Mutex<Vec<String>>,
    listed: Mutex<Vec<ChangesAsked>>,
}

/// What a receipt of a marketplace where all is well gives.
pub fn imported(receipt: &str) -> Imported {
    let mut payload = serde_json::Map::new();
    payload.insert("receipt".to_owned(), receipt.into());
    Imported {
        external_order_id: format!("x-{receipt}"),
        customer: Some("c-42".to_owned()),
        amount: crate::build::money("12.50"),
        currency: "EUR".to_owned(),
        imported_at: Timestamp::from_micros(crate::clock::START_MICROS),
        payload,
    }
}

impl FakeMarketplace {
    /// One that gives every receipt's order.
    pub fn well() -> Self {
        Self::answering(Box::new(|receipt, _| Answer::bare(Fetched::Imported(Box::new(imported(receipt))))))
    }

    /// One that answers so.
    pub fn answering(fetch: Fetch) -> Self {
        let (asked, listed) = (Mutex::default(), Mutex::default());
        Self { fetch, list: None, allowances: Vec::new(), gate: None, asked, listed }
    }

    /// It tells what changed.
    #[must_use]
    pub fn listing(mut self, list: List) -> Self {
        self.list = Some(list);
        self
    }

    /// Each call uses this.
    #[must_use]
    pub fn within(mut self, allowances: Vec<Allowance>) -> Self {
        self.allowances = allowances;
        self
    }

    /// It answers as many questions as `gate` has permits.
    #[must_use]
    pub fn gated(mut self, gate: Arc<Semaphore>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The receipts that it was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pages that it was asked for, in order.
    pub fn listed(&self) -> Vec<ChangesAsked> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn pass(&self) {
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("the gate is not closed").forget();
        }
    }
}

#[async_trait]
impl Marketplace for FakeMarketplace {
    fn lists(&self) -> bool {
        self.list.is_some()
    }

    fn allowances(&self, _: &StoreAccess, _: Operation) -> Allowances {
        self.allowances.clone()
    }

    async fn fetch(&self, access: &StoreAccess, receipt: &Reference) -> Answer<Fetched> {
        assert_eq!(access.access_token.text(), Some("token"), "the store's own token opens it");
        let before = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(receipt.as_str().to_owned());
            asked.iter().filter(|one| *one == receipt.as_str()).count() - 1
        };
        self.pass().await;
        (self.fetch)(receipt.as_str(), before)
    }

    async fn changed_since(&self, _: &StoreAccess, asked: &ChangesAsked) -> Answer<Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        self.pass().await;
        self.list.as_ref().expect("asked only where it tells")(asked)
    }
}

/// A store in which one import succeeded (`good`) and one did not (`bad`), that was synced, and has used a budget. The app is given
/// a key for secrets.
pub async fn trade(app: &Arc<App>) -> Store {
    let key = Keyring::fresh_key(app.ids.as_ref());
    app.hold_keys(Arc::new(Keyring::parse(&key).expect("a key")));
    let answer: Fetch = Box::new(|receipt, _| {
        Answer::bare(match receipt {
            "good" => Fetched::Imported(Box::new(imported(receipt))),
            _ => Fetched::Failed { why: "no order that can be read".to_owned() },
        })
    });
    let limit = Limit::per_second(100, 100);
    let allowance = Allowance { key: "etsy/app/*/*".to_owned(), units: 1, limit };
    let mut connectors = Connectors::new();
    connectors.insert(
        MarketplaceName::Etsy,
        Arc::new(FakeMarketplace::answering(answer).within(vec![allowance])) as _,
    );
    let market = Market::new(Arc::clone(app), connectors, MarketPolicy::default());
    let new = NewStore {
        tenant: TenantId::default_tenant(),
        organization: "org-1".to_owned(),
        marketplace: MarketplaceName::Etsy,
        external_id: "ext-1".to_owned(),
        name: "My store".to_owned(),
        currency: "EUR".to_owned(),
        access_token: "token".to_owned(),
    };
    let (store, _) = market.register(new).await.expect("it is registered");
    for receipt in ["good", "bad"] {
        let receipt = Reference::new(receipt).expect("a receipt");
        market.import(&store, receipt).await.expect("it ends");
    }
    market.sync(store.store_id).await.expect("it syncs");
    market.store(&store.tenant, store.store_id).await.expect("it is there")
}
