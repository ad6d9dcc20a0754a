//! Days of many stores that share one small quota, by a clock that is moved: no day has more calls than it may, and nobody is left
//! behind.
#![expect(clippy::expect_used, reason = "tests")]

use order_core::app::App;
use order_core::budget::{Allowance, Limit};
use order_core::ids::{Reference, TenantId};
use order_core::lane::LanePolicy;
use order_core::marketplace::calls::{Answer, ChangesAsked, Fetched, Listed, ListedContent, ListedOrder};
use order_core::marketplace::{Connectors, Market, MarketPolicy, MarketplaceName, NewStore, StoreEventType};
use order_core::ports::MarketStorage;
use order_core::sealing::Keyring;
use order_core::{Clock, StoreId};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::marketplaces::{FakeMarketplace, imported};
use testkit::{ManualClock, MemoryStorage, SeededIds};

const STORES: usize = 20;
/// Orders that each store has from the beginning: more than the quota lets through in these days.
const BACKLOG: usize = 240;
const QUOTA: usize = 1_000;
const DAYS: u64 = 3;
/// Between two looks which stores are to be synced.
const STEP: Duration = Duration::from_secs(15 * 60);

/// A node, of which there may be several one after the other: what it knows of budgets is kept.
fn node(
    storage: &MemoryStorage,
    clock: &Arc<ManualClock>,
    seed: u64,
    connector: &Arc<FakeMarketplace>,
) -> Arc<Market> {
    let app = App::start(storage.port(), clock.clone(), SeededIds::new(seed), LanePolicy::default());
    let key = Keyring::fresh_key(SeededIds::new(99).as_ref());
    app.hold_keys(Arc::new(Keyring::parse(&key).expect("a key")));
    let mut connectors = Connectors::new();
    connectors.insert(MarketplaceName::Etsy, Arc::clone(connector) as _);
    let none = Duration::ZERO;
    // No run and no event is old enough to go.
    Market::new(
        app,
        connectors,
        MarketPolicy { patience: none, sync_patience: none, ..MarketPolicy::default() },
    )
}

#[tokio::test]
async fn in_no_day_more_is_called_than_may_be_and_no_store_starves() {
    let (storage, clock) = (MemoryStorage::new(), ManualClock::new());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = |calls: &Arc<Mutex<Vec<i64>>>| {
        let (calls, clock) = (Arc::clone(calls), Arc::clone(&clock));
        move || calls.lock().expect("no panic in there").push(clock.now().micros())
    };
    let (fetching, listing) = (noted(&calls), noted(&calls));
    let fetch = move |receipt: &str, _: usize| {
        fetching();
        Answer::bare(Fetched::Imported(Box::new(imported(receipt))))
    };
    let list = move |_: &ChangesAsked| {
        listing();
        let named = |number: usize| ListedOrder {
            receipt: Reference::new(&format!("r-{number}")).expect("a receipt"),
            content: ListedContent::Named,
        };
        Answer::bare(Listed::Page { orders: (0..BACKLOG).map(named).collect(), next: None })
    };
    let allowance = Allowance { key: "etsy/app".to_owned(), units: 1, limit: Limit::per_day(QUOTA as u64) };
    let connector =
        FakeMarketplace::answering(Box::new(fetch)).listing(Box::new(list)).within(vec![allowance]);
    let connector = Arc::new(connector);
    let mut market = node(&storage, &clock, 1, &connector);
    let mut stores: Vec<StoreId> = Vec::new();
    for number in 0..STORES {
        let new = NewStore {
            tenant: TenantId::default_tenant(),
            organization: "org-1".to_owned(),
            marketplace: MarketplaceName::Etsy,
            external_id: format!("ext-{number}"),
            name: "My store".to_owned(),
            currency: "EUR".to_owned(),
            access_token: "token".to_owned(),
        };
        stores.push(market.register(new).await.expect("it is registered").0.store_id);
    }
    let (mut place, mut passed) = (None, Duration::ZERO);
    while passed < Duration::from_secs(DAYS * 24 * 3_600) {
        let round = market.round(&mut place).await.expect("a round");
        assert_eq!(round.faults, 0);
        clock.advance(STEP);
        passed += STEP;
        // A new process now and then, which knows what is kept alone.
        if passed.as_secs().is_multiple_of(8 * 3_600) {
            market = node(&storage, &clock, passed.as_secs(), &connector);
        }
    }
    let calls = calls.lock().expect("no panic in there").clone();
    let day = 24 * 3_600 * 1_000_000;
    let mut first = 0;
    for (index, at) in calls.iter().enumerate() {
        while calls[first] <= at - day {
            first += 1;
        }
        assert!(index - first < QUOTA, "more than a day's quota in the 24 hours before call {index}");
    }
    assert!(calls.len() > 2 * QUOTA, "most of the quota is used: {} calls", calls.len());
    let mut imported = Vec::new();
    for store_id in stores {
        let store = storage.store(store_id).await.expect("a store").expect("it is there");
        imported.push(store.counts.success);
        let events = storage.store_events(store_id, 0, 10_000).await.expect("events");
        assert!(events.iter().all(|event| event.kind != StoreEventType::Failed), "to wait is no failure");
    }
    let (least, most) = (imported.iter().min().expect("stores"), imported.iter().max().expect("stores"));
    assert!(*least * 2 >= *most && *least > 0, "between {least} and {most} orders of a store: {imported:?}");
}
