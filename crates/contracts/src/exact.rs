//! Money on a wire that writes it as a JSON number: digit by digit, no float in between.

use order_core::Money;
use order_core::order::money::InvalidMoney;
use serde_json::{Number, Value};
use utoipa::openapi::schema::{OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

/// Why a value is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAmount {
    /// Neither a number nor a string.
    Type,
    /// A string that holds no number in JSON's form, or a number with too many digits.
    Money(InvalidMoney),
}

/// Reads an amount from a number, or from a string that holds one in JSON's form (so no blanks, no `0x10`, no `NaN`).
pub(crate) fn amount(value: &Value) -> Result<Money, NoAmount> {
    match value {
        Value::Number(number) => Money::parse(number.as_str()).map_err(NoAmount::Money),
        Value::String(text) => Money::parse(text).map_err(NoAmount::Money),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(NoAmount::Type),
    }
}

/// The amount as a JSON number with the decimals that it was given with.
pub(crate) fn number(money: Money) -> Number {
    Number::from_string_unchecked(money.to_string())
}

/// The pattern of an amount of zero or more as a string.
pub(crate) const FROM_ZERO: &str = r"^(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$";

/// The pattern of an amount above zero as a string.
pub(crate) const ABOVE_ZERO: &str = r"^(0\.0*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)([eE][+-]?[0-9]+)?$";

/// The schema of what [`amount`] reads, for OpenAPI: `number` and `pattern` say the range.
pub(crate) fn amount_schema(number: ObjectBuilder, pattern: &str, description: &str) -> RefOr<Schema> {
    let string = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).pattern(Some(pattern));
    let number = number.schema_type(SchemaType::Type(Type::Number));
    OneOfBuilder::new().item(number).item(string).description(Some(description)).into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_amount_goes_through_with_all_its_digits() {
        for text in ["199.990", "0.10", "12345678901234567890123456.78", "9999999999999999999999999999"] {
            for json in [text.to_owned(), format!("\"{text}\"")] {
                let money = amount(&serde_json::from_str(&json).unwrap()).unwrap();
                assert_eq!(serde_json::to_string(&number(money)).unwrap(), text);
            }
        }
    }

    #[test]
    fn an_exponent_is_written_out() {
        let money = amount(&serde_json::from_str("1.5e3").unwrap()).unwrap();
        assert_eq!(serde_json::to_string(&number(money)).unwrap(), "1500");
    }
}
