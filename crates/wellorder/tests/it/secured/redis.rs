//! Redis over TLS, with a password.

use super::{Authorities, PASSWORD, Wrong, check, told};
use crate::harness::keeper::{Kept, ports};
use crate::harness::{Certified, Home, eventually};
use crate::login::{Token, ask, serving};
use std::path::PathBuf;
use std::process::Command;

/// A server that speaks TLS alone and asks for a password.
struct OwnRedis {
    port: u16,
    _kept: Kept,
    _folder: tempfile::TempDir,
}

impl OwnRedis {
    async fn start(certified: &Certified, ca: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wellorder-redis-").tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (cert, key) = (write("cert.pem", &certified.certificate), write("key.pem", &certified.key));
        let [port] = ports();
        let mut program = Command::new("redis-server");
        program.args(["--bind", "127.0.0.1", "--port", "0", "--save", "", "--appendonly", "no"]);
        program.args([
            "--tls-port",
            &port.to_string(),
            "--tls-auth-clients",
            "no",
            "--requirepass",
            PASSWORD,
        ]);
        program.arg("--tls-cert-file").arg(cert).arg("--tls-key-file").arg(key);
        program.args(["--tls-ca-cert-file", ca]);
        let kept = Kept::start(&program, folder.path());
        eventually("Redis", async || kept.log().contains("Ready to accept connections").then_some(())).await;
        Self { port, _kept: kept, _folder: folder }
    }

    fn url(&self, host: &str, password: &str) -> String {
        format!("rediss://:{password}@{host}:{}", self.port)
    }

    /// How many keys there are, as its own program says over TLS.
    fn keys(&self, ca: &str) -> u64 {
        let mut program = Command::new("redis-cli");
        program.args(["--tls", "--cacert", ca, "-h", "localhost", "-p", &self.port.to_string()]);
        let said = program.args(["--no-auth-warning", "-a", PASSWORD, "DBSIZE"]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).trim().parse().unwrap_or_else(|_| panic!("{said:?}"))
    }
}

#[tokio::test]
async fn redis_is_shared_over_tls_with_a_password_and_what_is_wrong_is_named() {
    let home = Home::new();
    let all = Authorities::new(&home);
    let redis = OwnRedis::start(&all.right.certified(), &all.ca).await;
    let server = serving(&home)
        .env("REDIS_URL", &redis.url("localhost", PASSWORD))
        .env("WELLORDER_REDIS_CA_FILE", &all.ca)
        .env("WELLORDER_REDIS_TIMEOUT_MS", "5000")
        .env("WELLORDER_RATE_KEY_PER_SECOND", "1")
        .env("WELLORDER_RATE_BURST_SECONDS", "60")
        .start()
        .await;
    let bearer = Token::all("acme").bearer();
    eventually("what was admitted, in Redis", async || {
        ask(&server, "GET", "/v1/keys", Some(&bearer), None).await;
        (redis.keys(&all.ca) > 0).then_some(())
    })
    .await;
    let ops = server.ops();
    let metrics = ops.get("/metrics").await;
    assert!(metrics.text().contains("wellorder_redis_failures_total 0\n"), "{}", metrics.text());
    let ready = ops.get("/readyz?verbose").await;
    assert!(ready.text().contains("rates are shared"), "{}", ready.text());
    assert_eq!(server.terminate().await.code(), 0);

    let expired = OwnRedis::start(&all.right.expired(), &all.ca).await;
    let [good, bad, elsewhere, expired] = [
        redis.url("localhost", PASSWORD),
        redis.url("localhost", "hidden"),
        redis.url("127.0.0.1", PASSWORD),
        expired.url("localhost", PASSWORD),
    ];
    let none = good.replace(&format!(":{PASSWORD}@"), "");
    let (ca, patience) = ("WELLORDER_REDIS_CA_FILE", ("WELLORDER_REDIS_TIMEOUT_MS", "5000"));
    let at = |url, ca_file| vec![("REDIS_URL", url), (ca, ca_file), patience];
    let place = format!("localhost:{}", redis.port);
    let wrong = [
        Wrong {
            variables: vec![("REDIS_URL", &good), patience],
            says: [&place, "UnknownIssuer", "redis.ca_file"],
        },
        Wrong { variables: at(&good, &all.other_ca), says: [&place, "UnknownIssuer", "redis.ca_file"] },
        Wrong {
            variables: at(&elsewhere, &all.ca),
            says: ["127.0.0.1:", "not valid for name", "redis.url as its"],
        },
        Wrong { variables: at(&expired, &all.ca), says: ["localhost:", "certificate expired", "redis.url"] },
        Wrong {
            variables: at(&bad, &all.ca),
            says: [&place, "authentication", "user and password in redis.url"],
        },
        Wrong { variables: at(&none, &all.ca), says: [&place, "NOAUTH", "user and password in redis.url"] },
    ];
    told(&home, "redis", &wrong);

    // Readiness tells, and orders are taken in.
    let server = home.server().env("REDIS_URL", &bad).env(ca, &all.ca).start().await;
    let order = server.accept(&serde_json::json!({ "total": 1 })).await;
    server.until_order(&order, "done").await;
    let (ok, detail) = check(&server, "redis").await;
    assert!(!ok && detail.contains(&place) && detail.contains("redis.url"), "{detail}");
}
