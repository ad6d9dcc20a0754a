//! Why a credential is not good: for counts and logs, never for the client.

use edge::Refusal;
use order_core::Fault;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// Why a credential is not good.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bad {
            $($(#[$doc])* $variant,)+
        }

        impl Bad {
            /// One word for it, for a label.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// There is none.
    Absent = "absent",
    /// Not one `Authorization: Bearer …`.
    Scheme = "scheme",
    /// An API key that is none, or is revoked or expired.
    ApiKey = "api-key",
    /// Longer than any token.
    TooLong = "too-long",
    /// Not three parts of base64url apart by dots.
    Form = "form",
    /// A header that is no plain JSON object.
    Header = "header",
    /// A parameter of the header that is refused whatever it says, or has the wrong form.
    Parameter = "parameter",
    /// An algorithm that no issuer is pinned to.
    Algorithm = "algorithm",
    /// Another type of token.
    Type = "type",
    /// The issuer has no such key.
    KeyUnknown = "key-unknown",
    /// The signature is not the key's.
    Signature = "signature",
    /// Claims that are no plain JSON object.
    Claims = "claims",
    /// A time that is no whole number of seconds, or is missing.
    Time = "time",
    /// Expired.
    Expired = "expired",
    /// Not valid yet.
    TooEarly = "too-early",
    /// Valid for longer than any token may be.
    Lifetime = "lifetime",
    /// Of another issuer.
    Issuer = "issuer",
    /// For another audience.
    Audience = "audience",
    /// No subject, or one that is ours to give.
    Subject = "subject",
    /// A tenant that cannot be one.
    Tenant = "tenant",
    /// Scopes in another form than words.
    Scope = "scope",
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why nobody is admitted.
#[derive(Debug, Clone)]
pub enum Denied {
    /// The credential is not good.
    Bad(Bad),
    /// Whether it is good cannot be found out now.
    Unknown(Fault),
}

impl From<Bad> for Denied {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::Unknown(fault)
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Bad(_) => Self::Unauthenticated,
            Denied::Unknown(fault) => Self::Fault(fault),
        }
    }
}
