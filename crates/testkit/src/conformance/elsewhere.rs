//! Work that is done elsewhere: put off by whoever claims it, and ended without a lease.

use super::Rig;
use super::rig::{LAPSES_MAX, LEASE};
use crate::build::{intake, source};
use order_core::Rejection;
use order_core::clock::Timestamp;
use order_core::command::ChangeKind;
use order_core::elsewhere::PUT_OFF;
use order_core::ids::TenantId;
use order_core::lease::Outcome;
use order_core::state::Processing;

/// From every state in which something is left to do; whoever held it has lost it.
pub async fn work_that_was_done_elsewhere_ends_without_a_lease(rig: Rig) {
    let queued = rig.new_order(intake("A-1")).await;
    let done = rig.changed(queued.id, ChangeKind::Finish).await;
    assert_eq!((done.processing, done.attempt, done.version), (Processing::Done, 1, 2));
    assert_eq!((done.processed_at, done.started_at), (Some(rig.now()), Some(queued.updated_at)));
    let again = rig.change(queued.id, ChangeKind::Finish).await.expect("a repetition is no error");
    assert!(!again.changed);

    rig.new_order(intake("A-2")).await;
    let leased = rig.claim_one().await;
    rig.clock.tick();
    let done = rig.changed(leased.order.id, ChangeKind::Finish).await;
    assert_eq!((done.attempt, done.started_at, done.lease), (1, Some(leased.began_at), None));
    assert_eq!(rig.settle(&leased, Outcome::Done).await, Err(Rejection::LeaseLost));

    let parked = rig.parked(intake("A-3"), "out of order").await;
    let done = rig.changed(parked.id, ChangeKind::Finish).await;
    assert_eq!((done.processing, done.last_error), (Processing::Done, None));
    assert!(rig.claim(10).await.leased.is_empty(), "nothing is left to do");
    rig.assert_sound().await;
}

/// Others are leased meanwhile, and it uses up nothing.
pub async fn work_that_is_done_elsewhere_is_put_off(rig: Rig) {
    rig.app.elsewhere.set([source("shop")]);
    let mut elsewhere = Vec::new();
    for number in 0..3 {
        elsewhere.push(rig.new_order(intake(&format!("S-{number}")).source("shop")).await);
    }
    let here = rig.new_order(intake("A-1")).await;
    let claimed = rig.app.claim(None, 2, LEASE, 3).await.expect("a claim");
    let leased: Vec<_> = claimed.leased.iter().map(|leased| leased.order.id).collect();
    assert_eq!(leased, [here.id]);
    assert_eq!(rig.order(elsewhere[0].id).await, elsewhere[0], "nothing has happened to it");
    let nothing = rig.app.claim(None, 10, LEASE, 3).await.expect("a claim");
    assert!(nothing.leased.is_empty());
    rig.settle(&claimed.leased[0], Outcome::Done).await.expect("the lease is held");
    rig.assert_sound().await;
    for _ in 0..5 {
        rig.clock.advance(PUT_OFF);
        assert_eq!(is_due(&rig).await, Some(rig.now()), "then it is due again");
        let claimed = rig.app.claim(None, 10, LEASE, 3).await.expect("a claim");
        assert!(claimed.leased.is_empty(), "and put off again");
        assert_eq!(is_due(&rig).await, Some(rig.now().plus(PUT_OFF)));
    }
    let order = rig.changed(elsewhere[2].id, ChangeKind::Finish).await;
    assert_eq!((order.attempt, order.last_error), (1, None), "no lease ran out meanwhile");
    rig.assert_sound().await;
}

async fn is_due(rig: &Rig) -> Option<Timestamp> {
    rig.storage().next_due(&TenantId::default_tenant()).await.expect("a read")
}

/// However much of it is due, nobody waits for all of it.
pub async fn a_claim_that_finds_too_much_done_elsewhere_ends(rig: Rig) {
    rig.app.elsewhere.set([source("shop")]);
    for number in 0..9 {
        rig.new_order(intake(&format!("S-{number}")).source("shop")).await;
        rig.clock.tick();
    }
    let here = rig.new_order(intake("A-1")).await;
    let claimed = rig.app.claim(None, 2, LEASE, 3).await.expect("a claim");
    assert!(claimed.leased.is_empty());
    assert!(claimed.next_due.is_some_and(|due| due <= rig.now()), "whoever asked comes again");
    let left = rig.claim(100).await.leased;
    assert_eq!(left.len(), 6, "two rounds of two were put off, and the rest is as it was");
    let [.., last] = &left[..] else { panic!("six") };
    assert_eq!(last.order.id, here.id, "in the order of its due time");
    for leased in &left {
        rig.settle(leased, Outcome::Release { at: rig.now() }).await.expect("the lease is held");
    }
    let claimed = rig.app.claim(None, 4, LEASE, 3).await.expect("a claim");
    assert_eq!(claimed.leased.len(), 1, "and it is found");
    rig.assert_sound().await;
}

/// A put-off that fails is a lease that runs out. Those are not in a row with one that did not fail in between.
pub async fn a_put_off_forgets_leases_that_ran_out(rig: Rig) {
    rig.app.elsewhere.set([source("shop")]);
    let order = rig.new_order(intake("S-1").source("shop")).await;
    for _ in 0..2 * LAPSES_MAX {
        // Whoever claims it dies before it puts it off.
        assert_eq!(rig.claim_one().await.lapses, 0);
        rig.clock.advance(LEASE);
        let claimed = rig.app.claim(None, 1, LEASE, LAPSES_MAX).await.expect("a claim");
        assert!(claimed.leased.is_empty(), "it is put off");
        rig.clock.advance(PUT_OFF);
    }
    assert_eq!(rig.order(order.id).await, order, "nothing has happened to it");
    for lapses in 0..LAPSES_MAX {
        assert_eq!(rig.claim_one().await.lapses, lapses);
        rig.clock.advance(LEASE);
    }
    assert_eq!(rig.claim(1).await.parked, 1, "these are in a row");
    rig.assert_sound().await;
}
