//! Followers on the wire.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

use utoipa::ToSchema;

/// A follower: it carries the journal to a sink.
#[derive(ToSchema)]
pub struct Follower {
    /// Its name.
    pub name: String,
    /// What kind of sink it feeds.
    pub sink: String,
    /// Whether it carries events on.
    pub state: FollowerState,
    /// Events that it has yet to carry on.
    pub lag: u64,
    /// How far it is; a place for `replay` and for `after` of the feed.
    pub cursor: String,
    /// What it carries on once more before it goes on behind its cursor; `null`: nothing.
    #[schema(required)]
    pub replay: Option<FollowerReplay>,
    /// Why its sink takes nothing.
    #[schema(required)]
    pub last_error: Option<String>,
    /// How far it is in each shard.
    pub shards: Vec<FollowerShard>,
}

/// Whether a follower carries events on.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum FollowerState {
    /// It does.
    Running,
    /// An operator paused it.
    Paused,
    /// Its sink takes nothing; it tries again and again.
    Failing,
}

/// A follower's place in one shard.
#[derive(ToSchema)]
pub struct FollowerShard {
    /// The shard.
    pub shard: u16,
    /// The newest position that its sink has safely.
    pub position: u64,
    /// The newest position there is.
    pub head: u64,
}

/// All followers, by name.
#[derive(ToSchema)]
pub struct FollowerList {
    /// The followers.
    pub followers: Vec<Follower>,
}

/// A range of the journal that a follower carries on once more.
#[derive(ToSchema)]
pub struct FollowerReplay {
    /// A cursor: what lies behind it comes next. It moves as the follower does.
    pub from: String,
    /// A cursor: the last place that comes once more.
    pub to: String,
    /// Events that are yet to come once more.
    #[schema(minimum = 1)]
    pub left: u64,
}

/// Where a follower goes on from; with `to`, what it carries on once more.
#[derive(ToSchema)]
pub struct Replay {
    /// `beginning`, `now`, an RFC 3339 date-time (what happened then or later), or a cursor of the feed or of a follower.
    #[schema(min_length = 1, max_length = 16384)]
    pub from: String,
    /// The same forms (with a date-time: what happened before it). With it the follower stays where it is, and first carries
    /// on once more what lies between, as far as it had carried it on; this takes the place of the range before, if it is
    /// not through. Without it the follower is set to `from`, and all behind that comes again.
    #[schema(min_length = 1, max_length = 16384)]
    pub to: Option<String>,
}
