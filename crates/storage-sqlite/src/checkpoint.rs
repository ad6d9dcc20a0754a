//! Carrying the log into the database beside the writer. Done inside of the writer, as SQLite does by default, it holds
//! every order up for as long as it takes (measured: 15–20 ms, three times a second under full load).
//!
//! A thread with a connection of its own carries what is in the log, which the writer goes on to fill meanwhile. Once
//! little is left the writer carries the rest itself, and its next commit begins the log anew.

use crate::connect;
use crate::error::fault;
use crate::guard::{Found, Guard, Identity};
use order_core::Fault;
use rusqlite::Connection;
use rusqlite::hooks::Wal;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Pages in the log at which it is carried: 32 MiB. The same pages are written again and again, so less often is less
/// (measured: a fifth of the throughput, against SQLite's default of 1,000).
const PAGES: u32 = 8_192;
/// Pages that the writer carries itself: a few milliseconds.
const REST: u32 = 512;
/// Pages that are added before it is tried again, when a reader keeps the log from being carried to its end.
const PAUSE: u32 = 1_024;

/// What the writer knows of the log, and the way to the thread.
pub(crate) struct Checkpoints {
    /// Pages in the log, as of the last commit.
    pages: Arc<AtomicU32>,
    /// Pages in the log when this was looked at last.
    seen: u32,
    /// Nothing is done below so many.
    due: u32,
    /// Pages that the thread had carried the time before.
    before: u32,
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Identity>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    busy: AtomicBool,
    /// Pages of the log that the thread has carried.
    carried: AtomicU32,
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

impl Checkpoints {
    pub(crate) fn start(path: &Path, guard: &Arc<Guard>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(1);
        let shared = Arc::<Shared>::default();
        let state = Thread { path: path.to_owned(), guard: Arc::clone(guard), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new()
            .name("sqlite-checkpoint".to_owned())
            .spawn(move || state.run(&queue))?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { pages: Arc::default(), seen: 0, due: PAGES, before: 0, shared, jobs, thread })
    }

    /// How many pages the log holds, for whoever wants to know.
    pub(crate) fn pages(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.pages)
    }

    /// The log was emptied; the next commit begins it anew.
    pub(crate) fn emptied(&self) {
        self.pages.store(0, Ordering::Relaxed);
    }

    /// Counts the pages of the log as `conn`, the writer's, commits them; SQLite then leaves carrying them to us.
    pub(crate) fn watch(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.pages);
        conn.wal_hook(Some(move |_: &mut Wal, count: c_int| {
            pages.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// After a commit by `conn`: has the log carried when it is long.
    pub(crate) fn after_commit(&mut self, conn: &Connection, identity: Identity) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            // The log was begun anew.
            self.due = PAGES;
            self.forget();
        }
        self.seen = pages;
        if pages < self.due || self.shared.busy.load(Ordering::Acquire) {
            return;
        }
        let carried = self.shared.carried.load(Ordering::Acquire);
        if carried > 0 && pages.saturating_sub(carried) <= REST {
            // What fails here fails the next commit too, and is reported there.
            drop(carry(conn));
            // The next commit begins the log anew, unless somebody still reads in it.
            self.due = pages + PAUSE;
            self.forget();
        } else if carried > 0 && carried == self.before {
            self.due = pages + PAUSE;
            self.forget();
        } else if let Some(jobs) = &self.jobs {
            self.before = carried;
            self.shared.busy.store(true, Ordering::Release);
            if jobs.try_send(identity).is_err() {
                self.shared.busy.store(false, Ordering::Release);
            }
        }
    }

    fn forget(&mut self) {
        self.before = 0;
        self.shared.carried.store(0, Ordering::Release);
    }
}

struct Thread {
    path: PathBuf,
    guard: Arc<Guard>,
    shared: Arc<Shared>,
}

impl Thread {
    fn run(self, queue: &Receiver<Identity>) {
        while let Ok(identity) = queue.recv() {
            match self.carry(identity) {
                Ok(pages) => self.shared.carried.store(pages, Ordering::Release),
                Err(error) => tracing::warn!(%error, "could not carry the log into the database"),
            }
            self.shared.busy.store(false, Ordering::Release);
        }
    }

    /// Opens the database each time: the writer may have opened another since, and checkpoints are rare.
    fn carry(&self, identity: Identity) -> Result<u32, Fault> {
        let conn = connect::beside(&self.path).map_err(fault)?;
        // Its log is open now; if that is not the writer's, pages of another file would be carried into the database.
        if self.guard.check(identity)? != Found::Same {
            return Ok(0);
        }
        carry(&conn).map_err(fault)
    }
}

/// Carries what can be carried without keeping anybody waiting; returns the pages carried.
fn carry(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2))
        .map(|pages| u32::try_from(pages).unwrap_or(0))
}
