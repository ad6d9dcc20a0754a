//! External ids: a text by which the client of a contract looks for an order besides its id. It is no identity: several
//! orders may bear the same, and then the newest is found; and it may change when the order is revised.
//!
//! It is the attribute [`EXTERNAL_ID`] of an order that has a customer; an order without one costs nothing. A storage keeps a
//! row (key, number) for each order that has one, exact in every commit.

use crate::ids::{SourceId, TenantId};
use crate::order::{Content, Order};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt;

/// The attribute that holds it: a string that is not empty.
pub const EXTERNAL_ID: &str = "external_id";

/// What an order is looked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalId {
    /// Whose orders.
    pub tenant: TenantId,
    /// Where they came from.
    pub source: SourceId,
    /// Whose order it is, in the client's words.
    pub customer: String,
    /// The text, byte by byte.
    pub text: String,
}

/// What a storage finds orders by: 16 bytes of a hash over all parts of an [`ExternalId`], so that the texts, of whatever
/// length, are kept in the order alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalKey(pub [u8; 16]);

impl fmt::Display for ExternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl ExternalId {
    /// Its key.
    pub fn key(&self) -> ExternalKey {
        key(&self.tenant, &self.source, &self.customer, &self.text)
    }

    /// Whether `order` is one of those that are looked for.
    pub fn names(&self, order: &Order) -> bool {
        order.tenant == self.tenant
            && order.source == self.source
            && parts(&order.content) == Some((self.customer.as_str(), self.text.as_str()))
    }
}

/// The key that leads to `order` as it is now; `None` when it has no external id.
pub fn key_of(order: &Order) -> Option<ExternalKey> {
    key_of_content(&order.tenant, &order.source, &order.content)
}

/// The same, of what such an order would hold.
pub fn key_of_content(tenant: &TenantId, source: &SourceId, content: &Content) -> Option<ExternalKey> {
    let (customer, text) = parts(content)?;
    Some(key(tenant, source, customer, text))
}

/// Customer and text.
fn parts(content: &Content) -> Option<(&str, &str)> {
    let text = content.attributes.get(EXTERNAL_ID).and_then(Value::as_str).filter(|text| !text.is_empty())?;
    Some((content.customer.as_deref()?, text))
}

fn key(tenant: &TenantId, source: &SourceId, customer: &str, text: &str) -> ExternalKey {
    let mut hasher = Sha256::new();
    for part in ["wellorder/external/1", tenant.as_str(), source.as_str(), customer, text] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let hash = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    ExternalKey(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(customer: &str, text: &str) -> ExternalId {
        let tenant = TenantId::default_tenant();
        #[expect(clippy::unwrap_used, reason = "tests")]
        let source = SourceId::new("shop").unwrap();
        ExternalId { tenant, source, customer: customer.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn neighbouring_parts_are_kept_apart() {
        assert_ne!(external("ab", "c").key(), external("a", "bc").key());
        assert_eq!(external("ab", "c").key(), external("ab", "c").key());
    }
}
