//! Delivers webhooks. Whoever registers an endpoint says where this server calls, so every call is vetted anew: the text of the
//! address, then all that its name stands for. The connection goes to what was vetted, and to nothing that a second question
//! about the name would say.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use order_core::ports::Deliverer;
use order_core::webhook::sending::{ANSWER_BYTES_MAX, Answered, Sending, UrlRefused};
use reqwest::{
    Method, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    BuildError, NoAnswer, Refused, Rules, Trust,
    client::{self, Client, Read},
    retry_after,
};

/// Longest wait for a connection, the look-up of the name included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of an answer is read; of that [`ANSWER_BYTES_MAX`] are kept.
const READ_BYTES: usize = 16 * 1024;
/// Addresses of a name that are tried, the first of them.
const TRIED_MAX: usize = 8;
/// Names that are looked up at once: each takes a thread, and a slow server of names must not take them all.
const LOOKUPS_MAX: usize = 32;
/// Connections to one host that are kept for the next call, and for how long: as many as several endpoints have in use there, for
/// what is not kept is made anew for every call.
const IDLE_PER_HOST: usize = 128;
const IDLE: Duration = Duration::from_secs(15);

/// Looks names up.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses that a name stands for now.
    ///
    /// # Errors
    /// When there is none, or nobody knows.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The one of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Looks names up, and gives away only what may be called.
struct Vetting {
    resolver: Arc<dyn Resolver>,
    rules: Rules,
    lookups: Semaphore,
}

impl Vetting {
    /// The first addresses of a name, if each of all that it stands for may be called.
    async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let _turn = self.lookups.acquire().await.map_err(io::Error::other)?;
        let found = self.resolver.addresses(name).await?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        self.rules.vet(&found).map_err(|refused| io::Error::new(io::ErrorKind::PermissionDenied, refused))?;
        Ok(found.into_iter().take(TRIED_MAX).map(|ip| SocketAddr::new(ip, 0)).collect())
    }
}

struct Names(Arc<Vetting>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let vetting = Arc::clone(&self.0);
        Box::pin(async move { Ok(Box::new(vetting.addresses(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

/// See the module. Clones share the connections.
#[derive(Clone)]
pub struct WebhookClient {
    client: Client,
    vetting: Arc<Vetting>,
}

impl WebhookClient {
    /// One that calls what `rules` allow, by the names as `resolver` knows them.
    ///
    /// # Errors
    /// [`BuildError`] when the client cannot be made.
    pub fn new(rules: Rules, resolver: Arc<dyn Resolver>, trust: &Trust) -> Result<Self, BuildError> {
        let vetting = Arc::new(Vetting { resolver, rules, lookups: Semaphore::new(LOOKUPS_MAX) });
        let client = Client::with(trust, |builder| {
            builder
                .dns_resolver(Names(Arc::clone(&vetting)))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .pool_idle_timeout(IDLE)
        })?;
        Ok(Self { client, vetting })
    }

    async fn post(&self, sending: Sending) -> Result<Response, NoAnswer> {
        let rules = &self.vetting.rules;
        let url = rules.check(&sending.url).map_err(refused)?;
        self.is_other(&url).await?;
        let mut request = self.client.http().request(Method::POST, url).timeout(sending.timeout);
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in sending.headers {
            let value = HeaderValue::from_str(&value);
            let value = value.map_err(|_| NoAnswer::because(format!("the header {name} cannot be sent")))?;
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(sending.body).build();
        let request = request.map_err(|_| NoAnswer::because("the address cannot be called"))?;
        let answer = self.client.send(request).await?;
        // That it is what was vetted is what this client is made for; what comes from elsewhere is not shown all the same.
        match answer.remote_addr() {
            Some(peer) if rules.admits(peer.ip()) && !rules.is_own(peer) => Ok(answer),
            _ => Err(refused(Refused::Special)),
        }
    }

    /// That a name at a port of our own leads to somebody else.
    async fn is_other(&self, url: &Url) -> Result<(), NoAnswer> {
        let Some(port) = url.port_or_known_default().filter(|port| self.vetting.rules.has_own_port(*port))
        else {
            return Ok(());
        };
        let Some(name) = url.domain() else { return Ok(()) };
        let found = tokio::time::timeout(CONNECT_TIMEOUT, self.vetting.addresses(name)).await;
        let found = found.map_err(|_| NoAnswer::because("no connection in time: the name is not known"))?;
        let found = found.map_err(|error| NoAnswer::because(format!("no connection: {error}")))?;
        let is_own = |address: &SocketAddr| self.vetting.rules.is_own(SocketAddr::new(address.ip(), port));
        if found.iter().any(is_own) { Err(refused(Refused::Own)) } else { Ok(()) }
    }
}

fn refused(why: Refused) -> NoAnswer {
    NoAnswer::because(format!("the address {why}"))
}

#[async_trait]
impl Deliverer for WebhookClient {
    async fn deliver(&self, sending: Sending) -> Answered {
        let (began, timeout) = (Instant::now(), sending.timeout);
        let mut answered = Answered::default();
        // Whatever it is that takes long: the port promises an end.
        match tokio::time::timeout(timeout, self.post(sending)).await {
            Ok(Ok(mut answer)) => {
                answered.status = Some(answer.status().as_u16());
                answered.retry_after = retry_after::from_headers(answer.headers());
                // The status is what counts: an answer whose body never ends was given all the same.
                let left = timeout.saturating_sub(began.elapsed());
                let body = client::read_body(&mut answer, READ_BYTES, Read::Start);
                if let Ok(Ok(body)) = tokio::time::timeout(left, body).await {
                    answered.body = body[..body.len().min(ANSWER_BYTES_MAX)].to_vec();
                }
            }
            Ok(Err(NoAnswer { why, .. })) => answered.why = Some(why),
            Err(_) => answered.why = Some("no answer in time".to_owned()),
        }
        answered.took = began.elapsed();
        answered
    }

    fn check(&self, url: &str) -> Result<(), UrlRefused> {
        let said = |refused: Refused| UrlRefused { rule: refused.rule(), detail: refused.to_string() };
        self.vetting.rules.check(url).map(drop).map_err(said)
    }

    fn challenges(&self) -> bool {
        self.vetting.rules.challenges()
    }
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
