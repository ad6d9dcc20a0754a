//! One batch of commands as one transaction. The core decides (`order_core::decide`); here rows are loaded and written.
//!
//! What the commands name is locked and read first, in an order that is the same for every commit on every node. Then they
//! are carried out one after the other on what is in memory; what must be looked for in the database (due work, parked
//! orders) is looked for there, after what is in memory was written. At the end all that is left is written, many rows to a
//! statement, and committed in the same trip.

mod accept;
pub(crate) mod action;
mod api_key;
mod change;
mod flush;
mod follow;
mod held;
mod inbox;
mod load;
pub(crate) mod market;
mod plan;
mod redrive;
mod secret;
mod share;
pub(crate) mod webhooks;
mod work;

use crate::connect::Conn;
use crate::error::Trouble;
use crate::pipeline::Pipeline;
use crate::tips::Tips;
use held::Held;
use inbox::MessageState;
use order_core::action_log::ActionKind;
use order_core::action_log::chain::Link;
use order_core::clock::Timestamp;
use order_core::command::{Command, Reply};
use order_core::decide::WorkEffect;
use order_core::fault_point;
use order_core::ids::{EventId, OrderId, Shard};
use order_core::lease::Work;
use order_core::order::Order;
use order_core::order::event::{EventBody, Place};
use order_core::ports::Committed;
use order_core::query::{Install, TallyChange};
use order_core::trace::TraceContext;
use order_core::{Fault, Rejection};
use plan::Plan;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Why a command, or the whole batch, went no further.
pub(crate) enum Stop {
    /// Business says no to this command; it wrote nothing.
    Rejection(Rejection),
    /// The batch comes to a shard whose head it does not hold: to be done again with the heads of all.
    NeedsHeads,
    /// The whole batch is undone.
    Trouble(Trouble),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

impl<T: Into<Trouble>> From<T> for Stop {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

/// What a command comes to.
type Applied<T = Reply> = Result<T, Stop>;

/// An idempotency key as it is and as the database has it.
struct KeyState {
    /// What it stands for.
    used: Option<(OrderId, [u8; 32])>,
    /// What its row says, if there is one.
    row: Option<(OrderId, [u8; 32])>,
    /// When it was first used, if in this batch.
    at: Option<Timestamp>,
}

/// A row of the journal on its way.
struct NewEvent {
    shard: Shard,
    place: Place,
    order_id: OrderId,
    tenant: String,
    source: String,
    version: u64,
    prev_position: u64,
    kind: String,
    data: String,
    trace: Option<TraceContext>,
}

/// A batch on its way into one transaction.
struct Batch<'c> {
    conn: &'c Conn,
    install: &'c Install,
    tips: &'c Tips,
    /// Shards whose heads are held.
    heads: BTreeSet<Shard>,
    /// Newest position of each of them.
    positions: BTreeMap<Shard, u64>,
    /// Numbers for new orders, of which the first `numbered` are taken.
    numbers: Vec<i64>,
    numbered: usize,
    orders: HashMap<OrderId, Held>,
    /// Orders of which it is known whether they are there.
    looked_for: HashSet<OrderId>,
    keys: HashMap<(String, String, String), KeyState>,
    /// Messages that are named, and whether the database remembers them.
    messages: HashMap<(String, String, String), MessageState>,
    events: Vec<NewEvent>,
    tallies: BTreeMap<(String, String, Shard), TallyChange>,
    /// Where in a trace the present command was given.
    trace: Option<TraceContext>,
    recorded: Vec<(ActionKind, Link)>,
    /// An event of this batch, by which it is known again.
    mark: Option<Written>,
    journal_grew: bool,
    work_due: bool,
}

/// An event that a commit wrote: where it is if the commit took place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) shard: Shard,
    pub(crate) position: u64,
    pub(crate) event_id: EventId,
}

/// A transaction that wants nothing but its last trip, which ends with the COMMIT.
pub(crate) struct Ready<'b> {
    pub(crate) committed: Committed,
    pub(crate) last: Pipeline<'b>,
    /// The shards whose heads it holds.
    pub(crate) heads: BTreeSet<Shard>,
    pub(crate) mark: Option<Written>,
    /// Rows that it adds to the action log.
    pub(crate) recorded: Vec<(ActionKind, Link)>,
}

/// Carries out `commands` up to the last trip.
pub(crate) async fn apply(
    conn: &Conn,
    install: &Install,
    tips: &Tips,
    commands: &[Command],
    all_heads: bool,
) -> Result<Ready<'static>, Stop> {
    let plan = Plan::of(commands, install.shards, all_heads);
    let mut batch = Batch {
        conn,
        install,
        tips,
        heads: BTreeSet::new(),
        positions: BTreeMap::new(),
        numbers: Vec::new(),
        numbered: 0,
        orders: HashMap::new(),
        looked_for: HashSet::new(),
        keys: HashMap::new(),
        messages: HashMap::new(),
        events: Vec::new(),
        tallies: BTreeMap::new(),
        trace: None,
        recorded: Vec::new(),
        mark: None,
        journal_grew: false,
        work_due: false,
    };
    batch.load(&plan).await?;
    let mut replies = Vec::with_capacity(commands.len());
    for command in commands {
        replies.push(match batch.command(command).await {
            Ok(reply) => Ok(reply),
            Err(Stop::Rejection(rejection)) => Err(rejection),
            Err(stop) => return Err(stop),
        });
    }
    let mut last = Pipeline::default();
    batch.write(&mut last).await?;
    batch.write_keys(&mut last).await?;
    batch.drop_messages(&mut last).await?;
    let committed = Committed { replies, journal_grew: batch.journal_grew, work_due: batch.work_due };
    let Batch { heads, mark, recorded, .. } = batch;
    Ok(Ready { committed, last, heads, mark, recorded })
}

impl Batch<'_> {
    async fn command(&mut self, command: &Command) -> Applied {
        self.trace = command.trace();
        match command {
            Command::Accept(accept) => self.accept(accept).await,
            Command::Change(change) => self.change(change).await.map(Reply::Changed),
            Command::Consume(consume) => self.consume(consume).await,
            Command::Claim(claim) => self.claim(claim).await,
            Command::Heartbeat(heartbeat) => self.heartbeat(heartbeat).await,
            Command::Settle(settle) => self.settle(settle).await,
            Command::Advance(advance) => self.advance(advance).await,
            Command::Follower(follower) => self.follower(follower).await,
            Command::Share(share) => self.share(share).await,
            Command::StartRedrive(start) => self.start_redrive(start).await,
            Command::StepRedrive(step) => self.step_redrive(step).await,
            Command::ApiKey(command) => self.api_key(command).await,
            Command::Secrets(command) => self.secrets(command).await,
            Command::Market(command) => self.market(command).await,
            Command::Webhook(command) => self.webhook(command).await,
            Command::Recorded(recorded) => Box::pin(self.record(recorded)).await,
            Command::Sweep { before, limit } => self.sweep(*before, *limit).await,
            Command::SweepInbox { before, limit } => self.sweep_inbox(*before, *limit).await,
            Command::Probe => self.probe().await,
        }
    }

    /// Writes into the log what nobody reads, and more of it than an order: a commit that wrote nothing would succeed on a
    /// disk that takes no order any more.
    async fn probe(&self) -> Applied {
        self.conn
            .query("SELECT pg_logical_emit_message(true, 'wellorder', repeat('probe', 13000))", &[])
            .await?;
        Ok(Reply::Done)
    }

    fn shard(&self, order_id: OrderId) -> Shard {
        order_id.shard(self.install.shards)
    }

    /// The order in hands, if it is there.
    async fn find(&mut self, order_id: OrderId) -> Applied<Option<&mut Held>> {
        self.look_for(order_id).await?;
        Ok(self.orders.get_mut(&order_id))
    }

    /// A copy of an order and its work.
    async fn get(&mut self, order_id: OrderId) -> Applied<(Order, Option<Work>)> {
        let held = self.find(order_id).await?.ok_or(Rejection::OrderUnknown)?;
        Ok((held.order.clone(), held.work.clone()))
    }

    /// The next free position of a shard; taken once its event is written.
    fn next_position(&self, shard: Shard) -> Applied<u64> {
        self.positions.get(&shard).map(|newest| newest + 1).ok_or(Stop::NeedsHeads)
    }

    /// Appends an event of `order`, which it has changed already, at `place`.
    fn append(&mut self, order: &Order, body: &EventBody, place: Place, prev_position: u64) -> Applied<()> {
        let shard = self.shard(order.id);
        self.positions.insert(shard, place.position);
        self.journal_grew = true;
        self.mark = Some(Written { shard, position: place.position, event_id: place.event_id });
        if fault_point::planted("lost-journal-row") && place.position.is_multiple_of(50) {
            return Ok(());
        }
        let kind = body.kind().ok_or_else(|| Fault::internal("an unknown event cannot be appended"))?;
        self.events.push(NewEvent {
            shard,
            place,
            order_id: order.id,
            tenant: order.tenant.as_str().to_owned(),
            source: order.source.as_str().to_owned(),
            version: order.version,
            prev_position,
            kind: kind.as_str().to_owned(),
            data: body.to_json(order),
            trace: self.trace,
        });
        Ok(())
    }

    /// Lets `body` happen to an order in hands: row, event, tally.
    fn happen(
        &mut self,
        order_id: OrderId,
        body: &EventBody,
        event_id: EventId,
        now: Timestamp,
    ) -> Applied<()> {
        let position = self.next_position(self.shard(order_id))?;
        let place = Place { event_id, position, occurred_at: now };
        // Taken out and put back: orders are large, and copies of them are most of what this would cost.
        let mut held = self.orders.remove(&order_id).ok_or(Rejection::OrderUnknown)?;
        self.tally(&held.order, -1);
        let last_position = held.order.last_position;
        held.order.apply(body, place);
        held.moved = true;
        held.revised |= matches!(body, EventBody::Revised { .. } | EventBody::Erased { .. });
        self.tally(&held.order, 1);
        let appended = self.append(&held.order, body, place, last_position);
        self.orders.insert(order_id, held);
        appended
    }

    /// Does to the work of an order in hands what was decided, and shows it in `order.lease`. Returns the order then.
    fn work_effect(&mut self, order_id: OrderId, effect: WorkEffect, now: Timestamp) -> Applied<Order> {
        let trace = self.trace;
        let held = self.orders.get_mut(&order_id).ok_or(Rejection::OrderUnknown)?;
        match effect {
            WorkEffect::Keep => return Ok(held.order.clone()),
            WorkEffect::Drop => held.work = None,
            WorkEffect::Fresh => {
                self.work_due = true;
                held.work = Some(fresh(order_id, now, trace));
            }
            WorkEffect::Due { at, attempt, settled } => {
                self.work_due |= at <= now;
                if let Some(work) = &mut held.work {
                    (work.due_at, work.attempt, work.token, work.claimed_at) = (at, attempt, None, None);
                    work.lapses = if settled { 0 } else { work.lapses };
                }
            }
        }
        held.work_moved = true;
        held.order.lease = None;
        Ok(held.order.clone())
    }

    fn tally(&mut self, order: &Order, sign: i64) {
        let shard = self.shard(order.id);
        let key = (order.tenant.as_str().to_owned(), order.source.as_str().to_owned(), shard);
        self.tallies.entry(key).or_default().add(order, sign);
    }
}

/// Work that was never tried.
fn fresh(order_id: OrderId, now: Timestamp, trace: Option<TraceContext>) -> Work {
    Work { order_id, due_at: now, attempt: 0, lapses: 0, token: None, claimed_at: None, trace }
}
