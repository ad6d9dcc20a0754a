//! The command line: what can be said (`args`), and the commands that end by themselves. `dev` is the server and
//! lives elsewhere, as do `audit` and `migrate`, which need the storage.
//!
//! The client commands speak our own HTTP API and nothing else, through [`api_call::ApiCall`]: to the server that
//! `--url` names or that holds the data folder, else to the same API in this process, without a socket.

mod act;
pub(crate) mod api_call;
pub(crate) mod args;
pub(crate) mod audit;
pub(crate) mod backup;
mod connect;
mod create;
mod deliveries;
pub(crate) mod doctor;
pub(crate) mod documents;
mod endpoints;
mod events;
mod export;
pub(crate) mod failure;
#[cfg(test)]
mod fake;
mod followers;
mod health;
mod import;
mod imports;
mod json;
mod keys;
pub(crate) mod lock;
mod orders;
mod parked;
mod redrive;
mod retry;
mod secrets;
mod sse;
mod stores;
mod sync;
pub(crate) mod token;
mod watch;

use std::{io, path::Path};

use axum::Router;
use clap::CommandFactory as _;
use order_core::Timestamp;

use self::{
    api_call::ApiCall,
    args::{Cli, ClientCommand, FollowersCommand, KeysCommand, OrdersCommand},
    connect::Folder,
    failure::{Exit, Failure},
};
use crate::{
    config::{self, Config, Environment, Inputs, Problems, Settings},
    output::{Cell, Output, Style},
};

/// Settles the settings for a command line.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn settle(cli: &Cli, environment: Environment) -> Result<Config, Problems> {
    let inputs = Inputs::gather(cli.mode(), cli.flags(), environment, cli.global.config.as_deref())?;
    config::load(&inputs)
}

/// Runs a command that speaks the API. `offline` opens the data folder and hands out the API over it, for when no
/// server runs on the folder. `now` is the time.
///
/// # Errors
/// What went wrong, with the exit code that says so.
pub(crate) async fn client<F>(
    (command, url): (&ClientCommand, Option<&str>),
    settings: &Settings,
    now: Timestamp,
    out: &mut Output<'_>,
    offline: F,
) -> Result<Exit, Failure>
where
    F: AsyncFn(&Settings) -> Result<Router, Failure>,
{
    let folder = match command {
        ClientCommand::Orders { command: OrdersCommand::Create(_) | OrdersCommand::Import(_), .. }
        | ClientCommand::Keys { command: KeysCommand::Create { .. }, .. } => Folder::MayBeMade,
        _ => Folder::MustBe,
    };
    let api = connect::connect(settings, url, folder, offline).await?;
    let api = api.as_ref();
    if api.is_server() && command.tenant().is_some() {
        let what = "a server takes the tenant from the credential";
        return Err(Failure::here(Exit::Usage, what, "leave --tenant out, or stop the server"));
    }
    match command {
        ClientCommand::Orders { command, .. } => about_orders(api, command, out).await,
        ClientCommand::Parked { args, .. } => parked::parked(api, args, out).await,
        ClientCommand::Events { command, .. } => events::tail(api, command, events::PAUSE, out).await,
        ClientCommand::Backup(args) => {
            let data = url.is_none().then_some(settings.data.as_path());
            backup::backup(api, args, data, backup::POLL, out).await
        }
        ClientCommand::Secrets { command, .. } => secrets::run(api, command, out).await,
        ClientCommand::Keys { command, .. } => keys::run(api, command, now, out).await,
        ClientCommand::Stores { command, .. } => stores::run(api, command, out).await,
        ClientCommand::Imports { command, .. } => imports::run(api, command, out).await,
        ClientCommand::Sync { args, .. } => sync::run(api, args, sync::EVERY, out).await,
        ClientCommand::Endpoints { command, .. } => endpoints::run(api, command, out).await,
        ClientCommand::Deliveries { command, .. } => deliveries::run(api, command, out).await,
        ClientCommand::Followers { command, .. } => {
            followers::run(api, command.as_ref().unwrap_or(&FollowersCommand::List), out).await
        }
    }
}

async fn about_orders(
    api: &dyn ApiCall,
    command: &OrdersCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        OrdersCommand::Create(args) => create::create(api, args, out).await,
        OrdersCommand::Get(args) => orders::get(api, args, out).await,
        OrdersCommand::List(args) => orders::list(api, args, out).await,
        OrdersCommand::Watch(args) => watch::watch(api, args, watch::POLL, out).await,
        OrdersCommand::Ship(args) => act::ship(api, args, out).await,
        OrdersCommand::Deliver(args) => act::deliver(api, args, out).await,
        OrdersCommand::Withdraw(args) => act::withdraw(api, args, out).await,
        OrdersCommand::Erase(args) => act::erase(api, args, out).await,
        OrdersCommand::Redrive(args) => redrive::redrive(api, args, redrive::POLL, out).await,
        OrdersCommand::Import(args) => import::import(api, args, events::PAUSE, out).await,
        OrdersCommand::Export(args) => export::export(api, args, events::PAUSE, out).await,
    }
}

/// `healthcheck`.
///
/// # Errors
/// Nobody answers.
pub(crate) async fn healthcheck(
    url: Option<&str>,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let api = connect::server(settings, url)?;
    health::check(api.as_ref(), out).await
}

/// `config show`.
///
/// # Errors
/// The reader is gone.
pub(crate) fn config_show(config: &Config, out: &mut Output<'_>) -> io::Result<Exit> {
    if out.json {
        out.json(config::as_json(config).to_string().as_bytes())?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<Cell>> = config::as_rows(config)
        .into_iter()
        .map(|[key, value, origin]| {
            let value = if value.is_empty() { Cell::new(Style::Dim, "(empty)") } else { value.into() };
            let style = if origin == "default" { Style::Dim } else { Style::Good };
            vec![key.into(), value, Cell::new(style, &origin)]
        })
        .collect();
    out.table(&["SETTING", "VALUE", "FROM"], &rows)?;
    Ok(Exit::Ok)
}

/// `completions`: a script for the shell on standard output.
///
/// # Errors
/// The reader is gone.
pub(crate) fn completions(shell: clap_complete::Shell, out: &mut Output<'_>) -> io::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wellorder", &mut script);
    out.script(&script)?;
    Ok(Exit::Ok)
}

/// A folder for messages and for `--data` in a hint.
fn shown(folder: &Path) -> String {
    crate::output::escape(&folder.display().to_string()).into_owned()
}
