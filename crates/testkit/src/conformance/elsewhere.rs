//! Work that nobody here does: ended without a lease, or never there.

use super::Rig;
use crate::build::intake;
use order_core::Rejection;
use order_core::command::ChangeKind;
use order_core::event::EventType;
use order_core::intake::Accepted;
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

/// Two events of one commit, and nothing that anybody could claim in between; an order that is there stays as it is.
pub async fn an_order_may_be_withdrawn_as_it_is_taken_in(rig: Rig) {
    let withdraw = async |reference: &str| {
        let intake = intake(reference).key(reference).build();
        rig.app.accept_withdrawn(intake, "gone already", "somebody".into()).await.expect("an accept")
    };
    let Accepted::New(order) = withdraw("A-1").await else { panic!("a new order") };
    assert_eq!((order.withdrawn, order.processing, order.version), (true, Processing::Done, 2));
    assert_eq!(rig.order(order.id).await, *order);
    let kinds: Vec<_> = rig
        .events_of(&order.tenant, order.id)
        .await
        .expect("events")
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, [EventType::OrderAccepted, EventType::OrderWithdrawn]);
    assert!(rig.claim(10).await.leased.is_empty(), "nothing is left to do");
    assert!(matches!(withdraw("A-1").await, Accepted::Duplicate { order, .. } if order.version == 2));

    let there = rig.new_order(intake("A-2")).await;
    assert!(matches!(withdraw("A-2").await, Accepted::Duplicate { .. }));
    assert_eq!(rig.order(there.id).await, there, "it stays as it is");
    rig.assert_sound().await;
}
