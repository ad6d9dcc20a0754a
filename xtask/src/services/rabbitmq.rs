//! RabbitMQ, with the ports of Erlang on loopback too.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::folder::Folder;
use super::{Ports, packages, process};

/// The inner one is of Erlang's distribution, the mapper its epmd.
pub(super) const PORTS: Ports = Ports { clients: 5673, inner: 25673, mapper: 4370 };

/// Where Debian puts the program that does not change its user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

pub(super) fn start(folder: &Folder, ports: Ports) -> Result<u32> {
    let program = Path::new(PROGRAM);
    if !program.is_file() {
        packages::install(&["rabbitmq-server"])?;
    }
    let home = folder.owned("home", "rabbitmq")?;
    let configuration = folder.path().join("rabbitmq.conf");
    fs::write(&configuration, format!("listeners.tcp.1 = 127.0.0.1:{}\n", ports.clients))
        .with_context(|| format!("cannot write {}", configuration.display()))?;
    let pid_file = home.join("pid");
    let _ = fs::remove_file(&pid_file); // one of the last run would be taken for the new one
    let mut command = process::as_user("rabbitmq", program);
    command
        .env("HOME", &home)
        .env("RABBITMQ_NODENAME", "wellorder@localhost")
        .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", home.join("logs"))
        .env("RABBITMQ_CONFIG_FILE", &configuration)
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
        .env("RABBITMQ_PID_FILE", &pid_file)
        .env("RABBITMQ_DIST_PORT", ports.inner.to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", ports.mapper.to_string());
    process::spawn(&mut command, folder)?;
    let mut pid = None;
    crate::shell::wait_until(super::READY, super::STEP, || {
        pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some()
    });
    match pid {
        Some(pid) => Ok(pid),
        None => bail!(
            "it writes no {}; the end of its log:\n{}",
            pid_file.display(),
            super::folder::tail(&folder.log())
        ),
    }
}

/// Erlang's port mapper outlives the server that started it. The one at our port is ours.
pub(super) fn stop_epmd(folder: &Folder, ports: Ports) -> Result<()> {
    let Some(epmd) =
        ["/usr/bin/epmd", "/usr/local/bin/epmd"].into_iter().find(|path| Path::new(path).is_file())
    else {
        return Ok(());
    };
    // It refuses while a node is registered; and when it does not run, there is nothing to stop.
    let mut command = std::process::Command::new(epmd);
    command.args(["-port", &ports.mapper.to_string(), "-kill"]).current_dir(folder.path());
    command.output().context("cannot start epmd").map(|_| ())
}
