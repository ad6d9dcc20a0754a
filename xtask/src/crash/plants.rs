//! Bugs that are planted in a build with kill points (`WELLORDER_PLANT=name`), and what gives each away. A driver
//! that does not catch them would not catch the real ones.

use std::time::Duration;

use super::On;
use super::effects::Manner;
use super::report::Kind;
use super::servers::Role;

/// A planted bug and the circumstances in which it does harm.
pub(crate) struct Plant {
    pub(crate) name: &'static str,
    /// It counts as caught when one of these is found; anything else is a symptom of something else.
    pub(crate) caught_as: &'static [Kind],
    pub(crate) kills: usize,
    /// Whose nodes are killed, where each node has one role; none: everybody's in turn.
    pub(crate) victim: Option<Role>,
    /// How often the process is stopped for longer than its leases, instead of the number of every run.
    pub(crate) pauses: usize,
    /// Settings on top of those of every run.
    pub(crate) env: &'static [(&'static str, &'static str)],
    pub(crate) manner: Manner,
    /// Whether other programs speak `orderstream` meanwhile.
    pub(crate) streams: bool,
    /// Whether programs import receipts meanwhile.
    pub(crate) imports: bool,
    /// Whether there are receivers of webhooks.
    pub(crate) hooks: bool,
}

impl Plant {
    /// Whether it is one of those that are shown to be caught there. Those of programs that speak over Kafka need it; those of imports and
    /// webhooks lie in what all storages share.
    pub(crate) fn is_of(&self, on: On) -> bool {
        match on {
            On::Sqlite => !self.streams,
            On::Postgres => !self.imports && !self.hooks,
        }
    }
}

pub(crate) const PLANTS: &[Plant] = &[
    // The answer leaves before the commit: a kill in between loses an order that was acknowledged.
    Plant {
        name: "ack-before-commit",
        caught_as: &[Kind::Lost],
        kills: 8,
        victim: Some(Role::Api),
        pauses: 0,
        env: &[],
        manner: Manner::Mixed,
        streams: false,
        imports: false,
        hooks: false,
    },
    // The process is stopped for longer than its leases while effects are under way. When it goes on, it claims the
    // work that is due by then anew, and the first attempts, answered meanwhile, want to finish it too.
    Plant {
        name: "finish-without-token",
        caught_as: &[Kind::DoubleProcessed],
        kills: 0,
        victim: None,
        pauses: 6,
        env: &[("WELLORDER_WORKER_LEASE_MS", "1000"), ("WELLORDER_WORKER_HEARTBEAT_MS", "300")],
        manner: Manner::Hold(Duration::from_millis(700)),
        streams: false,
        imports: false,
        hooks: false,
    },
    // A reader either steps over the gap, and the driver sees it, or stops there for ever.
    Plant {
        name: "lost-journal-row",
        caught_as: &[Kind::PositionGap, Kind::VersionGap, Kind::Feed],
        kills: 0,
        victim: None,
        pauses: 0,
        env: &[],
        manner: Manner::Mixed,
        streams: false,
        imports: false,
        hooks: false,
    },
    Plant {
        name: "cursor-past-gap",
        caught_as: &[Kind::SinkGap],
        kills: 4,
        victim: Some(Role::Relay),
        pauses: 0,
        env: &[],
        manner: Manner::Mixed,
        streams: false,
        imports: false,
        hooks: false,
    },
    // The end of the work of one order of others in ten is told to nobody.
    Plant {
        name: "lost-ack",
        caught_as: &[Kind::Message],
        kills: 0,
        victim: None,
        pauses: 0,
        env: &[],
        manner: Manner::Mixed,
        streams: true,
        imports: false,
        hooks: false,
    },
    // Whoever comes while a receipt is being imported imports it too.
    Plant {
        name: "double-import",
        caught_as: &[Kind::Calls],
        kills: 0,
        victim: None,
        pauses: 0,
        env: &[],
        manner: Manner::Mixed,
        streams: false,
        imports: true,
        hooks: false,
    },
    // A delivery that was not taken is given up at once, and the next of its order is sent.
    Plant {
        name: "webhook-skip",
        caught_as: &[Kind::SinkGap],
        kills: 0,
        victim: None,
        pauses: 0,
        env: &[],
        manner: Manner::Mixed,
        streams: false,
        imports: false,
        hooks: true,
    },
];
