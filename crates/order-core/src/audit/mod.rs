//! The audit: proves over the whole storage that versions and positions are gapless, that every order equals the fold
//! of its events, that every work row belongs, that every follower's cursor is sound, that the tallies are right, and
//! that whatever else names an order leads to one.
//!
//! Every read is short, so that a running server is never held up, whatever the size of the storage.

mod report;
pub mod rows;

pub use report::{FINDINGS_MAX, Finding, Report};

use crate::app::App;
use crate::decide::must_have_work;
use crate::error::{Error, Fault};
use crate::ids::{OrderId, Shard};
use crate::journal::Head;
use crate::order::Order;
use crate::order::event::EventType;
use crate::query::Tally;
use rows::{AuditedOrder, Beginning};
use std::collections::BTreeMap;

/// Orders, or rows, that one read takes.
const PAGE: u32 = 500;

/// What is wrong with an order that is there and not found.
const LOST: &str = "a look-up by its id, reference, customer or source does not lead to it";

/// What the orders come to, as they were at the heads.
struct Counted {
    /// Events of each shard that orders account for.
    chained: Vec<u64>,
    /// By tenant and source.
    tallies: BTreeMap<(String, String), Tally>,
    /// Whether every order could be read and folded back: else neither of them tells anything.
    whole: bool,
}

/// Audits the whole storage; `progress` hears how many orders have been read. Safe beside a running server: what
/// happens after the start is left out. A row that does not read is a finding, and the others are looked at.
///
/// # Errors
/// When storage cannot be read at all.
pub async fn audit(app: &App, mut progress: impl FnMut(u64)) -> Result<Report, Error> {
    let mut report = Report::default();
    let Beginning { heads, tallies: kept, unreadable } = app.storage.audit_beginning().await?;
    let tallies_read = unreadable.is_empty();
    report.unreadable(unreadable);
    let counted = orders(app, &heads, &mut report, &mut progress).await?;
    for (head, chained) in heads.iter().zip(&counted.chained) {
        journal(app, *head, counted.whole.then_some(*chained), &mut report).await?;
    }
    work(app, &mut report).await?;
    followers(app, &mut report).await?;
    if counted.whole && tallies_read {
        tallies(kept, counted.tallies, &mut report);
    }
    for finding in app.storage.audit_strays(FINDINGS_MAX).await? {
        match finding.check {
            // The checks before may have named it.
            "unreadable" if report.findings.contains(&finding) => {}
            _ => report.find(finding),
        }
    }
    Ok(report)
}

/// Checks each order.
async fn orders(
    app: &App,
    heads: &[Head],
    report: &mut Report,
    progress: &mut impl FnMut(u64),
) -> Result<Counted, Error> {
    let shards = app.storage.install().shards;
    let mut counted = Counted { chained: vec![0; heads.len()], tallies: BTreeMap::new(), whole: true };
    let mut after = i64::MIN;
    loop {
        let page = app.storage.audit_orders(after, PAGE).await?;
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

fn differing(stored: &Order, folded: &Order) -> String {
    let (stored, folded) = (format!("{stored:#?}"), format!("{folded:#?}"));
    let differing = stored.lines().zip(folded.lines()).find(|(stored, folded)| stored != folded);
    match differing {
        Some((stored, folded)) => format!("stored `{}`, its events give `{}`", stored.trim(), folded.trim()),
        None => "stored and folded orders differ in length".to_owned(),
    }
}

/// Checks the journal of a shard up to its head, of which the orders account for `chained` events, if that is known.
async fn journal(app: &App, head: Head, chained: Option<u64>, report: &mut Report) -> Result<(), Error> {
    let shard = Some(head.shard);
    let (mut position, mut rows) = (head.floor, 0_u64);
    while position < head.position {
        let page = app.storage.audit_journal(head.shard, position, PAGE).await?;
        report.unreadable(page.unreadable);
        if page.rows.is_empty() {
            break;
        }
        for fact in page.rows.into_iter().filter(|fact| fact.position <= head.position) {
            rows += 1;
            if fact.position != position + 1 {
                let detail = format!("position {} follows {position}", fact.position);
                report.add("positions", shard, fact.position.to_string(), detail);
            }
            position = fact.position;
            let Some(named) = fact.named else { continue };
            let detail = match named.order_version {
                Some(version) if version >= named.version => continue,
                Some(version) => {
                    format!("position {position} is version {}, the order has {version}", named.version)
                }
                None => format!("position {position} has no order"),
            };
            report.add("events", shard, named.order_id.to_string(), detail);
        }
    }
    report.events += rows;
    if position != head.position {
        report.add("positions", shard, head.position.to_string(), format!("the journal ends at {position}"));
    }
    if let Some(chained) = chained.filter(|chained| *chained != rows) {
        let detail = format!("{rows} events lie in the journal, the orders account for {chained}");
        report.add("events", shard, "shard".to_owned(), detail);
    }
    Ok(())
}

async fn work(app: &App, report: &mut Report) -> Result<(), Error> {
    let mut after = i64::MIN;
    loop {
        let page = app.storage.audit_work(after, PAGE).await?;
        report.unreadable(page.unreadable);
        let Some(last) = page.last else { return Ok(()) };
        after = last;
        for fact in &page.rows {
            report.work += 1;
            let subject = fact.work.order_id.to_string();
            match fact.wanted {
                Some(true) => {}
                Some(false) => {
                    report.add("work", None, subject, "its order has nothing left to do".to_owned())
                }
                None => report.add("work", None, subject, "has no order".to_owned()),
            }
        }
    }
}

async fn followers(app: &App, report: &mut Report) -> Result<(), Error> {
    // Read before the heads: a cursor must not be ahead of what was there when it was read.
    let followers = app.storage.followers().await;
    let (followers, heads) = match (followers, app.storage.heads().await) {
        (Ok(followers), Ok(heads)) => (followers, heads),
        (Err(Fault::Internal { why }), _) | (_, Err(Fault::Internal { why })) => {
            report.add("unreadable", None, "followers".to_owned(), why);
            return Ok(());
        }
        (Err(fault), _) | (_, Err(fault)) => return Err(fault.into()),
    };
    for follower in followers {
        report.followers += 1;
        if let Err(rejection) = follower.cursor.check(app.storage.install().epoch, &heads) {
            report.add("cursors", None, follower.name, rejection.to_string());
        }
    }
    Ok(())
}

/// Compares what is kept with what the orders came to; where neither has anything, nothing need be kept.
fn tallies(
    kept: Vec<(String, String, Tally)>,
    mut counted: BTreeMap<(String, String), Tally>,
    report: &mut Report,
) {
    let mut compare = |(tenant, source): (String, String), kept: Tally, counted: Tally| {
        if kept != counted {
            let detail = format!("kept {}; counted {}", shown(kept), shown(counted));
            report.add("tallies", None, format!("{tenant}/{source}"), detail);
        }
    };
    for (tenant, source, kept) in kept {
        let whose = (tenant, source);
        let counted = counted.remove(&whose).unwrap_or_default();
        compare(whose, kept, counted);
    }
    for (whose, counted) in counted {
        compare(whose, Tally::default(), counted);
    }
}

fn shown(tally: Tally) -> String {
    let Tally { orders, queued, processed, parked, processing_micros, .. } = tally;
    format!(
        "{orders} orders, {queued} queued, {processed} processed, {parked} parked, {processing_micros} µs"
    )
}
