//! What the servers are installed from.

use std::process::Command;

use anyhow::{Result, bail};

use super::folder::root;
use crate::shell::{installed, run};

/// Installs packages of Debian when we may; else says how.
///
/// # Errors
/// When they cannot be installed.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let line = packages.join(" ");
    if !root() || !installed("apt-get") {
        bail!("it is not installed: apt-get install {line} (or what your system calls it)");
    }
    eprintln!("installing {line}");
    run(Command::new("apt-get").args(["update", "-q"]).stdout(std::io::stderr()))?;
    run(Command::new("apt-get")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr()))
}

/// Installs `packages` when no program of this name is found.
pub(super) fn need(program: &str, packages: &[&str]) -> Result<()> {
    if installed(program) { Ok(()) } else { install(packages) }
}
