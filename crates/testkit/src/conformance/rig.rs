//! What a case of the suite works with: a storage, its lanes, a clock that stands still, and short words for commands.

use crate::build;
use crate::clock::{ManualClock, SeededIds};
use async_trait::async_trait;
use order_core::action_log;
use order_core::app::App;
use order_core::audit::{self, Report};
use order_core::clock::{Clock, Timestamp};
use order_core::command::{
    Advance, AdvancePart, Change, ChangeKind, Changed, Claim, Claimed, Command, Heartbeat, Reply, Settle,
    StartRedrive, StepRedrive,
};
use order_core::desk::Desks;
use order_core::error::{Error, Rejection};
use order_core::ids::{EventId, Ids, LeaseToken, OrderId, RedriveId, Shard, TenantId};
use order_core::intake::{Accepted, Intake};
use order_core::journal::Event;
use order_core::lane::LanePolicy;
use order_core::lease::{Leased, Outcome};
use order_core::order::Order;
use order_core::ports::Storage;
use order_core::redrive::{Redrive, RedriveFilter};
use order_core::share::Share;
use order_core::trace;
use std::sync::Arc;
use std::time::Duration;

/// A storage under test and what keeps it: a folder, a server.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The storage.
    fn storage(&self) -> Arc<dyn Storage>;

    /// Closes the storage and opens the same data again, as a restart of the process at `now` does. The caller has let
    /// go of every handle that it had; see [`released`].
    async fn reopen(&mut self, now: Timestamp);

    /// Whether opening makes the leases due that an earlier process held, from the first commit on at the latest.
    fn reopening_expires_leases(&self) -> bool {
        false
    }
}

/// Drops `handle` and waits until nobody else holds it either; fails when that takes for ever, for then somebody kept
/// one.
pub async fn released<T: ?Sized + Send + Sync>(handle: Arc<T>) {
    let left = Arc::downgrade(&handle);
    drop(handle);
    for _ in 0..20_000_000 {
        if left.strong_count() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("somebody still holds the storage that is to be opened again");
}

/// How long leases last here.
pub const LEASE: Duration = Duration::from_secs(30);
/// Lapses in a row that park here.
pub const LAPSES_MAX: u32 = 10;

/// See the module.
pub struct Rig {
    fixture: Box<dyn Fixture>,
    /// The time.
    pub clock: Arc<ManualClock>,
    /// Ids and chance.
    pub ids: Arc<SeededIds>,
    /// The lanes of the storage, and the use cases above them.
    pub app: Arc<App>,
}

impl Rig {
    /// Starts the lanes of the fixture's storage.
    pub fn new(fixture: Box<dyn Fixture>) -> Self {
        Self::at(fixture, ManualClock::new(), SeededIds::new(1))
    }

    fn at(fixture: Box<dyn Fixture>, clock: Arc<ManualClock>, ids: Arc<SeededIds>) -> Self {
        let app = Self::start(fixture.storage(), &clock, &ids);
        Self { fixture, clock, ids, app }
    }

    fn start(storage: Arc<dyn Storage>, clock: &Arc<ManualClock>, ids: &Arc<SeededIds>) -> Arc<App> {
        let (clock, ids) = (Arc::clone(clock), Arc::clone(ids));
        App::start(storage, clock, ids, LanePolicy::default())
    }

    /// The same rig with another storage in front of the fixture's.
    #[must_use]
    pub fn behind(mut self, wrap: impl FnOnce(Arc<dyn Storage>) -> Arc<dyn Storage>) -> Self {
        self.app = Self::start(wrap(self.fixture.storage()), &self.clock, &self.ids);
        self
    }

    /// Closes the storage and opens it again at the present time.
    #[must_use]
    pub async fn reopen(self) -> Self {
        let Self { mut fixture, clock, ids, app } = self;
        drop(app);
        fixture.reopen(clock.now()).await;
        Self::at(fixture, clock, ids)
    }

    /// Whether opening makes the leases due that an earlier process held.
    pub fn reopening_expires_leases(&self) -> bool {
        self.fixture.reopening_expires_leases()
    }

    /// The storage.
    pub fn storage(&self) -> &dyn Storage {
        self.app.storage.as_ref()
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A fresh event id.
    pub fn event_id(&self) -> EventId {
        EventId(self.ids.uuid_v7(self.now()))
    }

    /// An advance of a follower by this process, which holds what it moves.
    pub async fn advance_command(
        &self,
        follower: &str,
        part: AdvancePart,
        moves: Vec<(Shard, u64, u64)>,
    ) -> Advance {
        // Whether there is such a follower is for the advance to tell.
        drop(self.submit(Command::Share(self.share_command(follower, self.app.node()))).await);
        let (now, epoch) = (self.now(), self.storage().install().epoch);
        let (token, until) = (self.app.node(), now.plus(LEASE));
        let follower = follower.to_owned();
        Advance { follower, part, epoch, moves, token, until, resent: Vec::new(), parked: Vec::new(), now }
    }

    /// The command that takes a node's part of a follower, for one lease.
    pub fn share_command(&self, follower: &str, token: LeaseToken) -> Share {
        let (now, follower) = (self.now(), follower.to_owned());
        let until = Some(now.plus(LEASE));
        Share { follower, token, now, until, fault: None, extends_only: false, stands_back: false }
    }

    /// A fresh token.
    pub fn token(&self) -> LeaseToken {
        LeaseToken(self.ids.uuid_v4())
    }

    /// So many references whose orders lie in lane 0, for batches that are committed by hand.
    pub fn references(&self, count: usize) -> Vec<String> {
        let lanes = self.storage().lanes().max(1);
        let names = (0..).map(|index| format!("r-{index}"));
        let in_lane = names.filter(|name| usize::from(self.shard_of(name).0).is_multiple_of(lanes));
        in_lane.take(count).collect()
    }

    /// The shard of the order that [`build::intake`] makes of this reference.
    pub fn shard_of(&self, reference: &str) -> Shard {
        build::id_of(&build::intake(reference).build()).shard(self.storage().install().shards)
    }

    /// Commits a batch in lane 0, past the lanes.
    pub async fn commit(&self, batch: Vec<Command>) -> Vec<Result<Reply, Rejection>> {
        let length = batch.len();
        let committed = self.storage().commit(0, batch.into()).await;
        let replies = committed.expect("nothing is wrong with the storage").replies;
        assert_eq!(replies.len(), length, "a commit must answer every command of its batch");
        replies
    }

    /// The command that takes `intake` in now.
    pub fn accept_command(&self, intake: impl Into<Intake>) -> Command {
        build::accept(intake, self.ids.as_ref(), self.now())
    }

    /// Takes `intake` in.
    pub async fn accept(&self, intake: impl Into<Intake>) -> Result<Accepted, Rejection> {
        expected(self.app.accept(intake.into()).await)
    }

    /// Takes `intake` in, which must make a new order.
    pub async fn new_order(&self, intake: impl Into<Intake>) -> Order {
        let intake = intake.into();
        let reference = intake.reference.clone();
        match self.accept(intake).await {
            Ok(Accepted::New(order)) => *order,
            other => panic!("{reference:?} must make a new order, but gave {other:?}"),
        }
    }

    /// Takes all of them in at once; all must be new.
    pub async fn new_orders(&self, intakes: Vec<Intake>) -> Vec<Order> {
        let tasks: Vec<_> = intakes
            .into_iter()
            .map(|intake| {
                let app = Arc::clone(&self.app);
                tokio::spawn(async move { app.accept(intake).await })
            })
            .collect();
        let mut orders = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task.await.expect("the task ends") {
                Ok(Accepted::New(order)) => orders.push(*order),
                other => panic!("every intake must make a new order, but one gave {other:?}"),
            }
        }
        orders
    }

    /// Takes `intake` in, which must be a duplicate; returns the order and the pointers that differ.
    pub async fn duplicate(&self, intake: impl Into<Intake>) -> (Order, Vec<String>) {
        match self.accept(intake).await {
            Ok(Accepted::Duplicate { order, differs }) => (*order, differs),
            other => panic!("this must be a duplicate, but gave {other:?}"),
        }
    }

    /// The order of the tenant `default`, which must be there.
    pub async fn order(&self, order_id: OrderId) -> Order {
        self.order_of(&TenantId::default_tenant(), order_id).await.expect("the order must be there")
    }

    /// The order as `tenant` sees it.
    pub async fn order_of(&self, tenant: &TenantId, order_id: OrderId) -> Option<Order> {
        self.storage().order(tenant, order_id).await.expect("an order can be read")
    }

    /// The events of an order of the tenant `default`.
    pub async fn events(&self, order_id: OrderId) -> Vec<Event> {
        self.events_of(&TenantId::default_tenant(), order_id).await.expect("the order must be there")
    }

    /// The events of an order as `tenant` sees them, page by page.
    pub async fn events_of(&self, tenant: &TenantId, order_id: OrderId) -> Option<Vec<Event>> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |last| last.version);
            let page = self.storage().order_events(tenant, order_id, after, 100).await;
            let page = page.expect("events can be read")?;
            events.extend(page.events);
            if page.next.is_none() {
                return Some(events);
            }
        }
    }

    /// Changes an order of the tenant `default`.
    pub async fn change(&self, order_id: OrderId, kind: ChangeKind) -> Result<Changed, Rejection> {
        match self.submit(Command::Change(Box::new(self.change_command(order_id, kind)))).await? {
            Reply::Changed(changed) => Ok(changed),
            other => panic!("a change was answered {other:?}"),
        }
    }

    /// Changes an order of the tenant `default`, which must be possible and no repetition.
    pub async fn changed(&self, order_id: OrderId, kind: ChangeKind) -> Order {
        let name = format!("{kind:?}");
        match self.change(order_id, kind).await {
            Ok(Changed { order, changed: true }) => *order,
            other => panic!("{name} must change the order, but gave {other:?}"),
        }
    }

    /// The command of [`Rig::change`].
    pub fn change_command(&self, order_id: OrderId, kind: ChangeKind) -> Change {
        Change {
            tenant: TenantId::default_tenant(),
            source: None,
            order_id,
            expected_version: None,
            event_id: self.event_id(),
            now: self.now(),
            kind,
            trace: trace::current(),
            by: action_log::current_name(),
        }
    }

    /// Claims at most `count` pieces of work.
    pub async fn claim(&self, count: usize) -> Claimed {
        match self.submit(Command::Claim(self.claim_command(count))).await {
            Ok(Reply::Claimed(claimed)) => claimed,
            other => panic!("a claim was answered {other:?}"),
        }
    }

    /// Claims exactly one piece of work, which must be there.
    pub async fn claim_one(&self) -> Leased {
        let mut claimed = self.claim(1).await;
        claimed.leased.pop().expect("work must be due")
    }

    /// The command of [`Rig::claim`].
    pub fn claim_command(&self, count: usize) -> Claim {
        Claim {
            tenant: None,
            desks: Desks::ALL,
            tokens: (0..count).map(|_| self.token()).collect(),
            event_ids: (0..count).map(|_| self.event_id()).collect(),
            now: self.now(),
            lease: LEASE,
            lapses_max: LAPSES_MAX,
        }
    }

    /// Ends a leased piece of work.
    pub async fn settle(&self, leased: &Leased, outcome: Outcome) -> Result<Order, Rejection> {
        match self.submit(self.settle_command(leased.order.id, leased.token, outcome)).await? {
            Reply::Settled(order) => Ok(*order),
            other => panic!("a settle was answered {other:?}"),
        }
    }

    /// The command of [`Rig::settle`].
    pub fn settle_command(&self, order_id: OrderId, token: LeaseToken, outcome: Outcome) -> Command {
        let (event_id, now) = (self.event_id(), self.now());
        Command::Settle(Box::new(Settle { order_id, token, outcome, event_id, now, trace: trace::current() }))
    }

    /// Extends leases to one lease from now; returns the tokens that hold nothing.
    pub async fn heartbeat(&self, held: Vec<(OrderId, LeaseToken)>) -> Vec<LeaseToken> {
        let now = self.now();
        let heartbeat = Heartbeat { held, now, until: now.plus(LEASE) };
        match self.submit(Command::Heartbeat(heartbeat)).await {
            Ok(Reply::Extended { lost }) => lost,
            other => panic!("a heartbeat was answered {other:?}"),
        }
    }

    /// Claims the only due work and parks it with this error.
    pub async fn park(&self, why: &str) -> Order {
        let leased = self.claim_one().await;
        self.settle(&leased, Outcome::Park { why: why.to_owned() }).await.expect("the lease is held")
    }

    /// Takes an order in and parks it with this error; nothing else may be due.
    pub async fn parked(&self, intake: impl Into<Intake>, why: &str) -> Order {
        let order = self.new_order(intake).await;
        let parked = self.park(why).await;
        assert_eq!(parked.id, order.id, "nothing else may be due here");
        parked
    }

    /// Records a redrive job.
    pub async fn start_redrive(&self, tenant: &TenantId, filter: RedriveFilter) -> Redrive {
        let redrive_id = RedriveId(self.ids.uuid_v7(self.now()));
        let (tenant, reason, by, now) = (tenant.clone(), "mended".to_owned(), "op".to_owned(), self.now());
        let start = StartRedrive { redrive_id, tenant, filter, reason, by, now };
        match self.submit(Command::StartRedrive(Box::new(start))).await {
            Ok(Reply::Redrive(redrive)) => *redrive,
            other => panic!("the start of a redrive was answered {other:?}"),
        }
    }

    /// One step of a redrive job, of at most `count` orders.
    pub async fn step_redrive(&self, redrive_id: RedriveId, count: usize) -> Result<Redrive, Rejection> {
        let event_ids = (0..count).map(|_| self.event_id()).collect();
        let step = StepRedrive { redrive_id, event_ids, now: self.now(), trace: trace::current() };
        match self.submit(Command::StepRedrive(step)).await? {
            Reply::Redrive(redrive) => Ok(*redrive),
            other => panic!("a step of a redrive was answered {other:?}"),
        }
    }

    /// Sends a command through the lanes; faults are failures of the test.
    pub async fn submit(&self, command: Command) -> Result<Reply, Rejection> {
        expected(self.app.lanes.submit(command).await)
    }

    /// Positions of all shards together: how many events there are.
    pub async fn journal_size(&self) -> u64 {
        let heads = self.storage().heads().await.expect("heads can be read");
        heads.iter().map(|head| head.position).sum()
    }

    /// Audits the storage.
    pub async fn audit(&self) -> Report {
        audit::audit(&self.app, |_| {}).await.expect("the storage can be audited")
    }

    /// Audits the storage, which must be sound.
    pub async fn assert_sound(&self) -> Report {
        let report = self.audit().await;
        assert!(report.findings.is_empty(), "the audit must find nothing, but found {:#?}", report.findings);
        report
    }
}

fn expected<T>(result: Result<T, Error>) -> Result<T, Rejection> {
    match result {
        Ok(value) => Ok(value),
        Err(Error::Rejection(rejection)) => Err(rejection),
        Err(Error::Fault(fault)) => panic!("nothing is wrong with the storage, but it says: {fault}"),
    }
}
