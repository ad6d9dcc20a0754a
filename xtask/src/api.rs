//! `cargo xtask api`: holds the copy of the API's descriptions under `docs/api` against the code, or takes a new one.

use anyhow::{Context, Result};

use crate::shell::cargo;

/// What to do with the copy.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Take a new copy; says what changed, and whether clients break
    #[arg(long)]
    write: bool,
}

/// Runs the test that compares them.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let mut command = cargo();
    command.args(["test", "--locked", "--package", "api", "--test", "copy", "--", "--nocapture"]);
    if args.write {
        command.arg("the_copy_of_the_descriptions").env("WELLORDER_API_COPY", "write");
    }
    Ok(command.status().context("cannot start cargo")?.success())
}
