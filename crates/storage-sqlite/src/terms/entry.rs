//! One entry: a text of an order, and which order. Entries are compared byte by byte: by tenant, by field, by text, and
//! of the same text the newest order first.

use order_core::ids::check_text;
use order_core::order::Order;
use order_core::{SourceId, TenantId};

/// Bytes of a number; numbers end at 2^48, some centuries from here.
const NUMBER_BYTES: usize = 6;
const NUMBER_MASK: u64 = (1 << (8 * NUMBER_BYTES)) - 1;

/// An entry.
pub(crate) type Entry = Box<[u8]>;

/// What a text is of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Customer,
    Reference,
    Source,
}

impl Field {
    fn byte(self) -> u8 {
        match self {
            Self::Customer => b'c',
            Self::Reference => b'r',
            Self::Source => b's',
        }
    }
}

/// What all entries of texts that begin with `text` begin with. No text holds U+0000 (`order_core::ids::check_text`), so
/// it ends one.
pub(crate) fn beginning(tenant: &TenantId, field: Field, text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tenant.as_str().len() + text.len() + 3 + NUMBER_BYTES);
    bytes.extend_from_slice(tenant.as_str().as_bytes());
    bytes.extend_from_slice(&[0, field.byte()]);
    bytes.extend_from_slice(text.as_bytes());
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
    of_texts(&order.tenant, &order.source, reference, order.content.customer.as_deref(), order.number)
}

/// The entries of an order with these texts.
pub(crate) fn of_texts(
    tenant: &TenantId,
    source: &SourceId,
    reference: Option<&str>,
    customer: Option<&str>,
    number: i64,
) -> Vec<Entry> {
    let texts =
        [(Field::Customer, customer), (Field::Reference, reference), (Field::Source, Some(source.as_str()))];
    let entry = |(field, text): (Field, Option<&str>)| {
        let text = text.filter(|text| can_be_found(text))?;
        Some(entry(tenant, field, text, number).into())
    };
    texts.into_iter().filter_map(entry).collect()
}
