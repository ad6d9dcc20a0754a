//! What the edges hold: the use cases, and the ports behind them.

use crate::action_log;
use crate::clock::Clock;
use crate::command::{Accept, Command, FollowerAction, FollowerCommand, Reply, Withdrawal};
use crate::consumers::Consumers;
use crate::error::{Error, Fault};
use crate::follow::FollowerFaults;
use crate::ids::{EventId, Ids, LeaseToken, OrderId};
use crate::intake::{Accepted, Intake, derived_id, digest};
use crate::lane::{LanePolicy, Lanes, Wakes};
use crate::marketplace::MarketStats;
use crate::ports::{Deliverer, Storage};
use crate::process::WorkerStats;
use crate::remote::Remotes;
use crate::sealing::Keyring;
use crate::tail::Tail;
use crate::trace::{self, Tracer};
use crate::webhook::courier::CourierStats;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// One installation's use cases. The edges share it behind an `Arc`.
pub struct App {
    /// Where everything lies.
    pub storage: Arc<dyn Storage>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where ids and chance come from.
    pub ids: Arc<dyn Ids>,
    /// The way to write.
    pub lanes: Lanes,
    /// Whom commits wake.
    pub wakes: Wakes,
    /// What ails the followers of this process.
    pub follower_faults: FollowerFaults,
    /// The servers that this process talks to.
    pub remotes: Remotes,
    /// What takes messages for this process.
    pub consumers: Consumers,
    /// What the worker of this process has done.
    pub worker_stats: Arc<WorkerStats>,
    /// What this process has done with marketplaces.
    pub market_stats: Arc<MarketStats>,
    /// The end of the journal, for those who wait for an order and those who read on and on.
    pub tail: Tail,
    /// Whether the process is about to end: whoever waits is answered at once, streams come to their end.
    pub stopping: watch::Sender<bool>,
    /// Makes the spans of this process.
    pub tracer: Tracer,
    /// The keys for secrets at rest, once they are given.
    pub(crate) keyring: OnceLock<Arc<Keyring>>,
    /// What the courier of this process has done.
    pub courier_stats: Arc<CourierStats>,
    /// What carries deliveries to receivers, once it is given.
    pub(crate) deliverer: OnceLock<Arc<dyn Deliverer>>,
    /// One after the other, so that what is registered twice is there once.
    pub(crate) registering_endpoints: tokio::sync::Mutex<()>,
    node: OnceLock<LeaseToken>,
}

/// How long an idempotency key is kept at least.
pub const KEY_KEPT: Duration = Duration::from_secs(24 * 3600);

impl App {
    /// Starts the lanes of `storage` on the present runtime.
    pub fn start(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        lanes: LanePolicy,
    ) -> Arc<Self> {
        Self::traced(storage, clock, ids, lanes, Tracer::off())
    }

    /// The same, with spans of what happens.
    pub fn traced(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        lanes: LanePolicy,
        tracer: Tracer,
    ) -> Arc<Self> {
        let wakes = Wakes::default();
        let lanes = Lanes::start(&storage, lanes, &wakes, tracer.clone());
        let stopping = watch::Sender::new(false);
        let tail = Tail::start(&storage, &wakes, stopping.subscribe());
        Arc::new(Self {
            tail,
            stopping,
            storage,
            clock,
            ids,
            lanes,
            wakes,
            follower_faults: FollowerFaults::default(),
            remotes: Remotes::default(),
            consumers: Consumers::default(),
            keyring: OnceLock::new(),
            courier_stats: Arc::default(),
            deliverer: OnceLock::new(),
            registering_endpoints: tokio::sync::Mutex::default(),
            node: OnceLock::new(),
            worker_stats: Arc::default(),
            market_stats: Arc::default(),
            tracer,
        })
    }

    /// The fence value of all that this process holds of followers: fresh for each process.
    pub fn node(&self) -> LeaseToken {
        *self.node.get_or_init(|| LeaseToken(self.ids.uuid_v4()))
    }

    /// What ails a follower now, here or on another node that carries it.
    pub fn follower_fault(&self, row: &crate::query::FollowerRow) -> Option<String> {
        // Of this node, what it knows itself is newer than what it has told.
        let elsewhere = || row.fault_besides(self.node.get().copied(), self.clock.now()).map(str::to_owned);
        self.follower_faults.of(&row.name).or_else(elsewhere)
    }

    /// Answers whoever waits, and ends the streams: what `stop` begins, the process then drains.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Takes an order in: when this returns, order, event and work are committed together.
    ///
    /// # Errors
    /// [`crate::Rejection::KeyReused`]; faults of storage.
    pub async fn accept(&self, intake: Intake) -> Result<Accepted, Error> {
        accepted(self.lanes.submit(self.accept_command(intake, action_log::current_name())).await?)
    }

    /// As [`App::accept`]; an order without a reference gets an id that is all chance (UUIDv4), where others' begin with the
    /// time: for contracts that spread orders by how their ids begin.
    ///
    /// # Errors
    /// As [`App::accept`].
    pub async fn accept_scattered(&self, intake: Intake) -> Result<Accepted, Error> {
        let order_id = derived_id(&intake).unwrap_or_else(|| OrderId(self.ids.uuid_v4()));
        let (now, by) = (self.clock.now(), action_log::current_name());
        accepted(self.lanes.submit(self.accept_as(intake, order_id, now, by)).await?)
    }

    /// Queues an order, one of many of one caller, and returns what its commit will answer. Waits while many are queued
    /// already; single orders are not held up by them.
    ///
    /// # Errors
    /// [`Fault::ShuttingDown`] at the end.
    pub async fn queue_accept(
        &self,
        intake: Intake,
    ) -> Result<impl Future<Output = Result<Accepted, Error>> + Send + use<>, Fault> {
        let command = self.accept_command(intake, action_log::current_name());
        let reply = self.lanes.queue_bulk(command).await?;
        Ok(async move { accepted(reply.await?) })
    }

    /// As [`App::accept_by`], and withdraws the order in the same commit if it is new: nobody ever works on it.
    ///
    /// # Errors
    /// As [`App::accept`].
    pub async fn accept_withdrawn(
        &self,
        intake: Intake,
        reason: &str,
        by: Arc<str>,
    ) -> Result<Accepted, Error> {
        let mut command = self.accept_command(intake, Some(Arc::clone(&by)));
        if let Command::Accept(accept) = &mut command {
            let event_id = EventId(self.ids.uuid_v7(accept.now));
            let (reason, by) = (reason.to_owned(), by.as_ref().to_owned());
            accept.withdrawal = Some(Box::new(Withdrawal { event_id, reason, by }));
        }
        accepted(self.lanes.submit(command).await?)
    }

    /// As [`App::accept`], for `by`, which is no caller of ours.
    ///
    /// # Errors
    /// As [`App::accept`].
    pub async fn accept_by(&self, intake: Intake, by: Arc<str>) -> Result<Accepted, Error> {
        accepted(self.lanes.submit(self.accept_command(intake, Some(by))).await?)
    }

    fn accept_command(&self, intake: Intake, by: Option<Arc<str>>) -> Command {
        let now = self.clock.now();
        let order_id = derived_id(&intake).unwrap_or_else(|| OrderId(self.ids.uuid_v7(now)));
        self.accept_as(intake, order_id, now, by)
    }

    fn accept_as(
        &self,
        intake: Intake,
        order_id: OrderId,
        now: crate::Timestamp,
        by: Option<Arc<str>>,
    ) -> Command {
        let digest = digest(&intake.content);
        let event_id = EventId(self.ids.uuid_v7(now));
        let trace = trace::current();
        let withdrawal = None;
        Command::Accept(Box::new(Accept { intake, order_id, digest, event_id, now, trace, by, withdrawal }))
    }

    /// Makes a follower if it is not there.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn ensure_follower(&self, name: &str, sink: &str, from_now: bool) -> Result<(), Error> {
        self.follower(name, FollowerAction::Ensure { sink: sink.to_owned(), from_now }).await.map(drop)
    }

    /// Creates, pauses, resumes, replays or redrives a follower.
    ///
    /// # Errors
    /// [`crate::Rejection::FollowerUnknown`], a cursor's rejections; faults of storage.
    pub async fn follower(&self, name: &str, action: FollowerAction) -> Result<Reply, Error> {
        let command = FollowerCommand { name: name.to_owned(), now: self.clock.now(), action };
        self.lanes.submit(self.recorded(Command::Follower(command))).await
    }

    /// Sends what is parked for a follower again, of `orders` or of all: with the refused events, or without them where
    /// `skip` says why. Returns how many orders that will be. Those that are on their way already do not count, unless what was
    /// refused of them is skipped now.
    ///
    /// # Errors
    /// [`crate::Rejection::FollowerUnknown`]; faults of storage.
    pub async fn redrive_follower(
        &self,
        name: &str,
        orders: Option<Vec<OrderId>>,
        skip: Option<String>,
    ) -> Result<u64, Error> {
        match self.follower(name, FollowerAction::Redrive { orders, skip }).await? {
            Reply::Redriven(count) => Ok(count),
            other => Err(unexpected("redrive of a follower", &other)),
        }
    }

    /// Finds out whether storage can be written.
    ///
    /// # Errors
    /// What a write would meet now.
    pub async fn probe(&self) -> Result<(), Error> {
        self.lanes.submit(Command::Probe).await.map(drop)
    }

    /// Deletes idempotency keys that were kept long enough, at most `limit`; returns how many went.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn sweep(&self, limit: u32) -> Result<u32, Error> {
        let kept = i64::try_from(KEY_KEPT.as_micros()).unwrap_or(i64::MAX);
        let before = crate::Timestamp::from_micros(self.clock.now().micros() - kept);
        match self.lanes.submit(Command::Sweep { before, limit }).await? {
            Reply::Swept(count) => Ok(count),
            other => Err(unexpected("sweep", &other)),
        }
    }
}

fn accepted(reply: Reply) -> Result<Accepted, Error> {
    match reply {
        Reply::Accepted(accepted) => Ok(accepted),
        other => Err(unexpected("accept", &other)),
    }
}

/// A lane answered a command with another command's reply: a defect of ours.
pub(crate) fn unexpected(command: &str, reply: &Reply) -> Error {
    Fault::internal(format!("{command} was answered {reply:?}")).into()
}
