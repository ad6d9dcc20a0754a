//! The history of stores, which goes when it is old: runs of syncs and what tells of them. And what their marketplaces tell.

use super::Rig;
use super::stores::{
    claim_sync, due_stores, give, import, imported, receipt, registered, registration, tried,
};
use order_core::clock::Timestamp;
use order_core::command::{Command, Reply};
use order_core::error::Rejection;
use order_core::ids::StoreId;
use order_core::marketplace::command::ImportOutcome;
use order_core::marketplace::{
    ImportState, MarketCommand, MarketReply, Store, StoreAction, SweepStores, SweptStores, SyncEnd,
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A sync that could not go on: a run, and two events that tell of it. Another `end` than the one before.
async fn failed(rig: &Rig, store: &Store, end: SyncEnd) {
    let token = rig.token();
    claim_sync(rig, store, token).await.expect("nobody syncs it");
    let event_ids = [rig.event_id(), rig.event_id()];
    let ending = StoreAction::EndSync { token, end, detail: None, not_before: None, event_ids };
    let ended = give(rig, store.store_id, ending).await;
    assert!(matches!(ended, Ok(MarketReply::Ended(Some(_)))), "{ended:?}");
}

/// A store with so many runs, a day apart, the last of them a day ago.
async fn with_runs(rig: &Rig, external_id: &str, runs: usize) -> Store {
    let store = registered(rig, registration("acme", "org-1", external_id, false)).await;
    for run in 0..runs {
        failed(rig, &store, [SyncEnd::Unavailable, SyncEnd::AccessRefused][run % 2]).await;
        rig.clock.advance(DAY);
    }
    store
}

async fn sweep(rig: &Rig, after: Option<StoreId>, stores: u32, days: u32, limit: u32) -> SweptStores {
    let ago = i64::from(days) * 24 * 3_600 * 1_000_000;
    let before = Timestamp::from_micros(rig.now().micros() - ago);
    let sweep = SweepStores { after, stores, before, limit };
    match rig.submit(Command::Market(Box::new(MarketCommand::Sweep(sweep)))).await {
        Ok(Reply::Market(reply)) => match *reply {
            MarketReply::Swept(swept) => swept,
            other => panic!("a sweep was answered {other:?}"),
        },
        other => panic!("a sweep was answered {other:?}"),
    }
}

/// The numbers of its runs, and the versions of its events.
async fn left(rig: &Rig, store: &Store) -> (Vec<u64>, Vec<u64>) {
    let markets = rig.storage().markets();
    let runs = markets.sync_runs(&store.tenant, store.store_id, None, 100).await.expect("runs");
    let events = markets.store_events(store.store_id, 0, 100).await.expect("events");
    (runs.iter().rev().map(|run| run.run).collect(), events.iter().map(|event| event.version).collect())
}

/// Runs and events that are old enough go, so many of a store at a time, a page of stores at a time; what is younger stays, and the newest
/// of each store however old it is.
pub async fn what_is_old_of_stores_is_forgotten_but_the_newest(rig: Rig) {
    let idle = with_runs(&rig, "ext-1", 2).await;
    let busy = with_runs(&rig, "ext-2", 6).await;
    let fresh = registered(&rig, registration("acme", "org-1", "ext-3", false)).await;
    let mut stores = [idle.store_id, busy.store_id, fresh.store_id];
    stores.sort();
    assert_eq!(
        sweep(&rig, None, 100, 9, 100).await,
        SweptStores { rows: 0, next: None },
        "nothing is so old"
    );
    // Three days and a bit: the runs that began more than three days ago.
    let (mut after, mut rows, mut pages) = (None, 0, Vec::new());
    loop {
        let swept = sweep(&rig, after, 1, 3, 2).await;
        (after, rows) = (swept.next, rows + swept.rows);
        pages.extend(swept.next);
        if swept.next.is_none() {
            break;
        }
    }
    assert_eq!(pages, stores, "each store is come to");
    assert_eq!(rows, (1 + 2) + (2 + 2), "a run and two events, and two and two of three and six");
    assert_eq!(left(&rig, &idle).await, (vec![2], vec![3, 4]));
    assert_eq!(left(&rig, &busy).await, (vec![3, 4, 5, 6], (3..=12).collect()));
    let rig = rig.reopen().await;
    rig.assert_sound().await;
    assert_eq!(sweep(&rig, None, 100, 3, 100).await.rows, 1 + 1 + 4, "the rest; of the idle one an event");
    assert_eq!(left(&rig, &idle).await, (vec![2], vec![4]), "the newest, however old");
    assert_eq!(left(&rig, &busy).await, (vec![4, 5, 6], (7..=12).collect()));
    assert_eq!(left(&rig, &fresh).await, (vec![], vec![]));
    assert_eq!(sweep(&rig, None, 100, 3, 100).await.rows, 0);
    rig.assert_sound().await;
}

/// Numbers are never given twice: a store of which most was forgotten goes on where it was.
pub async fn a_store_goes_on_behind_what_was_forgotten(rig: Rig) {
    let store = with_runs(&rig, "ext-1", 3).await;
    rig.clock.advance(10 * DAY);
    assert_eq!(sweep(&rig, None, 100, 5, 100).await.rows, 2 + 5);
    let rig = rig.reopen().await;
    failed(&rig, &store, SyncEnd::AccessRefused).await;
    assert_eq!(left(&rig, &store).await, (vec![3, 4], vec![6, 7, 8]));
    rig.assert_sound().await;
    assert_eq!(sweep(&rig, None, 100, 5, 100).await.rows, 1 + 1, "what was kept as the newest");
    assert_eq!(left(&rig, &store).await, (vec![4], vec![7, 8]));
    rig.assert_sound().await;
}

/// What a marketplace tells makes its store due at once, and has the order imported that it is about, unless that is done; what was refused as
/// none is asked for again. What may not be asked for yet is not.
pub async fn what_is_heard_of_a_store_is_looked_at_soon(rig: Rig) {
    let store = registered(&rig, registration("acme", "org-1", "ext-1", true)).await;
    let limited = ImportOutcome::RateLimited { retry_after: None };
    let outcomes = [imported("1", rig.now()), ImportOutcome::Invalid, ImportOutcome::Unavailable, limited];
    for (of, outcome) in ["done", "none", "away", "later"].into_iter().zip(outcomes) {
        tried(&rig, &store, of, outcome).await;
    }
    failed(&rig, &store, SyncEnd::AccessRefused).await;
    assert_eq!(due_stores(&rig, 10).await, [], "it was synced just now");
    let hear = async |of: Option<&str>| {
        let heard = give(&rig, store.store_id, StoreAction::Hear { receipt: of.map(receipt) }).await;
        assert!(matches!(heard, Ok(MarketReply::Store(_))), "{heard:?}");
    };
    hear(None).await;
    assert_eq!(due_stores(&rig, 10).await, [store.store_id]);
    for of in ["done", "none", "away", "later", "new", "new"] {
        hear(Some(of)).await;
    }
    let mut seen = Vec::new();
    for of in ["done", "none", "away", "later", "new"] {
        let import = import(&rig, &store, of).await.expect("it is there");
        seen.push((import.state, import.due_at.is_some_and(|at| at <= rig.now())));
    }
    let (again, new) = ((ImportState::Failed, true), (ImportState::Pending, true));
    let (done, later) = ((ImportState::Success, false), (ImportState::RateLimited, false));
    assert_eq!(seen, [done, again, again, later, new]);
    let nobody = StoreId(uuid::Uuid::from_u128(7));
    let unknown = give(&rig, nobody, StoreAction::Hear { receipt: None }).await;
    assert_eq!(unknown, Err(Rejection::StoreUnknown));
}

/// What an operator wants tried again is due, and its store is; all else that is said of either stays as it was until that is done.
pub async fn what_is_to_be_tried_again_is_due_and_stays_as_it_was(rig: Rig) {
    let store = registered(&rig, registration("acme", "org-1", "ext-1", false)).await;
    tried(&rig, &store, "done", imported("1", rig.now())).await;
    let mut before = tried(&rig, &store, "later", ImportOutcome::RateLimited { retry_after: None }).await;
    failed(&rig, &store, SyncEnd::Unavailable).await;
    let kept = rig.storage().markets().store(store.store_id).await.expect("a store").expect("it is there");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(due_stores(&rig, 10).await, [], "it was synced just now");
    for _ in 0..2 {
        let retry = StoreAction::Retry { receipt: receipt("later") };
        let retried = give(&rig, store.store_id, retry).await.expect("it is taken");
        (before.due_at, before.updated_at) = (Some(rig.now()), rig.now());
        assert_eq!(retried, MarketReply::Import(Box::new(before.clone())));
    }
    let rig = rig.reopen().await;
    assert_eq!(import(&rig, &store, "later").await, Some(before));
    let found = rig.storage().markets().store(store.store_id).await.expect("a store");
    assert_eq!(found, Some(Store { next_sync_at: Some(rig.now()), ..kept }));
    assert_eq!(due_stores(&rig, 10).await, [store.store_id]);
}
