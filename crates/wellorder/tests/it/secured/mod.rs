//! Servers beside ours that speak TLS and ask who comes: real ones, of each test's own. They are used with what is right, and
//! what is not right is told with the server, what is wrong, and the setting to mend. (PostgreSQL: `secured_postgres.rs`.)

#[cfg(all(feature = "kafka-tls", feature = "redis"))]
mod kafka;
#[cfg(all(feature = "kafka-tls", feature = "redis"))]
mod kafka_server;
#[cfg(feature = "amqp")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;

use crate::harness::{Authority, Home, Server};
use serde_json::Value;

/// Of everybody who may come.
const USER: &str = "shop";
const PASSWORD: &str = "swordfish-7";

/// Files of authorities in the folder of a test: the right one, and another.
struct Authorities {
    right: Authority,
    ca: String,
    other_ca: String,
}

impl Authorities {
    fn new(home: &Home) -> Self {
        let (right, other) = (Authority::new(), Authority::new());
        let write = |name: &str, pem: String| {
            let path = home.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path.display().to_string()
        };
        Self { ca: write("ca.pem", right.pem()), other_ca: write("other.pem", other.pem()), right }
    }
}

/// Settings that make a server unfit, and what must be said of it.
struct Wrong<'w> {
    variables: Vec<(&'w str, &'w str)>,
    says: [&'w str; 3],
}

/// What `doctor` says of a server that is reached with these settings, all of them asked at once.
fn told(home: &Home, name: &str, all: &[Wrong<'_>]) {
    std::thread::scope(|scope| {
        for Wrong { variables, says } in all {
            scope.spawn(move || {
                let ended = home.run_with(variables, &["doctor", "--json"]);
                let checks = ended.json()["checks"].clone();
                let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
                assert_eq!(check["result"], "fail", "{variables:?}: {check}");
                let said = format!("{} {}", check["detail"], check["fix"]);
                for part in says {
                    assert!(said.contains(part), "{part}, {variables:?}: {said}");
                }
                assert!(!said.contains(PASSWORD) && !said.contains("hidden"), "{said}");
            });
        }
    });
}

/// What the readiness of a server says of another, and whether that is well.
async fn check(server: &Server, name: &str) -> (bool, String) {
    let reply = server.get("/readyz?verbose").await;
    assert_eq!(reply.status, 200, "orders are taken in whatever brokers do: {}", reply.text());
    let checks: Value = reply.json()["checks"].clone();
    let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    (check["ok"] == true, check["detail"].as_str().unwrap().to_owned())
}

/// A server with settings that are wrong takes orders in, works on them, and says what is wrong.
async fn orders_are_taken_in_without(server: &Server, name: &str, follower: &str, says: &[&str]) {
    let order = server.accept(&serde_json::json!({ "total": 1 })).await;
    server.until_order(&order, "done").await;
    let failing = |follower: &Value| follower["state"] == "failing";
    let told = server.until(&format!("/v1/followers/{follower}"), failing).await;
    let (ok, detail) = check(server, name).await;
    for (said, at) in [(told["last_error"].as_str().unwrap(), "follower"), (detail.as_str(), "readiness")] {
        assert!(!ok && says.iter().all(|part| said.contains(part)), "{at}: {said}");
        assert!(!said.contains(PASSWORD) && !said.contains("hidden"), "{at}: {said}");
    }
}
