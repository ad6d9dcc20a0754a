//! Settings of Kafka.

use super::{Inputs, as_json, as_rows, env, load, load_ok, problems, toml};

/// What is wrong with these lines of `[kafka]`.
fn said(lines: &str) -> String {
    problems(&toml(&format!("[kafka]\n{lines}")))
}

/// What a build cannot do is told whatever else is right.
fn builds(said: &str) -> bool {
    said.is_empty() || said.lines().skip(1).all(|line| line.contains("--features kafka"))
}

#[test]
fn the_defaults() {
    let rows = as_rows(&load_ok(&Inputs::default())).into_iter();
    let rows = rows.filter(|[key, ..]| key.starts_with("kafka."));
    let rows = rows.map(|[key, value, ..]| format!("{key} = {value}\n"));
    insta::assert_snapshot!(rows.collect::<String>(), @r"
    kafka.brokers = 
    kafka.topic = wellorder.events
    kafka.security = plaintext
    kafka.ca_file = 
    kafka.cert_file = 
    kafka.key_file = 
    kafka.sasl_mechanism = 
    kafka.username = 
    kafka.password = 
    kafka.password_file = 
    kafka.insecure = false
    kafka.message_max_kib = 1024
    kafka.delivery_timeout_ms = 30000
    kafka.create_topics = true
    kafka.partitions = 12
    kafka.replication = 0
    ");
}

#[test]
fn brokers_are_named_by_the_usual_variable_too() {
    if cfg!(feature = "kafka") {
        let kafka = load_ok(&env([("KAFKA_BROKERS", "127.0.0.1:9092, localhost:9093")])).settings.kafka;
        assert_eq!(kafka.brokers, "127.0.0.1:9092,localhost:9093");
    }
}

#[test]
fn a_build_without_kafka_names_the_command_that_makes_one() {
    let said = said("brokers = \"127.0.0.1:9092\"");
    assert_eq!(said.is_empty(), cfg!(feature = "kafka"));
    assert!(builds(&said), "{said}");
    let said = problems(&toml("[kafka]\nbrokers = \"127.0.0.1:9092\"\nsecurity = \"tls\""));
    assert_eq!(said.is_empty(), cfg!(feature = "kafka-tls"));
    assert!(builds(&said), "{said}");
}

#[cfg(feature = "kafka")]
#[test]
fn events_go_over_a_network_protected_or_said_aloud() {
    let network = "brokers = \"127.0.0.1:1,kafka.example:9093\"\n";
    let login = "sasl_mechanism = \"scram-sha-512\"\nusername = \"w\"\npassword = \"p\"\n";
    for (lines, wants) in [
        (String::new(), Some("kafka.brokers leads over a network")),
        ("security = \"tls\"\n".to_owned(), Some("kafka.brokers leads over a network")),
        (login.to_owned(), Some("kafka.brokers leads over a network")),
        (format!("security = \"tls\"\n{login}"), None),
        ("security = \"tls\"\ncert_file = \"c\"\nkey_file = \"k\"\n".to_owned(), None),
        ("insecure = true\n".to_owned(), None),
    ] {
        let said = said(&format!("{network}{lines}"));
        match wants {
            Some(part) => assert!(said.contains(part) && said.contains("insecure = true"), "{lines}: {said}"),
            None => assert!(builds(&said), "{lines}: {said}"),
        }
    }
}

#[cfg(feature = "kafka")]
#[test]
fn what_does_not_fit_is_named_with_its_fix() {
    let local = "brokers = \"127.0.0.1:9092\"\n";
    for (lines, parts) in [
        ("topic = \"a/b\"", ["kafka.topic is no name", "A-Z a-z 0-9"]),
        ("username = \"w\"", ["kafka.username is set", "set kafka.sasl_mechanism"]),
        ("password = \"hunter2\"", ["kafka.password is set", "set kafka.sasl_mechanism"]),
        (
            "sasl_mechanism = \"scram-sha-256\"\nusername = \"w\"",
            ["kafka.password: is not set", "password_file"],
        ),
        (
            "sasl_mechanism = \"scram-sha-256\"\npassword = \"hunter2\"",
            ["kafka.username: is not set", "brokers know"],
        ),
        (
            "sasl_mechanism = \"scram-sha-256\"\nusername = \"w\"\npassword = \"hunter2\"\npassword_file = \"f\"",
            ["kafka.password and kafka.password_file", "keep one"],
        ),
        (
            "sasl_mechanism = \"plain\"\nusername = \"w\"\npassword = \"hunter2\"",
            ["sends the password", "scram-sha-512"],
        ),
        ("ca_file = \"ca.pem\"", ["kafka.ca_file is set", "security = \"tls\""]),
        ("security = \"tls\"\ncert_file = \"c.pem\"", ["kafka.key_file: is not set", "set both"]),
    ] {
        let said = said(&format!("{local}{lines}"));
        assert!(parts.iter().all(|part| said.contains(part)), "{lines}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert!(said("brokers = \"kafka\"").contains("HOST:PORT,HOST:PORT"));
    // A reason and a key must fit beside what is parked.
    assert!(said("message_max_kib = 15").contains("kafka.message_max_kib"));
    // Nothing is asked of settings that have no use.
    assert_eq!(said("topic = \"w\""), "");
}

#[test]
fn the_password_is_never_shown() {
    let login = "sasl_mechanism = \"scram-sha-256\"\nusername = \"w\"\npassword = \"hunter2\"";
    let loaded = load(&toml(&format!("[kafka]\nbrokers = \"localhost:9092\"\n{login}")));
    assert_eq!(loaded.is_ok(), cfg!(feature = "kafka-tls"));
    let everything = match loaded {
        Ok(config) => format!("{:?} {} {:?}", as_rows(&config), as_json(&config), config.settings),
        Err(problems) => problems.to_string(),
    };
    assert!(!everything.contains("hunter2"), "{everything}");
}
