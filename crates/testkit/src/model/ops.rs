//! What can happen, drawn at random. Small numbers stand for orders, leases and jobs that are there when it happens,
//! so that shrinking keeps its meaning.

use proptest::prelude::*;
use proptest::sample::Index;

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Op {
    /// An order comes in: few references, contents and keys, so that they collide.
    Accept { tenant: u8, source: u8, reference: Option<u8>, content: u8, key: Option<u8>, withdrawn: bool },
    /// Somebody changes an order, perhaps another tenant's, perhaps insisting on a version.
    Change { order: Index, foreign: bool, source: Option<u8>, version: Option<u8>, kind: Kind },
    /// A message comes in, perhaps again, perhaps about another order.
    Consume { order: Index, foreign: bool, consumer: u8, id: u8, kind: Kind },
    /// A worker claims, of all desks or of some.
    Claim { tenant: Option<u8>, desks: u8, count: u8, lapses_max: u8 },
    /// A worker extends leases, stale ones among them.
    Heartbeat { leases: Vec<Index> },
    /// A worker ends a lease, perhaps a stale one, perhaps with another order's token.
    Settle { lease: Index, mixed: Option<Index>, end: End },
    /// An operator acts on a follower.
    Follower { name: u8, action: Action },
    /// A follower's runner moves the cursor, or the replay, of some shards, perhaps from where it no longer is.
    Advance { name: u8, replay: bool, shards: u16, by: u8, stale: bool },
    /// A node takes its part of a follower, leaves it to others or for good, or extends its lease alone.
    Share { name: u8, node: u8, how: Shared, fault: bool },
    /// A follower's sink refuses events of an order, or takes parked ones that were sent again.
    Park { name: u8, order: Index, version: u8, resent: Option<u8> },
    /// An operator asks for a redrive job.
    StartRedrive {
        tenant: u8,
        orders: Option<Vec<Index>>,
        error: Option<u8>,
        source: Option<u8>,
        shipped: bool,
    },
    /// A job goes on.
    StepRedrive { job: Index, count: u8 },
    /// Old keys go.
    Sweep { age_ms: u32, limit: u8 },
    /// Messages are forgotten.
    SweepInbox { age_ms: u32, limit: u8 },
    /// Somebody asks whether writing is possible.
    Probe,
    /// What has gathered is committed, and time passes.
    Pass { millis: u32 },
    /// What has gathered is committed, and the process starts anew.
    Reopen,
}

/// A change.
#[derive(Debug, Clone)]
pub enum Kind {
    Revise { content: u8, requeue: bool },
    Withdraw { requeue: bool },
    Ship { number: bool },
    Deliver,
    Redrive,
    Erase,
    Finish,
}

/// The end of a try.
#[derive(Debug, Clone)]
pub enum End {
    Done,
    Retry { after_ms: u32, why: u8 },
    Park { why: u8 },
    Release { after_ms: u32 },
}

/// What a node does with its part of a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    Held,
    Extended,
    Left,
    Back,
}

/// What an operator does with a follower.
#[derive(Debug, Clone)]
pub enum Action {
    Ensure {
        from_now: bool,
    },
    Pause,
    Resume,
    ReplayBeginning,
    ReplayHeads,
    ReplayAhead,
    ReplayOtherEpoch {
        later: bool,
    },
    /// What lies between two parts, in percent, of each shard; perhaps beyond its end.
    ReplayRange {
        from: u8,
        to: u8,
    },
    /// Of what is parked, all or some orders.
    Redrive {
        orders: Option<Vec<Index>>,
        skip: bool,
    },
}

/// A sequence of at most `length` things.
pub(super) fn sequence(length: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..=length)
}

fn op() -> impl Strategy<Value = Op> {
    let accept = (
        0..2_u8,
        0..2_u8,
        prop::option::weighted(0.9, 0..4_u8),
        0..5_u8,
        prop::option::weighted(0.3, 0..3_u8),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(tenant, source, reference, content, key, withdrawn)| Op::Accept {
            tenant,
            source,
            reference,
            content,
            key,
            withdrawn,
        });
    let version = prop::option::weighted(0.2, 1..5_u8);
    let change =
        (any::<Index>(), prop::bool::weighted(0.1), prop::option::weighted(0.1, 0..2_u8), version, kind())
            .prop_map(|(order, foreign, source, version, kind)| Op::Change {
                order,
                foreign,
                source,
                version,
                kind,
            });
    let consume = (any::<Index>(), prop::bool::weighted(0.1), 0..2_u8, 0..6_u8, kind())
        .prop_map(|(order, foreign, consumer, id, kind)| Op::Consume { order, foreign, consumer, id, kind });
    let settle = (any::<Index>(), prop::option::weighted(0.1, any::<Index>()), end())
        .prop_map(|(lease, mixed, end)| Op::Settle { lease, mixed, end });
    let advance = (0..2_u8, any::<bool>(), any::<u16>(), 0..3_u8, prop::bool::weighted(0.2))
        .prop_map(|(name, replay, shards, by, stale)| Op::Advance { name, replay, shards, by, stale });
    let orders = prop::option::of(prop::collection::vec(any::<Index>(), 0..4));
    let (error, source) = (prop::option::weighted(0.3, 0..2_u8), prop::option::weighted(0.2, 0..2_u8));
    let start = (0..2_u8, orders, error, source, prop::bool::weighted(0.1)).prop_map(
        |(tenant, orders, error, source, shipped)| Op::StartRedrive {
            tenant,
            orders,
            error,
            source,
            shipped,
        },
    );
    prop_oneof![
        20 => accept,
        14 => change,
        6 => consume,
        14 => (proptest::option::of(0..2_u8), 0..3_u8, 1..4_u8, 1..4_u8)
            .prop_map(|(tenant, desks, count, lapses_max)| Op::Claim { tenant, desks, count, lapses_max }),
        4 => prop::collection::vec(any::<Index>(), 0..4).prop_map(|leases| Op::Heartbeat { leases }),
        18 => settle,
        3 => (0..2_u8, action()).prop_map(|(name, action)| Op::Follower { name, action }),
        5 => advance,
        5 => (0..2_u8, 0..3_u8, shared(), any::<bool>())
            .prop_map(|(name, node, how, fault)| Op::Share { name, node, how, fault }),
        4 => (0..2_u8, any::<Index>(), 1..4_u8, prop::option::of(0..3_u8))
            .prop_map(|(name, order, version, resent)| Op::Park { name, order, version, resent }),
        2 => start,
        4 => (any::<Index>(), 1..4_u8).prop_map(|(job, count)| Op::StepRedrive { job, count }),
        1 => (0..60_000_u32, 0..3_u8).prop_map(|(age_ms, limit)| Op::Sweep { age_ms, limit }),
        1 => (0..60_000_u32, 0..3_u8).prop_map(|(age_ms, limit)| Op::SweepInbox { age_ms, limit }),
        1 => Just(Op::Probe),
        14 => prop_oneof![Just(0), 1..2_000_u32, 25_000..70_000_u32].prop_map(|millis| Op::Pass { millis }),
        1 => Just(Op::Reopen),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (0..5_u8, any::<bool>()).prop_map(|(content, requeue)| Kind::Revise { content, requeue }),
        2 => any::<bool>().prop_map(|requeue| Kind::Withdraw { requeue }),
        2 => any::<bool>().prop_map(|number| Kind::Ship { number }),
        2 => Just(Kind::Deliver),
        4 => Just(Kind::Redrive),
        1 => Just(Kind::Erase),
        2 => Just(Kind::Finish),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Done),
        3 => (0..40_000_u32, 0..2_u8).prop_map(|(after_ms, why)| End::Retry { after_ms, why }),
        4 => (0..2_u8).prop_map(|why| End::Park { why }),
        1 => (0..2_000_u32).prop_map(|after_ms| End::Release { after_ms }),
    ]
}

fn shared() -> impl Strategy<Value = Shared> {
    prop_oneof![
        3 => Just(Shared::Held),
        1 => Just(Shared::Extended),
        1 => Just(Shared::Left),
        1 => Just(Shared::Back),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => any::<bool>().prop_map(|from_now| Action::Ensure { from_now }),
        1 => Just(Action::Pause),
        1 => Just(Action::Resume),
        1 => Just(Action::ReplayBeginning),
        1 => Just(Action::ReplayHeads),
        1 => Just(Action::ReplayAhead),
        1 => any::<bool>().prop_map(|later| Action::ReplayOtherEpoch { later }),
        3 => (0..110_u8, 0..110_u8).prop_map(|(from, to)| Action::ReplayRange { from, to }),
        3 => (prop::option::of(prop::collection::vec(any::<Index>(), 0..4)), any::<bool>())
            .prop_map(|(orders, skip)| Action::Redrive { orders, skip }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use std::collections::BTreeMap;

    #[test]
    fn every_kind_of_thing_happens_in_every_combination_that_matters() {
        let mut runner = TestRunner::deterministic();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..300 {
            for op in sequence(60).new_tree(&mut runner).expect("a sequence").current() {
                let name = format!("{op:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
                *seen.entry(name).or_default() += 1;
                let combination = match op {
                    Op::StartRedrive { orders: Some(_), error: Some(_), source: Some(_), .. } => {
                        "redrive, all filters"
                    }
                    Op::StartRedrive { orders: None, error: Some(_), source: Some(_), .. } => {
                        "redrive, two filters"
                    }
                    Op::Accept { withdrawn: true, .. } => "withdrawn as it is taken in",
                    Op::Accept { reference: None, key: Some(_), .. } => "key without reference",
                    Op::Accept { reference: Some(_), key: Some(_), .. } => "key and reference",
                    Op::Settle { mixed: Some(_), end: End::Release { .. }, .. } => {
                        "release under another token"
                    }
                    Op::Change { foreign: true, .. } => "foreign change",
                    Op::Change { kind: Kind::Finish, .. } => "finish without a lease",
                    Op::Change { version: Some(_), kind: Kind::Erase, .. } => "erasure of a version",
                    Op::Consume { foreign: true, .. } => "foreign message",
                    Op::Advance { stale: true, .. } => "late advance",
                    Op::Advance { replay: true, .. } => "advance of a replay",
                    Op::Follower { action: Action::ReplayRange { .. }, .. } => "replay of a range",
                    _ => continue,
                };
                *seen.entry(combination.to_owned()).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 17 + 13, "{seen:#?}");
    }
}
