//! RabbitMQ over TLS, with a password.

use super::{Authorities, PASSWORD, USER, Wrong, check, orders_are_taken_in_without, told};
use crate::harness::keeper::{Kept, ports};
use crate::harness::{Certified, Home, eventually};
use crate::login::{SECRET, Token, ask};
use rustix::process::geteuid;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where Debian puts the program that does not change its user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A server that speaks TLS alone.
struct OwnRabbit {
    ports: [u16; 3],
    folder: tempfile::TempDir,
    kept: Option<Kept>,
}

impl OwnRabbit {
    async fn start(certified: &Certified, ca: &str) -> Self {
        assert!(Path::new(PROGRAM).is_file(), "no RabbitMQ: cargo xtask services up rabbitmq installs it");
        let folder = tempfile::Builder::new().prefix("wellorder-rabbitmq-").tempdir().unwrap();
        let mut server = Self { ports: ports(), folder, kept: None };
        server.shows(certified);
        server.write("ca.pem", &std::fs::read_to_string(ca).unwrap());
        let [port, ..] = server.ports;
        let at = |name: &str| server.folder.path().join(name).display().to_string();
        let (ca, cert, key) = (at("ca.pem"), at("cert.pem"), at("key.pem"));
        let settings = format!(
            "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {ca}\n\
             ssl_options.certfile = {cert}\nssl_options.keyfile = {key}\nssl_options.verify = verify_none\n\
             ssl_options.fail_if_no_peer_cert = false\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n"
        );
        server.write("rabbitmq.conf", &settings);
        if geteuid().is_root() {
            let mut chown = Command::new("chown");
            assert!(
                chown
                    .arg("-R")
                    .arg("rabbitmq:rabbitmq")
                    .arg(server.folder.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
        server.kept = Some(Kept::start(&server.program(), server.folder.path()));
        let log = || server.kept.as_ref().unwrap().log();
        eventually("RabbitMQ", async || log().contains("completed with").then_some(())).await;
        server
    }

    fn program(&self) -> Command {
        let mut program = if geteuid().is_root() {
            let mut program = Command::new("runuser");
            program.args(["-u", "rabbitmq", "--", PROGRAM]);
            program
        } else {
            Command::new(PROGRAM)
        };
        let ([port, distribution, epmd], at) = (self.ports, |name: &str| self.folder.path().join(name));
        // Files of certificates are read for each connection, and not kept.
        let arguments = "-kernel inet_dist_use_interface {127,0,0,1} -ssl bypass_pem_cache true";
        program
            .env("HOME", self.folder.path())
            .env("RABBITMQ_NODENAME", format!("tls{port}@localhost"))
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("logs"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", epmd.to_string());
        program
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// From the next connection on it shows this certificate.
    fn shows(&self, certified: &Certified) {
        self.write("cert.pem", &certified.certificate);
        self.write("key.pem", &certified.key);
    }

    fn url(&self, host: &str, password: &str) -> String {
        format!("amqps://{USER}:{password}@{host}:{}/%2f", self.ports[0])
    }

    /// A foreign program (Debian's `amqp-tools`) at it, over TLS.
    fn foreign(&self, ca: &str, program: &str, args: &[&str]) -> Option<String> {
        let url = self.url("localhost", PASSWORD);
        let mut program = Command::new(program);
        let ran = program.args(["--url", &url, "--ssl", "--cacert", ca]).args(args).output();
        let ran = ran.expect("a program is missing: apt-get install amqp-tools");
        // What it took is taken, however its goodbye went.
        (ran.status.success() || !ran.stdout.is_empty()).then(|| String::from_utf8(ran.stdout).unwrap())
    }
}

impl Drop for OwnRabbit {
    fn drop(&mut self) {
        self.kept.take();
        // Erlang's port mapper outlives the server that started it.
        let mut epmd = Command::new("epmd");
        drop(epmd.args(["-port", &self.ports[2].to_string(), "-kill"]).stdout(Stdio::null()).status());
    }
}

#[tokio::test]
async fn rabbitmq_is_spoken_to_over_tls_with_a_password_and_what_is_wrong_is_named() {
    let home = Home::new();
    let all = Authorities::new(&home);
    let rabbit = OwnRabbit::start(&all.right.certified(), &all.ca).await;
    let [good, bad, elsewhere] = [
        rabbit.url("localhost", PASSWORD),
        rabbit.url("localhost", "hidden"),
        rabbit.url("127.0.0.1", PASSWORD),
    ];
    let ca = "WELLORDER_RABBITMQ_CA_FILE";
    let at = |url| home.server().env("JWT_SECRET", SECRET).env("RABBITMQ_URL", url).env(ca, &all.ca);

    let server = at(&good).start().await;
    let bearer = Token::all("default").bearer();
    let body = crate::sales::body("k-1", 2);
    let sold = ask(&server, "POST", "/sales/api/v1/orders", Some(&bearer), Some(&body)).await;
    assert_eq!(sold.status, 201, "{}", sold.text());
    let sold = sold.json();
    let take = async || rabbit.foreign(&all.ca, "amqp-get", &["-q", "orders.created"]);
    let created: Value = serde_json::from_str(&eventually("a message", take).await).unwrap();
    assert_eq!((&created["event_type"], &created["order_id"]), (&json!("OrderCreated"), &sold["order_id"]));
    let shipped = json!({ "order_id": sold["order_id"], "status": "Shipped" }).to_string();
    eventually("a queue that is consumed", async || {
        rabbit.foreign(&all.ca, "amqp-declare-queue", &["-d", "-q", "orders.shipped"])
    })
    .await;
    rabbit.foreign(&all.ca, "amqp-publish", &["-r", "orders.shipped", "-b", &shipped]).unwrap();
    let path = format!("/sales/api/v1/orders/{}", sold["order_id"].as_str().unwrap());
    eventually("that it was shipped", async || {
        let order = ask(&server, "GET", &path, Some(&bearer), None).await.json();
        (order["status"] == "Shipped").then_some(())
    })
    .await;
    let (ok, detail) = check(&server, "rabbitmq").await;
    assert!(ok && detail.contains("amqps://localhost:") && detail.contains("can be used"), "{detail}");
    assert_eq!(server.terminate().await.code(), 0);

    let place = format!("localhost:{}", rabbit.ports[0]);
    let plain = good.replace("amqps://", "amqp://");
    let wrong = [
        Wrong {
            variables: vec![("RABBITMQ_URL", &good)],
            says: [&place, "UnknownIssuer", "rabbitmq.ca_file"],
        },
        Wrong {
            variables: vec![("RABBITMQ_URL", &good), (ca, &all.other_ca)],
            says: [&place, "UnknownIssuer", "rabbitmq.ca_file"],
        },
        Wrong {
            variables: vec![("RABBITMQ_URL", &elsewhere), (ca, &all.ca)],
            says: ["127.0.0.1:", "not valid for name", "rabbitmq.url as its"],
        },
        Wrong {
            variables: vec![("RABBITMQ_URL", &bad), (ca, &all.ca)],
            says: [&place, "ACCESS", "the password and the vhost in rabbitmq.url"],
        },
        Wrong { variables: vec![("RABBITMQ_URL", &plain)], says: [&place, "connect", "rabbitmq.url"] },
    ];
    told(&home, "rabbitmq", &wrong);
    rabbit.shows(&all.right.expired());
    let expired = vec![("RABBITMQ_URL", good.as_str()), (ca, &all.ca)];
    let expired = Wrong { variables: expired, says: [&place, "certificate expired", "rabbitmq.url"] };
    told(&home, "rabbitmq", &[expired]);

    rabbit.shows(&all.right.certified());
    let server = at(&bad).start().await;
    let says = [place.as_str(), "rabbitmq.url", "the password"];
    orders_are_taken_in_without(&server, "rabbitmq", "rabbitmq", &says).await;
}
