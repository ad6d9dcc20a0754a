//! Where a stretch begins: the shards that this node holds, and how far the follower is in them.

use super::{Follower, Progress};
use crate::command::{AdvancePart, Command};
use crate::error::{Error, Fault, Rejection};
use crate::ids::Shard;
use crate::journal::Head;
use crate::query::FollowerRow;
use crate::share::{self, Share};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How old what is known of a follower may grow on a stretch that goes on and on: a pause, or another node that wants its
/// part, is noticed within this.
const LOOK: Duration = Duration::from_millis(100);

/// What a node knows of the follower that it carries.
pub(super) struct Place {
    /// The follower as it was found.
    pub(super) row: FollowerRow,
    /// The shards that this node holds.
    pub(super) held: Vec<Shard>,
    /// Which of its two places is to be moved. What comes again comes before what is new, so an order's events are in their
    /// order from there on.
    pub(super) part: AdvancePart,
    looked: Instant,
}

impl Place {
    fn new(row: FollowerRow, held: Vec<Shard>) -> Self {
        let part = if replays(&row, &held) { AdvancePart::Replay } else { AdvancePart::Cursor };
        Self { row, held, part, looked: Instant::now() }
    }

    pub(super) fn is_old(&self) -> bool {
        self.looked.elapsed() >= LOOK
    }

    /// By shard: the event behind this is the next.
    pub(super) fn begin(&self) -> &[u64] {
        match (&self.row.replay, self.part) {
            (Some(replay), AdvancePart::Replay) => &replay.next,
            _ => &self.row.cursor.positions,
        }
    }

    /// The heads, as if nothing lay in shards that others hold, or behind the end of what is carried on once more.
    pub(super) fn within(&self, heads: &[Head]) -> Vec<Head> {
        let mut heads = match (&self.row.replay, self.part) {
            (Some(replay), AdvancePart::Replay) => replay.heads(heads),
            _ => heads.to_vec(),
        };
        heads.iter_mut().filter(|head| !self.held.contains(&head.shard)).for_each(|head| head.position = 0);
        heads
    }
}

impl Follower {
    /// Where it goes on, and the heads; or why it does not. This node then has its part of it.
    pub(super) async fn place(&self) -> Result<Result<(Place, Vec<Head>), Progress>, Error> {
        let row = self.row().await?;
        if row.paused {
            return Ok(Err(Progress::Paused));
        }
        // First, so that nothing is taken for a sink that cannot be had, where another node's can.
        let opened = self.opened().await;
        let row = self.shared(row).await?;
        let held = self.shards(&row);
        if let Some(wait) = self.stands_back(&held, opened.is_ok()) {
            opened?;
            return Ok(Err(Progress::Held(wait)));
        }
        opened?;
        let heads = self.app.storage.heads().await?;
        row.cursor.check(self.app.storage.install().epoch, &heads)?;
        Ok(Ok((Place::new(row, held), heads)))
    }

    /// The place as it is known now, if it is still the same: `None` when a stretch from it must end.
    pub(super) async fn looked(&self, place: &Place) -> Result<Option<Place>, Error> {
        let now = Place::new(self.row().await?, place.held.clone());
        let is_same = !now.row.paused
            && now.row.parked == 0
            && now.part == place.part
            && now.row.cursor.epoch == place.row.cursor.epoch
            && self.shards(&now.row) == place.held
            && !self.share(true).is_due(&now.row, self.policy.lease, self.policy.heartbeat);
        Ok(is_same.then_some(now))
    }

    async fn opened(&self) -> Result<(), Fault> {
        if self.open.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.sink.open().await {
            Ok(()) => self.open.store(true, Ordering::Relaxed),
            Err(fault) => {
                let fault = self.fault(&fault);
                self.standing().failed(self.app.clock.now());
                self.failed(&fault.to_string());
                return Err(fault);
            }
        }
        Ok(())
    }

    /// The follower once this node has its part of it.
    async fn shared(&self, row: FollowerRow) -> Result<FollowerRow, Error> {
        let share = self.share(true);
        if !share.is_due(&row, self.policy.lease, self.policy.heartbeat) {
            return Ok(row);
        }
        self.app.lanes.submit(Command::Share(share)).await?;
        // Read again: whoever held a shard before may have moved it until it was given up.
        self.row().await
    }

    /// How long this node leaves the follower to others at least, if it does: because its own sink takes nothing.
    fn stands_back(&self, held: &[Shard], is_open: bool) -> Option<Duration> {
        let (now, mut standing) = (self.app.clock.now(), self.standing());
        if !held.is_empty() || !standing.is_back(now, self.policy.heartbeat) {
            return None;
        }
        if standing.steps_back(now, self.policy.lease) {
            tracing::warn!(follower = %self.name, "leaves its shards to another node: the sink takes nothing here");
            // What it was worth is not known: to be opened again before anything is taken.
            self.open.store(false, Ordering::Relaxed);
        } else if is_open && standing.may_come_back(now) {
            return None;
        }
        Some(self.policy.retry_max)
    }

    async fn row(&self) -> Result<FollowerRow, Error> {
        Ok(self.app.storage.follower(&self.name).await?.ok_or(Rejection::FollowerUnknown)?)
    }

    fn share(&self, stays: bool) -> Share {
        let now = self.app.clock.now();
        Share {
            follower: self.name.clone(),
            token: self.app.node(),
            now,
            until: stays.then(|| now.plus(self.policy.lease)),
            fault: self.app.follower_faults.of(&self.name).map(share::kept),
            extends_only: false,
            stands_back: self.standing().is_back(now, self.policy.heartbeat),
        }
    }

    /// Waits for `delivering`, and extends the lease meanwhile: a sink may take longer than it lasts.
    pub(super) async fn holding<T>(&self, delivering: impl Future<Output = T>) -> T {
        let mut delivering = pin!(delivering);
        loop {
            match timeout(self.policy.heartbeat, &mut delivering).await {
                Ok(delivered) => return delivered,
                Err(_) => {
                    let share = Share { extends_only: true, ..self.share(true) };
                    if let Err(error) = self.app.lanes.submit(Command::Share(share)).await {
                        tracing::warn!(follower = self.name, %error, "cannot extend the lease of a delivery");
                    }
                }
            }
        }
    }

    /// Gives up all that this node holds of the follower, so that another may go on at once.
    ///
    /// # Errors
    /// Faults of storage; then the lease runs out.
    pub async fn release(&self) -> Result<(), Error> {
        self.app.lanes.submit(Command::Share(self.share(false))).await.map(drop)
    }

    /// The shards of `row` that this node holds.
    pub(super) fn shards(&self, row: &FollowerRow) -> Vec<Shard> {
        let token = self.app.node();
        (0..).map(Shard).take(row.holders.len()).filter(|shard| row.is_held(*shard, token)).collect()
    }
}

/// Whether something of these shards is to be carried on once more.
pub(super) fn replays(row: &FollowerRow, shards: &[Shard]) -> bool {
    let replay = row.replay.as_ref();
    replay.is_some_and(|replay| replay.rest().iter().any(|(shard, _, _)| shards.contains(shard)))
}
