//! Rates of several nodes: each decides on its own, at once, and tells the others now and then what it admitted.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// What nodes that share their rates have in common, and nobody else: it keeps secret who is behind the name of a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShareKey([u8; 32]);

impl ShareKey {
    /// A key made of a secret.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// What names the buckets of one limit.
    pub(super) fn names(&self, limit: &str) -> Mac {
        // A key of any length will do.
        let mac = Hmac::new_from_slice(&self.0).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Mac(mac.chain_update(limit).chain_update([0]))
    }
}

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareKey")
    }
}

/// Names buckets: the same for the same caller on every node with the same key, of the same version.
#[derive(Clone)]
pub(super) struct Mac(Hmac<Sha256>);

impl Mac {
    pub(super) fn name_of(&self, who: &impl Hash) -> u64 {
        let mut mac = self.clone();
        who.hash(&mut mac);
        mac.finish()
    }
}

impl Hasher for Mac {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mac = self.0.clone().finalize().into_bytes();
        mac.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// What was admitted here of somebody and is not told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Which limit.
    pub limit: &'static str,
    /// Whose bucket.
    pub name: u64,
    /// The time that it takes to fill up again what was drawn.
    pub cost: Duration,
    /// How long ago it was drawn, or the first of it: it fills up since.
    pub ago: Duration,
    /// The most that is owed at once; what comes beyond is forgiven.
    pub owed_max: Duration,
}
