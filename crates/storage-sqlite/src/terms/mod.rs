//! From the texts of orders (id, customer, reference, source, tenant) to the orders, without an index that intake would have to
//! write: its keys lie at random, so every order would dirty a page of it.
//!
//! New entries wait in memory, sorted. Once there are enough they become a run: sorted blocks, written one behind the
//! other by later commits, some by each. A run is never changed but for an erasure, so its pages are written once. A look-up
//! asks the memory and every run. As with ids ([`crate::ids`]), `orders` is the log of what is in memory: `term_runs`
//! says up to which number the runs are complete, and what lies behind is read at the start.
//!
//! An entry may be of an earlier revision, so whoever finds an order by one looks whether it still holds. The entries of
//! revisions are rows of `term_loose`: they are few.

mod block;
pub(crate) mod entry;
#[cfg(test)]
mod tests;
mod walk;

use crate::damage::{self, is_damage};
use crate::rows;
pub(crate) use block::Unpack;
use block::{Block, pack, unpack};
pub(crate) use entry::{Entry, number as number_of};
use entry::{Field, of_texts};
use order_core::order::Order;
use order_core::{OrderId, Reference, SourceId};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Orders of a run. A look-up asks each run, so there must not be too many; each order waits in memory, so they must not
/// be too long either.
const RUN: usize = 16_384;
/// Entries that a commit writes for each order that it takes in (which has five at most), while a run is being written.
const SLICE_FACTOR: usize = 20;
/// Entries that a commit writes at least.
const SLICE_MIN: usize = 512;

/// Which texts lead to which orders.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    waiting: RwLock<Waiting>,
    /// Whether another process writes the database: then orders may have come that nobody entered here.
    follows: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The run that fills.
    open: BTreeSet<Entry>,
    open_orders: usize,
    /// The run that is being written, if there is one.
    closed: Option<Closed>,
    /// The number of the last run that is written, or 0.
    run: i64,
    /// The highest number of an order that was entered here.
    newest: i64,
}

#[derive(Debug)]
struct Closed {
    entries: Arc<[Entry]>,
    /// How many of them are committed.
    written: usize,
    /// The highest number of its orders.
    last_number: i64,
}

/// Part of a run, for one commit.
#[derive(Debug, Default)]
pub(crate) struct TermSlice {
    run: i64,
    blocks: Vec<Block>,
    /// Whether it is the first of its run.
    begins: bool,
    /// How many entries are written once this is committed.
    written: usize,
    /// Set when the run is complete with it: its highest number.
    completes: Option<i64>,
}

impl Terms {
    /// For the process that writes the database.
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let terms = Self::default();
        terms.reload(conn)?;
        Ok(terms)
    }

    /// For a process that reads beside the one that writes. Nothing is read before it is asked for.
    pub(crate) fn following() -> Self {
        Self { follows: true, ..Self::default() }
    }

    /// Forgets everything and reads again what no run holds.
    pub(crate) fn reload(&self, conn: &Connection) -> rusqlite::Result<()> {
        let last = conn
            .query_row("SELECT run, last_number FROM term_runs ORDER BY run DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (run, newest) = last.unwrap_or((0, 0));
        *self.write() = Waiting { run, newest, ..Waiting::default() };
        self.read_on(conn)
    }

    fn read_on(&self, conn: &Connection) -> rusqlite::Result<()> {
        let newest = self.read().newest;
        let mut statement = conn.prepare_cached(
            "SELECT number, tenant, source, reference, customer, order_id FROM orders WHERE number > ?1 ORDER BY number",
        )?;
        let mut after = newest;
        loop {
            match self.read_behind(&mut statement, &mut after) {
                // Whoever only reads does without what lies where the file is damaged.
                Err(error) if self.follows && is_damage(&error) => {
                    after = damage::past(after, |after| damage::first(&mut statement, [after]))?;
                }
                read => return read,
            }
        }
    }

    fn read_behind(&self, statement: &mut Statement<'_>, after: &mut i64) -> rusqlite::Result<()> {
        let mut rows = statement.query([*after])?;
        while let Some(row) = rows.next()? {
            *after = row.get(0)?;
            let entries = match entries(row, *after) {
                // What does not read cannot be asked for; the order is there without it.
                Err(error) if rows::is_of_row(&error) => Vec::new(),
                entries => entries?,
            };
            self.enter(1, *after, entries);
        }
        Ok(())
    }

    /// Enters orders that were committed just now, up to the number `newest`.
    pub(crate) fn enter(&self, orders: usize, newest: i64, entries: Vec<Entry>) {
        let mut waiting = self.write();
        waiting.open.extend(entries);
        waiting.open_orders += orders;
        waiting.newest = waiting.newest.max(newest);
    }

    /// What the next commit is to write, if it takes in `accepted` orders and erases `erased`.
    pub(crate) fn slice(&self, accepted: usize, erased: &BTreeSet<Entry>) -> TermSlice {
        let closing = {
            let waiting = self.read();
            waiting.closed.is_none() && waiting.open_orders >= RUN
        };
        if closing {
            self.write().close();
        }
        self.read().slice(SLICE_MIN.max(SLICE_FACTOR * accepted), erased)
    }

    /// What a commit with nothing else to do is to write, while a run is being written.
    pub(crate) fn idle_slice(&self) -> Option<TermSlice> {
        let slice = self.slice(RUN, &BTreeSet::new());
        (!slice.is_empty()).then_some(slice)
    }

    /// Takes notice that a slice was committed.
    pub(crate) fn written(&self, slice: &TermSlice) {
        if slice.is_empty() {
            return;
        }
        let mut waiting = self.write();
        if slice.completes.is_some() {
            waiting.run = slice.run;
            waiting.closed = None;
        } else if let Some(closed) = &mut waiting.closed {
            closed.written = slice.written;
        }
    }

    /// Forgets entries whose erasure was committed.
    pub(crate) fn forget(&self, erased: &BTreeSet<Entry>) {
        if erased.is_empty() {
            return;
        }
        let mut waiting = self.write();
        waiting.open.retain(|entry| !erased.contains(entry));
        if let Some(closed) = &mut waiting.closed {
            // What is written already is counted by its place.
            let kept = |(index, entry): (usize, &Entry)| {
                (index < closed.written || !erased.contains(entry)).then(|| entry.clone())
            };
            closed.entries = closed.entries.iter().enumerate().filter_map(kept).collect();
        }
    }

    /// Whether every text of an order leads to it; for audits.
    pub(crate) fn lead_to(&self, conn: &Connection, order: &Order) -> rusqlite::Result<bool> {
        let mut loose = conn.prepare_cached("SELECT 1 FROM term_loose WHERE entry = ?1")?;
        for entry in entry::of(order) {
            // In this order: what left the memory is in a run.
            let leads = !self.waiting(conn, &entry, &entry, 1)?.is_empty()
                || loose.exists([&entry])?
                || walk::run_holds(conn, run_of(conn, order.number)?, &entry)?;
            if !leads {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waiting entries that begin with `beginning`, from `from` on, at most `limit`, in order.
    fn waiting(
        &self,
        conn: &Connection,
        beginning: &[u8],
        from: &[u8],
        limit: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        if self.follows {
            let fresh = self.read().newest == 0;
            if fresh { self.reload(conn)? } else { self.read_on(conn)? }
        }
        let waiting = self.read();
        let fits = |entry: &&Entry| entry.starts_with(beginning);
        let range = (Bound::Included(from), Bound::Unbounded);
        let open = waiting.open.range::<[u8], _>(range).take_while(fits).take(limit);
        let mut found: Vec<Entry> = open.cloned().collect();
        if let Some(closed) = &waiting.closed {
            let at = closed.entries.partition_point(|entry| **entry < *from);
            found.extend(closed.entries[at..].iter().take_while(fits).take(limit).cloned());
            found.sort_unstable();
            found.truncate(limit);
        }
        Ok(found)
    }

    fn read(&self) -> RwLockReadGuard<'_, Waiting> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Waiting> {
        self.waiting.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn close(&mut self) {
        let entries = std::mem::take(&mut self.open).into_iter().collect();
        self.open_orders = 0;
        self.closed = Some(Closed { entries, written: 0, last_number: self.newest });
    }

    fn slice(&self, limit: usize, erased: &BTreeSet<Entry>) -> TermSlice {
        let Some(closed) = &self.closed else { return TermSlice::default() };
        let written = (closed.written + limit).min(closed.entries.len());
        let part = closed.entries.get(closed.written..written).unwrap_or_default();
        TermSlice {
            run: self.run + 1,
            blocks: pack(part.iter().filter(|entry| !erased.contains(*entry))),
            begins: closed.written == 0,
            written,
            completes: (written == closed.entries.len()).then_some(closed.last_number),
        }
    }
}

impl TermSlice {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.completes.is_none()
    }

    /// Writes it, inside of a transaction.
    pub(crate) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        if self.begins {
            // After a crash part of a run may be there that was never completed.
            conn.prepare_cached("DELETE FROM term_blocks WHERE run >= ?1")?.execute([self.run])?;
        }
        let mut insert =
            conn.prepare_cached("INSERT INTO term_blocks (run, first, entries) VALUES (?1, ?2, ?3)")?;
        for block in &self.blocks {
            insert.execute(params![self.run, block.first, block.bytes])?;
        }
        if let Some(last_number) = self.completes {
            conn.prepare_cached("INSERT INTO term_runs VALUES (?1, ?2)")?.execute([self.run, last_number])?;
        }
        Ok(())
    }
}

/// Enters the customer of an order that was revised, inside of a transaction: its other texts stay what they are.
pub(crate) fn revise(conn: &Connection, order: &Order) -> rusqlite::Result<()> {
    let Some(customer) = order.content.customer.as_deref().filter(|text| entry::can_be_found(text)) else {
        return Ok(());
    };
    let entry = entry::entry(&order.tenant, Field::Customer, customer, order.number);
    conn.prepare_cached("INSERT OR IGNORE INTO term_loose VALUES (?1)")?.execute([entry])?;
    Ok(())
}

/// Takes an entry of the order `number` out of what is kept, inside of a transaction.
pub(crate) fn erase(conn: &Connection, entry: &Entry, number: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM term_loose WHERE entry = ?1")?.execute([entry])?;
    let run = run_of(conn, number)?;
    let found = conn
        .prepare_cached(
            "SELECT block, entries FROM term_blocks WHERE run = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1",
        )?
        .query_row(params![run, entry], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    let Some((row, bytes)) = found else { return Ok(()) };
    let mut entries = unpack(bytes);
    let before = entries.len();
    entries.retain(|kept| kept != entry);
    if entries.len() == before {
        return Ok(());
    }
    // It may have been the first, and then it is in the row's key too. What is left never takes more blocks.
    match pack(entries.iter()).first() {
        Some(Block { first, bytes }) => conn
            .prepare_cached("UPDATE term_blocks SET first = ?2, entries = ?3 WHERE block = ?1")?
            .execute(params![row, first, bytes])?,
        None => conn.prepare_cached("DELETE FROM term_blocks WHERE block = ?1")?.execute([row])?,
    };
    Ok(())
}

/// The run that holds the entries of an order: complete, or the one that is being written.
fn run_of(conn: &Connection, number: i64) -> rusqlite::Result<i64> {
    conn.prepare_cached(
        "SELECT coalesce((SELECT run FROM term_runs WHERE last_number >= ?1 ORDER BY run LIMIT 1), \
         (SELECT max(run) + 1 FROM term_runs), 1)",
    )?
    .query_row([number], |row| row.get(0))
}

/// The entries of an order's row: tenant, source, reference, customer, id from column 1 on.
fn entries(row: &Row<'_>, number: i64) -> rusqlite::Result<Vec<Entry>> {
    let (tenant, source): (_, SourceId) = (rows::text(row, 1)?, rows::text(row, 2)?);
    let reference: Option<Reference> = rows::maybe_text(row, 3)?;
    let customer: Option<String> = row.get(4)?;
    let reference = reference.as_ref().map(Reference::as_str);
    Ok(of_texts(&tenant, OrderId(rows::uuid(row, 5)?), &source, reference, customer.as_deref(), number))
}
