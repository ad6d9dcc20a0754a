//! The journal of each shard: gapless positions, known events, epochs that only rise.

use super::orders::Counted;
use super::rows::{JournalFact, Named};
use super::{PAGE, Report, readable};
use crate::app::App;
use crate::error::Error;
use crate::ids::Shard;
use crate::journal::Head;
use crate::order::event::{DATA_VERSION, EventType};

/// How far the walk along a shard has come.
struct Walk {
    shard: Shard,
    /// The epoch of the installation.
    newest_epoch: u32,
    position: u64,
    rows: u64,
    /// Whether there are rows that cannot be read at all, not even that they are there.
    skipped: bool,
    epoch: u32,
}

/// Checks the journal of a shard up to its head, of which the orders account for the events that `counted` says.
pub(super) async fn of_shard(
    app: &App,
    head: Head,
    counted: &Counted,
    report: &mut Report,
) -> Result<(), Error> {
    let index = usize::from(head.shard.0);
    if head.floor > 0 {
        let newest = counted.newest.get(index).copied().filter(|_| counted.whole);
        floor(app, head, newest, report).await?;
    }
    let newest_epoch = app.storage.install().epoch;
    let position = head.floor.min(head.position);
    let mut walk = Walk { shard: head.shard, newest_epoch, position, rows: 0, skipped: false, epoch: 1 };
    while walk.position < head.position {
        let page = app.storage.audit_journal(head.shard, walk.position, PAGE).await;
        let what = format!("events of shard {} behind position {}", head.shard, walk.position);
        let Some(page) = readable(page, &what, report)? else { return Ok(()) };
        let (before, last) = (walk.position, page.last.filter(|_| !page.unreadable.is_empty()));
        report.unreadable(page.unreadable);
        for fact in page.rows.into_iter().filter(|fact| fact.position <= head.position) {
            walk.step(fact, report);
        }
        // What cannot be read at all was named; the walk goes on behind it.
        if let Some(last) = last.filter(|last| *last > walk.position) {
            (walk.position, walk.skipped) = (last.min(head.position), true);
        }
        if walk.position == before {
            break;
        }
    }
    report.events += walk.rows;
    let shard = Some(head.shard);
    if walk.position != head.position {
        let detail = format!("the journal ends at {}", walk.position);
        report.add("positions", shard, head.position.to_string(), detail);
    }
    let chained = counted.chained.get(index).copied().filter(|_| counted.whole && !walk.skipped);
    if let Some(chained) = chained.filter(|chained| *chained != walk.rows) {
        let detail = format!("{} events lie in the journal, the orders account for {chained}", walk.rows);
        report.add("events", shard, "shard".to_owned(), detail);
    }
    Ok(())
}

/// Below a floor nothing is kept, and up to it something was: `newest` is the position of the newest event of an order, if
/// that is known.
async fn floor(app: &App, head: Head, newest: Option<u64>, report: &mut Report) -> Result<(), Error> {
    let Head { shard, floor, .. } = head;
    let first = app.storage.audit_journal(shard, 0, 1).await;
    let Some(first) = readable(first, &format!("the first event of shard {shard}"), report)? else {
        return Ok(());
    };
    if let Some(fact) = first.rows.first().filter(|fact| fact.position <= floor) {
        let detail = format!("position {} is there, below the floor {floor}", fact.position);
        report.add("positions", Some(shard), "floor".to_owned(), detail);
    } else if let Some(newest) = newest.filter(|newest| *newest < floor) {
        let detail = format!("the floor is {floor}, the newest event of an order was at {newest}");
        report.add("positions", Some(shard), "floor".to_owned(), detail);
    }
    Ok(())
}

impl Walk {
    fn step(&mut self, fact: JournalFact, report: &mut Report) {
        self.rows += 1;
        if fact.position != self.position + 1 {
            let detail = format!("position {} follows {}", fact.position, self.position);
            report.add("positions", Some(self.shard), fact.position.to_string(), detail);
        }
        self.position = fact.position;
        if let Some(named) = fact.named {
            self.event(&named, report);
        }
    }

    fn event(&mut self, named: &Named, report: &mut Report) {
        let (position, shard) = (self.position, Some(self.shard));
        let mut wrong = |check, what: String| {
            report.add(check, shard, named.order_id.to_string(), format!("position {position} {what}"))
        };
        match named.order_version {
            Some(version) if version < named.version => {
                wrong("events", format!("is version {}, the order has {version}", named.version));
            }
            Some(_) => {}
            None => wrong("events", "has no order".to_owned()),
        }
        if let EventType::Unknown(kind) = &named.kind {
            wrong("events", format!("is of the type `{kind}`, which this program does not know"));
        } else if named.data_version != DATA_VERSION {
            let (kind, version) = (named.kind.as_str(), named.data_version);
            wrong("events", format!("has {kind} in form {version}, which this program does not know"));
        }
        if named.epoch > self.newest_epoch {
            wrong("epochs", format!("is of epoch {}, the database is in {}", named.epoch, self.newest_epoch));
        } else if named.epoch < self.epoch {
            wrong("epochs", format!("is of epoch {}, behind one of epoch {}", named.epoch, self.epoch));
        } else {
            self.epoch = named.epoch;
        }
    }
}
