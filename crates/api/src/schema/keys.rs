//! API keys on the wire.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

use utoipa::ToSchema;

/// An API key to be made.
#[derive(ToSchema)]
pub struct NewKey {
    /// What people call it.
    #[schema(min_length = 1, max_length = 255, example = "shop backend")]
    pub name: String,
    /// What it may do; nothing that its maker may not.
    #[schema(min_items = 1, example = json!(["orders:read", "orders:write"]))]
    pub scopes: Vec<String>,
    /// From when on it no longer works; never unless said: it outlives the token or key that makes it.
    #[schema(format = "date-time")]
    pub expires_at: Option<String>,
}

/// How to rotate an API key.
#[derive(ToSchema)]
pub struct Rotation {
    /// How long the present secret keeps working; 86400 unless said.
    #[schema(maximum = 2_592_000, example = 3600)]
    pub grace_seconds: Option<u32>,
    /// Ends the secret before the present one, if it still works; without it that is refused.
    pub end_grace: Option<bool>,
}

/// An API key.
#[derive(ToSchema)]
pub struct Key {
    /// Its id; the secret's text holds it too.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "0193473d2c3b7000")]
    pub key_id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it works.
    pub state: KeyState,
    /// When it was made.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// Who made it.
    pub created_by: String,
    /// From when on it no longer works.
    #[schema(required, format = "date-time")]
    pub expires_at: Option<String>,
    /// When its secret was changed last.
    #[schema(required, format = "date-time")]
    pub rotated_at: Option<String>,
    /// Until when the secret before works too.
    #[schema(required, format = "date-time")]
    pub previous_until: Option<String>,
    /// When it was used last, to a minute or so.
    #[schema(required, format = "date-time")]
    pub last_used_at: Option<String>,
    /// When it was revoked.
    #[schema(required, format = "date-time")]
    pub revoked_at: Option<String>,
    /// What to send as `Authorization: Bearer …`. Only in the reply that makes or rotates the key: nobody can show it
    /// again.
    #[schema(pattern = "^wo_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$")]
    pub key: Option<String>,
}

/// Whether an API key works.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum KeyState {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// A page of API keys.
#[derive(ToSchema)]
pub struct KeyList {
    /// The keys, the newest first.
    pub keys: Vec<Key>,
    /// Give it as `after` to get the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<String>,
}
