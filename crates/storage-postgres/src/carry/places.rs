//! Where events lie that were carried over. With as many shards as before each lies where it lay. With another number the events
//! of the one shard are dealt out, in their order, to the shards of their orders: those of an order stay in their order, and of
//! whoever followed them it is known how many he has seen in each.

use crate::error::{Tried, Trouble};
use order_core::{Fault, OrderId, Shard};
use std::fmt::Display;

pub(super) struct Places {
    shards: u16,
    dealt: Option<Dealt>,
}

/// Events that lie elsewhere now.
struct Dealt {
    /// The newest position of each shard.
    heads: Vec<u64>,
    /// Where each event lies now, by the position that it had. Eight bytes an event, while they are carried.
    now: Vec<(u16, u32)>,
}

fn broken(what: impl Display) -> Trouble {
    Fault::internal(what).into()
}

impl Places {
    /// For a storage with `shards` shards whose events come from one with `before`.
    pub(super) fn new(before: u16, shards: u16) -> Self {
        let heads = vec![0; usize::from(shards)];
        let dealt = (before != shards).then(|| Dealt { heads, now: Vec::new() });
        Self { shards, dealt }
    }

    /// Whether events lie elsewhere now.
    pub(super) fn are_new(&self) -> bool {
        self.dealt.is_some()
    }

    pub(super) fn shard(&self, order_id: OrderId) -> Shard {
        order_id.shard(self.shards)
    }

    /// Where the next event lies, which is of this order.
    pub(super) fn next(&mut self, order_id: OrderId, position: u64) -> Tried<u64> {
        let Shard(shard) = self.shard(order_id);
        let Some(Dealt { heads, now }) = &mut self.dealt else { return Ok(position) };
        if position != now.len() as u64 + 1 {
            let why = format!("an event is missing before position {position}: `wellorder audit` names it");
            return Err(broken(why));
        }
        let head = &mut heads[usize::from(shard)];
        *head += 1;
        let narrow =
            u32::try_from(*head).map_err(|_| broken("too many events for another number of shards"))?;
        now.push((shard, narrow));
        Ok(*head)
    }

    /// Where the event lies now that lay at this position; 0 is before the first.
    pub(super) fn of(&self, position: u64) -> Tried<u64> {
        let Some(Dealt { now, .. }) = &self.dealt else { return Ok(position) };
        let Some(index) = position.checked_sub(1) else { return Ok(0) };
        let found = usize::try_from(index).ok().and_then(|index| now.get(index));
        let (_, position) = found.ok_or_else(|| {
            broken(format!("there is no event at position {position}: run `wellorder audit`"))
        })?;
        Ok(u64::from(*position))
    }

    /// How far somebody is in every shard now who was at this position of the one there was.
    pub(super) fn cursor(&self, position: u64) -> Vec<u64> {
        let mut positions = vec![0; usize::from(self.shards)];
        let Some(Dealt { now, .. }) = &self.dealt else { return positions };
        let seen = usize::try_from(position).unwrap_or(usize::MAX).min(now.len());
        for (shard, position) in &now[..seen] {
            positions[usize::from(*shard)] = u64::from(*position);
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use uuid::Uuid;

    fn id(shard: u8) -> OrderId {
        OrderId(Uuid::from_u128(u128::from(shard)))
    }

    #[test]
    fn events_are_dealt_out_in_their_order() {
        let mut places = Places::new(1, 3);
        let dealt: Vec<u64> = (1..)
            .zip([0, 2, 0, 1, 2, 0])
            .map(|(position, shard)| places.next(id(shard), position).unwrap())
            .collect();
        assert_eq!(dealt, [1, 1, 2, 1, 2, 3]);
        assert_eq!([0, 1, 3, 5].map(|position| places.of(position).unwrap()), [0, 1, 2, 2]);
        assert!(places.of(7).is_err());
        assert_eq!(places.cursor(0), [0, 0, 0]);
        assert_eq!(places.cursor(4), [2, 1, 1]);
        assert_eq!(places.cursor(6), [3, 1, 2]);
        assert!(places.next(id(0), 8).is_err(), "the seventh is missing");
    }

    #[test]
    fn with_as_many_shards_each_event_lies_where_it_lay() {
        let mut places = Places::new(3, 3);
        assert!(!places.are_new());
        assert_eq!((places.next(id(1), 40).unwrap(), places.of(40).unwrap()), (40, 40));
    }
}
