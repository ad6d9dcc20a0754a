//! Copies and the action log on the wire.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

use utoipa::ToSchema;

/// A copy of the database.
#[derive(ToSchema)]
pub struct Backup {
    /// Its name: a file in the folder `backups` of the server's data folder, once it is done.
    #[schema(example = "wellorder-20260101100000-0193ab.db")]
    pub name: String,
    /// How it stands.
    pub state: BackupState,
    /// Bytes that are copied.
    pub bytes_done: u64,
    /// Of how many; 0 until that is known.
    pub bytes_total: u64,
    /// The number of orders in it, once it is done.
    #[schema(required)]
    pub orders: Option<u64>,
    /// Which history of the database it is a copy of, once it is done.
    #[schema(required)]
    pub epoch: Option<u32>,
    /// The newest position of each shard in it, once it is done.
    #[schema(required)]
    pub heads: Option<Vec<BackupHead>>,
}

/// How a copy stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum BackupState {
    /// It is being made.
    Running,
    /// It is whole, and was checked.
    Done,
    /// It could not be made; the server's log says why.
    Failed,
}

/// The end of a shard's journal in a copy.
#[derive(ToSchema)]
pub struct BackupHead {
    /// The shard.
    pub shard: u16,
    /// Its newest position.
    pub position: u64,
}

/// What somebody did.
#[derive(ToSchema)]
pub struct RecordedAction {
    /// Its place in the log of all tenants: 1, 2, 3 …
    #[schema(minimum = 1)]
    pub number: u64,
    /// What was done. There may be more kinds later.
    #[schema(example = "key.revoked")]
    pub action: String,
    /// To what: the id of a key, an order or a redrive, the name of a follower or a copy, an epoch; of `logins.refused` why,
    /// or `various`.
    pub subject: String,
    /// More about it, by kind.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
    /// Who did it: the subject of a token, `key:` and the id of a key, `contract:` and the name of one that asks for no login,
    /// or `local`; of `logins.refused` `nobody`.
    pub by: String,
    /// Where the request came from: the other end of the connection, or what a trusted proxy says. Of `logins.refused` the
    /// first address of a network of 64 bits, where it is one of IPv6; `null` for various ones.
    #[schema(required)]
    pub address: Option<String>,
    /// The id of the request.
    #[schema(required)]
    pub request_id: Option<String>,
    /// When.
    #[schema(format = "date-time")]
    pub at: String,
    /// In which history of the database.
    pub epoch: u32,
    /// SHA-256 over the state of what it was done to, before; `null` where there is none.
    #[schema(required, pattern = "^[0-9a-f]{64}$")]
    pub state_before: Option<String>,
    /// The same, after.
    #[schema(required, pattern = "^[0-9a-f]{64}$")]
    pub state_after: Option<String>,
    /// The hash of the row before, which may be another tenant's.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub previous_hash: String,
    /// The hash of this row.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub hash: String,
}

/// A page of the action log.
#[derive(ToSchema)]
pub struct ActionList {
    /// The rows, the newest first.
    pub actions: Vec<RecordedAction>,
    /// Give it as `after` to get the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// Under which keys secrets lie.
#[derive(ToSchema)]
pub struct SecretsStatus {
    /// The key that seals; `null` where the server was given none.
    #[schema(required, pattern = "^[0-9a-f]{16}$")]
    pub key_id: Option<String>,
    /// Others that it opens with.
    pub older_key_ids: Vec<String>,
    /// What lies where, under which key.
    pub secrets: Vec<SecretsCount>,
}

/// How many secrets lie in a place under a key.
#[derive(ToSchema)]
pub struct SecretsCount {
    /// Table and column.
    #[schema(example = "named_secrets.sealed")]
    pub place: String,
    /// The key; `null` for what was never sealed.
    #[schema(required, pattern = "^[0-9a-f]{16}$")]
    pub key_id: Option<String>,
    /// What that means.
    pub state: SecretsState,
    /// How many, among the first 100,000 of the place.
    pub count: u64,
    /// Whether there are more than those in the place.
    pub is_more: bool,
}

/// What the key of a secret is to the server.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum SecretsState {
    /// The one that seals.
    Current,
    /// One that it opens with.
    Older,
    /// One that it was not given.
    Unknown,
    /// None: what lies there was never sealed.
    Damaged,
}

/// Where to go on with a rotation.
#[derive(ToSchema)]
pub struct SecretsRotation {
    /// `next` of the answer before; from the beginning unless given.
    pub after: Option<String>,
}

/// What a step of a rotation did.
#[derive(ToSchema)]
pub struct SecretsRotated {
    /// The key that seals now.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    pub key_id: String,
    /// How many secrets were brought under it.
    pub resealed: u32,
    /// How many others changed meanwhile, and were sealed by whoever changed them.
    pub changed: u32,
    /// How many do not open, and are as they were.
    pub unopened: u32,
    /// Give it as `after` to go on; `null` at the end.
    #[schema(required)]
    pub next: Option<String>,
}
