//! Identities: who owns an order, where it came from, what it is called, and where it lies.

use crate::clock::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Longest text, in bytes, that identifies something: references, tenants, customers, SKUs.
pub const TEXT_BYTES_MAX: usize = 255;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text of 1 to 255 bytes without U+0000.
            ///
            /// # Errors
            /// When the text is empty, longer, or holds U+0000.
            pub fn new(text: &str) -> Result<Self, InvalidText> {
                check_text(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The organisation that owns an order. It comes from the credential alone.
    TenantId
);
text_id!(
    /// Where an order came from: a contract's name, a store, or what the client of `/v1` calls its system.
    SourceId
);
text_id!(
    /// The client's own id for an order, unique per (tenant, source) for ever.
    Reference
);

impl TenantId {
    /// The tenant of `dev` and of public contracts.
    pub fn default_tenant() -> Self {
        Self(Arc::from("default"))
    }
}

/// Why a text cannot be an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// It has no characters.
    #[error("must not be empty")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("must be at most 255 bytes")]
    TooLong,
    /// It holds the character U+0000.
    #[error("must not contain U+0000")]
    Nul,
}

/// Checks a text of 1 to 255 bytes without U+0000.
///
/// # Errors
/// When the text is empty, longer, or holds U+0000.
pub fn check_text(text: &str) -> Result<(), InvalidText> {
    if text.is_empty() {
        Err(InvalidText::Empty)
    } else if text.len() > TEXT_BYTES_MAX {
        Err(InvalidText::TooLong)
    } else if text.contains('\0') {
        Err(InvalidText::Nul)
    } else {
        Ok(())
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_id!(
    /// The id of an order; no client ever chooses it.
    OrderId
);
uuid_id!(
    /// The id of an event (UUIDv7), fixed before its batch is sent.
    EventId
);
uuid_id!(
    /// The fence value of a lease: fresh at each claim, unguessable.
    LeaseToken
);
uuid_id!(
    /// The id of a redrive job (UUIDv7).
    RedriveId
);
uuid_id!(
    /// The id of a store, made of what identifies it: see [`StoreId::derived`].
    StoreId
);

impl OrderId {
    /// The id of an order with a reference: UUIDv8 made of the first 16 bytes of SHA-256 over `wellorder/order/1`,
    /// tenant, source and reference, each as its length (u32, big-endian) and its UTF-8. Uniqueness of the reference
    /// is thereby the primary key itself.
    pub fn derived(tenant: &TenantId, source: &SourceId, reference: &Reference) -> Self {
        Self(derived(&["wellorder/order/1", tenant.as_str(), source.as_str(), reference.as_str()]))
    }

    /// The shard of this order: its last two bytes, big-endian, mod `shards`.
    pub fn shard(self, shards: u16) -> Shard {
        let bytes = self.0.as_bytes();
        Shard(u16::from_be_bytes([bytes[14], bytes[15]]) % shards.max(1))
    }
}

impl StoreId {
    /// The id of a store: as [`OrderId::derived`], over `wellorder/store/1`, tenant, organization, marketplace and the id that
    /// the marketplace knows it by. So whoever registers a store again comes to the same one.
    pub fn derived(tenant: &TenantId, organization: &str, marketplace: &str, external_id: &str) -> Self {
        Self(derived(&["wellorder/store/1", tenant.as_str(), organization, marketplace, external_id]))
    }
}

/// UUIDv8 of the first 16 bytes of SHA-256 over `parts`, each as its length (u32, big-endian) and its UTF-8.
fn derived(parts: &[&str]) -> Uuid {
    let mut hasher = Sha256::new();
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        hasher.update(length.to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let hash = hasher.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// A part of the journal with positions of its own; leads every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u16);

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where ids and chance come from.
pub trait Ids: Send + Sync {
    /// A fresh UUIDv7 for the time `now`.
    fn uuid_v7(&self, now: Timestamp) -> Uuid;
    /// A fresh, unguessable UUIDv4.
    fn uuid_v4(&self) -> Uuid;
    /// A number evenly spread over `0.0..1.0`.
    fn unit(&self) -> f64;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_reference_has_one_id_for_ever() {
        let id = OrderId::derived(
            &TenantId::default_tenant(),
            &SourceId::new("api").unwrap(),
            &Reference::new("A-1001").unwrap(),
        );
        // Written down once: were this to change, every replay of an old reference would make a second order.
        assert_eq!(id.to_string(), "230e0945-205f-8eaa-8fef-55ebf134b616");
        assert_eq!(id.0.get_version_num(), 8);
        assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn moving_a_boundary_between_parts_gives_another_id() {
        let id = |tenant, source, reference| {
            OrderId::derived(
                &TenantId::new(tenant).unwrap(),
                &SourceId::new(source).unwrap(),
                &Reference::new(reference).unwrap(),
            )
        };
        assert_ne!(id("ab", "c", "d"), id("a", "bc", "d"));
        assert_ne!(id("a", "bc", "d"), id("a", "b", "cd"));
    }

    #[test]
    fn the_shard_is_the_last_two_bytes() {
        let id = OrderId(Uuid::from_u128(0x0102));
        assert_eq!(id.shard(16), Shard(2));
        assert_eq!(id.shard(256), Shard(2));
        assert_eq!(id.shard(1000), Shard(258));
    }

    #[test]
    fn texts_are_bounded_in_bytes() {
        assert_eq!(Reference::new(""), Err(InvalidText::Empty));
        assert_eq!(Reference::new("a\0b"), Err(InvalidText::Nul));
        assert!(Reference::new(&"é".repeat(127)).is_ok());
        assert_eq!(Reference::new(&"é".repeat(128)), Err(InvalidText::TooLong));
    }
}
