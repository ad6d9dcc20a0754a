//! Followers and their cursors.

use super::{Applied, Batch};
use crate::error::fault;
use crate::read;
use order_core::Rejection;
use order_core::clock::Timestamp;
use order_core::command::{Advance, FollowerAction, FollowerCommand, Reply};
use order_core::journal::Cursor;
use rusqlite::params;

impl Batch<'_> {
    /// Moves a cursor, all shards or none, and only from where it is: a second runner, or one that was overtaken by a
    /// replay, moves nothing.
    pub(super) fn advance(&self, advance: &Advance) -> Applied {
        let row = read::follower(self.conn, &advance.follower, self.install.shards).map_err(fault)?;
        let row = row.ok_or(Rejection::FollowerUnknown)?;
        let at = |shard: u16| row.cursor.positions.get(usize::from(shard)).copied();
        let stale = advance.moves.iter().any(|(shard, from, to)| at(shard.0) != Some(*from) || to <= from);
        if stale || row.cursor.epoch != advance.epoch {
            return Err(Rejection::CursorInvalid.into());
        }
        for (shard, _, to) in &advance.moves {
            self.conn
                .prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)")
                .and_then(|mut statement| statement.execute(params![advance.follower, shard.0, to]))
                .map_err(fault)?;
        }
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
                cursor.check(
                    self.install.epoch,
                    &read::heads(self.conn, self.install.shards).map_err(fault)?,
                )?;
                self.place(&command.name, cursor, command.now).map_err(fault)?;
                Ok(Reply::Done)
            }
        }
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
            .prepare_cached("INSERT INTO followers VALUES (?1, ?2, 0, ?3, ?4, ?4)")?
            .execute(params![command.name, sink, cursor.epoch, command.now.micros()])?;
        self.place(&command.name, cursor, command.now)
    }

    fn place(&self, name: &str, cursor: &Cursor, now: Timestamp) -> rusqlite::Result<()> {
        for (shard, position) in cursor.positions.iter().enumerate() {
            self.conn
                .prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)")?
                .execute(params![name, shard, position])?;
        }
        self.conn
            .prepare_cached("UPDATE followers SET epoch = ?2 WHERE name = ?1")?
            .execute(params![name, cursor.epoch])?;
        self.touch(name, now)
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
