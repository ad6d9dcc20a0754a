//! Settings of RabbitMQ.

use super::{Inputs, as_json, as_rows, env, load_ok, problems, toml};

/// What is wrong with these lines of `[rabbitmq]`.
fn said(lines: &str) -> String {
    problems(&toml(&format!("[rabbitmq]\n{lines}")))
}

#[test]
fn the_defaults() {
    let rows = as_rows(&load_ok(&Inputs::default())).into_iter();
    let rows = rows.filter(|[key, ..]| key.starts_with("rabbitmq."));
    let rows = rows.map(|[key, value, ..]| format!("{key} = {value}\n"));
    insta::assert_snapshot!(rows.collect::<String>(), @r"
    rabbitmq.url = 
    rabbitmq.exchange = wellorder.events
    rabbitmq.ca_file = 
    rabbitmq.insecure = false
    rabbitmq.connect_timeout_ms = 5000
    rabbitmq.confirm_timeout_ms = 30000
    rabbitmq.prefetch = 50
    rabbitmq.retry_ms = 5000,25000,125000
    ");
}

#[test]
fn waits_are_numbers_apart_by_commas() {
    for (text, expected) in [("5,25", &[5, 25][..]), (" 7 , 8,9 ", &[7, 8, 9]), ("", &[])] {
        let settings = load_ok(&toml(&format!("[rabbitmq]\nretry_ms = \"{text}\""))).settings;
        let waits = settings.rabbitmq.retries.unwrap_or_default();
        assert_eq!(waits.iter().map(std::time::Duration::as_millis).collect::<Vec<_>>(), expected);
    }
    for text in ["x", "5;25", "0", "86400001", "-1", "1,1,1,1,1,1,1,1,1,1,1"] {
        let said = said(&format!("retry_ms = \"{text}\""));
        assert!(said.contains("rabbitmq.retry_ms is no list"), "{text}: {said}");
    }
}

#[cfg(not(feature = "amqp"))]
#[test]
fn a_build_without_rabbitmq_names_the_command_that_makes_one() {
    assert!(said("url = \"amqp://127.0.0.1\"").contains("--features amqp"));
}

#[cfg(feature = "amqp")]
#[test]
fn the_server_is_named_by_the_usual_variable_too() {
    let settings = load_ok(&env([("RABBITMQ_URL", "amqp://localhost:5672")])).settings;
    assert_eq!(settings.rabbitmq.url.text(), Some("amqp://localhost:5672"));
}

#[cfg(feature = "amqp")]
#[test]
fn what_does_not_fit_is_named_with_its_fix() {
    for (lines, parts) in [
        ("url = \"http://hunter2@mq\"", ["rabbitmq.url", "amqp://USER:PASSWORD@HOST:PORT/VHOST"]),
        ("url = \"amqp://u:hunter2@mq.example\"", ["leads over a network", "amqps://"]),
        ("url = \"amqp://localhost\"\nca_file = \"ca.pem\"", ["does not speak TLS", "amqps://"]),
        ("ca_file = \"ca.pem\"", ["rabbitmq.ca_file is set", "set rabbitmq.url"]),
    ] {
        let said = said(lines);
        assert!(parts.iter().all(|part| said.contains(part)), "{lines}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for fine in [
        "url = \"amqps://u:p@mq.example/shop\"\nca_file = \"ca.pem\"",
        "url = \"amqp://mq.example\"\ninsecure = true",
        "url = \"amqp://[::1]:5672\"",
    ] {
        assert_eq!(said(fine), "", "{fine}");
    }
}

#[test]
fn the_login_is_never_shown() {
    let config = load_ok(&toml("[rabbitmq]\nurl = \"amqp://shop:hunter2@localhost\""));
    let everything = format!("{:?} {} {:?}", as_rows(&config), as_json(&config), config.settings);
    assert!(!everything.contains("hunter2"), "{everything}");
}
