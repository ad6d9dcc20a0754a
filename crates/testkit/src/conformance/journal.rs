//! The journal: gapless, chained, in pages, and what folds to the orders.

use super::Rig;
use super::rig::LEASE;
use crate::build::{id_of, intake};
use order_core::app::App;
use order_core::change::Target;
use order_core::command::{Change, ChangeKind, Command};
use order_core::error::Rejection;
use order_core::event::{EventBody, EventType};
use order_core::ids::{OrderId, Shard, TenantId};
use order_core::intake::Accepted;
use order_core::journal::{Event, Mark};
use order_core::lease::Outcome;
use order_core::order::Order;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

async fn shard(rig: &Rig, shard: u16) -> Vec<Event> {
    rig.storage().journal(Shard(shard), 0, 100_000).await.expect("the journal can be read")
}

async fn write_one(app: Arc<App>, name: String) {
    let accepted = app.accept(intake(&name).build()).await.expect("an accept");
    let Accepted::New(order) = accepted else { panic!("{name} must be new") };
    let target = || Target {
        tenant: TenantId::default_tenant(),
        source: None,
        order_id: order.id,
        expected_version: None,
    };
    let now = app.clock.now();
    let kinds = [
        ChangeKind::Ship { shipped_at: Some(now), tracking_number: None },
        ChangeKind::Deliver { delivered_at: now },
        ChangeKind::Withdraw { reason: "r".to_owned(), by: "b".to_owned(), requeue: false },
    ];
    for kind in kinds {
        app.change(target(), kind).await.expect("a change");
    }
}

/// Many writers on all shards: positions and versions have no gap, and every event names the one before it.
pub async fn positions_and_versions_are_gapless_under_concurrent_writers(rig: Rig) {
    let writers: Vec<_> =
        (0..200).map(|index| tokio::spawn(write_one(Arc::clone(&rig.app), format!("o-{index}")))).collect();
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    let shards = rig.storage().install().shards;
    let heads = rig.storage().heads().await.expect("heads can be read");
    assert_eq!(heads.iter().map(|head| head.shard.0).collect::<Vec<_>>(), (0..shards).collect::<Vec<_>>());
    let (mut all, mut ids) = (0, BTreeSet::new());
    for head in heads {
        let events = shard(&rig, head.shard.0).await;
        let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
        let expected: Vec<u64> = (1..=events.len() as u64).collect();
        assert_eq!(positions, expected, "positions of shard {} must be 1, 2, 3 …", head.shard);
        assert_eq!(
            head.position,
            events.len() as u64,
            "the head of shard {} is its newest position",
            head.shard
        );
        let mut newest: BTreeMap<OrderId, (u64, u64)> = BTreeMap::new();
        for event in events {
            assert_eq!(event.order_id.shard(shards), head.shard, "an event lies in the shard of its order");
            let (version, position) = newest.get(&event.order_id).copied().unwrap_or((0, 0));
            assert_eq!(event.version, version + 1, "versions of {} must be 1, 2, 3 …", event.order_id);
            assert_eq!(event.prev_position, position, "each event names the one of its order before it");
            newest.insert(event.order_id, (event.version, event.position));
            assert!(ids.insert(event.event_id), "every event has an id of its own");
            all += 1;
        }
    }
    assert_eq!(all, 800, "200 orders with 4 events each");
    let report = rig.assert_sound().await;
    assert_eq!((report.orders, report.events), (200, 800));
}

/// One transaction writes many events of one shard, several of one order among them.
pub async fn one_batch_may_write_many_events_of_one_shard(rig: Rig) {
    let names: Vec<String> = (0..)
        .map(|index| format!("o-{index}"))
        .filter(|name| rig.shard_of(name) == Shard(0))
        .take(20)
        .collect();
    let mut batch: Vec<Command> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let order_id = id_of(&intake(name).build());
        batch.push(rig.accept_command(intake(name)));
        let shipped = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: None };
        let kinds = [shipped, ChangeKind::Deliver { delivered_at: rig.now() }, ChangeKind::Erase];
        for kind in kinds.into_iter().take(index % 4) {
            batch.push(Command::Change(Box::new(rig.change_command(order_id, kind))));
        }
    }
    let written = batch.len() as u64;
    let replies = rig.commit(batch).await;
    assert!(replies.iter().all(Result::is_ok), "nothing of this is refused: {replies:?}");
    let positions: Vec<u64> = shard(&rig, 0).await.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=written).collect::<Vec<_>>(), "one position for each event, in order");
    rig.new_order(intake("more")).await;
    rig.assert_sound().await;
}

/// Pages follow each other without a gap; behind the end there is nothing.
pub async fn the_journal_is_read_in_pages(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    for total in 1..=6 {
        let content = Box::new(intake("A-1").total(&total.to_string()).build().content);
        rig.clock.tick();
        rig.changed(order.id, ChangeKind::Revise { content, requeue: false }).await;
    }
    let own = rig.shard_of("A-1");
    let page = |after, limit| rig.storage().journal(own, after, limit);
    let all = page(0, 100).await.expect("a page");
    assert_eq!(all.len(), 7);
    assert_eq!(page(2, 3).await.expect("a page"), all[2..5], "3 events behind position 2");
    assert_eq!(page(6, 3).await.expect("a page"), all[6..], "the last page is short");
    assert_eq!(page(7, 3).await.expect("a page"), [], "behind the newest there is nothing");
    assert_eq!(rig.events(order.id).await, all, "the order's events are the same");
    let other = Shard((own.0 + 1) % rig.storage().install().shards);
    assert_eq!(
        rig.storage().journal(other, 0, 100).await.expect("a page"),
        [],
        "nothing lies in the next shard"
    );
}

/// Marks are the events of the same places, in the same pages.
pub async fn marks_tell_of_the_same_events(rig: Rig) {
    for number in 0..30 {
        rig.clock.tick();
        let order = rig.new_order(intake(&format!("A-{number}")).build()).await;
        rig.changed(order.id, ChangeKind::Deliver { delivered_at: rig.app.clock.now() }).await;
    }
    for head in rig.storage().heads().await.expect("heads can be read") {
        let events = shard(&rig, head.shard.0).await;
        let expected: Vec<Mark> = events
            .into_iter()
            .map(|event| Mark { position: event.position, order_id: event.order_id, kind: event.kind })
            .collect();
        let marks = async |after, limit| rig.storage().marks(head.shard, after, limit).await.expect("marks");
        assert_eq!(marks(0, 1_000).await, expected);
        assert_eq!(marks(1, 3).await, expected.iter().skip(1).take(3).cloned().collect::<Vec<_>>());
        assert_eq!(marks(head.position, 3).await, []);
    }
}

/// An event carries whose order it is, when, in which history, and its particulars.
pub async fn an_event_carries_what_happened(rig: Rig) {
    let sent = intake("A-1").tenant("acme").source("shop").build();
    let order = rig.new_order(sent.clone()).await;
    let events = rig.events_of(&order.tenant, order.id).await.expect("the order is there");
    let event = &events[0];
    assert_eq!((&event.tenant, &event.source), (&sent.tenant, &sent.source));
    assert_eq!((event.order_id, event.shard), (order.id, rig_shard(&rig, order.id)));
    assert_eq!((event.epoch, event.data_version), (rig.storage().install().epoch, 1));
    assert_eq!(event.occurred_at, rig.now());
    match EventBody::parse(event).expect("the event can be read") {
        EventBody::Accepted(accepted) => {
            assert_eq!((accepted.order_id, accepted.number), (order.id, order.number));
            assert_eq!((accepted.reference, accepted.content), (sent.reference, sent.content));
        }
        other => panic!("the first event must be the acceptance, but is {other:?}"),
    }
}

fn rig_shard(rig: &Rig, order_id: OrderId) -> Shard {
    order_id.shard(rig.storage().install().shards)
}

fn every_change(rig: &Rig, name: &str) -> Vec<ChangeKind> {
    let who = |text: &str| (text.to_owned(), "op \"x\"".to_owned());
    let revised = |total: &str| Box::new(intake(name).total(total).line("cup", 1, "3.10").build().content);
    let (reason, by) = who("changed their mind\n");
    vec![
        ChangeKind::Revise { content: revised("23"), requeue: false },
        ChangeKind::Revise { content: revised("24.00"), requeue: true },
        ChangeKind::Deliver { delivered_at: rig.now() },
        ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: Some("T-1 é".to_owned()) },
        ChangeKind::Withdraw { reason, by, requeue: true },
        ChangeKind::Erase,
    ]
}

/// After each kind of change the row, the answer and the fold of the events are one and the same.
pub async fn an_order_equals_the_fold_of_its_events_after_every_change(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let ends = [
        Outcome::Retry { at: rig.now().plus(LEASE), why: "later".to_owned() },
        Outcome::Park { why: "never".to_owned() },
    ];
    let mut orders = Vec::new();
    for end in ends {
        rig.clock.advance(LEASE);
        let leased = rig.claim_one().await;
        orders.push(rig.settle(&leased, end).await.expect("the lease is held"));
        assert_folds(&rig, orders.last().expect("an order")).await;
    }
    let redrive = ChangeKind::Redrive { reason: "mended".to_owned(), by: "op".to_owned() };
    let mut kinds = vec![redrive];
    kinds.extend(every_change(&rig, "A-1"));
    for kind in kinds {
        rig.clock.tick();
        let changed = rig.changed(order.id, kind.clone()).await;
        assert_eq!(changed.updated_at, rig.now(), "{kind:?} happened now");
        assert_folds(&rig, &changed).await;
        rig.assert_sound().await;
    }
}

async fn assert_folds(rig: &Rig, answered: &Order) {
    let mut folded = None;
    let events = rig.events(answered.id).await;
    for event in &events {
        folded = Some(Order::fold(folded, event).expect("the events fold"));
    }
    let mut folded = folded.expect("there are events");
    let stored = rig.order(answered.id).await;
    assert_eq!(stored, *answered, "the answer must be what a read gives");
    (folded.lease, folded.digest) = (stored.lease, stored.digest);
    let kind = events.last().expect("there are events").kind.as_str();
    assert_eq!(format!("{folded:#?}"), format!("{stored:#?}"), "after {kind}, events and row must agree");
}

/// What is so already is answered without an event; what the table forbids is refused with the state it met.
pub async fn changes_that_change_nothing_write_nothing(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let shipped = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: Some("T".to_owned()) };
    rig.changed(order.id, shipped.clone()).await;
    let before = rig.order(order.id).await;
    let again = rig.change(order.id, shipped).await.expect("a repetition is no error");
    assert_eq!((again.changed, *again.order), (false, before.clone()), "shipped already");
    let content = Box::new(intake("A-1").total("1").build().content);
    let refused = rig.change(order.id, ChangeKind::Revise { content, requeue: false }).await;
    assert!(
        matches!(refused, Err(Rejection::IllegalChange { .. })),
        "no revision of what was shipped: {refused:?}"
    );
    let stale = Change { expected_version: Some(1), ..rig.change_command(order.id, ChangeKind::Erase) };
    let refused = rig.submit(Command::Change(Box::new(stale))).await;
    assert_eq!(
        refused,
        Err(Rejection::VersionMismatch { expected: 1, actual: 2 }),
        "an old version is refused"
    );
    assert_eq!(rig.order(order.id).await, before, "none of this may change the order");
    assert_eq!(rig.journal_size().await, 2);
}

/// A try that fails, one that is parked, and an operator's redrive in between; each with words about Ada.
async fn fail_in_every_way(rig: &Rig, order_id: OrderId) {
    let (at, why) = (rig.now(), "Ada Lovelace is not known here".to_owned());
    let leased = rig.claim_one().await;
    rig.settle(&leased, Outcome::Retry { at, why }).await.expect("the lease is held");
    rig.park("Ada moved").await;
    let redrive = ChangeKind::Redrive { reason: "Ada called".to_owned(), by: "op".to_owned() };
    rig.changed(order_id, redrive).await;
    rig.park("Ada was not at home").await;
}

/// An erasure blanks what is personal in the order and in every earlier event, and nothing else.
pub async fn an_erasure_blanks_order_and_journal_in_place(rig: Rig) {
    let sent = || intake("A-1").customer(Some("Ada Lovelace")).attribute("note", "\"for Ada\"");
    let order = rig.new_order(sent()).await;
    rig.clock.tick();
    let revised = Box::new(sent().total("21").attribute("note", "\"for Ada's mother\"").build().content);
    rig.changed(order.id, ChangeKind::Revise { content: revised, requeue: false }).await;
    fail_in_every_way(&rig, order.id).await;
    let shipped = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: Some("Ada-7".to_owned()) };
    rig.changed(order.id, shipped).await;
    let before = rig.events(order.id).await;
    assert!(before.iter().all(|event| event.data.contains("Ada")), "else there is nothing to blank");
    rig.clock.tick();
    let erased = rig.changed(order.id, ChangeKind::Erase).await;
    let after = rig.events(order.id).await;
    assert_eq!(after.len(), before.len() + 1, "an erasure appends its event and removes none");
    assert_eq!(after.last().map(|event| &event.kind), Some(&EventType::OrderErased));
    for (old, new) in before.iter().zip(&after) {
        assert!(!new.data.contains("Ada"), "position {}: {} must be blanked", new.position, new.data);
        let expected = Event { data: new.data.clone(), ..old.clone() };
        assert_eq!(*new, expected, "only `data` may change");
        match EventBody::parse(new).expect("what is left can be read") {
            EventBody::Failed { error, .. } | EventBody::Parked { error, .. } => assert_eq!(error, ""),
            EventBody::Redriven { reason, .. } => assert_eq!(reason, ""),
            _ => {}
        }
    }
    assert_eq!((&erased.content.customer, erased.tracking_number.as_deref()), (&None, None));
    assert_eq!((erased.last_error.as_deref(), erased.content.attributes.len()), (None, 0));
    assert_eq!(erased.content.total.to_string(), "21", "amounts stay");
    assert_eq!(
        (erased.digest, erased.reference.clone()),
        (order.digest, order.reference.clone()),
        "identity stays"
    );
    assert_folds(&rig, &erased).await;
    let (found, _) = rig.duplicate(sent()).await;
    assert_eq!(found.id, order.id, "a replay of the old request finds the erased order");
    rig.clock.tick();
    let again = rig.change(order.id, ChangeKind::Erase).await.expect("a repetition is no error");
    assert_eq!((again.changed, again.order.version), (false, erased.version), "nothing is left to erase");
    rig.assert_sound().await;
    let rig = rig.reopen().await;
    assert!(rig.events(order.id).await.iter().all(|event| !event.data.contains("Ada")), "blanked for good");
}
