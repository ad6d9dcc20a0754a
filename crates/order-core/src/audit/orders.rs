//! Orders: each against its events and its work, and all of them counted.

use super::rows::AuditedOrder;
use super::{PAGE, Report, readable};
use crate::app::App;
use crate::clock::Timestamp;
use crate::decide::must_have_work;
use crate::error::Error;
use crate::ids::{OrderId, Shard};
use crate::journal::Head;
use crate::lease::{LAPSES_MAX, LEASED_FOR_MAX, PUT_OFF_FOR_MAX};
use crate::order::Order;
use crate::order::event::EventType;
use crate::query::{OrderDossier, Tally};
use std::collections::BTreeMap;

/// What is wrong with an order that is there and not found.
const LOST: &str = "a look-up by its id, reference, customer or source does not lead to it";

/// What the orders come to, as they were at the heads.
pub(super) struct Counted {
    /// Events of each shard that orders account for.
    pub(super) chained: Vec<u64>,
    /// Position of the newest event of an order of each shard, as the orders are now.
    pub(super) newest: Vec<u64>,
    /// By tenant and source.
    pub(super) tallies: BTreeMap<(String, String), Tally>,
    /// Whether every order could be read and folded back: else none of them tells anything.
    pub(super) whole: bool,
}

/// Checks each order.
pub(super) async fn all(
    app: &App,
    heads: &[Head],
    report: &mut Report,
    progress: &mut impl FnMut(u64),
) -> Result<Counted, Error> {
    let (shards, now) = (app.storage.install().shards, app.clock.now());
    let mut counted = Counted {
        chained: vec![0; heads.len()],
        newest: vec![0; heads.len()],
        tallies: BTreeMap::new(),
        whole: true,
    };
    let mut after = i64::MIN;
    loop {
        let page = app.storage.audit_orders(after, PAGE).await;
        let Some(page) = readable(page, &format!("orders behind number {after}"), report)? else {
            counted.whole = false;
            return Ok(counted);
        };
        counted.whole &= page.unreadable.is_empty();
        report.unreadable(page.unreadable);
        let Some(last) = page.last else { return Ok(counted) };
        after = last;
        for audited in &page.rows {
            report.orders += 1;
            let order = &audited.dossier.order;
            let shard = order.id.shard(shards);
            check_identity(shards, audited.shard, order, report);
            if !audited.dossier.found {
                report.add("ids", Some(shard), order.id.to_string(), LOST.to_owned());
            }
            if let Some(head) = heads.get(usize::from(shard.0)) {
                check_order(*head, audited, report);
                check_work(head.shard, &audited.dossier, now, report);
                count(*head, audited, &mut counted);
            }
        }
        progress(report.orders);
    }
}

/// Counts an order as it was at the head of its shard.
fn count(head: Head, audited: &AuditedOrder, counted: &mut Counted) {
    let AuditedOrder { dossier, unread, .. } = audited;
    let order = &dossier.order;
    let events = dossier.events.iter().map(|event| event.position).chain(unread.iter().copied());
    if let Some(newest) = counted.newest.get_mut(usize::from(head.shard.0)) {
        *newest = order.last_position.max(*newest);
    }
    if let Some(chained) = counted.chained.get_mut(usize::from(head.shard.0)) {
        *chained +=
            events.filter(|position| (head.floor + 1..=head.position).contains(position)).count() as u64;
    }
    let mut then = None;
    if order.last_position <= head.position {
        then = Some(order.clone());
    } else {
        // Something happened since. Where its beginning is gone, or cannot be read, nobody can tell how it was.
        let whole = unread.is_empty() && dossier.events.first().is_some_and(|event| event.version == 1);
        for event in dossier.events.iter().take_while(|event| event.position <= head.position) {
            then = Order::fold(then, event).ok();
            counted.whole &= then.is_some();
        }
        counted.whole &= whole;
    }
    if let Some(order) = then {
        let whose = (order.tenant.to_string(), order.source.to_string());
        counted.tallies.entry(whose).or_default().count(&order);
    }
}

/// An order lies in the shard of its id, and its id is that of its reference.
fn check_identity(shards: u16, shard: Shard, order: &Order, report: &mut Report) {
    let id = order.id;
    if id.shard(shards) != shard {
        report.add("identity", Some(shard), id.to_string(), format!("belongs to shard {}", id.shard(shards)));
    }
    let derived =
        order.reference.as_ref().map(|reference| OrderId::derived(&order.tenant, &order.source, reference));
    if let Some(derived) = derived.filter(|derived| *derived != id) {
        report.add("identity", Some(shard), id.to_string(), format!("its reference belongs to {derived}"));
    }
}

fn check_order(head: Head, audited: &AuditedOrder, report: &mut Report) {
    let AuditedOrder { dossier, unread, .. } = audited;
    let (shard, id) = (head.shard, dossier.order.id.to_string());
    if must_have_work(&dossier.order) != dossier.work.is_some() {
        let has = if dossier.work.is_some() { "has" } else { "lacks" };
        report.add(
            "work",
            Some(shard),
            id.clone(),
            format!("is {} and {has} a work row", dossier.order.processing),
        );
    }
    if !unread.is_empty() {
        return;
    }
    // Of an order that reaches below the floor, the beginning is gone: it cannot be folded.
    if head.floor > 0 && dossier.events.first().is_none_or(|event| event.version > 1) {
        return;
    }
    let mut folded: Option<Order> = None;
    for event in &dossier.events {
        let order = &dossier.order;
        if (event.order_id, &event.tenant, &event.source) != (order.id, &order.tenant, &order.source) {
            report.add("events", Some(shard), id, format!("position {} is another order's", event.position));
            return;
        }
        match Order::fold(folded.take(), event) {
            Ok(order) => folded = Some(order),
            Err(error) => {
                report.add("versions", Some(shard), id, format!("at position {}: {error}", event.position));
                return;
            }
        }
    }
    let Some(mut folded) = folded else {
        return report.add("versions", Some(shard), id, "has no event".to_owned());
    };
    // The lease is no part of the history; an erased order's digest is of content that is gone.
    folded.lease = dossier.order.lease;
    if dossier.events.iter().any(|event| event.kind == EventType::OrderErased) {
        folded.digest = dossier.order.digest;
    }
    // By value, and to the last digit: `19.90` is not `19.9` here.
    let digits = |order: &Order| order.to_json(order.updated_at);
    if folded != dossier.order || digits(&folded) != digits(&dossier.order) {
        report.add("fold", Some(shard), id, differing(&dossier.order, &folded));
    }
}

/// What a work row says of its order. Every event that changes how many attempts are used up makes the row anew or
/// writes it too, so the two are always equal.
fn check_work(shard: Shard, dossier: &OrderDossier, now: Timestamp, report: &mut Report) {
    let (order, Some(work)) = (&dossier.order, &dossier.work) else { return };
    let mut wrong = |detail| report.add("work", Some(shard), order.id.to_string(), detail);
    if work.attempt != order.attempt {
        let (row, events) = (work.attempt, order.attempt);
        wrong(format!("says that {row} attempts are used up, the order's events say {events}"));
    }
    if work.lapses >= LAPSES_MAX {
        let lapses = work.lapses;
        wrong(format!("says that {lapses} leases in a row ran out, which parks an order before"));
    }
    match (work.token, work.claimed_at) {
        (Some(_), None) => wrong("is leased, but does not say since when".to_owned()),
        (None, Some(at)) => wrong(format!("says that it is leased since {at}, but to nobody")),
        (Some(_), Some(at)) if at < order.accepted_at => {
            wrong(format!("is leased since {at}, before the order was accepted at {}", order.accepted_at));
        }
        _ => {}
    }
    let latest = now.plus(if work.token.is_some() { LEASED_FOR_MAX } else { PUT_OFF_FOR_MAX });
    if work.due_at > latest {
        wrong(format!("is due at {}, later than any lease or wait lasts", work.due_at));
    }
}

fn differing(stored: &Order, folded: &Order) -> String {
    let (stored, folded) = (format!("{stored:#?}"), format!("{folded:#?}"));
    let differing = stored.lines().zip(folded.lines()).find(|(stored, folded)| stored != folded);
    match differing {
        Some((stored, folded)) => format!("stored `{}`, its events give `{}`", stored.trim(), folded.trim()),
        None => "stored and folded orders differ in length".to_owned(),
    }
}
