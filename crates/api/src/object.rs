//! Reads JSON objects strictly: every member is known, every problem is collected and named by its pointer.

use crate::problem::{Failure, INVALID_BODY, Offence, Problem, VALUE_REFUSED};
use order_core::ids::TEXT_BYTES_MAX;
use order_core::json::push_pointer;
use order_core::order::money::InvalidMoney;
use order_core::{Money, Timestamp};
use serde_json::{Map, Number, Value};

/// Most problems that one reply names.
const OFFENCES_MAX: usize = 100;

/// The problems of one body.
#[derive(Debug, Default)]
pub(crate) struct Offences {
    /// The first of them.
    found: Vec<Offence>,
    /// How many there are.
    count: usize,
    malformed: bool,
}

impl Offences {
    /// It does not have the form that is asked for: 400.
    pub(crate) fn malformed(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.malformed = true;
        self.refused(pointer, code, message);
    }

    /// The form is right, the value is refused: 422.
    pub(crate) fn refused(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.count += 1;
        if self.found.len() < OFFENCES_MAX {
            self.found.push(Offence::at(pointer, code, message));
        }
    }

    /// Fails when anything was found.
    pub(crate) fn settle(self) -> Result<(), Failure> {
        if self.found.is_empty() {
            return Ok(());
        }
        let (kind, what) =
            if self.malformed { (INVALID_BODY, "malformed") } else { (VALUE_REFUSED, "refused") };
        let detail = match self.count {
            1 => format!("One value is {what}; see errors"),
            more => format!("{more} values are {what}; see errors"),
        };
        Err(Problem::new(kind, detail).offences(self.found).into())
    }
}

/// One object, at its pointer.
pub(crate) struct Object<'v> {
    members: &'v Map<String, Value>,
    pointer: String,
}

impl<'v> Object<'v> {
    /// The object at `pointer`, with no other members than `known`.
    pub(crate) fn read(
        value: &'v Value,
        pointer: &str,
        known: &[&str],
        offences: &mut Offences,
    ) -> Option<Self> {
        let Some(members) = value.as_object() else {
            offences.malformed(pointer, "wrong-type", "must be an object");
            return None;
        };
        let object = Self { members, pointer: pointer.to_owned() };
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            offences.malformed(object.at(name), "unknown-field", "is no field that is known here");
        }
        Some(object)
    }

    /// The pointer of a member.
    pub(crate) fn at(&self, name: &str) -> String {
        let mut pointer = self.pointer.clone();
        push_pointer(&mut pointer, name);
        pointer
    }

    /// A member that is there and not `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&'v Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Whether a member is there, `null` or not.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Like [`Object::get`], for a member that must be there.
    pub(crate) fn required(&self, name: &str, offences: &mut Offences) -> Option<&'v Value> {
        let value = self.get(name);
        if value.is_none() {
            offences.refused(self.at(name), "missing", "must be given");
        }
        value
    }

    /// A text of 1 to 255 bytes, if it is there.
    pub(crate) fn text(&self, name: &str, offences: &mut Offences) -> Option<&'v str> {
        self.text_within(name, TEXT_BYTES_MAX, offences)
    }

    /// A text of 1 to `bytes_max` bytes, if it is there.
    pub(crate) fn text_within(
        &self,
        name: &str,
        bytes_max: usize,
        offences: &mut Offences,
    ) -> Option<&'v str> {
        let value = self.get(name)?;
        let text = typed(value.as_str(), || self.at(name), "must be a string", offences)?;
        if text.is_empty() {
            offences.refused(self.at(name), "empty", "must not be empty");
        } else if text.len() > bytes_max {
            offences.refused(self.at(name), "too-long", format!("must be at most {bytes_max} bytes"));
        }
        Some(text)
    }

    /// A text of 1 to 255 bytes that `parse` understands, if it is there.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        message: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
        offences: &mut Offences,
    ) -> Option<T> {
        let parsed = parse(self.text(name, offences)?);
        if parsed.is_none() {
            offences.refused(self.at(name), "form", message);
        }
        parsed
    }

    /// `true` or `false`, if it is there.
    pub(crate) fn flag(&self, name: &str, offences: &mut Offences) -> Option<bool> {
        typed(self.get(name)?.as_bool(), || self.at(name), "must be true or false", offences)
    }

    /// A moment (RFC 3339), if it is there.
    pub(crate) fn time(&self, name: &str, offences: &mut Offences) -> Option<Timestamp> {
        let text = typed(self.get(name)?.as_str(), || self.at(name), "must be a string", offences)?;
        let parsed = Timestamp::parse(text);
        if let Err(invalid) = &parsed {
            offences.refused(self.at(name), "form", format!("is {invalid}"));
        }
        parsed.ok()
    }

    /// An array, if it is there.
    pub(crate) fn array(&self, name: &str, offences: &mut Offences) -> Option<&'v Vec<Value>> {
        typed(self.get(name)?.as_array(), || self.at(name), "must be an array", offences)
    }

    /// An amount of zero or more, if it is there: a string or a number, read exactly.
    pub(crate) fn money(&self, name: &str, offences: &mut Offences) -> Option<Money> {
        let parsed = match self.get(name)? {
            Value::String(text) if is_exponential(text) => Err(InvalidMoney::NotANumber),
            Value::String(text) => Money::parse(text),
            Value::Number(number) => Money::parse(&number.to_string()),
            _ => {
                offences.malformed(
                    self.at(name),
                    "wrong-type",
                    "must be a decimal number, as a string or a number",
                );
                return None;
            }
        };
        match parsed {
            Ok(money) if money.is_negative() => {
                offences.refused(self.at(name), "negative", "must not be negative");
                None
            }
            Ok(money) => Some(money),
            Err(invalid) => {
                let code = match invalid {
                    InvalidMoney::NotANumber => "not-a-number",
                    InvalidMoney::TooLong => "too-many-digits",
                };
                offences.refused(self.at(name), code, invalid.to_string());
                None
            }
        }
    }
}

/// Whether a text has an exponent: JSON writes numbers so, people do not write amounts so.
fn is_exponential(text: &str) -> bool {
    text.contains(['e', 'E'])
}

/// A number that is whole, however it is written: `2`, `2.0` and `2e0` are one number to JSON, and to JSON Schema.
pub(crate) fn whole(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let text = Money::parse(&number.to_string()).ok()?.to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        decimals.bytes().all(|digit| digit == b'0').then(|| whole.parse().ok()).flatten()
    })
}

/// Notes that a value has another type than it must.
pub(crate) fn typed<T>(
    value: Option<T>,
    pointer: impl FnOnce() -> String,
    message: &str,
    offences: &mut Offences,
) -> Option<T> {
    if value.is_none() {
        offences.malformed(pointer(), "wrong-type", message);
    }
    value
}
