//! How brokers are reached.

use rdkafka::ClientConfig;
use std::path::PathBuf;
use std::time::Duration;

/// How brokers are reached.
#[derive(Debug, Clone)]
pub struct Options {
    /// `HOST:PORT`, apart by commas.
    pub brokers: String,
    /// What protects the connection.
    pub security: Security,
    /// Login, if brokers ask for one.
    pub sasl: Option<Sasl>,
    /// Longest time for one record to be safe, retries included; at least a second.
    pub delivery_timeout: Duration,
    /// Largest record; 1 000 to 1 000 000 000 bytes.
    pub record_bytes_max: usize,
    /// How a topic that is missing is made; `None`: it is not.
    pub new_topics: Option<NewTopics>,
}

/// How a topic is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTopics {
    /// Partitions; at least 1.
    pub partitions: u16,
    /// Copies of each; what the brokers say when it is not given.
    pub replication: Option<u16>,
}

impl Default for NewTopics {
    fn default() -> Self {
        Self { partitions: 12, replication: None }
    }
}

/// What protects the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Nothing.
    Plaintext,
    /// TLS; the broker's certificate is always verified.
    Tls {
        /// A file of trusted certificates (PEM); those of the system when it is not given.
        ca_file: Option<PathBuf>,
        /// Who we are to brokers that ask for a certificate.
        identity: Option<Identity>,
    },
}

/// A certificate and its key, as files (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificates, ours first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// A login.
#[derive(Clone)]
pub struct Sasl {
    /// How it is proved.
    pub mechanism: SaslMechanism,
    /// Whose it is.
    pub username: String,
    /// The secret.
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How a login is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The secret itself: only over TLS.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OptionsError(pub(crate) String);

impl Options {
    /// Brokers without protection or login, as on loopback; records are given 30 seconds.
    pub fn plaintext(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            security: Security::Plaintext,
            sasl: None,
            delivery_timeout: Duration::from_secs(30),
            record_bytes_max: 1 << 20,
            new_topics: Some(NewTopics::default()),
        }
    }

    /// Whether librdkafka would take them.
    ///
    /// # Errors
    /// When not: which, and why.
    pub fn check(&self) -> Result<(), OptionsError> {
        if (self.security != Security::Plaintext || self.sasl.is_some()) && !cfg!(feature = "tls") {
            return Err(OptionsError(
                "this build has no TLS and no SASL for Kafka: build it with `cargo build --release -p wellorder --features kafka-tls`"
                    .to_owned(),
            ));
        }
        crate::producer::config(self)
            .create_native_config()
            .map(drop)
            .map_err(|error| OptionsError(error.to_string()))
    }

    /// What is common to producers and consumers.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "wellorder");
        config.set("message.max.bytes", self.record_bytes_max.to_string());
        // Back soon after brokers are: the default doubles up to ten seconds.
        config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
        let protocol = match (&self.security, &self.sasl) {
            (Security::Plaintext, None) => "plaintext",
            (Security::Plaintext, Some(_)) => "sasl_plaintext",
            (Security::Tls { .. }, None) => "ssl",
            (Security::Tls { .. }, Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        // A look at a topic must not make it, with as few partitions as the brokers think fit.
        config.set("allow.auto.create.topics", "false");
        if let Security::Tls { ca_file, identity } = &self.security {
            if let Some(file) = ca_file {
                config.set("ssl.ca.location", file.to_string_lossy());
            }
            if let Some(Identity { cert_file, key_file }) = identity {
                config
                    .set("ssl.certificate.location", cert_file.to_string_lossy())
                    .set("ssl.key.location", key_file.to_string_lossy());
            }
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.name())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", &sasl.password);
        }
        config
    }
}
