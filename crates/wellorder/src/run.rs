//! From the command line to an exit code.

use crate::cli::args::{Cli, ClientCommand, Command, ConfigCommand, SimulateCommand};
use crate::cli::failure::{self, Exit, Failure};
use crate::config::{Config, Environment, Settings};
use crate::output::Output;
use crate::system::SystemClock;
use crate::{
    cli, dev, local, moving, restore, serve_command, simulate_delivery, simulate_flow, simulate_receiver,
};
use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use order_core::{Clock, TenantId};
use std::process::ExitCode;
use std::time::Duration;

/// Runs the program with the process's arguments and environment. Exit codes: 0 ok, 1 fault, 2 usage or settings,
/// 3 not found, 4 refused, 5 unreachable, 6 findings.
pub fn run() -> ExitCode {
    harden();
    let environment = Environment::read();
    #[cfg(feature = "killpoints")]
    if let Err(failure) = crate::killpoint::arm(&environment) {
        return failure::report(&failure, &mut Output::terminal(false, &environment)).into();
    }
    let cli = match Cli::try_parse().and_then(Cli::check) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &environment),
    };
    let mut out = Output::terminal(cli.global.json, &environment);
    let (config, data) = (cli.global.config.as_deref(), cli.global.data.as_deref());
    out.again =
        out.again.at(config, data, cli.url(), &environment).believing(cli.ca_file().map(String::as_str));
    let database = cli.global.database.as_deref().or_else(|| environment.get("WELLORDER_DATABASE"));
    out.again = std::mem::take(&mut out.again).on_database(database);
    if let Some(ended) = about_itself(&cli.command, &mut out) {
        return ended.unwrap_or_else(|failure| failure::report(&failure, &mut out)).into();
    }
    let ended = cli::settle(&cli, environment)
        .map_err(Failure::from)
        .and_then(|config| in_runtime(&cli, config, &mut out));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => failure::report(&failure, &mut out).into(),
    }
}

/// Says what is wrong with the command line, or gives the help that was asked for. The command line does not parse, so
/// whether JSON is wanted is looked for in its words.
fn usage(error: &clap::Error, environment: &Environment) -> ExitCode {
    let json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if !(json && error.use_stderr()) {
        error.exit();
    }
    let text = error.to_string();
    // What is wrong, perhaps with a tip; then comes how it is used.
    let (what, _) = text.split_once("\n\nUsage:").unwrap_or((&text, ""));
    let what: Vec<&str> = what.split_whitespace().collect();
    let what = what.join(" ");
    let what = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing",
        _ => what.strip_prefix("error: ").unwrap_or(&what),
    };
    let failure = Failure::here(Exit::Usage, what, "see `wellorder --help`");
    failure::report(&failure, &mut Output::terminal(true, environment)).into()
}

/// Commands that need no settings: wrong ones must not keep them from working.
fn about_itself(command: &Command, out: &mut Output<'_>) -> Option<Result<Exit, Failure>> {
    match command {
        Command::Completions { shell } => Some(cli::completions(*shell, out).map_err(Failure::from)),
        Command::Openapi(args) => Some(cli::documents::openapi(args, out)),
        Command::Man { to } => Some(cli::documents::man(to.as_deref(), out)),
        _ => None,
    }
}

/// What we write is for our user alone, and what we hold in memory does not end in a core file.
fn harden() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Not everywhere can it be switched off; then it stays as it is.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Longest wait for blocking calls at the end: longer than Kafka's clients wait for brokers.
const BLOCKING_MAX: Duration = Duration::from_secs(4);

fn in_runtime(cli: &Cli, config: Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime").map_err(Failure::from)?;
    let exit = runtime.block_on(dispatch(cli, config, out));
    match &cli.command {
        // A client of Kafka in the middle of a call does not survive that OpenSSL is taken down around it at the end of the
        // process: then the exit code would be that of an abort.
        Command::Dev(_) | Command::Serve(_) => runtime.shutdown_timeout(BLOCKING_MAX),
        // Whatever still waits on a blocking call, a terminal for example, has nothing to say any more.
        _ => runtime.shutdown_background(),
    }
    exit
}

async fn dispatch(cli: &Cli, config: Config, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Dev(args) => dev::dev(args, config, out).await,
        Command::Serve(args) => serve_command::serve(args, config, out).await,
        Command::Client(command) => {
            let tenant = tenant(command)?;
            let (makes_first, makes_keys) = (command.makes_first_key(), command.makes_keys());
            if makes_first && cli.url().is_none() {
                local::set_up(&config.settings, out).await?;
            }
            let offline =
                async |settings: &Settings| local::offline(settings, tenant.clone(), makes_keys).await;
            cli::client((command, cli.url()), &config.settings, SystemClock::default().now(), out, offline)
                .await
        }
        Command::Token(args) => cli::token::token(args, &config.settings, SystemClock::default().now(), out),
        Command::Restore(args) => restore::restore(args, &config.settings, out).await,
        Command::Move(args) => moving::run(args, &config.settings, out).await,
        Command::Audit(args) => local::audit(args, &config.settings, out).await,
        Command::Doctor => local::doctor(&config, out).await,
        Command::Simulate { command: SimulateCommand::Delivery(args) } => {
            simulate_delivery::run(args, &config.settings, out).await
        }
        Command::Simulate { command: SimulateCommand::WebhookReceiver(args) } => {
            simulate_receiver::run(args, out).await
        }
        Command::Simulate { command: SimulateCommand::MarketplaceFlow(args) } => {
            simulate_flow::run(args, &config.settings, out).await
        }
        Command::Config { command: ConfigCommand::Show { .. } } => Ok(cli::config_show(&config, out)?),
        Command::Migrate => local::migrate(&config.settings, out).await,
        Command::Completions { .. } | Command::Openapi(_) | Command::Man { .. } => Ok(Exit::Ok),
        Command::Healthcheck { .. } => cli::healthcheck(cli.url(), &config.settings, out).await,
    }
}

fn tenant(command: &ClientCommand) -> Result<TenantId, Failure> {
    let name = command.tenant().map(TenantId::new);
    let tenant = name.transpose().map_err(|error| {
        Failure::here(Exit::Usage, format!("the tenant {error}"), "name another with --tenant")
    })?;
    Ok(tenant.unwrap_or_else(TenantId::default_tenant))
}
