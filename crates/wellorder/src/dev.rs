//! `dev`: every role in one process, on loopback, without a login.

use crate::cli::args::DevArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Mode, NdjsonSink, Settings};
use crate::output::Output;
use crate::server::{self, Start};
use crate::shutdown::{self, Signals};
use crate::system::SystemIds;
use crate::{dev_secret, storage, telemetry, trust};
use anyhow::Context;
use auth::weakness;
use order_core::Ids;
use std::path::PathBuf;

/// Runs until a signal.
///
/// # Errors
/// When something that is needed cannot be had: an address, the folder, the database.
pub(crate) async fn dev(args: &DevArgs, config: Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut settings = config.settings;
    telemetry::init(settings.log.level, settings.log.format)?;
    let signals = Signals::listen().context("cannot listen to signals")?;
    if let Some(weak) = settings.auth.jwt_secret.text().and_then(weakness) {
        tracing::warn!(weak, "auth.jwt_secret would be refused by `wellorder serve`");
    }
    if args.ephemeral && settings.database.text().is_some() {
        let what = "--ephemeral keeps nothing, and a server keeps its database";
        return Err(Failure::here(Exit::Usage, what, "leave one of the two out"));
    }
    let ephemeral = args.ephemeral.then(|| Ephemeral::make(&mut settings)).transpose()?;
    if ephemeral.is_some() {
        out.again.in_folder(&settings.data);
    }
    trust::of(&settings)?;
    let signals = match &ephemeral {
        Some(Ephemeral(path)) => signals.removing(path.clone()),
        None => signals,
    };
    let database = storage::of(&settings)?;
    let folder = storage::folder(&settings)?;
    dev_secret::make(&mut settings)?;
    let ephemeral_too = ephemeral.is_some();
    let start = Start {
        mode: Mode::Dev,
        settings,
        folder,
        database,
        check: None,
        demo: args.demo,
        ephemeral: ephemeral_too,
    };
    let exit = server::run(start, signals, out).await;
    drop(ephemeral);
    exit
}

/// A data folder that goes when the process ends.
struct Ephemeral(PathBuf);

impl Ephemeral {
    fn make(settings: &mut Settings) -> anyhow::Result<Self> {
        let name = format!("wellorder-{}", SystemIds.uuid_v4().simple());
        let path = std::env::temp_dir().join(name);
        // What lies in the folder by default must follow it.
        if let NdjsonSink::File(file) = &mut settings.ndjson.sink
            && let Ok(inside) = file.strip_prefix(&settings.data)
        {
            *file = path.join(inside);
        }
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        settings.data.clone_from(&path);
        Ok(Self(path))
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        shutdown::remove(&self.0);
    }
}
