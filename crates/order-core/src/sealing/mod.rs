//! Secrets at rest: what others entrusted to us (tokens of marketplaces, secrets of webhooks) is kept under a key that is not
//! in the database, each bound to the place where it lies. Whoever reads the database, its log or a copy alone reads none of
//! them; whoever writes it cannot move one to another row.
//!
//! AES-256-GCM (NIST SP 800-38D) with random nonces of 96 bits: one key seals at most 2^32 texts, far more than there are
//! endpoints and stores. What lies there names its key, so keys can be replaced while everything goes on ([`resealing`]).

mod keyring;
pub mod resealing;

pub use keyring::{InvalidKeys, KEYS_MAX, Keyring};

use crate::error::Fault;
use crate::ids::TenantId;
use std::fmt;
use zeroize::Zeroizing;

/// Longest secret that is kept, in bytes.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// The form of what is sealed: its version, the key's id, the nonce; then the ciphertext with its tag.
const VERSION: u8 = 1;
pub(crate) const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// Tells a key from others, and tells nothing else of it: the first bytes of an HMAC under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// The columns in which secrets lie. Every storage has its statements for each; whoever adds one adds them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SealedColumn {
    /// `named_secrets.sealed`: what the installation made for itself ([`resealing`]); its row is called by the name.
    NamedSecret,
    /// `stores.access_token`: what opens a store at its marketplace; its row is called by the store's id.
    StoreAccess,
    /// `endpoints.secret`: what deliveries of webhooks are signed with; its row is called by the endpoint's id.
    EndpointSecret,
    /// `endpoints.previous_secret`: the one before, while that counts.
    EndpointPreviousSecret,
}

impl SealedColumn {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::NamedSecret, Self::StoreAccess, Self::EndpointSecret, Self::EndpointPreviousSecret];

    /// The table that has it.
    pub fn table(self) -> &'static str {
        match self {
            Self::NamedSecret => "named_secrets",
            Self::StoreAccess => "stores",
            Self::EndpointSecret | Self::EndpointPreviousSecret => "endpoints",
        }
    }

    /// Its name there.
    pub fn column(self) -> &'static str {
        match self {
            Self::NamedSecret => "sealed",
            Self::StoreAccess => "access_token",
            Self::EndpointSecret => "secret",
            Self::EndpointPreviousSecret => "previous_secret",
        }
    }

    /// The place of one of its rows.
    pub fn of<'a>(self, tenant: &'a TenantId, row: &'a str) -> Place<'a> {
        Place { tenant, table: self.table(), row, column: self.column() }
    }
}

impl fmt::Display for SealedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table(), self.column())
    }
}

/// Where a secret lies: it opens there and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// In which table.
    pub table: &'static str,
    /// In which row: its key, as text.
    pub row: &'a str,
    /// In which column.
    pub column: &'static str,
}

impl Place<'_> {
    /// What is authenticated beside the secret: each part after its length, so that no two places look alike.
    fn bytes(&self, key_id: KeyId) -> Vec<u8> {
        let mut bytes = b"wellorder/sealed/1".to_vec();
        for part in [self.tenant.as_str(), self.table, self.row, self.column] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&key_id.0);
        bytes
    }
}

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// What a storage read; whether it opens is known when it is opened.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// For a storage.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key that it says it is sealed under; `None` where it is nothing that was ever sealed.
    pub fn key_id(&self) -> Option<KeyId> {
        if self.0.len() < HEAD_BYTES + TAG_BYTES || self.0.first() != Some(&VERSION) {
            return None;
        }
        self.0.get(1..=KEY_ID_BYTES)?.try_into().ok().map(KeyId)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key_id() {
            Some(key_id) => write!(f, "Sealed({} bytes under {key_id})", self.0.len()),
            None => write!(f, "Sealed({} bytes)", self.0.len()),
        }
    }
}

/// A secret in memory, which is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes hold of it.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What it is, for who uses it: never for a log, an answer or an error.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as text, if it is one.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Why a secret was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// It is longer than [`SECRET_BYTES_MAX`].
    #[error("a secret is longer than is kept")]
    TooLong,
    /// What lies there is nothing that was ever sealed.
    #[error("what lies where a secret should is none")]
    Malformed,
    /// It is sealed under a key that is not here.
    #[error("a secret is sealed under the key {0}, which is not in secrets.key or secrets.key_file")]
    KeyUnknown(KeyId),
    /// It was changed, or lay in another place when it was sealed.
    #[error("a secret does not open where it lies: it was changed, or moved there")]
    Forged,
}

impl From<SealFault> for crate::Error {
    fn from(fault: SealFault) -> Self {
        Fault::internal(fault).into()
    }
}
