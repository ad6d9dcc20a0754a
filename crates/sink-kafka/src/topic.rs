//! Topics: found, or made with as many partitions as was asked for.

use crate::Options;
use crate::client::{Ails, Reports};
use crate::options::NewTopics;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// Longest wait for what brokers say of a topic, and for its making.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks whether what was made is known to the brokers.
const SETTLING: Duration = Duration::from_millis(50);

/// How many partitions a topic has; `None` when it is not there. Blocks.
pub(crate) fn partitions<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
) -> Result<Option<usize>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(found.partitions().len())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}

/// Makes sure that `topics` are there; gives how many partitions each has. Blocks.
///
/// # Errors
/// When one is missing and cannot, or may not, be made.
pub(crate) fn ensure(
    client: &Client<Reports>,
    options: &Options,
    topics: &[String],
) -> Result<Vec<usize>, Ails> {
    topics.iter().map(|topic| ensure_one(client, options, topic)).collect()
}

fn ensure_one(client: &Client<Reports>, options: &Options, topic: &str) -> Result<usize, Ails> {
    let look = || {
        partitions(client, topic).map_err(|error| {
            let code = error.rdkafka_error_code();
            client.context().explained(&format!("topic {topic}: {error}"), code)
        })
    };
    if let Some(count) = look()? {
        return Ok(count);
    }
    let Some(new) = options.new_topics else { return Err(missing(options, topic)) };
    make(options, new, topic)?;
    tracing::info!(topic, partitions = new.partitions, "made a topic");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(Some(count)) => return Ok(count),
            Err(ails) if tokio::time::Instant::now() > deadline => return Err(ails),
            Ok(None) if tokio::time::Instant::now() > deadline => return Err(missing(options, topic)),
            // The one who made it knows it before the others do.
            Ok(None) | Err(_) => std::thread::sleep(SETTLING),
        }
    }
}

fn make(options: &Options, new: NewTopics, topic: &str) -> Result<(), Ails> {
    let failed = |error: &dyn std::fmt::Display, code: Option<RDKafkaErrorCode>| {
        let mut ails = Reports::default().explained(&format!("topic {topic} cannot be made: {error}"), code);
        ails.fix = format!("{}, or make it: {}", ails.fix, by_hand(options, topic));
        ails
    };
    let admin: AdminClient<DefaultClientContext> =
        options.config().create().map_err(|error| failed(&error, error.rdkafka_error_code()))?;
    let replication = TopicReplication::Fixed(new.replication.map_or(-1, i32::from));
    let wanted = [NewTopic::new(topic, i32::from(new.partitions), replication)];
    let patience = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let made = here(admin.create_topics(&wanted, &patience));
    let made = made.map_err(|error| failed(&error, error.rdkafka_error_code()))?;
    match made.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => Ok(()),
        Some(Err((_, code))) => Err(failed(&code, Some(code))),
    }
}

/// Waits here: whoever calls is on a thread that may block.
fn here<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

pub(crate) fn missing(options: &Options, topic: &str) -> Ails {
    Ails {
        why: format!("there is no topic {topic}"),
        fix: format!("say kafka.create_topics = true, or make it: {}", by_hand(options, topic)),
    }
}

fn by_hand(options: &Options, topic: &str) -> String {
    let partitions = options.new_topics.map_or(NewTopics::default().partitions, |new| new.partitions);
    let brokers = &options.brokers;
    format!("kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic} --partitions {partitions}")
}
