//! Taking orders in: what a client sent, its identity, and how it differs from what is there.

use crate::ids::{OrderId, Reference, SourceId, TenantId};
use crate::json::push_pointer;
use crate::order::Content;
use crate::order::money::Money;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Most pointers that a difference names; the rest is cut.
pub const DIFFERENCES_MAX: usize = 100;

/// An order as a contract understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// Who owns it.
    pub tenant: TenantId,
    /// Where it came from.
    pub source: SourceId,
    /// The client's own id; makes it unique for ever.
    pub reference: Option<Reference>,
    /// What was bought.
    pub content: Content,
    /// The client's idempotency key for this request.
    pub key: Option<IdempotencyKey>,
}

/// An `Idempotency-Key`, scoped by the route that it came on (and by the tenant of the order).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// A name for the route, such as `v1.orders`.
    pub route: &'static str,
    /// The key: 1 to 255 bytes.
    pub key: String,
}

/// How an accept ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The order is new.
    New(Box<crate::order::Order>),
    /// It was there; nothing was written.
    Duplicate {
        /// The order as it is now.
        order: Box<crate::order::Order>,
        /// JSON pointers of what differs from what was sent, in the core's form; empty when equal.
        differs: Vec<String>,
    },
}

/// Identity of an order that has a reference.
pub fn derived_id(intake: &Intake) -> Option<OrderId> {
    intake.reference.as_ref().map(|reference| OrderId::derived(&intake.tenant, &intake.source, reference))
}

/// SHA-256 of the content by value: amounts and numbers that are equal count as equal, so do objects whose keys come
/// in another order.
pub fn digest(content: &Content) -> [u8; 32] {
    let mut canon = Canon(Sha256::new());
    canon.optional(content.customer.as_deref());
    canon.optional(content.currency.as_deref());
    canon.count(content.lines.len());
    for line in &content.lines {
        canon.text(&line.sku);
        canon.optional(line.name.as_deref());
        canon.0.update(line.quantity.to_be_bytes());
        canon.text(&line.unit_price.canonical());
    }
    canon.text(&content.total.canonical());
    canon.object(&content.attributes);
    canon.0.finalize().into()
}

/// Writes values into a hash, each with its kind and length, so that no two contents share an encoding.
struct Canon(Sha256);

impl Canon {
    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    fn object(&mut self, object: &Map<String, Value>) {
        self.count(object.len());
        let mut members: Vec<(&String, &Value)> = object.iter().collect();
        members.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in members {
            self.text(key);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"0"),
            Value::Bool(flag) => self.0.update(if *flag { b"t" } else { b"f" }),
            Value::Number(number) => {
                self.0.update(b"n");
                self.text(&number_by_value(number));
            }
            Value::String(text) => {
                self.0.update(b"s");
                self.text(text);
            }
            Value::Array(items) => {
                self.0.update(b"a");
                self.count(items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(object) => {
                self.0.update(b"o");
                self.object(object);
            }
        }
    }
}

fn number_by_value(number: &serde_json::Number) -> String {
    let text = number.to_string();
    Money::parse(&text).map_or(text, Money::canonical)
}

/// JSON pointers (in the form of `/v1`) of what differs between the order as it is and what was sent; at most
/// [`DIFFERENCES_MAX`].
pub fn differences(current: &Content, sent: &Content) -> Vec<String> {
    let mut found = Vec::new();
    if current.customer != sent.customer {
        found.push("/customer".to_owned());
    }
    if current.currency != sent.currency {
        found.push("/currency".to_owned());
    }
    if current.lines.len() == sent.lines.len() {
        for (index, (old, new)) in current.lines.iter().zip(&sent.lines).enumerate() {
            let same = [
                ("sku", old.sku == new.sku),
                ("name", old.name == new.name),
                ("quantity", old.quantity == new.quantity),
                ("unit_price", old.unit_price == new.unit_price),
            ];
            found.extend(
                same.iter().filter(|(_, same)| !same).map(|(field, _)| format!("/lines/{index}/{field}")),
            );
        }
    } else {
        found.push("/lines".to_owned());
    }
    if current.total != sent.total {
        found.push("/total".to_owned());
    }
    let mut pointer = "/attributes".to_owned();
    object_differences(&current.attributes, &sent.attributes, &mut pointer, &mut found);
    found.truncate(DIFFERENCES_MAX);
    found
}

fn object_differences(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    pointer: &mut String,
    found: &mut Vec<String>,
) {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let length = pointer.len();
        push_pointer(pointer, key);
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => value_differences(old, new, pointer, found),
            _ => found.push(pointer.clone()),
        }
        pointer.truncate(length);
    }
}

fn value_differences(old: &Value, new: &Value, pointer: &mut String, found: &mut Vec<String>) {
    if found.len() >= DIFFERENCES_MAX {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => object_differences(old, new, pointer, found),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                let length = pointer.len();
                push_pointer(pointer, &index.to_string());
                value_differences(old, new, pointer, found);
                pointer.truncate(length);
            }
        }
        (Value::Number(old), Value::Number(new)) if number_by_value(old) == number_by_value(new) => {}
        (old, new) if old == new => {}
        _ => found.push(pointer.clone()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::order::Line;

    fn content(total: &str, attributes: &str) -> Content {
        Content {
            customer: Some("c-42".to_owned()),
            currency: Some("EUR".to_owned()),
            lines: vec![Line {
                sku: "tea".into(),
                name: None,
                quantity: 2,
                unit_price: Money::parse("9.95").unwrap(),
            }],
            total: Money::parse(total).unwrap(),
            attributes: serde_json::from_str(attributes).unwrap(),
        }
    }

    #[test]
    fn equal_by_value_means_equal_digest_and_no_difference() {
        let (a, b) = (content("19.90", r#"{"a":1.0,"b":[2]}"#), content("19.9", r#"{"b":[2.00],"a":1}"#));
        assert_eq!(digest(&a), digest(&b));
        assert_eq!(differences(&a, &b), Vec::<String>::new());
    }

    #[test]
    fn a_difference_is_named_by_its_pointer() {
        let a = content("19.90", r#"{"gift":true,"x/y":{"z":[1,2]},"gone":0}"#);
        let mut b = content("19.91", r#"{"gift":false,"x/y":{"z":[1,3]},"new":0}"#);
        b.customer = None;
        b.lines[0].quantity = 3;
        let expected = [
            "/customer",
            "/lines/0/quantity",
            "/total",
            "/attributes/gift",
            "/attributes/x~1y/z/1",
            "/attributes/gone",
            "/attributes/new",
        ];
        assert_eq!(differences(&a, &b), expected);
        assert_ne!(digest(&a), digest(&b));
    }

    #[test]
    fn digests_keep_neighbouring_fields_apart() {
        let mut a = content("1", "{}");
        let mut b = a.clone();
        (a.customer, a.currency) = (Some("ab".into()), Some("c".into()));
        (b.customer, b.currency) = (Some("a".into()), Some("bc".into()));
        assert_ne!(digest(&a), digest(&b));
        (a.customer, a.currency) = (Some(String::new()), None);
        (b.customer, b.currency) = (None, None);
        assert_ne!(digest(&a), digest(&b));
    }
}
