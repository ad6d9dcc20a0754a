//! Settings of how nodes share followers.

use super::{
    shape::Shape::Millis,
    table::{Default::Is, HOUR_MS, Setting},
};

pub(super) const SHARE: &[Setting] = &[
    Setting::new(
        "follower.lease_ms",
        Is("30000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.follower.lease = v },
        "how long a node that is not heard of holds its part of a follower",
    ),
    Setting::new(
        "follower.heartbeat_ms",
        Is("10000"),
        Millis { min: 50, max: HOUR_MS, set: |s, v| s.follower.heartbeat = v },
        "how often that is extended",
    ),
];
