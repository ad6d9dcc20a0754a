//! Work for workers outside: of one tenant, through the use cases that the API calls.

use super::Rig;
use super::rig::{LAPSES_MAX, LEASE};
use crate::build::{intake, tenant};
use order_core::clock::Timestamp;
use order_core::command::{Claim, Claimed, Command, Reply};
use order_core::desk::Desks;
use order_core::error::{Error, Rejection};
use order_core::ids::{OrderId, TenantId};
use order_core::lease::{Backoff, LeasePolicy, Leased};
use order_core::ports::Processed;
use order_core::pull::Held;
use order_core::state::Processing;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const POLICY: LeasePolicy = LeasePolicy {
    lease: LEASE,
    heartbeat: Duration::from_secs(10),
    attempts_max: 3,
    lapses_max: LAPSES_MAX,
    backoff: Backoff { base: Duration::from_secs(4), cap: Duration::from_secs(60) },
};

async fn claim_of(rig: &Rig, owner: Option<&str>, count: usize) -> Claimed {
    let claim = Claim { tenant: owner.map(tenant), ..rig.claim_command(count) };
    match rig.submit(Command::Claim(claim)).await {
        Ok(Reply::Claimed(claimed)) => claimed,
        other => panic!("a claim was answered {other:?}"),
    }
}

fn ids_of(claimed: &Claimed) -> Vec<OrderId> {
    claimed.leased.iter().map(|leased| leased.order.id).collect()
}

fn held(leased: &Leased) -> Held {
    Held { order_id: leased.order.id, token: leased.token, attempt: leased.attempt, begun: None }
}

fn failed(retry_after: Option<u64>) -> Processed {
    Processed::Failed { why: "no".to_owned(), retry_after: retry_after.map(Duration::from_secs) }
}

async fn due_of(rig: &Rig, owner: &str) -> Option<Timestamp> {
    rig.storage().next_due(&tenant(owner), Desks::ALL).await.expect("a read")
}

/// A claim of one tenant takes its work alone, however much of others' is due before it; a claim of any takes what is due
/// first, whoever's it is.
pub async fn a_claim_of_one_tenant_takes_its_work_alone(rig: Rig) {
    let mut orders = Vec::new();
    for (index, owner) in ["a", "b", "a", "c", "b", "a"].into_iter().enumerate() {
        orders.push(rig.new_order(intake(&format!("o-{index}")).tenant(owner)).await);
        rig.clock.tick();
    }
    let id = |index: usize| orders[index].id;
    assert_eq!(due_of(&rig, "b").await, Some(orders[1].accepted_at), "b's work has been due since then");
    let none = claim_of(&rig, Some("nobody"), 10).await;
    assert_eq!(none, Claimed::default(), "who has no work gets none, and hears of no other's");
    let theirs = claim_of(&rig, Some("b"), 10).await;
    assert_eq!(ids_of(&theirs), [id(1), id(4)], "b's, what is due first before the rest");
    assert!(theirs.leased.iter().all(|leased| leased.order.tenant == tenant("b")));
    assert_eq!(theirs.next_due, None, "nothing of b's is left");
    assert_eq!(due_of(&rig, "b").await, Some(rig.now().plus(LEASE)), "the ends of its leases are next");
    let one = claim_of(&rig, Some("a"), 1).await;
    assert_eq!((ids_of(&one), one.next_due), (vec![id(0)], Some(orders[2].accepted_at)));
    let any = claim_of(&rig, None, 2).await;
    assert_eq!(ids_of(&any), [id(2), id(3)], "anybody's, what is due first before the rest");
    assert_eq!(any.next_due, Some(orders[5].accepted_at));
    assert_eq!(ids_of(&claim_of(&rig, None, 10).await), [id(5)], "what is left");
    rig.clock.advance(LEASE * 2);
    assert_eq!(claim_of(&rig, Some("c"), 10).await.lapsed, 1, "c's lease ran out");
    rig.assert_sound().await;
}

/// Work of many tenants that is due at once is claimed in the order of the orders' numbers.
pub async fn work_of_many_tenants_is_claimed_in_order(rig: Rig) {
    let mut orders = Vec::new();
    for index in 0..30 {
        orders.push(rig.new_order(intake(&format!("o-{index}")).tenant(["x", "z", "y"][index % 3])).await.id);
    }
    let mut claimed = Vec::new();
    for _ in 0..6 {
        claimed.extend(ids_of(&claim_of(&rig, None, 5).await));
    }
    assert_eq!(claimed, orders);
}

/// Clients of two tenants claim at once: nobody gets another's work, none is handed out twice.
pub async fn claims_of_several_tenants_never_overlap(rig: Rig) {
    for index in 0..60 {
        rig.new_order(intake(&format!("o-{index}")).tenant(["a", "b"][index % 2])).await;
    }
    let tasks: Vec<_> = (0..16)
        .map(|worker| {
            let app = Arc::clone(&rig.app);
            let owner = tenant(["a", "b"][worker % 2]);
            tokio::spawn(async move {
                let claimed =
                    app.claim(Some(owner.clone()), Desks::ALL, 5, LEASE, LAPSES_MAX).await.expect("a claim");
                (owner, claimed)
            })
        })
        .collect();
    let mut seen: BTreeSet<OrderId> = BTreeSet::new();
    for task in tasks {
        let (owner, claimed) = task.await.expect("a task");
        for leased in claimed.leased {
            assert_eq!(leased.order.tenant, owner, "one's own work alone");
            assert!(seen.insert(leased.order.id), "the same work was handed out twice");
        }
    }
    assert_eq!(seen.len(), 60, "16 claims of 5 take 30 of each");
}

/// Work whose leases keep running out is parked by the claim that finds it; what is due behind it is leased all the same,
/// so that an empty answer means that nothing is due.
pub async fn what_is_parked_keeps_nobody_from_what_is_due_behind_it(rig: Rig) {
    const DEAD: usize = 7;
    for index in 0..DEAD {
        rig.new_order(intake(&format!("dead-{index}"))).await;
    }
    for _ in 0..LAPSES_MAX {
        assert_eq!(rig.claim(DEAD).await.leased.len(), DEAD);
        rig.clock.advance(LEASE);
    }
    let mut live = Vec::new();
    for index in 0..3 {
        live.push(rig.new_order(intake(&format!("live-{index}"))).await.id);
        rig.clock.tick();
    }
    let claimed = claim_of(&rig, None, 2).await;
    assert_eq!((claimed.leased.len(), claimed.parked), (0, 2), "as many are parked as there are event ids");
    assert!(claimed.next_due.is_some_and(|due| due <= rig.now()), "and more is due");
    let enough = Claim { tokens: vec![rig.token()], ..rig.claim_command(4) };
    let Ok(Reply::Claimed(claimed)) = rig.submit(Command::Claim(enough)).await else { panic!("a claim") };
    assert_eq!((claimed.leased.len(), claimed.parked), (0, 4));
    // One is left to be parked.
    let claimed = claim_of(&rig, None, 2).await;
    assert_eq!((ids_of(&claimed), claimed.parked), (live[..2].to_vec(), 1), "what is due behind is leased");
    assert!(claimed.next_due.is_some_and(|due| due <= rig.now()));
    rig.clock.advance(LEASE * 2);
    for _ in 0..LAPSES_MAX {
        rig.claim(10).await;
        rig.clock.advance(LEASE);
    }
    let last = rig.new_order(intake("last")).await.id;
    let claimed = rig
        .app
        .claim(Some(TenantId::default_tenant()), Desks::ALL, 1, LEASE, LAPSES_MAX)
        .await
        .expect("a claim");
    assert_eq!(ids_of(&claimed), [last], "the use case asks on by itself");
    let claimed = rig.app.claim(None, Desks::ALL, 1, LEASE, LAPSES_MAX).await.expect("a claim");
    assert_eq!((claimed.leased.len(), claimed.parked), (0, 0), "nothing is due any more");
    rig.assert_sound().await;
}

/// Done, retried, parked: exactly as the worker of this process would have it.
pub async fn what_a_try_outside_comes_to_is_decided_as_here(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let default = TenantId::default_tenant();
    let claim = async || {
        let mut claimed =
            rig.app.claim(Some(default.clone()), Desks::ALL, 1, LEASE, LAPSES_MAX).await.expect("a claim");
        claimed.leased.pop().expect("work must be due")
    };
    let first = claim().await;
    let failed_once = rig.app.finish(held(&first), failed(None), &POLICY).await.expect("the lease is held");
    assert_eq!(
        (failed_once.processing, failed_once.attempt),
        (Processing::Queued, 1),
        "a retry is an attempt"
    );
    let due = due_of(&rig, "default").await.expect("due again").since(rig.now());
    assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&due), "after the backoff: {due:?}");
    rig.clock.advance(Duration::from_secs(4));
    let second = claim().await;
    assert_eq!(second.attempt, 2);
    rig.app.finish(held(&second), failed(Some(30)), &POLICY).await.expect("the lease is held");
    let due = due_of(&rig, "default").await.expect("due again").since(rig.now());
    assert_eq!(due, Duration::from_secs(30), "what the worker asks for is honoured");
    rig.clock.advance(Duration::from_secs(30));
    let third = claim().await;
    let parked = rig.app.finish(held(&third), failed(None), &POLICY).await.expect("the lease is held");
    assert_eq!((parked.processing, parked.attempt), (Processing::Parked, 3), "the last attempt parks");
    let again = rig.app.finish(held(&third), Processed::Done, &POLICY).await;
    assert!(matches!(again, Err(Error::Rejection(Rejection::LeaseLost))), "its lease has ended: {again:?}");
    let other = rig.new_order(intake("A-2")).await;
    let hopeless = Processed::Hopeless { why: "never".to_owned() };
    let parked = rig.app.finish(held(&claim().await), hopeless, &POLICY).await.expect("the lease is held");
    assert_eq!((parked.id, parked.last_error.as_deref()), (other.id, Some("never")));
    assert_eq!(rig.order(order.id).await.last_error.as_deref(), Some("no"));
    rig.assert_sound().await;
}

/// Several results at once, some of them too late: each for itself.
pub async fn results_that_come_together_count_each_for_itself(rig: Rig) {
    for index in 0..4 {
        rig.new_order(intake(&format!("o-{index}"))).await;
    }
    let default = TenantId::default_tenant();
    let claim = async || {
        rig.app.claim(Some(default.clone()), Desks::ALL, 4, LEASE, LAPSES_MAX).await.expect("a claim")
    };
    let zombies = claim().await.leased;
    rig.clock.advance(LEASE - Duration::from_secs(1));
    let kept = vec![(zombies[0].order.id, zombies[0].token), (zombies[1].order.id, zombies[1].token)];
    let (until, lost) = rig.app.extend(kept, Duration::from_secs(90)).await.expect("a heartbeat");
    assert_eq!((until, lost), (rig.now().plus(Duration::from_secs(90)), vec![]));
    rig.clock.advance(Duration::from_secs(1));
    let heirs = claim().await.leased;
    assert_eq!(heirs.len(), 2, "the leases that nobody extended ran out");
    let before = (rig.order(zombies[2].order.id).await, rig.journal_size().await);
    let results: Vec<_> = zombies.iter().map(|leased| (held(leased), Processed::Done)).collect();
    let ended = rig.app.finish_all(&results, &POLICY).await;
    let done: Vec<bool> = ended.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, true, false, false], "{ended:?}");
    assert_eq!(rig.order(zombies[2].order.id).await, before.0, "a zombie changes nothing");
    assert_eq!(rig.journal_size().await, before.1 + 2);
    let lost =
        rig.app.extend(vec![(zombies[3].order.id, zombies[3].token)], LEASE).await.expect("a heartbeat").1;
    assert_eq!(lost, [zombies[3].token], "nor does it extend anything");
    let results: Vec<_> = heirs.iter().map(|leased| (held(leased), Processed::Done)).collect();
    assert!(rig.app.finish_all(&results, &POLICY).await.iter().all(Result::is_ok), "the heirs end it");
    rig.assert_sound().await;
}
