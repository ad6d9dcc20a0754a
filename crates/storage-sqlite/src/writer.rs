//! The one writer: a thread that applies batches, one transaction each.

use crate::apply::{self, Done};
use crate::checkpoint::Checkpoints;
use crate::connect;
use crate::error::{fault, unavailable};
use crate::guard::{Found, Guard, Identity};
use crate::ids::{OrderIds, Slice};
use crate::terms::{TermSlice, Terms};
use crate::{meta, scrub};
use order_core::command::{ChangeKind, Command};
use order_core::desk::Desks;
use order_core::ports::Committed;
use order_core::query::Install;
use order_core::{Fault, Timestamp, fault_point};
use rusqlite::{Connection, ErrorCode};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// With nothing to do for so long, the log is carried into the database and emptied.
const IDLE: Duration = Duration::from_secs(1);

/// Longest wait for those who read in the log that an erasure wants emptied; nobody commits meanwhile.
const PATIENCE_WITH_READERS: Duration = Duration::from_millis(100);

/// Commits after which it is tried again to empty a log that somebody read in.
const COMMITS_BETWEEN_TRIES: u32 = 100;

/// Longest wait for the write lock while commits fail.
const PATIENCE_WHILE_FAILING: Duration = Duration::from_millis(100);

/// What a commit writes besides its commands: parts of runs.
struct Slices {
    ids: Slice,
    terms: TermSlice,
}

impl Slices {
    fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        self.ids.write(conn)?;
        self.terms.write(conn)
    }
}

struct Batch {
    commands: Arc<[Command]>,
    reply: oneshot::Sender<Result<Committed, Fault>>,
}

/// The way to the writer's thread. Dropping it waits until the thread has closed the database.
pub(crate) struct Writer {
    batches: Option<Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

/// The writer's own: moved into its thread.
pub(crate) struct WriterState {
    pub(crate) conn: Connection,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) ids: Arc<OrderIds>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) identity: Identity,
    pub(crate) guard: Arc<Guard>,
    pub(crate) install: Arc<Install>,
    pub(crate) path: PathBuf,
    pub(crate) busy_timeout: Duration,
    /// After an I/O error the connection is opened again before it is used again.
    pub(crate) suspect: bool,
    /// Whether the log holds anything.
    pub(crate) dirty: bool,
    /// Set while the log may still hold what an erasure blanked: commits since it was tried to empty it.
    pub(crate) blanked: Option<u32>,
    /// Whether something was erased since the database was built anew.
    pub(crate) unscrubbed: bool,
    /// Whether the last commit failed for want of a usable database.
    pub(crate) failing: bool,
    /// Leases of an earlier process become due at this moment, with the first commit: a start must not need room.
    pub(crate) expire_leases: Option<Timestamp>,
    /// The desks at which those of workers outside hold on.
    pub(crate) leases_outlive: Desks,
}

impl Writer {
    pub(crate) fn start(state: WriterState) -> Result<Self, Fault> {
        let (batches, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || state.run(&queue))
            .map_err(|error| unavailable(format!("cannot start the writer: {error}")))?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    pub(crate) async fn commit(&self, commands: Arc<[Command]>) -> Result<Committed, Fault> {
        let (reply, answer) = oneshot::channel();
        let batches = self.batches.as_ref().ok_or(Fault::ShuttingDown)?;
        batches.send(Batch { commands, reply }).map_err(|_| Fault::ShuttingDown)?;
        // The thread drops a reply only by panicking: then whether the commit took place is not known.
        answer.await.unwrap_or(Err(Fault::OutcomeUnknown))
    }
}

impl WriterState {
    fn run(mut self, queue: &Receiver<Batch>) {
        loop {
            match queue.recv_timeout(IDLE) {
                Ok(batch) => self.serve(batch),
                Err(RecvTimeoutError::Timeout) => self.idle(queue),
                Err(RecvTimeoutError::Disconnected) => return self.end_well(),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a monotonic clock, for a metric alone")]
    fn serve(&mut self, batch: Batch) {
        let Batch { commands, reply } = batch;
        if fault_point::planted("ack-before-commit") {
            return self.acknowledge_too_early(&commands, reply);
        }
        let (began, changes) = (Instant::now(), self.conn.total_changes());
        let committed = self.transaction(&commands);
        self.dirty |= self.conn.total_changes() != changes;
        let proves = commands.iter().any(|command| matches!(command, Command::Accept(_) | Command::Probe));
        metrics::histogram!("wellorder_storage_commit_seconds").record(began.elapsed().as_secs_f64());
        metrics::histogram!("wellorder_storage_commit_commands").record(commands.len() as f64);
        self.report(&committed, proves);
        if commands.iter().any(erases) {
            (self.blanked, self.unscrubbed) = (Some(COMMITS_BETWEEN_TRIES), true);
        }
        self.forget_what_was_blanked();
        let went_well = committed.is_ok();
        drop(reply.send(committed));
        if went_well {
            self.checkpoints.after_commit(&self.conn, self.identity);
        }
    }

    /// Says once that commits fail, and once that they succeed again; each caller hears of its own.
    fn report(&mut self, committed: &Result<Committed, Fault>, proves: bool) {
        match committed {
            Err(fault @ (Fault::Unavailable { .. } | Fault::OutcomeUnknown)) => {
                metrics::counter!("wellorder_storage_commit_faults_total").increment(1);
                if !self.failing {
                    tracing::error!(%fault, "cannot commit; trying again with each command");
                }
                self.failing = true;
            }
            // A commit that wrote little has proved little.
            Ok(_) if self.failing && proves => {
                tracing::info!("commits succeed again");
                self.failing = false;
            }
            _ => {}
        }
    }

    fn transaction(&mut self, commands: &[Command]) -> Result<Committed, Fault> {
        self.ready()?;
        self.begin()?;
        let done = self.apply(commands);
        let (done, slices) = self.finish(done)?;
        let committed = self.entered(done, &slices);
        self.expire_leases = None;
        // Only now is it sure that what was flushed lies where it will be looked for.
        match self.guard.check(self.identity)? {
            Found::Same => Ok(committed),
            Found::LogGone => self.rescue().map(|()| committed),
            Found::Other => Err(replaced()),
        }
    }

    /// Takes notice of what was committed.
    fn entered(&self, done: Done, slices: &Slices) -> Committed {
        let Done { committed, accepted, entries, erased, recorded } = done;
        for (kind, link) in &recorded {
            // What is noted outside of the database tells when all of the action log was written anew.
            tracing::info!(action = kind.name(), %link, "recorded an action");
        }
        if let Some((_, newest)) = accepted.last().copied() {
            self.terms.enter(accepted.len(), newest, entries);
        }
        self.ids.enter(accepted);
        self.ids.merged(&slices.ids);
        self.terms.written(&slices.terms);
        self.terms.forget(&erased);
        committed
    }

    fn apply(&mut self, commands: &[Command]) -> Result<(Done, Slices), Fault> {
        if let Some(now) = self.expire_leases {
            apply::expire_leases(&self.conn, now, self.leases_outlive).map_err(fault)?;
        }
        let done = apply::apply(&self.conn, &self.install, &self.ids, commands)?;
        let accepted = done.accepted.len();
        let slices =
            Slices { ids: self.ids.slice(accepted), terms: self.terms.slice(accepted, &done.erased) };
        slices.write(&self.conn).map_err(fault)?;
        Ok((done, slices))
    }

    /// Ends the transaction that was begun: with a commit if all went well so far.
    fn finish<T>(&mut self, done: Result<T, Fault>) -> Result<T, Fault> {
        // While the write lock is ours, only a failing disk makes storage unavailable.
        self.suspect |= matches!(done, Err(Fault::Unavailable { .. }));
        let done = done.and_then(|done| self.end().map(|()| done));
        if done.is_err() && !self.conn.is_autocommit() {
            // What cannot be undone now is undone when the connection is opened again.
            self.suspect |= self.conn.execute_batch("ROLLBACK").is_err();
        }
        done
    }

    fn begin(&mut self) -> Result<(), Fault> {
        // Once it is known that the database cannot be had, nobody is kept waiting to hear it again.
        let patience =
            if self.failing { PATIENCE_WHILE_FAILING.min(self.busy_timeout) } else { self.busy_timeout };
        let begun = self.conn.busy_timeout(patience).and_then(|()| self.statement("BEGIN IMMEDIATE"));
        begun.map_err(|error| {
            // Somebody else writes: nothing is wrong with the connection.
            let locked = matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            );
            self.suspect |= !locked;
            fault(error)
        })
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.statement("COMMIT").map_err(|error| match error.sqlite_error_code() {
            // All of it may be in the log already, and a crash now would bring it back.
            Some(ErrorCode::SystemIoFailure) => {
                self.suspect = true;
                tracing::warn!(%error, "the outcome of a commit is unknown");
                Fault::OutcomeUnknown
            }
            _ => fault(error),
        })
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Makes sure that the connection leads to the file at the path, and that there is room.
    fn ready(&mut self) -> Result<(), Fault> {
        match self.guard.check(self.identity)? {
            Found::Same => {}
            Found::LogGone => self.rescue()?,
            // Opening it here would mix our log into it.
            Found::Other => return Err(replaced()),
        }
        if self.suspect {
            self.reopen()?;
        }
        self.guard.check_space()
    }

    /// The log at the path is not the open one: carries what the open one holds into the database, then begins a new one.
    fn rescue(&mut self) -> Result<(), Fault> {
        let (busy, pages, carried): (i64, i64, i64) = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .map_err(fault)?;
        if busy != 0 || pages != carried {
            return Err(unavailable(
                "the database's log was deleted; carrying what it holds into the database",
            ));
        }
        tracing::warn!("the database's log was deleted while in use; what it held is in the database");
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        let mut conn = connect::writer(&self.path, self.busy_timeout).map_err(fault)?;
        let install = meta::load(&conn)?;
        if install.as_ref() != Some(&*self.install) {
            return Err(replaced());
        }
        self.ids.reload(&conn).and_then(|()| self.terms.reload(&conn)).map_err(fault)?;
        self.checkpoints.watch(&mut conn).map_err(fault)?;
        (self.conn, self.identity, self.suspect) = (conn, self.guard.opened()?, false);
        tracing::warn!("opened the database again");
        Ok(())
    }

    /// Leaves nothing for the next start to read again.
    fn end_well(&mut self) {
        while matches!(self.merge(), Ok(false)) {}
    }

    /// Merges what waits to be, unless a command comes; returns whether all of it is.
    fn merge(&mut self) -> Result<bool, Fault> {
        let slices = (self.ids.idle_slice(), self.terms.idle_slice());
        if slices.0.is_none() && slices.1.is_none() {
            return Ok(true);
        }
        let slices = Slices { ids: slices.0.unwrap_or_default(), terms: slices.1.unwrap_or_default() };
        self.ready()?;
        self.begin()?;
        let written = slices.write(&self.conn).map_err(fault);
        self.finish(written)?;
        self.ids.merged(&slices.ids);
        self.terms.written(&slices.terms);
        self.dirty = true;
        Ok(false)
    }

    /// Carries the log into the database and empties it; gives way to whoever reads or waits.
    fn idle(&mut self, queue: &Receiver<Batch>) {
        loop {
            // What cannot be merged now stays where it is.
            if !matches!(self.merge(), Ok(false)) {
                break;
            }
            if let Ok(batch) = queue.try_recv() {
                return self.serve(batch);
            }
        }
        // Nothing but this keeps what the open log alone holds, until somebody commits.
        if self.guard.check(self.identity).is_ok_and(|found| found == Found::LogGone) {
            if let Err(fault) = self.rescue() {
                tracing::error!(%fault, "cannot save what the deleted log holds yet");
            }
            return;
        }
        if self.dirty && self.empty_log(Duration::ZERO) {
            return;
        }
        if self.unscrubbed && self.ready().is_ok() {
            scrub::pay(&self.conn, &self.guard, scrub::IDLE_BYTES_MAX);
            (self.unscrubbed, self.dirty) = (false, true);
            return;
        }
        // Nothing to carry: sleep until there is something to do.
        if let Ok(batch) = queue.recv() {
            self.serve(batch);
        }
    }

    /// Carries the log into the database and empties it, unless somebody reads in it for longer than `patience`; returns
    /// whether it was tried.
    fn empty_log(&mut self, patience: Duration) -> bool {
        if !self.guard.check(self.identity).is_ok_and(|found| found == Found::Same) {
            return false;
        }
        let carried = self.conn.busy_timeout(patience).and_then(|()| {
            self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        let waits = self.conn.busy_timeout(self.busy_timeout);
        self.dirty = !matches!(carried, Ok(0));
        self.suspect |= carried.is_err() || waits.is_err();
        if !self.dirty {
            self.checkpoints.emptied();
            self.blanked = None;
        }
        true
    }

    /// Empties the log that holds what an erasure blanked. Before the reply to the erasure, unless somebody reads in the
    /// log just then; else with a later commit, or when idle.
    fn forget_what_was_blanked(&mut self) {
        match &mut self.blanked {
            Some(commits) if *commits >= COMMITS_BETWEEN_TRIES => {
                *commits = 0;
                self.empty_log(PATIENCE_WITH_READERS);
            }
            Some(commits) => *commits += 1,
            None => {}
        }
    }

    /// The planted bug of the crash test: the client hears of success before the commit.
    fn acknowledge_too_early(
        &mut self,
        commands: &[Command],
        reply: oneshot::Sender<Result<Committed, Fault>>,
    ) {
        let applied = self.ready().and_then(|()| self.begin());
        let applied = applied.and_then(|()| self.apply(commands));
        let failed = applied.is_err();
        drop(reply.send(applied.map(|(done, slices)| self.entered(done, &slices))));
        std::thread::sleep(Duration::from_millis(20));
        if failed || self.end().is_err() {
            self.suspect |= self.conn.execute_batch("ROLLBACK").is_err();
        }
    }
}

fn erases(command: &Command) -> bool {
    matches!(command.itself(), Command::Change(change) if change.kind == ChangeKind::Erase)
}

fn replaced() -> Fault {
    unavailable("the database file was replaced while in use: restart to use the one that is there now")
}
