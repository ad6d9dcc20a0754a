//! What every mount and every connection is held to.

use crate::limit::{Pacer, Proxies, RatePolicy, Rates};
use crate::reads::{ReadPolicy, Reads};
use order_core::json::JsonLimits;
use order_core::trace::Tracer;
use order_core::{Clock, Fault, Ids};
use std::sync::Arc;
use std::time::Duration;

/// How much a client may send, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a body.
    pub body_bytes_max: usize,
    /// Most bytes of a body of many lines, each of which has at most `body_bytes_max`.
    pub bulk_bytes_max: usize,
    /// Most header fields.
    pub headers_max: usize,
    /// Most bytes of all header fields together, names and values.
    pub header_bytes_max: usize,
    /// Most bytes of the request target (path and query).
    pub uri_bytes_max: usize,
    /// Longest wait for a request's head, from the end of the request before it: an idle connection is closed then too.
    pub header_timeout: Duration,
    /// Longest wait for a whole body, or for a line of a body that is read line by line: that may take as long in all as
    /// its lines keep coming.
    pub body_timeout: Duration,
    /// Longest time from a request's head to its reply's head. What a reply streams after that may take any time.
    pub request_timeout: Duration,
    /// Longest wait for a client to take more of a reply.
    pub stall_timeout: Duration,
    /// Most connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// What JSON may look like.
    pub json: JsonLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 256 * 1024,
            bulk_bytes_max: 16 * 1024 * 1024,
            headers_max: 64,
            header_bytes_max: 16 * 1024,
            uri_bytes_max: 8 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            connections_max: 10_000,
            json: JsonLimits::default(),
        }
    }
}

/// Says whether a write would wait too long now; with what it is refused if so.
pub type Pressure = Arc<dyn Fn() -> Result<(), Fault> + Send + Sync>;

/// The limits, and what the plumbing needs besides. One for the whole process.
#[derive(Clone)]
pub struct Guard {
    /// How much, how long.
    pub limits: Limits,
    /// Whether only loopback names are served (`Host`), and writes only from loopback pages (`Origin`): what keeps a
    /// foreign web page from reaching a server that asks for no login.
    pub loopback_only: bool,
    /// For request ids.
    pub clock: Arc<dyn Clock>,
    /// For request ids.
    pub ids: Arc<dyn Ids>,
    /// Makes the spans of requests.
    pub tracer: Tracer,
    /// Whether a request that comes with a trace says whether that is recorded.
    pub trusts_traces: bool,
    /// Who asks too often.
    pub rates: Arc<Rates>,
    /// How much is read at once.
    pub reads: Arc<Reads>,
    /// Whose word about a client's address is taken.
    pub proxies: Arc<Proxies>,
    /// Whether browsers are told to come over TLS only.
    pub https_only: bool,
    pub(crate) pressure: Option<Pressure>,
    pub(crate) pacer: Arc<Pacer>,
}

impl Guard {
    /// A guard with these limits, that makes no spans, lets everybody ask as often as they like, and trusts no proxy.
    pub fn new(limits: Limits, loopback_only: bool, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self {
            limits,
            loopback_only,
            clock,
            ids,
            tracer: Tracer::off(),
            trusts_traces: true,
            rates: Arc::new(Rates::new(RatePolicy::default())),
            reads: Arc::new(Reads::new(ReadPolicy::default())),
            proxies: Arc::default(),
            https_only: false,
            pressure: None,
            pacer: Arc::new(Pacer::new()),
        }
    }

    /// The same, with spans of requests; `trusts_traces` as in the field.
    #[must_use]
    pub fn traced(self, tracer: Tracer, trusts_traces: bool) -> Self {
        Self { tracer, trusts_traces, ..self }
    }

    /// The same, with rates.
    #[must_use]
    pub fn limiting(self, policy: RatePolicy) -> Self {
        Self { rates: Arc::new(Rates::new(policy)), ..self }
    }

    /// The same, reading as much at once as `policy` says.
    #[must_use]
    pub fn reading(self, policy: ReadPolicy) -> Self {
        Self { reads: Arc::new(Reads::new(policy)), ..self }
    }

    /// The same, behind proxies.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies: Arc::new(proxies), ..self }
    }

    /// The same, refusing writes under pressure (see [`crate::Room`]).
    #[must_use]
    pub fn under(self, pressure: Pressure) -> Self {
        Self { pressure: Some(pressure), ..self }
    }

    /// The same, telling browsers to come over TLS only.
    #[must_use]
    pub fn https_only(self) -> Self {
        Self { https_only: true, ..self }
    }
}
