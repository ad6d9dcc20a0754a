//! Redis, without anything kept on disk.

use anyhow::Result;

use super::folder::Folder;
use super::{Ports, packages, process};
use std::process::Command;

pub(super) const PORTS: Ports = Ports::one(16379);

pub(super) fn start(folder: &Folder, ports: Ports) -> Result<u32> {
    packages::need("redis-server", &["redis-server"])?;
    let mut command = Command::new("redis-server");
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &ports.clients.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(folder.path());
    process::spawn(&mut command, folder)
}
