//! From an order's id to its number: the one unique index of the database, written in sorted runs.
//!
//! Ids lie at random over the table `order_ids`. Entering each with its order would write a page of the table for every
//! order, half of all that a commit writes. So new entries wait in memory and are merged many at once, in the order of
//! the ids, as part of later commits. Nothing is lost with the memory: `orders` itself is their log. It is kept by number,
//! and `ids_merged` in `meta` is the number up to which the table is complete; what lies behind it is read at the start.

use crate::damage::{self, is_damage};
use crate::rows::{blob, is_of_row, uuid};
use order_core::ids::OrderId;
use rusqlite::{Connection, OptionalExtension, Statement, params};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Entries of a run. At a million orders the table has some 8,000 pages, so a run of so many dirties a quarter of a page
/// for each entry.
const RUN: usize = 32_768;
/// Entries that a commit merges for each order that it takes in, while a run is being merged: a run is through long
/// before the next one is full.
const SLICE_FACTOR: usize = 4;
/// Entries that a commit merges at least, and all that a commit merges when nothing else is to be done.
const SLICE_MIN: usize = 64;
const SLICE_IDLE: usize = 4_096;

/// Which order has which number.
#[derive(Debug, Default)]
pub(crate) struct OrderIds {
    entries: RwLock<Entries>,
    /// Whether another process writes the database: then what is not known may have come since.
    follows: bool,
}

#[derive(Debug, Default)]
struct Entries {
    /// What may not be in the table yet.
    numbers: HashMap<OrderId, i64>,
    /// The run that fills, by number.
    open: Vec<(OrderId, i64)>,
    /// What is left of the run that is being merged, by id, the first at the end.
    closed: Vec<(OrderId, i64)>,
    /// The highest number of that run.
    closed_to: i64,
    /// The highest number that was entered here.
    newest: i64,
}

/// Part of a run, for one commit.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    entries: Vec<(OrderId, i64)>,
    /// With it, the table is complete up to this number.
    completes: Option<i64>,
}

impl OrderIds {
    /// For the process that writes the database.
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let ids = Self::default();
        ids.reload(conn)?;
        Ok(ids)
    }

    /// For a process that reads beside the one that writes.
    pub(crate) fn following(conn: &Connection) -> rusqlite::Result<Self> {
        let ids = Self { follows: true, ..Self::default() };
        ids.reload(conn)?;
        Ok(ids)
    }

    /// Forgets everything and reads again what is not merged: what a failed commit left behind is found out so.
    pub(crate) fn reload(&self, conn: &Connection) -> rusqlite::Result<()> {
        let merged: rusqlite::Result<Option<i64>> = conn
            .query_row("SELECT value FROM meta WHERE key = 'ids_merged'", [], |row| row.get(0))
            .optional();
        let merged = match merged {
            // Whoever only reads does without it.
            Err(error) if self.follows && is_of_row(&error) => None,
            merged => merged?,
        };
        let last: i64 =
            conn.query_row("SELECT coalesce(max(number), 0) FROM orders", [], |row| row.get(0))?;
        // More than there are: somebody changed the file. All are read, rather than any taken for merged that is not.
        let newest = merged.filter(|merged| *merged <= last).unwrap_or(0);
        *self.write() = Entries { newest, ..Entries::default() };
        self.read_on(conn)
    }

    fn read_on(&self, conn: &Connection) -> rusqlite::Result<()> {
        let newest = self.read().newest;
        let mut statement =
            conn.prepare_cached("SELECT order_id, number FROM orders WHERE number > ?1 ORDER BY number")?;
        let (mut entries, mut after) = (Vec::new(), newest);
        loop {
            match self.read_behind(&mut statement, &mut after, &mut entries) {
                // So does it do without what lies where the file is damaged.
                Err(error) if self.follows && is_damage(&error) => {
                    after = damage::past(after, |after| damage::first(&mut statement, [after]))?;
                }
                read => break read?,
            }
        }
        self.enter(entries);
        Ok(())
    }

    fn read_behind(
        &self,
        statement: &mut Statement<'_>,
        after: &mut i64,
        entries: &mut Vec<(OrderId, i64)>,
    ) -> rusqlite::Result<()> {
        let mut rows = statement.query([*after])?;
        while let Some(row) = rows.next()? {
            *after = row.get(1)?;
            match uuid(row, 0) {
                Ok(id) => entries.push((OrderId(id), *after)),
                // Whoever only reads can do without: nobody asks for such an id. Whoever writes might take the order in
                // again.
                Err(error) if self.follows && is_of_row(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The number of an order that is committed.
    pub(crate) fn number(&self, conn: &Connection, id: OrderId) -> rusqlite::Result<Option<i64>> {
        let known = self.read().numbers.get(&id).copied();
        // In this order: what left the memory is in the table.
        match known {
            Some(number) => Ok(Some(number)),
            None => match merged_number(conn, id)? {
                None if self.follows => {
                    self.read_on(conn)?;
                    Ok(self.read().numbers.get(&id).copied())
                }
                found => Ok(found),
            },
        }
    }

    /// Enters orders that were committed just now, by number.
    pub(crate) fn enter(&self, entries: Vec<(OrderId, i64)>) {
        let Some((_, newest)) = entries.last().copied() else { return };
        let mut inner = self.write();
        inner.newest = newest;
        inner.numbers.extend(entries.iter().copied());
        inner.open.extend(entries);
    }

    /// What the next commit is to merge, if it takes in `accepted` orders.
    pub(crate) fn slice(&self, accepted: usize) -> Slice {
        let closing = {
            let inner = self.read();
            inner.closed.is_empty() && inner.open.len() >= RUN
        };
        if closing {
            self.write().close();
        }
        self.read().slice(SLICE_MIN.max(SLICE_FACTOR * accepted))
    }

    /// What a commit with nothing else to do is to merge; `None` once everything is.
    pub(crate) fn idle_slice(&self) -> Option<Slice> {
        let mut inner = self.write();
        if inner.closed.is_empty() {
            inner.close();
        }
        let slice = inner.slice(SLICE_IDLE);
        (!slice.entries.is_empty()).then_some(slice)
    }

    /// Takes notice that a slice was committed.
    pub(crate) fn merged(&self, slice: &Slice) {
        if slice.entries.is_empty() {
            return;
        }
        let mut inner = self.write();
        let left = inner.closed.len().saturating_sub(slice.entries.len());
        inner.closed.truncate(left);
        for (id, _) in &slice.entries {
            inner.numbers.remove(id);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn close(&mut self) {
        self.closed = std::mem::take(&mut self.open);
        self.closed_to = self.closed.last().map_or(self.closed_to, |(_, number)| *number);
        self.closed.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    }

    fn slice(&self, limit: usize) -> Slice {
        let from = self.closed.len().saturating_sub(limit);
        let entries: Vec<_> = self.closed[from..].iter().rev().copied().collect();
        let completes = (from == 0 && !entries.is_empty()).then_some(self.closed_to);
        Slice { entries, completes }
    }
}

impl Slice {
    /// Writes it, inside of a transaction.
    pub(crate) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        // After a crash part of a run is there already.
        let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO order_ids VALUES (?1, ?2)")?;
        for (id, number) in &self.entries {
            insert.execute(params![blob(&id.0), number])?;
        }
        if let Some(number) = self.completes {
            conn.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('ids_merged', ?1)")?
                .execute([number])?;
        }
        Ok(())
    }
}

fn merged_number(conn: &Connection, id: OrderId) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT number FROM order_ids WHERE order_id = ?1")?
        .query_row([blob(&id.0)], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use uuid::Uuid;

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE orders (number INTEGER PRIMARY KEY, order_id BLOB);
             CREATE TABLE order_ids (order_id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY);",
        )
        .unwrap();
        conn
    }

    fn id(number: i64) -> OrderId {
        // Spread over all values, as hashes are.
        OrderId(Uuid::from_u128(
            u128::from(number.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
        ))
    }

    fn accept(conn: &Connection, ids: &OrderIds, numbers: std::ops::RangeInclusive<i64>) {
        let entries: Vec<_> = numbers.map(|number| (id(number), number)).collect();
        for (id, number) in &entries {
            conn.execute("INSERT INTO orders VALUES (?1, ?2)", params![number, blob(&id.0)]).unwrap();
        }
        ids.enter(entries);
    }

    fn merged(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM order_ids", [], |row| row.get(0)).unwrap()
    }

    fn all_found(conn: &Connection, ids: &OrderIds, up_to: i64) {
        for number in 1..=up_to {
            assert_eq!(ids.number(conn, id(number)).unwrap(), Some(number));
        }
        assert_eq!(ids.number(conn, id(up_to + 1)).unwrap(), None);
    }

    #[test]
    fn ids_are_found_before_during_and_after_they_are_merged() {
        let (conn, ids) = (database(), OrderIds::default());
        let run = i64::try_from(RUN).unwrap();
        accept(&conn, &ids, 1..=run - 1);
        ids.slice(1).write(&conn).unwrap();
        assert_eq!(merged(&conn), 0, "a run that fills is left alone");
        accept(&conn, &ids, run..=run + 5);
        let slice = ids.slice(100);
        slice.write(&conn).unwrap();
        // Committed, and not yet heard of: both sides know them.
        all_found(&conn, &ids, run + 5);
        ids.merged(&slice);
        assert_eq!(merged(&conn), 400);
        all_found(&conn, &ids, run + 5);
        while let Some(slice) = ids.idle_slice() {
            slice.write(&conn).unwrap();
            ids.merged(&slice);
        }
        assert_eq!(merged(&conn), run + 5);
        assert!(ids.read().numbers.is_empty());
        all_found(&conn, &ids, run + 5);
    }

    #[test]
    fn what_was_not_merged_is_read_again() {
        let (conn, ids) = (database(), OrderIds::default());
        let run = i64::try_from(RUN).unwrap();
        accept(&conn, &ids, 1..=run);
        let slice = ids.slice(1_000);
        slice.write(&conn).unwrap();
        ids.merged(&slice);
        // As after a crash in the middle of a run; and while another process goes on.
        let again = OrderIds::load(&conn).unwrap();
        let beside = OrderIds::following(&conn).unwrap();
        accept(&conn, &ids, run + 1..=run + 3);
        again.reload(&conn).unwrap();
        all_found(&conn, &again, run + 3);
        all_found(&conn, &beside, run + 3);
        while let Some(slice) = again.idle_slice() {
            slice.write(&conn).unwrap();
            again.merged(&slice);
        }
        assert_eq!(merged(&conn), run + 3);
        assert!(OrderIds::load(&conn).unwrap().read().numbers.is_empty(), "complete up to the last number");
    }
}
