//! What is in a payload: amount and external id. Everything else of it is kept as it came.

use crate::exact;
use order_core::Money;
use order_core::json::{self, InvalidJson, JsonLimits};
use serde_json::{Map, Value};

/// A payload that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    /// As it came.
    pub(crate) object: Map<String, Value>,
    /// `amount`; else the sum over `items`; else zero.
    pub(crate) amount: Money,
    /// `id`: a text, or a number printed as one.
    pub(crate) external_id: Option<String>,
}

/// Why something is no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoPayload {
    /// There is none.
    Missing,
    /// Neither an object nor a string that holds one.
    NotAnObject,
    /// The string holds no JSON, or more of it than is read.
    Json(InvalidJson),
    /// What must be a number is none, or has too many digits: where.
    Number(String),
    /// The sum has too many digits.
    Sum,
}

impl Payload {
    /// Reads an object, or a string that holds one.
    pub(crate) fn read(value: Value, limits: JsonLimits) -> Result<Self, NoPayload> {
        match value {
            Value::Object(object) => Self::of(object),
            Value::String(text) => Self::parse(&text, limits),
            Value::Null => Err(NoPayload::Missing),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(NoPayload::NotAnObject),
        }
    }

    /// Reads a text that holds an object.
    pub(crate) fn parse(text: &str, limits: JsonLimits) -> Result<Self, NoPayload> {
        if text.trim_ascii().is_empty() {
            return Err(NoPayload::Missing);
        }
        match json::parse(text.as_bytes(), limits).map_err(NoPayload::Json)? {
            Value::Object(object) => Self::of(object),
            _ => Err(NoPayload::NotAnObject),
        }
    }

    fn of(object: Map<String, Value>) -> Result<Self, NoPayload> {
        let amount = amount(&object)?;
        let external_id = object.get("id").and_then(external_id);
        Ok(Self { object, amount, external_id })
    }
}

/// The text of an external id, if that is one.
pub(crate) fn external_id(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        // `1e2` is the number 100; with more digits than an amount has, it is what was written.
        Value::Number(number) => {
            let text = number.as_str();
            Some(Money::parse(text).map_or_else(|_| text.to_owned(), |number| number.to_string()))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn amount(payload: &Map<String, Value>) -> Result<Money, NoPayload> {
    if let Some(amount) = number(payload, "amount", || "amount".to_owned())? {
        return Ok(amount);
    }
    let Some(Value::Array(items)) = payload.get("items") else { return Ok(Money::ZERO) };
    let mut sum = Money::ZERO;
    for (index, item) in items.iter().enumerate() {
        // What has no price costs nothing.
        let Value::Object(item) = item else { continue };
        let price = number(item, "price", || format!("items[{index}].price"))?;
        let qty = number(item, "qty", || format!("items[{index}].qty"))?;
        let Some(price) = price else { continue };
        let cost = match qty {
            Some(qty) => price.product(qty).ok_or(NoPayload::Sum)?,
            None => price,
        };
        sum = sum.plus(cost).ok_or(NoPayload::Sum)?;
    }
    Ok(sum)
}

/// A member that is a number or a text that holds one; `None` when it is absent or null.
fn number(
    object: &Map<String, Value>,
    name: &str,
    place: impl FnOnce() -> String,
) -> Result<Option<Money>, NoPayload> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => exact::amount(value).map(Some).map_err(|_| NoPayload::Number(place())),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(json: &str) -> Result<Payload, NoPayload> {
        Payload::read(serde_json::from_str(json).unwrap(), JsonLimits::default())
    }

    #[test]
    fn the_amount_is_said_or_summed_up_or_zero() {
        for (json, amount) in [
            (r#"{"amount":19.90}"#, "19.90"),
            (r#"{"amount":"19.90","items":[{"price":1}]}"#, "19.90"),
            (r#"{"amount":null,"items":[{"price":9.95,"qty":2},{"price":"0.10"}]}"#, "20.00"),
            (r#"{"items":[{"price":"0.1","qty":"0.5"},{"qty":7},"x",{"price":-1}]}"#, "-0.95"),
            (r#"{"items":{"price":1}}"#, "0"),
            ("{}", "0"),
            (r#"{"amount":12345678901234567890123456.78}"#, "12345678901234567890123456.78"),
        ] {
            assert_eq!(read(json).unwrap().amount.to_string(), amount, "{json}");
        }
    }

    #[test]
    fn what_is_no_number_is_named() {
        for (json, place) in [
            (r#"{"amount":"a lot"}"#, "amount"),
            (r#"{"amount":true}"#, "amount"),
            (r#"{"amount":""}"#, "amount"),
            (r#"{"amount":{}}"#, "amount"),
            (r#"{"items":[{},{"price":"x"}]}"#, "items[1].price"),
            (r#"{"items":[{"price":1,"qty":[]}]}"#, "items[0].qty"),
            (r#"{"items":[{"qty":"two"}]}"#, "items[0].qty"),
        ] {
            assert_eq!(read(json), Err(NoPayload::Number(place.to_owned())), "{json}");
        }
        let nines = "9".repeat(28);
        assert_eq!(read(&format!(r#"{{"items":[{{"price":{nines},"qty":{nines}}}]}}"#)), Err(NoPayload::Sum));
    }

    #[test]
    fn an_external_id_is_a_text_or_a_number_printed_as_one() {
        let of = |id: &str| read(&format!(r#"{{"id":{id}}}"#)).unwrap().external_id;
        assert_eq!(of("\"external-123\"").as_deref(), Some("external-123"));
        assert_eq!(of("42").as_deref(), Some("42"));
        assert_eq!(of("1e2").as_deref(), Some("100"));
        assert_eq!(of("123456789012345678901234567890").as_deref(), Some("123456789012345678901234567890"));
        for none in ["null", "true", "[]", "{}", "\"\""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_payload_may_come_as_a_text() {
        let payload = read(r#""{\"id\":1,\"amount\":2.50}""#).unwrap();
        assert_eq!(
            (payload.amount.to_string(), payload.external_id),
            ("2.50".to_owned(), Some("1".to_owned()))
        );
        for (json, no) in
            [("null", NoPayload::Missing), ("\" \"", NoPayload::Missing), ("[]", NoPayload::NotAnObject)]
        {
            assert_eq!(read(json), Err(no), "{json}");
        }
        assert_eq!(read("\"[1]\""), Err(NoPayload::NotAnObject));
        assert!(matches!(read("\"{\""), Err(NoPayload::Json(_))));
    }
}
