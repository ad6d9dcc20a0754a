//! The processes that we started: an id alone may come to mean another process.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::folder::Folder;
use crate::{procfs, shell};

/// Longest wait for a server to end.
const END: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);

fn file(folder: &Folder) -> PathBuf {
    folder.path().join("process")
}

/// Keeps what tells the process again.
pub(super) fn keep(folder: &Folder, pid: u32) -> Result<()> {
    let Some(began) = procfs::began(pid) else {
        bail!("process {pid} has ended; the end of its log:\n{}", super::folder::tail(&folder.log()));
    };
    let file = file(folder);
    fs::write(&file, format!("{pid} {began}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// The process that was kept, if it still runs.
pub(super) fn of(folder: &Folder) -> Result<Option<u32>> {
    let file = file(folder);
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let kept =
        text.trim().split_once(' ').and_then(|(pid, began)| Some((pid.parse().ok()?, began.parse().ok()?)));
    Ok(kept.and_then(|(pid, began): (u32, u64)| (procfs::began(pid) == Some(began)).then_some(pid)))
}

pub(super) fn forget(folder: &Folder) -> Result<()> {
    match fs::remove_file(file(folder)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Ends a process and waits until it has ended.
pub(super) fn stop(pid: u32, signal: &str) -> Result<()> {
    let began = procfs::began(pid);
    shell::signal(pid, signal)?;
    if !shell::wait_until(END, STEP, || procfs::began(pid) != began || procfs::ended(pid)) {
        bail!("process {pid} does not end after SIG{signal}");
    }
    Ok(())
}

/// Starts a server that outlives us, its output in the log of its folder.
pub(super) fn spawn(command: &mut Command, folder: &Folder) -> Result<u32> {
    let log = folder.open_log()?;
    command
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let name = command.get_program().to_string_lossy().into_owned();
    Ok(command.spawn().with_context(|| format!("cannot start {name}"))?.id())
}

/// A command that runs as a user of the system when we are root.
pub(super) fn as_user(user: &str, program: &std::path::Path) -> Command {
    if super::folder::root() {
        let mut command = Command::new("runuser");
        command.args(["-u", user, "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_only_while_it_is_the_one_that_was_kept() {
        let folder =
            Folder::at(&std::env::temp_dir().join(format!("wellorder-xtask-{}", std::process::id())))
                .unwrap();
        assert_eq!(of(&folder).unwrap(), None);
        let pid = spawn(Command::new("sleep").arg("600"), &folder).unwrap();
        keep(&folder, pid).unwrap();
        assert_eq!(of(&folder).unwrap(), Some(pid));
        // The same id, but begun at another time: that is somebody else's.
        fs::write(file(&folder), format!("{pid} 1\n")).unwrap();
        assert_eq!(of(&folder).unwrap(), None);
        stop(pid, "TERM").unwrap();
        assert!(keep(&folder, u32::MAX - 1).is_err(), "what has ended is not kept");
        forget(&folder).unwrap();
        assert_eq!(of(&folder).unwrap(), None);
        fs::remove_dir_all(folder.path()).unwrap();
    }
}
