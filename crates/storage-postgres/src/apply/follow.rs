//! Followers and their cursors.

use super::{Applied, Batch};
use crate::records;
use crate::rows::{Moment, big, small};
use order_core::Rejection;
use order_core::clock::Timestamp;
use order_core::command::{Advance, AdvancePart, FollowerAction, FollowerCommand, Reply};
use order_core::ids::Shard;
use order_core::journal::Cursor;
use order_core::query::FollowerRow;
use order_core::replay::Replay;

const PLACE: &str = "INSERT INTO cursors (follower, shard, position) \
     SELECT $1, shard, position FROM unnest($2::smallint[], $3::bigint[]) AS n (shard, position) \
     ON CONFLICT (follower, shard) DO UPDATE SET position = excluded.position";

const KEEP_REPLAY: &str = "INSERT INTO cursors (follower, shard, position, replay_next, replay_up_to) \
     SELECT $1, shard, 0, next, up_to FROM unnest($2::smallint[], $3::bigint[], $4::bigint[]) AS n (shard, next, up_to) \
     ON CONFLICT (follower, shard) DO UPDATE SET replay_next = excluded.replay_next, \
     replay_up_to = excluded.replay_up_to";

const END_REPLAY: &str = "UPDATE cursors SET replay_next = NULL, replay_up_to = NULL \
     WHERE follower = $1 AND replay_next IS NOT NULL";

const CREATE: &str = "INSERT INTO followers (name, sink, paused, epoch, created_at, updated_at) \
     VALUES ($1, $2, false, $3, $4, $4)";

/// Notes that it moved, and extends the lease of the node that moved it.
const EXTEND: &str = "WITH relay AS (UPDATE relays SET until = greatest(until, $4) WHERE follower = $1 AND token = $3) \
     UPDATE followers SET updated_at = $2 WHERE name = $1";

impl Batch<'_> {
    /// Moves a cursor, all shards or none, and only from where it is: a second runner, or one that was overtaken by a
    /// replay, moves nothing.
    pub(super) async fn advance(&mut self, advance: &Advance) -> Applied {
        let row = self.follower_row(&advance.follower).await?.ok_or(Rejection::FollowerUnknown)?;
        advance.check(&row)?;
        self.check_resent(advance).await?;
        match advance.part {
            AdvancePart::Cursor => {
                let at = |shard: u16| row.cursor.positions.get(usize::from(shard)).copied();
                let stale = |(shard, from, to): &(Shard, u64, u64)| at(shard.0) != Some(*from) || to <= from;
                if advance.moves.iter().any(stale) {
                    return Err(Rejection::CursorInvalid.into());
                }
                let moves: Vec<(Shard, u64)> =
                    advance.moves.iter().map(|(shard, _, to)| (*shard, *to)).collect();
                self.place(&advance.follower, &moves).await?;
            }
            AdvancePart::Replay => {
                let replay = row.replay.ok_or(Rejection::CursorInvalid)?;
                let left = replay.advanced(&advance.moves)?;
                self.keep_replay(&advance.follower, left.as_ref()).await?;
            }
        }
        self.park(advance).await?;
        let (token, until) = (advance.token.0, Moment(advance.until));
        self.conn.execute(EXTEND, &[&advance.follower, &Moment(advance.now), &token, &until]).await?;
        Ok(Reply::Done)
    }

    pub(super) async fn follower(&mut self, command: &FollowerCommand) -> Applied {
        let row = self.follower_row(&command.name).await?;
        match (&command.action, row) {
            (FollowerAction::Ensure { .. }, Some(_)) => Ok(Reply::Done),
            (FollowerAction::Ensure { sink, from_now }, None) => self.create(command, sink, *from_now).await,
            (_, None) => Err(Rejection::FollowerUnknown.into()),
            (FollowerAction::Pause, Some(row)) => {
                self.touch(&row.name, row.cursor.epoch, true, command.now).await
            }
            (FollowerAction::Resume, Some(row)) => {
                self.touch(&row.name, row.cursor.epoch, false, command.now).await
            }
            (FollowerAction::Replay(cursor), Some(row)) => {
                self.flush().await?;
                cursor.check(self.install.epoch, &self.tips.heads(self.conn, false).await?)?;
                self.place(&row.name, &moves(cursor)).await?;
                self.keep_replay(&row.name, None).await?;
                self.touch(&row.name, cursor.epoch, row.paused, command.now).await
            }
            (FollowerAction::Redrive { orders, skip }, Some(row)) => {
                self.redrive_streams(&row.name, orders.as_deref(), skip.is_some()).await
            }
            (FollowerAction::ReplayRange { from, to }, Some(row)) => {
                self.flush().await?;
                let heads = self.tips.heads(self.conn, false).await?;
                from.check(self.install.epoch, &heads)?;
                to.check(self.install.epoch, &heads)?;
                let replay = Replay::between(from, to, &row.cursor);
                self.keep_replay(&row.name, replay.as_ref()).await?;
                self.touch(&row.name, row.cursor.epoch, row.paused, command.now).await
            }
        }
    }

    pub(super) async fn follower_row(&self, name: &str) -> Applied<Option<FollowerRow>> {
        Ok(records::followers(self.conn, Some(name), self.install.shards).await?.pop())
    }

    async fn create(&mut self, command: &FollowerCommand, sink: &str, from_now: bool) -> Applied {
        let cursor = if from_now {
            self.flush().await?;
            Cursor::at_heads(self.install.epoch, &self.tips.heads(self.conn, false).await?)
        } else {
            Cursor::beginning(self.install.epoch, self.install.shards)
        };
        let epoch = cursor.epoch.cast_signed();
        self.conn.execute(CREATE, &[&command.name, &sink, &epoch, &Moment(command.now)]).await?;
        self.place(&command.name, &moves(&cursor)).await?;
        Ok(Reply::Done)
    }

    async fn place(&self, name: &str, moves: &[(Shard, u64)]) -> Applied<()> {
        let shards: Vec<i16> = moves.iter().map(|(shard, _)| small(*shard)).collect();
        let positions: Vec<i64> = moves.iter().map(|(_, position)| big(*position)).collect();
        self.conn.execute(PLACE, &[&name, &shards, &positions]).await?;
        Ok(())
    }

    /// Keeps what a follower carries on once more; `None`: nothing.
    async fn keep_replay(&self, name: &str, replay: Option<&Replay>) -> Applied<()> {
        let Some(replay) = replay else {
            self.conn.execute(END_REPLAY, &[&name]).await?;
            return Ok(());
        };
        let shards: Vec<i16> = (0..).map(Shard).map(small).take(replay.next.len()).collect();
        let next: Vec<i64> = replay.next.iter().copied().map(big).collect();
        let up_to: Vec<i64> = replay.up_to.iter().copied().map(big).collect();
        self.conn.execute(KEEP_REPLAY, &[&name, &shards, &next, &up_to]).await?;
        Ok(())
    }

    async fn touch(&self, name: &str, epoch: u32, paused: bool, now: Timestamp) -> Applied {
        self.conn
            .execute(
                "UPDATE followers SET epoch = $2, paused = $3, updated_at = $4 WHERE name = $1",
                &[&name, &epoch.cast_signed(), &paused, &Moment(now)],
            )
            .await?;
        Ok(Reply::Done)
    }
}

fn moves(cursor: &Cursor) -> Vec<(Shard, u64)> {
    (0..).map(Shard).zip(cursor.positions.iter().copied()).collect()
}
