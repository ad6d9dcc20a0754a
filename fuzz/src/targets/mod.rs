//! The targets: plain functions of bytes that panic when a property does not hold.

mod bodies;
mod core;
mod edge;
mod login;
mod requests;
mod settings;

use std::hash::{DefaultHasher, Hash, Hasher};

/// A target.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Its name, and that of its folder in the corpus.
    pub(crate) name: &'static str,
    /// What its grammar is made of.
    pub(crate) words: &'static [&'static str],
    /// Reads the input, and panics when a property does not hold.
    pub(crate) check: fn(&[u8]) -> Seen,
}

/// How an input was taken: inputs that are seen differently are worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// Whether the input was taken for what it should be.
    pub(crate) accepted: bool,
    class: u64,
}

/// The input was accepted, and `what` tells it from others: coarse, so that there are hundreds of classes, not millions.
pub(crate) fn accepted(what: impl Hash) -> Seen {
    Seen { accepted: true, class: hash(what) }
}

/// The input was refused, because of `why`.
pub(crate) fn refused(why: impl Hash) -> Seen {
    Seen { accepted: false, class: hash(why) }
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The order of magnitude of a count.
fn magnitude(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}

/// The input as text; what is no UTF-8 is replaced.
fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

const JSON: &[&str] = &[
    "{}",
    "[]",
    "null",
    "true",
    "false",
    "\"\"",
    "{\"",
    "\":",
    "\",\"",
    "},{",
    "\\u0000",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\\"",
    "[[[[[[[[[",
    "1e5",
    "-0",
    "0.10",
    "$serde_json::private::Number",
    "$serde_json::private::RawValue",
];

/// All of them, the slow ones first.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "toml", words: settings::TOML, check: settings::toml },
    Target { name: "dotenv", words: settings::DOTENV, check: settings::dotenv },
    Target { name: "json", words: JSON, check: core::json },
    Target { name: "money", words: core::MONEY, check: core::money },
    Target { name: "ids", words: core::IDS, check: core::ids },
    Target { name: "timestamp", words: core::TIMESTAMP, check: core::timestamp },
    Target { name: "traceparent", words: core::TRACEPARENT, check: core::traceparent },
    Target { name: "event", words: core::EVENT, check: core::event },
    Target { name: "v1_order", words: bodies::V1_ORDER, check: bodies::v1_order },
    Target { name: "v1_redrive", words: bodies::V1_REDRIVE, check: bodies::v1_redrive },
    Target { name: "oscarps_order", words: bodies::OSCARPS, check: bodies::oscarps },
    Target { name: "parspec_order", words: bodies::PARSPEC, check: bodies::parspec },
    Target {
        name: "parspec_number",
        words: &["0", "9223372036854775807", "-", "%31"],
        check: bodies::parspec_number,
    },
    Target { name: "orderstream_order", words: bodies::ORDERSTREAM, check: bodies::orderstream },
    Target { name: "cursor", words: &["AQ", "_", "-", "="], check: requests::cursor },
    Target { name: "query", words: requests::QUERY, check: requests::query },
    Target { name: "retry_after", words: requests::RETRY_AFTER, check: requests::retry_after },
    Target { name: "prefer", words: requests::PREFER, check: requests::prefer },
    Target { name: "framing", words: edge::FRAMING, check: edge::framing },
    Target { name: "lines", words: edge::LINES, check: edge::lines },
    Target { name: "path", words: edge::PATH, check: edge::path },
    Target { name: "host", words: edge::HOST, check: edge::host },
    Target { name: "jwt", words: login::JWT, check: login::jwt },
    Target { name: "jwks", words: login::JWKS, check: login::jwks },
    Target { name: "api_key", words: login::API_KEY, check: login::api_key },
    Target { name: "forwarded", words: login::FORWARDED, check: login::forwarded },
    Target { name: "if_match", words: login::IF_MATCH, check: login::if_match },
    Target { name: "content_type", words: edge::CONTENT_TYPE, check: edge::content_type },
];
