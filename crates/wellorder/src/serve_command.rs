//! `serve`: a server for others. It starts with a login and with nothing guessable, or not at all.

use crate::boot;
use crate::cli::args::ServeArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Mode};
use crate::folder::Folder;
use crate::output::Output;
use crate::serve_check::ServeCheck;
use crate::server::{self, Start};
use crate::shutdown::Signals;
use crate::telemetry;
use anyhow::Context;

/// Runs until a signal.
///
/// # Errors
/// Everything that is missing, at once; then what cannot be had: an address, the folder, the database.
pub(crate) async fn serve(args: &ServeArgs, config: Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    telemetry::init(config.settings.log.level, config.settings.log.format)?;
    let signals = Signals::listen().context("cannot listen to signals")?;
    let folder = Folder::lock(&config.settings.data)?;
    let exposed = config.exposed_file().map(str::to_owned);
    let settings = config.settings.clone();
    let check = ServeCheck { config, migrates: args.migrate };
    let check = match check.pass().await {
        Ok(()) => None,
        // What the database says is asked again once it can be read.
        Err(failure) if boot::passing(&failure, &settings, &folder.database()).is_some() => {
            check.pass_settings()?;
            Some(check)
        }
        Err(failure) => return Err(failure),
    };
    if let Some(file) = exposed {
        tracing::warn!(file, "a file with secrets can be read by every user of this machine: chmod o-r");
    }
    let start = Start { mode: Mode::Serve, settings, folder, check, demo: false, ephemeral: false };
    server::run(start, signals, out).await
}
