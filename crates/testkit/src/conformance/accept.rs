//! Taking orders in: whole or not at all, once, and what a duplicate is told.

use super::Rig;
use crate::build::{id_of, intake};
use crate::wrapped::Wrapped;
use order_core::command::{ChangeKind, Command, Reply, StartRedrive};
use order_core::error::{Error, Fault, Rejection};
use order_core::event::EventType;
use order_core::ids::{Ids, OrderId, RedriveId, TenantId};
use order_core::intake::{Accepted, digest};
use order_core::lease::Outcome;
use order_core::order::Order;
use order_core::redrive::RedriveFilter;
use order_core::state::{Fulfilment, Processing};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The order, its first event and its work are there as soon as the accept is answered.
pub async fn an_accept_writes_order_event_and_work_together(rig: Rig) {
    let sent = intake("A-1").build();
    let order = rig.new_order(sent.clone()).await;
    assert_eq!(order.id, id_of(&sent), "the id must be derived from tenant, source and reference");
    assert_eq!(order.content, sent.content, "the content must be kept as sent");
    assert_eq!(order.digest, digest(&sent.content), "the digest must be the content's");
    assert_eq!(
        (order.version, order.last_position),
        (1, 1),
        "the first event of a shard is version 1 at position 1"
    );
    assert_eq!((order.processing, order.fulfilment), (Processing::Queued, Fulfilment::Unshipped));
    assert_eq!((order.accepted_at, order.updated_at), (rig.now(), rig.now()));
    assert_eq!(rig.order(order.id).await, order, "a read must give what the accept answered");
    let events = rig.events(order.id).await;
    assert_eq!(events.len(), 1, "an accept appends one event");
    assert_eq!((&events[0].kind, events[0].version), (&EventType::OrderAccepted, 1));
    assert_eq!((events[0].position, events[0].prev_position), (1, 0));
    assert_eq!(events[0].event_id, order.cause, "the work of a new order is caused by its first event");
    assert_eq!(rig.claim_one().await.order.id, order.id, "work must be due at once");
    rig.assert_sound().await;
}

/// What a commit says of itself wakes workers and followers.
pub async fn a_commit_says_what_it_came_to(rig: Rig) {
    let accept = rig.accept_command(intake(&rig.references(1)[0]));
    let first = rig.storage().commit(0, [accept.clone()].into()).await.expect("a commit");
    assert!(first.journal_grew && first.work_due, "an accept makes the journal grow and work due: {first:?}");
    let again = rig.storage().commit(0, [accept, Command::Probe].into()).await.expect("a commit");
    assert!(!again.journal_grew && !again.work_due, "a duplicate and a probe do nothing: {again:?}");
    assert_eq!(again.replies[1], Ok(Reply::Done), "a probe is answered");
}

/// A command that the database refuses undoes its whole batch; tried apart, the others go through.
pub async fn a_batch_is_all_there_or_not_at_all(rig: Rig) {
    let references = rig.references(4);
    let tenant = TenantId::default_tenant();
    let redrive_id = RedriveId(rig.ids.uuid_v7(rig.now()));
    let start = || {
        let (reason, by) = ("why".to_owned(), "op".to_owned());
        let (tenant, filter, now) = (tenant.clone(), RedriveFilter::default(), rig.now());
        Command::StartRedrive(Box::new(StartRedrive { redrive_id, tenant, filter, reason, by, now }))
    };
    rig.commit(vec![start()]).await[0].clone().expect("the first start of a redrive job");
    // The same id once more collides with its key: a storage may refuse that, but then with all of the batch.
    let accepts =
        |from: usize| references[from..from + 2].iter().map(|name| rig.accept_command(intake(name)));
    let mut batch: Vec<Command> = accepts(0).collect();
    batch.insert(1, start());
    let whole = rig.storage().commit(0, batch.into()).await.is_ok();
    for name in &references[..2] {
        let order_id = id_of(&intake(name).build());
        let there = rig.order_of(&tenant, order_id).await.is_some();
        assert_eq!(there, whole, "{name}: the batch said {whole}, so must its orders be there or not");
    }
    let expected = if whole { 2 } else { 0 };
    assert_eq!(
        rig.journal_size().await,
        expected,
        "events must be there exactly when their batch was committed"
    );
    assert_eq!(
        rig.claim(10).await.leased.len() as u64,
        expected,
        "work must be there exactly when its batch was"
    );
    let (first, refused, second) = tokio::join!(
        rig.app.accept(intake(&references[2]).build()),
        rig.app.lanes.submit(start()),
        rig.app.accept(intake(&references[3]).build()),
    );
    drop(refused);
    assert!(
        matches!(first, Ok(Accepted::New(_))),
        "a neighbour of a refused command must go through: {first:?}"
    );
    assert!(
        matches!(second, Ok(Accepted::New(_))),
        "a neighbour of a refused command must go through: {second:?}"
    );
    rig.assert_sound().await;
}

/// The lane halves a batch that is refused as data, until the guilty command stands alone.
pub async fn a_command_that_is_refused_as_data_fails_alone(rig: Rig) {
    let rig = rig.behind(|storage| Wrapped::refusing(storage, "poison"));
    let names: Vec<String> =
        (0..40).map(|index| if index == 17 { "poison".into() } else { format!("good-{index}") }).collect();
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (app, sent) = (Arc::clone(&rig.app), intake(name).build());
            tokio::spawn(async move { app.accept(sent).await })
        })
        .collect();
    for (name, task) in names.iter().zip(tasks) {
        let outcome = task.await.expect("the task ends");
        if name == "poison" {
            assert!(
                matches!(outcome, Err(Error::Fault(Fault::Data { .. }))),
                "poison must be refused: {outcome:?}"
            );
            let order_id = id_of(&intake("poison").build());
            assert_eq!(
                rig.order_of(&TenantId::default_tenant(), order_id).await,
                None,
                "nothing of it may be written"
            );
        } else {
            assert!(matches!(outcome, Ok(Accepted::New(_))), "{name} must go through: {outcome:?}");
        }
    }
    assert_eq!(rig.journal_size().await, 39, "each accepted order has one event");
    rig.assert_sound().await;
}

/// Business says no to one command; the rest of its batch is committed.
pub async fn a_rejected_command_writes_nothing_and_its_neighbours_do(rig: Rig) {
    let names = rig.references(2);
    let sent: Vec<_> = names.iter().map(|name| intake(name).build()).collect();
    let unknown = OrderId(uuid::Uuid::from_u128(u128::from(rig.shard_of(&names[0]).0)));
    let change = |order_id, kind| Command::Change(Box::new(rig.change_command(order_id, kind)));
    let redrive = ChangeKind::Redrive { reason: "r".to_owned(), by: "b".to_owned() };
    let replies = rig
        .commit(vec![
            rig.accept_command(sent[0].clone()),
            change(unknown, ChangeKind::Erase),
            change(id_of(&sent[0]), redrive),
            rig.settle_command(id_of(&sent[0]), rig.token(), Outcome::Done),
            rig.settle_command(unknown, rig.token(), Outcome::Done),
            rig.accept_command(sent[1].clone()),
        ])
        .await;
    assert!(matches!(replies[0], Ok(Reply::Accepted(Accepted::New(_)))), "{:?}", replies[0]);
    assert_eq!(replies[1], Err(Rejection::OrderUnknown), "a change of an order that is not there");
    assert!(
        matches!(replies[2], Err(Rejection::IllegalChange { .. })),
        "a redrive of queued work: {:?}",
        replies[2]
    );
    assert_eq!(replies[3], Err(Rejection::LeaseLost), "a settle under a token that nobody gave");
    assert!(matches!(replies[4], Err(Rejection::OrderUnknown | Rejection::LeaseLost)), "{:?}", replies[4]);
    assert!(matches!(replies[5], Ok(Reply::Accepted(Accepted::New(_)))), "{:?}", replies[5]);
    assert_eq!(rig.journal_size().await, 2, "only the two accepts may write events");
    assert_eq!(rig.order(id_of(&sent[0])).await.version, 1, "a rejected command must change nothing");
    rig.assert_sound().await;
}

/// However many send the same reference at once, one order comes of it.
pub async fn one_reference_makes_one_order_however_many_ask_at_once(rig: Rig) {
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let app = Arc::clone(&rig.app);
            tokio::spawn(async move { app.accept(intake("same").build()).await })
        })
        .collect();
    let (mut new, mut ids) = (0, BTreeSet::new());
    for task in tasks {
        let order = match task.await.expect("the task ends").expect("an accept") {
            Accepted::New(order) => {
                new += 1;
                order
            }
            Accepted::Duplicate { order, differs } => {
                assert!(differs.is_empty(), "the same content must not differ: {differs:?}");
                order
            }
        };
        ids.insert(order.id);
    }
    assert_eq!((new, ids.len()), (1, 1), "exactly one accept makes the order, and all are told the same id");
    assert_eq!(rig.journal_size().await, 1, "duplicates write nothing");
    assert_eq!(rig.claim(10).await.leased.len(), 1, "one order has one piece of work");
}

/// Orders without a reference are never duplicates of each other; numbers rise.
pub async fn orders_without_a_reference_are_all_new_and_numbers_rise(rig: Rig) {
    let mut before: Option<Order> = None;
    for _ in 0..20 {
        let order = rig.new_order(intake("unused").no_reference()).await;
        assert_eq!(order.reference, None);
        if let Some(before) = &before {
            assert!(order.number > before.number, "numbers rise: {} after {}", order.number, before.number);
            assert_ne!(order.id, before.id);
        }
        before = Some(order);
    }
}

/// A duplicate is told what differs, in pointers, and changes nothing.
pub async fn a_duplicate_is_told_what_differs(rig: Rig) {
    let order =
        rig.new_order(intake("A-1").attribute("gift", "true").attribute("a/b", "{\"c\":[1,2]}")).await;
    let other =
        intake("A-1").customer(None).total("20").attribute("gift", "false").attribute("a/b", "{\"c\":[1,3]}");
    let (found, differs) = rig.duplicate(other.line("cup", 1, "3")).await;
    assert_eq!(differs, ["/customer", "/lines", "/total", "/attributes/gift", "/attributes/a~1b/c/1"]);
    assert_eq!(found, order, "a duplicate is answered with the order as it is");
    assert_eq!(rig.order(order.id).await, order, "a duplicate changes nothing");
    assert_eq!(rig.journal_size().await, 1, "a duplicate writes no event");
}

/// 19.9 is 19.90, and members of objects have no order.
pub async fn equal_by_value_is_no_difference(rig: Rig) {
    let order = rig.new_order(intake("A-1").attribute("x", "1.0").attribute("y", "{\"p\":1,\"q\":2}")).await;
    let again = intake("A-1").total("19.9").attribute("y", "{\"q\":2.0,\"p\":1}").attribute("x", "1");
    let (found, differs) = rig.duplicate(again).await;
    assert_eq!(differs, Vec::<String>::new(), "values are equal, whatever their digits");
    assert_eq!(found.content.total.to_string(), "19.90", "the digits that came first are kept");
    assert_eq!(found.id, order.id);
}

/// After a revision, both what was accepted and what it is now count as equal; anything else is measured against now.
pub async fn a_duplicate_is_measured_against_the_order_as_it_is_now(rig: Rig) {
    let first = intake("A-1").build();
    let order = rig.new_order(first.clone()).await;
    let revised = intake("A-1").total("25").build();
    rig.changed(order.id, ChangeKind::Revise { content: Box::new(revised.content.clone()), requeue: false })
        .await;
    assert_eq!(rig.duplicate(first).await.1, Vec::<String>::new(), "what was accepted is no news");
    assert_eq!(rig.duplicate(revised).await.1, Vec::<String>::new(), "what it is now is no news");
    let other = intake("A-1").customer(Some("c-43"));
    assert_eq!(
        rig.duplicate(other).await.1,
        ["/customer", "/total"],
        "differences are taken against the order as it is"
    );
}

/// One transaction sees what it has written itself.
pub async fn duplicates_within_one_batch_are_found(rig: Rig) {
    let name = &rig.references(1)[0];
    let replies = rig
        .commit(vec![
            rig.accept_command(intake(name).key("k")),
            rig.accept_command(intake(name)),
            rig.accept_command(intake(name).total("1")),
            rig.accept_command(intake(name).key("k").total("1")),
        ])
        .await;
    let differs = |index: usize| match &replies[index] {
        Ok(Reply::Accepted(Accepted::Duplicate { differs, .. })) => differs.clone(),
        other => panic!("command {index} must be a duplicate, but gave {other:?}"),
    };
    assert!(matches!(replies[0], Ok(Reply::Accepted(Accepted::New(_)))), "{:?}", replies[0]);
    assert_eq!(differs(1), Vec::<String>::new());
    assert_eq!(differs(2), ["/total"]);
    assert!(
        matches!(&replies[3], Err(Rejection::KeyReused { differs, .. }) if differs == &["/total"]),
        "{:?}",
        replies[3]
    );
    rig.assert_sound().await;
}
