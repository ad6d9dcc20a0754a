//! One sequence, carried out on the storage under test and on the model side by side.

use super::ops::{Action, End, Kind, Op, Shared};
use crate::build::{accept, intake, source, tenant};
use crate::clock::{ManualClock, SeededIds};
use crate::conformance::Fixture;
use crate::conformance::rig::LEASE;
use crate::dump::{Dump, EXTERNALS};
use crate::memory::{MemoryFixture, MemoryStorage};
use order_core::app::App;
use order_core::audit;
use order_core::clock::{Clock, Timestamp};
use order_core::command::{
    Advance, AdvancePart, Change, ChangeKind, Claim, Command, FollowerAction, FollowerCommand, Heartbeat,
    Reply, Settle, StartRedrive, StepRedrive, Withdrawal,
};
use order_core::desk::{Desk, Desks};
use order_core::error::Rejection;
use order_core::ids::{EventId, Ids, LeaseToken, OrderId, RedriveId, Shard, TenantId};
use order_core::inbox::{Consume, MessageId};
use order_core::intake::{Accepted, Intake};
use order_core::journal::{Cursor, Head};
use order_core::lane::LanePolicy;
use order_core::lease::Outcome;
use order_core::order::Content;
use order_core::parking::{ParkedStream, RefusedFor, Resent};
use order_core::ports::Storage;
use order_core::query::FollowerRow;
use order_core::redrive::{Redrive, RedriveFilter};
use order_core::share::Share;
use order_core::state::Fulfilment;
use order_core::trace::{self, TraceContext};
use proptest::sample::Index;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Why the two differ.
pub(super) type Difference = String;

pub(super) struct Run {
    tested: Box<dyn Fixture>,
    model: MemoryStorage,
    model_fixture: Box<dyn Fixture>,
    clock: Arc<ManualClock>,
    ids: Arc<SeededIds>,
    orders: Vec<(TenantId, OrderId)>,
    leases: Vec<(OrderId, LeaseToken)>,
    jobs: Vec<(TenantId, RedriveId)>,
    batch: Vec<Command>,
}

fn owner(number: u8) -> TenantId {
    tenant(["default", "acme"][usize::from(number) % 2])
}

fn origin(number: u8) -> &'static str {
    ["api", "sales"][usize::from(number) % 2]
}

/// Where work of these origins lies: of both, or of one.
fn some_desks(number: u8) -> Desks {
    [Desks::ALL, Desk::of(&source(origin(0))).into(), Desk::of(&source(origin(1))).into()]
        [usize::from(number) % 3]
}

fn content(number: u8) -> Content {
    let bearing =
        |external: usize| intake("x").attribute("external_id", &format!("\"{}\"", EXTERNALS[external]));
    let sent = match number {
        0 => bearing(0),
        // The same by value as the first.
        1 => bearing(0).total("19.9"),
        2 => bearing(1).total("20").attribute("gift", "true"),
        // Without a customer it leads to nothing.
        3 => bearing(0).customer(None).currency(None).no_lines().total("0.0001"),
        _ => bearing(0).line("cup é", 3, "0.10").attribute("a/b", "{\"n\":1.10,\"m\":[]}"),
    };
    sent.build().content
}

fn why(number: u8) -> String {
    format!("error {number}")
}

fn pick<T: Clone>(from: &[T], index: &Index) -> Option<T> {
    if from.is_empty() { None } else { Some(index.get(from).clone()) }
}

fn message(consumer: u8, id: u8) -> MessageId {
    let queue: Arc<str> = ["shipped", "delivered"][usize::from(consumer) % 2].into();
    MessageId::new(&queue, format!("m-{id}")).expect("an id")
}

/// A node takes its part of a follower, extends what it has, leaves it or stands back, and says whether its sink fails.
fn share(name: u8, node: u8, how: Shared, fault: bool, now: Timestamp) -> Command {
    let token = LeaseToken(Uuid::from_u128(u128::from(node) + 1));
    let until = (how != Shared::Left).then(|| now.plus(LEASE));
    let (fault, extends_only) = (fault.then(|| "away".to_owned()), how == Shared::Extended);
    let (follower, stands_back) = (format!("f-{name}"), how == Shared::Back);
    Command::Share(Share { follower, token, now, until, fault, extends_only, stands_back })
}

impl Run {
    pub(super) fn new(tested: Box<dyn Fixture>) -> Self {
        let model = MemoryStorage::with(tested.storage().install().shards, tested.storage().lanes());
        let alone = tested.reopening_expires_leases();
        let fixture = if alone { MemoryFixture::alone } else { MemoryFixture::shared };
        Self {
            model_fixture: fixture(model.clone()),
            tested,
            model,
            clock: ManualClock::new(),
            ids: SeededIds::new(7),
            orders: Vec::new(),
            leases: Vec::new(),
            jobs: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// Carries the sequence out; afterwards every read must agree, and the audit must find nothing.
    pub(super) async fn all(mut self, ops: &[Op]) -> Result<(), Difference> {
        for op in ops {
            self.one(op).await?;
        }
        self.commit().await?;
        self.compare().await?;
        self.reopen().await?;
        self.compare().await?;
        self.audit().await
    }

    async fn one(&mut self, op: &Op) -> Result<(), Difference> {
        // No two commands happen at the same moment: what is due at once has one order.
        self.clock.tick();
        match op {
            Op::Pass { millis } => {
                self.commit().await?;
                self.clock.advance(Duration::from_millis(u64::from(*millis)));
            }
            Op::Reopen => {
                self.commit().await?;
                self.reopen().await?;
            }
            other => {
                let command = trace::within(self.trace(), self.command(other)).await;
                self.batch.extend(command);
                // A batch must not span lanes, so with several each command is a batch.
                if self.tested.storage().lanes() > 1 {
                    self.commit().await?;
                }
            }
        }
        Ok(())
    }

    fn claim(&self, tenant: Option<TenantId>, desks: Desks, count: u8, lapses_max: u8) -> Claim {
        Claim {
            tenant,
            desks,
            tokens: (0..count).map(|_| LeaseToken(self.ids.uuid_v4())).collect(),
            event_ids: (0..count).map(|_| self.event_id()).collect(),
            now: self.clock.now(),
            lease: Duration::from_secs(30),
            lapses_max: u32::from(lapses_max),
        }
    }

    /// The command that `op` stands for now; none when what it is about is not there yet.
    async fn command(&mut self, op: &Op) -> Option<Command> {
        let (now, trace) = (self.clock.now(), trace::current());
        let ago = |ms| Timestamp::from_micros(now.micros() - i64::from(ms) * 1_000);
        Some(match op {
            Op::Accept { tenant, source, reference, content: sent, key, withdrawn } => {
                let intake = Self::intake(*tenant, *source, *reference, *sent, *key);
                self.accept(intake, *withdrawn)
            }
            Op::Change { order, foreign, source: from, version, kind } => {
                let from = from.map(|number| source(origin(number)));
                let change = self.change(order, *foreign, kind, trace)?;
                let expected_version = version.map(u64::from);
                Command::Change(Box::new(Change { source: from, expected_version, ..change }))
            }
            Op::Consume { order, foreign, consumer, id, kind } => {
                let message = message(*consumer, *id);
                let change = self.change(order, *foreign, kind, trace)?;
                Command::Consume(Box::new(Consume { message, change }))
            }
            Op::Claim { tenant, desks, count, lapses_max } => {
                Command::Claim(self.claim(tenant.map(owner), some_desks(*desks), *count, *lapses_max))
            }
            Op::Heartbeat { leases } => {
                let held = leases.iter().filter_map(|index| pick(&self.leases, index)).collect();
                Command::Heartbeat(Heartbeat { held, now, until: now.plus(Duration::from_secs(30)) })
            }
            Op::Settle { lease, mixed, end } => {
                let (order_id, token) = pick(&self.leases, lease)?;
                let mixed = mixed.and_then(|other| pick(&self.leases, &other));
                let token = mixed.map_or(token, |(_, token)| token);
                let (outcome, event_id) = (self.outcome(end), self.event_id());
                Command::Settle(Box::new(Settle { order_id, token, outcome, event_id, now, trace }))
            }
            Op::Follower { name, action } => {
                let action = self.action(action).await;
                Command::Follower(FollowerCommand { name: format!("f-{name}"), now, action })
            }
            Op::Advance { name, replay, shards, by, stale } => {
                self.advance(*name, *replay, *shards, *by, *stale).await?
            }
            Op::Share { name, node, how, fault } => share(*name, *node, *how, *fault, now),
            Op::Park { name, order, version, resent } => {
                self.park(*name, pick(&self.orders, order)?, *version, *resent).await?
            }
            Op::StartRedrive { tenant, orders, error, source: from, shipped } => {
                let redrive_id = RedriveId(self.ids.uuid_v7(now));
                self.jobs.push((owner(*tenant), redrive_id));
                let filter = RedriveFilter {
                    order_ids: orders.as_ref().map(|indexes| self.named(indexes)),
                    source: from.map(|number| source(origin(number))),
                    error_contains: error.map(why),
                    fulfilment: shipped.then_some(Fulfilment::Shipped),
                    ..RedriveFilter::default()
                };
                let (tenant, reason, by) = (owner(*tenant), "mended".to_owned(), "op".to_owned());
                Command::StartRedrive(Box::new(StartRedrive { redrive_id, tenant, filter, reason, by, now }))
            }
            Op::StepRedrive { job, count } => {
                let (_, redrive_id) = pick(&self.jobs, job)?;
                let event_ids = (0..*count).map(|_| self.event_id()).collect();
                Command::StepRedrive(StepRedrive { redrive_id, event_ids, now, trace })
            }
            Op::Sweep { age_ms, limit } => Command::Sweep { before: ago(*age_ms), limit: u32::from(*limit) },
            Op::SweepInbox { age_ms, limit } => {
                Command::SweepInbox { before: ago(*age_ms), limit: u32::from(*limit) }
            }
            Op::Probe => Command::Probe,
            Op::Pass { .. } | Op::Reopen => return None,
        })
    }

    fn change(
        &self,
        order: &Index,
        foreign: bool,
        kind: &Kind,
        trace: Option<TraceContext>,
    ) -> Option<Change> {
        let (tenant, order_id) = pick(&self.orders, order)?;
        Some(Change {
            tenant: if foreign { owner(u8::from(tenant == owner(0))) } else { tenant },
            source: None,
            order_id,
            expected_version: None,
            event_id: self.event_id(),
            now: self.clock.now(),
            kind: self.kind(kind),
            trace,
            by: Some("a model".into()),
        })
    }

    /// Somewhere in a trace, or nowhere.
    fn trace(&self) -> Option<TraceContext> {
        let chance = self.ids.uuid_v4();
        let mut bytes = [1; trace::BYTES];
        bytes[..16].copy_from_slice(chance.as_bytes());
        chance.as_bytes()[0].is_multiple_of(2).then(|| TraceContext::from_bytes(&bytes)).flatten()
    }

    fn accept(&self, intake: Intake, withdrawn: bool) -> Command {
        let mut command = accept(intake, self.ids.as_ref(), self.clock.now());
        if let Command::Accept(accept) = &mut command
            && withdrawn
        {
            let (reason, by) = ("gone".to_owned(), "a model".to_owned());
            accept.withdrawal = Some(Box::new(Withdrawal { event_id: self.event_id(), reason, by }));
        }
        command
    }

    fn intake(tenant: u8, from: u8, reference: Option<u8>, sent: u8, key: Option<u8>) -> Intake {
        let name = format!("r-{}", reference.unwrap_or_default());
        let mut built =
            intake(&name).tenant(owner(tenant).as_str()).source(origin(from)).content(content(sent));
        if reference.is_none() {
            built = built.no_reference();
        }
        match key {
            Some(key) => built.key(&format!("k-{key}")).build(),
            None => built.build(),
        }
    }

    fn event_id(&self) -> EventId {
        EventId(self.ids.uuid_v7(self.clock.now()))
    }

    fn named(&self, indexes: &[Index]) -> Vec<OrderId> {
        let known = indexes.iter().filter_map(|index| pick(&self.orders, index));
        known.map(|(_, order_id)| order_id).chain([OrderId(self.ids.uuid_v4())]).collect()
    }

    fn kind(&self, kind: &Kind) -> ChangeKind {
        let now = self.clock.now();
        match kind {
            Kind::Revise { content: sent, requeue } => {
                ChangeKind::Revise { content: Box::new(content(*sent)), requeue: *requeue }
            }
            Kind::Withdraw { requeue } => {
                ChangeKind::Withdraw { reason: "r".to_owned(), by: "b".to_owned(), requeue: *requeue }
            }
            Kind::Ship { number } => {
                // Told with a number, it may be what is missing of a shipment that is known.
                let shipped_at = (!number).then_some(now);
                ChangeKind::Ship { shipped_at, tracking_number: number.then(|| "T-1".to_owned()) }
            }
            Kind::Deliver => ChangeKind::Deliver { delivered_at: now },
            Kind::Redrive => ChangeKind::Redrive { reason: "r".to_owned(), by: "b".to_owned() },
            Kind::Erase => ChangeKind::Erase,
            Kind::Finish => ChangeKind::Finish,
        }
    }

    fn outcome(&self, end: &End) -> Outcome {
        let at = |millis: u32| self.clock.now().plus(Duration::from_millis(u64::from(millis)));
        match end {
            End::Done => Outcome::Done,
            End::Retry { after_ms, why: number } => Outcome::Retry { at: at(*after_ms), why: why(*number) },
            End::Park { why: number } => Outcome::Park { why: why(*number) },
            End::Release { after_ms } => Outcome::Release { at: at(*after_ms) },
        }
    }

    async fn action(&self, action: &Action) -> FollowerAction {
        let install = self.tested.storage().install().clone();
        let heads = self.model.heads().await.expect("the model has heads");
        let mut there = Cursor::at_heads(install.epoch, &heads);
        FollowerAction::Replay(match action {
            Action::Ensure { from_now } => {
                return FollowerAction::Ensure { sink: "recording".to_owned(), from_now: *from_now };
            }
            Action::Pause => return FollowerAction::Pause,
            Action::Resume => return FollowerAction::Resume,
            Action::ReplayBeginning => Cursor::beginning(install.epoch, install.shards),
            Action::ReplayHeads => there,
            Action::ReplayAhead => {
                // Beyond all that the batch can still add.
                there.positions[0] += 1_000;
                there
            }
            Action::ReplayOtherEpoch { later } => {
                there.epoch = if *later { there.epoch + 1 } else { there.epoch.saturating_sub(1) };
                there
            }
            Action::Redrive { orders, skip } => {
                let orders = orders.as_ref().map(|indexes| self.named(indexes));
                return FollowerAction::Redrive { orders, skip: skip.then(|| "too large".to_owned()) };
            }
            Action::ReplayRange { from, to } => {
                let place = |percent: &u8| {
                    let part = |head: &Head| head.position * u64::from(*percent) / 100;
                    Cursor { epoch: install.epoch, positions: heads.iter().map(part).collect() }
                };
                return FollowerAction::ReplayRange { from: place(from), to: place(to) };
            }
        })
    }

    async fn advance(&self, name: u8, replay: bool, shards: u16, by: u8, stale: bool) -> Option<Command> {
        let follower = format!("f-{name}");
        let row = self.model.follower(&follower).await.expect("the model has followers")?;
        let heads = self.model.heads().await.expect("the model has heads");
        let ends: Vec<u64> = heads.iter().map(|head| head.position).collect();
        let (part, positions, ends) = match &row.replay {
            Some(again) if replay => (AdvancePart::Replay, &again.next, &again.up_to),
            // Of what is not there, nothing can move.
            None if replay => (AdvancePart::Replay, &row.cursor.positions, &ends),
            _ => (AdvancePart::Cursor, &row.cursor.positions, &ends),
        };
        // Most of the time one that holds some of it moves what it holds.
        let token = row.holders.iter().flatten().copied().next().unwrap_or(LeaseToken(Uuid::from_u128(1)));
        let foreign = shards.is_multiple_of(8);
        let mut moves = Vec::new();
        for ((shard, position), end) in (0..).map(Shard).zip(positions).zip(ends) {
            let held = foreign || row.is_held(shard, token);
            if held && shards & (1 << (shard.0 % 16)) != 0 && end > position {
                let from = position + u64::from(stale);
                moves.push((shard, from, *end.min(&(from + u64::from(by)))));
            }
        }
        Some(Command::Advance(Advance { part, moves, ..self.still(follower, &row, token) }))
    }

    /// An advance that moves nothing.
    fn still(&self, follower: String, row: &FollowerRow, token: LeaseToken) -> Advance {
        let (epoch, now, part) = (row.cursor.epoch, self.clock.now(), AdvancePart::Cursor);
        let (moves, resent, parked, until) = (Vec::new(), Vec::new(), Vec::new(), now.plus(LEASE));
        Advance { follower, part, epoch, moves, token, until, resent, parked, now }
    }

    /// Events of an order are refused, or what was parked of it was sent again.
    async fn park(
        &self,
        name: u8,
        (tenant, order_id): (TenantId, OrderId),
        version: u8,
        resent: Option<u8>,
    ) -> Option<Command> {
        let follower = format!("f-{name}");
        let row = self.model.follower(&follower).await.expect("the model has followers")?;
        let shard = order_id.shard(self.model.install().shards);
        let token = (*row.holders.get(usize::from(shard.0))?)?;
        let mut advance = self.still(follower.clone(), &row, token);
        let order = self.model.order(&tenant, order_id).await.expect("the model has orders")?;
        let from_version = u64::from(version).min(order.version);
        if let Some(more) = resent {
            let next = (more > 0).then_some((from_version + u64::from(more)).min(order.version + 1));
            advance.resent.push(Resent { order_id, from_version, next });
        } else {
            let (reason, detail, parked_at) = (RefusedFor::TooLarge, format!("v{version}"), advance.now);
            let redriving = false;
            advance.parked.push(ParkedStream {
                shard,
                order_id,
                tenant,
                from_version,
                reason,
                detail,
                parked_at,
                redriving,
            });
        }
        Some(Command::Advance(advance))
    }

    async fn commit(&mut self) -> Result<(), Difference> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch: Arc<[Command]> = std::mem::take(&mut self.batch).into();
        let lane = self.lane(&batch);
        let tested = self.tested.storage().commit(lane, Arc::clone(&batch)).await;
        let tested = tested.map_err(|fault| format!("{batch:#?} gave {fault:?}"))?;
        let model = self.model.commit(lane, Arc::clone(&batch)).await.expect("the model has no faults");
        if tested.replies.len() != batch.len() {
            return Err(format!("{} commands got {} replies", batch.len(), tested.replies.len()));
        }
        for ((command, tested), model) in batch.iter().zip(tested.replies).zip(model.replies) {
            self.learn(&model);
            let (tested, model) = (comparable(tested), comparable(model));
            if format!("{tested:?}") != format!("{model:?}") {
                return Err(format!("{command:#?} gave {tested:#?}, the model says {model:#?}"));
            }
        }
        let (tested, model) = ((tested.journal_grew, tested.work_due), (model.journal_grew, model.work_due));
        if tested != model {
            return Err(format!(
                "{batch:#?}: (journal grew, work due) is {tested:?}, the model says {model:?}"
            ));
        }
        Ok(())
    }

    fn lane(&self, batch: &[Command]) -> usize {
        let storage = self.tested.storage();
        let order_id = match batch.first() {
            Some(Command::Accept(accept)) => accept.order_id,
            Some(Command::Change(change)) => change.order_id,
            Some(Command::Consume(consume)) => consume.change.order_id,
            Some(Command::Settle(settle)) => settle.order_id,
            _ => return 0,
        };
        let Shard(shard) = order_id.shard(storage.install().shards);
        usize::from(shard) % storage.lanes()
    }

    fn learn(&mut self, reply: &Result<Reply, Rejection>) {
        match reply {
            Ok(Reply::Accepted(Accepted::New(order))) => self.orders.push((order.tenant.clone(), order.id)),
            Ok(Reply::Claimed(claimed)) => {
                self.leases.extend(claimed.leased.iter().map(|leased| (leased.order.id, leased.token)));
            }
            _ => {}
        }
    }

    async fn reopen(&mut self) -> Result<(), Difference> {
        let now = self.clock.now();
        self.tested.reopen(now).await;
        self.model_fixture.reopen(now).await;
        // Leases of the earlier process may come due with the first commit only.
        self.batch.push(Command::Probe);
        self.commit().await
    }

    async fn compare(&self) -> Result<(), Difference> {
        let now = self.clock.now();
        let mut tested = Dump::of(self.tested.storage().as_ref(), &self.jobs, now).await;
        let mut model = Dump::of(&self.model, &self.jobs, now).await;
        tested.forget_places();
        model.forget_places();
        match tested.difference(&model) {
            Some(difference) => Err(format!("the storage (one) and the model (other) differ: {difference}")),
            None => Ok(()),
        }
    }

    async fn audit(self) -> Result<(), Difference> {
        let app = App::start(self.tested.storage(), self.clock, self.ids, LanePolicy::default());
        let report = audit::audit(&app, |_| {}).await.map_err(|error| error.to_string())?;
        if report.findings.is_empty() {
            Ok(())
        } else {
            Err(format!("the audit found {:#?}", report.findings))
        }
    }
}

/// Where a job goes on is the storage's own affair.
pub(crate) fn without_place(redrive: Redrive) -> Redrive {
    Redrive { next: 0, up_to: 0, ..redrive }
}

fn comparable(reply: Result<Reply, Rejection>) -> Result<Reply, Rejection> {
    match reply {
        Ok(Reply::Redrive(redrive)) => Ok(Reply::Redrive(Box::new(without_place(*redrive)))),
        Ok(Reply::Extended { mut lost }) => {
            lost.sort();
            Ok(Reply::Extended { lost })
        }
        other => other,
    }
}
