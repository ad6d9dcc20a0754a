//! Lanes: writes are grouped, never one transaction for each request. A lane takes a share of what queued up while its
//! previous commit ran, applies it as one transaction, and answers every caller. Idle, a command commits at once.

use crate::command::{Command, Reply};
use crate::error::{Error, Fault, Rejection};
use crate::fault_point;
use crate::meter::Histogram;
use crate::ports::{Committed, Storage};
use crate::shed::{Pace, Shed, Sheds};
use crate::trace::{self, Attribute, Span, SpanName, TraceContext, Tracer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

/// How much a lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanePolicy {
    /// Commands that may wait; more are refused as [`Fault::Overloaded`].
    pub queue_max: usize,
    /// Bytes of memory, roughly, that commands may hold which wait for their commit or are being committed; more are
    /// refused likewise. One command is let in however large it is: its own limits are the edge's.
    pub queue_bytes: usize,
    /// Commands of one commit.
    pub batch_max: usize,
    /// Longest that a write of an order may be about to wait, as fast as commits are; else it is refused at once.
    pub delay_max: Duration,
    /// Longest that it may have waited when its turn comes; else it is refused, and nothing was done for it.
    pub deadline: Duration,
}

impl Default for LanePolicy {
    fn default() -> Self {
        Self {
            queue_max: 8_192,
            queue_bytes: 64 << 20,
            batch_max: 512,
            delay_max: Duration::from_millis(250),
            deadline: Duration::from_secs(1),
        }
    }
}

/// Whom a commit wakes.
#[derive(Debug, Clone)]
pub struct Wakes {
    /// Work became due.
    pub work: Arc<Notify>,
    /// The journal grew; counts the commits.
    pub journal: watch::Sender<u64>,
    /// Something became due to be delivered.
    pub deliveries: Arc<Notify>,
}

impl Default for Wakes {
    fn default() -> Self {
        Self { work: Arc::default(), journal: watch::Sender::new(0), deliveries: Arc::default() }
    }
}

struct Envelope {
    command: Command,
    caller: Caller,
}

/// Who waits for a command.
struct Caller {
    reply: oneshot::Sender<Result<Reply, Error>>,
    queued_at: Instant,
    span: Span,
    held: Held,
    /// Whether it may be refused for having waited too long.
    can_be_late: bool,
}

/// What a command takes up until it is committed; given back when dropped.
enum Held {
    /// Bytes that count for everybody.
    Room { _room: Room },
    /// Those of a caller that sends many.
    Bulk { _room: OwnedSemaphorePermit },
}

/// The bytes of a command that count while it waits and while it is committed.
struct Room {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Room {
    /// Room for `bytes` more; `None` when there is none.
    fn take(held: &Arc<AtomicUsize>, bytes: usize, bytes_max: usize) -> Option<Self> {
        let fits = |held: usize| {
            let all = held.saturating_add(bytes);
            (held == 0 || all <= bytes_max).then_some(all)
        };
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self { bytes, held: Arc::clone(held) })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The way into the lanes; cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    lanes: Arc<[LaneHandle]>,
    /// For what is beside orders, where the storage has one.
    beside: Option<Arc<LaneHandle>>,
    shards: u16,
    tracer: Tracer,
    waits: Arc<Histogram>,
    policy: LanePolicy,
    sheds: Arc<Sheds>,
}

struct LaneHandle {
    urgent: mpsc::Sender<Envelope>,
    intake: mpsc::Sender<Envelope>,
    /// Bytes of the commands that wait or are being committed.
    held: Arc<AtomicUsize>,
    pace: Arc<Pace>,
    /// Commands of callers that send many at once: they wait for room here, and hold up nobody who sends one.
    bulk: mpsc::Sender<Envelope>,
    /// Room for the bytes of those, in KiB.
    bulk_room: Arc<Semaphore>,
    bulk_kib_max: u32,
}

impl Lanes {
    /// Starts the lanes of `storage` on the present runtime. They end when the last `Lanes` is dropped.
    pub fn start(storage: &Arc<dyn Storage>, policy: LanePolicy, wakes: &Wakes, tracer: Tracer) -> Self {
        let (waits, sheds) = (Arc::<Histogram>::default(), Arc::<Sheds>::default());
        let alone = storage.lanes() <= 1;
        let count = storage.lanes().max(1);
        let start = |index: usize| {
            let (urgent, urgent_queue) = mpsc::channel(policy.queue_max);
            let (intake, intake_queue) = mpsc::channel(policy.queue_max);
            let batch_max = if index < count { policy.batch_max.max(4) } else { 1 };
            let pace = Arc::new(Pace::new());
            // One batch is being committed, one waits: more would only lie there.
            let (bulk, bulk_queue) = mpsc::channel(batch_max);
            let lane = Lane {
                index,
                storage: Arc::clone(storage),
                batch_max,
                alone,
                wakes: wakes.clone(),
                urgent: urgent_queue,
                intake: intake_queue,
                bulk: bulk_queue,
                last: 0,
                tracer: tracer.clone(),
                waits: Arc::clone(&waits),
                pace: Arc::clone(&pace),
                deadline: policy.deadline,
                sheds: Arc::clone(&sheds),
            };
            tokio::spawn(lane.run());
            let bulk_kib_max = u32::try_from(policy.queue_bytes / 2 / 1024).unwrap_or(u32::MAX).max(1);
            LaneHandle {
                urgent,
                intake,
                held: Arc::default(),
                pace,
                bulk,
                bulk_room: Arc::new(Semaphore::new(bulk_kib_max as usize)),
                bulk_kib_max,
            }
        };
        let lanes = (0..count).map(start).collect();
        let beside = storage.has_lane_beside().then(|| Arc::new(start(count)));
        Self { lanes, beside, shards: storage.install().shards, tracer, waits, policy, sheds }
    }

    /// Queues a command and waits for its commit. Once queued it is carried out even when the caller goes away.
    ///
    /// # Errors
    /// What the storage says; [`Fault::Overloaded`] when the queue is full, by number or by bytes, and when a write of an
    /// order would wait or has waited too long; [`Fault::ShuttingDown`] at the end.
    pub async fn submit(&self, command: Command) -> Result<Reply, Error> {
        let lane = self.lane_of(&command);
        let (reply, answer) = oneshot::channel();
        let urgent = is_urgent(&command);
        // The end of work waits for its turn: refusing it would only make the same work run again. There is no more of
        // it than work was claimed.
        let bytes_max = if urgent { usize::MAX } else { self.policy.queue_bytes };
        let can_be_late = can_be_late(&command);
        if can_be_late && self.is_slow(lane) {
            return Err(self.shed(Shed::Delay).into());
        }
        let room = Room::take(&lane.held, command.footprint(), bytes_max);
        let room = room.ok_or_else(|| self.shed(Shed::Bytes))?;
        let mut envelope = self.envelope(command, reply, Held::Room { _room: room });
        envelope.caller.can_be_late = can_be_late;
        if urgent {
            lane.urgent.send(envelope).await.map_err(|_| Fault::ShuttingDown)?;
        } else {
            lane.intake.try_send(envelope).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => self.shed(Shed::Number),
                mpsc::error::TrySendError::Closed(_) => Fault::ShuttingDown,
            })?;
        }
        answer.await.unwrap_or_else(|_| Err(Fault::ShuttingDown.into()))
    }

    /// Queues a command of a caller that sends many, waiting for room, and returns what its commit will answer. Commands
    /// of one caller are committed in the order in which they were queued.
    ///
    /// # Errors
    /// [`Fault::ShuttingDown`] at the end; the rest comes with the answer.
    pub async fn queue_bulk(
        &self,
        command: Command,
    ) -> Result<impl Future<Output = Result<Reply, Error>> + Send + use<>, Fault> {
        let lane = self.lane_of(&command);
        let (reply, answer) = oneshot::channel();
        let kib = u32::try_from(command.footprint().div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&lane.bulk_room).acquire_many_owned(kib.min(lane.bulk_kib_max)).await;
        let held = Held::Bulk { _room: room.map_err(|_| Fault::ShuttingDown)? };
        lane.bulk.send(self.envelope(command, reply, held)).await.map_err(|_| Fault::ShuttingDown)?;
        Ok(async move { answer.await.unwrap_or_else(|_| Err(Fault::ShuttingDown.into())) })
    }

    fn envelope(
        &self,
        command: Command,
        reply: oneshot::Sender<Result<Reply, Error>>,
        held: Held,
    ) -> Envelope {
        let span = self.tracer.child(SpanName::LaneCommit, trace::current());
        let caller = Caller { reply, queued_at: Instant::now(), span, held, can_be_late: false };
        Envelope { command, caller }
    }

    /// Whether a write of an order would be refused now, whichever it is: asked before anything is done for it.
    ///
    /// # Errors
    /// [`Fault::Overloaded`].
    pub fn room(&self) -> Result<(), Fault> {
        let refused = self.lanes.iter().map(|lane| {
            if lane.intake.capacity() == 0 {
                return Some(Shed::Number);
            }
            self.is_slow(lane).then_some(Shed::Delay)
        });
        // One lane that has room may be the one.
        match refused.collect::<Option<Vec<_>>>().as_deref() {
            Some([why, ..]) => Err(self.shed(*why)),
            Some([]) | None => Ok(()),
        }
    }

    /// Whether what comes now would wait too long: behind so many full commits, or behind one that hangs.
    fn is_slow(&self, lane: &LaneHandle) -> bool {
        let waiting = lane.intake.max_capacity() - lane.intake.capacity();
        let wait = lane.pace.wait(waiting / self.policy.batch_max.max(1));
        wait > self.policy.delay_max || lane.pace.running() > self.policy.deadline
    }

    fn shed(&self, why: Shed) -> Fault {
        self.sheds.count(why);
        Fault::overloaded()
    }

    fn all(&self) -> impl Iterator<Item = &LaneHandle> {
        self.lanes.iter().chain(self.beside.as_deref())
    }

    /// How many commands were not taken.
    pub fn sheds(&self) -> &Sheds {
        &self.sheds
    }

    /// Waits until a lane has ended, which none does by itself while somebody holds these: it panicked.
    pub async fn ended(&self) {
        let lanes = self.all().map(|lane| Box::pin(lane.urgent.closed()));
        futures_util::future::select_all(lanes).await;
    }

    /// Commands that wait for a commit.
    pub fn queued(&self) -> usize {
        let waiting = |queue: &mpsc::Sender<Envelope>| queue.max_capacity() - queue.capacity();
        let of = |lane: &LaneHandle| waiting(&lane.intake) + waiting(&lane.urgent) + waiting(&lane.bulk);
        self.all().map(of).sum()
    }

    /// How long the oldest command has waited that is not answered yet, lines of bulk requests aside; zero when there is none.
    pub fn oldest(&self) -> Duration {
        self.all().map(|lane| lane.pace.oldest()).max().unwrap_or_default()
    }

    /// Bytes of memory, roughly, that commands hold which wait for a commit or are being committed.
    pub fn queued_bytes(&self) -> usize {
        let bulk = |lane: &LaneHandle| lane.bulk_kib_max as usize - lane.bulk_room.available_permits();
        self.all().map(|lane| lane.held.load(Ordering::Relaxed) + bulk(lane) * 1024).sum()
    }

    /// How long commands waited before their commit began: of each commit, the one that waited longest. Those of callers
    /// that send many are left out, they wait on purpose.
    pub fn waits(&self) -> &Histogram {
        &self.waits
    }

    fn lane_of(&self, command: &Command) -> &LaneHandle {
        let order_id = match command {
            Command::Accept(accept) => accept.order_id,
            Command::Change(change) => change.order_id,
            Command::Consume(consume) => consume.change.order_id,
            Command::Settle(settle) => settle.order_id,
            // The one chain through the action log.
            Command::Recorded(_) => return &self.lanes[0],
            Command::Webhook(_) => return self.beside.as_deref().unwrap_or(&self.lanes[0]),
            // These span shards; a storage with several lanes gets them apart by shard.
            Command::Claim(_)
            | Command::Heartbeat(_)
            | Command::Advance(_)
            | Command::Follower(_)
            | Command::Share(_)
            | Command::StartRedrive(_)
            | Command::StepRedrive(_)
            | Command::ApiKey(_)
            | Command::Secrets(_)
            | Command::Market(_)
            | Command::Sweep { .. }
            | Command::SweepInbox { .. }
            | Command::Probe => return &self.lanes[0],
        };
        &self.lanes[usize::from(order_id.shard(self.shards).0) % self.lanes.len()]
    }
}

fn is_urgent(command: &Command) -> bool {
    match command {
        Command::Webhook(command) => command.is_urgent(),
        Command::Settle(_)
        | Command::Heartbeat(_)
        | Command::Claim(_)
        | Command::Advance(_)
        | Command::Share(_)
        | Command::Probe
        | Command::StepRedrive(_) => true,
        Command::Accept(_)
        | Command::Change(_)
        | Command::Consume(_)
        | Command::Follower(_)
        | Command::StartRedrive(_)
        | Command::ApiKey(_)
        | Command::Secrets(_)
        | Command::Market(_)
        | Command::Recorded(_)
        | Command::Sweep { .. }
        | Command::SweepInbox { .. } => false,
    }
}

/// Whether it loses its worth by waiting: writes of orders, whose clients come again. What an operator asks for is rare, and
/// asked for when things are bad.
fn can_be_late(command: &Command) -> bool {
    matches!(command, Command::Accept(_) | Command::Change(_))
}

struct Lane {
    index: usize,
    storage: Arc<dyn Storage>,
    batch_max: usize,
    /// Whether there is no other lane.
    alone: bool,
    wakes: Wakes,
    urgent: mpsc::Receiver<Envelope>,
    intake: mpsc::Receiver<Envelope>,
    bulk: mpsc::Receiver<Envelope>,
    /// How many commands the last batch held, those of bulk callers aside.
    last: usize,
    tracer: Tracer,
    waits: Arc<Histogram>,
    pace: Arc<Pace>,
    deadline: Duration,
    sheds: Arc<Sheds>,
}

impl Lane {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            let batch = self.in_time(batch);
            if batch.is_empty() {
                continue;
            }
            let (commands, callers): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|envelope| (envelope.command, envelope.caller)).unzip();
            self.pace.begin(self.meter(&callers));
            let goes_on = self.carry_out(commands.into(), callers).await;
            self.pace.end();
            if !goes_on {
                tracing::error!("the storage has ended; so does its lane");
                return;
            }
        }
    }

    /// What has queued up: urgent commands first, but at most half of the batch while others wait, so that neither
    /// starves the other. Bulk commands have what is left of the largest batch, and a quarter of it at least.
    async fn next_batch(&mut self) -> Option<Vec<Envelope>> {
        let (first, bulk) = tokio::select! {
            biased;
            Some(first) = self.urgent.recv() => (first, false),
            Some(first) = self.intake.recv() => (first, false),
            Some(first) = self.bulk.recv() => (first, true),
            else => return None,
        };
        let mut batch = vec![first];
        if !bulk {
            let room = self.room();
            let share = if self.intake.is_empty() { room } else { room.div_ceil(2) };
            fill(&mut batch, &mut self.urgent, share);
            fill(&mut batch, &mut self.intake, room);
        }
        self.last = if bulk { 0 } else { batch.len() };
        // Their caller reads on while they are committed: all that wait go in, so that few commits carry many.
        fill(&mut batch, &mut self.bulk, self.batch_max);
        Some(batch)
    }

    /// Refuses what has waited too long, before it is handed to the storage: from then on nobody could say that it was not
    /// done.
    fn in_time(&self, batch: Vec<Envelope>) -> Vec<Envelope> {
        let now = Instant::now();
        let is_late = |caller: &Caller| caller.can_be_late && now - caller.queued_at > self.deadline;
        if !batch.iter().any(|one| is_late(&one.caller)) {
            return batch;
        }
        let (late, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|one| is_late(&one.caller));
        for Envelope { mut caller, .. } in late {
            self.sheds.count(Shed::Deadline);
            caller.span.fail();
            drop((caller.held, caller.span));
            // The caller may be gone.
            drop(caller.reply.send(Err(Fault::overloaded().into())));
        }
        batch
    }

    /// How many commands the next batch takes.
    ///
    /// Of one lane alone half of the crowd, which is whoever waits and whoever was answered last and is about to ask again.
    /// While one half is being committed, the other is answered, thinks and asks; were all taken at once, the storage would
    /// idle while they ask, and they while it commits. Of several lanes all that wait: others commit meanwhile, and what a
    /// commit costs however little is in it is paid less often.
    fn room(&self) -> usize {
        let waiting = 1 + self.urgent.len() + self.intake.len();
        let most = if self.bulk.is_empty() { self.batch_max } else { self.batch_max - self.batch_max / 4 };
        let wanted = if self.alone { (waiting + self.last).div_ceil(2) } else { waiting };
        wanted.clamp(1, most)
    }

    /// Returns how long the first of them has waited, those of bulk callers aside.
    fn meter(&self, callers: &[Caller]) -> Duration {
        let others = callers.iter().filter(|caller| !matches!(caller.held, Held::Bulk { .. }));
        let Some(earliest) = others.map(|caller| caller.queued_at).min() else { return Duration::ZERO };
        let waited = earliest.elapsed();
        self.waits.record(waited);
        waited
    }

    /// Commits and answers; `false` when the storage takes no more for good.
    async fn carry_out(&self, commands: Arc<[Command]>, mut callers: Vec<Caller>) -> bool {
        let accepts = commands.iter().any(|command| matches!(command, Command::Accept(_)));
        if accepts {
            fault_point::pass("api.before_commit");
        }
        let traces = traces(&mut callers);
        let outcomes = self.commit(commands, &traces).await;
        if accepts {
            fault_point::pass("api.after_commit");
        }
        let ended = outcomes.iter().any(|outcome| matches!(outcome, Err(Error::Fault(Fault::ShuttingDown))));
        for (mut caller, outcome) in callers.into_iter().zip(outcomes) {
            if matches!(outcome, Err(Error::Fault(_))) {
                caller.span.fail();
            }
            // Whoever was answered may ask again at once.
            drop(caller.held);
            // Ended before the caller goes on, so that it lies within the caller's own.
            drop(caller.span);
            // The caller may be gone; the command was carried out all the same.
            drop(caller.reply.send(outcome));
        }
        !ended
    }

    /// Commits the batch. When the database refuses the values of some command, or a row that one needs does not read,
    /// halves are tried, so that it fails alone.
    async fn commit(&self, commands: Arc<[Command]>, traces: &[TraceContext]) -> Vec<Result<Reply, Error>> {
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut parts = vec![commands];
        while let Some(part) = parts.pop() {
            let mut span = self.span(traces, part.len());
            let committed = self.storage.commit(self.index, Arc::clone(&part)).await;
            if committed.is_err() {
                span.fail();
            }
            drop(span);
            match committed {
                Ok(committed) => {
                    self.wake(&committed);
                    outcomes
                        .extend(committed.replies.into_iter().map(|reply: Result<_, Rejection>| Ok(reply?)));
                }
                Err(Fault::Data { .. } | Fault::Internal { .. }) if part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push(right.into());
                    parts.push(left.into());
                }
                Err(fault) => outcomes.extend(part.iter().map(|_| Err(fault.clone().into()))),
            }
        }
        outcomes
    }

    /// The span of a commit: in the trace of its first command that has one, linked to the others.
    fn span(&self, traces: &[TraceContext], commands: usize) -> Span {
        let mut span = self.tracer.child(SpanName::StorageCommit, traces.first().copied());
        span.say(|| Attribute::BatchSize(commands));
        traces.iter().skip(1).for_each(|other| span.link(*other));
        span
    }

    fn wake(&self, committed: &Committed) {
        if committed.work_due {
            self.wakes.work.notify_one();
        }
        if committed.journal_grew {
            self.wakes.journal.send_modify(|commits| *commits += 1);
        }
    }
}

/// Where the commands of a batch are in their traces, those that are recorded. Says to each how many there are.
fn traces(callers: &mut [Caller]) -> Vec<TraceContext> {
    let count = callers.len();
    let mut traces = Vec::new();
    for span in callers.iter_mut().map(|caller| &mut caller.span) {
        span.say(|| Attribute::BatchSize(count));
        traces.extend(span.recorded());
    }
    traces
}

fn fill(batch: &mut Vec<Envelope>, queue: &mut mpsc::Receiver<Envelope>, up_to: usize) {
    while batch.len() < up_to {
        match queue.try_recv() {
            Ok(envelope) => batch.push(envelope),
            Err(_) => return,
        }
    }
}
