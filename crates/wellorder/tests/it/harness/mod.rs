//! Runs the built program as a user does: its own folder, its own port, its own environment.
//!
//! Nothing here waits for time to pass. [`eventually`] asks again until what is waited for is so; that it gives up after
//! [`PATIENCE`] asserts no speed.

mod authority;
pub(crate) mod collector;
pub(crate) mod database;
mod disk;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod keeper;
mod lines;
pub(crate) mod promql;
mod receiver;
mod server;

pub(crate) use authority::{Authority, Certified, tls_of};
pub(crate) use database::Database;
pub(crate) use disk::Disk;
pub(crate) use lines::Lines;
pub(crate) use receiver::{Answer, Call, Receiver};
pub(crate) use server::{Builder, Server, Starting, post_in_peril};

use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_wellorder");

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks, so that the tests leave the machine to what they test.
const PACE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let looks = async {
        loop {
            pace.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("waited in vain for this: {what}"))
}

/// Where databases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// SQLite, in the data folder.
    InFolder,
    /// PostgreSQL, on the server for tests.
    OnServer,
}

/// A folder of one test: the working directory of its processes, with the data folder `data` in it; and its database, where
/// that is not in the folder.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    pub(crate) kept: Option<Arc<Database>>,
}

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        Self::on((crate::KEPT == Kept::OnServer).then(|| Arc::new(Database::new())))
    }

    /// With this database.
    pub(crate) fn on(kept: Option<Arc<Database>>) -> Arc<Self> {
        Arc::new(Self { folder: tempfile::tempdir().unwrap(), kept })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of the database, where that is on a server.
    pub(crate) fn url(&self) -> Option<&str> {
        self.kept.as_ref().map(|database| database.url.as_str())
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("wellorder.db")
    }

    /// A server on this folder.
    pub(crate) fn server(self: &Arc<Self>) -> Builder {
        Builder::on(Arc::clone(self))
    }

    /// Runs a command of the program on this data folder to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_with(&[], args)
    }

    /// The same, with environment variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let data = self.data().display().to_string();
        self.run_bare(variables, &[args, &["--data", &data]].concat())
    }

    /// The same, without a word about the data folder.
    pub(crate) fn run_bare(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.command(args);
        let output = command.envs(variables.iter().copied()).stdin(Stdio::null()).output();
        output.unwrap().into()
    }

    /// The program with these arguments, in this folder and without the environment of the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).env_clear().current_dir(self.path());
        if let Some(url) = self.url() {
            // Many tests share the connections of one server.
            command.env("WELLORDER_DATABASE", url).env("WELLORDER_POSTGRES_READERS", "4");
        }
        command
    }

    /// Audits the data folder, which must be sound; returns the report.
    #[track_caller]
    pub(crate) fn audited(&self) -> Value {
        let ended = self.run(&["audit", "--json"]);
        assert_eq!(ended.code(), 0, "the audit found something: {ended:?}");
        ended.json()
    }

    /// Everything that the folder's NDJSON file holds, whole lines only.
    pub(crate) fn ndjson(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.data().join("events.ndjson")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        whole.lines().map(parse).collect()
    }
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its exit code.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("it ended by a signal: {self:?}"))
    }

    /// Whether it was killed (SIGKILL).
    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Its standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
