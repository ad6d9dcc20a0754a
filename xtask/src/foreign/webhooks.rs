//! Webhooks: what the reference library of Standard Webhooks signs, our receiver takes, and what it would refuse, ours refuses; what
//! our server delivers, the library takes.

use super::{PATIENCE, STEP, Scene};
use crate::http::server::free_address;
use crate::server::log_tail;
use crate::shell::{capture, wait_until};
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Of the examples of the library, and of nobody.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub(super) fn check(python: &Path, scene: &Scene) -> Result<String> {
    let address = free_address()?;
    let log = scene.launch.log.with_extension("receiver");
    let mut receiver = scene.launch.command();
    receiver.args([
        "simulate",
        "webhook-receiver",
        "--port",
        &address.port().to_string(),
        "--secret",
        SECRET,
    ]);
    let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    receiver.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut receiver = receiver.spawn().context("cannot start the receiver")?;
    let up = wait_until(PATIENCE, STEP, || TcpStream::connect(address).is_ok());
    let said =
        if up { sent(python, &format!("http://{address}/webhook")) } else { Ok((None, String::new())) };
    receiver.kill().context("SIGKILL")?;
    receiver.wait().context("waiting for the receiver")?;
    let (code, said) = said?;
    ensure!(code == Some(0), "{said}(exit code {code:?}); the receiver:\n{}", log_tail(&log, 20));
    let mut program = Command::new(python);
    program.arg(workspace::root().join("xtask/foreign/deliveries.py"));
    let (code, got) = capture(program.arg(format!("http://{}", scene.server.address)))?;
    ensure!(code == Some(0), "{got}(exit code {code:?})");
    Ok(format!("{}; {}", said.trim(), got.trim()))
}

fn sent(python: &Path, url: &str) -> Result<(Option<i32>, String)> {
    let mut sender = Command::new(python);
    capture(sender.arg(workspace::root().join("xtask/foreign/webhooks.py")).args([url, SECRET, OTHER]))
}
