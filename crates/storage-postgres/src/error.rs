//! PostgreSQL's errors in the core's words: the one place where they are translated.

use crate::refusal::Refusal;
use order_core::Fault;
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// When to try again while the database cannot be used.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why something did not happen.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Others were in the way (a deadlock, a lock that was not to be had): the same may succeed at once.
    Again(String),
    /// The connection is gone.
    Lost(String),
    /// The server does not let us, as it or the URL is set up.
    Refused(Refusal),
    /// The rest.
    Fault(Fault),
}

/// What the functions of this crate return.
pub(crate) type Tried<T> = Result<T, Trouble>;

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Again(why) | Trouble::Lost(why) => unavailable(why),
            Trouble::Refused(refusal) => unavailable(refusal.why),
            Trouble::Fault(fault) => fault,
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A fault that passes once somebody frees, starts or mends something.
pub(crate) fn unavailable(why: impl Into<String>) -> Fault {
    Fault::Unavailable { why: why.into(), retry_after: RETRY_AFTER }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What an error of PostgreSQL means.
impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = in_full(&error);
        if let Some(refusal) = Refusal::of(error.code(), &why) {
            return Self::Refused(refusal);
        }
        let Some(state) = error.code() else {
            if error.is_closed() || is_of_connection(&error) {
                return Self::Lost(why);
            }
            return Self::Fault(Fault::internal(why));
        };
        if [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .contains(state)
        {
            return Self::Again(why);
        }
        match state.code().get(..2) {
            Some("22" | "23") => Self::Fault(Fault::Data { why }),
            // The server ends the session: shutdown, crash, a session that idled too long.
            Some("08") => Self::Lost(why),
            Some("57") if *state != SqlState::QUERY_CANCELED => Self::Lost(why),
            _ if *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Self::Lost(why),
            // Out of room or time; a standby.
            Some("25" | "53" | "57" | "58") => Self::Fault(unavailable(why)),
            _ => Self::Fault(Fault::internal(why)),
        }
    }
}

/// Whether it is about the connection rather than about what was asked or answered.
fn is_of_connection(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some())
        || error.to_string().starts_with("error connecting")
}

/// The message with its causes: the driver's own says only where it happened.
pub(crate) fn in_full(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = [text, inner.to_string()].join(": ");
        cause = inner.source();
    }
    text
}
