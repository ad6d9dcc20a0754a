//! Running other programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// Runs `command` with its output on our terminal; an exit code other than 0 is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs `command` and gives its exit code with what it wrote to stdout.
pub(crate) fn capture(command: &mut Command) -> Result<(Option<i32>, String)> {
    let line = display(command);
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    Ok((out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned()))
}

/// Whether a program of this name is found in `PATH`.
pub(crate) fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_executable(&dir.join(name)))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Sends `signal` (`TERM`, `STOP`, …) to one process.
pub(crate) fn signal(pid: u32, signal: &str) -> Result<()> {
    run(Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()))
}

/// Asks `done` every `step` until it says yes; no when `limit` has passed before that.
pub(crate) fn wait_until(limit: Duration, step: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if done() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(step);
    }
}

fn display(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&OsStr::to_string_lossy(arg));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_an_error_that_names_the_command() {
        let fault = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(fault.contains("sh -c exit 3"), "{fault}");
        let (code, out) = capture(Command::new("sh").args(["-c", "echo hi; exit 6"])).unwrap();
        assert_eq!((code, out.as_str()), (Some(6), "hi\n"));
    }

    #[test]
    fn programs_are_looked_up_in_the_path() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program-anywhere"));
    }
}
