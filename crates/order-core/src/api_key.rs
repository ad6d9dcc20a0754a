//! API keys: what is kept of one, and what may become of it. The secret part of a key is shown once and never kept;
//! kept is its HMAC under a pepper, so whoever reads the database alone can neither use a key nor make one.

use crate::app::{App, unexpected};
use crate::clock::Timestamp;
use crate::command::{Command, Reply};
use crate::error::{Error, Rejection};
use crate::ids::{Ids, TenantId};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// What the text of every key begins with, for scanners that look for secrets in public places:
/// `wo_[0-9a-f]{16}_[A-Za-z0-9_-]{43}`.
pub const PREFIX: &str = "wo_";
/// Most keys of one tenant that are neither revoked nor expired.
pub const API_KEYS_MAX: u64 = 1_000;
/// How long the old secret of a rotated key keeps working, unless said.
pub const GRACE_UNLESS_SAID: Duration = Duration::from_secs(24 * 3600);
/// Longest time that it may keep working.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Characters of an id in text.
const ID_CHARS: usize = 16;
/// Characters of the text of a key: 32 bytes are 43 characters of base64url.
const TEXT_CHARS: usize = PREFIX.len() + ID_CHARS + 1 + 43;

/// The id of an API key; no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKeyId(pub [u8; 8]);

impl ApiKeyId {
    /// Reads 16 digits of `0-9a-f`.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != ID_CHARS || !text.bytes().all(lower) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// The secret part of a key.
#[derive(Clone, Copy)]
pub struct KeySecret([u8; 32]);

/// A key as its holder has it: `wo_<id>_<secret>`.
#[derive(Clone, Copy)]
pub struct KeyText {
    /// Which key.
    pub key_id: ApiKeyId,
    /// Its secret.
    pub secret: KeySecret,
}

impl KeyText {
    /// A fresh one.
    pub fn fresh(ids: &dyn Ids) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&chance(ids)[..8]);
        Self { key_id: ApiKeyId(id), secret: KeySecret(chance(ids)) }
    }

    /// Reads what [`KeyText::shown`] made, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_CHARS || !text.is_ascii() {
            return None;
        }
        let (id, secret) = text.strip_prefix(PREFIX)?.split_at(ID_CHARS);
        let secret = BASE64_URL_SAFE_NO_PAD.decode(secret.strip_prefix('_')?).ok()?;
        Some(Self { key_id: ApiKeyId::parse(id)?, secret: KeySecret(secret.try_into().ok()?) })
    }

    /// The text, to be shown once.
    pub fn shown(&self) -> String {
        format!("{PREFIX}{}_{}", self.key_id, BASE64_URL_SAFE_NO_PAD.encode(self.secret.0))
    }
}

/// 32 bytes that nobody can guess: the hash of more chance than it has room for.
pub fn chance(ids: &dyn Ids) -> [u8; 32] {
    let mut hash = Sha256::new();
    for _ in 0..3 {
        hash.update(ids.uuid_v4().as_bytes());
    }
    hash.finalize().into()
}

/// What keys are hashed with. Whoever changes it makes every key worthless.
#[derive(Clone, PartialEq, Eq)]
pub struct Pepper([u8; 32]);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(hidden)")
    }
}

impl Pepper {
    /// From 32 unguessable bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From a text of any length, which must be hard to guess.
    pub fn from_text(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// As a storage keeps it, for that alone.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells it from others, and tells nothing else of it.
    pub fn print(&self) -> [u8; 8] {
        let mut mac = self.mac();
        mac.update(b"wellorder/key-pepper/1");
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut print = [0; 8];
        print.copy_from_slice(&whole[..8]);
        print
    }

    fn mac(&self) -> Hmac<Sha256> {
        // A key shorter than a block is padded with zeros (RFC 2104): done here, it cannot fail.
        let mut key = [0_u8; 64];
        key[..32].copy_from_slice(&self.0);
        <Hmac<Sha256> as KeyInit>::new(&key.into())
    }

    /// What is kept of a key.
    pub fn hash(&self, text: &KeyText) -> KeyHash {
        let mut mac = self.mac();
        mac.update(b"wellorder/api-key/1");
        mac.update(&text.key_id.0);
        mac.update(&text.secret.0);
        KeyHash(mac.finalize().into_bytes().into())
    }
}

/// What is kept of a key's secret. Compared in constant time, never shown.
#[derive(Clone, Copy, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(hidden)")
    }
}

/// The secret before a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// What is kept of it.
    pub hash: KeyHash,
    /// Until when it works.
    pub until: Timestamp,
}

/// An API key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its place in lists; rises with each key of the installation.
    pub number: i64,
    /// Its id.
    pub key_id: ApiKeyId,
    /// Whose orders it opens.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// Names of scopes, apart by spaces; what they mean is the edge's business.
    pub scopes: String,
    /// Of its secret.
    pub hash: KeyHash,
    /// Of the secret before, while that still works.
    pub previous: Option<Previous>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// From when on it no longer works.
    pub expires_at: Option<Timestamp>,
    /// When its secret was changed last.
    pub rotated_at: Option<Timestamp>,
    /// When it was used last, to a minute or so.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is neither revoked nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether a secret with this hash opens it at `now`. Takes the same time whichever hash differs where.
    pub fn opens(&self, hash: &KeyHash, now: Timestamp) -> bool {
        let current = self.hash == *hash;
        let previous =
            self.previous.is_some_and(|previous| (previous.hash == *hash) & (now < previous.until));
        (current | previous) & self.is_live(now)
    }
}

/// See [`Command::ApiKey`].
#[derive(Debug, Clone)]
pub struct ApiKeyCommand {
    /// Whose key.
    pub tenant: TenantId,
    /// Which key.
    pub key_id: ApiKeyId,
    /// When.
    pub now: Timestamp,
    /// What.
    pub action: ApiKeyAction,
}

/// What to do with an API key.
#[derive(Debug, Clone)]
pub enum ApiKeyAction {
    /// Make it.
    Create(NewApiKey, KeyHash),
    /// Give it another secret; the present one works until `previous_until`.
    Rotate {
        /// Of the new secret.
        hash: KeyHash,
        /// When the old one ends.
        previous_until: Timestamp,
        /// Whether the one before that ends now, if it still works. Else nothing is rotated: whoever uses it has been
        /// promised more time.
        end_grace: bool,
    },
    /// End it for ever.
    Revoke,
    /// Note that it was used.
    Touch,
}

/// What the maker of a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// What people call it: 1 to 255 bytes.
    pub name: String,
    /// Names of scopes, apart by spaces.
    pub scopes: String,
    /// Who makes it.
    pub by: String,
    /// From when on it no longer works.
    pub expires_at: Option<Timestamp>,
}

/// Decides what a command makes of the key `found` under its id. `number` and `live` are for a new one: its number, and
/// how many live keys its tenant has.
///
/// # Errors
/// [`Rejection::ApiKeyUnknown`] for another tenant's key too, [`Rejection::ApiKeyEnded`], [`Rejection::ApiKeyGrace`],
/// [`Rejection::ApiKeysTooMany`].
pub fn decide(
    found: Option<ApiKey>,
    command: &ApiKeyCommand,
    number: i64,
    live: u64,
) -> Result<ApiKey, Rejection> {
    if let ApiKeyAction::Create(new, hash) = &command.action {
        return create(found, command, new, *hash, number, live);
    }
    let mut key = found.filter(|key| key.tenant == command.tenant).ok_or(Rejection::ApiKeyUnknown)?;
    match &command.action {
        ApiKeyAction::Create(..) => {}
        ApiKeyAction::Rotate { .. } if !key.is_live(command.now) => return Err(Rejection::ApiKeyEnded),
        ApiKeyAction::Rotate { hash, previous_until, end_grace } => {
            let promised = key.previous.map(|previous| previous.until).filter(|until| command.now < *until);
            if let Some(until) = promised.filter(|_| !end_grace) {
                return Err(Rejection::ApiKeyGrace { until });
            }
            key.previous = Some(Previous { hash: key.hash, until: *previous_until });
            key.hash = *hash;
            key.rotated_at = Some(command.now);
        }
        ApiKeyAction::Revoke => key.revoked_at = key.revoked_at.or(Some(command.now)),
        ApiKeyAction::Touch => key.last_used_at = key.last_used_at.max(Some(command.now)),
    }
    Ok(key)
}

fn create(
    found: Option<ApiKey>,
    command: &ApiKeyCommand,
    new: &NewApiKey,
    hash: KeyHash,
    number: i64,
    live: u64,
) -> Result<ApiKey, Rejection> {
    // An id is 64 bits of chance: it is never taken in practice, and if it were, nobody's key may be overwritten.
    if found.is_some() || live >= API_KEYS_MAX {
        return Err(Rejection::ApiKeysTooMany);
    }
    Ok(ApiKey {
        number,
        key_id: command.key_id,
        tenant: command.tenant.clone(),
        name: new.name.clone(),
        scopes: new.scopes.clone(),
        hash,
        previous: None,
        created_at: command.now,
        created_by: new.by.clone(),
        expires_at: new.expires_at,
        rotated_at: None,
        last_used_at: None,
        revoked_at: None,
    })
}

impl App {
    /// Makes a key; with its text, which nobody can show again.
    ///
    /// # Errors
    /// [`Rejection::ApiKeysTooMany`]; faults of storage.
    pub async fn create_api_key(
        &self,
        tenant: &TenantId,
        new: NewApiKey,
        pepper: &Pepper,
    ) -> Result<(ApiKey, KeyText), Error> {
        let text = KeyText::fresh(self.ids.as_ref());
        let action = ApiKeyAction::Create(new, pepper.hash(&text));
        Ok((self.change_api_key(tenant, text.key_id, action).await?, text))
    }

    /// Gives a key another secret; the present one works for `grace` more. `end_grace` as in [`ApiKeyAction::Rotate`].
    ///
    /// # Errors
    /// [`Rejection::ApiKeyUnknown`], [`Rejection::ApiKeyEnded`], [`Rejection::ApiKeyGrace`]; faults of storage.
    pub async fn rotate_api_key(
        &self,
        tenant: &TenantId,
        key_id: ApiKeyId,
        grace: Duration,
        end_grace: bool,
        pepper: &Pepper,
    ) -> Result<(ApiKey, KeyText), Error> {
        let text = KeyText { key_id, ..KeyText::fresh(self.ids.as_ref()) };
        let previous_until = self.clock.now().plus(grace.min(GRACE_MAX));
        let action = ApiKeyAction::Rotate { hash: pepper.hash(&text), previous_until, end_grace };
        Ok((self.change_api_key(tenant, key_id, action).await?, text))
    }

    /// Changes a key.
    ///
    /// # Errors
    /// As [`decide`]; faults of storage.
    pub async fn change_api_key(
        &self,
        tenant: &TenantId,
        key_id: ApiKeyId,
        action: ApiKeyAction,
    ) -> Result<ApiKey, Error> {
        let command = ApiKeyCommand { tenant: tenant.clone(), key_id, now: self.clock.now(), action };
        match self.lanes.submit(self.recorded(Command::ApiKey(Box::new(command)))).await? {
            Reply::ApiKey(key) => Ok(*key),
            other => Err(unexpected("a change of an API key", &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use uuid::Uuid;

    struct Counting(std::sync::atomic::AtomicU64);

    impl Ids for Counting {
        fn uuid_v7(&self, _: Timestamp) -> Uuid {
            self.uuid_v4()
        }
        fn uuid_v4(&self) -> Uuid {
            Uuid::from_u64_pair(7, self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
        }
        fn unit(&self) -> f64 {
            0.5
        }
    }

    #[test]
    fn a_key_reads_back_and_nothing_else_does() {
        let text = KeyText::fresh(&Counting(0.into()));
        let shown = text.shown();
        assert_eq!(shown.len(), TEXT_CHARS);
        let read = KeyText::parse(&shown).unwrap();
        assert_eq!((read.key_id, read.secret.0), (text.key_id, text.secret.0));
        let id = text.key_id.to_string();
        for bad in [
            String::new(),
            "wo_".to_owned(),
            shown.to_uppercase(),
            shown.replace("wo_", "wx_"),
            format!("{shown}="),
            format!("{shown} "),
            shown[..shown.len() - 1].to_owned(),
            shown.replacen(&id, &id[1..], 1),
            shown.replacen(&id, "../../etc/passwd", 1),
            shown.replacen(&id, "0123456789abcdeg", 1),
            shown.replacen(&format!("{id}_"), &format!("{id}."), 1),
            shown.replacen(&id[..2], "é", 1),
        ] {
            assert!(KeyText::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_hash_is_bound_to_its_id_and_its_pepper() {
        let ids = Counting(0.into());
        let (text, other) = (KeyText::fresh(&ids), KeyText::fresh(&ids));
        let pepper = Pepper::new([1; 32]);
        assert_eq!(pepper.hash(&text), pepper.hash(&text));
        assert_ne!(pepper.hash(&text), Pepper::new([2; 32]).hash(&text));
        assert_ne!(pepper.hash(&text), pepper.hash(&KeyText { key_id: other.key_id, ..text }));
        assert_ne!(pepper.hash(&text), pepper.hash(&other));
        assert_eq!(format!("{:?}", pepper.hash(&text)), "KeyHash(hidden)");
    }
}
