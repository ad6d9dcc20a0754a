//! What can be asked of storage. Every write is a command; a lane commits many of them as one transaction.

use crate::action_log::Recorded;
use crate::api_key::{ApiKey, ApiKeyCommand};
use crate::clock::Timestamp;
use crate::desk::Desks;
use crate::error::Rejection;
use crate::ids::{EventId, LeaseToken, OrderId, RedriveId, Shard, SourceId, TenantId};
use crate::inbox::{Consume, Consumed};
use crate::intake::{Accepted, Intake};
use crate::journal::Cursor;
use crate::lease::{Leased, Outcome};
use crate::marketplace::{MarketCommand, MarketReply};
use crate::order::state::ChangeName;
use crate::order::{Content, Order};
use crate::parking::{ParkedStream, Resent};
use crate::query::FollowerRow;
use crate::redrive::{Redrive, RedriveFilter};
use crate::sealing::Sealed;
use crate::sealing::resealing::SecretsCommand;
use crate::share::Share;
use crate::trace::TraceContext;
use crate::webhook::command::{WebhookCommand, WebhookReply};
use std::sync::Arc;
use std::time::Duration;

/// One write. Ids and times are fixed before it is sent, so that its outcome can be found out later.
#[derive(Debug, Clone)]
pub enum Command {
    /// Take an order in.
    Accept(Box<Accept>),
    /// Change an order.
    Change(Box<Change>),
    /// Change an order as a message says that was not consumed before.
    Consume(Box<Consume>),
    /// Lease due work.
    Claim(Claim),
    /// Extend leases.
    Heartbeat(Heartbeat),
    /// End a leased piece of work.
    Settle(Box<Settle>),
    /// Move a follower's cursor, or what it carries on once more.
    Advance(Advance),
    /// Create, pause, resume, replay or redrive a follower.
    Follower(FollowerCommand),
    /// Extend what a node holds of a follower, take or give up shards.
    Share(Share),
    /// Record a redrive job.
    StartRedrive(Box<StartRedrive>),
    /// Redrive the next orders of a job.
    StepRedrive(StepRedrive),
    /// Make, rotate, revoke or touch an API key.
    ApiKey(Box<ApiKeyCommand>),
    /// Keep a secret, or seal some anew.
    Secrets(Box<SecretsCommand>),
    /// Something about stores, imports or budgets.
    Market(Box<MarketCommand>),
    /// What is about webhooks.
    Webhook(Box<WebhookCommand>),
    /// Do something, and record in the same commit who did it.
    Recorded(Box<Recorded>),
    /// Delete idempotency keys that are older than `before`, at most `limit`.
    Sweep {
        /// Keys first used before this moment go.
        before: Timestamp,
        /// At most so many.
        limit: u32,
    },
    /// Forget messages that were consumed before `before`, at most `limit`, the oldest first.
    SweepInbox {
        /// Messages consumed before this moment go.
        before: Timestamp,
        /// At most so many.
        limit: u32,
    },
    /// Change nothing that anybody reads, but find out whether a commit is possible.
    Probe,
}

impl Command {
    /// Where in a trace it was given, for those that leave an event or make work.
    pub fn trace(&self) -> Option<TraceContext> {
        match self {
            Self::Accept(accept) => accept.trace,
            Self::Change(change) => change.trace,
            Self::Consume(consume) => consume.change.trace,
            Self::Settle(settle) => settle.trace,
            Self::StepRedrive(step) => step.trace,
            Self::Recorded(recorded) => recorded.command.as_ref().and_then(Self::trace),
            Self::Claim(_)
            | Self::Heartbeat(_)
            | Self::Advance(_)
            | Self::Follower(_)
            | Self::Share(_)
            | Self::StartRedrive(_)
            | Self::ApiKey(_)
            | Self::Secrets(_)
            | Self::Market(_)
            | Self::Webhook(_)
            | Self::Sweep { .. }
            | Self::SweepInbox { .. }
            | Self::Probe => None,
        }
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Command::Accept`].
    Accepted(Accepted),
    /// To [`Command::Change`].
    Changed(Changed),
    /// To [`Command::Consume`].
    Consumed(Consumed),
    /// To [`Command::Claim`].
    Claimed(Claimed),
    /// To [`Command::Heartbeat`]: the tokens whose lease is lost.
    Extended {
        /// Tokens that hold nothing any more.
        lost: Vec<LeaseToken>,
    },
    /// To [`Command::Settle`]: the order as it is now.
    Settled(Box<Order>),
    /// To [`Command::StartRedrive`] and [`Command::StepRedrive`].
    Redrive(Box<Redrive>),
    /// To [`Command::ApiKey`]: the key as it is now.
    ApiKey(Box<ApiKey>),
    /// To [`SecretsCommand::Keep`]: what is kept now.
    Kept(Sealed),
    /// To [`SecretsCommand::Reseal`]: how many are sealed anew.
    Resealed(u32),
    /// To [`Command::Market`].
    Market(Box<MarketReply>),
    /// To [`Command::Webhook`].
    Webhook(Box<WebhookReply>),
    /// To [`Command::Sweep`] and [`Command::SweepInbox`]: how many keys or messages went.
    Swept(u32),
    /// To [`FollowerAction::Redrive`]: how many orders will be sent again.
    Redriven(u64),
    /// To the rest. [`Command::Recorded`] is answered as its command is.
    Done,
}

/// See [`Command::Accept`].
#[derive(Debug, Clone)]
pub struct Accept {
    /// What came in.
    pub intake: Intake,
    /// The id it gets if it is new: derived from the reference, else fresh.
    pub order_id: OrderId,
    /// SHA-256 of the content.
    pub digest: [u8; 32],
    /// The id of its first event.
    pub event_id: EventId,
    /// When it came in.
    pub now: Timestamp,
    /// Where in a trace that was; its event and its work keep it.
    pub trace: Option<TraceContext>,
    /// Who asked, for its event: see [`crate::action_log::Actor`]; `None` when nobody is known.
    pub by: Option<Arc<str>>,
    /// Withdraws it in the same commit if it is new, so that nobody ever works on it; `None` for almost all.
    pub withdrawal: Option<Box<Withdrawal>>,
}

/// What withdraws an order as it is taken in.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    /// The id of its event.
    pub event_id: EventId,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// See [`Command::Change`].
#[derive(Debug, Clone)]
pub struct Change {
    /// Who asks.
    pub tenant: TenantId,
    /// Set where the caller sees the orders of one source only.
    pub source: Option<SourceId>,
    /// The order.
    pub order_id: OrderId,
    /// The version that the caller saw, if it insists.
    pub expected_version: Option<u64>,
    /// The id of the event.
    pub event_id: EventId,
    /// When.
    pub now: Timestamp,
    /// What.
    pub kind: ChangeKind,
    /// Where in a trace that was; its event and the work that it makes keep it.
    pub trace: Option<TraceContext>,
    /// Who asked, for the events of kinds that do not say it themselves; `None` when nobody is known.
    pub by: Option<Arc<str>>,
}

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// New content.
    Revise {
        /// The new content, whole.
        content: Box<Content>,
        /// Whether it must be processed again when nothing is left to do, or when it is parked. Open work starts anew in
        /// any case, so that what is processed is the newest content.
        requeue: bool,
    },
    /// Soft delete or cancel.
    Withdraw {
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// Whether the withdrawal must be processed.
        requeue: bool,
    },
    /// The goods were sent. Told again, it fills in a tracking number that is not known yet, and nothing else.
    Ship {
        /// When; `None`: when that is known, as it is known, else now.
        shipped_at: Option<Timestamp>,
        /// The carrier's number.
        tracking_number: Option<String>,
    },
    /// The goods arrived.
    Deliver {
        /// When.
        delivered_at: Timestamp,
    },
    /// Parked work gets a fresh budget of attempts.
    Redrive {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// Personal fields are blanked, here and in the journal.
    Erase,
    /// What was left to do was done elsewhere, by whoever needs no lease of ours. Whoever holds one has lost it. Where nothing is
    /// left to do, nothing happens.
    Finish,
}

impl ChangeKind {
    /// Its name in the table of transitions; `None` for what is legal in every state, and that nobody asks for over `/v1`.
    pub fn name(&self) -> Option<ChangeName> {
        Some(match self {
            Self::Revise { .. } => ChangeName::Revise,
            Self::Withdraw { .. } => ChangeName::Withdraw,
            Self::Ship { .. } => ChangeName::Ship,
            Self::Deliver { .. } => ChangeName::Deliver,
            Self::Redrive { .. } => ChangeName::Redrive,
            Self::Erase => ChangeName::Erase,
            Self::Finish => return None,
        })
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The order as it is now.
    pub order: Box<Order>,
    /// Whether an event was appended; `false` when it was so already.
    pub changed: bool,
}

/// See [`Command::Claim`].
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose work; any when `None`.
    pub tenant: Option<TenantId>,
    /// From which desks.
    pub desks: Desks,
    /// One fresh token for each piece of work that is wanted.
    pub tokens: Vec<LeaseToken>,
    /// As many event ids, for work that must be parked because its leases keep running out: then further work is looked at,
    /// until enough is leased, nothing is due, or no event id is left.
    pub event_ids: Vec<EventId>,
    /// When.
    pub now: Timestamp,
    /// How long the lease lasts.
    pub lease: Duration,
    /// Lapses in a row that park.
    pub lapses_max: u32,
}

/// See [`Reply::Claimed`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claimed {
    /// What was leased.
    pub leased: Vec<Leased>,
    /// How many were parked instead, because their leases kept running out.
    pub parked: u32,
    /// How many had a lease that ran out.
    pub lapsed: u32,
    /// When the next piece of work (of that tenant, at those desks) is due, if there is any that was not claimed.
    pub next_due: Option<Timestamp>,
}

/// See [`Command::Heartbeat`].
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// What is held.
    pub held: Vec<(OrderId, LeaseToken)>,
    /// When.
    pub now: Timestamp,
    /// Until when to extend.
    pub until: Timestamp,
}

/// See [`Command::Settle`].
#[derive(Debug, Clone)]
pub struct Settle {
    /// The order.
    pub order_id: OrderId,
    /// The fence value.
    pub token: LeaseToken,
    /// How it ended.
    pub outcome: Outcome,
    /// The id of the event.
    pub event_id: EventId,
    /// When.
    pub now: Timestamp,
    /// Where in a trace that was; its event keeps it, the work keeps its own.
    pub trace: Option<TraceContext>,
}

/// See [`Command::Advance`]: all of it or nothing, and only from where that part of the follower is.
#[derive(Debug, Clone)]
pub struct Advance {
    /// Which follower.
    pub follower: String,
    /// What of it moves.
    pub part: AdvancePart,
    /// The epoch of the positions.
    pub epoch: u32,
    /// (shard, from, to) for each shard that moves.
    pub moves: Vec<(Shard, u64, u64)>,
    /// Who moves them: every shard of this command must be held by it.
    pub token: LeaseToken,
    /// Until when its lease is extended.
    pub until: Timestamp,
    /// What of parked orders was sent again.
    pub resent: Vec<Resent>,
    /// What the sink refused for good.
    pub parked: Vec<ParkedStream>,
    /// When.
    pub now: Timestamp,
}

impl Advance {
    /// The shards that it is about, for an installation of so many.
    pub fn shards(&self, shards: u16) -> impl Iterator<Item = Shard> + '_ {
        let moved = self.moves.iter().map(|(shard, _, _)| *shard);
        let resent = self.resent.iter().map(move |resent| resent.order_id.shard(shards));
        moved.chain(resent).chain(self.parked.iter().map(|stream| stream.shard))
    }

    /// Whether it may be carried out on a follower that is so.
    ///
    /// # Errors
    /// [`Rejection::CursorInvalid`] for another epoch, or a shard that there is not; [`Rejection::LeaseLost`] when the token
    /// does not hold all of its shards.
    pub fn check(&self, row: &FollowerRow) -> Result<(), Rejection> {
        let shards = u16::try_from(row.holders.len()).unwrap_or(u16::MAX);
        if row.cursor.epoch != self.epoch || self.shards(shards).any(|shard| shard.0 >= shards) {
            return Err(Rejection::CursorInvalid);
        }
        if self.shards(shards).all(|shard| row.is_held(shard, self.token)) {
            Ok(())
        } else {
            Err(Rejection::LeaseLost)
        }
    }
}

/// What of a follower moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdvancePart {
    /// Its cursor.
    #[default]
    Cursor,
    /// Its replay of a range ([`crate::replay::Replay`]), which its last event ends.
    Replay,
}

/// See [`Command::Follower`].
#[derive(Debug, Clone)]
pub struct FollowerCommand {
    /// Which follower: `[a-z0-9-]{1,64}`.
    pub name: String,
    /// When.
    pub now: Timestamp,
    /// What.
    pub action: FollowerAction,
}

/// What to do with a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowerAction {
    /// Make it if it is not there.
    Ensure {
        /// What kind of sink it feeds.
        sink: String,
        /// Start behind the newest event instead of before the first.
        from_now: bool,
    },
    /// Carry nothing on until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Go on from another place. Ends the replay of a range.
    Replay(Cursor),
    /// Carry what lies behind `from` up to `to` on once more, as far as it was carried on before; then go on from where it
    /// is. Takes the place of the replay of another range; where nothing lies between, that ends.
    ReplayRange {
        /// Behind which place it begins.
        from: Cursor,
        /// The last place that it holds.
        to: Cursor,
    },
    /// Send what is parked again.
    Redrive {
        /// Of these orders; of all when `None`.
        orders: Option<Vec<OrderId>>,
        /// Leave the refused event out, and why: of those too that are on their way, as long as they have not passed it.
        skip: Option<String>,
    },
}

/// See [`Command::StartRedrive`].
#[derive(Debug, Clone)]
pub struct StartRedrive {
    /// Its id.
    pub redrive_id: RedriveId,
    /// Who asks.
    pub tenant: TenantId,
    /// Which orders.
    pub filter: RedriveFilter,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When.
    pub now: Timestamp,
}

/// See [`Command::StepRedrive`].
#[derive(Debug, Clone)]
pub struct StepRedrive {
    /// Which job.
    pub redrive_id: RedriveId,
    /// One event id for each order that may be redriven in this step.
    pub event_ids: Vec<EventId>,
    /// When.
    pub now: Timestamp,
    /// Where in a trace that was; the orders' events and work keep it.
    pub trace: Option<TraceContext>,
}
