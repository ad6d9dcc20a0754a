//! A broker of Kafka with listeners that speak TLS: `cargo xtask services up kafka` has fetched its jars.

use super::{Authorities, PASSWORD, USER};
use crate::harness::eventually;
use crate::harness::keeper::{Kept, ports};
use rustix::process::geteuid;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Any 16 bytes in base64; a cluster's name.
const CLUSTER: &str = "d2VsbG9yZGVyLXRlc3RzMA";

/// See the module.
pub(super) struct OwnKafka {
    ports: [u16; 6],
    _kept: Kept,
    _folder: tempfile::TempDir,
}

impl OwnKafka {
    pub(super) async fn start(all: &Authorities) -> Self {
        let folder = tempfile::Builder::new().prefix("wellorder-kafka-").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (good, expired) = (all.right.certified(), all.right.expired());
        for (name, shown) in [("good.pem", good), ("expired.pem", expired)] {
            std::fs::write(path(name), format!("{}{}", shown.key, shown.certificate)).unwrap();
        }
        let ports = ports();
        std::fs::write(path("server.properties"), properties(ports, &path, &all.ca)).unwrap();
        let jars = jars();
        let mut format = java(&jars);
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", &path("server.properties")]);
        format.args(["--add-scram", &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")]);
        let formatted = format.output().expect("java is missing: apt-get install default-jre-headless");
        assert!(formatted.status.success(), "{formatted:?}");
        let mut program = java(&jars);
        program.args(["kafka.Kafka", &path("server.properties")]);
        let kept = Kept::start(&program, folder.path());
        let kafka = Self { ports, _kept: kept, _folder: folder };
        eventually("Kafka", async || {
            let listed = Command::new("kcat").args(["-L", "-b", &kafka.inner(), "-m", "1"]).output().unwrap();
            listed.status.success().then_some(())
        })
        .await;
        kafka
    }

    /// Without TLS, for those who look at what came of it.
    pub(super) fn inner(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// TLS, and everybody may come.
    pub(super) fn tls(&self) -> String {
        format!("localhost:{}", self.ports[2])
    }

    /// TLS, and who comes shows a certificate.
    pub(super) fn mutual(&self) -> String {
        format!("localhost:{}", self.ports[3])
    }

    /// TLS, and who comes logs in.
    pub(super) fn login(&self) -> String {
        format!("localhost:{}", self.ports[4])
    }

    /// TLS, with a certificate that has expired.
    pub(super) fn expired(&self) -> String {
        format!("localhost:{}", self.ports[5])
    }
}

fn properties(
    [controller, inner, tls, mutual, login, expired]: [u16; 6],
    path: &impl Fn(&str) -> String,
    ca: &str,
) -> String {
    let listeners = |host: &str| {
        format!(
            "INNER://127.0.0.1:{inner},TLS://{host}:{tls},MUTUAL://{host}:{mutual},LOGIN://{host}:{login},\
             EXPIRED://{host}:{expired}"
        )
    };
    let (here, told) = (listeners("127.0.0.1"), listeners("localhost"));
    let (logs, good, bad) = (path("logs"), path("good.pem"), path("expired.pem"));
    let of = "org.apache.kafka.common.security";
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=CONTROLLER://127.0.0.1:{controller},{here}\n\
         advertised.listeners={told}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,INNER:PLAINTEXT,TLS:SSL,MUTUAL:SSL,LOGIN:SASL_SSL,EXPIRED:SSL\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=INNER\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={good}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={ca}\n\
         listener.name.mutual.ssl.client.auth=required\n\
         listener.name.expired.ssl.keystore.type=PEM\n\
         listener.name.expired.ssl.keystore.location={bad}\n\
         listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
         listener.name.login.plain.sasl.jaas.config={of}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
         listener.name.login.scram-sha-512.sasl.jaas.config={of}.scram.ScramLoginModule required;\n\
         log.dirs={logs}\n\
         num.partitions=1\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n"
    )
}

fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]).arg(jars.join("*"));
    command
}

/// Where `cargo xtask services` keeps the jars.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
fn jars() -> PathBuf {
    let usual = || format!("/var/tmp/wellorder-services-{}", geteuid().as_raw());
    let folder = std::env::var("WELLORDER_SERVICES_DIR").unwrap_or_else(|_| usual());
    let found = std::fs::read_dir(Path::new(&folder).join("kafka")).into_iter().flatten().flatten();
    let jars = found.map(|found| found.path()).filter(|path| path.join("complete").is_file()).max();
    jars.unwrap_or_else(|| {
        panic!("no jars of Kafka in {folder}: cargo xtask services up kafka, without WELLORDER_TEST_KAFKA_BROKERS")
    })
}
