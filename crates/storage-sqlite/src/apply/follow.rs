//! Followers and their cursors.

use super::{Applied, Batch};
use crate::error::fault;
use crate::read;
use order_core::Rejection;
use order_core::clock::Timestamp;
use order_core::command::{Advance, AdvancePart, FollowerAction, FollowerCommand, Reply};
use order_core::ids::Shard;
use order_core::journal::Cursor;
use order_core::replay::Replay;
use rusqlite::params;

impl Batch<'_> {
    /// Moves a cursor or a replay, all shards or none, and only from where it is: a second runner, or one that was overtaken by a
    /// replay, moves nothing.
    pub(super) fn advance(&self, advance: &Advance) -> Applied {
        let row = read::follower(self.conn, &advance.follower, self.install.shards).map_err(fault)?;
        let row = row.ok_or(Rejection::FollowerUnknown)?;
        advance.check(&row)?;
        self.check_resent(advance)?;
        match advance.part {
            AdvancePart::Cursor => {
                let at = |shard: u16| row.cursor.positions.get(usize::from(shard)).copied();
                let stale = |(shard, from, to): &(Shard, u64, u64)| at(shard.0) != Some(*from) || to <= from;
                if advance.moves.iter().any(stale) {
                    return Err(Rejection::CursorInvalid.into());
                }
                for (shard, _, to) in &advance.moves {
                    self.move_to(&advance.follower, shard.0, *to).map_err(fault)?;
                }
            }
            AdvancePart::Replay => {
                let replay = row.replay.ok_or(Rejection::CursorInvalid)?;
                let left = replay.advanced(&advance.moves)?;
                self.keep_replay(&advance.follower, left.as_ref()).map_err(fault)?;
            }
        }
        self.park(advance).map_err(fault)?;
        self.extend(&advance.follower, advance.token, advance.until).map_err(fault)?;
        self.touch(&advance.follower, advance.now).map_err(fault)?;
        Ok(Reply::Done)
    }

    pub(super) fn follower(&self, command: &FollowerCommand) -> Applied {
        let row = read::follower(self.conn, &command.name, self.install.shards).map_err(fault)?;
        match (&command.action, row) {
            (FollowerAction::Ensure { .. }, Some(_)) => Ok(Reply::Done),
            (FollowerAction::Ensure { sink, from_now }, None) => {
                let cursor = self.start(*from_now)?;
                self.create(command, sink, &cursor).map_err(fault)?;
                Ok(Reply::Done)
            }
            (_, None) => Err(Rejection::FollowerUnknown.into()),
            (FollowerAction::Pause, Some(_)) => self.set_paused(command, true),
            (FollowerAction::Resume, Some(_)) => self.set_paused(command, false),
            (FollowerAction::Replay(cursor), Some(_)) => {
                self.check(cursor)?;
                self.place(&command.name, cursor, command.now).map_err(fault)?;
                Ok(Reply::Done)
            }
            (FollowerAction::ReplayRange { from, to }, Some(row)) => {
                self.check(from)?;
                self.check(to)?;
                let replay = Replay::between(from, to, &row.cursor);
                self.keep_replay(&command.name, replay.as_ref())
                    .and_then(|()| self.touch(&command.name, command.now))
                    .map_err(fault)?;
                Ok(Reply::Done)
            }
            (FollowerAction::Redrive { orders, skip }, Some(_)) => self
                .redrive_streams(&command.name, orders.as_deref(), skip.is_some())
                .map(Reply::Redriven)
                .map_err(|error| fault(error).into()),
        }
    }

    fn check(&self, cursor: &Cursor) -> Applied<()> {
        let heads = read::heads(self.conn, self.install.shards).map_err(fault)?;
        Ok(cursor.check(self.install.epoch, &heads)?)
    }

    fn start(&self, from_now: bool) -> Applied<Cursor> {
        let Self { install, .. } = self;
        if from_now {
            Ok(Cursor::at_heads(install.epoch, &read::heads(self.conn, install.shards).map_err(fault)?))
        } else {
            Ok(Cursor::beginning(install.epoch, install.shards))
        }
    }

    fn create(&self, command: &FollowerCommand, sink: &str, cursor: &Cursor) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO followers (name, sink, paused, epoch, created_at, updated_at) \
                 VALUES (?1, ?2, 0, ?3, ?4, ?4)",
            )?
            .execute(params![command.name, sink, cursor.epoch, command.now.micros()])?;
        self.place(&command.name, cursor, command.now)
    }

    fn place(&self, name: &str, cursor: &Cursor, now: Timestamp) -> rusqlite::Result<()> {
        for (shard, position) in (0..).zip(&cursor.positions) {
            self.move_to(name, shard, *position)?;
        }
        self.keep_replay(name, None)?;
        self.conn
            .prepare_cached("UPDATE followers SET epoch = ?2 WHERE name = ?1")?
            .execute(params![name, cursor.epoch])?;
        self.touch(name, now)
    }

    fn move_to(&self, name: &str, shard: u16, position: u64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO cursors (follower, shard, position) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET position = ?3",
            )?
            .execute(params![name, shard, position])?;
        Ok(())
    }

    /// Keeps what a follower carries on once more; `None`: nothing.
    fn keep_replay(&self, name: &str, replay: Option<&Replay>) -> rusqlite::Result<()> {
        let Some(replay) = replay else {
            self.conn
                .prepare_cached(
                    "UPDATE cursors SET replay_next = NULL, replay_up_to = NULL WHERE follower = ?1",
                )?
                .execute([name])?;
            return Ok(());
        };
        let mut keep = self.conn.prepare_cached(
            "INSERT INTO cursors (follower, shard, position, replay_next, replay_up_to) VALUES (?1, ?2, 0, ?3, ?4) \
             ON CONFLICT DO UPDATE SET replay_next = ?3, replay_up_to = ?4",
        )?;
        for (shard, (next, up_to)) in replay.next.iter().zip(&replay.up_to).enumerate() {
            keep.execute(params![name, shard, next, up_to])?;
        }
        Ok(())
    }

    fn set_paused(&self, command: &FollowerCommand, paused: bool) -> Applied {
        self.conn
            .prepare_cached("UPDATE followers SET paused = ?2 WHERE name = ?1")
            .and_then(|mut statement| statement.execute(params![command.name, paused]))
            .and_then(|_| self.touch(&command.name, command.now))
            .map_err(fault)?;
        Ok(Reply::Done)
    }

    fn touch(&self, name: &str, now: Timestamp) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("UPDATE followers SET updated_at = ?2 WHERE name = ?1")?
            .execute(params![name, now.micros()])?;
        Ok(())
    }
}
