//! What can be said on the command line.

mod keys;
mod market;
mod orders;
mod webhooks;

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use clap_complete::Shell;

pub(crate) use self::keys::{KeysCommand, SecretsCommand};
pub(crate) use self::market::{FlowArgs, ImportsCommand, RegisterArgs, StoresCommand, SyncArgs};
pub(crate) use self::orders::{
    CreateArgs, DeliverArgs, EraseArgs, ExportArgs, GetArgs, ImportArgs, Line, ListArgs, OrdersCommand,
    ParkedArgs, Processing, RedriveArgs, ShipArgs, Until, WatchArgs, WithdrawArgs,
};
#[cfg(test)]
pub(crate) use self::orders::{Fulfilment, ParkedFilter};
pub(crate) use self::webhooks::{DeliveriesCommand, DeliveriesList, EndpointsCommand};
use super::{audit::AuditArgs, backup::BackupArgs};
use crate::{
    config::{Flag, Mode},
    moving::MoveArgs,
    restore::RestoreArgs,
    simulate_receiver::ReceiverArgs,
};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 fault, 2 usage or settings, 3 not found, 4 refused, 5 unreachable, \
6 findings.\nSettings come from flags, environment (WELLORDER_…), .env, wellorder.toml; `wellorder config show` tells \
each value's origin.";

/// Orders, exactly once, in order.
#[derive(Debug, Parser)]
#[command(name = "wellorder", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Server to ask, for the commands that ask one; may stand behind them too
    #[arg(long = "url", id = "server_url", value_name = "URL")]
    url: Option<String>,
    /// API key or token to log in with; others on this machine may see it: the variable WELLORDER_KEY is better
    #[arg(long = "key", id = "server_key", value_name = "KEY")]
    key: Option<String>,
    /// Authorities to believe besides the public ones (PEM); may stand behind the commands that ask a server too
    #[arg(long = "ca-file", id = "server_ca_file", value_name = "FILE")]
    ca_file: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_display_order = 900)]
pub(crate) struct Global {
    /// Answer as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Settings file, instead of wellorder.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data folder [default: ./wellorder-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// PostgreSQL that keeps everything, instead of the data folder; others on this machine may see a password: the variable
    /// WELLORDER_DATABASE is better
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine, on loopback, without a login
    Dev(DevArgs),
    /// Serve others: with a login, or not at all
    Serve(ServeArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Make a copy the database of a data folder that no server holds; or begin another history on PostgreSQL
    Restore(RestoreArgs),
    /// Carry everything from a data folder that no server holds to an empty PostgreSQL
    Move(MoveArgs),
    /// Prove that the data is sound; exit code 6 when it is not
    Audit(AuditArgs),
    /// Look for what keeps wellorder from running, and say how to mend it
    Doctor,
    /// Stand in for a system outside, to try things out
    Simulate {
        #[command(subcommand)]
        command: SimulateCommand,
    },
    /// The settings
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make a token from the secret of the settings, to try things out
    Token(TokenArgs),
    /// Bring the database to this version; on SQLite with a backup copy
    Migrate,
    /// Print what describes the API: OpenAPI unless said otherwise
    Openapi(OpenapiArgs),
    /// Print the manual page, or write those of all commands
    Man {
        /// Folder to write all pages to
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Print a completion script
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Ask a server whether it is ready
    Healthcheck {
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What can be stood in for.
#[derive(Debug, Subcommand)]
pub(crate) enum SimulateCommand {
    /// A delivery service at RabbitMQ: takes created orders, and says that they were shipped and delivered
    Delivery(DeliveryArgs),
    /// A receiver of webhooks: shows what comes, and fails where it is told to
    WebhookReceiver(ReceiverArgs),
    /// A client of the contract marketplace: registers a store, imports receipts, asks to be told of syncs
    MarketplaceFlow(FlowArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DeliveryArgs {
    /// Queue of created orders
    #[arg(long, value_name = "QUEUE", default_value = "orders.created")]
    pub(crate) created: String,
    /// Queue that hears that an order was shipped
    #[arg(long, value_name = "QUEUE", default_value = "orders.shipped")]
    pub(crate) shipped: String,
    /// Queue that hears that an order was delivered
    #[arg(long, value_name = "QUEUE", default_value = "orders.delivered")]
    pub(crate) delivered: String,
    /// Milliseconds from an order to its shipment
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) ship_after_ms: u64,
    /// Milliseconds from there to its delivery
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    pub(crate) deliver_after_ms: u64,
    /// Part of the messages that are sent twice, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    pub(crate) duplicates: f64,
    /// Part of the orders that are said to be delivered before they are said to be shipped, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    pub(crate) reorder: f64,
    /// Send messages without an envelope and without ids
    #[arg(long)]
    pub(crate) bare: bool,
    /// End after so many orders
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

pub(crate) fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "write a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err("write a number from 0 to 1".to_owned()) }
}

/// The commands that speak the API.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create, read, change and repair orders
    Orders {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: OrdersCommand,
    },
    /// Orders that wait for an operator, the newest first
    Parked {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        args: ParkedArgs,
    },
    /// Read what happened
    Events {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// API keys: who may call, and do what
    Keys {
        #[command(flatten)]
        server: ServerArgs,
        /// Whose keys, on a data folder that no server holds [default: default]
        #[arg(long, global = true, value_name = "NAME")]
        tenant: Option<String>,
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Receivers of webhooks: who is told of events
    Endpoints {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: EndpointsCommand,
    },
    /// Deliveries of webhooks: what became of each, and sending again
    Deliveries {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: DeliveriesCommand,
    },
    /// See and steer who follows the events
    Followers {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: Option<FollowersCommand>,
    },
    /// Secrets at rest: under which keys they lie, and bringing them under another
    Secrets {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Stores at marketplaces
    Stores {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: StoresCommand,
    },
    /// Orders imported from stores, and those that are to be
    Imports {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: ImportsCommand,
    },
    /// Sync the stores that are due: what failed is tried again, what is new is imported
    Sync {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        args: SyncArgs,
    },
    /// Copy the whole database while it is in use
    Backup(BackupArgs),
}

impl ClientCommand {
    fn server(&self) -> &ServerArgs {
        match self {
            Self::Orders { server, .. }
            | Self::Parked { server, .. }
            | Self::Events { server, .. }
            | Self::Keys { server, .. }
            | Self::Endpoints { server, .. }
            | Self::Deliveries { server, .. }
            | Self::Followers { server, .. }
            | Self::Secrets { server, .. }
            | Self::Stores { server, .. }
            | Self::Imports { server, .. }
            | Self::Sync { server, .. }
            | Self::Backup(BackupArgs { server, .. }) => server,
        }
    }

    /// Whether it makes an API key, perhaps the first.
    pub(crate) fn makes_first_key(&self) -> bool {
        matches!(self, Self::Keys { command: KeysCommand::Create { .. }, .. })
    }

    /// Whether it makes secrets of API keys.
    pub(crate) fn makes_keys(&self) -> bool {
        self.makes_first_key() || matches!(self, Self::Keys { command: KeysCommand::Rotate { .. }, .. })
    }

    /// Whose data it is about, where nobody logs in.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Keys { tenant, .. } => tenant.as_deref(),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Args)]
#[command(next_display_order = 800)]
pub(crate) struct ServerArgs {
    /// Server to ask, instead of the one that runs on the data folder
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// API key or token to log in with; others on this machine may see it: the variable WELLORDER_KEY is better
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Authorities to believe besides the public ones (PEM): those of the server's certificate
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which"))]
pub(crate) struct OpenapiArgs {
    /// AsyncAPI: where events can be read, and what each looks like
    #[arg(long, group = "which")]
    pub(crate) asyncapi: bool,
    /// The JSON Schema of a type of event, such as order.accepted, or of all: envelope
    #[arg(long, group = "which", value_name = "TYPE")]
    pub(crate) schema: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Seed orders of every kind and keep some coming
    #[arg(long)]
    pub(crate) demo: bool,
    /// Serve this contract at the root of the port
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) contract: Option<String>,
    /// Keep nothing: the data lies in a folder that is removed at the end
    #[arg(long, conflicts_with = "data")]
    pub(crate) ephemeral: bool,
    /// Address that serves HTTP [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// What this process does: api, worker, relay, sync or all; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) role: Vec<String>,
    /// Second address, for health and metrics alone
    #[arg(long, value_name = "ADDR")]
    pub(crate) ops: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address that serves HTTP
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Serve this contract at the root of the port
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) contract: Option<String>,
    /// What this process does: api, worker, relay, sync or all; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) role: Vec<String>,
    /// Second address, for health and metrics alone
    #[arg(long, value_name = "ADDR")]
    pub(crate) ops: Option<String>,
    /// Bring the database to this version first; on SQLite with a backup copy
    #[arg(long)]
    pub(crate) migrate: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every setting with its value and where it came from; secrets are hidden
    Show {
        /// The defaults of dev or of serve
        #[arg(long = "for", value_name = "COMMAND", default_value = "dev")]
        command: Server,
    },
}

/// The commands that run a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Dev,
    Serve,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Who uses it
    #[arg(long, default_value = "operator")]
    pub(crate) subject: String,
    /// Whose orders it opens
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// What it may do, such as orders:read; may be repeated
    #[arg(long, required = true)]
    pub(crate) scope: Vec<String>,
    /// How long it is good for
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = super::keys::span)]
    pub(crate) lifetime: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print the newest events, or those behind a cursor, in their order; with --json one a line
    Tail(TailArgs),
}

#[derive(Debug, Default, Args)]
#[command(group = clap::ArgGroup::new("begin").args(["after", "from", "newest"]))]
pub(crate) struct TailArgs {
    /// Begin with the newest so many, 0 to 200 [default: 10]
    #[arg(long = "number", short = 'n', id = "newest", value_name = "N", value_parser = clap::value_parser!(u32).range(..=200))]
    pub(crate) newest: Option<u32>,
    /// Begin with the oldest: all events
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<Beginning>,
    /// Begin behind this cursor
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    /// Wait for more at the end
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// The one place that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Beginning {
    Beginning,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FollowersCommand {
    /// All followers and how far each is behind
    List,
    /// One follower, with its place in every shard
    Get {
        /// Its name
        name: String,
    },
    /// Let it carry on nothing until it is resumed
    Pause {
        /// Its name
        name: String,
    },
    /// Let it carry on again
    Resume {
        /// Its name
        name: String,
    },
    /// Set it to another place, and what lies behind that is sent again; with --to, send a range once more and go on
    Replay {
        /// Its name
        name: String,
        /// beginning, now, a date-time such as 2026-11-20T10:00:00Z, or a cursor
        #[arg(long, value_name = "PLACE")]
        from: String,
        /// The end of the range, likewise; what came before that moment is sent once more
        #[arg(long, value_name = "PLACE")]
        to: Option<String>,
    },
    /// The orders that wait because its sink refused an event of theirs for good
    Parked {
        /// Its name
        name: String,
        /// Behind this order
        #[arg(long, value_name = "ORDER")]
        after: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Send what is parked for it again, in order, from the refused event on
    Redrive {
        /// Its name
        name: String,
        /// These orders; all that are parked unless said
        #[arg(value_name = "ORDER", group = "whom")]
        orders: Vec<String>,
        /// All that are parked
        #[arg(long, group = "whom")]
        all: bool,
        /// Leave the refused events of ORDER, or of --all, out, and say why; it is kept for ever, so name no person
        #[arg(long, value_name = "REASON", requires = "whom")]
        skip: Option<String>,
        /// Do not ask whether those of --all are to be left out
        #[arg(long)]
        yes: bool,
    },
}

impl Cli {
    /// The server that is named, before the command or behind it.
    pub(crate) fn url(&self) -> Option<&str> {
        self.server().and_then(|server| server.url.as_deref()).or(self.url.as_deref())
    }

    fn server(&self) -> Option<&ServerArgs> {
        match &self.command {
            Command::Client(client) => Some(client.server()),
            Command::Healthcheck { server } => Some(server),
            _ => None,
        }
    }

    /// What of it does not fit together, though each part does.
    ///
    /// # Errors
    /// A server is named to a command that asks none, or to one that would put what that server has on this machine.
    pub(crate) fn check(self) -> Result<Self, clap::Error> {
        let flags = [("--url", &self.url), ("--key", &self.key), ("--ca-file", &self.ca_file)];
        match flags.iter().find_map(|(flag, value)| value.is_some().then_some(flag)) {
            Some(flag) if self.server().is_none() => {
                let what = format!("{flag} is for the commands that ask a server: this one does not");
                Err(Self::command().error(ErrorKind::ArgumentConflict, what))
            }
            _ if self.asks_for_a_far_copy() => {
                let what = "--to and --url do not go together: a server elsewhere keeps its copies in the folder backups of its \
                            own data folder. Leave --to out, or run this with --data where the data lies";
                Err(Self::command().error(ErrorKind::ArgumentConflict, what))
            }
            _ => Ok(self),
        }
    }

    fn asks_for_a_far_copy(&self) -> bool {
        let Command::Client(ClientCommand::Backup(args)) = &self.command else { return false };
        args.to.is_some() && self.url().is_some()
    }

    /// The file of authorities that is named, before the command or behind it.
    pub(crate) fn ca_file(&self) -> Option<&String> {
        self.server().and_then(|server| server.ca_file.as_ref()).or(self.ca_file.as_ref())
    }

    /// The flags that are settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let mut add = |path, flag, value: Option<&String>| {
            flags.extend(value.map(|value| Flag { path, flag, value: value.clone() }));
        };
        add("data", "--data", self.global.data.as_ref());
        if let Command::Move(args) = &self.command {
            add("database", "--to", args.to.as_ref());
        }
        add("database", "--database", self.global.database.as_ref());
        if let Some(server) = self.server() {
            add("client.key", "--key", server.key.as_ref().or(self.key.as_ref()));
            add("tls.ca_file", "--ca-file", self.ca_file());
        }
        let (contract, listen, ops, roles) = match &self.command {
            Command::Dev(dev) => (&dev.contract, &dev.listen, &dev.ops, dev.role.join(",")),
            Command::Serve(serve) => (&serve.contract, &serve.listen, &serve.ops, serve.role.join(",")),
            _ => return flags,
        };
        add("as", "--as", contract.as_ref());
        add("listen", "--listen", listen.as_ref());
        add("ops", "--ops", ops.as_ref());
        add("role", "--role", (!roles.is_empty()).then_some(&roles));
        flags
    }

    /// What the settings are for.
    pub(crate) fn mode(&self) -> Mode {
        match &self.command {
            Command::Dev(_) | Command::Config { command: ConfigCommand::Show { command: Server::Dev } } => {
                Mode::Dev
            }
            Command::Serve(_)
            | Command::Config { command: ConfigCommand::Show { command: Server::Serve } } => Mode::Serve,
            _ => Mode::Client,
        }
    }
}

#[cfg(test)]
mod tests;
