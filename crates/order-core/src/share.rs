//! Sharing a follower out: any number of nodes carry one follower, each its part of the shards. A node that carries it has
//! a row with the end of its lease, a shard has the token of the node that holds it. A node that dies needs no rescuer: its
//! lease runs out, and its shards are free. One whose sink takes nothing leaves its shards to those whose sinks do.

use crate::clock::Timestamp;
use crate::ids::{LeaseToken, Shard};
use crate::query::FollowerRow;
use std::time::Duration;

/// Bytes of a fault's text that are kept.
pub const FAULT_BYTES_MAX: usize = 500;

/// A node that carries a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The fence value of all that it holds.
    pub token: LeaseToken,
    /// When its lease runs out: then what it holds is free.
    pub until: Timestamp,
    /// Why its sink takes nothing; at most [`FAULT_BYTES_MAX`].
    pub fault: Option<String>,
}

/// See [`crate::command::Command::Share`]: extends what a node holds of a follower, and takes or gives up shards until it has
/// its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which follower.
    pub follower: String,
    /// The node's.
    pub token: LeaseToken,
    /// When.
    pub now: Timestamp,
    /// Until when it holds its part; `None` when it leaves and holds nothing more.
    pub until: Option<Timestamp>,
    /// Why its sink takes nothing.
    pub fault: Option<String>,
    /// Whether the lease is extended and nothing else, as in the middle of a delivery: no shard is taken or given up.
    pub extends_only: bool,
    /// Whether its sink has taken nothing for so long that it gives up all it holds, if another node's takes: it stays known.
    pub stands_back: bool,
}

impl Share {
    /// The shards whose holder changes, and the new one; what every storage does with the row as it finds it. Relays whose
    /// leases have run out go besides.
    ///
    /// Every node may hold its equal part. Where that leaves some over, the nodes with the lowest tokens hold one more: all
    /// nodes find the same parts, whoever looks. A node that tells of a fault does not count for the others: what it holds it
    /// keeps until it stands back, and while another tells of none it takes nothing more.
    pub fn changes(&self, row: &FollowerRow) -> Vec<(Shard, Option<LeaseToken>)> {
        let shards = || (0..).map(Shard).zip(&row.holders);
        let mine: Vec<Shard> =
            shards().filter(|(_, at)| **at == Some(self.token)).map(|(shard, _)| shard).collect();
        if self.extends_only {
            return Vec::new();
        }
        if self.until.is_none() {
            return mine.into_iter().map(|shard| (shard, None)).collect();
        }
        let is_helped = self.fault.is_some() && self.others(row).next().is_some();
        if self.stands_back && is_helped {
            return mine.into_iter().map(|shard| (shard, None)).collect();
        }
        let part = self.part(row);
        if let Some(over) = mine.get(part..).filter(|over| !over.is_empty()) {
            return over.iter().map(|shard| (*shard, None)).collect();
        }
        if is_helped {
            return Vec::new();
        }
        let free =
            shards().filter(|(shard, _)| row.holder(*shard, self.now).is_none_or(|at| at == self.token));
        let free = free.map(|(shard, _)| shard).filter(|shard| !mine.contains(shard));
        free.take(part - mine.len()).map(|shard| (shard, Some(self.token))).collect()
    }

    /// How many shards this node may hold.
    fn part(&self, row: &FollowerRow) -> usize {
        let nodes = self.others(row).count() + 1;
        let rank = self.others(row).filter(|relay| relay.token < self.token).count();
        row.holders.len() / nodes + usize::from(rank < row.holders.len() % nodes)
    }

    /// The other nodes that carry it and tell of no fault.
    fn others<'r>(&self, row: &'r FollowerRow) -> impl Iterator<Item = &'r Relay> {
        let (token, now) = (self.token, self.now);
        let relays = row.relays.iter();
        relays.filter(move |relay| relay.until > now && relay.token != token && relay.fault.is_none())
    }

    /// Whether there is something to be committed: the lease was not extended for `heartbeat` of its `lease`, a fault began
    /// or ended, or some shard is to be taken or given up.
    pub fn is_due(&self, row: &FollowerRow, lease: Duration, heartbeat: Duration) -> bool {
        let Some(relay) = row.relays.iter().find(|relay| relay.token == self.token) else { return true };
        relay.until <= self.now.plus(lease.saturating_sub(heartbeat))
            || relay.fault.is_some() != self.fault.is_some()
            || !self.changes(row).is_empty()
    }
}

impl FollowerRow {
    /// Who holds a shard at `now`; nobody whose lease has run out.
    pub fn holder(&self, shard: Shard, now: Timestamp) -> Option<LeaseToken> {
        let token = (*self.holders.get(usize::from(shard.0))?)?;
        self.relays.iter().any(|relay| relay.token == token && relay.until > now).then_some(token)
    }

    /// Whether `token` may move this shard. Being late is no loss by itself: until another takes it, it may.
    pub fn is_held(&self, shard: Shard, token: LeaseToken) -> bool {
        self.holders.get(usize::from(shard.0)).is_some_and(|at| *at == Some(token))
    }

    /// Why it takes nothing on some node that carries it at `now`, of all but one where that is named.
    pub fn fault_besides(&self, node: Option<LeaseToken>, now: Timestamp) -> Option<&str> {
        let told = |relay: &&Relay| relay.until > now && Some(relay.token) != node;
        self.relays.iter().filter(told).find_map(|relay| relay.fault.as_deref())
    }
}

/// `text`, as much of it as is kept.
pub fn kept(text: String) -> String {
    beginning(text, FAULT_BYTES_MAX)
}

/// As much of `text` as has at most `bytes_max` bytes.
pub(crate) fn beginning(mut text: String, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Cursor;
    use uuid::Uuid;

    const NOW: i64 = 1_000_000_000;

    fn token(node: u128) -> LeaseToken {
        LeaseToken(Uuid::from_u128(node))
    }

    /// A follower whose shards are held so; 0 is nobody. Nodes up to 9 live.
    fn row(holders: &[u128], live: &[u128]) -> FollowerRow {
        let now = Timestamp::from_micros(NOW);
        let relay = |node: &u128| {
            let until = Timestamp::from_micros(if *node < 10 { NOW + 30_000_000 } else { NOW });
            Relay { token: token(*node), until, fault: None }
        };
        FollowerRow {
            name: "f".to_owned(),
            sink: "s".to_owned(),
            paused: false,
            cursor: Cursor::beginning(1, u16::try_from(holders.len()).unwrap_or(0)),
            replay: None,
            holders: holders.iter().map(|node| (*node > 0).then(|| token(*node))).collect(),
            relays: live.iter().map(relay).collect(),
            parked: 0,
            created_at: now,
            updated_at: now,
        }
    }

    fn share(node: u128, stays: bool) -> Share {
        let now = Timestamp::from_micros(NOW);
        let until = stays.then(|| now.plus(Duration::from_secs(30)));
        let (follower, token) = ("f".to_owned(), token(node));
        Share { follower, token, now, until, fault: None, extends_only: false, stands_back: false }
    }

    /// As [`row`], where these nodes tell of a fault.
    fn ailing(holders: &[u128], live: &[u128], ill: &[u128]) -> FollowerRow {
        let mut row = row(holders, live);
        let ill: Vec<LeaseToken> = ill.iter().copied().map(token).collect();
        row.relays
            .iter_mut()
            .filter(|relay| ill.contains(&relay.token))
            .for_each(|relay| relay.fault = Some("away".to_owned()));
        row
    }

    fn changes(node: u128, row: &FollowerRow) -> Vec<(u16, u128)> {
        changes_of(&share(node, true), row)
    }

    fn changes_of(share: &Share, row: &FollowerRow) -> Vec<(u16, u128)> {
        let of = |holder: Option<LeaseToken>| holder.map_or(0, |token| token.0.as_u128());
        let changes = share.changes(row);
        changes.into_iter().map(|(shard, holder)| (shard.0, of(holder))).collect()
    }

    #[test]
    fn one_node_takes_all_that_nobody_holds() {
        assert_eq!(changes(1, &row(&[0, 0, 0], &[])), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(changes(1, &row(&[1, 1, 1], &[1])), []);
        assert_eq!(changes(1, &row(&[12, 12, 1], &[1, 12])), [(0, 1), (1, 1)], "of one whose lease ran out");
        assert_eq!(changes(1, &row(&[3, 3, 1], &[1])), [(0, 1), (1, 1)], "of one that is gone");
    }

    #[test]
    fn each_node_comes_to_its_part_and_takes_nothing_that_is_held() {
        assert_eq!(changes(2, &row(&[1, 1, 1, 1], &[1])), [], "nothing is free yet");
        assert_eq!(changes(1, &row(&[1, 1, 1, 1], &[1, 2])), [(2, 0), (3, 0)], "what is over is given up");
        assert_eq!(changes(2, &row(&[1, 1, 0, 0], &[1, 2])), [(2, 2), (3, 2)]);
        assert_eq!(changes(1, &row(&[1, 1, 0, 0], &[1, 2])), [], "the other's part");
        assert_eq!(changes(3, &row(&[1, 1, 2, 0], &[1, 2, 3])), [(3, 3)]);
        assert_eq!(changes(1, &row(&[1, 1, 2, 3], &[1, 2, 3])), [], "the lowest holds the one left over");
        assert_eq!(changes(3, &row(&[1, 2], &[1, 2, 3])), [], "more nodes than shards");
    }

    #[test]
    fn whoever_leaves_gives_up_all_of_its_own() {
        let left = share(1, false).changes(&row(&[1, 2, 1], &[1, 2]));
        assert_eq!(left, [(Shard(0), None), (Shard(2), None)]);
    }

    #[test]
    fn a_node_whose_sink_takes_nothing_leaves_its_part_to_one_whose_does() {
        let ill = Share { fault: Some("away".to_owned()), ..share(1, true) };
        let back = Share { stands_back: true, ..ill.clone() };
        let held = ailing(&[1, 1, 2, 2], &[1, 2], &[1]);
        assert_eq!(changes_of(&ill, &held), [], "not at once");
        assert_eq!(changes(2, &held), [], "nothing is taken from it");
        assert_eq!(changes_of(&back, &held), [(0, 0), (1, 0)]);
        let left = ailing(&[0, 0, 2, 2], &[1, 2], &[1]);
        assert_eq!((changes_of(&ill, &left), changes_of(&back, &left)), (vec![], vec![]));
        assert_eq!(changes(2, &left), [(0, 2), (1, 2)], "all of it is the other's");
        assert_eq!(changes(2, &ailing(&[2, 2, 2, 2], &[1, 2], &[1])), [], "and stays so");
        let well = row(&[2, 2, 2, 2], &[1, 2]);
        assert_eq!(changes(2, &well), [(2, 0), (3, 0)], "until it is well again");
    }

    #[test]
    fn nothing_is_left_to_a_node_whose_sink_takes_nothing_either() {
        let back = Share { fault: Some("away".to_owned()), stands_back: true, ..share(1, true) };
        assert_eq!(changes_of(&back, &ailing(&[1, 1, 2, 2], &[1, 2], &[1, 2])), []);
        assert_eq!(changes_of(&back, &ailing(&[1, 1, 0, 0], &[1], &[1])), [(2, 1), (3, 1)], "it is alone");
        let dead = ailing(&[1, 1, 12, 12], &[1, 12], &[1]);
        assert_eq!(changes_of(&back, &dead), [(2, 1), (3, 1)], "as when the other is gone");
        let extended = Share { extends_only: true, ..back };
        assert_eq!(changes_of(&extended, &ailing(&[1, 1, 2, 2], &[1, 2], &[1])), []);
    }

    #[test]
    fn what_is_extended_alone_is_neither_taken_nor_given_up() {
        for holders in [[1, 1, 1, 1], [1, 0, 0, 2], [0, 0, 0, 0]] {
            let extended = Share { extends_only: true, ..share(1, true) };
            assert_eq!(extended.changes(&row(&holders, &[1, 2])), []);
        }
    }

    #[test]
    fn sharing_is_due_seldom() {
        let (lease, heartbeat) = (Duration::from_secs(30), Duration::from_secs(10));
        let is_due = |share: &Share, row: &FollowerRow| share.is_due(row, lease, heartbeat);
        assert!(is_due(&share(1, true), &row(&[0], &[])), "it is not known yet");
        let mine = row(&[1, 1], &[1]);
        assert!(!is_due(&share(1, true), &mine));
        let later = |secs| Share {
            now: Timestamp::from_micros(NOW).plus(Duration::from_secs(secs)),
            ..share(1, true)
        };
        assert!(!is_due(&later(9), &mine) && is_due(&later(10), &mine), "a heartbeat");
        assert!(is_due(&Share { fault: Some("away".to_owned()), ..share(1, true) }, &mine), "a fault began");
        assert!(is_due(&share(1, true), &row(&[1, 1], &[1, 2])), "somebody came");
        assert!(!is_due(&share(2, true), &row(&[1, 1], &[1, 2])), "nothing is free");
    }

    #[test]
    fn a_holder_is_one_whose_lease_is_live_and_late_is_no_loss() {
        let (row, now) = (row(&[1, 12, 0], &[1, 12]), Timestamp::from_micros(NOW));
        assert_eq!(row.holder(Shard(0), now), Some(token(1)));
        assert_eq!(
            (row.holder(Shard(1), now), row.holder(Shard(2), now), row.holder(Shard(9), now)),
            (None, None, None)
        );
        assert!(row.is_held(Shard(1), token(12)) && !row.is_held(Shard(0), token(2)));
        assert_eq!(kept("ä".repeat(400)).len(), FAULT_BYTES_MAX);
    }
}
