//! Stores, their imports, runs, events and budgets.

use super::Rig;
use super::webhooks::Hooks;
use crate::marketplaces::trade;
use crate::receivers::header;
use order_core::Money;
use order_core::budget::{Allowance, BudgetAction, BudgetCommand, Class, Limit, Verdict};
use order_core::clock::Timestamp;
use order_core::command::{Command, Reply};
use order_core::error::Rejection;
use order_core::ids::{EventId, Ids, LeaseToken, OrderId, Reference, StoreId, TenantId};
use order_core::marketplace::calls::BudgetHint;
use order_core::marketplace::command::{Begun, ImportOutcome, Seen, SettleImport};
use order_core::marketplace::reads::{ImportQuery, StoreQuery};
use order_core::marketplace::rules::SYNC_AGAIN;
use order_core::marketplace::{
    Import, ImportCounts, ImportResult, ImportState, ListPlace, MarketCommand, MarketReply, MarketplaceName,
    Registration, Store, StoreAction, StoreCommand, StoreEventType, SyncEnd, SyncRun, SyncStatus, TokenHash,
};
use order_core::sealing::resealing::ResealPlace;
use order_core::sealing::{Keyring, Sealed, SealedColumn};
use order_core::webhook::endpoint::Dialect;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const LEASE: Duration = Duration::from_secs(30);

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

pub(super) fn receipt(text: &str) -> Reference {
    Reference::new(text).expect("a receipt")
}

pub(super) fn registration(owner: &str, organization: &str, external_id: &str, lists: bool) -> Registration {
    let mut hash = [0; 32];
    let id = StoreId::derived(&tenant(owner), organization, "etsy", external_id);
    hash[..16].copy_from_slice(id.0.as_bytes());
    Registration {
        tenant: tenant(owner),
        organization: organization.to_owned(),
        marketplace: MarketplaceName::Etsy,
        external_id: external_id.to_owned(),
        name: "naïve ‘store’".to_owned(),
        currency: "USD".to_owned(),
        access_token: Sealed::from_bytes(vec![1, 0, 255]),
        token_hash: TokenHash(hash),
        lists,
    }
}

pub(super) async fn give(rig: &Rig, id: StoreId, action: StoreAction) -> Result<MarketReply, Rejection> {
    let command = StoreCommand { store_id: id, now: rig.now(), again: SYNC_AGAIN, action };
    match rig.submit(Command::Market(Box::new(MarketCommand::Store(command)))).await? {
        Reply::Market(reply) => Ok(*reply),
        other => panic!("something about a store was answered {other:?}"),
    }
}

pub(super) async fn registered(rig: &Rig, said: Registration) -> Store {
    let (marketplace, external) = (said.marketplace.word(), said.external_id.clone());
    let store_id = StoreId::derived(&said.tenant, &said.organization, marketplace, &external);
    match give(rig, store_id, StoreAction::Register(Box::new(said))).await {
        Ok(MarketReply::Store(store)) => *store,
        other => panic!("a registration was answered {other:?}"),
    }
}

pub(super) async fn a_store(rig: &Rig) -> Store {
    registered(rig, registration("acme", "org-1", "ext-1", false)).await
}

async fn kept(rig: &Rig, store_id: StoreId) -> Store {
    let found = rig.storage().markets().store(store_id).await.expect("a store can be read");
    found.expect("the store is there")
}

pub(super) async fn import(rig: &Rig, store: &Store, of: &str) -> Option<Import> {
    rig.storage().markets().import(store.store_id, of).await.expect("an import can be read")
}

async fn imports(rig: &Rig, store: &Store, state: Option<ImportState>, before: Option<u64>) -> Vec<String> {
    let (tenant, store_id) = (store.tenant.clone(), store.store_id);
    let query = ImportQuery { tenant, store_id, state, before, limit: 3 };
    let found = rig.storage().markets().imports(&query).await.expect("imports can be read");
    found.into_iter().map(|import| import.receipt.to_string()).collect()
}

async fn begin(rig: &Rig, store: &Store, of: &str, token: LeaseToken) -> Begun {
    let until = rig.now().plus(LEASE);
    match give(rig, store.store_id, StoreAction::Begin { receipt: receipt(of), token, until }).await {
        Ok(MarketReply::Begun(begun)) => begun,
        other => panic!("the beginning of an import was answered {other:?}"),
    }
}

pub(super) fn imported(amount: &str, at: Timestamp) -> ImportOutcome {
    ImportOutcome::Imported(ImportResult {
        external_order_id: "x-é-1".to_owned(),
        amount: Money::parse(amount).expect("an amount"),
        currency: "EUR".to_owned(),
        imported_at: at,
        order_id: OrderId(uuid::Uuid::from_u128(77)),
    })
}

pub(super) async fn settle(
    rig: &Rig,
    store: &Store,
    of: &str,
    token: LeaseToken,
    outcome: ImportOutcome,
) -> Result<Import, Rejection> {
    let settle = SettleImport { receipt: receipt(of), token, outcome, of_sync: true };
    match give(rig, store.store_id, StoreAction::Settle(Box::new(settle))).await? {
        MarketReply::Import(import) => Ok(*import),
        other => panic!("the end of an import was answered {other:?}"),
    }
}

/// Imports `of` with that outcome.
pub(super) async fn tried(rig: &Rig, store: &Store, of: &str, outcome: ImportOutcome) -> Import {
    let token = rig.token();
    assert!(matches!(begin(rig, store, of, token).await, Begun::Yours(_)), "{of}");
    settle(rig, store, of, token, outcome).await.expect("the lease holds")
}

pub(super) async fn claim_sync(rig: &Rig, store: &Store, token: LeaseToken) -> Result<Box<Store>, Timestamp> {
    let until = rig.now().plus(LEASE);
    match give(rig, store.store_id, StoreAction::ClaimSync { token, until }).await {
        Ok(MarketReply::Claimed(claimed)) => claimed,
        other => panic!("a claim of a sync was answered {other:?}"),
    }
}

pub(super) async fn claim_due(
    rig: &Rig,
    store: &Store,
    token: LeaseToken,
    most: usize,
) -> Result<Vec<Import>, Rejection> {
    let tokens = (0..most).map(|_| rig.token()).collect();
    let (until, event_id) = (rig.now().plus(LEASE), rig.event_id());
    match give(rig, store.store_id, StoreAction::ClaimDue { token, tokens, until, event_id }).await? {
        MarketReply::Due(due) => Ok(due),
        other => panic!("a claim of imports was answered {other:?}"),
    }
}

pub(super) async fn end(rig: &Rig, store: &Store, token: LeaseToken) -> Result<Option<SyncRun>, Rejection> {
    let (end, detail, not_before) = (SyncEnd::Done, None, None);
    let event_ids: [EventId; 2] = [rig.event_id(), rig.event_id()];
    match give(rig, store.store_id, StoreAction::EndSync { token, end, detail, not_before, event_ids })
        .await?
    {
        MarketReply::Ended(run) => Ok(run.map(|run| *run)),
        other => panic!("the end of a sync was answered {other:?}"),
    }
}

pub(super) async fn due_stores(rig: &Rig, limit: u32) -> Vec<StoreId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = rig.storage().markets().due_stores(rig.now(), after, limit).await.expect("due stores");
        let Some(last) = page.last() else { return found };
        after = Some(*last);
        found.extend(page.iter().map(|(_, store_id)| *store_id));
    }
}

/// Everything that is said of a store is kept, over a restart too; to register it again changes what is said alone.
pub async fn a_store_is_kept_as_it_was_registered(rig: Rig) {
    let made = a_store(&rig).await;
    assert_eq!((made.created_at, made.status()), (rig.now(), SyncStatus::Pending));
    rig.clock.tick();
    let said = Registration {
        name: "another".to_owned(),
        currency: "EUR".to_owned(),
        access_token: Sealed::from_bytes(vec![2; 900]),
        ..registration("acme", "org-1", "ext-1", true)
    };
    let again = registered(&rig, said).await;
    let expected = Store {
        name: "another".to_owned(),
        currency: "EUR".to_owned(),
        access_token: Sealed::from_bytes(vec![2; 900]),
        updated_at: rig.now(),
        listing: Some(ListPlace::default()),
        ..made.clone()
    };
    assert_eq!(again, expected);
    let others = [("acme", "org-1", "ext-2"), ("acme", "org-2", "ext-1"), ("other", "org-1", "ext-1")];
    for (owner, organization, external_id) in others {
        let other = registered(&rig, registration(owner, organization, external_id, false)).await;
        assert_ne!(other.store_id, made.store_id);
    }
    let rig = rig.reopen().await;
    assert_eq!(kept(&rig, made.store_id).await, expected);
    let found = rig.storage().markets().store_of_token(&made.token_hash).await.expect("a store");
    assert_eq!(found.map(|store| store.store_id), Some(made.store_id));
    let found = rig.storage().markets().store_of_token(&TokenHash([9; 32])).await.expect("no store");
    assert_eq!(found, None);
}

/// Access tokens come under another key in steps; each opens in its own row alone.
pub async fn access_tokens_come_under_another_key(rig: Rig) {
    let [old, new] = [0, 1].map(|_| Keyring::fresh_key(rig.ids.as_ref()).to_string());
    let before = Keyring::parse(&old).expect("a key");
    let mut made = Vec::new();
    for (owner, external_id) in [("acme", "e1"), ("acme", "e2"), ("other", "e1")] {
        let mut said = registration(owner, "org", external_id, false);
        let row = StoreId::derived(&said.tenant, "org", "etsy", external_id).to_string();
        let place = SealedColumn::StoreAccess.of(&said.tenant, &row);
        said.access_token = before.seal(&place, external_id.as_bytes(), rig.ids.as_ref()).expect("sealed");
        made.push(registered(&rig, said).await);
    }
    let after = Arc::new(Keyring::parse(&format!("{new}\n{old}")).expect("keys"));
    rig.app.hold_keys(Arc::clone(&after));
    let (mut place, mut resealed) = (Some(ResealPlace::default()), 0);
    while let Some(next) = place {
        let step = rig.app.reseal(next, 2).await.expect("a step");
        (resealed, place) = (resealed + step.resealed, step.next);
    }
    assert_eq!(resealed, 3);
    for store in made {
        let sealed = kept(&rig, store.store_id).await.access_token;
        assert_eq!(sealed.key_id(), Some(after.current()));
        let row = store.store_id.to_string();
        let opened =
            after.open(&SealedColumn::StoreAccess.of(&store.tenant, &row), &sealed).expect("it opens");
        assert_eq!(opened.bytes(), store.external_id.as_bytes());
    }
}

/// Lists go by tenant and organization, the oldest first, in pages.
pub async fn stores_are_listed_the_oldest_first(rig: Rig) {
    let mut made = Vec::new();
    for number in 0..7 {
        let organization = if number % 2 == 0 { "even" } else { "odd" };
        made.push(registered(&rig, registration("acme", organization, &format!("e{number}"), false)).await);
        registered(&rig, registration("other", organization, &format!("e{number}"), false)).await;
        // Some are made at the same moment.
        if number % 3 == 0 {
            rig.clock.tick();
        }
    }
    made.sort_by_key(|store| (store.created_at, store.store_id));
    for (organization, parity) in [(None, None), (Some("even"), Some(0)), (Some("odd"), Some(1))] {
        let of = |store: &&Store| match parity {
            Some(0) => store.organization == "even",
            Some(_) => store.organization == "odd",
            None => true,
        };
        let expected: Vec<StoreId> = made.iter().filter(of).map(|store| store.store_id).collect();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let organization = organization.map(str::to_owned);
            let query = StoreQuery { tenant: tenant("acme"), organization, after, limit: 2 };
            let page = rig.storage().markets().stores(&query).await.expect("stores");
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.store_id));
            found.extend(page.iter().map(|store| store.store_id));
        }
        assert_eq!(found, expected, "{organization:?}");
    }
}

/// An import and what came of it are kept to the last digit; what is beside the store is what counting gives.
pub async fn an_import_is_kept_with_what_came_of_it(rig: Rig) {
    let store = a_store(&rig).await;
    rig.clock.advance(Duration::from_secs(5));
    let at = rig.now();
    let done = tried(&rig, &store, "r-é-1", imported("1234567890.123456789", at)).await;
    assert_eq!((done.state, done.number, done.due_at, done.token), (ImportState::Success, 1, None, None));
    let failed = tried(&rig, &store, "r-2", ImportOutcome::Failed { why: "‘odd’".to_owned() }).await;
    let limited = tried(&rig, &store, "r-3", ImportOutcome::RateLimited { retry_after: None }).await;
    let invalid = tried(&rig, &store, "r-4", ImportOutcome::Invalid).await;
    let rig = rig.reopen().await;
    for expected in [&done, &failed, &limited, &invalid] {
        assert_eq!(import(&rig, &store, expected.receipt.as_str()).await.as_ref(), Some(expected));
    }
    assert_eq!(import(&rig, &store, "r-5").await, None);
    let counts = ImportCounts { pending: 0, success: 1, failed: 1, rate_limited: 1, invalid: 1 };
    let now = kept(&rig, store.store_id).await;
    assert_eq!((now.counts, now.status(), now.last_sync_at), (counts, SyncStatus::Partial, Some(at)));
    let result = done.result.expect("it succeeded");
    assert_eq!(result.amount.to_string(), "1234567890.123456789");
    let missing = settle(&rig, &store, "r-9", rig.token(), ImportOutcome::Invalid).await;
    assert_eq!(missing, Err(Rejection::ImportUnknown));
    let nowhere = StoreId(uuid::Uuid::from_u128(1));
    let retry = StoreAction::Retry { receipt: receipt("r-1") };
    assert_eq!(give(&rig, nowhere, retry).await, Err(Rejection::StoreUnknown));
}

/// Of many that begin one receipt at once, one does; the others are told that somebody is at it, then what came of it.
pub async fn one_receipt_is_imported_by_one_however_many_begin_at_once(rig: Rig) {
    let store = a_store(&rig).await;
    let rig = Arc::new(rig);
    let mut beginning = JoinSet::new();
    for _ in 0..20 {
        let (rig, store) = (Arc::clone(&rig), store.clone());
        beginning.spawn(async move {
            let token = rig.token();
            (token, begin(&rig, &store, "r", token).await)
        });
    }
    let begun = beginning.join_all().await;
    let mine: Vec<LeaseToken> =
        begun.iter().filter(|(_, begun)| matches!(begun, Begun::Yours(_))).map(|(token, _)| *token).collect();
    assert_eq!(mine.len(), 1);
    let in_flight = Begun::InFlight { until: rig.now().plus(LEASE) };
    assert_eq!(begun.iter().filter(|(_, begun)| *begun == in_flight).count(), 19);
    let done = settle(&rig, &store, "r", mine[0], imported("1", rig.now())).await.expect("it holds");
    assert_eq!(begin(&rig, &store, "r", rig.token()).await, Begun::Stored(Box::new(done)));
    assert_eq!(kept(&rig, store.store_id).await.counts.all(), 1);
}

/// A lease of an import that ran out is another's; the late one changes nothing.
pub async fn a_late_end_of_an_import_changes_nothing(rig: Rig) {
    let store = a_store(&rig).await;
    let (first, second) = (rig.token(), rig.token());
    begin(&rig, &store, "r", first).await;
    rig.clock.advance(LEASE);
    assert!(matches!(begin(&rig, &store, "r", second).await, Begun::Yours(_)));
    let late = settle(&rig, &store, "r", first, ImportOutcome::Invalid).await;
    assert_eq!(late, Err(Rejection::LeaseLost));
    let done = settle(&rig, &store, "r", second, imported("2", rig.now())).await.expect("it holds");
    assert_eq!(import(&rig, &store, "r").await, Some(done));
}

/// A sync takes what is due, the longest due first; its run counts what it did, and each of its events has a version of its own.
pub async fn a_sync_takes_what_is_due_and_tells_what_it_did(rig: Rig) {
    let store = a_store(&rig).await;
    for of in ["c", "a", "b"] {
        tried(&rig, &store, of, ImportOutcome::Unavailable).await;
        rig.clock.advance(Duration::from_secs(1));
    }
    tried(&rig, &store, "i", ImportOutcome::Invalid).await;
    tried(&rig, &store, "s", imported("1", rig.now())).await;
    let token = rig.token();
    claim_sync(&rig, &store, token).await.expect("nobody syncs it");
    let first = claim_due(&rig, &store, token, 10).await.expect("the lease holds");
    assert_eq!(first, [], "nothing is due yet");
    rig.clock.advance(Duration::from_secs(300));
    let due = claim_due(&rig, &store, token, 2).await.expect("the lease holds");
    let names: Vec<&str> = due.iter().map(|import| import.receipt.as_str()).collect();
    assert_eq!(names, ["c", "a"]);
    for (import, outcome) in due.iter().zip([imported("3", rig.now()), ImportOutcome::Invalid]) {
        let token = import.token.expect("it is leased");
        settle(&rig, &store, import.receipt.as_str(), token, outcome).await.expect("it holds");
    }
    let rig = rig.reopen().await;
    let rest = claim_due(&rig, &store, token, 10).await.expect("the lease holds");
    let limited = ImportOutcome::RateLimited { retry_after: Some(Duration::from_secs(7_200)) };
    let token_of_b = rest[0].token.expect("it is leased");
    let b = settle(&rig, &store, "b", token_of_b, limited).await.expect("it holds");
    assert_eq!((rest.len(), b.due_at), (1, Some(rig.now().plus(Duration::from_secs(7_200)))));
    let run = end(&rig, &store, token).await.expect("the lease holds").expect("a run was open");
    assert_eq!((run.processed, run.success, run.failed, run.rate_limited), (3, 1, 1, 1));
    let runs = rig.storage().markets().sync_runs(&store.tenant, store.store_id, None, 10).await;
    assert_eq!(runs.expect("runs"), [run]);
    let foreign = rig.storage().markets().sync_runs(&tenant("other"), store.store_id, None, 10).await;
    assert_eq!(foreign.expect("runs"), []);
    let events = rig.storage().markets().store_events(store.store_id, 0, 10).await.expect("events");
    let told: Vec<_> = events.iter().map(|event| (event.version, event.kind)).collect();
    assert_eq!(told, [(1, StoreEventType::Started), (2, StoreEventType::Completed)]);
    assert!(events[1].data.contains("\"processedCount\":3"), "{}", events[1].data);
    assert_eq!((&*events[1].organization, &events[1].tenant), ("org-1", &store.tenant));
    let behind = rig.storage().markets().store_events(store.store_id, 1, 10).await.expect("events");
    assert_eq!(behind, events[1..]);
}

/// An audit finds nothing in what belongs to a store, over a restart too.
pub async fn the_audit_is_clean_of_a_store_that_trades(rig: Rig) {
    let store = trade(&rig.app).await;
    rig.assert_sound().await;
    let rig = rig.reopen().await;
    assert_eq!(kept(&rig, store.store_id).await, store);
    rig.assert_sound().await;
}

/// Where one process alone holds the storage, what one that died was at is anybody's at once; elsewhere its leases run on.
pub async fn the_imports_and_syncs_of_a_dead_process_come_due(rig: Rig) {
    let store = a_store(&rig).await;
    begin(&rig, &store, "r", rig.token()).await;
    claim_sync(&rig, &store, rig.token()).await.expect("nobody syncs it");
    rig.clock.advance(Duration::from_secs(1));
    let rig = rig.reopen().await;
    // Leases are made due by the first commit, whatever it is.
    registered(&rig, registration("acme", "org-1", "ext-2", false)).await;
    if !rig.reopening_expires_leases() {
        assert!(claim_sync(&rig, &store, rig.token()).await.is_err(), "another process may be alive");
        let begun = begin(&rig, &store, "r", rig.token()).await;
        assert!(matches!(begun, Begun::InFlight { .. }), "{begun:?}");
        rig.clock.advance(LEASE);
    }
    let token = rig.token();
    claim_sync(&rig, &store, token).await.expect("whoever synced it is gone");
    assert_eq!(claim_due(&rig, &store, token, 5).await.map(|due| due.len()), Ok(1));
}

/// Who listens to a store is told of its events in order, in the words of the contract.
pub async fn what_happens_to_a_store_reaches_who_listens(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let url = "https://listens.example/";
    hooks.endpoint_in("acme", url, &["sync.*"], Dialect::Marketplace, None).await;
    hooks.endpoint("acme", "https://orders.example/", &["order.*"]).await;
    hooks.endpoint("other", "https://other.example/", &["*"]).await;
    let store = a_store(&hooks.rig).await;
    tried(&hooks.rig, &store, "a", imported("1", hooks.rig.now())).await;
    let token = hooks.rig.token();
    claim_sync(&hooks.rig, &store, token).await.expect("nobody else syncs it");
    claim_due(&hooks.rig, &store, token, 5).await.expect("the lease holds");
    end(&hooks.rig, &store, token).await.expect("the lease holds");
    let events = hooks.rig.storage().markets().store_events(store.store_id, 0, 10).await.expect("events");
    let got = hooks.deliver().await;
    let told: Vec<_> = got
        .iter()
        .map(|sent| {
            let body: serde_json::Value = serde_json::from_slice(&sent.body).expect("JSON");
            assert_eq!(
                (sent.url.as_str(), body["storeId"].as_str()),
                (url, Some(&*store.store_id.to_string()))
            );
            assert_eq!(body["organizationId"], "org-1");
            assert_eq!(header(sent, "x-event-id"), body["eventId"].as_str());
            assert!(header(sent, "x-webhook-signature").is_some_and(|text| text.starts_with("sha256=")));
            (body["eventId"].to_string(), body["event"].to_string())
        })
        .collect();
    let expected: Vec<_> = events
        .iter()
        .map(|event| (format!("\"{}\"", event.event_id), format!("\"{}\"", event.kind.word())))
        .collect();
    assert_eq!((told.len(), told), (2, expected));
}

/// Of many that would sync a store at once one does; whoever lost the lease changes nothing.
pub async fn a_store_is_synced_by_one_at_a_time(rig: Rig) {
    let store = a_store(&rig).await;
    tried(&rig, &store, "r", ImportOutcome::Released { at: rig.now() }).await;
    let rig = Arc::new(rig);
    let mut claiming = JoinSet::new();
    for _ in 0..10 {
        let (rig, store) = (Arc::clone(&rig), store.clone());
        claiming.spawn(async move {
            let token = rig.token();
            claim_sync(&rig, &store, token).await.is_ok().then_some(token)
        });
    }
    let holders: Vec<LeaseToken> = claiming.join_all().await.into_iter().flatten().collect();
    assert_eq!(holders.len(), 1);
    let (first, second) = (holders[0], rig.token());
    let held = claim_due(&rig, &store, first, 1).await.expect("it holds");
    rig.clock.advance(Duration::from_secs(20));
    let held = held.iter().map(|import| (import.receipt.clone(), import.token.expect("leased"))).collect();
    let (token, until) = (first, rig.now().plus(LEASE));
    give(&rig, store.store_id, StoreAction::ExtendSync { token, until, held }).await.expect("it holds");
    rig.clock.advance(Duration::from_secs(20));
    assert_eq!(claim_sync(&rig, &store, second).await.err(), Some(until), "the lease was extended");
    assert_eq!(import(&rig, &store, "r").await.and_then(|import| import.due_at), Some(until));
    rig.clock.advance(Duration::from_secs(20));
    claim_sync(&rig, &store, second).await.expect("it ran out");
    let extend = StoreAction::ExtendSync { token: first, until, held: Vec::new() };
    assert_eq!(give(&rig, store.store_id, extend).await, Err(Rejection::LeaseLost));
    assert_eq!(claim_due(&rig, &store, first, 1).await, Err(Rejection::LeaseLost));
    assert_eq!(end(&rig, &store, first).await, Err(Rejection::LeaseLost));
    assert_eq!(claim_due(&rig, &store, second, 5).await.map(|due| due.len()), Ok(1));
}

/// A page may be noted any number of times; how far a store's orders are listed is kept.
pub async fn a_page_of_orders_is_noted_and_its_place_kept(rig: Rig) {
    let store = registered(&rig, registration("acme", "org-1", "ext-1", true)).await;
    let token = rig.token();
    claim_sync(&rig, &store, token).await.expect("nobody syncs it");
    let seen = |of: String, outcome| Seen { receipt: receipt(&of), outcome };
    let mut page: Vec<Seen> = (0..120).map(|number| seen(format!("n-{number}"), None)).collect();
    page.extend((0..120).map(|number| seen(format!("w-{number}"), Some(imported("5", rig.now())))));
    let poison = || Some(ImportOutcome::Failed { why: "no JSON".to_owned() });
    page.push(seen("p".to_owned(), poison()));
    for expected in [241, 0] {
        let (seen, event_id) = (page.clone(), rig.event_id());
        let noted = give(&rig, store.store_id, StoreAction::Note { token, seen, event_id }).await;
        assert_eq!(noted, Ok(MarketReply::Noted(expected)));
        let counts = ImportCounts { pending: 120, success: 120, failed: 1, ..ImportCounts::default() };
        assert_eq!(kept(&rig, store.store_id).await.counts, counts);
    }
    let (since, page) = (Some(rig.now()), Some("page é 2".to_owned()));
    let place = ListPlace { since, page, began_at: Some(rig.clock.tick()) };
    let keep = StoreAction::KeepPlace { token, place: place.clone() };
    give(&rig, store.store_id, keep).await.expect("it holds");
    let rig = rig.reopen().await;
    assert_eq!(kept(&rig, store.store_id).await.listing, Some(place));
    assert_eq!(claim_due(&rig, &store, token, 500).await.map(|due| due.len()), Ok(120));
}

/// Stores that are to be synced are found a page at a time, whoever owns them; those that need none are not.
pub async fn stores_that_are_to_be_synced_are_found(rig: Rig) {
    let mut made = Vec::new();
    for number in 0..6 {
        let owner = ["acme", "other"][number % 2];
        made.push(registered(&rig, registration(owner, "org", &format!("e{number}"), false)).await);
    }
    made.sort_by_key(|store| (store.created_at, store.store_id));
    let ids = |stores: &[Store]| stores.iter().map(|store| store.store_id).collect::<Vec<_>>();
    assert_eq!(due_stores(&rig, 4).await, ids(&made), "none was synced yet");
    for store in &made {
        let token = rig.token();
        claim_sync(&rig, store, token).await.expect("nobody syncs it");
        claim_due(&rig, store, token, 1).await.expect("it holds");
        end(&rig, store, token).await.expect("it holds");
    }
    assert_eq!(due_stores(&rig, 4).await, []);
    tried(&rig, &made[0], "r", imported("1", rig.now())).await;
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(due_stores(&rig, 4).await, ids(&made[1..]), "one has nothing left to do");
    tried(&rig, &made[0], "q", ImportOutcome::Unavailable).await;
    assert_eq!(due_stores(&rig, 4).await, ids(&made));
}

/// Imports are listed the newest first, by state too; a receipt is found wherever it is, in one's own stores alone.
pub async fn imports_are_listed_and_found_by_their_receipt(rig: Rig) {
    let store = a_store(&rig).await;
    let other = registered(&rig, registration("acme", "org-2", "ext-1", false)).await;
    let foreign = registered(&rig, registration("other", "org-1", "ext-1", false)).await;
    for (of, outcome) in [
        ("a", imported("1", rig.now())),
        ("b", ImportOutcome::Invalid),
        ("c", imported("1", rig.now())),
        ("d", ImportOutcome::Unavailable),
        ("e", ImportOutcome::Invalid),
    ] {
        tried(&rig, &store, of, outcome).await;
    }
    for elsewhere in [&other, &foreign] {
        tried(&rig, elsewhere, "b", ImportOutcome::Invalid).await;
    }
    assert_eq!(imports(&rig, &store, None, None).await, ["e", "d", "c"]);
    assert_eq!(imports(&rig, &store, None, Some(3)).await, ["b", "a"]);
    assert_eq!(imports(&rig, &store, Some(ImportState::Success), None).await, ["c", "a"]);
    assert_eq!(imports(&rig, &store, Some(ImportState::Invalid), None).await, ["e", "b"]);
    assert_eq!(imports(&rig, &store, Some(ImportState::Invalid), Some(5)).await, ["b"]);
    assert_eq!(imports(&rig, &store, Some(ImportState::Pending), None).await, Vec::<String>::new());
    let stolen = Store { tenant: tenant("other"), ..store.clone() };
    assert_eq!(imports(&rig, &stolen, None, None).await, Vec::<String>::new());
    let found = rig.storage().markets().imports_of_receipt(&store.tenant, "b", 10).await.expect("imports");
    let mut expected = [store.store_id, other.store_id];
    expected.sort_unstable();
    assert_eq!(found.iter().map(|import| import.store_id).collect::<Vec<_>>(), expected);
    let found = rig.storage().markets().imports_of_receipt(&store.tenant, "b", 1).await.expect("imports");
    assert_eq!(found.len(), 1);
}

fn budget(rig: &Rig, keys: &[&str], action: BudgetAction) -> Command {
    let limit = Limit::per_second(10, 1);
    let allowance = |key: &&str| Allowance { key: (*key).to_owned(), units: 1, limit };
    let (allowances, store_id) = (keys.iter().map(allowance).collect(), StoreId(rig.ids.uuid_v4()));
    let command = BudgetCommand { now: rig.now(), store_id, allowances, action };
    Command::Market(Box::new(MarketCommand::Budget(command)))
}

async fn take(rig: &Rig, keys: &[&str]) -> Verdict {
    match rig.submit(budget(rig, keys, BudgetAction::Take(Class::Live))).await {
        Ok(Reply::Market(reply)) => match *reply {
            MarketReply::Budget(verdict) => verdict,
            other => panic!("a budget was answered {other:?}"),
        },
        other => panic!("a budget was answered {other:?}"),
    }
}

/// However many take of a budget at once, no more get through than it holds; a restart forgets nothing of it.
pub async fn a_budget_gives_no_more_than_it_holds_however_many_ask_at_once(rig: Rig) {
    let rig = Arc::new(rig);
    let mut taking = JoinSet::new();
    for number in 0..40 {
        let rig = Arc::clone(&rig);
        // Both ways round: whoever locks budgets does so in one order.
        let keys = if number % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
        taking.spawn(async move { take(&rig, &keys).await });
    }
    let verdicts = taking.join_all().await;
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Granted).count(), 10);
    let Ok(rig) = Arc::try_unwrap(rig) else { panic!("all have ended") };
    let rig = rig.reopen().await;
    assert_ne!(take(&rig, &["a"]).await, Verdict::Granted);
    let kept = rig.storage().markets().budget("a").await.expect("a budget").expect("it is there");
    assert_eq!((kept.level, kept.waiting.len()), (0, 31));
    assert_eq!(rig.storage().markets().budget("c").await.expect("no budget"), None);
    let learn = BudgetAction::Learn(vec![BudgetHint::NotBefore(Duration::from_secs(900))]);
    rig.submit(budget(&rig, &["c"], learn)).await.expect("it is noted");
    let rig = rig.reopen().await;
    let until = rig.now().plus(Duration::from_secs(900));
    assert_eq!(take(&rig, &["c"]).await, Verdict::Wait { until });
    rig.clock.advance(Duration::from_secs(900));
    assert_eq!(take(&rig, &["c"]).await, Verdict::Granted);
}
