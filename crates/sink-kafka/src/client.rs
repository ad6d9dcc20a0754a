//! What librdkafka tells of its connections, and what whoever runs wellorder can do about it.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// What librdkafka tells, from its own threads.
#[derive(Default)]
pub(crate) struct Reports {
    /// Since when no broker is in reach.
    outage: Mutex<Option<Instant>>,
    /// What was said of a broker last.
    last: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl Reports {
    /// A broker was in reach.
    pub(crate) fn reached(&self) {
        locked(&self.outage).take();
    }

    /// Since when no broker is in reach; `None` while one is.
    pub(crate) fn out_since(&self) -> Option<Instant> {
        *locked(&self.outage)
    }

    /// `fault` with what is behind it, and what to look at: brokers say more than the call that failed.
    pub(crate) fn explained(&self, fault: &str, code: Option<RDKafkaErrorCode>) -> Ails {
        match locked(&self.last).take() {
            Some((behind, said)) => {
                let fix = remedy_of(&said).or(remedy(behind)).or(code.and_then(remedy)).unwrap_or(BROKERS);
                Ails { why: format!("{fault}: {said}"), fix: fix.to_owned() }
            }
            None => {
                let fix = match code {
                    Some(RDKafkaErrorCode::BrokerTransportFailure) => SILENT,
                    _ => code.and_then(remedy).unwrap_or("look at the brokers"),
                };
                Ails { why: fault.to_owned(), fix: fix.to_owned() }
            }
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "kafka: {message}");
            }
            // An outage is told by whoever follows, once.
            _ => tracing::debug!(facility, "kafka: {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.reached();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                locked(&self.outage).get_or_insert_with(Instant::now);
            }
            Some(code) => *locked(&self.last) = Some((code, reason.to_owned())),
            None => {}
        }
    }
}

/// What is wrong with brokers, a topic or the way there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {fix}")]
pub struct Ails {
    /// What is wrong.
    pub why: String,
    /// What to do, with the setting to look at.
    pub fix: String,
}

/// Where a connection ended and nobody says why: so brokers do with what they do not understand.
const SILENT: &str =
    "start the broker, or name another with kafka.brokers; if it runs, set kafka.security to what it speaks";
/// Where librdkafka guesses that a listener of the brokers speaks TLS and we do not, or the other way round.
const SECURITY: &str =
    "set kafka.security to what that listener of the brokers speaks, or mend kafka.brokers";
/// Where brokers ask for a certificate and get none, or none that they believe.
const CERTIFICATE: &str =
    "set kafka.cert_file and kafka.key_file to a certificate that the brokers believe, and its key";
const BROKERS: &str = "start the broker, or name another with kafka.brokers";

/// What to do about something that was said, where its words tell more than its kind.
fn remedy_of(said: &str) -> Option<&'static str> {
    if said.contains("security.protocol") || said.contains("PLAINTEXT broker listener") {
        Some(SECURITY)
    } else if said.contains("alert bad certificate") || said.contains("alert certificate required") {
        Some(CERTIFICATE)
    } else {
        None
    }
}

/// What to do about an error, where that is known.
fn remedy(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::NodeUpdate
        // What was given up because no broker was in reach.
        | Code::PurgeQueue
        | Code::PurgeInflight => BROKERS,
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "check kafka.sasl_mechanism, kafka.username and kafka.password"
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            "set kafka.sasl_mechanism to one that the brokers take"
        }
        // OpenSSL does not tell what is wrong with a certificate.
        Code::SSL => {
            "check kafka.security, kafka.ca_file, and that the certificate is for the host in kafka.brokers and good now \
             (openssl s_client -connect HOST:PORT shows it); where brokers ask for a certificate, kafka.cert_file and \
             kafka.key_file"
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            "let this login (kafka.username) write to the topic, or read it, with an ACL of the brokers"
        }
        Code::GroupAuthorizationFailed => {
            "let this login (kafka.username) read as a member of the group, with an ACL of the brokers"
        }
        Code::InconsistentGroupProtocol => "let all members of the group share partitions in the same way",
        Code::InvalidReplicationFactor | Code::PolicyViolation | Code::InvalidPartitions => {
            "set kafka.partitions and kafka.replication to what the brokers allow, or make the topic yourself"
        }
        Code::MessageSizeTooLarge => {
            "raise message.max.bytes of the brokers (max.message.bytes of the topic) and kafka.message_max_kib"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "bring the missing replicas back: fewer are in sync than min.insync.replicas asks for"
        }
        _ => return None,
    })
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
