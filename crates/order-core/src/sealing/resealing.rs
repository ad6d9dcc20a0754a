//! Secrets in storage: those that the installation makes for itself, and bringing all of them under another key while everything
//! goes on.
//!
//! A key is replaced in four steps, so that at no time a node meets a secret that it cannot open: every node is given the new
//! key behind the old one; then before it, so that it seals; everything is sealed anew ([`App::reseal`]); then the old key goes.

use super::{KeyId, Keyring, Sealed, SealedColumn, Secret};
use crate::api_key::chance;
use crate::app::{App, unexpected};
use crate::clock::Timestamp;
use crate::command::{Command, Reply};
use crate::error::{Error, Rejection};
use crate::ids::TenantId;
use std::sync::Arc;

/// Most secrets of one column that are counted.
pub const COUNT_MAX: u64 = 100_000;
/// Most secrets that one step seals anew.
pub const STEP_MAX: u32 = 500;

/// See [`Command::Secrets`].
#[derive(Debug, Clone)]
pub enum SecretsCommand {
    /// Keep a secret that the installation made, unless there is one of that name: then that stays, and is the answer.
    Keep {
        /// Whose it is.
        tenant: TenantId,
        /// What it is called.
        name: String,
        /// The secret.
        sealed: Sealed,
        /// When.
        now: Timestamp,
    },
    /// Put secrets in the place of those that are there, each if that is still what it was; answers how many.
    Reseal {
        /// In which column.
        column: SealedColumn,
        /// Under which key.
        key_id: KeyId,
        /// Each row, with what is there and what is to be.
        rows: Vec<(SealedRow, Sealed)>,
    },
}

/// A secret in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The key of the row, as text.
    pub row: String,
    /// What lies there.
    pub sealed: Sealed,
}

/// Behind which row of a column to go on; rows are in the order of tenant and key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowKey {
    /// Whose; empty before the first.
    pub tenant: String,
    /// The key of the row.
    pub row: String,
}

/// How many secrets of a column lie under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCount {
    /// Which column.
    pub column: SealedColumn,
    /// Under which key; `None` for what was never sealed.
    pub key_id: Option<KeyId>,
    /// How many, among the first [`COUNT_MAX`] of the column.
    pub count: u64,
    /// Whether the column has more than those.
    pub is_more: bool,
}

impl SealedCount {
    /// What a storage counted among the first [`COUNT_MAX`] secrets of a column and one more.
    pub fn of(column: SealedColumn, counts: Vec<(Option<KeyId>, u64)>) -> Vec<Self> {
        let is_more = counts.iter().map(|(_, count)| count).sum::<u64>() > COUNT_MAX;
        counts.into_iter().map(|(key_id, count)| Self { column, key_id, count, is_more }).collect()
    }
}

/// Where a resealing is: in which column, behind which row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResealPlace {
    /// Its number among [`SealedColumn::ALL`].
    pub column: usize,
    /// Behind which row.
    pub after: RowKey,
}

/// What a step of a resealing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Under which key.
    pub key_id: KeyId,
    /// How many are sealed under it now that were not.
    pub resealed: u32,
    /// How many others changed meanwhile, and were sealed by whoever changed them.
    pub changed: u32,
    /// How many do not open: they are as they were.
    pub unopened: u32,
    /// Where to go on; `None` at the end.
    pub next: Option<ResealPlace>,
}

impl App {
    /// Gives it the keys; once.
    pub fn hold_keys(&self, keyring: Arc<Keyring>) {
        drop(self.keyring.set(keyring));
    }

    /// The keys for secrets at rest.
    ///
    /// # Errors
    /// [`Rejection::SecretsKeyMissing`] where it was given none.
    pub fn keyring(&self) -> Result<&Arc<Keyring>, Rejection> {
        self.keyring.get().ok_or(Rejection::SecretsKeyMissing)
    }

    /// A secret of 32 bytes that the installation makes when it is asked for first, and keeps for ever.
    ///
    /// # Errors
    /// [`Rejection::SecretsKeyMissing`]; a secret that does not open; faults of storage.
    pub async fn named_secret(&self, tenant: &TenantId, name: &str) -> Result<Secret, Error> {
        let keyring = self.keyring()?;
        let place = SealedColumn::NamedSecret.of(tenant, name);
        if let Some(sealed) = self.storage.named_secret(tenant, name).await? {
            return Ok(keyring.open(&place, &sealed)?);
        }
        let sealed = keyring.seal(&place, &chance(self.ids.as_ref()), self.ids.as_ref())?;
        let (tenant, name, now) = (tenant.clone(), name.to_owned(), self.clock.now());
        let keep = SecretsCommand::Keep { tenant, name, sealed, now };
        match self.lanes.submit(Command::Secrets(Box::new(keep))).await? {
            Reply::Kept(sealed) => Ok(keyring.open(&place, &sealed)?),
            other => Err(unexpected("keeping a secret", &other)),
        }
    }

    /// Seals some secrets anew that lie under another key than the one that seals: at most `limit`, and [`STEP_MAX`].
    ///
    /// # Errors
    /// [`Rejection::SecretsKeyMissing`], [`Rejection::CursorInvalid`]; faults of storage.
    pub async fn reseal(&self, place: ResealPlace, limit: u32) -> Result<Resealed, Error> {
        let keyring = self.keyring()?;
        let key_id = keyring.current();
        let column = *SealedColumn::ALL.get(place.column).ok_or(Rejection::CursorInvalid)?;
        let limit = limit.clamp(1, STEP_MAX);
        let found = self.storage.sealed_rows(column, key_id, &place.after, limit).await?;
        let last =
            found.last().map(|row| RowKey { tenant: row.tenant.as_str().to_owned(), row: row.row.clone() });
        let is_full = found.len() as u64 == u64::from(limit);
        let next = match last.filter(|_| is_full) {
            Some(after) => Some(ResealPlace { after, ..place }),
            None => Some(ResealPlace { column: place.column + 1, after: RowKey::default() })
                .filter(|next| next.column < SealedColumn::ALL.len()),
        };
        let (mut rows, mut unopened) = (Vec::with_capacity(found.len()), 0);
        for row in found {
            let at = column.of(&row.tenant, &row.row);
            match keyring.open(&at, &row.sealed) {
                Ok(secret) => {
                    let sealed = keyring.seal(&at, secret.bytes(), self.ids.as_ref())?;
                    rows.push((row, sealed));
                }
                Err(_) => unopened += 1,
            }
        }
        let meant = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let resealed = if rows.is_empty() { 0 } else { self.replace(column, key_id, rows).await? };
        Ok(Resealed { key_id, resealed, changed: meant.saturating_sub(resealed), unopened, next })
    }

    async fn replace(
        &self,
        column: SealedColumn,
        key_id: KeyId,
        rows: Vec<(SealedRow, Sealed)>,
    ) -> Result<u32, Error> {
        let command = Command::Secrets(Box::new(SecretsCommand::Reseal { column, key_id, rows }));
        match self.lanes.submit(self.recorded(command)).await? {
            Reply::Resealed(count) => Ok(count),
            other => Err(unexpected("a resealing", &other)),
        }
    }
}
