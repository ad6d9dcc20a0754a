//! The lanes' connections, and what a commit does when something goes wrong.

use crate::apply::{self, Ready, Stop, Written};
use crate::connect::{Conn, Purpose, Target};
use crate::error::{Tried, Trouble, unavailable};
use crate::pipeline::Pipeline;
use crate::rows::{big, small};
use crate::tips::Tips;
use order_core::command::Command;
use order_core::ids::Shard;
use order_core::ports::Committed;
use order_core::query::Install;
use order_core::{Fault, fault_point};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use uuid::Uuid;

/// How often a batch is tried while others are in its way, or its connection breaks before the COMMIT.
const TRIES: u32 = 5;

/// How often whoever does not know whether a commit took place asks, each time as long as a lock may be waited for.
const QUESTIONS: u32 = 5;

/// Between the first two questions; three times as long between the next, and so on: some 4 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// By how much the planted bug answers too early.
const TOO_EARLY: Duration = Duration::from_millis(100);

const LOCK: &str =
    "SELECT shard FROM journal_heads WHERE shard = ANY ($1::smallint[]) ORDER BY shard FOR UPDATE";

const READ_BACK: &str = "SELECT event_id FROM events($1::smallint, $2::bigint - 1, $2::bigint)";

/// One connection for each lane, made when it is needed: the last is for what is beside orders.
pub(crate) struct Writers {
    target: Target,
    install: Arc<Install>,
    tips: Arc<Tips>,
    lanes: Vec<Mutex<Option<Conn>>>,
}

/// How a try ended that did not go well.
enum Ended {
    /// Nothing was written: the batch may be tried again.
    Again(String),
    /// Nothing was written: to be done again with the heads of all shards.
    NeedsHeads,
    /// The connection broke after the COMMIT was sent.
    Unknown(Ready<'static>),
    /// For good.
    Fault(Fault),
}

impl Writers {
    pub(crate) fn new(target: Target, install: Arc<Install>, tips: Arc<Tips>, lanes: usize) -> Self {
        Self { target, install, tips, lanes: (0..=lanes).map(|_| Mutex::new(None)).collect() }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len() - 1
    }

    #[expect(clippy::disallowed_methods, reason = "a monotonic clock, for a metric alone")]
    pub(crate) async fn commit(&self, lane: usize, batch: &[Command]) -> Result<Committed, Fault> {
        let conn = self.lanes.get(lane).ok_or_else(|| Fault::internal("there is no such lane"))?;
        if fault_point::planted("ack-before-commit") {
            return self.acknowledge_too_early(batch).await;
        }
        let mut conn = conn.lock().await;
        let began = Instant::now();
        let committed = self.tries(&mut conn, batch).await;
        metrics::histogram!("wellorder_storage_commit_seconds").record(began.elapsed().as_secs_f64());
        metrics::histogram!("wellorder_storage_commit_commands").record(batch.len() as f64);
        if let Err(Fault::Unavailable { .. } | Fault::OutcomeUnknown) = &committed {
            metrics::counter!("wellorder_storage_commit_faults_total").increment(1);
        }
        committed
    }

    async fn tries(&self, slot: &mut Option<Conn>, batch: &[Command]) -> Result<Committed, Fault> {
        let (mut tries, mut all_heads) = (0, false);
        loop {
            tries += 1;
            // Taken out, so that whoever drops this future midway leaves nothing half done to the next.
            let conn = match slot.take().filter(|conn| !conn.is_closed()) {
                Some(conn) => conn,
                None => self.target.connect(Purpose::Write).await?,
            };
            let ended = match self.once(&conn, batch, all_heads).await {
                Ok(committed) => {
                    *slot = Some(conn);
                    return Ok(committed);
                }
                Err(ended) => ended,
            };
            if !matches!(ended, Ended::Unknown(_)) && conn.run("ROLLBACK").await.is_ok() {
                *slot = Some(conn);
            }
            match ended {
                Ended::NeedsHeads => all_heads = true,
                Ended::Again(why) if tries < TRIES => {
                    tracing::debug!(why, "trying a commit again");
                    metrics::counter!("wellorder_storage_commit_retries_total").increment(1);
                }
                Ended::Again(why) => return Err(unavailable(why)),
                Ended::Fault(fault) => return Err(fault),
                Ended::Unknown(ready) => {
                    if let Some(committed) = self.find_out(ready).await? {
                        return Ok(committed);
                    }
                    if tries >= TRIES {
                        return Err(unavailable("the connection breaks in each commit"));
                    }
                }
            }
        }
    }

    async fn once(&self, conn: &Conn, batch: &[Command], all_heads: bool) -> Result<Committed, Ended> {
        let mut ready = match apply::apply(conn, &self.install, &self.tips, batch, all_heads).await {
            Ok(ready) => ready,
            Err(Stop::NeedsHeads) => return Err(Ended::NeedsHeads),
            Err(Stop::Rejection(rejection)) => return Err(Ended::Fault(Fault::internal(rejection))),
            // The COMMIT was not sent: all of it is undone.
            Err(Stop::Trouble(Trouble::Again(why) | Trouble::Lost(why))) => return Err(Ended::Again(why)),
            Err(Stop::Trouble(trouble)) => return Err(Ended::Fault(trouble.into())),
        };
        let mut last = std::mem::take(&mut ready.last);
        // A COMMIT is never cut short: where it waits for a standby, that would acknowledge what only one server has.
        last.plain("SET LOCAL statement_timeout = 0");
        last.plain("COMMIT");
        match last.run(conn).await {
            Ok(_) => Ok(acknowledged(ready)),
            // A statement before the COMMIT failed, so the COMMIT undid everything.
            Err(Trouble::Again(why)) => Err(Ended::Again(why)),
            Err(Trouble::Lost(why)) => {
                tracing::warn!(why, "the outcome of a commit is unknown");
                Err(Ended::Unknown(ready))
            }
            Err(trouble) => Err(Ended::Fault(trouble.into())),
        }
    }

    /// The planted bug: whoever is answered may see the process die before the commit.
    async fn acknowledge_too_early(&self, batch: &[Command]) -> Result<Committed, Fault> {
        let mut all_heads = false;
        loop {
            let conn = self.target.connect(Purpose::Write).await?;
            let mut ready = match apply::apply(&conn, &self.install, &self.tips, batch, all_heads).await {
                Ok(ready) => ready,
                Err(Stop::NeedsHeads) if !all_heads => {
                    all_heads = true;
                    continue;
                }
                Err(Stop::NeedsHeads) => return Err(Fault::internal("it had all heads")),
                Err(Stop::Rejection(rejection)) => return Err(Fault::internal(rejection)),
                Err(Stop::Trouble(trouble)) => return Err(trouble.into()),
            };
            let mut last = std::mem::take(&mut ready.last);
            last.plain("COMMIT");
            tokio::spawn(async move {
                tokio::time::sleep(TOO_EARLY).await;
                drop(last.run(&conn).await);
            });
            return Ok(acknowledged(ready));
        }
    }

    /// Finds out whether a commit took place whose answer was lost: under the same locks, which the server holds until the
    /// lost transaction has ended one way or the other. `None`: it did not.
    async fn find_out(&self, ready: Ready<'static>) -> Result<Option<Committed>, Fault> {
        let Some(written) = ready.mark else { return Err(Fault::OutcomeUnknown) };
        let mut pause = FIRST_PAUSE;
        for question in 1..=QUESTIONS {
            match self.ask(&ready.heads, written).await {
                Ok(true) => return Ok(Some(acknowledged(ready))),
                Ok(false) => return Ok(None),
                Err(trouble) => tracing::warn!(?trouble, "cannot find out whether a commit took place"),
            }
            // A server that starts anew refuses connections at once: without a pause all would be asked in a millisecond.
            if question < QUESTIONS {
                tokio::time::sleep(pause).await;
                pause *= 3;
            }
        }
        Err(Fault::OutcomeUnknown)
    }

    async fn ask(&self, heads: &BTreeSet<Shard>, written: Written) -> Tried<bool> {
        let conn = self.target.connect(Purpose::Write).await?;
        let shards: Vec<i16> = heads.iter().copied().map(small).collect();
        let mut trip = Pipeline::default();
        trip.plain("BEGIN");
        trip.add(&conn, LOCK, vec![Box::new(shards)]).await?;
        let (shard, position) = (small(written.shard), big(written.position));
        let read = trip.add(&conn, READ_BACK, vec![Box::new(shard), Box::new(position)]).await?;
        trip.plain("COMMIT");
        let answers = trip.run(&conn).await?;
        let Some(row) = answers.rows(Some(read)).first() else { return Ok(false) };
        Ok(row.try_get::<_, Uuid>(0)? == written.event_id.0)
    }
}

/// Takes notice of what was committed.
fn acknowledged(ready: Ready<'static>) -> Committed {
    for (kind, link) in &ready.recorded {
        // What is noted outside of the database tells when all of the action log was written anew.
        tracing::info!(action = kind.name(), %link, "recorded an action");
    }
    ready.committed
}
