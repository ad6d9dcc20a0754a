//! What can be said about stores and imports.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Marketplaces that a store can be at.
const MARKETPLACES: [&str; 3] = ["etsy", "shopify", "amazon"];
/// States of imports.
const STATES: [&str; 5] = ["pending", "success", "failed", "rate_limited", "invalid"];

#[derive(Debug, Subcommand)]
pub(crate) enum StoresCommand {
    /// List stores, the oldest first
    List {
        /// Of this organization alone
        #[arg(long, value_name = "NAME")]
        organization: Option<String>,
        /// At most so many, up to 200
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Behind this place: `next` of the page before
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Show a store
    Get {
        /// Its id
        store: String,
    },
    /// Register a store, or change what is said of it
    Register(RegisterArgs),
    /// What the syncs of a store did, the newest first
    Runs {
        /// Its id
        store: String,
        /// At most so many, up to 200
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Behind this place: `next` of the page before
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RegisterArgs {
    /// Organization that it belongs to
    #[arg(long, value_name = "NAME")]
    pub(crate) organization: String,
    /// Where it is
    #[arg(long, value_parser = MARKETPLACES)]
    pub(crate) marketplace: String,
    /// What the marketplace calls it; at Shopify the name before .myshopify.com
    #[arg(long, value_name = "ID")]
    pub(crate) external_id: String,
    /// What people call it
    #[arg(long)]
    pub(crate) name: String,
    /// Its currency, three letters
    #[arg(long)]
    pub(crate) currency: String,
    /// File with what opens it at the marketplace; - is standard input. On the command line others on this machine would see it
    #[arg(long, value_name = "FILE")]
    pub(crate) access_token_file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportsCommand {
    /// List the imports of a store, the newest first
    List {
        /// The store's id
        #[arg(long, value_name = "ID")]
        store: String,
        /// In this state alone
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// At most so many, up to 200
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Behind this place: `next` of the page before
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Where is a receipt? Its imports, in whichever stores
    Find {
        /// The receipt
        receipt: String,
    },
    /// Import a receipt of a store, at once
    Run {
        /// The receipt
        receipt: String,
        /// The store's id
        #[arg(long, value_name = "ID")]
        store: String,
    },
    /// Have a receipt tried again by the next sync of its store; until then it is what it was
    Retry {
        /// The receipt
        receipt: String,
        /// The store's id, where several stores have the receipt
        #[arg(long, value_name = "ID")]
        store: Option<String>,
        /// Also where it would be tried again by itself, and is not due yet
        #[arg(long)]
        now: bool,
    },
}

#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("how"))]
pub(crate) struct SyncArgs {
    /// Sync the stores that are due, once
    #[arg(long, group = "how")]
    pub(crate) once: bool,
    /// Do so every 30 seconds, until stopped
    #[arg(long = "loop", group = "how")]
    pub(crate) looping: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FlowArgs {
    /// Where the contract is served
    #[arg(long, env = "BASE_URL", default_value = "http://localhost:3000")]
    pub(crate) base_url: String,
    /// Organization of the store
    #[arg(long, env = "ORG_ID", default_value = "org-1")]
    pub(crate) org_id: String,
    /// Where the store is
    #[arg(long, env = "MARKETPLACE", default_value = "etsy")]
    pub(crate) marketplace: String,
    /// What the marketplace calls it
    #[arg(long, env = "EXTERNAL_STORE_ID", default_value = "ext-100")]
    pub(crate) external_store_id: String,
    /// What people call it
    #[arg(long, env = "STORE_NAME", default_value = "My Etsy Store")]
    pub(crate) store_name: String,
    /// What opens it at the marketplace; others on this machine may see it: the variable is better
    #[arg(long, env = "ACCESS_TOKEN", hide_env_values = true, default_value = "token-v2")]
    pub(crate) access_token: String,
    /// Its currency
    #[arg(long, env = "CURRENCY", default_value = "USD")]
    pub(crate) currency: String,
    /// Whom syncs are told to
    #[arg(long, env = "WEBHOOK_URL", default_value = "http://127.0.0.1:4000/webhook")]
    pub(crate) webhook_url: String,
    /// Receipts to import, apart by commas
    #[arg(long, env = "RECEIPTS", value_delimiter = ',', default_value = "order-101,order-102,order-115")]
    pub(crate) receipts: Vec<String>,
}
