//! `serve`: a server for others. It starts with a login and with nothing guessable, or not at all.

use crate::cli::args::ServeArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Mode};
use crate::folder::Folder;
use crate::output::Output;
use crate::server::{self, Start};
use crate::shutdown::Signals;
use crate::system::SystemClock;
use crate::{serve_check, telemetry};
use anyhow::Context;

/// Runs until a signal.
///
/// # Errors
/// Everything that is missing, at once; then what cannot be had: an address, the folder, the database.
pub(crate) async fn serve(args: &ServeArgs, config: Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    telemetry::init(config.settings.log.level, config.settings.log.format)?;
    let signals = Signals::listen().context("cannot listen to signals")?;
    let folder = Folder::lock(&config.settings.data)?;
    let missing = serve_check::missing(&config, args.migrate, &SystemClock::default()).await?;
    if !missing.0.is_empty() {
        return Err(missing.into());
    }
    if let Some(file) = config.exposed_file() {
        tracing::warn!(file, "a file with secrets can be read by every user of this machine: chmod o-r");
    }
    let settings = config.settings;
    let start = Start { mode: Mode::Serve, settings, folder, demo: false, ephemeral: false };
    server::run(start, signals, out).await
}
