//! Work: claims, leases, their loss, and the ends of work.

use super::rig::{LAPSES_MAX, LEASE, Rig};
use crate::build::{id_of, intake};
use order_core::clock::Timestamp;
use order_core::command::{ChangeKind, Claim, Claimed, Command, Reply};
use order_core::error::Rejection;
use order_core::event::EventType;
use order_core::ids::OrderId;
use order_core::lease::{Leased, Outcome};
use order_core::state::Processing;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const MICRO: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);

fn ids_of(claimed: &Claimed) -> Vec<OrderId> {
    claimed.leased.iter().map(|leased| leased.order.id).collect()
}

fn retry(rig: &Rig, after: Duration) -> Outcome {
    Outcome::Retry { at: rig.now().plus(after), why: "not yet".to_owned() }
}

/// What is due longest comes first, never more than asked for, and never before its time.
pub async fn claims_take_what_is_due_in_the_order_of_its_due_time(rig: Rig) {
    let mut orders = Vec::new();
    for name in ["a", "b", "c"] {
        orders.push(rig.new_order(intake(name)).await.id);
        rig.clock.advance(SECOND);
    }
    let first = rig.claim(2).await;
    assert_eq!(ids_of(&first), orders[..2], "the two that are due longest, in that order");
    let third_due = rig.order(orders[2]).await.accepted_at;
    assert_eq!(first.next_due, Some(third_due), "the third is due and was not claimed");
    rig.settle(&first.leased[0], retry(&rig, SECOND * 5)).await.expect("the lease is held");
    let rest = rig.claim(10).await;
    assert_eq!(ids_of(&rest), orders[2..], "neither leased work nor a retry that is not due");
    assert_eq!(rest.next_due, Some(rig.now().plus(SECOND * 5)), "the retry is due next");
    rig.clock.advance(SECOND * 5 - MICRO);
    assert_eq!(ids_of(&rig.claim(10).await), [], "a microsecond before it is due");
    rig.clock.advance(MICRO);
    assert_eq!(ids_of(&rig.claim(10).await), orders[..1], "at the moment at which it is due");
    let nothing = rig.claim(0).await;
    assert_eq!(nothing.leased, [], "a claim of nothing takes nothing");
}

/// What a lease says agrees with what its order says.
pub async fn a_lease_is_seen_on_its_order_and_runs_out(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    assert_eq!(order.lease, None, "nobody holds new work");
    rig.clock.advance(SECOND);
    let leased = rig.claim_one().await;
    assert_eq!((leased.attempt, leased.lapses), (1, 0), "the first try");
    assert_eq!((leased.began_at, leased.until), (rig.now(), rig.now().plus(LEASE)));
    assert_eq!(leased.shard, rig.shard_of("A-1"));
    assert_eq!(leased.effect_key, order.cause, "the effect's key is the event that made the work");
    let seen = rig.order(order.id).await;
    assert_eq!(seen, leased.order, "a claim hands out the order as a read shows it");
    let lease = seen.lease.expect("the lease is seen");
    assert_eq!((lease.token, lease.attempt), (leased.token, 1));
    assert_eq!((lease.began_at, lease.until), (leased.began_at, leased.until));
    assert_eq!(seen.version, 1, "a claim writes no event");
    assert_eq!((seen.processing, seen.processing_at(rig.now())), (Processing::Queued, Processing::Running));
    rig.clock.advance(LEASE);
    assert_eq!(seen.processing_at(rig.now()), Processing::Queued, "a lease that ran out runs no more");
    assert!(rig.order(order.id).await.lease.is_some(), "a lapsed lease is still seen until somebody claims");
}

/// A clock may be set back while work waits.
pub async fn a_lease_begins_no_earlier_than_its_order_was_accepted(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let first = rig.claim_one().await;
    let earlier = Timestamp::from_micros(order.accepted_at.micros() - 60_000_000);
    rig.settle(&first, Outcome::Release { at: earlier }).await.expect("the lease is held");
    let claim = Claim { now: earlier, ..rig.claim_command(1) };
    let leased = match rig.submit(Command::Claim(claim)).await {
        Ok(Reply::Claimed(claimed)) => claimed.leased,
        other => panic!("a claim was answered {other:?}"),
    };
    assert_eq!((leased[0].began_at, leased[0].until), (order.accepted_at, earlier.plus(LEASE)));
    let lease = rig.order(order.id).await.lease.expect("the lease is seen");
    assert_eq!(lease.began_at, order.accepted_at);
    rig.assert_sound().await;
}

/// Many workers claim at once: no work is handed out twice, none is left.
pub async fn concurrent_claims_never_overlap(rig: Rig) {
    let intakes = (0..60).map(|index| intake(&format!("o-{index}")).build()).collect();
    let orders = rig.new_orders(intakes).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (app, claim) = (Arc::clone(&rig.app), rig.claim_command(7));
            tokio::spawn(async move { app.lanes.submit(Command::Claim(claim)).await })
        })
        .collect();
    let (mut claimed, mut tokens) = (Vec::new(), BTreeSet::new());
    for task in tasks {
        let Ok(Reply::Claimed(reply)) = task.await.expect("the task ends") else {
            panic!("a claim must be answered")
        };
        assert!(reply.leased.len() <= 7, "never more than asked for");
        claimed.extend(ids_of(&reply));
        tokens.extend(reply.leased.iter().map(|leased| leased.token));
    }
    let distinct: BTreeSet<_> = claimed.iter().copied().collect();
    assert_eq!(claimed.len(), distinct.len(), "two workers were given the same work");
    assert_eq!(distinct, orders.iter().map(|order| order.id).collect(), "16 × 7 claims must take all 60");
    assert_eq!(tokens.len(), 60, "every lease has a token of its own");
}

/// Done: the order, its event, its times, and no work left.
pub async fn finished_work_is_gone_and_told_once(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    rig.clock.advance(SECOND);
    let leased = rig.claim_one().await;
    rig.clock.advance(SECOND * 3);
    let done = rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
    assert_eq!((done.processing, done.attempt, done.version), (Processing::Done, 1, 2));
    assert_eq!((done.started_at, done.processed_at), (Some(leased.began_at), Some(rig.now())));
    assert_eq!((done.last_error.as_deref(), done.lease), (None, None));
    assert_eq!(rig.order(order.id).await, done, "a read must give what the settle answered");
    assert_eq!(rig.events(order.id).await[1].kind, EventType::OrderProcessed);
    let again = rig.settle(&leased, Outcome::Done).await;
    assert_eq!(again, Err(Rejection::LeaseLost), "finishing twice is refused");
    rig.clock.advance(LEASE * 20);
    assert_eq!(rig.claim(10).await, Claimed::default(), "finished work is never due again");
    assert_eq!(rig.journal_size().await, 2);
    rig.assert_sound().await;
}

/// Nobody else claimed it: being late is no loss.
pub async fn a_late_finish_counts_while_nobody_else_claimed(rig: Rig) {
    rig.new_order(intake("A-1")).await;
    let leased = rig.claim_one().await;
    rig.clock.advance(LEASE * 3);
    let done = rig.settle(&leased, Outcome::Done).await.expect("the token still holds");
    assert_eq!(done.processing, Processing::Done);
}

/// A zombie can finish nothing, whatever it says.
pub async fn a_token_is_worthless_once_somebody_else_claimed(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let zombie = rig.claim_one().await;
    rig.clock.advance(LEASE);
    let heir = rig.claim_one().await;
    assert_ne!(zombie.token, heir.token, "a claim makes a fresh token");
    assert_eq!((heir.attempt, heir.lapses), (1, 1), "a lapse is no attempt");
    assert_eq!(heir.effect_key, zombie.effect_key, "the outside knows the repetition by its key");
    let before = rig.order(order.id).await;
    let ends = [
        Outcome::Done,
        retry(&rig, SECOND),
        Outcome::Park { why: "zombie".to_owned() },
        Outcome::Release { at: rig.now() },
    ];
    for end in ends {
        assert_eq!(rig.settle(&zombie, end.clone()).await, Err(Rejection::LeaseLost), "a zombie's {end:?}");
    }
    assert_eq!(rig.heartbeat(vec![(order.id, zombie.token)]).await, [zombie.token], "a zombie's heartbeat");
    assert_eq!(rig.order(order.id).await, before, "a zombie must change nothing");
    let done = rig.settle(&heir, Outcome::Done).await.expect("the heir holds the lease");
    assert_eq!(done.attempt, 1, "the attempt that lapsed was never counted");
    rig.assert_sound().await;
}

/// A change that must be processed replaces the work: who holds the old one has lost it.
pub async fn a_change_that_requeues_takes_the_lease_away(rig: Rig) {
    let content = Box::new(intake("A-1").total("25").build().content);
    let withdraw = |requeue| ChangeKind::Withdraw { reason: "r".to_owned(), by: "b".to_owned(), requeue };
    // A revision of open work does so whether asked or not: what is processed is the newest content.
    let revise = |requeue| ChangeKind::Revise { content: content.clone(), requeue };
    let kinds =
        [("revise", revise(true)), ("revise in any case", revise(false)), ("withdraw", withdraw(true))];
    for (name, kind) in kinds {
        let order = rig.new_order(intake(name)).await;
        let old = rig.claim_one().await;
        rig.clock.tick();
        let changed = rig.changed(order.id, kind).await;
        assert_eq!(
            (changed.processing, changed.lease),
            (Processing::Queued, None),
            "{name}: the lease is taken away"
        );
        assert_ne!(changed.cause, order.cause, "{name}: the new work has another cause");
        assert_eq!(
            rig.heartbeat(vec![(order.id, old.token)]).await,
            [old.token],
            "{name}: the old token is lost"
        );
        assert_eq!(
            rig.settle(&old, Outcome::Done).await,
            Err(Rejection::LeaseLost),
            "{name}: so is its result"
        );
        let new = rig.claim_one().await;
        assert_eq!((new.order.id, new.attempt, new.lapses), (order.id, 1, 0), "{name}: a fresh budget");
        assert_eq!(new.effect_key, changed.cause, "{name}: another effect has another key");
        rig.settle(&new, Outcome::Done).await.expect("the new lease is held");
    }
    let order = rig.new_order(intake("dropped")).await;
    let old = rig.claim_one().await;
    let gone = rig.changed(order.id, withdraw(false)).await;
    assert_eq!((gone.processing, gone.withdrawn), (Processing::Done, true), "nothing is left to do for it");
    assert_eq!(rig.settle(&old, Outcome::Done).await, Err(Rejection::LeaseLost), "its work is gone");
    rig.assert_sound().await;
}

/// A try that began before an erasure knows what was erased. Its words must not come in behind it.
pub async fn an_erasure_takes_the_lease_away_and_uses_up_nothing(rig: Rig) {
    let order = rig.new_order(intake("A-1").customer(Some("Ada"))).await;
    let first = rig.claim_one().await;
    rig.settle(&first, retry(&rig, SECOND)).await.expect("the lease is held");
    rig.clock.advance(SECOND);
    let old = rig.claim_one().await;
    assert_eq!((old.attempt, old.order.content.customer.as_deref()), (2, Some("Ada")));
    rig.clock.tick();
    let erased = rig.changed(order.id, ChangeKind::Erase).await;
    assert_eq!((erased.processing, erased.lease), (Processing::Queued, None), "the lease is taken away");
    let words = |why: &str| Outcome::Park { why: why.to_owned() };
    assert_eq!(rig.settle(&old, words("Ada is unknown")).await, Err(Rejection::LeaseLost));
    assert_eq!(rig.heartbeat(vec![(order.id, old.token)]).await, [old.token], "the old token is lost");
    let new = rig.claim_one().await;
    assert_eq!((new.attempt, new.lapses, new.effect_key), (2, 0, old.effect_key), "the same try once more");
    assert_eq!(new.order.content.customer, None, "of the order as it is now");
    rig.settle(&new, words("nobody is there")).await.expect("the new lease is held");
    assert!(rig.events(order.id).await.iter().all(|event| !event.data.contains("Ada")));
    rig.assert_sound().await;

    // Work that nobody holds stays due when it was.
    let waiting = rig.new_order(intake("A-2")).await;
    let leased = rig.claim_one().await;
    rig.settle(&leased, retry(&rig, SECOND)).await.expect("the lease is held");
    rig.changed(waiting.id, ChangeKind::Erase).await;
    assert_eq!(rig.claim(1).await.next_due, Some(rig.now().plus(SECOND)));
    rig.assert_sound().await;
}

/// Where no work is open, a revision makes some only when asked; what comes next is for the new content, under a key of
/// its own.
pub async fn a_revision_makes_work_when_asked_and_names_what_comes_next(rig: Rig) {
    let revise = |total: &str, requeue| {
        let content = Box::new(intake("A-1").total(total).build().content);
        ChangeKind::Revise { content, requeue }
    };
    let order = rig.new_order(intake("A-1")).await;
    let leased = rig.claim_one().await;
    let failed = rig.settle(&leased, retry(&rig, LEASE)).await.expect("the lease is held");
    assert_eq!(failed.attempt, 1);
    let revised = rig.changed(order.id, revise("20", false)).await;
    assert_eq!((revised.processing, revised.attempt), (Processing::Queued, 0), "it starts anew");
    let leased = rig.claim_one().await;
    assert_eq!((leased.attempt, leased.order.content.total.to_string().as_str()), (1, "20"), "due at once");
    assert_eq!(leased.effect_key, revised.cause);
    rig.settle(&leased, Outcome::Park { why: "no".to_owned() }).await.expect("the lease is held");
    let parked = rig.changed(order.id, revise("21", false)).await;
    assert_eq!((parked.processing, parked.attempt), (Processing::Parked, 1), "an operator looks at it");
    assert_eq!(rig.claim(1).await, Claimed::default(), "nothing is due");
    let redrive = ChangeKind::Redrive { reason: "mended".to_owned(), by: "op".to_owned() };
    rig.changed(order.id, redrive).await;
    let leased = rig.claim_one().await;
    assert_eq!(leased.effect_key, parked.cause);
    assert_ne!(leased.effect_key, revised.cause, "new content is another effect, after a redrive too");
    let done = rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
    let corrected = rig.changed(order.id, revise("22", false)).await;
    assert_eq!((corrected.processing, corrected.processed_at), (Processing::Done, done.processed_at));
    assert_eq!(rig.claim(1).await, Claimed::default(), "what is done is not done again");
    let again = rig.changed(order.id, revise("23", true)).await;
    assert_eq!((again.processing, again.attempt, again.processed_at), (Processing::Queued, 0, None));
    let leased = rig.claim_one().await;
    assert_eq!((leased.effect_key, leased.attempt), (again.cause, 1), "unless asked for");
    rig.assert_sound().await;
}

/// Other changes leave the work where it is.
pub async fn a_change_that_does_not_requeue_leaves_the_lease(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let leased = rig.claim_one().await;
    rig.clock.tick();
    let shipped = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: None };
    for kind in [shipped, ChangeKind::Deliver { delivered_at: rig.now() }] {
        let changed = rig.changed(order.id, kind).await;
        assert_eq!(changed.lease.map(|lease| lease.token), Some(leased.token), "the lease stays");
    }
    let done = rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
    assert_eq!(done.version, 4);
    rig.assert_sound().await;
}

/// A heartbeat moves the end of what is held, and names what is not.
pub async fn a_heartbeat_extends_what_is_held_and_names_what_is_lost(rig: Rig) {
    let (kept, gone) = (rig.new_order(intake("kept")).await, rig.new_order(intake("gone")).await);
    let leased = rig.claim(2).await.leased;
    let of = |order_id| leased.iter().find(|leased| leased.order.id == order_id).expect("both are leased");
    rig.settle(of(gone.id), Outcome::Done).await.expect("the lease is held");
    rig.clock.advance(LEASE - SECOND);
    let stranger = rig.token();
    let held = vec![(kept.id, of(kept.id).token), (gone.id, of(gone.id).token), (kept.id, stranger)];
    let mut lost = rig.heartbeat(held).await;
    let mut expected = vec![of(gone.id).token, stranger];
    lost.sort();
    expected.sort();
    assert_eq!(lost, expected, "exactly the tokens that hold nothing are lost");
    let lease = rig.order(kept.id).await.lease.expect("it is held");
    assert_eq!(
        (lease.until, lease.token),
        (rig.now().plus(LEASE), of(kept.id).token),
        "the lease was extended"
    );
    assert_eq!(lease.began_at, of(kept.id).began_at, "when it began stays");
    rig.clock.advance(LEASE - MICRO);
    assert_eq!(ids_of(&rig.claim(10).await), [], "the extended lease still holds");
    rig.clock.advance(MICRO);
    assert_eq!(ids_of(&rig.claim(10).await), [kept.id], "now it ran out");
    assert_eq!(rig.journal_size().await, 3, "heartbeats write no events");
}

/// Lapses in a row count up, no attempt is used, and the last one parks.
pub async fn lapses_use_up_no_attempt_and_ten_in_a_row_park(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    for lapses in 0..LAPSES_MAX {
        let claimed = rig.claim(5).await;
        assert_eq!(claimed.leased.len(), 1, "after {lapses} lapses it is leased again");
        assert_eq!(claimed.lapsed, u32::from(lapses > 0), "the claim counts the lease that ran out");
        assert_eq!(
            (claimed.leased[0].lapses, claimed.leased[0].attempt),
            (lapses, 1),
            "a lapse is no attempt"
        );
        rig.clock.advance(LEASE);
    }
    let claimed = rig.claim(5).await;
    assert_eq!((claimed.leased.len(), claimed.parked, claimed.lapsed), (0, 1, 1), "the tenth lapse parks");
    let parked = rig.order(order.id).await;
    assert_eq!((parked.processing, parked.attempt, parked.version), (Processing::Parked, 0, 2));
    assert!(parked.last_error.is_some(), "the order says why it is parked");
    assert_eq!(parked.lease, None);
    let event = &rig.events(order.id).await[1];
    assert_eq!((&event.kind, event.occurred_at), (&EventType::OrderParked, rig.now()));
    assert!(event.data.contains("\"lapses\":10"), "the event counts the lapses: {}", event.data);
    assert_eq!(rig.claim(5).await, Claimed::default(), "parked work is never due");
    rig.assert_sound().await;
}

/// A try that ended, however, ends the row of lapses.
pub async fn a_try_that_ended_clears_the_lapses(rig: Rig) {
    rig.new_order(intake("A-1")).await;
    for _ in 0..4 {
        rig.claim_one().await;
        rig.clock.advance(LEASE);
    }
    let leased = rig.claim_one().await;
    assert_eq!(leased.lapses, 4);
    rig.settle(&leased, retry(&rig, Duration::ZERO)).await.expect("the lease is held");
    let next = rig.claim_one().await;
    assert_eq!((next.lapses, next.attempt), (0, 2), "lapses start over, the attempt counts");
}

/// Retries count attempts and keep the error; parking keeps them; a redrive starts over.
pub async fn retry_park_and_redrive_keep_the_budget(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    for attempt in 1..=2 {
        let leased = rig.claim_one().await;
        assert_eq!(leased.attempt, attempt);
        let failed = rig.settle(&leased, retry(&rig, SECOND)).await.expect("the lease is held");
        assert_eq!((failed.processing, failed.attempt), (Processing::Queued, attempt));
        assert_eq!((failed.last_error.as_deref(), failed.lease), (Some("not yet"), None));
        assert_eq!(failed.started_at, Some(leased.began_at));
        rig.clock.advance(SECOND);
    }
    let parked = rig.park("no more").await;
    assert_eq!((parked.processing, parked.attempt), (Processing::Parked, 3));
    assert_eq!(parked.last_error.as_deref(), Some("no more"));
    rig.clock.advance(LEASE * 2);
    assert_eq!(rig.claim(5).await, Claimed::default(), "parked work is never due");
    let redrive = ChangeKind::Redrive { reason: "mended".to_owned(), by: "op".to_owned() };
    let redriven = rig.changed(order.id, redrive.clone()).await;
    assert_eq!((redriven.processing, redriven.attempt), (Processing::Queued, 0), "a fresh budget");
    assert_eq!(redriven.cause, order.cause, "a redrive is the same effect, under the same key");
    assert!(
        matches!(rig.change(order.id, redrive).await, Err(Rejection::IllegalChange { .. })),
        "no redrive of queued work"
    );
    let leased = rig.claim_one().await;
    assert_eq!((leased.attempt, leased.lapses, leased.effect_key), (1, 0, order.cause));
    let done = rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
    assert_eq!((done.attempt, done.last_error), (1, None), "success clears the error");
    let kinds: Vec<_> = rig.events(order.id).await.into_iter().map(|event| event.kind).collect();
    use EventType as E;
    let expected = [
        E::OrderAccepted,
        E::ProcessingFailed,
        E::ProcessingFailed,
        E::OrderParked,
        E::OrderRedriven,
        E::OrderProcessed,
    ];
    assert_eq!(kinds, expected, "the journal keeps every attempt");
    rig.assert_sound().await;
}

/// Giving work back costs nothing and is no event.
pub async fn a_release_uses_up_nothing(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    rig.claim_one().await;
    rig.clock.advance(LEASE);
    let leased = rig.claim_one().await;
    let released = rig
        .settle(&leased, Outcome::Release { at: rig.now().plus(SECOND) })
        .await
        .expect("the lease is held");
    assert_eq!(
        (released.version, released.attempt, released.lease),
        (1, 0, None),
        "no event, no attempt, no lease"
    );
    assert_eq!(ids_of(&rig.claim(5).await), [], "not before its time");
    rig.clock.advance(SECOND);
    let claimed = rig.claim(5).await;
    assert_eq!(claimed.lapsed, 0, "a release is no lapse");
    let leased: &Leased = &claimed.leased[0];
    assert_eq!(
        (leased.order.id, leased.attempt, leased.lapses),
        (order.id, 1, 1),
        "earlier lapses are not forgiven"
    );
    assert_eq!(rig.journal_size().await, 1);
    rig.assert_sound().await;
}

/// Several workers' commands on the same orders, in one batch.
pub async fn one_batch_may_claim_settle_and_claim_again(rig: Rig) {
    let name = &rig.references(1)[0];
    let order_id = id_of(&intake(name).build());
    let first = rig.claim_command(1);
    let second = Claim { tokens: vec![rig.token()], ..rig.claim_command(1) };
    let settle = rig.settle_command(order_id, first.tokens[0], retry(&rig, Duration::ZERO));
    let late = rig.settle_command(order_id, first.tokens[0], Outcome::Done);
    let batch = vec![
        rig.accept_command(intake(name)),
        Command::Claim(first),
        settle,
        Command::Claim(second.clone()),
        late,
    ];
    let replies = rig.commit(batch).await;
    assert!(
        matches!(&replies[1], Ok(Reply::Claimed(claimed)) if claimed.leased.len() == 1),
        "{:?}",
        replies[1]
    );
    assert!(matches!(&replies[2], Ok(Reply::Settled(order)) if order.attempt == 1), "{:?}", replies[2]);
    assert!(
        matches!(&replies[3], Ok(Reply::Claimed(claimed)) if claimed.leased[0].attempt == 2),
        "{:?}",
        replies[3]
    );
    assert_eq!(replies[4], Err(Rejection::LeaseLost), "the first token was replaced within the batch");
    let lease = rig.order(order_id).await.lease.expect("the second claim holds it");
    assert_eq!(lease.token, second.tokens[0]);
    rig.assert_sound().await;
}
