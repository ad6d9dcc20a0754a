//! The tail: one task of a process that reads on at the end of the journal, for all who wait for an order and all who
//! read the feed there. A commit of this process wakes it; it also looks now and then, for what other processes commit.
//! While nobody is interested it sleeps, and reads nothing.

use crate::error::Fault;
use crate::follow::{gap, merged, read_fairly};
use crate::ids::OrderId;
use crate::journal::{Cursor, Head, Mark};
use crate::lane::Wakes;
use crate::live::{Kept, Page};
use crate::order::event::EventType;
use crate::ports::Storage;
use crate::wait::Waits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

/// How often to look when no commit wakes it, and how long to wait after a fault.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most events of a page for readers.
const PAGE_MAX: u32 = 500;
/// Most marks that are read at a time.
const MARKS_MAX: u32 = 2_000;
/// Readers that may wait to be let in.
const JOINS_MAX: usize = 64;
/// Readers that read for themselves at the same moment: however many catch up, other reads find room.
const CATCHING_UP_MAX: usize = 2;

/// The way to the tail.
pub struct Tail {
    shared: Arc<Shared>,
    joins: mpsc::Sender<oneshot::Sender<Joined>>,
    turns: Semaphore,
}

#[derive(Default)]
struct Shared {
    waits: Arc<Waits>,
    kept: Kept,
    readers: Arc<AtomicUsize>,
}

/// A place among the readers at the end of the journal; given up when dropped.
pub(crate) struct Joined {
    /// Pages begin behind this.
    pub(crate) at: Cursor,
    /// The number of the next page.
    pub(crate) next: u64,
    /// Tells of new pages.
    pub(crate) end: watch::Receiver<u64>,
    readers: Arc<AtomicUsize>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tail {
    /// Starts the tail of `storage` on the present runtime. It ends when `stopping` says so, or with the handle.
    pub(crate) fn start(
        storage: &Arc<dyn Storage>,
        wakes: &Wakes,
        mut stopping: watch::Receiver<bool>,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let (joins, joining) = mpsc::channel(JOINS_MAX);
        let task = Task {
            storage: Arc::clone(storage),
            shared: Arc::clone(&shared),
            grew: wakes.journal.subscribe(),
            joining,
            came: Vec::new(),
            cursor: None,
            failing: false,
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = task.run() => {}
            }
        });
        Self { shared, joins, turns: Semaphore::new(CATCHING_UP_MAX) }
    }

    /// Who waits.
    pub fn waits(&self) -> &Arc<Waits> {
        &self.shared.waits
    }

    /// Readers at the end of the journal.
    pub fn readers(&self) -> usize {
        self.shared.readers.load(Ordering::Relaxed)
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.shared.kept
    }

    /// Waits until a reader may read for itself.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Joins the readers at the end of the journal; `None` when the process stops.
    pub(crate) async fn join(&self) -> Option<Joined> {
        let (let_in, joined) = oneshot::channel();
        self.joins.send(let_in).await.ok()?;
        joined.await.ok()
    }
}

struct Task {
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    grew: watch::Receiver<u64>,
    joining: mpsc::Receiver<oneshot::Sender<Joined>>,
    /// Readers that are not let in yet.
    came: Vec<oneshot::Sender<Joined>>,
    /// How far it has read; `None` while it sleeps.
    cursor: Option<Cursor>,
    failing: bool,
}

impl Task {
    async fn run(mut self) {
        loop {
            if self.is_idle() {
                self.cursor = None;
                self.shared.kept.clear();
                tokio::select! {
                    () = self.shared.waits.came() => {}
                    join = self.joining.recv() => match join {
                        Some(join) => self.came.push(join),
                        None => return,
                    }
                }
                continue;
            }
            self.grew.mark_unchanged();
            match self.step().await {
                Ok(true) => {
                    self.failed(None);
                    continue;
                }
                Ok(false) => self.failed(None),
                Err(fault) => self.failed(Some(fault)),
            }
            tokio::select! {
                // After a fault, time alone can mend it.
                changed = self.grew.changed(), if !self.failing => if changed.is_err() { return },
                join = self.joining.recv() => match join {
                    Some(join) => self.came.push(join),
                    None => return,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn is_idle(&self) -> bool {
        let readers = self.shared.readers.load(Ordering::Relaxed);
        self.came.is_empty() && readers == 0 && self.shared.waits.count() == 0
    }

    /// Reads what came; whether there may be more.
    async fn step(&mut self) -> Result<bool, Fault> {
        let heads = self.storage.heads().await?;
        let Some(mut cursor) = self.cursor.take() else {
            // What happened while it slept was not seen: whoever came meanwhile must look.
            self.cursor = Some(Cursor::at_heads(self.storage.install().epoch, &heads));
            self.shared.waits.wake_all();
            return Ok(true);
        };
        self.let_in(&cursor);
        let read = if self.shared.readers.load(Ordering::Relaxed) > 0 {
            self.read_page(&heads, &mut cursor).await
        } else {
            self.read_marks(&heads, &mut cursor).await.map(|()| false)
        };
        self.cursor = Some(cursor);
        read
    }

    fn let_in(&mut self, at: &Cursor) {
        for join in self.came.drain(..) {
            self.shared.readers.fetch_add(1, Ordering::Relaxed);
            let (next, end) = self.shared.kept.subscribe();
            let readers = Arc::clone(&self.shared.readers);
            // Who went away meanwhile drops its place.
            drop(join.send(Joined { at: at.clone(), next, end, readers }));
        }
    }

    /// Reads whole events, for readers; whoever waits for an order is woken by them too.
    async fn read_page(&self, heads: &[Head], cursor: &mut Cursor) -> Result<bool, Fault> {
        let mut positions = cursor.positions.clone();
        let events = merged(read_fairly(self.storage.as_ref(), heads, &mut positions, PAGE_MAX).await?);
        if events.is_empty() {
            return Ok(false);
        }
        self.wake(events.iter().map(|event| (event.order_id, &event.kind)));
        self.shared.kept.push(Page::new(cursor.clone(), events));
        cursor.positions = positions;
        Ok(true)
    }

    /// Reads only what wakes.
    async fn read_marks(&self, heads: &[Head], cursor: &mut Cursor) -> Result<(), Fault> {
        for (head, position) in heads.iter().zip(&mut cursor.positions) {
            *position = head.floor.max(*position);
            while *position < head.position {
                let marks = self.storage.marks(head.shard, *position, MARKS_MAX).await?;
                let last = marks.last().map(|mark| mark.position);
                self.wake(marks.iter().map(|mark: &Mark| (mark.order_id, &mark.kind)));
                *position = last.ok_or_else(|| gap(head.shard, *position + 1, head.position))?;
            }
        }
        Ok(())
    }

    fn wake<'e>(&self, events: impl Iterator<Item = (OrderId, &'e EventType)>) {
        // Being accepted is what nobody waits for.
        let told = events.filter(|(_, kind)| **kind != EventType::OrderAccepted);
        self.shared.waits.wake(told.map(|(order_id, _)| order_id));
    }

    /// Logs when reading begins to fail, and when it is over.
    fn failed(&mut self, fault: Option<Fault>) {
        match &fault {
            Some(fault) if !self.failing => {
                tracing::error!(%fault, "cannot read on in the journal; trying again");
            }
            None if self.failing => tracing::info!("reads on in the journal again"),
            Some(_) | None => {}
        }
        self.failing = fault.is_some();
    }
}
