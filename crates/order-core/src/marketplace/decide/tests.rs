#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::ids::{OrderId, StoreId, TenantId};
use crate::marketplace::rules::{NEWEST, SYNC_AGAIN};
use crate::marketplace::{ImportCounts, ImportResult, MarketplaceName, SyncStatus, TokenHash};
use crate::order::money::Money;
use crate::sealing::Sealed;
use std::time::Duration;
use uuid::Uuid;

const BEGIN: i64 = 1_740_218_400_000_000;
const LEASE: Duration = Duration::from_secs(30);

/// A store in which nothing was imported yet.
pub(crate) fn store() -> Store {
    World::new().store.unwrap()
}

fn id(number: u128) -> LeaseToken {
    LeaseToken(Uuid::from_u128(number))
}

fn receipt(text: &str) -> Reference {
    Reference::new(text).unwrap()
}

fn imported() -> ImportOutcome {
    ImportOutcome::Imported(ImportResult {
        external_order_id: "x-1".to_owned(),
        amount: Money::parse("12.50").unwrap(),
        currency: "EUR".to_owned(),
        imported_at: Timestamp::from_micros(BEGIN),
        order_id: OrderId(Uuid::from_u128(5)),
    })
}

fn failed() -> ImportOutcome {
    ImportOutcome::Failed { why: "odd".to_owned() }
}

/// The simplest storage there is, of one store.
struct World {
    now: Timestamp,
    store: Option<Store>,
    run: Option<SyncRun>,
    imports: BTreeMap<String, Import>,
    events: Vec<StoreEvent>,
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_micros(BEGIN);
        let mut world = Self { now, store: None, run: None, imports: BTreeMap::new(), events: Vec::new() };
        let registration = Registration {
            tenant: TenantId::default_tenant(),
            organization: "org-1".to_owned(),
            marketplace: MarketplaceName::Etsy,
            external_id: "ext-1".to_owned(),
            name: "My store".to_owned(),
            currency: "USD".to_owned(),
            access_token: Sealed::from_bytes(vec![1]),
            token_hash: TokenHash([1; 32]),
            lists: false,
        };
        world.give(StoreAction::Register(Box::new(registration))).unwrap();
        world
    }

    fn give(&mut self, action: StoreAction) -> Result<MarketReply, Rejection> {
        let command =
            StoreCommand { store_id: StoreId(Uuid::from_u128(1)), now: self.now, again: SYNC_AGAIN, action };
        let imports = match wants(&command) {
            Wants::Nothing => Vec::new(),
            Wants::Receipts(of) => of.into_iter().filter_map(|of| self.imports.get(of).cloned()).collect(),
            Wants::Due(most) => {
                let is_due = |import: &&Import| import.due_at.is_some_and(|at| at <= self.now);
                let mut due: Vec<Import> = self.imports.values().filter(is_due).cloned().collect();
                due.sort_by_key(|import| (import.due_at, import.number));
                due.truncate(most);
                due
            }
        };
        let decided = decide(Found { store: self.store.clone(), run: self.run.clone(), imports }, &command)?;
        self.store = decided.store.or(self.store.take());
        self.run = decided.run.or(self.run.take());
        self.imports
            .extend(decided.imports.into_iter().map(|import| (import.receipt.as_str().to_owned(), import)));
        self.events.extend(decided.events);
        self.check();
        Ok(decided.reply)
    }

    /// What is kept beside the store is what counting gives.
    fn check(&self) {
        let store = self.store.as_ref().unwrap();
        let mut counts = ImportCounts::default();
        self.imports.values().for_each(|import| *counts.of_mut(import.state) += 1);
        assert_eq!(store.counts, counts);
        let mut numbers: Vec<u64> = self.imports.values().map(|import| import.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=counts.all()).collect::<Vec<_>>());
        let versions: Vec<u64> = self.events.iter().map(|event| event.version).collect();
        assert_eq!(versions, (1..=store.version).collect::<Vec<_>>());
    }

    fn begin(&mut self, of: &str, token: u128) -> Begun {
        let until = self.now.plus(LEASE);
        match self.give(StoreAction::Begin { receipt: receipt(of), token: id(token), until }).unwrap() {
            MarketReply::Begun(begun) => begun,
            other => unreachable!("{other:?}"),
        }
    }

    fn settle(&mut self, of: &str, token: u128, outcome: ImportOutcome) -> Result<Import, Rejection> {
        let settle = SettleImport { receipt: receipt(of), token: id(token), outcome, of_sync: token >= 100 };
        match self.give(StoreAction::Settle(Box::new(settle)))? {
            MarketReply::Import(import) => Ok(*import),
            other => unreachable!("{other:?}"),
        }
    }

    fn claim_sync(&mut self, token: u128) -> Result<(), Timestamp> {
        let until = self.now.plus(LEASE);
        match self.give(StoreAction::ClaimSync { token: id(token), until }).unwrap() {
            MarketReply::Claimed(claimed) => claimed.map(drop),
            other => unreachable!("{other:?}"),
        }
    }

    fn claim_due(&mut self, token: u128, most: u128) -> Result<Vec<String>, Rejection> {
        let tokens = (100..100 + most).map(id).collect();
        let (until, event_id) = (self.now.plus(LEASE), EventId(Uuid::from_u128(9)));
        match self.give(StoreAction::ClaimDue { token: id(token), tokens, until, event_id })? {
            MarketReply::Due(due) => Ok(due.iter().map(|import| import.receipt.to_string()).collect()),
            other => unreachable!("{other:?}"),
        }
    }

    fn end(&mut self, token: u128, end: SyncEnd) -> Result<Option<SyncRun>, Rejection> {
        let event_ids = [EventId(Uuid::from_u128(10)), EventId(Uuid::from_u128(11))];
        let (token, detail, not_before) = (id(token), None, None);
        match self.give(StoreAction::EndSync { token, end, detail, not_before, event_ids })? {
            MarketReply::Ended(run) => Ok(run.map(|run| *run)),
            other => unreachable!("{other:?}"),
        }
    }

    fn told(&self) -> Vec<StoreEventType> {
        self.events.iter().map(|event| event.kind).collect()
    }

    fn status(&self) -> SyncStatus {
        self.store.as_ref().unwrap().status()
    }
}

#[test]
fn one_of_two_that_come_at_once_imports_and_the_other_waits() {
    let mut world = World::new();
    assert!(matches!(world.begin("r", 1), Begun::Yours(_)));
    let until = world.now.plus(LEASE);
    assert_eq!(world.begin("r", 2), Begun::InFlight { until });
    assert!(matches!(world.begin("r", 1), Begun::Yours(_)), "asked again by the one that has it");
    let import = world.settle("r", 1, imported()).unwrap();
    assert_eq!((import.state, import.attempt, import.due_at), (ImportState::Success, 1, None));
    assert_eq!(world.begin("r", 2), Begun::Stored(Box::new(import)));
    assert_eq!(world.settle("r", 1, failed()), Err(Rejection::LeaseLost), "it has ended");
}

#[test]
fn an_import_whose_asker_died_is_anybodys() {
    let mut world = World::new();
    world.begin("r", 1);
    world.now = world.now.plus(LEASE);
    assert!(matches!(world.begin("r", 2), Begun::Yours(_)));
    assert_eq!(world.settle("r", 1, imported()), Err(Rejection::LeaseLost));
    world.settle("r", 2, imported()).unwrap();
}

#[test]
fn what_failed_is_due_again_by_the_backoff_and_what_is_invalid_never() {
    let mut world = World::new();
    for (of, outcome, wait, error) in [
        ("f", failed(), Some(300), "odd"),
        ("u", ImportOutcome::Unavailable, Some(300), UNAVAILABLE),
        ("r", ImportOutcome::RateLimited { retry_after: None }, Some(300), RATE_LIMITED),
        (
            "l",
            ImportOutcome::RateLimited { retry_after: Some(Duration::from_secs(900)) },
            Some(900),
            RATE_LIMITED,
        ),
        ("i", ImportOutcome::Invalid, None, INVALID_RECEIPT),
    ] {
        world.begin(of, 1);
        let import = world.settle(of, 1, outcome).unwrap();
        let due_at = wait.map(|seconds| world.now.plus(Duration::from_secs(seconds)));
        assert_eq!((import.due_at, import.error.as_deref()), (due_at, Some(error)), "{of}");
        assert!(matches!(world.begin(of, 2), Begun::Stored(_)), "its result is known");
    }
}

/// What an operator wants tried again is due at once, its store too; what came of it is what is known until it was tried.
#[test]
fn an_operator_has_an_import_tried_again_and_its_result_stands_until_then() {
    for (outcome, state, error, status, due_in, attempt) in [
        (ImportOutcome::Invalid, ImportState::Failed, INVALID_RECEIPT, SyncStatus::Partial, None, 0),
        (failed(), ImportState::Failed, "odd", SyncStatus::Partial, Some(300), 1),
        (
            ImportOutcome::RateLimited { retry_after: Some(Duration::from_secs(900)) },
            ImportState::RateLimited,
            RATE_LIMITED,
            SyncStatus::Partial,
            Some(900),
            1,
        ),
    ] {
        let mut world = World::new();
        for (of, outcome) in [("good", imported()), ("r", outcome)] {
            world.begin(of, 1);
            world.settle(of, 1, outcome).unwrap();
        }
        world.claim_sync(50).unwrap();
        world.claim_due(50, 10).unwrap();
        world.end(50, SyncEnd::Done).unwrap();
        let (before, newest) = (world.imports["r"].clone(), world.store.clone().unwrap().newest);
        assert_eq!(before.due_at, due_in.map(|seconds| world.now.plus(Duration::from_secs(seconds))));
        world.now = world.now.plus(Duration::from_secs(1));
        world.give(StoreAction::Retry { receipt: receipt("r") }).unwrap();
        let retried = world.imports["r"].clone();
        assert_eq!((retried.state, retried.error.as_deref(), retried.attempt), (state, Some(error), attempt));
        assert_eq!(retried.due_at, Some(world.now));
        let store = world.store.clone().unwrap();
        assert_eq!((store.status(), store.next_sync_at), (status, Some(world.now)));
        assert_eq!(store.newest.states().count(), newest.states().count(), "it keeps its place");
        // Whoever asks meanwhile is told that without a call, and what else happens puts nothing off.
        assert_eq!(world.begin("r", 2), Begun::Stored(Box::new(retried)));
        world.begin("other", 3);
        world.settle("other", 3, imported()).unwrap();
        assert_eq!(world.store.as_ref().unwrap().next_sync_at, Some(world.now));
        world.claim_sync(60).unwrap();
        assert_eq!(world.claim_due(60, 10).unwrap(), ["r"]);
        let done = world.settle("r", 100, imported()).unwrap();
        assert_eq!((done.state, done.attempt), (ImportState::Success, attempt + 1));
        world.end(60, SyncEnd::Done).unwrap();
        assert_eq!(world.status(), SyncStatus::Success);
        let again = world.give(StoreAction::Retry { receipt: receipt("r") }).unwrap();
        assert_eq!(again, MarketReply::Import(Box::new(done)), "what succeeded stays as it is");
        assert_eq!(world.store.as_ref().unwrap().next_sync_at, None, "and asks for no sync");
        let unknown = world.give(StoreAction::Retry { receipt: receipt("x") });
        assert_eq!(unknown, Err(Rejection::ImportUnknown));
    }
}

/// Where all that was worked on last went well, nothing else but the one that is to be tried again asks for a sync.
#[test]
fn an_invalid_receipt_of_long_ago_that_is_to_be_tried_again_is() {
    let mut world = World::new();
    world.begin("old", 1);
    world.settle("old", 1, ImportOutcome::Invalid).unwrap();
    for number in 0..NEWEST {
        world.begin(&format!("r-{number}"), 1);
        world.settle(&format!("r-{number}"), 1, imported()).unwrap();
    }
    assert_eq!((world.status(), world.store.as_ref().unwrap().next_sync_at), (SyncStatus::Success, None));
    world.give(StoreAction::Retry { receipt: receipt("old") }).unwrap();
    world.begin("new", 1);
    world.settle("new", 1, imported()).unwrap();
    assert!(world.store.as_ref().unwrap().next_sync_at.is_some_and(|at| at <= world.now));
    assert_eq!(world.status(), SyncStatus::Success, "as the last twenty went");
    world.claim_sync(50).unwrap();
    assert_eq!(world.claim_due(50, 10).unwrap(), ["old"]);
}

#[test]
fn a_store_without_imports_has_one_first_sync() {
    use StoreEventType::{Completed, Started};
    let mut world = World::new();
    world.claim_sync(50).unwrap();
    assert_eq!(world.claim_due(50, 10).unwrap(), Vec::<String>::new());
    let run = world.end(50, SyncEnd::Done).unwrap().unwrap();
    assert_eq!((run.processed, run.run), (0, 1));
    assert_eq!(world.told(), [Started, Completed]);
    world.now = world.now.plus(LEASE);
    world.claim_sync(51).unwrap();
    world.claim_due(51, 10).unwrap();
    assert_eq!(world.end(51, SyncEnd::Done).unwrap(), None);
    assert_eq!(world.told(), [Started, Completed], "a sync that finds nothing tells nothing");
    let counts = r#"{"storeId":"00000000-0000-0000-0000-000000000001","processedCount":0,"successCount":0,"failedCount":0,"rateLimitedCount":0}"#;
    assert_eq!(world.events[1].data, counts);
}

#[test]
fn a_run_that_was_broken_off_goes_on_under_the_next_lease() {
    use StoreEventType::{Completed, Started};
    let mut world = World::new();
    for of in ["a", "b", "c"] {
        world.begin(of, 1);
        world.settle(of, 1, failed()).unwrap();
    }
    world.now = world.now.plus(Duration::from_secs(300));
    world.claim_sync(50).unwrap();
    assert_eq!(world.claim_sync(51), Err(world.now.plus(LEASE)), "one syncs a store at a time");
    assert_eq!(world.claim_due(50, 2).unwrap(), ["a", "b"]);
    world.settle("a", 100, imported()).unwrap();
    // The worker dies here, at b.
    world.now = world.now.plus(LEASE);
    world.claim_sync(51).unwrap();
    assert_eq!(world.claim_due(50, 1), Err(Rejection::LeaseLost));
    assert_eq!(world.end(50, SyncEnd::Done), Err(Rejection::LeaseLost));
    assert_eq!(world.claim_due(51, 10).unwrap(), ["c", "b"]);
    world.settle("c", 100, ImportOutcome::RateLimited { retry_after: None }).unwrap();
    world.settle("b", 101, ImportOutcome::Invalid).unwrap();
    let run = world.end(51, SyncEnd::Done).unwrap().unwrap();
    assert_eq!((run.processed, run.success, run.failed, run.rate_limited), (3, 1, 1, 1));
    assert_eq!(world.told(), [Started, Completed], "it is one run");
    assert_eq!(world.status(), SyncStatus::Partial);
}

#[test]
fn a_receipt_that_breaks_every_sync_waits_while_the_others_go_on() {
    let mut world = World::new();
    for of in ["bad", "good"] {
        world.begin(of, 1);
        world.settle(of, 1, ImportOutcome::Released { at: world.now }).unwrap();
    }
    for sync in 0..3 {
        world.claim_sync(50 + sync).unwrap();
        assert_eq!(world.claim_due(50 + sync, 1).unwrap(), ["bad"], "sync {sync}");
        world.now = world.now.plus(LEASE);
        if sync == 0 {
            // Given back, it lies behind what has waited longer.
            world.claim_sync(60).unwrap();
            assert_eq!(world.claim_due(60, 1).unwrap(), ["good"]);
            world.settle("good", 100, ImportOutcome::Released { at: world.now.plus(LEASE * 2) }).unwrap();
            world.now = world.now.plus(LEASE);
        }
    }
    world.claim_sync(70).unwrap();
    assert_eq!(world.claim_due(70, 10).unwrap(), ["good"]);
    let bad = &world.imports["bad"];
    assert_eq!((bad.state, bad.error.as_deref()), (ImportState::Failed, Some(NEVER_ENDED)));
    assert!(bad.due_at.unwrap() > world.now.plus(LEASE));
}

#[test]
fn a_page_is_noted_once_however_often_it_is_read() {
    let mut world = World::new();
    world.claim_sync(50).unwrap();
    let seen = |of: &str, outcome| Seen { receipt: receipt(of), outcome };
    let page = vec![seen("whole", Some(imported())), seen("named", None), seen("poison", Some(failed()))];
    let note =
        |seen: Vec<Seen>| StoreAction::Note { token: id(50), seen, event_id: EventId(Uuid::from_u128(9)) };
    assert_eq!(world.give(note(page.clone())).unwrap(), MarketReply::Noted(3));
    let (store, imports) = (world.store.clone(), world.imports.clone());
    assert_eq!(world.give(note(page)).unwrap(), MarketReply::Noted(0));
    assert_eq!((world.store.clone(), world.imports.clone()), (store, imports));
    assert_eq!(world.claim_due(50, 10).unwrap(), ["named"]);
    assert_eq!(world.imports["poison"].error.as_deref(), Some("odd"));
    let run = world.run.clone().unwrap();
    assert_eq!((run.processed, run.success, run.failed), (2, 1, 1));
    // What can be read after all is no longer poison.
    assert_eq!(world.give(note(vec![seen("poison", Some(imported()))])).unwrap(), MarketReply::Noted(1));
    assert_eq!(world.imports["poison"].state, ImportState::Success);
}

#[test]
fn a_failure_is_told_of_once_while_it_lasts() {
    use StoreEventType::{Completed, Failed, Started};
    let mut world = World::new();
    let sync = |world: &mut World, end| {
        world.claim_sync(50).unwrap();
        world.end(50, end).unwrap();
        world.now = world.now.plus(LEASE);
    };
    sync(&mut world, SyncEnd::Unavailable);
    assert_eq!(world.told(), [Started, Failed]);
    sync(&mut world, SyncEnd::Unavailable);
    assert_eq!(world.told(), [Started, Failed]);
    sync(&mut world, SyncEnd::AccessRefused);
    assert_eq!(world.told(), [Started, Failed, Started, Failed]);
    world.begin("r", 1);
    world.settle("r", 1, ImportOutcome::Released { at: world.now }).unwrap();
    world.claim_sync(50).unwrap();
    world.claim_due(50, 1).unwrap();
    world.end(50, SyncEnd::Done).unwrap();
    assert_eq!(world.told()[4..], [Started, Completed]);
}

#[test]
fn a_sync_that_was_told_to_wait_is_not_begun_sooner() {
    let mut world = World::new();
    world.claim_sync(50).unwrap();
    world.claim_due(50, 1).unwrap();
    let later = world.now.plus(Duration::from_secs(3_600));
    let event_ids = [EventId(Uuid::from_u128(10)), EventId(Uuid::from_u128(11))];
    let end = SyncEnd::Budget;
    let wait = StoreAction::EndSync { token: id(50), end, detail: None, not_before: Some(later), event_ids };
    world.give(wait).unwrap();
    assert_eq!(world.store.as_ref().unwrap().next_sync_at, Some(later));
    world.begin("r", 1);
    world.settle("r", 1, failed()).unwrap();
    assert_eq!(world.store.as_ref().unwrap().next_sync_at, Some(later));
}

#[test]
fn a_registration_again_changes_what_is_said_and_nothing_else() {
    let mut world = World::new();
    world.begin("r", 1);
    world.settle("r", 1, imported()).unwrap();
    let before = world.store.clone().unwrap();
    world.now = world.now.plus(LEASE);
    let said = Registration {
        tenant: before.tenant.clone(),
        organization: before.organization.clone(),
        marketplace: before.marketplace,
        external_id: before.external_id.clone(),
        name: "Another name".to_owned(),
        currency: "EUR".to_owned(),
        access_token: Sealed::from_bytes(vec![2]),
        token_hash: before.token_hash,
        lists: true,
    };
    world.give(StoreAction::Register(Box::new(said))).unwrap();
    let expected = Store {
        name: "Another name".to_owned(),
        currency: "EUR".to_owned(),
        access_token: Sealed::from_bytes(vec![2]),
        updated_at: world.now,
        listing: Some(ListPlace::default()),
        next_sync_at: Some(before.created_at),
        ..before
    };
    assert_eq!(world.store, Some(expected));
}

#[test]
fn a_store_that_is_not_there_is_unknown() {
    let action = StoreAction::Retry { receipt: receipt("r") };
    let command = StoreCommand {
        store_id: StoreId(Uuid::from_u128(1)),
        now: Timestamp::from_micros(1),
        again: SYNC_AGAIN,
        action,
    };
    assert_eq!(decide(Found::default(), &command).unwrap_err(), Rejection::StoreUnknown);
}
