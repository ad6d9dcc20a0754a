//! Carrying part of the journal on once more: a follower's second pair of places, beside its cursor.

use crate::error::Rejection;
use crate::ids::Shard;
use crate::journal::{Cursor, Head};

/// Events that a follower has carried on already and carries on once more. There is one only while something is left: its
/// last event ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// By shard: the event behind this place is the next. Never beyond `up_to`.
    pub next: Vec<u64>,
    /// By shard: the last event. Never beyond the follower's cursor, for what lies behind that is carried on anyway.
    pub up_to: Vec<u64>,
}

impl Replay {
    /// The events behind `from` up to `to` that a follower at `cursor` has carried on; `None` when there are none. All three
    /// are of one epoch and of the same shards.
    pub fn between(from: &Cursor, to: &Cursor, cursor: &Cursor) -> Option<Self> {
        let ends = to.positions.iter().zip(&cursor.positions);
        let up_to: Vec<u64> = ends.map(|(to, here)| *to.min(here)).collect();
        let next = from.positions.iter().zip(&up_to).map(|(from, up_to)| *from.min(up_to)).collect();
        Self { next, up_to }.unless_over()
    }

    /// What is left once each shard of `moves`, (shard, from, to), has moved; `None` when nothing is.
    ///
    /// # Errors
    /// [`Rejection::CursorInvalid`] when some shard is elsewhere, does not move forward, or beyond the end.
    pub fn advanced(&self, moves: &[(Shard, u64, u64)]) -> Result<Option<Self>, Rejection> {
        let mut moved = self.clone();
        for (shard, from, to) in moves {
            let shard = usize::from(shard.0);
            match (moved.next.get_mut(shard), self.up_to.get(shard)) {
                (Some(next), Some(up_to)) if next == from && to > from && to <= up_to => *next = *to,
                _ => return Err(Rejection::CursorInvalid),
            }
        }
        Ok(moved.unless_over())
    }

    /// How many events are left of what is kept.
    pub fn left(&self, heads: &[Head]) -> u64 {
        let places = self.next.iter().zip(&self.up_to).zip(heads);
        places.map(|((next, up_to), head)| up_to.saturating_sub((*next).max(head.floor))).sum()
    }

    /// The heads, as if nothing lay behind its end.
    pub(crate) fn heads(&self, heads: &[Head]) -> Vec<Head> {
        let ends = heads.iter().zip(&self.up_to);
        ends.map(|(head, up_to)| Head { position: head.position.min(*up_to), ..*head }).collect()
    }

    /// The moves that end it.
    pub(crate) fn rest(&self) -> Vec<(Shard, u64, u64)> {
        let places = (0..).map(Shard).zip(self.next.iter().zip(&self.up_to));
        places
            .filter(|(_, (next, up_to))| next < up_to)
            .map(|(shard, (next, to))| (shard, *next, *to))
            .collect()
    }

    /// Whether it can be one of a follower at `cursor`.
    pub(crate) fn fits(&self, cursor: &Cursor) -> bool {
        let shards = cursor.positions.len();
        let places = self.next.iter().zip(&self.up_to).zip(&cursor.positions);
        self.next.len() == shards
            && self.up_to.len() == shards
            && places.into_iter().all(|((next, up_to), here)| next <= up_to && up_to <= here)
            && self.next != self.up_to
    }

    fn unless_over(self) -> Option<Self> {
        (self.next != self.up_to).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(positions: &[u64]) -> Cursor {
        Cursor { epoch: 1, positions: positions.to_vec() }
    }

    fn replay(next: &[u64], up_to: &[u64]) -> Replay {
        Replay { next: next.to_vec(), up_to: up_to.to_vec() }
    }

    #[test]
    fn it_holds_what_lies_between_and_was_carried_on() {
        let between =
            |from: &[u64], to: &[u64]| Replay::between(&cursor(from), &cursor(to), &cursor(&[10, 10, 0]));
        assert_eq!(between(&[2, 8, 0], &[5, 20, 9]), Some(replay(&[2, 8, 0], &[5, 10, 0])));
        assert_eq!(between(&[7, 8, 0], &[5, 9, 0]), Some(replay(&[5, 8, 0], &[5, 9, 0])));
        assert_eq!(between(&[10, 12, 3], &[20, 20, 20]), None, "it comes anyway");
        assert_eq!(between(&[5, 5, 0], &[5, 1, 0]), None, "nothing lies between");
    }

    #[test]
    fn it_moves_from_where_it_is_to_its_end_at_most() {
        let moves = |moves: &[(u16, u64, u64)]| {
            let moves: Vec<_> = moves.iter().map(|(shard, from, to)| (Shard(*shard), *from, *to)).collect();
            replay(&[2, 8], &[5, 10]).advanced(&moves)
        };
        assert_eq!(moves(&[(0, 2, 5)]), Ok(Some(replay(&[5, 8], &[5, 10]))));
        assert_eq!(moves(&[(0, 2, 5), (1, 8, 10)]), Ok(None), "the last event ends it");
        assert_eq!(moves(&[]), Ok(Some(replay(&[2, 8], &[5, 10]))));
        for wrong in [&[(0, 1, 5)][..], &[(0, 2, 6)], &[(0, 2, 2)], &[(2, 0, 1)], &[(0, 2, 5), (1, 9, 10)]] {
            assert_eq!(moves(wrong), Err(Rejection::CursorInvalid), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_left_is_what_is_kept_of_it() {
        let heads = |floor| {
            [Head { shard: Shard(0), floor, position: 20 }, Head { shard: Shard(1), floor: 0, position: 10 }]
        };
        let all = replay(&[2, 8], &[5, 10]);
        assert_eq!((all.left(&heads(0)), all.left(&heads(4)), all.left(&heads(6))), (5, 3, 2));
        assert_eq!(all.rest(), [(Shard(0), 2, 5), (Shard(1), 8, 10)]);
        assert_eq!(all.heads(&heads(0)).iter().map(|head| head.position).collect::<Vec<_>>(), [5, 10]);
    }
}
