//! Looks at what is kept of marketplaces: stores, their imports, runs and events, and budgets.

use super::kept::Seen;
use super::lenient;
use super::strays::{finding, shown};
use crate::error::Tried;
use crate::markets;
use crate::rows::{maybe_text, number};
use order_core::audit::Finding;
use order_core::audit::kept::{self, Numbered, OfStore};
use order_core::budget::Budget;
use order_core::marketplace::ImportCounts;
use tokio_postgres::Row;

/// How many columns of a row are the store's; what belongs to it comes behind.
const STORE_WIDTH: usize = 28;

/// What was read, or the finding that an error of reading it stands for.
fn read<T>(read: Tried<T>, table: &'static str, name: String) -> Tried<Result<T, Seen>> {
    Ok(lenient(read, || (table, name))?.map_err(|unreadable| Seen::Wrong(vec![unreadable.into()])))
}

fn seen(wrong: Vec<String>, check: &'static str, subject: &str) -> Seen {
    let findings: Vec<Finding> =
        wrong.into_iter().map(|wrong| finding(check, subject.to_owned(), wrong)).collect();
    Seen::Wrong(findings)
}

/// A store reads, and counts what belongs to it.
pub(super) fn store(row: &Row, _: u16) -> Tried<Seen> {
    let store = match read(markets::read_store(row), "store", shown(row, 1))? {
        Ok(store) => store,
        Err(seen) => return Ok(seen),
    };
    let count = |index| number::<u64, i64>(row, STORE_WIDTH + index);
    let imports = ImportCounts {
        pending: count(0)?,
        success: count(1)?,
        failed: count(2)?,
        rate_limited: count(3)?,
        invalid: count(4)?,
    };
    let numbered = |at| -> Tried<Numbered> {
        Ok(Numbered { count: count(at)?, first: count(at + 1)?, last: count(at + 2)? })
    };
    let (runs, events) = (numbered(6)?, numbered(9)?);
    let of = OfStore { imports, last_number: count(5)?, runs, events };
    Ok(seen(kept::store(&store, &of), "stores", &shown(row, 1)))
}

/// An import reads, and leads to the order that it says.
pub(super) fn import(row: &Row, _: u16) -> Tried<Seen> {
    let import = match read(markets::read_import(row), "import", shown(row, 2))? {
        Ok(import) => import,
        Err(seen) => return Ok(seen),
    };
    let (source, reference): (Option<&str>, Option<&str>) = (row.try_get(17)?, row.try_get(18)?);
    let mut wrong = kept::import(&import, source.map(|source| (source, reference)));
    if !row.try_get::<_, bool>(16)? {
        wrong.push("is of no store".to_owned());
    }
    Ok(seen(wrong, "imports", &shown(row, 2)))
}

/// A run reads, and is a store's.
pub(super) fn run(row: &Row, _: u16) -> Tried<Seen> {
    if let Err(seen) = read(markets::read_run(row), "sync_run", shown(row, 2))? {
        return Ok(seen);
    }
    let owned: bool = row.try_get(10)?;
    let stray = (!owned).then(|| "is of no store".to_owned());
    Ok(seen(stray.into_iter().collect(), "sync_runs", &shown(row, 2)))
}

/// An event reads, and is of a store of its tenant.
pub(super) fn event(row: &Row, _: u16) -> Tried<Seen> {
    if let Err(seen) = read(markets::read_event(row), "store_event", shown(row, 2))? {
        return Ok(seen);
    }
    let owned: bool = row.try_get(8)?;
    let stray = (!owned).then(|| "is of no store of its tenant".to_owned());
    Ok(seen(stray.into_iter().collect(), "store_events", &shown(row, 2)))
}

/// A budget reads, and is what its key says. One without a state was never used.
pub(super) fn budget(row: &Row, _: u16) -> Tried<Seen> {
    let budget = match read(maybe_text::<Budget>(row, 1), "budget", shown(row, 1))? {
        Ok(budget) => budget,
        Err(seen) => return Ok(seen),
    };
    let key: &str = row.try_get(0)?;
    let stray = budget.filter(|budget| budget.key != key).map(|_| "is another budget's".to_owned());
    Ok(seen(stray.into_iter().collect(), "budgets", key))
}
