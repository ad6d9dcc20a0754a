//! What goes to a receiver and what comes back: the words of the port [`Deliverer`](crate::ports::Deliverer).

use super::EndpointId;
use std::time::Duration;

/// Bytes of an answer that are kept at most.
pub const ANSWER_BYTES_MAX: usize = 1_024;
/// Shortest and longest wait that a receiver may ask for with `Retry-After`.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// See [`RETRY_AFTER_MIN`].
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// One POST to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Where to.
    pub url: String,
    /// Headers besides those that every request has; none is given twice.
    pub headers: Vec<(&'static str, String)>,
    /// The very bytes that are signed: JSON.
    pub body: Vec<u8>,
    /// Longest that all of it may take: name, connection, request and answer.
    pub timeout: Duration,
    /// Whose endpoint it is, so that one receiver's connections stand in no other's way.
    pub endpoint: EndpointId,
}

/// What came back. Nothing at all is an answer too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// The status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The wait that the receiver asked for, as it asked for it.
    pub retry_after: Option<Duration>,
    /// The first bytes of the answer, at most [`ANSWER_BYTES_MAX`]; none from an address that was refused.
    pub body: Vec<u8>,
    /// How long it took.
    pub took: Duration,
    /// Why there was no answer, for people: without the address, and without what only this network knows.
    pub why: Option<String>,
}

impl Answered {
    /// Whether the receiver has it: any 2xx.
    pub fn is_taken(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the receiver says that it will never want anything again: 410.
    pub fn is_gone(&self) -> bool {
        self.status == Some(410)
    }
}

/// Why a URL may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct UrlRefused {
    /// The name of the rule: `https-only`, `port`, `address`.
    pub rule: &'static str,
    /// What is wrong, as the end of a sentence that begins with the URL: "is no https:// URL".
    pub detail: String,
}
