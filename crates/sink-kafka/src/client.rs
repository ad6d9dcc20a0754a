//! What librdkafka tells of its connections, and what whoever runs wellorder can do about it.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
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
                let fix = remedy(behind).or(code.and_then(remedy)).unwrap_or(BROKERS);
                Ails { why: format!("{fault}: {said}"), fix: fix.to_owned() }
            }
            None => Ails {
                why: fault.to_owned(),
                fix: code.and_then(remedy).unwrap_or("look at the brokers").to_owned(),
            },
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

const BROKERS: &str = "start the broker, or name another with kafka.brokers";

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
        Code::SSL => "check kafka.security, kafka.ca_file, kafka.cert_file and kafka.key_file",
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
