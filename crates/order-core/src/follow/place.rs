//! Where a step begins: the shards that this node holds, and how far the follower is in them.

use super::Follower;
use crate::command::{AdvancePart, Command};
use crate::error::{Error, Rejection};
use crate::ids::Shard;
use crate::journal::Head;
use crate::query::FollowerRow;
use crate::share::{self, Share};
use std::pin::pin;
use tokio::time::timeout;

impl Follower {
    /// The follower as it is once this node has its part of it; `None` when it is paused.
    pub(super) async fn held(&self) -> Result<Option<FollowerRow>, Error> {
        let row = self.row().await?;
        if row.paused {
            return Ok(None);
        }
        let share = self.share(true);
        if !share.is_due(&row, self.policy.lease, self.policy.heartbeat) {
            return Ok(Some(row));
        }
        self.app.lanes.submit(Command::Share(share)).await?;
        // Read again: whoever held a shard before may have moved it until it was given up.
        Ok(Some(self.row().await?))
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

/// What is to be read next of the shards that are held: which part, up to where, and from where. What comes again comes
/// before what is new, so an order's events are in their order from there on.
pub(super) fn next<'r>(
    row: &'r FollowerRow,
    held: &[Shard],
    heads: &[Head],
) -> (AdvancePart, Vec<Head>, &'r [u64]) {
    let within = |heads: &[Head]| -> Vec<Head> {
        let end = |head: &Head| if held.contains(&head.shard) { head.position } else { 0 };
        heads.iter().map(|head| Head { position: end(head), ..*head }).collect()
    };
    match &row.replay {
        Some(replay) if replays(row, held) => {
            (AdvancePart::Replay, within(&replay.heads(heads)), &replay.next)
        }
        _ => (AdvancePart::Cursor, within(heads), &row.cursor.positions),
    }
}

/// Whether something of these shards is to be carried on once more.
pub(super) fn replays(row: &FollowerRow, shards: &[Shard]) -> bool {
    let replay = row.replay.as_ref();
    replay.is_some_and(|replay| replay.rest().iter().any(|(shard, _, _)| shards.contains(shard)))
}
