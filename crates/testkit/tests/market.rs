//! Stores from end to end: receipts imported by one call, one row and one order; syncs that go on where others stopped.
#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

use order_core::app::App;
use order_core::budget::{Allowance, Limit};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::error::{Error, Rejection};
use order_core::ids::{Reference, TenantId};
use order_core::lane::LanePolicy;
use order_core::marketplace::FAILURES_MAX;
use order_core::marketplace::calls::{
    Answer, BudgetHint, ChangesAsked, Fetched, Listed, ListedContent, ListedOrder,
};
use order_core::marketplace::{
    Connectors, Import, ImportState, Market, MarketPolicy, MarketplaceName, NewStore, Store, StoreEventType,
    SyncEnd, SyncFailure, SyncStatus, Synced,
};
use order_core::order::Content;
use order_core::ports::{MarketStorage, Storage};
use order_core::query::OrderQuery;
use order_core::sealing::Keyring;
use order_core::{Clock, Order, Timestamp};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::build::money;
use testkit::marketplaces::{FakeMarketplace, imported};
use testkit::{ManualClock, MemoryStorage, SeededIds};
use tokio::sync::Semaphore;

const LEASE: Duration = Duration::from_secs(30);

/// Some nodes on one storage.
struct World {
    storage: MemoryStorage,
    clock: Arc<ManualClock>,
    key: String,
    connector: Arc<FakeMarketplace>,
    nodes: u64,
}

impl World {
    fn new(connector: FakeMarketplace) -> Self {
        let key = Keyring::fresh_key(SeededIds::new(99).as_ref()).to_string();
        let (storage, clock) = (MemoryStorage::new(), ManualClock::new());
        Self { storage, clock, key, connector: Arc::new(connector), nodes: 0 }
    }

    fn node(&mut self) -> Arc<Market> {
        self.nodes += 1;
        let (clock, ids) = (Arc::clone(&self.clock), SeededIds::new(self.nodes));
        let app = App::start(self.storage.port(), clock, ids, LanePolicy::default());
        app.hold_keys(Arc::new(Keyring::parse(&self.key).expect("a key")));
        let mut connectors = Connectors::new();
        connectors.insert(MarketplaceName::Etsy, Arc::clone(&self.connector) as _);
        let none = Duration::ZERO;
        let policy =
            MarketPolicy { patience: none, sync_patience: none, batch: 4, ..MarketPolicy::default() };
        Market::new(app, connectors, policy)
    }

    async fn orders(&self, store: &Store) -> Vec<Order> {
        let query = OrderQuery::all(store.tenant.clone(), 500, self.now());
        let mut orders = self.storage.orders(&query).await.expect("orders").orders;
        orders.sort_by_key(|order| order.number);
        orders
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn import_of(&self, store: &Store, of: &str) -> Import {
        self.storage.import(store.store_id, of).await.expect("an import").expect("it is there")
    }

    async fn told(&self, store: &Store) -> Vec<StoreEventType> {
        let events = self.storage.store_events(store.store_id, 0, 100).await.expect("events");
        events.iter().map(|event| event.kind).collect()
    }
}

fn new_store(external_id: &str) -> NewStore {
    NewStore {
        tenant: TenantId::default_tenant(),
        organization: "org-1".to_owned(),
        marketplace: MarketplaceName::Etsy,
        external_id: external_id.to_owned(),
        name: "My store".to_owned(),
        currency: "EUR".to_owned(),
        access_token: "token".to_owned(),
    }
}

async fn registered(market: &Market) -> Store {
    market.register(new_store("ext-1")).await.expect("it is registered").0
}

fn receipt(text: &str) -> Reference {
    Reference::new(text).expect("a receipt")
}

async fn sync(market: &Market, store: &Store) -> (SyncEnd, Option<(u64, u64, u64, u64)>) {
    match market.sync(store.store_id).await.expect("it syncs") {
        Synced::Ended { end, run } => {
            (end, run.map(|run| (run.processed, run.success, run.failed, run.rate_limited)))
        }
        other => panic!("a sync came to {other:?}"),
    }
}

/// Waits until the marketplace was asked so many times.
async fn asked(connector: &FakeMarketplace, times: usize) {
    while connector.asked().len() < times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_is_registered_again_keeps_its_token_and_another_has_its_own() {
    let mut world = World::new(FakeMarketplace::well());
    let market = world.node();
    let (store, token) = market.register(new_store("ext-1")).await.expect("it is registered");
    let (again, same) = world.node().register(new_store("ext-1")).await.expect("it is registered");
    assert_eq!((again.store_id, same), (store.store_id, token));
    let (_, other) = market.register(new_store("ext-2")).await.expect("it is registered");
    assert_ne!(other, token);
    let found = market.store_of_token(&token).await.expect("it is found");
    assert_eq!(found.store_id, store.store_id);
    let elsewhere = NewStore { marketplace: MarketplaceName::Amazon, ..new_store("ext-1") };
    let refused = market.register(elsewhere).await;
    assert!(matches!(refused, Err(Error::Rejection(Rejection::MarketplaceUnknown))));
}

#[tokio::test]
async fn two_that_come_at_once_make_one_call_one_row_and_one_order_on_two_nodes_too() {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = World::new(FakeMarketplace::well().gated(Arc::clone(&gate)));
    let (one, other) = (world.node(), world.node());
    let store = registered(&one).await;
    let importing: Vec<_> = [&one, &one, &other, &other]
        .map(|market| {
            let (market, store) = (Arc::clone(market), store.clone());
            tokio::spawn(async move { market.import(&store, receipt("r-1")).await.expect("it is imported") })
        })
        .into();
    asked(&world.connector, 1).await;
    gate.add_permits(1);
    let mut results = Vec::new();
    for one in importing {
        results.push(one.await.expect("it ends"));
    }
    assert!(results.iter().all(|import| *import == results[0] && import.state == ImportState::Success));
    assert_eq!(world.connector.asked(), ["r-1"]);
    let orders = world.orders(&store).await;
    assert_eq!(orders.len(), 1);
    let result = results[0].result.clone().expect("it succeeded");
    assert_eq!((orders[0].id, &*result.external_order_id), (result.order_id, "x-r-1"));
    assert_eq!(orders[0].source.as_str(), format!("store-{}", store.store_id));
    assert_eq!(orders[0].reference.as_ref().map(Reference::as_str), Some("r-1"));
    assert_eq!(orders[0].content.attributes["external_order_id"], "x-r-1");
    let again = one.import(&store, receipt("r-1")).await.expect("its result is known");
    assert_eq!((again, world.connector.asked().len()), (results[0].clone(), 1));
}

#[tokio::test]
async fn an_import_goes_on_when_its_asker_goes_away() {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = World::new(FakeMarketplace::well().gated(Arc::clone(&gate)));
    let market = world.node();
    let store = registered(&market).await;
    let (asking, of) = (Arc::clone(&market), store.clone());
    let gone = tokio::spawn(async move { asking.import(&of, receipt("r")).await });
    asked(&world.connector, 1).await;
    gone.abort();
    gate.add_permits(1);
    let import = market.import(&store, receipt("r")).await.expect("it is imported");
    assert_eq!((import.state, world.connector.asked().len()), (ImportState::Success, 1));
}

#[tokio::test]
async fn an_import_that_hangs_is_taken_up_again_and_makes_no_second_order() {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = World::new(FakeMarketplace::well().gated(Arc::clone(&gate)));
    let market = world.node();
    let store = registered(&market).await;
    // It hangs for longer than its lease, wakes up, and finds that somebody else was faster.
    let (late, of) = (world.node(), store.clone());
    let hanging = tokio::spawn(async move { late.import(&of, receipt("r")).await });
    asked(&world.connector, 1).await;
    world.clock.advance(LEASE);
    let (of, taking) = (store.clone(), Arc::clone(&market));
    let second = tokio::spawn(async move { taking.import(&of, receipt("r")).await });
    asked(&world.connector, 2).await;
    gate.add_permits(2);
    let import = second.await.expect("it ends").expect("it is imported");
    assert_eq!(import.state, ImportState::Success);
    assert_eq!(hanging.await.expect("it ends").expect("it is told"), import);
    assert_eq!(world.orders(&store).await.len(), 1, "whoever comes second finds the order of the first");
}

/// Answers by what the receipt begins with.
fn by_name(of: &str, before: usize) -> Answer<Fetched> {
    Answer::bare(match (of.split('-').next(), before) {
        (Some("bad"), _) => Fetched::Failed { why: "no order that can be read".to_owned() },
        (Some("unknown"), _) => Fetched::Invalid,
        (Some("dead"), _) => Fetched::Unavailable { why: "the answer was 500".to_owned() },
        (Some("late"), 0) => Fetched::RateLimited { retry_after: None },
        (Some("huge"), _) => {
            let mut whole = imported(of);
            whole.payload.insert("x".to_owned(), "x".repeat(300 << 10).into());
            Fetched::Imported(Box::new(whole))
        }
        (Some("nul"), _) => {
            let mut whole = imported(of);
            whole.payload.insert("x".to_owned(), serde_json::json!([{ "deep": "\0" }]));
            Fetched::Imported(Box::new(whole))
        }
        (Some("coin"), _) => Fetched::Imported(Box::new(order_core::marketplace::calls::Imported {
            currency: "euros".to_owned(),
            ..imported(of)
        })),
        _ => Fetched::Imported(Box::new(imported(of))),
    })
}

#[tokio::test]
async fn what_is_wrong_with_one_receipt_is_told_of_it_alone() {
    let mut world = World::new(FakeMarketplace::answering(Box::new(by_name)));
    let market = world.node();
    let store = registered(&market).await;
    for (of, state, error) in [
        ("bad-1", ImportState::Failed, Some("no order that can be read")),
        ("unknown-1", ImportState::Invalid, Some("invalid_receipt")),
        ("late-1", ImportState::RateLimited, Some("rate_limited")),
        ("huge-1", ImportState::Failed, Some("is larger than is kept")),
        ("nul-1", ImportState::Failed, Some("holds the character U+0000")),
        ("coin-1", ImportState::Failed, Some("its currency is not three capital letters")),
        ("good-1", ImportState::Success, None),
    ] {
        let import = market.import(&store, receipt(of)).await.expect("it ends");
        assert_eq!((import.state, import.error.as_deref()), (state, error), "{of}");
    }
    assert_eq!(world.orders(&store).await.len(), 1);
    let status = market.store(&store.tenant, store.store_id).await.expect("the store").status();
    assert_eq!(status, SyncStatus::Partial);
    // An hour later a sync tries what is due again: the poisoned ones fail as before, and hold nobody up.
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(sync(&market, &store).await, (SyncEnd::Done, Some((5, 1, 4, 0))));
    assert_eq!(world.told(&store).await, [StoreEventType::Started, StoreEventType::Completed]);
    assert_eq!(world.import_of(&store, "late-1").await.state, ImportState::Success);
    assert_eq!(world.import_of(&store, "unknown-1").await.attempt, 1, "it is final");
    market.retry(&store.tenant, store.store_id, receipt("unknown-1")).await.expect("an operator wants it");
    assert_eq!(sync(&market, &store).await, (SyncEnd::Done, Some((1, 0, 1, 0))));
}

#[tokio::test]
async fn two_workers_never_sync_one_store_at_once_and_no_receipt_is_asked_for_twice() {
    let gate = Arc::new(Semaphore::new(0));
    let mut world = World::new(FakeMarketplace::answering(Box::new(by_name)).gated(Arc::clone(&gate)));
    let (one, other) = (world.node(), world.node());
    let store = registered(&one).await;
    gate.add_permits(10);
    for number in 0..10 {
        one.import(&store, receipt(&format!("late-{number}"))).await.expect("it ends");
    }
    world.clock.advance(Duration::from_secs(300));
    let (syncing, store_id) = (Arc::clone(&one), store.store_id);
    let first = tokio::spawn(async move { syncing.sync(store_id).await });
    asked(&world.connector, 11).await;
    let busy = other.sync(store.store_id).await.expect("it is told");
    assert_eq!(busy, Synced::Busy { until: world.now().plus(LEASE) });
    gate.add_permits(10);
    let ended = first.await.expect("it ends").expect("it syncs");
    assert!(matches!(ended, Synced::Ended { end: SyncEnd::Done, run: Some(run) } if run.success == 10));
    assert_eq!(sync(&other, &store).await, (SyncEnd::Done, None), "nothing is left");
    let mut asked = world.connector.asked().split_off(10);
    asked.sort();
    let expected: Vec<String> = (0..10).map(|number| format!("late-{number}")).collect();
    assert_eq!(asked, expected);
    assert_eq!(world.orders(&store).await.len(), 10);
}

#[tokio::test]
async fn a_sync_whose_worker_died_goes_on_on_another_node_and_loses_nothing() {
    let gate = Arc::new(Semaphore::new(10));
    let mut world = World::new(FakeMarketplace::answering(Box::new(by_name)).gated(Arc::clone(&gate)));
    let (one, other) = (world.node(), world.node());
    let store = registered(&one).await;
    for number in 0..10 {
        one.import(&store, receipt(&format!("late-{number}"))).await.expect("it ends");
    }
    world.clock.advance(Duration::from_secs(300));
    let (syncing, store_id) = (Arc::clone(&one), store.store_id);
    let doomed = tokio::spawn(async move { syncing.sync(store_id).await });
    asked(&world.connector, 11).await;
    gate.add_permits(4);
    asked(&world.connector, 15).await;
    doomed.abort();
    assert!(doomed.await.expect_err("it was broken off").is_cancelled());
    gate.add_permits(20);
    assert!(matches!(other.sync(store.store_id).await, Ok(Synced::Busy { .. })), "the lease still holds");
    world.clock.advance(LEASE);
    let (end, counts) = sync(&other, &store).await;
    assert_eq!((end, counts), (SyncEnd::Done, Some((10, 10, 0, 0))), "one run counts all of it");
    assert_eq!(world.told(&store).await, [StoreEventType::Started, StoreEventType::Completed]);
    assert_eq!(world.connector.asked().len(), 10 + 11, "only the one that was under way is asked for again");
    assert_eq!(world.orders(&store).await.len(), 10);
}

#[tokio::test]
async fn after_a_429_with_a_time_nobody_calls_before_it_after_a_restart_neither() {
    let answer = |of: &str, before: usize| match (of, before) {
        ("r-0", 0) => {
            let retry_after = Some(Duration::from_secs(1_800));
            Answer::bare(Fetched::RateLimited { retry_after })
        }
        _ => by_name(of, before),
    };
    let limit = Limit::per_second(100, 100);
    let allowance = Allowance { key: "etsy/app/*/*".to_owned(), units: 1, limit };
    let connector = FakeMarketplace::answering(Box::new(answer)).within(vec![allowance]);
    let mut world = World::new(connector);
    let market = world.node();
    let store = registered(&market).await;
    let limited = market.import(&store, receipt("r-0")).await.expect("it ends");
    let opens = world.now().plus(Duration::from_secs(1_800));
    assert_eq!((limited.state, limited.due_at), (ImportState::RateLimited, Some(opens)));
    drop(market);
    let market = world.node();
    for minute in 0..25 {
        let of = format!("r-{}", minute + 1);
        let import = market.import(&store, receipt(&of)).await.expect("it ends");
        assert_eq!((import.state, import.due_at), (ImportState::RateLimited, Some(opens)), "minute {minute}");
        let (_, counts) = sync(&market, &store).await;
        assert_eq!(counts.map_or(0, |counts| counts.0), 0);
        world.clock.advance(Duration::from_secs(60));
    }
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(sync(&market, &store).await.1, None, "a second before it, there is nothing to do");
    assert_eq!(world.connector.asked(), ["r-0"]);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(sync(&market, &store).await, (SyncEnd::Done, Some((26, 26, 0, 0))));
}

#[tokio::test]
async fn a_sync_stays_within_its_budget_and_goes_on_when_there_is_more() {
    let limit = Limit::per_second(3, 1);
    let allowance = Allowance { key: "etsy/app/*/*".to_owned(), units: 1, limit };
    let connector = FakeMarketplace::answering(Box::new(by_name)).within(vec![allowance]);
    let mut world = World::new(connector);
    let market = world.node();
    let store = registered(&market).await;
    for number in 0..9 {
        market.import(&store, receipt(&format!("late-{number}"))).await.expect("it ends");
        world.clock.advance(Duration::from_secs(1));
    }
    world.clock.advance(Duration::from_secs(300));
    let (before, mut ends, mut syncs) = (world.connector.asked().len(), Vec::new(), 0);
    while world.orders(&store).await.len() < 9 {
        ends.push(sync(&market, &store).await.0);
        syncs += 1;
        assert!(syncs < 20, "it comes to its end: {ends:?}");
        world.clock.advance(Duration::from_secs(3));
    }
    assert_eq!(world.connector.asked().len() - before, 9);
    assert_eq!(ends.last(), Some(&SyncEnd::Done));
    assert!(ends[..ends.len() - 1].iter().all(|end| *end == SyncEnd::Budget), "{ends:?}");
}

/// A marketplace with two pages of changes, and a place that says which.
fn two_pages(asked: &ChangesAsked) -> Answer<Listed> {
    let listed = |of: &str, content| ListedOrder { receipt: receipt(of), content };
    let whole = |of: &str| listed(of, ListedContent::Whole(Box::new(imported(of))));
    let (orders, next) = match asked.page.as_deref() {
        None => {
            let poisoned = ListedContent::Poisoned { why: "an amount that is none".to_owned() };
            (vec![whole("a"), listed("b", ListedContent::Named), listed("c", poisoned)], Some("2".to_owned()))
        }
        Some(_) => (vec![whole("d"), whole("a")], None),
    };
    Answer { of: Listed::Page { orders, next }, hints: vec![BudgetHint::Cost(1)] }
}

#[tokio::test]
async fn what_changed_is_listed_from_where_the_listing_before_ended() {
    let mut world = World::new(FakeMarketplace::answering(Box::new(by_name)).listing(Box::new(two_pages)));
    let market = world.node();
    let store = registered(&market).await;
    let began = world.now();
    assert_eq!(sync(&market, &store).await, (SyncEnd::Done, Some((4, 3, 1, 0))));
    assert_eq!(world.connector.asked(), ["b"], "what a page holds whole is not asked for again");
    assert_eq!(world.import_of(&store, "c").await.error.as_deref(), Some("an amount that is none"));
    assert_eq!(world.orders(&store).await.len(), 3);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(sync(&market, &store).await, (SyncEnd::Done, None), "nothing of it is news");
    let since: Vec<_> = world.connector.listed().iter().map(|asked| asked.since.micros()).collect();
    let month = Duration::from_secs(30 * 24 * 3600).as_micros();
    let first = began.micros() - i64::try_from(month).expect("it fits");
    let second = began.micros() - 600_000_000;
    assert_eq!(since, [first, first, second, second]);
}

#[tokio::test]
async fn a_listing_that_was_broken_off_goes_on_at_its_page() {
    let gate = Arc::new(Semaphore::new(0));
    let connector = FakeMarketplace::answering(Box::new(by_name)).listing(Box::new(two_pages));
    let mut world = World::new(connector.gated(Arc::clone(&gate)));
    let (one, other) = (world.node(), world.node());
    let store = registered(&one).await;
    let (syncing, store_id) = (Arc::clone(&one), store.store_id);
    let doomed = tokio::spawn(async move { syncing.sync(store_id).await });
    let pages = async |count: usize| {
        while world.connector.listed().len() < count {
            tokio::task::yield_now().await;
        }
    };
    pages(1).await;
    gate.add_permits(1);
    pages(2).await;
    doomed.abort();
    assert!(doomed.await.expect_err("it was broken off").is_cancelled());
    gate.add_permits(10);
    world.clock.advance(LEASE);
    assert_eq!(sync(&other, &store).await, (SyncEnd::Done, Some((4, 3, 1, 0))));
    let asked: Vec<_> = world.connector.listed().into_iter().map(|asked| asked.page).collect();
    let second = || Some("2".to_owned());
    assert_eq!(asked, [None, second(), second()], "the first page was not asked for again");
}

#[tokio::test]
async fn a_marketplace_that_is_away_or_lets_nobody_in_is_left_alone_for_a_while() {
    for (answer, end, calls, wait) in [
        (Fetched::Unavailable { why: "away".to_owned() }, SyncEnd::Unavailable, 3, 60),
        (Fetched::AccessRefused { why: "expired".to_owned() }, SyncEnd::AccessRefused, 1, 900),
    ] {
        let fetch = move |of: &str, before: usize| match before {
            0 => by_name(of, before),
            _ => Answer::bare(answer.clone()),
        };
        let mut world = World::new(FakeMarketplace::answering(Box::new(fetch)));
        let market = world.node();
        let store = registered(&market).await;
        for number in 0..6 {
            market.import(&store, receipt(&format!("late-{number}"))).await.expect("it ends");
        }
        world.clock.advance(Duration::from_secs(300));
        let round = market.round(&mut None).await.expect("a round");
        assert_eq!((round.found, round.synced, round.faults), (1, 0, 1), "it is not called synced");
        let [(_, SyncFailure::There { end: ended, .. })] = &round.failures[..] else { panic!("{round:?}") };
        assert_eq!((*ended, world.connector.asked().len()), (end, 6 + calls));
        assert_eq!(world.told(&store).await.last(), Some(&StoreEventType::Failed));
        let next = market.store(&store.tenant, store.store_id).await.expect("the store").next_sync_at;
        assert_eq!(next, Some(world.now().plus(Duration::from_secs(wait))));
        let given_back = world.import_of(&store, "late-5").await;
        assert_eq!((given_back.attempt, given_back.token), (1, None), "it was not tried");
    }
}

/// Receipts at which the marketplace fails for ever, more of them than a sync bears: the others are tried by the next sync, in
/// front of them, however long that goes on.
#[tokio::test]
async fn receipts_that_a_marketplace_always_fails_at_starve_no_others() {
    let mut world = World::new(FakeMarketplace::answering(Box::new(by_name)));
    let market = world.node();
    let store = registered(&market).await;
    for number in 0..9 {
        market.import(&store, receipt(&format!("dead-{number}"))).await.expect("it ends");
    }
    for number in 0..3 {
        market.import(&store, receipt(&format!("late-{number}"))).await.expect("it ends");
    }
    let tries = |world: &World| world.connector.asked().iter().filter(|of| of.starts_with("dead")).count();
    world.clock.advance(Duration::from_secs(300));
    // They were asked for first, and fill the first batches of four.
    for (sync_number, ended) in [
        (SyncEnd::Unavailable, Some((3, 0, 3, 0))),
        (SyncEnd::Unavailable, Some((3, 0, 3, 0))),
        (SyncEnd::Done, Some((6, 3, 3, 0))),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(sync(&market, &store).await, ended, "sync {sync_number}");
        world.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(tries(&world), 9 + 9);
    // From then on for two days: what comes new is an order at the next sync, though that finds the marketplace away again.
    for hour in 0..48 {
        let of = format!("late-new-{hour}");
        market.import(&store, receipt(&of)).await.expect("it ends");
        world.clock.advance(Duration::from_secs(3_600));
        for _ in 0..4 {
            sync(&market, &store).await;
            world.clock.advance(Duration::from_secs(60));
        }
        assert_eq!(world.import_of(&store, &of).await.state, ImportState::Success, "{of}");
    }
    assert!(tries(&world) > 200, "all of them are tried on and on");
    let dead = world.import_of(&store, "dead-8").await;
    assert_eq!((dead.state, dead.error.as_deref()), (ImportState::Failed, Some("marketplace_unavailable")));
}

#[tokio::test]
async fn a_round_syncs_every_store_whose_time_has_come() {
    let mut world = World::new(FakeMarketplace::well());
    let market = world.node();
    for number in 0..25 {
        market.register(new_store(&format!("ext-{number}"))).await.expect("it is registered");
    }
    let mut place = None;
    let round = market.round(&mut place).await.expect("a round");
    assert_eq!((round.found, round.synced, round.faults, place), (25, 25, 0, None));
    let round = market.round(&mut place).await.expect("a round");
    assert_eq!(round.found, 0, "each was synced less than a minute ago");
    world.clock.advance(Duration::from_secs(60));
    market.app.stop();
    let round = market.round(&mut place).await.expect("a round");
    assert_eq!(round.found, 0, "it is about to end");
}

#[tokio::test]
async fn a_round_says_why_a_store_could_not_be_synced() {
    let mut world = World::new(FakeMarketplace::well());
    let market = world.node();
    for number in 0..25 {
        market.register(new_store(&format!("ext-{number}"))).await.expect("it is registered");
    }
    let away = Market::new(Arc::clone(&market.app), Connectors::new(), market.policy);
    let round = away.round(&mut None).await.expect("a round");
    assert_eq!((round.found, round.synced, round.faults), (25, 0, 25));
    assert_eq!(round.failures.len(), FAILURES_MAX, "no more than somebody reads");
    for (_, why) in &round.failures {
        assert!(matches!(why, SyncFailure::Here(Error::Rejection(Rejection::MarketplaceUnknown))), "{why:?}");
    }
}

#[tokio::test]
async fn without_the_key_for_secrets_nothing_is_fetched_and_it_is_said_why() {
    let mut world = World::new(FakeMarketplace::well());
    let market = world.node();
    let store = registered(&market).await;
    world.key = Keyring::fresh_key(SeededIds::new(7).as_ref()).to_string();
    let other = world.node();
    let refused = other.import(&store, receipt("r")).await;
    assert!(matches!(refused, Err(Error::Fault(_))), "{refused:?}");
    assert_eq!(world.connector.asked(), Vec::<String>::new());
    let import = market.import(&store, receipt("r")).await.expect("it was given back");
    assert_eq!((import.state, import.attempt), (ImportState::Success, 1));
}

/// What changed at the marketplace is a new version here; what was changed here stays until it changes there again.
#[tokio::test]
async fn an_order_that_changes_at_its_marketplace_is_revised() {
    let amount = Arc::new(Mutex::new("12.50"));
    let said = Arc::clone(&amount);
    let list = move |_: &ChangesAsked| {
        let mut order = imported("a");
        order.amount = money(*said.lock().expect("no panic in there"));
        let content = ListedContent::Whole(Box::new(order));
        Answer::bare(Listed::Page {
            orders: vec![ListedOrder { receipt: receipt("a"), content }],
            next: None,
        })
    };
    let mut world = World::new(FakeMarketplace::well().listing(Box::new(list)));
    let market = world.node();
    let store = registered(&market).await;
    let next = async |expected| {
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(sync(&market, &store).await, (SyncEnd::Done, expected));
        let order = world.orders(&store).await.pop().expect("an order");
        let result = world.import_of(&store, "a").await.result.expect("it succeeded");
        (order.version, order.content.total, order.content.customer.clone(), result.amount)
    };
    let customer = |name: &str| Some(name.to_owned());
    let (first, second, third) = (money("12.50"), money("15"), money("20"));
    assert_eq!(next(Some((1, 1, 0, 0))).await, (1, first, customer("c-42"), first));
    assert_eq!(next(None).await, (1, first, customer("c-42"), first), "the same is no news");
    *amount.lock().expect("no panic in there") = "15.00";
    assert_eq!(next(Some((1, 1, 0, 0))).await, (2, second, customer("c-42"), second), "told of as a sync");
    assert_eq!(next(None).await, (2, second, customer("c-42"), second));
    let order = world.orders(&store).await.pop().expect("an order");
    let target =
        || Target { tenant: store.tenant.clone(), source: None, order_id: order.id, expected_version: None };
    let content = Content { customer: customer("c-7"), ..order.content.clone() };
    let revise = ChangeKind::Revise { content: Box::new(content), requeue: false };
    market.app.change(target(), revise).await.expect("it is revised");
    assert_eq!(next(None).await, (3, second, customer("c-7"), second), "what was changed here stays");
    *amount.lock().expect("no panic in there") = "20";
    assert_eq!(
        next(Some((1, 1, 0, 0))).await,
        (4, third, customer("c-42"), third),
        "what changed there last counts"
    );
    let ship = ChangeKind::Ship { shipped_at: None, tracking_number: None };
    market.app.change(target(), ship).await.expect("it is shipped");
    *amount.lock().expect("no panic in there") = "25";
    assert_eq!(next(None).await, (5, third, customer("c-42"), third), "what went out is what it was");
}
