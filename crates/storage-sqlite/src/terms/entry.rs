//! One entry: a text of an order (its id too, as its bytes), and which order. Entries are compared byte by byte: by
//! tenant, by field, by text, and of the same text the newest order first. The tenant comes first in all of them, so no
//! look-up ever walks along another tenant's.

use order_core::ids::check_text;
use order_core::order::Order;
use order_core::{OrderId, SourceId, TenantId};
use uuid::Uuid;

/// Bytes of a number; numbers end at 2^48, some centuries from here.
const NUMBER_BYTES: usize = 6;
const NUMBER_MASK: u64 = (1 << (8 * NUMBER_BYTES)) - 1;

/// An entry.
pub(crate) type Entry = Box<[u8]>;

/// What a text is of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Customer,
    Id,
    Reference,
    Source,
    /// That it is the tenant's: the text is empty.
    Tenant,
}

impl Field {
    fn byte(self) -> u8 {
        match self {
            Self::Customer => b'c',
            Self::Id => b'i',
            Self::Reference => b'r',
            Self::Source => b's',
            Self::Tenant => b't',
        }
    }
}

/// What all entries of texts that begin with `text` begin with. No text holds U+0000 (`order_core::ids::check_text`), so
/// it ends one.
pub(crate) fn beginning(tenant: &TenantId, field: Field, text: &str) -> Vec<u8> {
    begin(tenant, field, text.as_bytes(), 1 + NUMBER_BYTES)
}

/// With room for so many bytes behind it: an entry is made in one piece.
fn begin(tenant: &TenantId, field: Field, text: &[u8], room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tenant.as_str().len() + 2 + text.len() + room);
    bytes.extend_from_slice(tenant.as_str().as_bytes());
    bytes.extend_from_slice(&[0, field.byte()]);
    bytes.extend_from_slice(text);
    bytes
}

/// What all entries of this text begin with.
pub(crate) fn whole(tenant: &TenantId, field: Field, text: &str) -> Vec<u8> {
    let mut bytes = beginning(tenant, field, text);
    bytes.push(0);
    bytes
}

/// The entry of this text and number.
pub(crate) fn entry(tenant: &TenantId, field: Field, text: &str, number: i64) -> Vec<u8> {
    let mut bytes = whole(tenant, field, text);
    push_number(&mut bytes, number);
    bytes
}

/// What the entries of all ids of a tenant begin with, and of those the ones from `lowest` on. All ids are as long as one
/// another, so nothing need end one.
pub(crate) fn ids_from(tenant: &TenantId, lowest: OrderId) -> Vec<u8> {
    begin(tenant, Field::Id, lowest.0.as_bytes(), NUMBER_BYTES)
}

/// The entry of this id and number.
pub(crate) fn of_id(tenant: &TenantId, id: OrderId, number: i64) -> Vec<u8> {
    let mut bytes = ids_from(tenant, id);
    push_number(&mut bytes, number);
    bytes
}

/// The id of an entry of one, given what every entry of an id of its tenant begins with.
pub(crate) fn id(entry: &[u8], ids: &[u8]) -> Option<OrderId> {
    let (front, _) = split(entry)?;
    Uuid::from_slice(front.strip_prefix(ids)?).ok().map(OrderId)
}

/// Ends an entry that has all but its number.
pub(crate) fn push_number(bytes: &mut Vec<u8>, number: i64) {
    let number = u64::try_from(number).unwrap_or(0).min(NUMBER_MASK);
    bytes.extend_from_slice(&(NUMBER_MASK - number).to_be_bytes()[8 - NUMBER_BYTES..]);
}

/// The number that an entry leads to.
pub(crate) fn number(entry: &[u8]) -> Option<i64> {
    let (_, number) = split(entry)?;
    let mut bytes = [0; 8];
    bytes[8 - NUMBER_BYTES..].copy_from_slice(number);
    i64::try_from(NUMBER_MASK - u64::from_be_bytes(bytes)).ok()
}

/// The text of an entry of a field, given what every entry of it begins with.
pub(crate) fn text<'e>(entry: &'e [u8], field: &[u8]) -> Option<&'e str> {
    let (front, _) = split(entry)?;
    std::str::from_utf8(front.strip_prefix(field)?.strip_suffix(&[0])?).ok()
}

fn split(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    entry.split_at_checked(entry.len().checked_sub(NUMBER_BYTES)?)
}

/// Whether orders can be found by this text. No edge takes in one by which they cannot.
pub(crate) fn can_be_found(text: &str) -> bool {
    check_text(text).is_ok()
}

/// The entries of an order.
pub(crate) fn of(order: &Order) -> Vec<Entry> {
    let reference = order.reference.as_ref().map(order_core::Reference::as_str);
    let customer = order.content.customer.as_deref();
    of_texts(&order.tenant, order.id, &order.source, reference, customer, order.number)
}

/// The entries of an order with these texts.
pub(crate) fn of_texts(
    tenant: &TenantId,
    id: OrderId,
    source: &SourceId,
    reference: Option<&str>,
    customer: Option<&str>,
    number: i64,
) -> Vec<Entry> {
    let texts =
        [(Field::Customer, customer), (Field::Reference, reference), (Field::Source, Some(source.as_str()))];
    let mut entries = Vec::with_capacity(texts.len() + 2);
    entries.push(of_id(tenant, id, number).into());
    entries.push(entry(tenant, Field::Tenant, "", number).into());
    for (field, text) in texts {
        if let Some(text) = text.filter(|text| can_be_found(text)) {
            entries.push(entry(tenant, field, text, number).into());
        }
    }
    entries
}
