//! Walks along entries in their order, wherever they lie: in memory, among revisions, in runs.

use super::Terms;
use super::block::Unpack;
use super::entry::Entry;
use rusqlite::{Connection, OptionalExtension, params};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is walked along.
enum Source {
    Listed(std::vec::IntoIter<Entry>),
    Run(RunCursor),
}

/// See the module.
pub(crate) struct Walk<'c> {
    conn: &'c Connection,
    beginning: Vec<u8>,
    sources: Vec<Source>,
    /// The next entry of each source.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    /// The entry that was walked over last: one that lies at two places is one.
    last: Vec<u8>,
    /// How many may be walked over yet.
    left: usize,
}

/// Entries that only memory has, to begin a walk with.
pub(crate) struct Waiting {
    entries: Vec<Entry>,
    beginning: Vec<u8>,
    from: Vec<u8>,
    limit: usize,
}

impl Terms {
    /// Begins a walk over at most `limit` entries that begin with `beginning`, from `from` on. Before a snapshot is
    /// taken: what leaves the memory is in the snapshot, not the other way round.
    pub(crate) fn begin(
        &self,
        conn: &Connection,
        beginning: Vec<u8>,
        from: Vec<u8>,
        limit: usize,
    ) -> rusqlite::Result<Waiting> {
        let entries = self.waiting(conn, &beginning, &from, limit)?;
        Ok(Waiting { entries, beginning, from, limit })
    }
}

impl Waiting {
    /// The walk, in a snapshot that was taken since.
    pub(crate) fn walk(self, conn: &Connection) -> rusqlite::Result<Walk<'_>> {
        let Self { entries, beginning, from, limit } = self;
        let loose = loose(conn, &beginning, &from, limit)?;
        let mut sources = vec![Source::Listed(entries.into_iter()), Source::Listed(loose.into_iter())];
        let mut runs = conn.prepare_cached("SELECT run FROM term_runs")?;
        let mut rows = runs.query([])?;
        while let Some(row) = rows.next()? {
            sources.push(Source::Run(RunCursor::at(conn, row.get(0)?, &from)?));
        }
        let mut walk =
            Walk { conn, beginning, sources, heads: BinaryHeap::new(), last: Vec::new(), left: limit };
        for source in 0..walk.sources.len() {
            walk.step(source)?;
        }
        Ok(walk)
    }
}

impl Walk<'_> {
    /// The next entry; `None` at the end, and when as many were walked over as may be.
    pub(crate) fn next(&mut self) -> rusqlite::Result<Option<&[u8]>> {
        while self.left > 0 {
            let Some(Reverse((entry, source))) = self.heads.pop() else { return Ok(None) };
            self.step(source)?;
            if entry != self.last {
                self.left -= 1;
                self.last = entry;
                return Ok(Some(&self.last));
            }
        }
        Ok(None)
    }

    /// Whether it ended because as many were walked over as may be.
    pub(crate) fn is_cut(&self) -> bool {
        self.left == 0
    }

    fn step(&mut self, source: usize) -> rusqlite::Result<()> {
        let entry = match &mut self.sources[source] {
            Source::Listed(entries) => entries.next().map(Vec::from),
            Source::Run(run) => run.next(self.conn)?,
        };
        if let Some(entry) = entry.filter(|entry| entry.starts_with(&self.beginning)) {
            self.heads.push(Reverse((entry, source)));
        }
        Ok(())
    }
}

fn loose(conn: &Connection, beginning: &[u8], from: &[u8], limit: usize) -> rusqlite::Result<Vec<Entry>> {
    let mut statement =
        conn.prepare_cached("SELECT entry FROM term_loose WHERE entry >= ?1 ORDER BY entry LIMIT ?2")?;
    let mut rows = statement.query(params![from, limit])?;
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = row.get_ref(0)?.as_blob()?;
        if !entry.starts_with(beginning) {
            break;
        }
        entries.push(entry.into());
    }
    Ok(entries)
}

/// Whether an entry is in a run.
pub(super) fn run_holds(conn: &Connection, run: i64, entry: &[u8]) -> rusqlite::Result<bool> {
    Ok(RunCursor::at(conn, run, entry)?.next(conn)?.is_some_and(|found| found == entry))
}

/// A place in a run.
struct RunCursor {
    run: i64,
    /// The first entry of the block; `None` once the run has ended.
    first: Option<Vec<u8>>,
    block: Unpack,
    /// Read already, and not yet given.
    ahead: Option<Vec<u8>>,
}

impl RunCursor {
    /// Before the first entry at or behind `from`.
    fn at(conn: &Connection, run: i64, from: &[u8]) -> rusqlite::Result<Self> {
        let mut cursor = Self { run, first: Some(from.to_vec()), block: Unpack::default(), ahead: None };
        let found = conn
            .prepare_cached(
                "SELECT first, entries FROM term_blocks WHERE run = ?1 AND first <= ?2 \
                 ORDER BY first DESC LIMIT 1",
            )?
            .query_row(params![run, from], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((first, entries)) = found {
            cursor.first = Some(first);
            cursor.block = Unpack::new(entries);
            while let Some(entry) = cursor.block.next() {
                if entry >= from {
                    cursor.ahead = Some(entry.to_vec());
                    break;
                }
            }
        }
        Ok(cursor)
    }

    fn next(&mut self, conn: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
        loop {
            if let Some(entry) = self.ahead.take() {
                return Ok(Some(entry));
            }
            if let Some(entry) = self.block.next() {
                return Ok(Some(entry.to_vec()));
            }
            let Some(first) = self.first.take() else { return Ok(None) };
            let behind = conn
                .prepare_cached(
                    "SELECT first, entries FROM term_blocks WHERE run = ?1 AND first > ?2 ORDER BY first LIMIT 1",
                )?
                .query_row(params![self.run, first], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((first, entries)) = behind {
                (self.first, self.block) = (Some(first), Unpack::new(entries));
            }
        }
    }
}
