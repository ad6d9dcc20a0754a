//! One running wellorder: start it, wait for it, kill it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::client::Client;
use crate::shell::{cargo, run as sh, signal, wait_until};
use crate::workspace;

/// How to start it. Its environment is ours without anything that configures a wellorder.
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Takes what it prints, one start after another.
    pub(crate) log: PathBuf,
}

/// A secret that `serve` takes: 32 bytes of the system's randomness.
///
/// # Errors
/// When the system has none.
pub(crate) fn secret() -> Result<String> {
    let mut secret = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A started process.
pub(crate) struct Wellorder {
    child: Child,
    pub(crate) address: SocketAddr,
    started: Instant,
}

impl Launch {
    /// `wellorder dev` on this folder and address, with `extra` settings on top.
    pub(crate) fn start(&self, extra: &[(&str, &str)]) -> Result<Wellorder> {
        self.start_as("dev", extra)
    }

    /// The same by the subcommand `mode`: `dev` or `serve`.
    pub(crate) fn start_as(&self, mode: &str, extra: &[(&str, &str)]) -> Result<Wellorder> {
        let mut command = self.command();
        command.arg(mode).arg("--data").arg(&self.data).arg("--listen").arg(self.address.to_string());
        command.args(&self.args).envs(extra.iter().copied());
        let log = self.open_log()?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Wellorder { child, address: self.address, started })
    }

    /// The binary with our settings, without a subcommand yet. It runs in the folder above its data: no `.env`
    /// and no configuration file of somebody else is found there.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear();
        for name in ["PATH", "HOME", "TMPDIR", "TZ"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("NO_COLOR", "1").envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.data.parent().unwrap_or(&self.data));
        command
    }

    fn open_log(&self) -> Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))
    }
}

impl Wellorder {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status when it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Whether `/readyz` answers 200 within `limit`; no also when the process ends before that.
    pub(crate) fn ready_within(&mut self, limit: Duration) -> bool {
        let mut ready = false;
        let mut client = Client::new(self.address, Duration::from_secs(2));
        wait_until(limit, Duration::from_millis(1), || {
            ready = client.get("/readyz").is_ok_and(|reply| reply.status == 200);
            ready || self.ended().is_some()
        });
        ready
    }

    /// Time from its start until now.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until it has ended by itself; None when it still runs after `limit`.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_until(limit, Duration::from_millis(5), || self.ended().is_some());
        self.ended()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().context("SIGKILL")?;
        self.child.wait().context("waiting for a killed process")
    }

    /// SIGTERM, and its exit code; an error when it does not end within `limit` (it is killed then).
    pub(crate) fn terminate(&mut self, limit: Duration) -> Result<Option<i32>> {
        self.ask_to_end()?;
        self.ends(limit)
    }

    /// SIGTERM; [`Self::ends`] waits for what comes of it.
    pub(crate) fn ask_to_end(&self) -> Result<()> {
        signal(self.pid(), "TERM")
    }

    /// The exit code of a process that was asked to end; an error when it does not within `limit` (it is killed then).
    pub(crate) fn ends(&mut self, limit: Duration) -> Result<Option<i32>> {
        match self.ended_within(limit) {
            Some(status) => Ok(status.code()),
            None => {
                self.kill()?;
                bail!("it did not end within {} s of SIGTERM", limit.as_secs())
            }
        }
    }
}

impl Drop for Wellorder {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Nothing is left to report to: a process that cannot be killed has ended already.
            self.kill().ok();
        }
    }
}

/// Whether this process has built the tests of everything, and the program with them: it is not built anew for another set of
/// features.
pub(crate) static BUILT_BY_TESTS: AtomicBool = AtomicBool::new(false);

/// Which program a check is of.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Binary {
    /// A wellorder, built with the feature `killpoints` if any is to be killed; without it one is built
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl Binary {
    /// Where it is; builds a development build with kill points if none is named, unless the tests were built with one just now.
    pub(crate) fn or_built(&self) -> Result<PathBuf> {
        let Some(named) = &self.binary else {
            if !BUILT_BY_TESTS.load(Ordering::Relaxed) {
                sh(cargo().args(["build", "--quiet", "--package", "wellorder", "--features", "killpoints"]))?;
            }
            return Ok(workspace::target_dir().join("debug/wellorder"));
        };
        if !named.is_file() {
            bail!("{} is no file", named.display());
        }
        Ok(std::path::absolute(named)?)
    }
}

/// The last `lines` lines of a log, for a message.
pub(crate) fn log_tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
