//! Looks at what is kept of marketplaces: stores, their imports, runs and events, and budgets.

use super::kept::Found;
use super::shown;
use super::strays::{Look, finding};
use crate::markets;
use crate::rows::{blob, is_of_row};
use order_core::audit::Finding;
use order_core::audit::kept::{self, Numbered, OfStore};
use order_core::ids::StoreId;
use order_core::marketplace::{ImportCounts, ImportState};
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// The finding that an error of reading a row stands for; else what was read.
fn read<T>(
    read: rusqlite::Result<Option<T>>,
    table: &'static str,
    name: impl FnOnce() -> String,
) -> rusqlite::Result<Result<T, Vec<Finding>>> {
    match read {
        Ok(Some(read)) => Ok(Ok(read)),
        // It went meanwhile.
        Ok(None) => Ok(Err(Vec::new())),
        Err(error) if is_of_row(&error) => {
            Ok(Err(vec![finding("unreadable", format!("{table} {}", name()), error.to_string())]))
        }
        Err(error) => Err(error),
    }
}

fn store_id(row: &Row<'_>) -> Option<StoreId> {
    match row.get_ref(0) {
        Ok(ValueRef::Blob(bytes)) => uuid::Uuid::from_slice(bytes).ok().map(StoreId),
        _ => None,
    }
}

fn nameless(table: &'static str, row: &Row<'_>) -> Vec<Finding> {
    vec![finding("unreadable", format!("{table} {}", shown(row, 0)), "`store_id`: is no id")]
}

fn of_store(look: &Look<'_>, id: StoreId) -> rusqlite::Result<OfStore> {
    // What is no number that was given counts as one that is wrong.
    let number = |row: &Row<'_>, index| -> rusqlite::Result<u64> {
        Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(u64::MAX))
    };
    let numbered = |sql: &str| -> rusqlite::Result<Numbered> {
        let mut statement = look.conn.prepare_cached(sql)?;
        statement.query_row([blob(&id.0)], |row| {
            Ok(Numbered { count: row.get(0)?, first: number(row, 1)?, last: number(row, 2)? })
        })
    };
    let count = |state: ImportState| -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM imports WHERE store_id = ?1 AND state = ?2";
        look.conn
            .prepare_cached(sql)?
            .query_row(rusqlite::params![blob(&id.0), state.word()], |row| row.get(0))
    };
    Ok(OfStore {
        imports: ImportCounts {
            pending: count(ImportState::Pending)?,
            success: count(ImportState::Success)?,
            failed: count(ImportState::Failed)?,
            rate_limited: count(ImportState::RateLimited)?,
            invalid: count(ImportState::Invalid)?,
        },
        last_number: look
            .conn
            .prepare_cached("SELECT coalesce(max(number), 0) FROM imports WHERE store_id = ?1")?
            .query_row([blob(&id.0)], |row| number(row, 0))?,
        runs: numbered(
            "SELECT count(*), coalesce(min(run), 0), coalesce(max(run), 0) FROM sync_runs WHERE store_id = ?1",
        )?,
        events: numbered(
            "SELECT count(*), coalesce(min(version), 0), coalesce(max(version), 0) FROM store_events WHERE store_id = ?1",
        )?,
    })
}

/// A store reads, and counts what belongs to it.
pub(super) fn store(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let Some(id) = store_id(row) else { return Ok(nameless("store", row)) };
    let found = match read(markets::store(look.conn, id), "store", || shown(row, 0))? {
        Ok(found) => found,
        Err(findings) => return Ok(findings),
    };
    let wrong = kept::store(&found, &of_store(look, id)?).into_iter();
    Ok(wrong.map(|wrong| finding("stores", id.to_string(), wrong)).collect())
}

/// An import reads, and leads to the order that it says.
pub(super) fn import(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let Some(id) = store_id(row) else { return Ok(nameless("import", row)) };
    let name = || format!("{} {}", shown(row, 0), shown(row, 1));
    let receipt: rusqlite::Result<String> = row.get(1);
    let found = receipt.and_then(|receipt| markets::import(look.conn, id, &receipt));
    let import = match read(found, "import", name)? {
        Ok(import) => import,
        Err(findings) => return Ok(findings),
    };
    let order = match &import.result {
        Some(result) => match look.order(result.order_id, import.tenant.as_str())? {
            Found::Order(order) => Some(order),
            Found::Missing => None,
            Found::Unreadable => return Ok(Vec::new()),
        },
        None => None,
    };
    let mut wrong = kept::import(
        &import,
        order
            .as_deref()
            .map(|order| (order.source.as_str(), order.reference.as_ref().map(|one| one.as_str()))),
    );
    if !row.get::<_, bool>(2)? {
        wrong.push("is of no store".to_owned());
    }
    let subject = || format!("{id} {}", import.receipt);
    Ok(wrong.into_iter().map(|wrong| finding("imports", subject(), wrong)).collect())
}

/// A run reads, and is a store's.
pub(super) fn run(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let Some(id) = store_id(row) else { return Ok(nameless("sync_run", row)) };
    let name = || format!("{} {}", shown(row, 0), shown(row, 1));
    let number: rusqlite::Result<u64> = row.get(1);
    if let Err(findings) = read(number.and_then(|run| markets::run(look.conn, id, run)), "sync_run", name)? {
        return Ok(findings);
    }
    let owned: bool = row.get(2)?;
    Ok(if owned { Vec::new() } else { vec![finding("sync_runs", name(), "is of no store")] })
}

/// An event reads, and is of a store of its tenant.
pub(super) fn event(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let Some(id) = store_id(row) else { return Ok(nameless("store_event", row)) };
    let name = || format!("{} {}", shown(row, 0), shown(row, 1));
    let version: rusqlite::Result<u64> = row.get(1);
    let found = version.and_then(|version| markets::event(look.conn, id, version));
    if let Err(findings) = read(found, "store_event", name)? {
        return Ok(findings);
    }
    let owned: bool = row.get(2)?;
    Ok(if owned { Vec::new() } else { vec![finding("store_events", name(), "is of no store of its tenant")] })
}

/// A budget reads, and is what its key says.
pub(super) fn budget(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let key: rusqlite::Result<String> = row.get(0);
    let found = key.and_then(|key| markets::budget(look.conn, &key));
    let budget = match read(found, "budget", || shown(row, 0))? {
        Ok(budget) => budget,
        Err(findings) => return Ok(findings),
    };
    let is_itself = budget.key == row.get::<_, String>(0)?;
    Ok(if is_itself { Vec::new() } else { vec![finding("budgets", shown(row, 0), "is another budget's")] })
}
