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
    /// Orders that are parked for it: its sink refused an event of theirs for good.
    pub parked: u64,
    /// Nodes that carry it now.
    pub relays: u64,
    /// Why its sink takes nothing, on whichever node; else that orders are parked.
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

/// Orders that are parked for a follower.
#[derive(ToSchema)]
pub struct FollowerParkedList {
    /// The orders, by shard and id.
    pub parked: Vec<FollowerParked>,
    /// Give it as `after_order_id` to read on; `null` on the last page.
    #[schema(required, format = "uuid")]
    pub next: Option<String>,
}

/// An order whose events wait, because the sink refused one of them for good.
#[derive(ToSchema)]
pub struct FollowerParked {
    /// The order.
    #[schema(format = "uuid")]
    pub order_id: String,
    /// Whose it is.
    pub tenant: String,
    /// Its shard.
    pub shard: u16,
    /// The event with this version and those behind it wait.
    #[schema(minimum = 1)]
    pub from_version: u64,
    /// Why that event was refused.
    pub reason: FollowerRefusal,
    /// What the sink said of it.
    pub detail: String,
    /// When it was refused.
    #[schema(format = DateTime)]
    pub parked_at: String,
    /// Whether they are to be sent again.
    pub redriving: bool,
}

/// Why a sink will never take an event as it is.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum FollowerRefusal {
    /// It is larger than the sink takes.
    TooLarge,
    /// Nobody is there to take it.
    Unroutable,
    /// It is not what the sink takes.
    Invalid,
}

/// Which parked orders to send again: name them, or say `all`.
#[derive(ToSchema)]
pub struct FollowerRedrive {
    /// These orders, 1 to 1000.
    #[schema(min_items = 1, max_items = 1000, format = "uuid")]
    pub order_ids: Option<Vec<String>>,
    /// All of them.
    pub all: Option<bool>,
    /// Leave the refused events out, and send what is behind them.
    pub skip: Option<bool>,
    /// Why they are left out, 1 to 1000 bytes; with `skip` alone. It is kept in the action log for ever: name no person.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: Option<String>,
}

/// What a redrive of a follower came to.
#[derive(ToSchema)]
pub struct FollowerRedriven {
    /// Orders that will be sent again; those that are on their way already do not count.
    pub redriven: u64,
}
