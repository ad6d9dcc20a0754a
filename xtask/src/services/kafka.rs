//! Apache Kafka: one node that is broker and controller, from the jars of Maven Central.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::folder::Folder;
use super::{Ports, packages, process};
use crate::shell::run;

/// The inner one is of the controller.
pub(super) const PORTS: Ports = Ports { clients: 19092, inner: 19093, mapper: 0 };
const VERSION: &str = "4.1.0";
/// Any 16 bytes in base64; a cluster's name.
const CLUSTER: &str = "d2VsbG9yZGVyLXRlc3RzMA";

const POM: &str = include_str!("kafka.pom.xml");

/// `kept` is the folder that the jars lie in, or are fetched into.
pub(super) fn start(folder: &Folder, kept: &Folder, ports: Ports) -> Result<u32> {
    packages::need("java", &["default-jre-headless"])?;
    let jars = jars(kept)?;
    let data = folder.path().join("data");
    let properties = folder.path().join("server.properties");
    fs::write(&properties, configuration(&data, ports))
        .with_context(|| format!("cannot write {}", properties.display()))?;
    if !data.join("meta.properties").is_file() {
        run(java(&jars)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"])
            .arg(&properties)
            .stdout(folder.open_log()?))?;
    }
    process::spawn(java(&jars).arg("kafka.Kafka").arg(&properties), folder)
}

/// `java` with the jars of the broker and of its tools.
pub(super) fn tool(folder: &Folder) -> Result<Command> {
    packages::need("java", &["default-jre-headless"])?;
    Ok(java(&jars(folder)?))
}

fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]).arg(jars.join("*"));
    command
}

fn configuration(data: &Path, ports: Ports) -> String {
    let Ports { clients, inner, .. } = ports;
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{inner}\n\
         listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{inner}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{clients}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         num.partitions=4\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        data.display()
    )
}

/// The jars, fetched when they are not there. The mark is set last: a fetch that was cut short is done again.
fn jars(folder: &Folder) -> Result<PathBuf> {
    let jars = folder.path().join(format!("jars-{VERSION}"));
    let mark = jars.join("complete");
    if mark.is_file() {
        return Ok(jars);
    }
    packages::need("mvn", &["maven"])?;
    eprintln!("fetching Kafka {VERSION} from Maven Central (54 MB)");
    let pom = folder.path().join("pom.xml");
    fs::write(&pom, POM.replace("@VERSION@", VERSION))
        .with_context(|| format!("cannot write {}", pom.display()))?;
    run(Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .stdout(std::io::stderr()))
    .context("is Maven Central, or a mirror of it in Maven's settings, in reach?")?;
    fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(jars)
}
