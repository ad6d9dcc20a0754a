//! `serve`: a server for others. It starts with a login and with nothing guessable, or not at all.

use crate::cli::args::ServeArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Mode};
use crate::output::Output;
use crate::serve_check::ServeCheck;
use crate::server::{self, Start};
use crate::shutdown::Signals;
use crate::storage::{self, Judged};
use crate::telemetry;
use anyhow::Context;

/// Runs until a signal.
///
/// # Errors
/// Everything that is missing, at once; then what cannot be had: an address, the folder, the database.
pub(crate) async fn serve(args: &ServeArgs, config: Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    telemetry::init(config.settings.log.level, config.settings.log.format)?;
    let signals = Signals::listen().context("cannot listen to signals")?;
    let database = storage::of(&config.settings)?;
    let folder = storage::folder(&config.settings)?;
    let exposed = config.exposed_file().map(str::to_owned);
    let settings = config.settings.clone();
    let check = ServeCheck { config, migrates: args.migrate };
    let check = match check.pass(&*database).await {
        Ok(()) => None,
        Err(failure) => match database.judge(failure) {
            // What the database says is asked again once it can be read.
            Judged::Passes(_) => {
                check.pass_settings()?;
                Some(check)
            }
            Judged::Stays(failure) => return Err(failure),
        },
    };
    if let Some(file) = exposed {
        tracing::warn!(file, "a file with secrets can be read by every user of this machine: chmod o-r");
    }
    let start = Start { mode: Mode::Serve, settings, folder, database, check, demo: false, ephemeral: false };
    server::run(start, signals, out).await
}
