//! The one connection, which mends itself.

use crate::Error;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, TlsCertificates};
use std::time::Duration;

/// Longest wait between two tries to connect.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Where Redis is.
#[derive(Clone)]
pub struct Options {
    /// `redis://…`, or `rediss://…` over TLS, with user and password if it asks for them.
    pub url: String,
    /// Certificates of authorities (PEM) that are believed instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// Longest wait for an answer, and for a connection.
    pub timeout: Duration,
}

/// What a URL says, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an address.
    pub host: String,
    /// Of TCP.
    pub port: u16,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is none of a Redis over TCP, or asks that a certificate be believed unseen.
    pub fn of(url: &str) -> Result<Self, Error> {
        let found = url.into_connection_info().map_err(|error| Error::Url(without_secrets(&error)))?;
        match found.addr() {
            ConnectionAddr::Tcp(host, port) => Ok(Self { host: host.clone(), port: *port, tls: false }),
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                Err(Error::Url("#insecure is not supported".to_owned()))
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                Ok(Self { host: host.clone(), port: *port, tls: true })
            }
            _ => Err(Error::Url("no host".to_owned())),
        }
    }
}

/// Redis, over one connection that many share. Cheap to clone.
#[derive(Clone)]
pub struct RedisKv {
    pub(crate) connection: ConnectionManager,
    timeout: Duration,
}

impl RedisKv {
    /// Connects when it is first asked for something, and anew whenever the connection was lost. Must be called in a
    /// runtime of tokio; over TLS, the process must have a provider of cryptography.
    ///
    /// # Errors
    /// The URL or the certificates cannot be used. An unreachable server is no error here.
    pub fn open(options: &Options) -> Result<Self, Error> {
        Place::of(&options.url)?;
        let unusable = |error: RedisError| Error::Url(without_secrets(&error));
        let client = match &options.authorities {
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(options.url.as_str(), certificates)
                    .map_err(|error| Error::Authorities(without_secrets(&error)))?
            }
            None => Client::open(options.url.as_str()).map_err(unusable)?,
        };
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout))
            .set_number_of_retries(0)
            .set_max_delay(RETRY_MAX);
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(unusable)?;
        Ok(Self { connection, timeout: options.timeout })
    }

    /// Asks whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut connection = self.connection.clone();
        let asked = redis::cmd("PING");
        self.within(asked.query_async::<()>(&mut connection)).await
    }

    /// Keeps `value` under `key` for `ttl`, whole seconds, instead of what was there.
    ///
    /// # Errors
    /// It is not there, or refuses; it may have kept it all the same.
    pub async fn keep(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), Error> {
        let mut connection = self.connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(key).arg(value).arg("EX").arg(ttl.as_secs().max(1));
        match self.within(set.query_async::<()>(&mut connection)).await {
            // A server that was started anew has broken the connection, which only a use of it shows; twice does no harm.
            Err(Error::Unavailable(_)) => self.within(set.query_async::<()>(&mut connection)).await,
            kept => kept,
        }
    }

    /// The limit of the library alone would leave out how long a connection takes to be made.
    pub(crate) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>> + Send,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_timeout() => Err(Error::TimedOut(self.timeout)),
            Ok(Err(error)) if is_of_login(&error) => Err(Error::Login(without_secrets(&error))),
            Ok(Err(error)) => Err(Error::Unavailable(without_secrets(&error))),
            Err(_) => Err(Error::TimedOut(self.timeout)),
        }
    }
}

/// Whether the server asks for another login, or for one at all.
fn is_of_login(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// What the library says; it never repeats what it was given but for what the server answered.
fn without_secrets(error: &RedisError) -> String {
    let what = error.code().unwrap_or_else(|| error.category());
    error.detail().map_or_else(|| error.to_string(), |detail| format!("{what}: {detail}"))
}
