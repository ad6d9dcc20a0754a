//! Settings of Redis.

use super::{Inputs, as_json, as_rows, env, load_ok, problems, toml};

fn said(lines: &str) -> String {
    problems(&toml(&format!("[redis]\n{lines}")))
}

#[test]
fn the_defaults() {
    let redis = load_ok(&Inputs::default()).settings.redis;
    assert_eq!((redis.url.text(), redis.ca_file, redis.insecure), (None, None, false));
    assert_eq!(redis.timeout.as_millis(), 500);
}

#[cfg(feature = "redis")]
#[test]
fn it_is_named_by_the_usual_variables_too() {
    for (name, value) in [("REDIS_URL", "redis://127.0.0.1:6379"), ("REDIS_ADDR", "127.0.0.1:6379")] {
        let redis = load_ok(&env([(name, value)])).settings.redis;
        assert_eq!(redis.url.text(), Some("redis://127.0.0.1:6379"), "{name}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn what_does_not_fit_is_named_with_its_fix() {
    for (lines, parts) in [
        ("url = \"http://localhost\"", ["redis.url", "redis://HOST:PORT"]),
        ("url = \"rediss://localhost/#insecure\"", ["redis.url", "rediss://HOST:PORT"]),
        ("url = \"redis://:hunter2@cache.example:6379\"", ["leads over a network", "insecure = true"]),
        ("url = \"redis://localhost\"\nca_file = \"ca.pem\"", ["redis.ca_file", "rediss://"]),
    ] {
        let said = said(lines);
        assert!(parts.iter().all(|part| said.contains(part)), "{lines}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for fine in [
        "url = \"redis://:hunter2@localhost:6379/1\"",
        "url = \"rediss://u:hunter2@cache.example:6379\"\nca_file = \"ca.pem\"",
        "url = \"redis://cache.example:6379\"\ninsecure = true",
    ] {
        assert_eq!(said(fine), "", "{fine}");
    }
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_build_without_it_names_the_command_that_makes_one() {
    assert!(said("url = \"redis://localhost\"").contains("--features redis"));
}

#[test]
fn the_password_is_never_shown() {
    let config = load_ok(&toml("[redis]\nurl = \"redis://:hunter2@localhost\"\n"));
    let everything = format!("{:?} {} {:?}", as_rows(&config), as_json(&config), config.settings);
    assert!(!everything.contains("hunter2"), "{everything}");
}
