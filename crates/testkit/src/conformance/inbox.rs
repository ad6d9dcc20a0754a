//! Messages of others: each counts once, however often it comes, and is remembered with what it caused or not at all.

use super::Rig;
use crate::build::{intake, tenant};
use order_core::command::{Change, ChangeKind, Command, Reply, StartRedrive};
use order_core::error::Rejection;
use order_core::ids::OrderId;
use order_core::inbox::{Consume, Consumed, MessageId};
use order_core::redrive::RedriveFilter;
use order_core::state::Fulfilment;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const SHIPPED: &str = "orders.shipped";

fn message(consumer: &str, id: &str) -> MessageId {
    MessageId::new(&Arc::from(consumer), id).expect("an id")
}

fn ship(number: &str) -> ChangeKind {
    ChangeKind::Ship { shipped_at: None, tracking_number: Some(number.to_owned()) }
}

/// Nothing stands in the way of a second revision, so only the inbox keeps it from happening.
fn revise(total: &str) -> ChangeKind {
    ChangeKind::Revise { content: Box::new(intake("x").total(total).build().content), requeue: false }
}

fn consume(message: MessageId, change: Change) -> Command {
    Command::Consume(Box::new(Consume { message, change }))
}

async fn consumed(rig: &Rig, id: &str, order_id: OrderId, kind: ChangeKind) -> Result<Consumed, Rejection> {
    let command = consume(message(SHIPPED, id), rig.change_command(order_id, kind));
    answer(rig.submit(command).await)
}

fn answer(reply: Result<Reply, Rejection>) -> Result<Consumed, Rejection> {
    match reply? {
        Reply::Consumed(consumed) => Ok(consumed),
        other => panic!("a message was answered {other:?}"),
    }
}

/// The second time nothing happens, whatever it says then, and after a restart too.
pub async fn a_message_changes_its_order_once(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let Ok(Consumed::Now(changed)) = consumed(&rig, "m-1", order.id, ship("T-1")).await else {
        panic!("the first time it is new");
    };
    assert!(changed.changed);
    assert_eq!(changed.order.fulfilment, Fulfilment::Shipped);
    assert_eq!(consumed(&rig, "m-1", order.id, ship("T-1")).await, Ok(Consumed::Before));
    assert_eq!(consumed(&rig, "m-1", order.id, revise("20")).await, Ok(Consumed::Before));
    let rig = rig.reopen().await;
    assert_eq!(consumed(&rig, "m-1", order.id, revise("20")).await, Ok(Consumed::Before));
    assert_eq!(rig.events(order.id).await.len(), 2, "accepted and shipped");
    // What was so already is remembered all the same.
    let again = consumed(&rig, "m-2", order.id, ship("T-1")).await;
    assert!(matches!(again, Ok(Consumed::Now(changed)) if !changed.changed));
    assert_eq!(consumed(&rig, "m-2", order.id, ship("T-1")).await, Ok(Consumed::Before));
    rig.assert_sound().await;
}

/// Of an order that is not there yet, it may come again once it is.
pub async fn a_message_that_is_refused_is_not_remembered(rig: Rig) {
    let nobody = OrderId(Uuid::from_u128(7));
    for _ in 0..2 {
        assert_eq!(consumed(&rig, "m-1", nobody, ship("T")).await, Err(Rejection::OrderUnknown));
    }
    let order = rig.new_order(intake("A-1")).await;
    let foreign = Change { tenant: tenant("acme"), ..rig.change_command(order.id, ship("T")) };
    let refused = rig.submit(consume(message(SHIPPED, "m-1"), foreign)).await;
    assert_eq!(answer(refused), Err(Rejection::OrderUnknown), "another tenant's order");
    assert!(matches!(consumed(&rig, "m-1", order.id, ship("T")).await, Ok(Consumed::Now(_))));
    rig.assert_sound().await;
}

/// A batch that is undone leaves neither.
pub async fn a_message_and_its_change_are_committed_together(rig: Rig) {
    let name = &rig.references(1)[0];
    let order = rig.new_order(intake(name)).await;
    let tenant = order.tenant.clone();
    let redrive = rig.start_redrive(&tenant, RedriveFilter::default()).await;
    let start = StartRedrive {
        redrive_id: redrive.redrive_id,
        tenant,
        filter: RedriveFilter::default(),
        reason: "why".to_owned(),
        by: "op".to_owned(),
        now: rig.now(),
    };
    let of = || consume(message(SHIPPED, "m-1"), rig.change_command(order.id, revise("20")));
    // The same id once more collides with its key: a storage may refuse that, but then with all of the batch.
    let batch = Arc::from([of(), Command::StartRedrive(Box::new(start))]);
    let whole = rig.storage().commit(0, batch).await.is_ok();
    assert_eq!(rig.order(order.id).await.version == 2, whole);
    let again = answer(rig.submit(of()).await).expect("an answer");
    assert_eq!(again == Consumed::Before, whole, "remembered exactly when it was changed");
    assert_eq!(rig.order(order.id).await.version, 2);
    rig.assert_sound().await;
}

/// What one takes says nothing of what another takes.
pub async fn messages_are_scoped_by_tenant_and_consumer(rig: Rig) {
    let mine = rig.new_order(intake("A-1")).await;
    let theirs = rig.new_order(intake("A-1").tenant("acme")).await;
    let of_acme = |kind| Change { tenant: tenant("acme"), ..rig.change_command(theirs.id, kind) };
    for command in [
        consume(message(SHIPPED, "m-1"), rig.change_command(mine.id, revise("20"))),
        consume(message("orders.delivered", "m-1"), rig.change_command(mine.id, revise("21"))),
        consume(message(SHIPPED, "M-1"), rig.change_command(mine.id, revise("22"))),
        consume(message(SHIPPED, "m-1"), of_acme(revise("23"))),
    ] {
        assert!(matches!(answer(rig.submit(command.clone()).await), Ok(Consumed::Now(_))), "{command:?}");
        assert_eq!(answer(rig.submit(command.clone()).await), Ok(Consumed::Before), "{command:?}");
    }
    assert_eq!(rig.order(mine.id).await.version, 4);
    // One id is one message, also where it tells of another order.
    let other = rig.new_order(intake("A-2")).await;
    assert_eq!(consumed(&rig, "m-1", other.id, ship("T")).await, Ok(Consumed::Before));
    rig.assert_sound().await;
}

/// Two nodes may have been given the same message.
pub async fn one_message_that_comes_many_times_at_once_counts_once(rig: Rig) {
    let orders = rig.new_orders(vec![intake("A-1").build(), intake("A-2").build()]).await;
    let tasks: Vec<_> = (0..20)
        .map(|index| {
            let change = rig.change_command(orders[index % 2].id, revise(&format!("{index}.5")));
            let (app, command) = (Arc::clone(&rig.app), consume(message(SHIPPED, "m-1"), change));
            tokio::spawn(async move { app.lanes.submit(command).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("the task ends").expect("an answer"));
    }
    let new = answers.iter().filter(|consumed| matches!(consumed, Reply::Consumed(Consumed::Now(_)))).count();
    assert_eq!(new, 1);
    let (first, second) = (rig.order(orders[0].id).await, rig.order(orders[1].id).await);
    assert_eq!(first.version + second.version, 3, "one of the two was changed once");
    rig.assert_sound().await;
}

/// Refused first, then taken, then recognised: all in one commit.
pub async fn a_batch_may_hold_one_message_twice(rig: Rig) {
    let name = &rig.references(1)[0];
    let order = rig.new_order(intake(name)).await;
    let of = |version, total: &str| {
        let change = Change { expected_version: version, ..rig.change_command(order.id, revise(total)) };
        consume(message(SHIPPED, "m-1"), change)
    };
    let replies = rig.commit(vec![of(Some(9), "20"), of(None, "21"), of(None, "22")]).await;
    assert!(matches!(replies[0], Err(Rejection::VersionMismatch { .. })));
    assert!(matches!(replies[1], Ok(Reply::Consumed(Consumed::Now(_)))));
    assert_eq!(replies[2], Ok(Reply::Consumed(Consumed::Before)));
    assert_eq!(rig.order(order.id).await.content.total.to_string(), "21");
    let again = rig.commit(vec![of(None, "23")]).await;
    assert_eq!(again, [Ok(Reply::Consumed(Consumed::Before))]);
    rig.assert_sound().await;
}

/// What was forgotten counts again, and what is younger does not.
pub async fn a_sweep_forgets_the_oldest_messages(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let mut moments = Vec::new();
    for id in ["m-0", "m-1", "m-2", "m-3"] {
        moments.push(rig.now());
        assert!(matches!(consumed(&rig, id, order.id, ship("T")).await, Ok(Consumed::Now(_))));
        rig.clock.advance(Duration::from_secs(60));
    }
    let sweep = |limit| rig.submit(Command::SweepInbox { before: moments[2], limit });
    assert_eq!(sweep(1).await, Ok(Reply::Swept(1)), "two are old enough, one may go");
    assert!(matches!(consumed(&rig, "m-0", order.id, ship("T")).await, Ok(Consumed::Now(_))));
    assert_eq!(consumed(&rig, "m-1", order.id, ship("T")).await, Ok(Consumed::Before));
    assert_eq!(sweep(100).await, Ok(Reply::Swept(1)));
    assert_eq!(sweep(100).await, Ok(Reply::Swept(0)));
    for id in ["m-2", "m-3"] {
        assert_eq!(consumed(&rig, id, order.id, ship("T")).await, Ok(Consumed::Before), "{id} is too young");
    }
    rig.assert_sound().await;
}

/// Messages name no tenant: whose an order is, its id tells.
pub async fn whoever_knows_the_id_of_an_order_finds_its_owner(rig: Rig) {
    let mine = rig.new_order(intake("A-1")).await;
    let theirs = rig.new_order(intake("A-1").tenant("acme")).await;
    let never = OrderId(Uuid::from_u128(7));
    let rig = rig.reopen().await;
    for (order_id, owner) in
        [(mine.id, Some(tenant("default"))), (theirs.id, Some(tenant("acme"))), (never, None)]
    {
        assert_eq!(rig.storage().owner(order_id).await.expect("a read"), owner);
    }
}
