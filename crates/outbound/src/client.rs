//! The one client and the one place that sends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{ClientBuilder, Request, RequestBuilder, Response, Url, redirect};

use crate::guard::{Forbidden, PublicNames, Reach};
use crate::tls::{self, Trust, Untrusted};

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From the first byte of connecting to the last byte of the answer that is read.
    pub total: Duration,
}

impl Default for Timeouts {
    /// 3 s to connect, 15 s in all.
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), total: Duration::from_secs(15) }
    }
}

/// Why a client could not be made. All of these are mistakes in the settings or in the build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address is no URL with `http` or `https` and a host. The address itself is not repeated: it may hold a
    /// password.
    #[error("not an http:// or https:// address with a host")]
    Address,
    /// The address is one that may not be called.
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    /// The TLS settings were refused.
    #[error("TLS: {0}")]
    Tls(String),
    /// The HTTP client was refused.
    #[error("HTTP client: {0}")]
    Client(String),
}

/// No answer came: the request may or may not have been carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoAnswer {
    /// The cause, in a few words, without the address (it may hold a secret).
    pub why: String,
    /// What is wrong with the other side's certificate, if that is the cause.
    pub untrusted: Option<Untrusted>,
}

impl NoAnswer {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), untrusted: None }
    }
}

/// What is read of an answer.
pub(crate) enum Read {
    /// Everything; more than the bound is an error.
    All,
    /// The first bytes up to the bound; the rest is discarded unread.
    Start,
}

/// A client with our rules built in.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(trust: &Trust, timeouts: Timeouts) -> Result<Self, BuildError> {
        Self::reaching(Reach::Anywhere, trust, timeouts)
    }

    /// One that calls names only where all that they stand for is in reach.
    pub(crate) fn reaching(reach: Reach, trust: &Trust, timeouts: Timeouts) -> Result<Self, BuildError> {
        let rules = match reach {
            Reach::Public => Self::rules(trust)?.dns_resolver(PublicNames),
            Reach::Anywhere => Self::rules(trust)?,
        };
        Self::built(rules.connect_timeout(timeouts.connect).timeout(timeouts.total))
    }

    /// For answers that may take any time, as long as something comes at least every `silence`.
    pub(crate) fn streaming(trust: &Trust, connect: Duration, silence: Duration) -> Result<Self, BuildError> {
        Self::built(Self::rules(trust)?.connect_timeout(connect).read_timeout(silence))
    }

    /// One with more rules than all have.
    pub(crate) fn with(
        trust: &Trust,
        more: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, BuildError> {
        Self::built(more(Self::rules(trust)?))
    }

    fn rules(trust: &Trust) -> Result<ClientBuilder, BuildError> {
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(trust)?)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .user_agent(concat!("wellorder/", env!("CARGO_PKG_VERSION"))))
    }

    fn built(builder: ClientBuilder) -> Result<Self, BuildError> {
        let http = builder.build().map_err(|error| BuildError::Client(causes(&error)))?;
        Ok(Self { http })
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Sends one request, once.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that sends; the rules of the client hold here"
    )]
    pub(crate) async fn send(&self, request: Request) -> Result<Response, NoAnswer> {
        RequestBuilder::from_parts(self.http.clone(), request).send().await.map_err(no_answer)
    }
}

/// Reads at most `bound` bytes of the body of `answer`.
pub(crate) async fn read_body(answer: &mut Response, bound: usize, read: Read) -> Result<Bytes, NoAnswer> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(no_answer)? {
        let room = bound - body.len();
        if chunk.len() > room {
            return match read {
                Read::All => Err(NoAnswer::because(format!("the answer is longer than {bound} bytes"))),
                Read::Start => {
                    body.extend_from_slice(&chunk[..room]);
                    Ok(body.freeze())
                }
            };
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Takes `address` apart; only `http` and `https` with a host pass.
pub(crate) fn parse_address(address: &str) -> Result<Url, BuildError> {
    let url = Url::parse(address).map_err(|_| BuildError::Address)?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(BuildError::Address)
    }
}

pub(crate) fn no_answer(error: reqwest::Error) -> NoAnswer {
    let untrusted = tls::untrusted(&error);
    let what = if untrusted.is_some() {
        "no trust"
    } else if error.is_connect() && error.is_timeout() {
        "no connection in time"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the exchange broke off"
    };
    NoAnswer { why: format!("{what}: {}", causes(&error.without_url())), untrusted }
}

/// The innermost cause says most ("connection refused"); the layers above only repeat that something failed.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
