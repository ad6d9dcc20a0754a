//! Kafka over TLS, with each login that there is.

use super::kafka_server::OwnKafka;
use super::{Authorities, PASSWORD, USER, Wrong, check, orders_are_taken_in_without, told};
use crate::harness::{Home, eventually};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

type Variables<'v> = Vec<(&'v str, &'v str)>;

const BROKERS: &str = "KAFKA_BROKERS";
const TLS: (&str, &str) = ("WELLORDER_KAFKA_SECURITY", "tls");
const CA: &str = "WELLORDER_KAFKA_CA_FILE";
const CERT: &str = "WELLORDER_KAFKA_CERT_FILE";
const KEY: &str = "WELLORDER_KAFKA_KEY_FILE";
const MECHANISM: &str = "WELLORDER_KAFKA_SASL_MECHANISM";
const NAME: (&str, &str) = ("WELLORDER_KAFKA_USERNAME", USER);
const SECRET: &str = "WELLORDER_KAFKA_PASSWORD";

/// The bodies in a topic, as another program reads them without TLS.
fn bodies(kafka: &OwnKafka, topic: &str) -> Vec<Value> {
    let read =
        Command::new("kcat").args(["-C", "-q", "-e", "-b", &kafka.inner(), "-t", topic]).output().unwrap();
    let lines = String::from_utf8(read.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a record as another program does, over TLS with a login.
fn send(kafka: &OwnKafka, ca: &str, topic: &str, value: &str) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", &kafka.login(), "-t", topic, "-X", "security.protocol=sasl_ssl"]);
    let settings = [
        ("ssl.ca.location", ca),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", USER),
        ("sasl.password", PASSWORD),
    ];
    for (name, value) in settings {
        kcat.args(["-X", &format!("{name}={value}")]);
    }
    let mut kcat = kcat.stdin(Stdio::piped()).spawn().expect("kcat is missing: apt-get install kcat");
    kcat.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(kcat.wait().unwrap().success());
}

/// Orders go out over a connection with these settings, and those of other programs come in.
async fn events_flow(kafka: &OwnKafka, ca: &str, way: &str, variables: &Variables<'_>) {
    let home = Home::new();
    let (all, events, acks) = (format!("{way}-all"), format!("{way}-events"), format!("{way}-acks"));
    let mut builder = home.server().args(&["--as", "orderstream"]);
    for (name, value) in variables {
        builder = builder.env(name, value);
    }
    let server = builder
        .env("WELLORDER_KAFKA_PARTITIONS", "1")
        .env("WELLORDER_KAFKA_TOPIC", &all)
        .env("ORDERS_EVENTS_TOPIC", &events)
        .env("ORDERS_ACK_TOPIC", &acks)
        .start()
        .await;
    let order = server.accept(&json!({ "total": 1 })).await;
    server.until_order(&order, "done").await;
    eventually(way, async || (bodies(kafka, &all).len() >= 2).then_some(())).await;
    let order_id = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    let theirs = crate::orderstream_kafka::event(order_id, "new", 1, 5);
    // What is written before anybody reads the topic may be passed over.
    let connected = |line: &str| line.starts_with("wellorder_consumer_connected{") && line.ends_with(" 1");
    eventually("a consumer", async || {
        server.get("/metrics").await.text().lines().any(connected).then_some(())
    })
    .await;
    send(kafka, ca, &events, &theirs);
    eventually("its acknowledgement", async || {
        bodies(kafka, &acks).iter().any(|ack| ack["order_id"] == order_id).then_some(())
    })
    .await;
    let (ok, detail) = check(&server, "kafka").await;
    assert!(ok && detail.contains("localhost:"), "{way}: {detail}");
    assert_eq!(server.terminate().await.code(), 0);
}

#[tokio::test]
async fn kafka_is_spoken_to_over_tls_with_every_login_and_what_is_wrong_is_named() {
    let home = Home::new();
    let all = Authorities::new(&home);
    let kafka = OwnKafka::start(&all).await;
    all.right.certify(home.path());
    let file = |name: &str| home.path().join(name).display().to_string();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let (tls, mutual, login, expired) = (kafka.tls(), kafka.mutual(), kafka.login(), kafka.expired());
    let elsewhere = tls.replace("localhost", "127.0.0.1");
    let over = |brokers, ca_file| vec![(BROKERS, brokers), TLS, (CA, ca_file)];
    let with = |mechanism, password| {
        [over(&login, &all.ca), vec![(MECHANISM, mechanism), NAME, (SECRET, password)]].concat()
    };
    let certified = [over(&mutual, &all.ca), vec![(CERT, cert.as_str()), (KEY, &key)]].concat();

    events_flow(&kafka, &all.ca, "tls", &over(&tls, &all.ca)).await;
    events_flow(&kafka, &all.ca, "mutual", &certified).await;
    events_flow(&kafka, &all.ca, "plain", &with("plain", PASSWORD)).await;
    events_flow(&kafka, &all.ca, "scram", &with("scram-sha-512", PASSWORD)).await;

    let unverified = "certificate could not be verified";
    let wrong = [
        Wrong { variables: vec![(BROKERS, &tls), TLS], says: [&tls, unverified, "kafka.ca_file"] },
        Wrong { variables: over(&tls, &all.other_ca), says: [&tls, unverified, "kafka.ca_file"] },
        Wrong {
            variables: over(&elsewhere, &all.ca),
            says: [&elsewhere, unverified, "the host in kafka.brokers"],
        },
        Wrong { variables: over(&expired, &all.ca), says: [&expired, unverified, "good now"] },
        Wrong { variables: over(&mutual, &all.ca), says: [&mutual, "bad certificate", "kafka.cert_file"] },
        Wrong {
            variables: with("plain", "hidden"),
            says: [&login, "uthentication failed", "kafka.password"],
        },
        Wrong {
            variables: with("scram-sha-512", "hidden"),
            says: [&login, "uthentication failed", "kafka.password"],
        },
        Wrong {
            variables: with("scram-sha-256", PASSWORD),
            says: [&login, "SCRAM-SHA-256", "kafka.sasl_mechanism"],
        },
        Wrong { variables: vec![(BROKERS, &tls)], says: [&tls, "", "kafka.security"] },
    ];
    told(&home, "kafka", &wrong);

    let mut builder = home.server();
    for (name, value) in with("scram-sha-512", "hidden") {
        builder = builder.env(name, value);
    }
    let says = [login.as_str(), "uthentication failed", "kafka.password"];
    orders_are_taken_in_without(&builder.start().await, "kafka", "kafka", &says).await;
}
