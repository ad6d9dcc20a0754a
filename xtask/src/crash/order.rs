//! Orders whose every digit the driver knows.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::money;
use crate::rng::Rng;

/// Number of shards that an installation has unless it is told otherwise.
pub(crate) const SHARDS: u64 = 16;

/// Through which door an order comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Door {
    V1,
    /// `/v1` with an `Idempotency-Key` and without a reference; the customer carries the name then.
    Keyed,
    /// One of many lines of a bulk request.
    Bulk,
    Oscarps,
    /// Of one product, with a token; a delivery service tells by messages what becomes of it.
    Sales,
}

impl Door {
    /// The source that `/v1` shows for an order of this door.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::V1 | Self::Keyed | Self::Bulk => "api",
            Self::Oscarps => "oscarps",
            Self::Sales => "sales",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::V1 | Self::Keyed | Self::Bulk => "/v1/orders",
            Self::Oscarps => "/oscarps/orders",
            Self::Sales => "/sales/api/v1/orders",
        }
    }
}

/// An item of an order; amounts are decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    sku: String,
    quantity: u64,
    unit_price: String,
}

/// What the driver sends, under a reference that it never uses for anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) door: Door,
    pub(crate) reference: String,
    customer: String,
    total: String,
    lines: Vec<Line>,
}

impl Order {
    /// The order number `n` of client `client` in the run `run`: a third by oscarps, a third with lines; of the others
    /// a fourth by key.
    pub(crate) fn generate(run: &str, client: usize, n: u64, rng: &mut Rng) -> Self {
        let door = match (n % 3, n % 4) {
            (2, _) => Door::Oscarps,
            (_, 3) => Door::Keyed,
            _ => Door::V1,
        };
        let reference = format!("{run}-{client}-{n}");
        let customer = match door {
            Door::Keyed => reference.clone(),
            Door::V1 | Door::Bulk | Door::Oscarps | Door::Sales => {
                format!("customer-{}", rng.between(1, 500))
            }
        };
        let mut order = Self { door, reference, customer, total: amount(rng), lines: Vec::new() };
        if n % 3 == 1 {
            let mut cents = 0;
            for item in 0..rng.between(1, 3) {
                let (quantity, price) = (rng.between(1, 9), rng.between(1, 99_999));
                cents += quantity * price;
                order.lines.push(Line { sku: format!("sku-{item}"), quantity, unit_price: decimal(price) });
            }
            order.total = decimal(cents);
        }
        order
    }

    /// The same as a line of a bulk request.
    pub(crate) fn in_bulk(self) -> Self {
        match self.door {
            Door::V1 => Self { door: Door::Bulk, ..self },
            Door::Keyed | Door::Bulk | Door::Oscarps | Door::Sales => self,
        }
    }

    /// The same as an order of one product.
    pub(crate) fn in_sales(self, rng: &mut Rng) -> Self {
        match self.door {
            Door::V1 => {
                let sku = uuid(rng);
                let line = Line { sku, quantity: rng.between(1, 99), unit_price: "0".to_owned() };
                let (customer, total) = (uuid(rng), "0".to_owned());
                Self { door: Door::Sales, customer, total, lines: vec![line], ..self }
            }
            Door::Keyed | Door::Bulk | Door::Oscarps | Door::Sales => self,
        }
    }

    /// The field of the head that it is placed with, if there is one: its key, or `bearer`.
    pub(crate) fn header<'a>(&'a self, bearer: &'a str) -> Option<(&'static str, &'a str)> {
        match self.door {
            Door::Keyed => Some(("idempotency-key", &self.reference)),
            Door::Sales => Some(("authorization", bearer)),
            Door::V1 | Door::Bulk | Door::Oscarps => None,
        }
    }

    /// Whether an answer with this status shows the order that was placed.
    pub(crate) fn is_there(&self, status: u16) -> bool {
        matches!(status, 200 | 201) || (self.door == Door::Sales && status == 409)
    }

    /// Path and body of the request that places it.
    pub(crate) fn request(&self) -> (&'static str, Vec<u8>) {
        let body = match self.door {
            Door::V1 | Door::Keyed | Door::Bulk => {
                let mut body = json!({ "customer": self.customer, "currency": "EUR", "total": self.total });
                if self.door != Door::Keyed {
                    body["reference"] = json!(self.reference);
                }
                if !self.lines.is_empty() {
                    body["lines"] = json!(self.lines);
                }
                body
            }
            Door::Oscarps => json!({
                "orderId": self.reference, "customer": self.customer, "total": number(&self.total),
            }),
            Door::Sales => {
                let product = self.lines.first();
                json!({
                    "idempotency_key": self.reference, "user_id": self.customer,
                    "product_id": product.map(|line| &line.sku), "quantity": product.map(|line| line.quantity),
                })
            }
        };
        (self.door.path(), body.to_string().into_bytes())
    }

    /// The id in an answer to [`Order::request`], when the answer shows this very order.
    pub(crate) fn acknowledged_id(&self, answer: &Value) -> Result<String, String> {
        let (id, wrong) = match self.door {
            Door::V1 | Door::Keyed | Door::Bulk => ("order_id", self.differs_from_v1(answer)),
            Door::Oscarps => ("id", self.differs_from_oscarps(answer)),
            // What was there before is named in the refusal.
            Door::Sales => match &answer["errors"][0] {
                Value::Null => ("order_id", None),
                entry if entry["error_code"] == "DUPLICATE_IDEMPOTENCY_KEY" => {
                    return entry["order_id"].as_str().map(str::to_owned).ok_or("no `order_id`".to_owned());
                }
                entry => return Err(format!("the refusal {entry}")),
            },
        };
        match (answer[id].as_str(), wrong) {
            (Some(id), None) => Ok(id.to_owned()),
            (None, _) => Err(format!("no `{id}`")),
            (_, Some(wrong)) => Err(wrong),
        }
    }

    /// What `/v1` shows otherwise than it was sent.
    pub(crate) fn differs_from_v1(&self, shown: &Value) -> Option<String> {
        let text = |name: &str| plain(&shown[name]);
        let reference = if self.door == Door::Keyed { "null" } else { &self.reference };
        if text("source") != self.door.source() || text("reference") != reference {
            return Some(format!("source {} reference {}", shown["source"], shown["reference"]));
        }
        if text("customer") != self.customer {
            return Some(format!("customer {} instead of {}", shown["customer"], self.customer));
        }
        if self.door != Door::Sales && !money::same(&text("total"), &self.total) {
            return Some(format!("total {} instead of {}", shown["total"], self.total));
        }
        if self.lines.is_empty() {
            return None;
        }
        let lines = shown["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let same = lines.len() == self.lines.len()
            && self.lines.iter().zip(lines).all(|(sent, shown)| {
                plain(&shown["sku"]) == sent.sku
                    && plain(&shown["quantity"]) == sent.quantity.to_string()
                    && money::same(&plain(&shown["unit_price"]), &sent.unit_price)
            });
        (!same).then(|| format!("lines {}", shown["lines"]))
    }

    /// What `/oscarps` shows otherwise than it was sent.
    pub(crate) fn differs_from_oscarps(&self, shown: &Value) -> Option<String> {
        let same = plain(&shown["orderId"]) == self.reference
            && plain(&shown["customer"]) == self.customer
            && shown["total"].is_number()
            && money::same(&plain(&shown["total"]), &self.total);
        (!same).then(|| format!("shown as {shown}"))
    }

    /// The id that an order with this reference has by definition: a UUIDv8 over tenant, source and reference. An
    /// order without one has any.
    pub(crate) fn derived_id(&self) -> Option<String> {
        if self.door == Door::Keyed {
            return None;
        }
        let mut hash = Sha256::new();
        for part in ["wellorder/order/1", "default", self.door.source(), &self.reference] {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut id: Vec<u8> = hash.finalize()[..16].to_vec();
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }
}

/// The shard of an order: its id's last two bytes, big-endian, modulo the number of shards.
pub(crate) fn shard_of(order_id: &str) -> Option<u64> {
    let tail = order_id.get(order_id.len().checked_sub(4)?..)?;
    u64::from_str_radix(tail, 16).ok().map(|n| n % SHARDS)
}

/// Random digits, in the form of a UUID.
pub(crate) fn uuid(rng: &mut Rng) -> String {
    let hex = format!("{:016x}{:016x}", rng.next(), rng.next());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A text or a number, as written.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn decimal(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Amounts that a float, a rounding or a careless text would damage; never zero.
fn amount(rng: &mut Rng) -> String {
    match rng.between(0, 5) {
        0 => format!("{}.90", rng.between(1, 9_999)),
        1 => format!("0.{:02}", rng.between(1, 99)),
        2 => format!("{}", rng.between(1, 1_000_000)),
        3 => format!("{}.{:06}", rng.between(1, 99_999), rng.between(1, 999_999)),
        4 => format!(
            "{}.{:02}",
            rng.between(9_007_199_254_740_993, 99_007_199_254_740_993),
            rng.between(0, 99)
        ),
        _ => decimal(rng.between(1, 10_000_000)),
    }
}

/// Decimal text as a JSON number, digit for digit.
fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u64) -> Order {
        Order::generate("t", 1, n, &mut Rng::new(n))
    }

    #[test]
    fn amounts_are_sent_digit_for_digit() {
        for n in 0..200 {
            let order = order(n);
            let (_, body) = order.request();
            let body = String::from_utf8(body).unwrap();
            assert!(body.contains(&order.total), "{body}");
        }
    }

    #[test]
    fn an_answer_that_differs_in_one_digit_is_noticed() {
        let order = Order { total: "19.90".to_owned(), lines: Vec::new(), ..order(0) };
        let answer = |total: &str| json!({"order_id": "x", "source": "api", "reference": order.reference, "customer": order.customer, "total": total});
        assert_eq!(order.acknowledged_id(&answer("19.9")).unwrap(), "x");
        assert!(order.acknowledged_id(&answer("19.91")).is_err());
    }

    #[test]
    fn a_refusal_of_what_was_there_names_it() {
        let other = order(0);
        let order = order(0).in_sales(&mut Rng::new(1));
        assert_eq!(
            (order.door, order.header("Bearer t")),
            (Door::Sales, Some(("authorization", "Bearer t")))
        );
        let there = json!({"errors": [{"error_code": "DUPLICATE_IDEMPOTENCY_KEY", "order_id": "x"}]});
        assert!(order.is_there(409) && !other.is_there(409));
        assert_eq!(order.acknowledged_id(&there).unwrap(), "x");
        assert_eq!(order.acknowledged_id(&json!({"order_id": "y"})).unwrap(), "y");
        assert!(order.acknowledged_id(&json!({"errors": [{"error_code": "OTHER"}]})).is_err());
    }

    #[test]
    fn the_derived_id_is_a_uuid_of_version_8() {
        let id = order(0).derived_id().unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "8");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_eq!(Some(&id), order(0).derived_id().as_ref());
        assert_ne!(Some(id), order(2).derived_id());
        assert_eq!(order(3).derived_id(), None, "it comes by key");
    }

    #[test]
    fn the_shard_comes_from_the_last_two_bytes() {
        assert_eq!(shard_of("00000000-0000-8000-8000-00000000012f"), Some(0x012f % 16));
        assert_eq!(shard_of("no"), None);
    }
}
