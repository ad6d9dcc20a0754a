//! Redis, without anything kept on disk.

use anyhow::Result;

use super::folder::Folder;
use super::{packages, process};
use std::process::Command;

pub(super) const PORT: u16 = 16379;

pub(super) fn start(folder: &Folder) -> Result<u32> {
    packages::need("redis-server", &["redis-server"])?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &PORT.to_string(), "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path());
    process::spawn(&mut command, folder)
}
