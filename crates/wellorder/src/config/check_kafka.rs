//! Settings of Kafka that must fit one another.

use super::check::is_loopback;
use super::settings::{Kafka, KafkaLogin, Settings};

/// What to build when this program cannot do what is asked of it.
const BUILD: &str = "build it with `cargo build --release -p wellorder --features kafka`, or remove this";
const BUILD_TLS: &str =
    "build it with `cargo build --release -p wellorder --features kafka-tls`, which needs OpenSSL";

/// Adds what does not fit. The setting to mend comes first in the list given to `add`.
pub(super) fn kafka(settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let kafka = &settings.kafka;
    if kafka.brokers.is_empty() {
        without_brokers(kafka, add);
        if settings.left_to_kafka() {
            let what = "is kafka, and kafka.brokers is not set";
            add(
                &["contracts.orderstream.processor", "kafka.brokers"],
                what,
                "set kafka.brokers, or remove this",
            );
        }
        return;
    }
    if !cfg!(feature = "kafka") {
        add(&["kafka.brokers"], "is set, and this program was built without Kafka", BUILD);
        return;
    }
    let Some(hosts) = hosts(&kafka.brokers) else {
        add(&["kafka.brokers"], "is no list of brokers", "write HOST:PORT,HOST:PORT");
        return;
    };
    if !is_topic(&kafka.topic) {
        let fix = "use up to 249 of A-Z a-z 0-9 . _ -";
        add(&["kafka.topic"], "is no name of a topic", fix);
    }
    topics(settings, add);
    login(kafka, add);
    tls(kafka, add);
    let protected = kafka.tls && (kafka.sasl.is_some() || kafka.cert_file.is_some());
    if !protected && !kafka.insecure && !hosts.iter().all(|host| is_loopback(host)) {
        let what = "leads over a network, where everybody on the way could read and write orders";
        let fix = "set kafka.security = \"tls\", and a login (kafka.sasl_mechanism) or kafka.cert_file; or say \
                   kafka.insecure = true";
        add(&["kafka.brokers", "kafka.security", "kafka.sasl_mechanism", "kafka.insecure"], what, fix);
    }
}

/// Who says how brokers are to be trusted wants some.
fn without_brokers(kafka: &Kafka, add: &mut impl FnMut(&[&str], &str, &str)) {
    let given = [
        ("kafka.ca_file", kafka.ca_file.is_some()),
        ("kafka.cert_file", kafka.cert_file.is_some()),
        ("kafka.key_file", kafka.key_file.is_some()),
        ("kafka.sasl_mechanism", kafka.sasl.is_some()),
        ("kafka.username", !kafka.username.is_empty()),
        ("kafka.password", kafka.password.text().is_some()),
        ("kafka.password_file", kafka.password_file.is_some()),
    ];
    for (path, _) in given.into_iter().filter(|(_, given)| *given) {
        let fix = "set kafka.brokers, or remove this";
        add(&[path, "kafka.brokers"], "is set, and kafka.brokers is not", fix);
    }
}

/// Topics of contracts: each its own, for what is told in one would be read as something else in another.
fn topics(settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let (sales, ours) = (&settings.sales.topic, &settings.orderstream);
    if !sales.is_empty() && !is_topic(sales) {
        let fix = "use up to 249 of A-Z a-z 0-9 . _ -, or leave it empty for none";
        add(&["contracts.sales.topic"], "is no name of a topic", fix);
    }
    // With room for what is parked of it.
    let fits = |name: &str| is_topic(name) && name.len() <= 240;
    let (events, acks) = ("contracts.orderstream.events_topic", "contracts.orderstream.ack_topic");
    for (path, topic) in [(events, &ours.events_topic), (acks, &ours.ack_topic)] {
        if !fits(topic) {
            add(&[path], "is no name of a topic", "use up to 240 of A-Z a-z 0-9 . _ -");
        }
    }
    let all = [
        ("kafka.topic", &settings.kafka.topic),
        (events, &ours.events_topic),
        (acks, &ours.ack_topic),
        ("contracts.sales.topic", sales),
    ];
    for (at, (path, topic)) in all.iter().enumerate().filter(|(_, (_, topic))| !topic.is_empty()) {
        if let Some((taken, _)) = all.iter().take(at).find(|(_, other)| other == topic) {
            add(&[path, taken], &format!("is the topic of {taken} too"), "use another topic");
        }
        let parked = [(events, &ours.events_topic), (acks, &ours.ack_topic)];
        if let Some((of, _)) = parked.iter().find(|(_, of)| **topic == format!("{of}.parked")) {
            add(&[path, of], &format!("is where messages of {of} are parked"), "use another topic");
        }
    }
    if ours.worker_group.is_empty() {
        add(&["contracts.orderstream.worker_group"], "is empty", "name a group, such as order-workers");
    }
}

fn login(kafka: &Kafka, add: &mut impl FnMut(&[&str], &str, &str)) {
    let Some(mechanism) = kafka.sasl else {
        let given = [
            ("kafka.username", !kafka.username.is_empty()),
            ("kafka.password", kafka.password.text().is_some()),
            ("kafka.password_file", kafka.password_file.is_some()),
        ];
        for (path, _) in given.into_iter().filter(|(_, given)| *given) {
            let fix = "set kafka.sasl_mechanism, such as scram-sha-512, or remove this";
            add(&[path, "kafka.sasl_mechanism"], "is set, and nothing says how the login is proved", fix);
        }
        return;
    };
    if !cfg!(feature = "kafka-tls") {
        add(
            &["kafka.sasl_mechanism"],
            "is set, and this program was built without logins for Kafka",
            BUILD_TLS,
        );
    }
    if kafka.username.is_empty() {
        let what = "is not set, and kafka.sasl_mechanism is";
        add(&["kafka.username", "kafka.sasl_mechanism"], what, "set it to the name that the brokers know");
    }
    let paths = ["kafka.password", "kafka.password_file", "kafka.sasl_mechanism"];
    match (kafka.password.text(), &kafka.password_file) {
        (None, None) => {
            let fix = "set it, or kafka.password_file";
            add(&paths, "is not set, and kafka.sasl_mechanism is", fix);
        }
        (Some(_), Some(_)) => add(&paths, "and kafka.password_file are both set", "keep one of them"),
        _ => {}
    }
    if mechanism == KafkaLogin::Plain && !kafka.tls && !kafka.insecure {
        let what = "is plain, which sends the password as it is";
        let fix = "set kafka.security = \"tls\", or use scram-sha-512";
        add(&["kafka.sasl_mechanism", "kafka.security", "kafka.insecure"], what, fix);
    }
}

fn tls(kafka: &Kafka, add: &mut impl FnMut(&[&str], &str, &str)) {
    if kafka.tls && !cfg!(feature = "kafka-tls") {
        add(&["kafka.security"], "is tls, and this program was built without TLS for Kafka", BUILD_TLS);
    }
    let files = [
        ("kafka.ca_file", &kafka.ca_file),
        ("kafka.cert_file", &kafka.cert_file),
        ("kafka.key_file", &kafka.key_file),
    ];
    for (path, _) in files.iter().filter(|(_, file)| file.is_some() && !kafka.tls) {
        let what = "is set, and kafka.security is not tls";
        add(&[path, "kafka.security"], what, "set kafka.security = \"tls\", or remove this");
    }
    for (missing, given) in [(files[1], files[2]), (files[2], files[1])] {
        if missing.1.is_none() && given.1.is_some() {
            let what = format!("is not set, and {} is", given.0);
            add(&[missing.0, given.0], &what, "set both, or none");
        }
    }
}

/// The hosts of a list of `HOST:PORT`.
fn hosts(brokers: &str) -> Option<Vec<&str>> {
    brokers.split(',').map(host).collect()
}

fn host(broker: &str) -> Option<&str> {
    let (host, port) = broker.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        }
    };
    let port: u16 = port.parse().ok()?;
    (fits && port > 0).then_some(bare.unwrap_or(host))
}

/// What Kafka takes for the name of a topic.
fn is_topic(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 249 && name.bytes().all(fits) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_and_ports() {
        for good in ["a:1", "127.0.0.1:9092,b.example.com:9093", "[::1]:9092", "under_score:65535"] {
            assert!(hosts(good).is_some(), "{good}");
        }
        for bad in
            ["a", "a:", ":1", "a:0", "a:65536", "a:1,", "kafka://a:1", "a b:1", "[::1:9092", "::1:9092"]
        {
            assert_eq!(hosts(bad), None, "{bad}");
        }
    }
}
