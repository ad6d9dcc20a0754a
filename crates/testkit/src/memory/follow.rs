//! What commands do with followers.

use super::state::State;
use order_core::command::{Advance, AdvancePart, FollowerAction, FollowerCommand, Reply};
use order_core::error::Rejection;
use order_core::ids::{OrderId, Shard};
use order_core::journal::Cursor;
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::query::FollowerRow;
use order_core::replay::Replay;
use order_core::share::{Relay, Share};

impl State {
    pub(super) fn advance(&mut self, advance: &Advance) -> Result<(), Rejection> {
        let row = self.followers.get(&advance.follower).ok_or(Rejection::FollowerUnknown)?;
        advance.check(row)?;
        for resent in &advance.resent {
            let stream = self.parked_streams.get(&self.stream_key(&advance.follower, resent.order_id));
            if stream.map(|stream| stream.from_version) != Some(resent.from_version) {
                return Err(Rejection::CursorInvalid);
            }
        }
        let row = self.followers.get_mut(&advance.follower).ok_or(Rejection::FollowerUnknown)?;
        match advance.part {
            AdvancePart::Cursor => {
                let mut cursor = row.cursor.clone();
                for (shard, from, to) in &advance.moves {
                    match cursor.positions.get_mut(usize::from(shard.0)) {
                        Some(position) if position == from && to > from => *position = *to,
                        _ => return Err(Rejection::CursorInvalid),
                    }
                }
                row.cursor = cursor;
            }
            AdvancePart::Replay => {
                let replay = row.replay.as_ref().ok_or(Rejection::CursorInvalid)?;
                row.replay = replay.advanced(&advance.moves)?;
            }
        }
        row.updated_at = advance.now;
        for relay in row.relays.iter_mut().filter(|relay| relay.token == advance.token) {
            relay.until = relay.until.max(advance.until);
        }
        self.park(advance);
        Ok(())
    }

    fn stream_key(&self, follower: &str, order_id: OrderId) -> (String, Shard, OrderId) {
        (follower.to_owned(), order_id.shard(self.shards), order_id)
    }

    fn park(&mut self, advance: &Advance) {
        for resent in &advance.resent {
            let key = self.stream_key(&advance.follower, resent.order_id);
            match (resent.next, self.parked_streams.get_mut(&key)) {
                (Some(next), Some(stream)) => stream.from_version = next,
                _ => {
                    self.parked_streams.remove(&key);
                    self.refused_versions.remove(&key);
                }
            }
        }
        for stream in &advance.parked {
            let key = (advance.follower.clone(), stream.shard, stream.order_id);
            let parked = self.parked_streams.entry(key.clone()).or_insert_with(|| stream.clone());
            if stream.from_version <= parked.from_version {
                *parked = stream.clone();
                self.refused_versions.insert(key, stream.from_version);
            }
        }
        let count = self.parked_streams.keys().filter(|key| key.0 == advance.follower).count() as u64;
        if let Some(row) = self.followers.get_mut(&advance.follower) {
            row.parked = count;
        }
    }

    pub(super) fn share(&mut self, share: &Share) -> Result<(), Rejection> {
        let row = self.followers.get_mut(&share.follower).ok_or(Rejection::FollowerUnknown)?;
        for (shard, holder) in share.changes(row) {
            row.holders[usize::from(shard.0)] = holder;
        }
        row.relays.retain(|relay| relay.until > share.now && relay.token != share.token);
        if let Some(until) = share.until {
            row.relays.push(Relay { token: share.token, until, fault: share.fault.clone() });
            row.relays.sort_by_key(|relay| relay.token);
        }
        Ok(())
    }

    fn redrive_streams(&mut self, follower: &str, orders: Option<&[OrderId]>, skips: bool) -> u64 {
        let mut count = 0;
        for (key, stream) in &mut self.parked_streams {
            let named = orders.is_none_or(|orders| orders.contains(&stream.order_id));
            // What is on its way may be skipped too, but each refused event once.
            let refused = self.refused_versions.get(key) == Some(&stream.from_version);
            if key.0 == follower && named && if skips { refused } else { !stream.redriving } {
                stream.redriving = true;
                stream.from_version += u64::from(skips);
                count += 1;
            }
        }
        count
    }

    pub(super) fn follower(&mut self, command: &FollowerCommand) -> Result<Reply, Rejection> {
        let (epoch, heads) = (self.epoch, self.heads());
        if let FollowerAction::Ensure { sink, from_now } = &command.action {
            self.followers.entry(command.name.clone()).or_insert_with(|| FollowerRow {
                name: command.name.clone(),
                sink: sink.clone(),
                paused: false,
                cursor: if *from_now {
                    Cursor::at_heads(epoch, &heads)
                } else {
                    Cursor::beginning(epoch, self.shards)
                },
                replay: None,
                holders: vec![None; usize::from(self.shards)],
                relays: Vec::new(),
                parked: 0,
                created_at: command.now,
                updated_at: command.now,
            });
            return Ok(Reply::Done);
        }
        if let FollowerAction::Redrive { orders, skip } = &command.action {
            self.followers.get(&command.name).ok_or(Rejection::FollowerUnknown)?;
            let count = self.redrive_streams(&command.name, orders.as_deref(), skip.is_some());
            return Ok(Reply::Redriven(count));
        }
        let row = self.followers.get_mut(&command.name).ok_or(Rejection::FollowerUnknown)?;
        match &command.action {
            FollowerAction::Ensure { .. } | FollowerAction::Redrive { .. } => {}
            FollowerAction::Pause => row.paused = true,
            FollowerAction::Resume => row.paused = false,
            FollowerAction::Replay(cursor) => {
                cursor.check(epoch, &heads)?;
                (row.cursor, row.replay) = (cursor.clone(), None);
            }
            FollowerAction::ReplayRange { from, to } => {
                from.check(epoch, &heads)?;
                to.check(epoch, &heads)?;
                row.replay = Replay::between(from, to, &row.cursor);
            }
        }
        row.updated_at = command.now;
        Ok(Reply::Done)
    }

    /// Those of a follower's parked orders that are asked for, by shard and id.
    pub(super) fn parked_of(&self, follower: &str, which: &WhichStreams) -> Vec<ParkedStream> {
        let all = self.parked_streams.iter().filter(|(key, _)| key.0 == follower);
        let all = all.map(|(_, stream)| stream.clone());
        match which {
            WhichStreams::Page { after, limit } => {
                let behind =
                    |stream: &ParkedStream| after.is_none_or(|at| (stream.shard, stream.order_id) > at);
                all.filter(behind).take(*limit as usize).collect()
            }
            WhichStreams::Redriving { shards, limit } => {
                let wanted = |stream: &ParkedStream| stream.redriving && shards.contains(&stream.shard);
                all.filter(wanted).take(*limit as usize).collect()
            }
            WhichStreams::Of(orders) => all.filter(|stream| orders.contains(&stream.order_id)).collect(),
        }
    }
}
