//! Limits on JSON that comes from outside, checked in one pass before anything is built: depth, length of arrays,
//! keys given twice, U+0000. Syntax and UTF-8 are checked on the way.

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
    /// Most items of one array, and most members of one object.
    pub items_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth_max: 32, items_max: 20_000 }
    }
}

/// Why a body is refused before anyone looks at its meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJson {
    /// Nothing, or white space alone.
    #[error("a body is needed: send JSON")]
    Absent,
    /// No JSON, or not UTF-8.
    #[error("malformed JSON at line {line} column {column}{}{pointer}", if pointer.is_empty() { "" } else { ", at " })]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// JSON pointer of the value, or of the object, in which the parser was; empty for the whole body.
        pointer: String,
    },
    /// A key was given twice.
    #[error("the key {pointer} is given twice")]
    DuplicateKey {
        /// JSON pointer (RFC 6901) of the key.
        pointer: String,
    },
    /// A text holds U+0000.
    #[error("the text at {pointer} contains U+0000")]
    Nul {
        /// JSON pointer of the text, or of the key that holds it.
        pointer: String,
    },
    /// A key is reserved for internal use.
    #[error("a key in {pointer} is reserved")]
    ReservedKey {
        /// JSON pointer of the object.
        pointer: String,
    },
    /// Nested too deeply.
    #[error("nested deeper than {depth_max} levels at {pointer}")]
    TooDeep {
        /// JSON pointer of the value that is too deep.
        pointer: String,
        /// The limit.
        depth_max: usize,
    },
    /// An array or object has too many items.
    #[error("more than {items_max} items at {pointer}")]
    TooMany {
        /// JSON pointer of the array or object.
        pointer: String,
        /// The limit.
        items_max: usize,
    },
}

impl InvalidJson {
    /// JSON pointer of the offence; empty for the whole body.
    pub fn pointer(&self) -> &str {
        match self {
            Self::Absent => "",
            Self::Syntax { pointer, .. }
            | Self::DuplicateKey { pointer }
            | Self::Nul { pointer }
            | Self::ReservedKey { pointer }
            | Self::TooDeep { pointer, .. }
            | Self::TooMany { pointer, .. } => pointer,
        }
    }
}

/// Parses a body within `limits`. Numbers keep their digits, objects the order of their keys.
///
/// # Errors
/// The first offence met.
pub fn parse(body: &[u8], limits: JsonLimits) -> Result<Value, InvalidJson> {
    if body.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        return Err(InvalidJson::Absent);
    }
    let guard = Guard { limits, offence: RefCell::new(None), path: RefCell::new(Vec::new()) };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let checked =
        Check { guard: &guard, depth: 0 }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if let Err(error) = checked {
        return Err(guard.offence.take().unwrap_or_else(|| syntax(&error, guard.pointer())));
    }
    serde_json::from_slice(body).map_err(|error| syntax(&error, String::new()))
}

fn syntax(error: &serde_json::Error, pointer: String) -> InvalidJson {
    InvalidJson::Syntax { line: error.line(), column: error.column(), pointer }
}

/// Appends `token` to a JSON pointer, escaped as RFC 6901 says.
pub fn push_pointer(pointer: &mut String, token: &str) {
    pointer.push('/');
    for character in token.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// What the keys begin with by which serde_json hands over what JSON has no type for.
const RESERVED_PREFIX: &str = "$serde_json::private::";
/// The key under which serde_json's `arbitrary_precision` hands a number to a visitor.
const EXACT_NUMBER_KEY: &str = "$serde_json::private::Number";

struct Guard {
    limits: JsonLimits,
    offence: RefCell<Option<InvalidJson>>,
    path: RefCell<Vec<String>>,
}

impl Guard {
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for token in self.path.borrow().iter() {
            push_pointer(&mut pointer, token);
        }
        pointer
    }

    fn refuse<E: serde::de::Error>(&self, offence: impl FnOnce(String) -> InvalidJson) -> E {
        *self.offence.borrow_mut() = Some(offence(self.pointer()));
        E::custom("refused")
    }
}

struct Check<'g> {
    guard: &'g Guard,
    depth: usize,
}

impl Check<'_> {
    fn enter<E: serde::de::Error>(&self) -> Result<usize, E> {
        let depth_max = self.guard.limits.depth_max;
        if self.depth >= depth_max {
            return Err(self.guard.refuse(|pointer| InvalidJson::TooDeep { pointer, depth_max }));
        }
        Ok(self.depth + 1)
    }

    fn count<E: serde::de::Error>(&self, items: usize) -> Result<(), E> {
        let items_max = self.guard.limits.items_max;
        if items > items_max {
            return Err(self.guard.refuse(|pointer| InvalidJson::TooMany { pointer, items_max }));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(self.guard.refuse(|pointer| InvalidJson::Nul { pointer }));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let depth = self.enter()?;
        let mut index = 0_usize;
        loop {
            // The path is only spelled out when it is needed; a number is cheap to hold until then.
            self.guard.path.borrow_mut().push(index.to_string());
            let more = items.next_element_seed(Check { guard: self.guard, depth })?.is_some();
            self.guard.path.borrow_mut().pop();
            if !more {
                return Ok(());
            }
            index += 1;
            self.count(index)?;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut depth = None;
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            // serde_json hands an exact number over as a map of this one key; it nests nothing.
            if depth.is_none() && key == EXACT_NUMBER_KEY {
                return members.next_value::<String>().map(drop);
            }
            let depth = match depth {
                Some(depth) => depth,
                None => *depth.insert(self.enter()?),
            };
            // Names by which serde_json talks to itself: it would take the value for something else than was sent.
            if key.starts_with(RESERVED_PREFIX) {
                return Err(self.guard.refuse(|pointer| InvalidJson::ReservedKey { pointer }));
            }
            let nul = key.contains('\0');
            self.guard.path.borrow_mut().push(key.clone());
            if nul {
                return Err(self
                    .guard
                    .refuse(|pointer| InvalidJson::Nul { pointer: pointer.replace('\0', "\u{fffd}") }));
            }
            if !seen.insert(key) {
                return Err(self.guard.refuse(|pointer| InvalidJson::DuplicateKey { pointer }));
            }
            self.count(seen.len())?;
            members.next_value_seed(Check { guard: self.guard, depth })?;
            self.guard.path.borrow_mut().pop();
        }
        if depth.is_none() {
            self.enter()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn check(body: &str) -> Result<Value, InvalidJson> {
        parse(body.as_bytes(), JsonLimits { depth_max: 4, items_max: 5 })
    }

    #[test]
    fn numbers_and_key_order_come_through_untouched() {
        let body = r#"{"z":12345678901234567.890,"a":[1,-0.10,19.90]}"#;
        assert_eq!(serde_json::to_string(&check(body).unwrap()).unwrap(), body);
    }

    #[test]
    fn a_key_given_twice_is_named_at_any_depth() {
        assert_eq!(check(r#"{"a":1,"a":2}"#), Err(InvalidJson::DuplicateKey { pointer: "/a".into() }));
        assert_eq!(
            check(r#"{"x":[0,{"a/b":1,"a/b":2}]}"#),
            Err(InvalidJson::DuplicateKey { pointer: "/x/1/a~1b".into() })
        );
        assert!(check(r#"[{"a":1},{"a":2}]"#).is_ok());
    }

    #[test]
    fn u0000_is_refused_in_texts_and_keys() {
        assert_eq!(check(r#"{"a":"x\u0000"}"#), Err(InvalidJson::Nul { pointer: "/a".into() }));
        assert!(matches!(check(r#"{"a\u0000":1}"#), Err(InvalidJson::Nul { .. })));
    }

    #[test]
    fn keys_that_the_parser_uses_itself_are_refused() {
        let smuggled = r#"{"a":{"$serde_json::private::RawValue":"[[[[[[1]]]]]]"}}"#;
        assert_eq!(check(smuggled), Err(InvalidJson::ReservedKey { pointer: "/a".into() }));
        let escaped = r#"{"a":{"\u0024serde_json::private::RawValue":"x"}}"#;
        assert_eq!(check(escaped), Err(InvalidJson::ReservedKey { pointer: "/a".into() }));
        assert!(check(r#"{"b":1,"$serde_json::private::Number":"1"}"#).is_err());
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(check("[[[[1]]]]").is_ok());
        assert_eq!(
            check("[[[[[1]]]]]"),
            Err(InvalidJson::TooDeep { pointer: "/0/0/0/0".into(), depth_max: 4 })
        );
        assert!(check("[1,2,3,4,5]").is_ok());
        assert_eq!(
            check(r#"{"a":[1,2,3,4,5,6]}"#),
            Err(InvalidJson::TooMany { pointer: "/a".into(), items_max: 5 })
        );
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes(), JsonLimits::default()).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["{", "{}x", "NaN", "{\"a\":NaN}", "Infinity", "'a'", "{a:1}", "\"\\ud800\"", "01", "[1,]"]
        {
            assert!(matches!(check(bad), Err(InvalidJson::Syntax { .. })), "{bad}");
        }
        for nothing in ["", " ", "\r\n\t"] {
            assert_eq!(check(nothing).err(), Some(InvalidJson::Absent), "{nothing:?}");
        }
        let named = [
            (r#"{"a":1,"total":NaN}"#, "/total", "malformed JSON at line 1 column 16, at /total"),
            ("{\"lines\":[1,\n -Infinity]}", "/lines/1", "malformed JSON at line 2 column 3, at /lines/1"),
            (r#"{"a":{"b":"c"#, "/a/b", "malformed JSON at line 1 column 12, at /a/b"),
            (r#"{"a":{"b":1} "c""#, "", "malformed JSON at line 1 column 14"),
            ("NaN", "", "malformed JSON at line 1 column 1"),
        ];
        for (bad, pointer, message) in named {
            let invalid = check(bad).unwrap_err();
            assert_eq!((invalid.pointer(), invalid.to_string().as_str()), (pointer, message), "{bad}");
        }
        assert!(matches!(parse(b"\"\xff\"", JsonLimits::default()), Err(InvalidJson::Syntax { .. })));
    }
}
