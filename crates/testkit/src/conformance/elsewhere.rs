//! Work that is done elsewhere: put off by whoever claims it, and ended without a lease.

use super::Rig;
use crate::build::{intake, source};
use order_core::Rejection;
use order_core::command::ChangeKind;
use order_core::elsewhere::PUT_OFF;
use order_core::lease::Outcome;
use order_core::state::Processing;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);

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
    for number in 0..5 {
        elsewhere.push(rig.new_order(intake(&format!("S-{number}")).source("shop")).await);
    }
    let here = rig.new_order(intake("A-1")).await;
    let claimed = rig.app.claim(None, 2, LEASE, 3).await.expect("a claim");
    let leased: Vec<_> = claimed.leased.iter().map(|leased| leased.order.id).collect();
    assert_eq!(leased, [here.id]);
    assert_eq!(rig.order(elsewhere[0].id).await, elsewhere[0], "nothing has happened to it");
    let nothing = rig.app.claim(None, 10, LEASE, 3).await.expect("a claim");
    assert!(nothing.leased.is_empty());
    rig.assert_sound().await;
    for _ in 0..5 {
        rig.clock.advance(PUT_OFF);
        rig.app.claim(None, 10, LEASE, 3).await.expect("a claim");
    }
    let order = rig.changed(elsewhere[4].id, ChangeKind::Finish).await;
    assert_eq!((order.attempt, order.last_error), (1, None), "no lease ran out meanwhile");
    rig.assert_sound().await;
}
