//! `keys` and `secrets`.

use clap::Subcommand;
use std::time::Duration;

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
        #[arg(long, value_name = "SPAN", value_parser = crate::cli::keys::span)]
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
        #[arg(long, value_name = "SPAN", value_parser = crate::cli::keys::span)]
        grace: Option<Duration>,
        /// End the secret before the present one, if that still works; else this is refused
        #[arg(long)]
        end_grace: bool,
    },
    /// End a key for ever
    Revoke {
        /// The key's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// How many lie under which key; exit code 6 when some do not open
    Status,
    /// Bring all under the first key, while everything goes on
    Rotate,
}
