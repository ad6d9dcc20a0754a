//! TLS 1.2 and 1.3, by rustls on ring; HTTP/1.1 inside, and HTTP/2 for those who offer nothing else (gRPC).

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const FAILED: &str = "wellorder_tls_handshakes_failed_total";
/// The first byte of a handshake (RFC 8446 §5.1: the content type of its record).
const HANDSHAKE: u8 = 22;

/// Why certificate and key cannot be used.
#[derive(Debug)]
pub enum InvalidTls {
    /// The certificate file holds no certificate, or something else in its place.
    Certificate(String),
    /// The key file holds no private key.
    Key(String),
    /// They do not belong together, or nothing can be signed with the key.
    Pair(String),
}

impl std::fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate(why) => write!(f, "the certificate cannot be read: {why}"),
            Self::Key(why) => write!(f, "the private key cannot be read: {why}"),
            Self::Pair(why) => write!(f, "certificate and private key cannot be used together: {why}"),
        }
    }
}

impl std::error::Error for InvalidTls {}

/// What a server proves itself with. It can be replaced while connections are accepted; those that are there keep what
/// they began with.
pub struct Tls(RwLock<Proof>);

#[derive(Clone)]
struct Proof {
    config: Arc<ServerConfig>,
    /// The server's own certificate.
    certificate: CertificateDer<'static>,
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its private key (PKCS #8, PKCS #1 or SEC 1), both PEM.
    ///
    /// # Errors
    /// Why they cannot be used; never a part of the key.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        Ok(Self(RwLock::new(proof(certificates, key)?)))
    }

    /// The same from now on, for new connections.
    ///
    /// # Errors
    /// Why they cannot be used; then nothing changes.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), InvalidTls> {
        let proof = proof(certificates, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = proof;
        Ok(())
    }

    /// The server's own certificate as new connections are shown it, encoded as DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.proof().certificate.to_vec()
    }

    fn proof(&self) -> Proof {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a connection, in this time at most.
    pub(crate) async fn begin(&self, stream: TcpStream, patience: Duration) -> Option<Begun> {
        let config = self.proof().config;
        let why = match tokio::time::timeout(patience, handshake(config, stream)).await {
            Ok(Ok(begun)) => {
                if matches!(begun, Begun::Plain(_)) {
                    failed("plain", 1);
                }
                return Some(begun);
            }
            // It went away before it said anything: whoever looks whether the port is open does that.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                "refused"
            }
            Err(_) => "timeout",
        };
        failed(why, 1);
        None
    }
}

/// How a connection began.
pub(crate) enum Begun {
    /// With a handshake.
    Tls(Box<TlsStream<TcpStream>>),
    /// With something else: it speaks plain HTTP, most likely.
    Plain(TcpStream),
}

async fn handshake(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<Begun> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != HANDSHAKE {
        return Ok(Begun::Plain(stream));
    }
    Ok(Begun::Tls(Box::new(TlsAcceptor::from(config).accept(stream).await?)))
}

fn proof(certificates: &[u8], key: &[u8]) -> Result<Proof, InvalidTls> {
    let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| InvalidTls::Certificate(error.to_string()))?;
    let none = || InvalidTls::Certificate("there is none in it".to_owned());
    let certificate = chain.first().ok_or_else(none)?.clone();
    // What this error prints could be a part of the file.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| InvalidTls::Key("there is none in it, or not as PEM".to_owned()))?;
    let pair = |error: rustls::Error| InvalidTls::Pair(error.to_string());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    // Who speaks both gets HTTP/1.1: HTTP/2 is for gRPC, whose clients offer nothing else.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    Ok(Proof { config: Arc::new(config), certificate })
}

/// Says what is measured here, with the zeros that rates rise from.
pub(crate) fn describe() {
    metrics::describe_counter!(FAILED, "TLS connections that did not begin, by why");
    for why in ["plain", "refused", "timeout"] {
        failed(why, 0);
    }
}

fn failed(why: &'static str, count: u64) {
    metrics::counter!(FAILED, "why" => why).increment(count);
}
