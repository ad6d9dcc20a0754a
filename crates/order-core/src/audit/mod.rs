//! The audit: proves over the whole storage that versions and positions are gapless, that every order equals the fold
//! of its events, that every work row belongs and says what its order's events say, that every follower's cursor is
//! sound, that the tallies are right, and that whatever else names an order leads to one.
//!
//! Every read is short, so that a running server is never held up, whatever the size of the storage.

mod actions;
mod journal;
pub mod kept;
mod orders;
mod report;
pub mod rows;

pub use report::{FINDINGS_MAX, Finding, Report};

use crate::app::App;
use crate::error::{Error, Fault};
use crate::query::Tally;
use orders::Counted;
use rows::Beginning;
use std::collections::BTreeMap;

/// Orders, or rows, that one read takes.
const PAGE: u32 = 500;

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
    let counted = orders::all(app, &heads, &mut report, &mut progress).await?;
    for head in &heads {
        journal::of_shard(app, *head, &counted, &mut report).await?;
    }
    work(app, &mut report).await?;
    followers(app, &mut report).await?;
    actions::end(app, &mut report).await?;
    let Counted { tallies: of_orders, whole, .. } = counted;
    if whole && tallies_read {
        tallies(kept, of_orders, &mut report);
    }
    let strays = app.storage.audit_strays(FINDINGS_MAX).await;
    for finding in readable(strays, "what is kept besides orders", &mut report)?.unwrap_or_default() {
        match finding.check {
            // The checks before may have named it.
            "unreadable" if report.findings.contains(&finding) => {}
            _ => report.find(finding),
        }
    }
    Ok(report)
}

/// What a read gave. What a storage cannot read, for a cause that no waiting mends, is a finding: then nothing comes, and
/// the rest is looked at.
fn readable<T>(read: Result<T, Fault>, what: &str, report: &mut Report) -> Result<Option<T>, Fault> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Fault::Internal { why }) => {
            report.add("unreadable", None, what.to_owned(), why);
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Checks that every work row belongs; what it says of its order is checked with the order.
async fn work(app: &App, report: &mut Report) -> Result<(), Error> {
    let shards = app.storage.install().shards;
    let mut after = i64::MIN;
    loop {
        let page = app.storage.audit_work(after, PAGE).await;
        let Some(page) = readable(page, &format!("work behind number {after}"), report)? else {
            return Ok(());
        };
        report.unreadable(page.unreadable);
        let Some(last) = page.last else { return Ok(()) };
        after = last;
        for fact in &page.rows {
            report.work += 1;
            let (id, shard) = (fact.work.order_id, Some(fact.work.order_id.shard(shards)));
            match fact.wanted {
                Some(true) => {}
                Some(false) => {
                    let detail = "its order has nothing left to do".to_owned();
                    report.add("work", shard, id.to_string(), detail);
                }
                None => report.add("work", shard, id.to_string(), "has no order".to_owned()),
            }
            if let Some(tenant) = &fact.other_tenant {
                let detail = format!("lies with the tenant `{tenant}`, who is not its order's");
                report.add("work", shard, id.to_string(), detail);
            }
            if let Some(desk) = fact.other_desk {
                let detail = format!(
                    "lies at desk {desk}, which is not its order's: nobody claims it who is to do it"
                );
                report.add("work", shard, id.to_string(), detail);
            }
        }
    }
}

async fn followers(app: &App, report: &mut Report) -> Result<(), Error> {
    // Read before the heads: a cursor must not be ahead of what was there when it was read.
    let followers = app.storage.followers().await;
    let Some(followers) = readable(followers, "followers", report)? else { return Ok(()) };
    let Some(heads) = readable(app.storage.heads().await, "followers", report)? else { return Ok(()) };
    for follower in followers {
        report.followers += 1;
        if let Err(rejection) = follower.cursor.check(app.storage.install().epoch, &heads) {
            report.add("cursors", None, follower.name.clone(), rejection.to_string());
        }
        if follower.replay.is_some_and(|replay| !replay.fits(&follower.cursor)) {
            let detail = "its replay of a range does not lie before its cursor";
            report.add("cursors", None, follower.name, detail.to_owned());
        }
    }
    Ok(())
}

/// Compares what is kept with what the orders came to.
fn tallies(
    kept: Vec<(String, String, Tally)>,
    mut counted: BTreeMap<(String, String), Tally>,
    report: &mut Report,
) {
    let mut compare = |(tenant, source): &(String, String), kept: Option<Tally>, counted: Option<Tally>| {
        if kept == counted {
            return;
        }
        let detail = match counted {
            Some(counted) => format!("kept {}; counted {}", shown(kept.unwrap_or_default()), shown(counted)),
            None => format!("kept {}, though there are no such orders", shown(kept.unwrap_or_default())),
        };
        report.add("tallies", None, format!("{tenant}/{source}"), detail);
    };
    for (tenant, source, kept) in kept {
        let whose = (tenant, source);
        let counted = counted.remove(&whose);
        compare(&whose, Some(kept), counted);
    }
    for (whose, counted) in counted {
        compare(&whose, None, Some(counted));
    }
}

fn shown(tally: Tally) -> String {
    let Tally { orders, queued, processed, parked, processing_micros, .. } = tally;
    format!(
        "{orders} orders, {queued} queued, {processed} processed, {parked} parked, {processing_micros} µs"
    )
}
