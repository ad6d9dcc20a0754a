//! `endpoints` and `deliveries`.

use clap::{Args, Subcommand};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum EndpointsCommand {
    /// Make an endpoint; its secret is shown this once
    Create {
        /// Where it is
        #[arg(value_name = "URL")]
        address: String,
        /// What it hears of: a type of event, order.*, sync.* or *; may be repeated
        #[arg(long = "event", required = true, value_name = "TYPE")]
        events: Vec<String>,
        /// Deliveries a second at most [default: as many as it takes]
        #[arg(long, value_name = "N")]
        rate: Option<u32>,
    },
    /// List endpoints, the newest first
    List {
        /// Endpoints on a page, 1 to 200
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Where the page before ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show an endpoint
    Get {
        /// The endpoint's id
        id: String,
    },
    /// Change where it is, what it hears of, how often
    Change {
        /// The endpoint's id
        id: String,
        /// Where it is
        #[arg(long, value_name = "URL")]
        address: Option<String>,
        /// What it hears of; may be repeated
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        /// Deliveries a second at most
        #[arg(long, value_name = "N", conflicts_with = "no_rate")]
        rate: Option<u32>,
        /// As many deliveries as it takes
        #[arg(long)]
        no_rate: bool,
    },
    /// Keep for it what it hears of, and send nothing
    Pause {
        /// The endpoint's id
        id: String,
    },
    /// Send to it again, first what waited
    Enable {
        /// The endpoint's id
        id: String,
    },
    /// Send it nothing, and keep nothing new for it
    Disable {
        /// The endpoint's id
        id: String,
    },
    /// Give it another secret, which is shown this once
    Rotate {
        /// The endpoint's id
        id: String,
        /// How long what is sent is signed with the present one too, at most 1d [default: 1d]
        #[arg(long, value_name = "SPAN", value_parser = crate::cli::keys::span)]
        grace: Option<Duration>,
        /// End the secret before the present one, if that still counts; else this is refused
        #[arg(long)]
        end_previous: bool,
    },
    /// Send it an event that tells of nothing, now
    Test {
        /// The endpoint's id
        id: String,
    },
    /// Take it away for ever
    Delete {
        /// The endpoint's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesCommand {
    /// List deliveries that ended, the newest first; or those that wait
    List(DeliveriesList),
    /// Show a delivery with each try
    Get {
        /// The delivery's id
        id: String,
    },
    /// Make a delivery once more
    Resend {
        /// The delivery's id
        id: String,
    },
    /// Make the deliveries that were given up since a moment
    Recover {
        /// The endpoint's id
        endpoint: String,
        /// Given up at this moment or later (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: String,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the deliveries that were missed since a place
    Replay {
        /// The endpoint's id
        endpoint: String,
        /// beginning, a moment (RFC 3339), or where the answer before ended
        #[arg(long, value_name = "PLACE")]
        from: String,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct DeliveriesList {
    /// To this endpoint alone
    #[arg(long, value_name = "ID")]
    pub(crate) endpoint: Option<String>,
    /// About this order alone
    #[arg(long, value_name = "ID")]
    pub(crate) order: Option<String>,
    /// About this store alone
    #[arg(long, value_name = "ID", conflicts_with = "order")]
    pub(crate) store: Option<String>,
    /// Only those: waiting, delivered or failed
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Deliveries on a page, 1 to 200
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    /// Where the page before ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}
