//! Why a server does not let us in, or not do what we must, and what to do about it: for whoever runs the program.

use crate::error::Trouble;
use order_core::Fault;
use order_core::remote::BadCertificate;
use std::fmt;
use tokio_postgres::error::SqlState;

/// The oldest version of PostgreSQL that is taken: see [`crate::facts::Facts::check`].
pub(crate) const OLDEST_VERSION: i32 = 140_000;

/// The server, or the URL, must be set up in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: String,
    pub(crate) fix: String,
    /// Whether it stays so until a setting is changed.
    pub(crate) lasting: bool,
}

impl Refusal {
    pub(crate) fn lasting(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into(), lasting: true }
    }

    pub(crate) fn passing(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into(), lasting: false }
    }

    /// Of an error with this state; `None` when it is about something else.
    pub(crate) fn of(state: Option<&SqlState>, why: &str) -> Option<Self> {
        let Some(state) = state else {
            // A handshake that broke off is like any connection that breaks: a server, or what lies before it, starts or stops.
            let fix = if why.contains("does not support TLS") {
                "switch TLS on there (`ssl = on`); or say postgres.insecure = true, and everybody on the way can read all of it"
            } else if let Some(bad) = BadCertificate::of(why) {
                match bad {
                    BadCertificate::Issuer => "name the authority of its certificate with tls.ca_file",
                    BadCertificate::Name => "name the server in `database` as its certificate does",
                    BadCertificate::Time => {
                        "give the server a certificate that is good now, or set the clock here"
                    }
                }
            } else if why.to_ascii_lowercase().contains("certificate") {
                "name the authority of its certificate with tls.ca_file, and the server as its certificate does"
            } else {
                return None;
            };
            return Some(Self::lasting(why, fix));
        };
        Some(match *state {
            SqlState::INVALID_PASSWORD => Self::lasting(why, "set the user's password in `database`"),
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if why.contains("no encryption") => {
                Self::lasting(why, "speak TLS: end the URL in `database` with ?sslmode=require")
            }
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                let fix =
                    "name a user that is there in `database`, and let pg_hba.conf of the server let it in";
                Self::lasting(why, fix)
            }
            SqlState::INVALID_CATALOG_NAME => Self::lasting(
                why,
                "make it (CREATE DATABASE … ENCODING 'UTF8'), or name another in `database`",
            ),
            // Without a right to use it, a schema is not found.
            SqlState::INSUFFICIENT_PRIVILEGE | SqlState::INVALID_SCHEMA_NAME => {
                let fix = "let the user that `database` names own the database (ALTER DATABASE … OWNER TO …), or at least \
                           GRANT CREATE, USAGE ON SCHEMA public";
                Self::lasting(why, fix)
            }
            SqlState::TOO_MANY_CONNECTIONS => {
                Self::passing(why, "raise max_connections there, or lower postgres.readers")
            }
            SqlState::CANNOT_CONNECT_NOW => {
                Self::passing(why, "it starts or stops: wait, or look at its log")
            }
            _ => return None,
        })
    }
}

/// Why a database was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    /// What is wrong, with the name of the server.
    pub why: String,
    /// What to do.
    pub fix: String,
    /// Whether it stays so until a setting is changed; else it may pass by itself.
    pub lasting: bool,
}

impl Unopened {
    pub(crate) fn of(server: &str, trouble: Trouble) -> Self {
        let Refusal { why, fix, lasting } = match trouble {
            Trouble::Refused(refusal) => refusal,
            Trouble::Lost(why) | Trouble::Again(why) => Refusal::passing(
                why,
                "see that the server runs there and can be reached from here, or name another in `database`",
            ),
            Trouble::Fault(Fault::Unavailable { why, .. }) => {
                Refusal::passing(why, "look at the server's log")
            }
            Trouble::Fault(fault) => {
                Refusal::lasting(fault.to_string(), "name another database in `database`")
            }
        };
        let why = if server.is_empty() { why } else { format!("PostgreSQL at {server}: {why}") };
        Self { why, fix, lasting }
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; fix: {}", self.why, self.fix)
    }
}

impl std::error::Error for Unopened {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_stay_as_they_are_and_handshakes_that_break_off_do_not() {
        let lasting = |why: &str| Refusal::of(None, why).map(|refusal| refusal.lasting);
        for stays in [
            "error performing TLS handshake: server does not support TLS",
            "error performing TLS handshake: invalid peer certificate: UnknownIssuer",
            "error performing TLS handshake: received fatal alert: CertificateRequired",
        ] {
            assert_eq!(lasting(stays), Some(true), "{stays}");
        }
        for passes in
            ["error performing TLS handshake: tls handshake eof", "error connecting to server: refused"]
        {
            assert_eq!(lasting(passes), None, "{passes}");
        }
    }
}
