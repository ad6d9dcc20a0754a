//! The servers of a run: PostgreSQL, Redis, RabbitMQ, Kafka, with a folder and ports that nobody else knows. They may be
//! killed.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::services::{ALL, Instance, Service};

/// Kills what was named last when nobody holds the other end of its input any more: the servers do not outlive the
/// driver, however it ends.
const KEEPER: &str = r#"while read -r line; do pids=$line; done; kill -KILL $pids 2>/dev/null"#;

pub(crate) struct Own {
    folder: PathBuf,
    servers: Vec<Instance>,
    keeper: Child,
}

impl Own {
    /// All of them, started.
    pub(crate) fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("wellorder-crash-{}-servers", std::process::id()));
        Self::start_in(&folder).with_context(|| format!("see {}", folder.display()))
    }

    fn start_in(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // Some run as other users.
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        let servers = ALL.into_iter().map(|service| Instance::own(service, folder)).collect::<Result<_>>()?;
        let mut keeper = Command::new("sh");
        // Whoever interrupts the driver does not interrupt its keeper.
        keeper.process_group(0).args(["-c", KEEPER]).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = keeper.spawn().context("cannot start sh")?;
        let mut own = Self { folder: folder.to_owned(), servers, keeper };
        let started: Vec<Result<()>> = thread::scope(|scope| {
            let starting: Vec<_> = own
                .servers
                .iter()
                .map(|server| scope.spawn(move || server.start().and_then(|_| server.wait())))
                .collect();
            let ended =
                starting.into_iter().map(|one| one.join().map_err(|_| anyhow!("a start panicked"))?);
            ended.collect()
        });
        own.tell_keeper()?;
        started.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(own)
    }

    pub(super) fn of(&self, service: Service) -> Result<&Instance> {
        self.servers.iter().find(|server| server.service() == service).context("there is no such server")
    }

    /// Starts one again, and waits until it does its work.
    pub(super) fn resume(&mut self, service: Service) -> Result<()> {
        let server = self.of(service)?;
        server.start()?;
        server.wait()?;
        self.tell_keeper()
    }

    /// Ends them all; nobody will want to look at what they leave.
    pub(crate) fn forget(self) -> Result<()> {
        let folder = self.folder.clone();
        drop(self);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// Where they keep everything.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn tell_keeper(&mut self) -> Result<()> {
        let mut pids = Vec::new();
        for server in &self.servers {
            pids.extend(server.runs()?.map(|pid| pid.to_string()));
        }
        let input = self.keeper.stdin.as_mut().context("the keeper has no input")?;
        writeln!(input, "{}", pids.join(" ")).context("the keeper has ended")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for server in &self.servers {
            if matches!(server.runs(), Ok(Some(_)))
                && let Err(fault) = server.kill()
            {
                eprintln!("{fault:#}");
            }
            if let Err(fault) = server.stop_beside() {
                eprintln!("{fault:#}");
            }
        }
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}
