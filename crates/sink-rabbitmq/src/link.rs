//! Connections, and what is wrong when there is none, in words for people.

use crate::address::Address;
use lapin::options::ConfirmSelectOptions;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::ShortString;
use lapin::{Channel, Connection, ConnectionProperties, Error, ErrorKind};
use order_core::remote::BadCertificate;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// How often each side says at least that it is there, in seconds, unless the address says otherwise (`?heartbeat=SECONDS`).
/// Who is silent for twice as long is gone, though nothing else tells: the server's own wish, a minute, would be too long.
const HEARTBEAT: u16 = 10;

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is, and the login.
    pub address: Address,
    /// Certificates (PEM) that are trusted besides the public ones.
    pub ca_pem: Option<String>,
    /// Longest time to connect and log in.
    pub connect_timeout: Duration,
    /// Longest time for the server to answer or to confirm.
    pub answer_timeout: Duration,
}

impl Options {
    /// With the usual times: 5 seconds to connect, 30 to confirm.
    pub fn new(address: Address) -> Self {
        let (connect_timeout, answer_timeout) = (Duration::from_secs(5), Duration::from_secs(30));
        Self { address, ca_pem: None, connect_timeout, answer_timeout }
    }
}

/// Why the server is of no use now, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub why: String,
    /// What to do, with the setting to look at, where that is known.
    pub fix: Option<&'static str>,
}

impl std::error::Error for Trouble {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        self.fix.map_or(Ok(()), |fix| write!(f, "; {fix}"))
    }
}

impl Trouble {
    /// One that nobody can say more of.
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), fix: None }
    }

    /// A declaration that was refused.
    pub(crate) fn declaring(what: &str, name: &str, error: &Error) -> Self {
        let fix = match soft(error) {
            Some(AMQPSoftError::PRECONDITIONFAILED) => {
                Some("it is there with other properties: delete it, or name another")
            }
            Some(AMQPSoftError::ACCESSREFUSED) => {
                Some("give the user of rabbitmq.url the right to configure it")
            }
            _ => None,
        };
        Self { why: format!("cannot declare the {what} {name}: {error}"), fix }
    }

    fn connecting(address: &Address, error: &Error) -> Self {
        let fix = match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    "check the user, the password and the vhost in rabbitmq.url"
                }
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                    "check the vhost in rabbitmq.url, and the user's right to it"
                }
                _ => "check rabbitmq.url",
            },
            ErrorKind::IOError(_) if address.is_tls() => match BadCertificate::of(&error.to_string()) {
                Some(BadCertificate::Issuer) => "name the authority of its certificate with rabbitmq.ca_file",
                Some(BadCertificate::Name) => "name the server in rabbitmq.url as its certificate does",
                Some(BadCertificate::Time) => {
                    "give the server a certificate that is good now, or set the clock here; it is the one of rabbitmq.url"
                }
                None => "check host and port in rabbitmq.url, that they speak TLS, and rabbitmq.ca_file",
            },
            _ => "check host and port in rabbitmq.url, and that the server runs",
        };
        Self { why: format!("cannot connect: {error}"), fix: Some(fix) }
    }
}

fn soft(error: &Error) -> Option<&AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

/// Something else that failed on a connection.
pub(crate) fn broken(what: &str) -> impl FnOnce(Error) -> Trouble {
    let what = what.to_owned();
    move |error| Trouble::new(format!("{what}: {error}"))
}

/// A name as the protocol takes it.
pub(crate) fn name(text: &str) -> Result<ShortString, Trouble> {
    ShortString::try_new(text).map_err(|_| Trouble::new(format!("the name {text} is longer than 255 bytes")))
}

/// Connects and logs in. A connection that breaks stays broken: whoever uses it makes another.
pub(crate) async fn connect(options: &Options, what: &str) -> Result<Connection, Trouble> {
    let address = &options.address;
    let named = format!("wellorder {what}");
    let properties = ConnectionProperties::default().with_connection_name(named.into());
    let tls = OwnedTLSConfig { identity: None, cert_chain: options.ca_pem.clone() };
    let runtime = lapin::runtime::default_runtime().map_err(broken("no runtime"))?;
    let mut uri = address.uri();
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    match timeout(options.connect_timeout, connecting).await {
        Ok(connected) => connected.map_err(|error| Trouble::connecting(address, &error)),
        Err(_) => Err(Trouble {
            why: format!("no answer within {} ms", options.connect_timeout.as_millis()),
            fix: Some("check host and port in rabbitmq.url"),
        }),
    }
}

/// What a server is asked for, if it answers in time: one that hangs would never.
pub(crate) async fn in_time<T>(
    options: &Options,
    asked: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let patience = options.answer_timeout;
    let late = |_| Trouble::new(format!("no answer within {} ms", patience.as_millis()));
    timeout(patience, asked).await.map_err(late)?
}

/// A channel on which the server confirms what it has taken.
#[derive(Clone)]
pub(crate) struct Confirming {
    pub(crate) channel: Channel,
    /// The largest frame that both sides agreed to.
    pub(crate) frame_bytes_max: usize,
}

impl Confirming {
    pub(crate) async fn open(connection: &Connection) -> Result<Self, Trouble> {
        let channel = connection.create_channel().await.map_err(broken("cannot open a channel"))?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(broken("no confirms"))?;
        let frame_bytes_max = usize::try_from(connection.configuration().frame_max()).unwrap_or(usize::MAX);
        Ok(Self { channel, frame_bytes_max })
    }
}

/// Connects and logs in; which server it is.
///
/// # Errors
/// What is in the way.
pub async fn probe(options: &Options) -> Result<String, Trouble> {
    let connection = connect(options, "probe").await?;
    let vhost = options.address.vhost();
    // It is of no use any more, whether it says goodbye or not.
    drop(connection.close(200, "done".into()).await);
    Ok(format!("vhost {vhost} can be used"))
}
