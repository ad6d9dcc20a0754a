//! Sync tokens: what a client names its store by. A token is a UUID made of the store's id under a key that is named
//! [`KEY_NAME`], so whoever registers a store again gets the same one, though it is kept nowhere: kept is its hash.

use crate::ids::StoreId;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// The name of the secret of the installation that sync tokens are made under ([`crate::App::named_secret`]): it outlives a
/// change of the key that seals it.
pub const KEY_NAME: &str = "sync-tokens";

/// A sync token. Never shown but to whoever registers its store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SyncToken(Uuid);

impl SyncToken {
    /// Reads a UUID in its usual form.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten().map(Self)
    }

    /// The text, for whoever registers the store.
    pub fn shown(&self) -> String {
        self.0.hyphenated().to_string()
    }

    /// What is kept of it. It holds 122 bits of chance, so nothing needs to make the hash slow, or secret.
    pub fn hash(&self) -> TokenHash {
        let mut hash = Sha256::new();
        hash.update(b"wellorder/sync-token/1");
        hash.update(self.0.as_bytes());
        TokenHash(hash.finalize().into())
    }
}

impl fmt::Debug for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncToken(hidden)")
    }
}

/// The hash of a sync token. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(hidden)")
    }
}

/// The key that sync tokens are made under.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The secret of that name; `None` when it is of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The token of a store.
    pub fn token(&self, store_id: StoreId) -> SyncToken {
        // A key shorter than a block is padded with zeros (RFC 2104): done here, it cannot fail.
        let mut key = [0_u8; 64];
        key[..32].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&key.into());
        mac.update(b"wellorder/sync-token/1");
        mac.update(store_id.0.as_bytes());
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&whole[..16]);
        SyncToken(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_store_has_one_token_under_a_key_and_the_hash_finds_it() {
        let (one, other) = (TokenKey([1; 32]), TokenKey([2; 32]));
        let (store, neighbour) = (StoreId(Uuid::from_u128(7)), StoreId(Uuid::from_u128(8)));
        let token = one.token(store);
        assert_eq!(token, one.token(store));
        assert_ne!(token, other.token(store));
        assert_ne!(token, one.token(neighbour));
        assert_eq!(token.0.get_version_num(), 8);
        let read = SyncToken::parse(&token.shown()).unwrap();
        assert_eq!(read.hash(), token.hash());
        assert_ne!(token.hash(), one.token(neighbour).hash());
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&token.shown()));
    }

    #[test]
    fn what_is_no_uuid_in_its_usual_form_is_no_token() {
        for bad in ["", "x", "67e5504410b1426f9247bb680e5fe0c8", "{67e55044-10b1-426f-9247-bb680e5fe0c8}"] {
            assert_eq!(SyncToken::parse(bad), None, "{bad}");
        }
    }
}
