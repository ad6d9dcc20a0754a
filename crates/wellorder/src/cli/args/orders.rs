//! What can be said about orders.

use std::{path::PathBuf, str::FromStr};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(crate) enum OrdersCommand {
    /// Hand in an order
    Create(Box<CreateArgs>),
    /// Show one order
    Get(GetArgs),
    /// List orders, the newest first
    List(ListArgs),
    /// Print what happens to an order until its work ends; exit code 4 when it is parked
    Watch(WatchArgs),
    /// Record that the goods were sent
    Ship(ShipArgs),
    /// Record that the goods arrived
    Deliver(DeliverArgs),
    /// Withdraw an order; there is no way back
    Withdraw(WithdrawArgs),
    /// Blank the personal data of an order, also in its history; there is no way back
    Erase(EraseArgs),
    /// Send parked orders to work again
    Redrive(RedriveArgs),
    /// Hand in the orders of an NDJSON file; may be run again
    Import(ImportArgs),
    /// Write orders as NDJSON, in the order in which they changed
    Export(ExportArgs),
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

#[derive(Clone, Debug, Default, Args)]
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
    /// Only orders whose id, reference or customer begins with this
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only orders of this customer
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// Only orders accepted at this moment or later, such as 2026-11-20T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) accepted_from: Option<String>,
    /// Only orders accepted before this moment
    #[arg(long, value_name = "TIME")]
    pub(crate) accepted_to: Option<String>,
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

impl Processing {
    /// The word on the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Parked => "parked",
        }
    }
}

/// The arguments of [`ParkedFilter`].
const FILTERS: [&str; 7] =
    ["error_contains", "search", "customer", "fulfilment", "withdrawn", "accepted_from", "accepted_to"];

/// Which of the orders that are parked, their source aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ParkedFilter {
    /// Only orders whose last error contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) error_contains: Option<String>,
    /// Only orders whose id, reference or customer begins with this
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only orders of this customer
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// Only orders in this state
    #[arg(long)]
    pub(crate) fulfilment: Option<Fulfilment>,
    /// Only withdrawn, or only not withdrawn, ones
    #[arg(long, value_name = "BOOL")]
    pub(crate) withdrawn: Option<bool>,
    /// Only orders accepted at this moment or later, such as 2026-11-20T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) accepted_from: Option<String>,
    /// Only orders accepted before this moment
    #[arg(long, value_name = "TIME")]
    pub(crate) accepted_to: Option<String>,
}

impl ParkedFilter {
    /// By the names on the wire.
    pub(crate) fn texts(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("error_contains", self.error_contains.as_deref()),
            ("q", self.search.as_deref()),
            ("customer", self.customer.as_deref()),
            ("fulfilment", self.fulfilment.map(Fulfilment::word)),
            ("withdrawn", self.withdrawn.map(|withdrawn| if withdrawn { "true" } else { "false" })),
            ("accepted_from", self.accepted_from.as_deref()),
            ("accepted_to", self.accepted_to.as_deref()),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fulfilment {
    Unshipped,
    Shipped,
    Delivered,
}

impl Fulfilment {
    /// The word on the wire.
    fn word(self) -> &'static str {
        match self {
            Self::Unshipped => "unshipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
        }
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct ParkedArgs {
    /// Only orders of this source
    #[arg(long)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) filter: ParkedFilter,
    /// Orders on a page, 1 to 200
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Where the page before ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) order: GetArgs,
    /// How long to watch: until it is worked on, shipped, or delivered
    #[arg(long, value_name = "STATE", default_value = "worked")]
    pub(crate) until: Until,
}

/// When enough was seen of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    #[default]
    Worked,
    Shipped,
    Delivered,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ShipArgs {
    #[command(flatten)]
    pub(crate) order: GetArgs,
    /// The carrier's number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) tracking_number: Option<String>,
    /// When, such as 2026-11-20T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<String>,
}

/// A time as it is sent: checked here, so that a slip of the finger asks no server.
fn moment(text: &str) -> Result<String, String> {
    let known = order_core::Timestamp::parse(text);
    known.map(|_| text.to_owned()).map_err(|_| "no time such as 2026-11-20T10:00:00Z".to_owned())
}

#[derive(Debug, Default, Args)]
pub(crate) struct DeliverArgs {
    #[command(flatten)]
    pub(crate) order: GetArgs,
    /// When, such as 2026-11-20T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct WithdrawArgs {
    #[command(flatten)]
    pub(crate) order: GetArgs,
    /// Why; it is kept in the order's history
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Default, Args)]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    pub(crate) order: GetArgs,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Default, Args)]
#[command(group = ArgGroup::new("which").args(["ids", "all", "source"]).args(FILTERS).required(true).multiple(true))]
pub(crate) struct RedriveArgs {
    /// Ids or references of parked orders
    #[arg(value_name = "ID|REFERENCE", conflicts_with = "all", conflicts_with_all = FILTERS)]
    pub(crate) ids: Vec<String>,
    /// All parked orders
    #[arg(long, visible_alias = "parked")]
    pub(crate) all: bool,
    /// Parked orders of this source; with references, where those came from [default: api]
    #[arg(long)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) filter: ParkedFilter,
    /// Why; it is kept in the order's history
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) reason: Option<String>,
    /// Only say how many there would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask once the number of orders is known
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Do not wait until all are sent
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A file with an order as JSON on each line, each with a reference; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ExportArgs {
    /// File to write, which must not be there yet [default: standard output]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "file")]
    pub(crate) force: bool,
    /// Only what changed since: a date-time, or where an export before ended
    #[arg(long, value_name = "TIME|CURSOR", default_value = "beginning")]
    pub(crate) updated_since: String,
    /// Only orders of this source
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Only orders in this state
    #[arg(long)]
    pub(crate) processing: Option<Processing>,
}
