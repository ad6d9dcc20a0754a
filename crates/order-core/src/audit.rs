//! The audit: proves over the whole storage that versions and positions are gapless, that every order equals the fold
//! of its events, that every work row belongs, that every follower's cursor is sound, and that the tallies are right.

use crate::app::App;
use crate::decide::must_have_work;
use crate::error::Error;
use crate::ids::{OrderId, Shard};
use crate::journal::Head;
use crate::order::Order;
use crate::order::event::EventType;
use crate::query::{OrderDossier, Tally};

/// Orders, or rows, that one read takes.
const PAGE: u32 = 500;
/// Findings that are listed; more are only counted.
pub const FINDINGS_MAX: usize = 1_000;

/// What is wrong with an order that is there and not found.
const LOST: &str = "a look-up by its id, reference, customer or source does not lead to it";

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: &'static str,
    /// In which shard, if it has one.
    pub shard: Option<Shard>,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
}

/// What an audit saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Orders read.
    pub orders: u64,
    /// Events read.
    pub events: u64,
    /// Work rows read.
    pub work: u64,
    /// Followers read.
    pub followers: u64,
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub found: u64,
}

impl Report {
    fn add(&mut self, check: &'static str, shard: Option<Shard>, subject: String, detail: String) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { check, shard, subject, detail });
        }
    }
}

/// Audits the whole storage; `progress` hears how many orders have been read. Safe beside a running server: what
/// happens after the start is left out.
///
/// # Errors
/// When storage cannot be read.
pub async fn audit(app: &App, mut progress: impl FnMut(u64)) -> Result<Report, Error> {
    let mut report = Report::default();
    let heads = app.storage.heads().await?;
    for head in &heads {
        let chained = orders(app, *head, &mut report, &mut progress).await?;
        journal(app, *head, chained, &mut report).await?;
    }
    work(app, &mut report).await?;
    followers(app, &mut report).await?;
    tallies(app, &mut report).await?;
    Ok(report)
}

/// Checks each order of a shard; returns how many of its events up to the head the orders account for.
async fn orders(
    app: &App,
    head: Head,
    report: &mut Report,
    progress: &mut impl FnMut(u64),
) -> Result<u64, Error> {
    let mut after = i64::MIN;
    let mut chained = 0;
    loop {
        let dossiers = app.storage.dossiers(head.shard, after, PAGE).await?;
        let Some(last) = dossiers.last() else { return Ok(chained) };
        after = last.order.number;
        for dossier in &dossiers {
            report.orders += 1;
            let counted = dossier
                .events
                .iter()
                .filter(|event| event.position <= head.position && event.position > head.floor);
            chained += counted.count() as u64;
            check_identity(app.storage.install().shards, head.shard, &dossier.order, report);
            if !dossier.found {
                let id = dossier.order.id.to_string();
                report.add("ids", Some(head.shard), id, LOST.to_owned());
            }
            check_order(head, dossier, report);
        }
        progress(report.orders);
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

fn check_order(head: Head, dossier: &OrderDossier, report: &mut Report) {
    let (shard, id) = (head.shard, dossier.order.id.to_string());
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
        report.add("fold", Some(shard), id.clone(), differing(&dossier.order, &folded));
    }
    if must_have_work(&dossier.order) != dossier.work.is_some() {
        let has = if dossier.work.is_some() { "has" } else { "lacks" };
        report.add("work", Some(shard), id, format!("is {} and {has} a work row", dossier.order.processing));
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

async fn journal(app: &App, head: Head, chained: u64, report: &mut Report) -> Result<(), Error> {
    let shard = Some(head.shard);
    let (mut position, mut rows) = (head.floor, 0_u64);
    'pages: loop {
        let facts = app.storage.journal_facts(head.shard, position, PAGE).await?;
        if facts.is_empty() {
            break;
        }
        for fact in facts {
            if fact.position > head.position {
                break 'pages;
            }
            rows += 1;
            if fact.position != position + 1 {
                let detail = format!("position {} follows {position}", fact.position);
                report.add("positions", shard, fact.position.to_string(), detail);
            }
            position = fact.position;
            match fact.order_version {
                Some(version) if version >= fact.version => {}
                Some(version) => {
                    let detail =
                        format!("position {position} is version {}, the order has {version}", fact.version);
                    report.add("events", shard, fact.order_id.to_string(), detail);
                }
                None => {
                    report.add(
                        "events",
                        shard,
                        fact.order_id.to_string(),
                        format!("position {position} has no order"),
                    );
                }
            }
        }
    }
    report.events += rows;
    if position != head.position {
        report.add("positions", shard, head.position.to_string(), format!("the journal ends at {position}"));
    }
    if rows != chained {
        let detail = format!("{rows} events lie in the journal, the orders account for {chained}");
        report.add("events", shard, "shard".to_owned(), detail);
    }
    Ok(())
}

async fn work(app: &App, report: &mut Report) -> Result<(), Error> {
    let mut after = i64::MIN;
    loop {
        let facts = app.storage.work_facts(after, PAGE).await?;
        let Some(last) = facts.last() else { return Ok(()) };
        after = last.key;
        for fact in &facts {
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
    let followers = app.storage.followers().await?;
    let heads = app.storage.heads().await?;
    for follower in followers {
        report.followers += 1;
        if let Err(rejection) = follower.cursor.check(app.storage.install().epoch, &heads) {
            report.add("cursors", None, follower.name, rejection.to_string());
        }
    }
    Ok(())
}

async fn tallies(app: &App, report: &mut Report) -> Result<(), Error> {
    for fact in app.storage.tally_facts().await? {
        if fact.kept != fact.counted {
            let show = |tally: Tally| {
                let Tally { orders, queued, processed, parked, processing_micros, .. } = tally;
                format!(
                    "{orders} orders, {queued} queued, {processed} processed, {parked} parked, {processing_micros} µs"
                )
            };
            let subject = format!("{}/{}", fact.tenant, fact.source);
            report.add(
                "tallies",
                None,
                subject,
                format!("kept {}; counted {}", show(fact.kept), show(fact.counted)),
            );
        }
    }
    Ok(())
}
