//! What can be said on the command line.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde_json::{Value, json};

use super::{audit::AuditArgs, backup::BackupArgs};
use crate::{
    config::{Flag, Mode},
    restore::RestoreArgs,
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
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine, on loopback, without a login
    Dev(DevArgs),
    /// Serve others: with a login, or not at all
    Serve(ServeArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Make a copy the database of a data folder that no server holds
    Restore(RestoreArgs),
    /// Prove that the data is sound; exit code 6 when it is not
    Audit(AuditArgs),
    /// Look for what keeps wellorder from running, and say how to mend it
    Doctor,
    /// The settings
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make a token from the secret of the settings, to try things out
    Token(TokenArgs),
    /// Bring the data folder to this version, with a backup copy
    Migrate,
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

/// The commands that speak the API.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create, read and repair orders
    Orders {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: OrdersCommand,
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
    /// See and steer who follows the events
    Followers {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: Option<FollowersCommand>,
    },
    /// Copy the whole database while it is in use
    Backup(BackupArgs),
}

impl ClientCommand {
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Orders { server, .. }
            | Self::Events { server, .. }
            | Self::Keys { server, .. }
            | Self::Followers { server, .. }
            | Self::Backup(BackupArgs { server, .. }) => server.url.as_deref(),
        }
    }

    /// Whose data it is about, where nobody logs in.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Keys { tenant, .. } => tenant.as_deref(),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_display_order = 800)]
pub(crate) struct ServerArgs {
    /// Server to ask, instead of the one that runs on the data folder
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
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
    /// Bring the data folder to this version first, with a backup copy
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

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key; it is shown this once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// What it may do, such as orders:read; may be repeated
        #[arg(long, required = true)]
        scope: Vec<String>,
        /// When it ends, such as 90d from now [default: never]
        #[arg(long, value_name = "SPAN", value_parser = super::keys::span)]
        expires_in: Option<Duration>,
    },
    /// List keys, the newest first, ended ones too
    List {
        /// Keys on a page, 1 to 200
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Where the page before ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Give a key another secret; it is shown this once
    Rotate {
        /// The key's id
        id: String,
        /// How long the present secret keeps working [default: 1d]
        #[arg(long, value_name = "SPAN", value_parser = super::keys::span)]
        grace: Option<Duration>,
    },
    /// End a key for ever
    Revoke {
        /// The key's id
        id: String,
    },
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
pub(crate) enum OrdersCommand {
    /// Hand in an order
    Create(Box<CreateArgs>),
    /// Show one order
    Get(GetArgs),
    /// List orders, the newest first
    List(ListArgs),
    /// Send parked orders to work again
    Redrive(RedriveArgs),
}

#[derive(Debug, Default, Args)]
#[command(group = ArgGroup::new("fields").multiple(true).conflicts_with("file"))]
pub(crate) struct CreateArgs {
    /// A file that holds the order as JSON; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Your own id of the order; the same one never makes a second order
    #[arg(long, group = "fields")]
    pub(crate) reference: Option<String>,
    /// Where it came from [default: api]
    #[arg(long, group = "fields")]
    pub(crate) source: Option<String>,
    /// Who ordered
    #[arg(long, group = "fields")]
    pub(crate) customer: Option<String>,
    /// Three capital letters (ISO 4217)
    #[arg(long, group = "fields")]
    pub(crate) currency: Option<String>,
    /// What it costs in all, such as 19.90
    #[arg(long, group = "fields", required_unless_present_any = ["file", "lines"])]
    pub(crate) total: Option<String>,
    /// One item, such as tea:2:9.95; may be repeated
    #[arg(long = "line", id = "lines", group = "fields", value_name = "SKU:QUANTITY:PRICE")]
    pub(crate) lines: Vec<Line>,
    /// Anything else, as a JSON object
    #[arg(long, group = "fields", value_name = "JSON", value_parser = json_object)]
    pub(crate) attributes: Option<Value>,
    /// Makes a repetition of this very command harmless
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

/// An item of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    sku: String,
    quantity: u64,
    unit_price: String,
}

impl FromStr for Line {
    type Err = String;

    /// The last two colons count: a SKU may have some of its own.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(unit_price), Some(quantity), Some(sku)) if !sku.is_empty() && !unit_price.is_empty() => {
                let quantity = quantity.parse().map_err(|_| format!("`{quantity}` is no quantity"))?;
                Ok(Self { sku: sku.to_owned(), quantity, unit_price: unit_price.to_owned() })
            }
            _ => Err("an item is SKU:QUANTITY:PRICE, such as tea:2:9.95".to_owned()),
        }
    }
}

impl Line {
    pub(crate) fn as_json(&self) -> Value {
        json!({ "sku": self.sku, "quantity": self.quantity, "unit_price": self.unit_price })
    }
}

fn json_object(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err("a JSON object is wanted, such as {\"gift\": true}".to_owned())
    }
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The order's id or reference
    #[arg(value_name = "ID|REFERENCE")]
    pub(crate) order: String,
    /// Where the reference came from [default: api]
    #[arg(long)]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Only orders in this state
    #[arg(long)]
    pub(crate) processing: Option<Processing>,
    /// Only orders of this source
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Only the order with this reference
    #[arg(long)]
    pub(crate) reference: Option<String>,
    /// Orders on a page, 1 to 200
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Where the page before ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Processing {
    Queued,
    Running,
    Done,
    Parked,
}

#[derive(Debug, Default, Args)]
#[command(group = ArgGroup::new("which").args(["ids", "all"]).required(true))]
pub(crate) struct RedriveArgs {
    /// Ids or references of parked orders
    #[arg(value_name = "ID|REFERENCE")]
    pub(crate) ids: Vec<String>,
    /// All parked orders
    #[arg(long)]
    pub(crate) all: bool,
    /// Why; it is kept in the order's history
    #[arg(long)]
    pub(crate) reason: String,
    /// Only say how many there would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait until all are sent
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print events, the oldest first, from the beginning or behind a cursor
    Tail {
        /// Begin behind this cursor
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Wait for more at the end
        #[arg(long, short)]
        follow: bool,
        /// Stop after so many [default: 100, with --follow none]
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
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
    /// Set it to another place; what lies behind that is sent again
    Replay {
        /// Its name
        name: String,
        /// beginning, now, or a cursor
        #[arg(long, value_name = "PLACE")]
        from: String,
    },
}

impl Cli {
    /// The flags that are settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let mut add = |path, flag, value: Option<&String>| {
            flags.extend(value.map(|value| Flag { path, flag, value: value.clone() }));
        };
        add("data", "--data", self.global.data.as_ref());
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_understood() {
        for line in [
            "wellorder dev",
            "wellorder dev --demo --as oscarps --ephemeral --listen 127.0.0.1:0 --ops 9090 --role api --role worker",
            "wellorder dev --data d --config f",
            "wellorder --json --data d orders list --processing parked --source api --limit 10 --cursor c --url http://h",
            "wellorder orders --url http://h list --json",
            "wellorder orders get A-1001 --source api --data d",
            "wellorder orders create --total 19.90",
            "wellorder orders create --line tea:2:9.95 --line a:b:1:2 --reference r --customer c --currency EUR",
            "wellorder orders create order.json --idempotency-key k",
            "wellorder orders create -",
            "wellorder orders redrive 1 2 3 --reason fixed",
            "wellorder orders redrive --all --reason fixed --dry-run --no-wait",
            "wellorder events tail --after c --follow --limit 5",
            "wellorder followers",
            "wellorder followers --url http://h list",
            "wellorder followers get ndjson",
            "wellorder followers pause ndjson",
            "wellorder followers resume ndjson",
            "wellorder followers replay ndjson --from beginning",
            "wellorder audit --json",
            "wellorder audit --actions",
            "wellorder backup --to d",
            "wellorder restore copy.db --replace --audit",
            "wellorder doctor",
            "wellorder config show",
            "wellorder config show --for serve --json",
            "wellorder serve --listen 127.0.0.1:3000 --as parspec --role api --role relay --ops 9090 --migrate --data d",
            "wellorder keys create --name shop --scope orders:read --scope orders:write --expires-in 90d --tenant acme",
            "wellorder keys list --limit 10 --cursor c --url http://h",
            "wellorder keys rotate 0123456789abcdef --grace 1h",
            "wellorder keys --tenant acme revoke 0123456789abcdef",
            "wellorder token --subject me --tenant acme --scope orders:read --lifetime 15m",
            "wellorder migrate",
            "wellorder completions bash",
            "wellorder healthcheck --url http://127.0.0.1:3000",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in [
            "wellorder",
            "wellorder serve-all",
            "wellorder serve --demo",
            "wellorder serve --ephemeral",
            "wellorder keys create --name shop",
            "wellorder keys create --scope orders:read",
            "wellorder keys create --name x --scope y --expires-in soon",
            "wellorder keys revoke",
            "wellorder token",
            "wellorder token --scope x --lifetime 1",
            "wellorder config show --for ever",
            "wellorder dev --ephemeral --data d",
            "wellorder orders create",
            "wellorder orders create --customer c",
            "wellorder orders create --line tea:two:9.95",
            "wellorder orders create --line tea:2",
            "wellorder orders create --line :2:3",
            "wellorder orders create order.json --total 1",
            "wellorder orders create --total 1 --attributes [1]",
            "wellorder orders get",
            "wellorder orders list --processing lost",
            "wellorder orders list --limit many",
            "wellorder orders redrive --reason x",
            "wellorder orders redrive 1 --all --reason x",
            "wellorder orders redrive --all",
            "wellorder followers replay ndjson",
            "wellorder completions perl",
            "wellorder restore",
            "wellorder audit --actions --noted 17",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line}"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn flags_become_settings() {
        let cli =
            parse("wellorder dev --data d --as parspec --role api --role worker --listen 1 --ops 2").unwrap();
        let flags: Vec<_> = cli.flags().into_iter().map(|flag| (flag.path, flag.flag, flag.value)).collect();
        let expected = [
            ("data", "--data", "d"),
            ("as", "--as", "parspec"),
            ("listen", "--listen", "1"),
            ("ops", "--ops", "2"),
            ("role", "--role", "api,worker"),
        ];
        assert_eq!(flags, expected.map(|(path, flag, value)| (path, flag, value.to_owned())));
        assert!(parse("wellorder audit").unwrap().flags().is_empty());
    }

    #[test]
    fn a_sku_may_have_colons() {
        let line: Line = "urn:x:tea:2:9.95".parse().unwrap();
        assert_eq!(line.as_json(), json!({ "sku": "urn:x:tea", "quantity": 2, "unit_price": "9.95" }));
    }
}
