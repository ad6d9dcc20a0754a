//! Settings: where each comes from, and everything that is wrong with them, at once.

use crate::harness::{Ended, Home};
use serde_json::{Value, json};
use std::sync::Arc;

const FILE: &str = "\
listen = \"127.0.0.1:4000\"

[worker]
batch_size = 7
max_attempts = 8

[simulate]
delay_ms = 9
";

/// The value of a setting and where it came from.
fn found(ended: &Ended, key: &str) -> (Value, String) {
    let settings = ended.json()["settings"].clone();
    let setting = settings.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone();
    (setting["value"].clone(), setting["origin"].as_str().unwrap().to_owned())
}

fn home_with_files() -> Arc<Home> {
    let home = Home::new();
    std::fs::write(home.path().join("wellorder.toml"), FILE).unwrap();
    std::fs::write(
        home.path().join(".env"),
        "# mine\nWORKER_MAX_ATTEMPTS=11\nWELLORDER_SIMULATE_DELAY_MS=12\n",
    )
    .unwrap();
    home
}

#[test]
fn each_value_tells_where_it_came_from_and_the_nearest_word_counts() {
    let home = home_with_files();
    let shown = home.run_with(
        &[("WORKER_PROCESSING_DELAY_MS", "13"), ("LOG_LEVEL", "warn")],
        &["config", "show", "--json"],
    );
    assert_eq!(shown.code(), 0, "{shown:?}");
    for (key, value, origin) in [
        ("listen", Value::from("127.0.0.1:4000"), "wellorder.toml:1"),
        ("worker.batch_size", 7.into(), "wellorder.toml:4"),
        ("worker.max_attempts", 11.into(), ".env:2"),
        ("simulate.delay_ms", 13.into(), "environment WORKER_PROCESSING_DELAY_MS"),
        ("log.level", "warn".into(), "environment LOG_LEVEL"),
        ("shards", 1.into(), "default"),
        ("data", home.data().to_str().unwrap().into(), "--data"),
        ("ndjson.path", home.data().join("events.ndjson").to_str().unwrap().into(), "default"),
    ] {
        assert_eq!(found(&shown, key), (value, origin.to_owned()), "{key}");
    }
    let both = [("PORT", "5000"), ("WELLORDER_LISTEN", "127.0.0.1:5001"), ("API_PORT", "5002")];
    let shown = home.run_with(&both, &["config", "show", "--json"]);
    let expected = (json!("127.0.0.1:5001"), "environment WELLORDER_LISTEN".to_owned());
    assert_eq!(found(&shown, "listen"), expected, "our own name goes first");
    let shown = home.run_with(&both[..1], &["config", "show", "--json"]);
    assert_eq!(found(&shown, "listen").1, "environment PORT");
    std::fs::write(home.path().join("other.toml"), "shards = 4\n").unwrap();
    let shown = home.run(&["--config", "other.toml", "config", "show", "--json"]);
    assert_eq!(found(&shown, "shards"), (json!(4), "other.toml:1".to_owned()));
    assert_eq!(found(&shown, "worker.batch_size").1, "default", "it stands in for the usual file");
    let text = home.run(&["config", "show"]);
    assert!(text.stdout.starts_with("SETTING") && text.stdout.contains("wellorder.toml:4"), "{text:?}");
}

#[test]
fn a_secret_is_not_shown() {
    let home = Home::new();
    let url = "http://user:hunter2@127.0.0.1:9/secret-path?token=hunter2";
    for form in [&["config", "show"][..], &["config", "show", "--json"]] {
        let shown = home.run_with(&[("WELLORDER_HTTP_PROCESSOR_URL", url)], form);
        assert_eq!(shown.code(), 0);
        assert!(!shown.stdout.contains("hunter2") && !shown.stdout.contains("secret-path"), "{shown:?}");
    }
    let wrong =
        home.run_with(&[("WELLORDER_HTTP_PROCESSOR_URL", "ftp://user:hunter2@x")], &["config", "show"]);
    assert_eq!(wrong.code(), 2);
    assert!(!wrong.stderr.contains("hunter2"), "{wrong:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_place_key_and_fix() {
    let home = Home::new();
    let file =
        "listen = 5\nnope = 1\n\n[worker]\nbatch_size = \"many\"\nmax_attempt = 3\n\n[nothing.here]\na = 1\n";
    std::fs::write(home.path().join("wellorder.toml"), file).unwrap();
    std::fs::write(home.path().join(".env"), "WELLORDER_SHARDS=0\n").unwrap();
    let variables = [
        ("WELLORDER_NOPE", "1"),
        ("WELLORDER_LOG_LEVEL", "loud"),
        ("WORKER_POLL_INTERVAL_MS", "-1"),
        ("WELLORDER_SIMULATE_FAIL_RATE", "NaN"),
        ("WELLORDER_PROCESSOR", "nobody"),
        ("SOMEBODY_ELSES", "anything"),
    ];
    for command in
        [&["dev", "--ops", "x"][..], &["config", "show"], &["doctor"], &["orders", "list"], &["audit"]]
    {
        let ended = home.run_with(&variables, &[command, &["--json"][..]].concat());
        assert_eq!(ended.code(), 2, "{command:?}: {ended:?}");
        let problems = ended.json()["problems"].clone();
        for (place, key) in [
            ("environment", "WELLORDER_NOPE"),
            ("environment", "WELLORDER_LOG_LEVEL"),
            ("environment", "WORKER_POLL_INTERVAL_MS"),
            ("environment", "WELLORDER_SIMULATE_FAIL_RATE"),
            ("environment", "WELLORDER_PROCESSOR"),
            (".env:1", "WELLORDER_SHARDS"),
            ("wellorder.toml:2", "nope"),
            ("wellorder.toml:5", "worker.batch_size"),
            ("wellorder.toml:6", "worker.max_attempt"),
            ("wellorder.toml:9", "nothing.here.a"),
        ] {
            let one = problems.as_array().unwrap().iter().find(|one| one["key"] == key);
            let one = one.unwrap_or_else(|| panic!("{key} is not named: {problems}"));
            assert_eq!(one["place"], place, "{key}");
            assert!(
                !one["what"].as_str().unwrap().is_empty() && !one["fix"].as_str().unwrap().is_empty(),
                "{one}"
            );
        }
        assert!(!problems.to_string().contains("SOMEBODY_ELSES"));
        assert!(!home.data().exists(), "nothing was begun");
    }
    let text = home.run_with(&variables, &["config", "show"]);
    assert!(text.stderr.contains("did you mean worker.max_attempts?"), "{text:?}");
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let home = Home::new();
    for (variables, key) in [
        (&[("WELLORDER_LISTEN", "0.0.0.0:3000")][..], "listen"),
        (&[("WELLORDER_OPS", "192.0.2.1:3000")], "ops"),
        (&[("WELLORDER_LISTEN", "127.0.0.1:3000"), ("WELLORDER_OPS", "127.0.0.1:3000")], "ops"),
        (&[("WELLORDER_PROCESSOR", "http")], "http_processor.url"),
        (&[("WELLORDER_WORKER_LEASE_MS", "1000"), ("WELLORDER_WORKER_HEARTBEAT_MS", "1000")], "heartbeat"),
        (&[("WELLORDER_WORKER_BACKOFF_BASE_MS", "10"), ("WELLORDER_WORKER_BACKOFF_CAP_MS", "9")], "backoff"),
        (&[("WELLORDER_LANE_QUEUE_MAX", "10")], "lane"),
    ] {
        let ended = home.run_with(variables, &["dev"]);
        assert_eq!(ended.code(), 2, "{variables:?}: {ended:?}");
        assert!(ended.stderr.to_lowercase().contains(&key.to_lowercase()), "{variables:?}: {ended:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_line() {
    let home = Home::new();
    for (text, line) in [("listen = \n", 1), ("a = 1\n[worker\n", 2), ("shards = 4\nshards = 5\n", 2)] {
        std::fs::write(home.path().join("wellorder.toml"), text).unwrap();
        let ended = home.run(&["config", "show"]);
        assert_eq!(ended.code(), 2, "{text:?}: {ended:?}");
        assert!(ended.stderr.contains(&format!("wellorder.toml:{line}")), "{text:?}: {ended:?}");
    }
}

/// A supervisor need not start it again: what a setting names is read before anything is begun.
#[test]
fn files_that_cannot_be_used_are_wrong_settings() {
    for variables in [
        [("REDIS_URL", "rediss://127.0.0.1:1"), ("WELLORDER_REDIS_CA_FILE", "none.pem")],
        [("RABBITMQ_URL", "amqps://127.0.0.1:1"), ("WELLORDER_RABBITMQ_CA_FILE", "none.pem")],
        [("REDIS_URL", "rediss://127.0.0.1:1"), ("WELLORDER_REDIS_CA_FILE", "empty.pem")],
        [("RABBITMQ_URL", "amqps://127.0.0.1:1"), ("WELLORDER_RABBITMQ_CA_FILE", "empty.pem")],
    ] {
        let home = Home::new();
        std::fs::write(home.path().join("empty.pem"), "").unwrap();
        let setting = variables[1].0["WELLORDER_".len()..].to_lowercase().replacen('_', ".", 1);
        let ended = home.run_with(&variables, &["dev", "--listen", "127.0.0.1:0"]);
        assert_eq!((ended.code(), home.database().exists()), (2, false), "{ended:?}");
        assert!(ended.stderr.contains(&setting), "{setting}: {ended:?}");
        assert_eq!(home.run_with(&variables, &["doctor"]).code(), 6, "{setting}");
    }
}
