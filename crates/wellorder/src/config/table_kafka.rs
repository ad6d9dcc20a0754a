//! Settings of Kafka.

use super::{
    settings::{KafkaLogin, Settings},
    shape::Shape::{Count, MaybePath, MaybeWord, Millis, Secret, Switch, Text, Word},
    table::{Default::Is, HOUR_MS, Setting, small},
};

const LOGINS: &[&str] = &["plain", "scram-sha-256", "scram-sha-512"];
const LOGIN_VALUES: [KafkaLogin; 3] = [KafkaLogin::Plain, KafkaLogin::ScramSha256, KafkaLogin::ScramSha512];

fn set_login(settings: &mut Settings, word: Option<&str>) {
    let place = word.and_then(|word| LOGINS.iter().position(|login| *login == word));
    settings.kafka.sasl = place.map(|place| LOGIN_VALUES[place]);
}

/// Blanks mean nothing in a list of brokers.
fn set_brokers(settings: &mut Settings, text: &str) {
    settings.kafka.brokers = text.split_whitespace().collect();
}

/// The table's range keeps it within 16 bits; this says so to the compiler.
fn few(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

pub(super) const KAFKA: &[Setting] = &[
    Setting::new(
        "kafka.brokers",
        Is(""),
        Text { set: set_brokers },
        "brokers of Kafka that get every event, HOST:PORT apart by commas; empty is off",
    )
    .or(&["KAFKA_BROKERS"]),
    Setting::new(
        "kafka.topic",
        Is("wellorder.events"),
        Text { set: |s, v| v.clone_into(&mut s.kafka.topic) },
        "topic that every event goes to",
    ),
    Setting::new(
        "kafka.security",
        Is("plaintext"),
        Word { words: &["plaintext", "tls"], set: |s, place| s.kafka.tls = place == 1 },
        "what brokers are reached over",
    ),
    Setting::new(
        "kafka.ca_file",
        Is(""),
        MaybePath { set: |s, v| s.kafka.ca_file = v },
        "authorities that vouch for brokers (PEM), else those of the system",
    ),
    Setting::new(
        "kafka.cert_file",
        Is(""),
        MaybePath { set: |s, v| s.kafka.cert_file = v },
        "certificate for brokers that ask for one (PEM)",
    ),
    Setting::new(
        "kafka.key_file",
        Is(""),
        MaybePath { set: |s, v| s.kafka.key_file = v },
        "its private key (PEM)",
    ),
    Setting::new(
        "kafka.sasl_mechanism",
        Is(""),
        MaybeWord { words: LOGINS, set: set_login },
        "how the login is proved to brokers that ask for one; empty is no login",
    ),
    Setting::new(
        "kafka.username",
        Is(""),
        Text { set: |s, v| v.clone_into(&mut s.kafka.username) },
        "whose login it is",
    ),
    Setting::new("kafka.password", Is(""), Secret { set: |s, v| s.kafka.password = v }, "its password")
        .secret(),
    Setting::new(
        "kafka.password_file",
        Is(""),
        MaybePath { set: |s, v| s.kafka.password_file = v },
        "file with that password instead; read at start",
    ),
    Setting::new(
        "kafka.insecure",
        Is("false"),
        Switch { set: |s, v| s.kafka.insecure = v },
        "whether events may go over a network without TLS and login",
    ),
    Setting::new(
        "kafka.message_max_kib",
        Is("1024"),
        Count { min: 16, max: 262_144, set: |s, v| s.kafka.record_bytes_max = small(v * 1024) },
        "largest record; the brokers' message.max.bytes must allow it",
    ),
    Setting::new(
        "kafka.delivery_timeout_ms",
        Is("30000"),
        Millis { min: 1000, max: HOUR_MS, set: |s, v| s.kafka.delivery_timeout = v },
        "longest time for a record to be safe, retries included; then it comes again",
    ),
    Setting::new(
        "kafka.create_topics",
        Is("true"),
        Switch { set: |s, v| s.kafka.create_topics = v },
        "whether topics that are missing are made",
    ),
    Setting::new(
        "kafka.partitions",
        Is("12"),
        Count { min: 1, max: 10_000, set: |s, v| s.kafka.partitions = few(v) },
        "partitions of a topic that is made",
    ),
    Setting::new(
        "kafka.replication",
        Is("0"),
        Count { min: 0, max: 100, set: |s, v| s.kafka.replication = few(v) },
        "copies of each of its partitions; 0 is what the brokers say",
    ),
];
