//! What is measured on PostgreSQL: a server of the bench's own, and `psql` and `pgbench` beside it.

pub(super) mod bulk;
pub(super) mod fill;
pub(super) mod intake;
pub(super) mod kafka;
mod pgbench;
mod river;
pub(super) mod scale;
pub(super) mod work;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::procfs::tree_cpu_seconds;
use crate::services::OwnPostgres;
use crate::shell::{capture, run as sh};

/// Not that of the server of the tests.
const PORT: u16 = 15433;
/// As the peers had it when the goals were set; the rest is PostgreSQL's own.
const SETTINGS: &[&str] =
    &["shared_buffers=1GB", "max_wal_size=4GB", "max_connections=400", "fsync=on", "synchronous_commit=on"];

/// The server; it ends with this, and its data too.
pub(crate) struct Postgres(OwnPostgres);

impl Postgres {
    pub(super) fn start() -> Result<Self> {
        OwnPostgres::start("postgres-bench", PORT, SETTINGS).map(Self)
    }

    pub(super) fn url(&self, database: &str) -> String {
        self.0.url(database)
    }

    /// Makes an empty database of this name, in place of one that may be there.
    pub(super) fn create(&self, database: &str) -> Result<()> {
        self.drop(database)?;
        self.ask("postgres", &format!("CREATE DATABASE {database}")).map(drop)
    }

    pub(super) fn drop(&self, database: &str) -> Result<()> {
        self.ask("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).map(drop)
    }

    /// Lets each commit on a database wait 4 ms for others before it is flushed, as if the disk took that long.
    pub(super) fn slow_flush(&self, database: &str) -> Result<()> {
        for setting in ["commit_delay = 4000", "commit_siblings = 0"] {
            self.ask("postgres", &format!("ALTER DATABASE {database} SET {setting}"))?;
        }
        Ok(())
    }

    /// What statements answer, unadorned.
    pub(super) fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let (code, out) = capture(self.psql(database).args(["-c", sql]))?;
        if code != Some(0) {
            bail!("psql failed on {database}: {sql}");
        }
        Ok(out.trim().to_owned())
    }

    /// The number that a statement answers.
    pub(super) fn number(&self, database: &str, sql: &str) -> Result<f64> {
        let answer = self.ask(database, sql)?;
        answer.parse().with_context(|| format!("no number: {answer}"))
    }

    /// Runs a file of statements.
    pub(super) fn file(
        &self,
        database: &str,
        file: &std::path::Path,
        values: &[(&str, String)],
    ) -> Result<()> {
        let mut psql = self.psql(database);
        for (name, value) in values {
            psql.args(["-v", &format!("{name}={value}")]);
        }
        sh(psql.arg("-f").arg(file).stdin(Stdio::null()))
    }

    /// A session that stays.
    pub(super) fn session(&self, database: &str) -> Result<Session> {
        let mut child = self
            .psql(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start psql")?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (to, from) = to.zip(from).context("psql has no pipes")?;
        Ok(Session { child, to, from: BufReader::new(from) })
    }

    /// Writes all that is in memory to disk, so that the next measurement does not pay for the one before.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.ask("postgres", "CHECKPOINT").map(drop)
    }

    /// CPU seconds of the server and of all its processes, ended or not.
    pub(super) fn cpu_seconds(&self) -> f64 {
        tree_cpu_seconds(self.0.pid())
    }

    /// Bytes that were written to the log so far.
    pub(super) fn wal_bytes(&self) -> Result<f64> {
        self.number("postgres", "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.0.program(name))
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.program("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database)]);
        command.env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }
}

/// The name of the database of a run.
pub(super) fn database_of(name: &str) -> String {
    format!("bench_{}", name.replace(['-', '.'], "_"))
}

/// A `psql` that is asked again and again: to start one costs more than most questions.
pub(super) struct Session {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Session {
    /// The number that a statement answers.
    pub(super) fn number(&mut self, sql: &str) -> Result<f64> {
        writeln!(self.to, "{sql};").context("psql has ended")?;
        self.to.flush()?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("psql answered no number: {line:?}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended
        self.child.wait().ok();
    }
}
