//! Looks at what says something of many rows: how far something is complete, from when to when blocks are, which texts are
//! in a run.

use super::strays::{Look, finding, in_shard};
use super::{lenient, shown};
use crate::damage::is_damage;
use crate::rows::{last_place, place, position};
use crate::span::BLOCK;
use crate::terms::{Unpack, number_of};
use order_core::audit::Finding;
use order_core::audit::rows::Unreadable;
use order_core::ids::Shard;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Places outside of all shards that are named at most.
const PLACES_MAX: usize = 100;

/// What says how far something is complete lies before the end of what there is; there is a head for every shard, and a
/// block wherever one was filled; and nothing lies outside of the shards.
pub(super) fn marks_of_progress(conn: &Connection, shards: u16) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let snapshot = conn.unchecked_transaction()?;
    for look in [merged, runs, order_blocks] {
        noted(look(&snapshot), "numbers of orders", &mut findings)?;
    }
    for shard in (0..shards).map(Shard) {
        noted(of_shard(&snapshot, shard), &format!("head of shard {shard}"), &mut findings)?;
    }
    noted(outside(&snapshot, shards), "places of no shard", &mut findings)?;
    Ok(findings)
}

fn noted(
    look: rusqlite::Result<Vec<Finding>>,
    what: &str,
    findings: &mut Vec<Finding>,
) -> rusqlite::Result<()> {
    match look {
        Err(error) if is_damage(&error) => {
            findings.push(finding("unreadable", what.to_owned(), error.to_string()));
        }
        look => findings.extend(look?),
    }
    Ok(())
}

/// The number of the last order; 0 before the first.
fn last_number(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(number), 0) FROM orders")?.query_row([], |row| row.get(0))
}

fn beyond(what: &str, to: i64, last: i64) -> Finding {
    finding("ids", what.to_owned(), format!("complete up to number {to}, the last order is {last}"))
}

fn merged(conn: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let merged: Option<Value> = conn
        .prepare_cached("SELECT value FROM meta WHERE key = 'ids_merged'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let last = last_number(conn)?;
    Ok(match merged {
        None => Vec::new(),
        Some(Value::Integer(to)) if (0..=last).contains(&to) => Vec::new(),
        Some(Value::Integer(to)) => vec![beyond("order_ids", to, last)],
        Some(_) => {
            let why = "`value`: no number".to_owned();
            vec![Unreadable { table: "meta", row: "ids_merged".to_owned(), why }.into()]
        }
    })
}

fn runs(conn: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let last = last_number(conn)?;
    let mut statement = conn.prepare_cached("SELECT run, last_number FROM term_runs ORDER BY run")?;
    let mut rows = statement.query([])?;
    let (mut findings, mut before) = (Vec::new(), (0, 0));
    while let Some(row) = rows.next()? {
        let (run, to): (i64, i64) = (row.get(0)?, row.get(1)?);
        if to > last {
            findings.push(beyond("term_runs", to, last));
        }
        if run != before.0 + 1 || to <= before.1 {
            let detail = format!("goes up to number {to}, behind run {} up to {}", before.0, before.1);
            findings.push(finding("ids", format!("run {run}"), detail));
        }
        before = (run, to);
    }
    Ok(findings)
}

/// As many blocks as were filled, one behind the other.
fn order_blocks(conn: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let last = last_number(conn)?;
    let sql = "SELECT count(*), coalesce(max(block), -1) + 1 FROM order_blocks";
    let there = conn.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let wanted = (last + 1) / BLOCK;
    Ok((there != (wanted, wanted)).then(|| missing_blocks("orders", there, wanted)).into_iter().collect())
}

fn missing_blocks(of: &str, (there, end): (i64, i64), wanted: i64) -> Finding {
    let detail = format!("{there} blocks, up to block {}, are there, {wanted} were filled", end - 1);
    finding("blocks", of.to_owned(), detail)
}

/// The row that says where the journal of a shard begins, and the blocks of its events.
fn of_shard(conn: &Connection, shard: Shard) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let floor: Option<i64> = conn
        .prepare_cached("SELECT floor FROM journal_heads WHERE shard = ?1")?
        .query_row([shard.0], |row| row.get(0))
        .optional()?;
    if floor.is_none() {
        findings.push(in_shard("positions", shard.0.into(), "floor".to_owned(), "is missing"));
    }
    let newest: Option<i64> = conn
        .prepare_cached("SELECT max(place) FROM journal WHERE place BETWEEN ?1 AND ?2")?
        .query_row([place(shard, 0), last_place(shard)], |row| row.get(0))?;
    let newest = newest.map_or(0, |place| i64::try_from(position(place)).unwrap_or(0));
    let there = conn
        .prepare_cached("SELECT count(*), coalesce(max(block), -1) + 1 FROM journal_blocks WHERE shard = ?1")?
        .query_row([shard.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let wanted = (newest + 1) / BLOCK;
    if there != (wanted, wanted) {
        findings.push(Finding { shard: Some(shard), ..missing_blocks("events", there, wanted) });
    }
    Ok(findings)
}

fn outside(conn: &Connection, shards: u16) -> rusqlite::Result<Vec<Finding>> {
    let mut outside =
        conn.prepare_cached("SELECT place FROM journal WHERE place > ?1 OR place < ?2 LIMIT ?3")?;
    let (first, last) = (place(Shard(0), 1), last_place(Shard(shards.saturating_sub(1))));
    let found = outside.query_map(params![last, first, PLACES_MAX], |row| row.get::<_, i64>(0))?;
    found
        .map(|place| {
            let place = place?;
            let detail = format!("position {} of no shard", position(place));
            Ok(finding("positions", format!("place {place}"), detail))
        })
        .collect()
}

/// A head is of a shard that exists.
pub(super) fn head(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let shard: i64 = row.get(0)?;
    let exists = (0..i64::from(look.install.shards)).contains(&shard);
    let stray = || {
        in_shard("positions", shard, "floor".to_owned(), format!("of shard {shard}, which does not exist"))
    };
    Ok((!exists).then(stray).into_iter().collect())
}

pub(super) fn order_block(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let (block, kept): (i64, (i64, i64)) = (row.get(0)?, (row.get(1)?, row.get(2)?));
    let first = block.saturating_mul(BLOCK);
    let real: (Option<i64>, Option<i64>) = look
        .conn
        .prepare_cached(
            "SELECT min(accepted_at), max(accepted_at) FROM orders WHERE number BETWEEN ?1 AND ?2",
        )?
        .query_row([first, first.saturating_add(BLOCK - 1)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let fits = real == (Some(kept.0), Some(kept.1));
    let wrong = || {
        let detail =
            format!("says that its orders were accepted from {} to {} µs, they say {real:?}", kept.0, kept.1);
        finding("blocks", format!("block {block} of orders"), detail)
    };
    Ok((!fits).then(wrong).into_iter().collect())
}

/// `latest` is of all events up to the end of a block, so of the block and of what the block before says.
pub(super) fn journal_block(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let (shard, block, latest): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let before: Option<i64> = row.get(3)?;
    let subject = || format!("block {block} of events");
    let Some(of) = u16::try_from(shard).ok().filter(|of| *of < look.install.shards).map(Shard) else {
        let detail = format!("of shard {shard}, which does not exist");
        return Ok(vec![finding("blocks", subject(), detail)]);
    };
    let first = place(of, u64::try_from(block).unwrap_or(0).saturating_mul(BLOCK.unsigned_abs()));
    let real: Option<i64> = look
        .conn
        .prepare_cached("SELECT max(occurred_at) FROM journal WHERE place BETWEEN ?1 AND ?2")?
        .query_row([first, first.saturating_add(BLOCK - 1)], |row| row.get(0))?;
    let real = real.unwrap_or(0).max(before.unwrap_or(0));
    let wrong = || {
        let detail = format!("says that its latest event was at {latest} µs, they say {real}");
        in_shard("blocks", shard, subject(), detail)
    };
    Ok((latest != real).then(wrong).into_iter().collect())
}

/// A block of entries that read, in their order, of orders that there are.
pub(super) fn term_block(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = || format!("block {} of run {}", shown(row, 0), shown(row, 1));
    let (run, first, bytes): (i64, Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (runs, last): (i64, i64) = look
        .conn
        .prepare_cached(
            "SELECT (SELECT coalesce(max(run), 0) FROM term_runs), coalesce(max(number), 0) FROM orders",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let wrong = |detail: &str| Ok(vec![finding("ids", name(), detail)]);
    // One is being written at most, and it is the next.
    if !(1..=runs + 1).contains(&run) {
        return wrong("belongs to no run");
    }
    let mut unpack = Unpack::new(bytes);
    let mut before: Vec<u8> = Vec::new();
    while let Some(entry) = unpack.next() {
        if before.is_empty() && entry != first {
            return wrong("does not begin with the entry that it is found by");
        }
        if *entry <= *before {
            return wrong("is not in order");
        }
        if !number_of(entry).is_some_and(|number| (1..=last).contains(&number)) {
            return wrong("leads to an order that is not there");
        }
        before = entry.to_vec();
    }
    if before.is_empty() || !unpack.is_through() {
        return wrong("does not read to its end");
    }
    Ok(Vec::new())
}

/// An entry of a revision leads to an order that there is.
pub(super) fn term_loose(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let entry: Vec<u8> = match lenient(row, row.get(0), |_| ("term_loose", shown(row, 0)))? {
        Ok(entry) => entry,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let last = last_number(look.conn)?;
    let leads = number_of(&entry).is_some_and(|number| (1..=last).contains(&number));
    let wrong = || finding("ids", shown(row, 0), "is the text of an order that is not there");
    Ok((!leads).then(wrong).into_iter().collect())
}
