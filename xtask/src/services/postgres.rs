//! PostgreSQL, as durable as in production: what is measured and killed here must be what people run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::folder::Folder;
use super::{Ports, packages, process};
use crate::shell::run;

pub(super) const PORTS: Ports = Ports::one(15432);

/// Where Debian puts the versions.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What tests need.
pub(super) const FOR_TESTS: &[&str] =
    &["shared_buffers=512MB", "max_wal_size=4GB", "max_connections=200", "fsync=on", "synchronous_commit=on"];

/// Starts one with its data in `folder`; the settings are `name=value`.
pub(super) fn start(folder: &Folder, ports: Ports, settings: &[&str]) -> Result<u32> {
    let programs = installed_programs()?;
    let data = folder.owned("data", "postgres")?;
    if !data.join("PG_VERSION").is_file() {
        run(process::as_user("postgres", &programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"])
            .current_dir(folder.path())
            .stdout(folder.open_log()?))?;
    }
    let mut command = process::as_user("postgres", &programs.join("postgres"));
    command.arg("-D").arg(&data).args(["-p", &ports.clients.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("unix_socket_directories={}", data.display())]);
    process::spawn(&mut command, folder)?;
    postmaster(&data)
}

/// The folder of its programs; installs them when they are not there.
pub(super) fn installed_programs() -> Result<PathBuf> {
    match programs() {
        Some(programs) => Ok(programs),
        None => {
            packages::install(&["postgresql"])?;
            programs().context("PostgreSQL was installed, but its programs are not found")
        }
    }
}

/// Whether the one at this port has started.
pub(super) fn ready(port: u16) -> bool {
    let Some(programs) = programs() else { return false };
    let mut command = std::process::Command::new(programs.join("pg_isready"));
    command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    command.status().is_ok_and(|status| status.success())
}

/// Makes a database.
pub(super) fn create(port: u16, name: &str) -> Result<()> {
    let programs = programs().context("the programs of PostgreSQL are gone")?;
    let mut command = std::process::Command::new(programs.join("createdb"));
    run(command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string(), name]))
}

/// The id of the server itself: we started a command that may have started it in turn.
fn postmaster(data: &Path) -> Result<u32> {
    let file = data.join("postmaster.pid");
    let mut pid = None;
    crate::shell::wait_until(super::READY, super::STEP, || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        // One of an earlier life may still be named there.
        pid.is_some_and(|pid| crate::procfs::began(pid).is_some() && !crate::procfs::ended(pid))
    });
    match pid {
        Some(pid) => Ok(pid),
        None => bail!("it writes no {}", file.display()),
    }
}

/// The folder of the programs of the newest version, outside of the `PATH` on Debian.
pub(super) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .max_by_key(|(version, _)| *version);
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
    };
    newest.map(|(_, programs)| programs).or_else(in_path)
}
