//! What nodes share in Redis, and can do without.
//!
//! Two things lie there: how much of each rate the nodes of an installation have used up ([`RedisKv::spend`]), and results that
//! programs beside us answer from ([`RedisKv::keep`]). Neither is the truth of anything: a server that is down or was flushed
//! costs no order, and neither a request nor an acknowledgement waits for it.

mod connect;
mod spend;

pub use connect::{Options, Place, RedisKv};
pub use spend::{SPENDS_MAX, Spend};

use std::time::Duration;

/// Why Redis did not do it. Never holds the password of its URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used.
    #[error(
        "no URL of a Redis: {0}; write redis://HOST:PORT or rediss://HOST:PORT, with USER:PASSWORD@ before the host if it asks"
    )]
    Url(String),
    /// The certificates of authorities cannot be used.
    #[error("no certificates of authorities: {0}")]
    Authorities(String),
    /// It lets nobody in with this user and password.
    #[error("{0}")]
    Login(String),
    /// It cannot be reached, does not answer, or refuses.
    #[error("{0}")]
    Unavailable(String),
    /// It did not answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}
