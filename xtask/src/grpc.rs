//! `cargo xtask grpc`: a client in another language, with stubs made of our `.proto` files, speaks with a server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http::server::free_address;
use crate::server::{self, Binary, Launch, log_tail};
use crate::shell::{capture, run as sh};
use crate::{venv, workspace};

const PROTO: &str = "crates/contracts/proto";
const FILES: [&str; 4] = [
    "google/api/annotations.proto",
    "google/api/http.proto",
    "orders/models/v1/order_model.proto",
    "orders/service/v1/orders_service.proto",
];
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// Runs the client against a server of `dev`, and one of `serve`; false when it finds something.
pub(crate) fn run(binary: &Binary) -> Result<bool> {
    let python = venv::programs("grpc")?.join("python");
    let binary = binary.or_built()?;
    let folder = std::env::temp_dir().join(format!("wellorder-grpc-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let proto = workspace::root().join(PROTO);
    let mut stubs = Command::new(&python);
    stubs.args(["-m", "grpc_tools.protoc"]).arg("-I").arg(&proto);
    stubs.arg("--python_out").arg(&folder).arg("--grpc_python_out").arg(&folder).args(FILES);
    sh(&mut stubs)?;
    let mut green = true;
    for mode in ["dev", "serve"] {
        green &= ask(&python, &binary, &folder, mode)?;
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(green)
}

fn ask(python: &Path, binary: &Path, folder: &Path, mode: &str) -> Result<bool> {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let launch = Launch {
        binary: binary.to_owned(),
        data: folder.join(mode),
        address: free_address()?,
        args: ["--as", "orderstream"].map(str::to_owned).to_vec(),
        env: vec![
            setting("WELLORDER_PROCESSOR", "simulate"),
            setting("WELLORDER_SIMULATE_DELAY_MS", "10"),
            setting("JWT_SECRET", &server::secret()?),
        ],
        log: folder.join(format!("{mode}.log")),
    };
    let mut token = launch.command();
    token.arg("token").arg("--data").arg(&launch.data);
    token.args(["--scope", "orders:read", "--scope", "orders:write"]);
    let token = match capture(&mut token)? {
        (Some(0), token) => token,
        (code, out) => bail!("no token (exit code {code:?}): {out}"),
    };
    let mut server = launch.start_as(mode, &[])?;
    if !server.ready_within(START_LIMIT) {
        bail!("the server does not start:\n{}", log_tail(&launch.log, 20));
    }
    let mut client = Command::new(python);
    client.arg(workspace::root().join("xtask/grpc/client.py"));
    client.arg(launch.address.to_string()).arg(folder);
    if mode == "serve" {
        client.arg(token.trim());
    }
    let (code, out) = capture(&mut client)?;
    println!("{mode}: {}", out.trim());
    let ended = server.terminate(STOP_LIMIT)?;
    if ended != Some(0) {
        println!("{mode}: the server ended with {ended:?}:\n{}", log_tail(&launch.log, 20));
    }
    Ok(code == Some(0) && ended == Some(0))
}
