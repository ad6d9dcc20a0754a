//! `config show`: every value with its origin, secrets redacted.

use serde_json::{Value, json};

use super::resolve::{Config, Origin, Resolved};
use super::shape::Kind;

impl Resolved {
    /// The value as it may be shown.
    fn shown(&self) -> String {
        if self.setting.secret {
            self.setting.shape.redacted(&self.value)
        } else {
            self.setting.shape.shown(&self.value)
        }
    }

    fn as_json(&self) -> Value {
        let shown = self.shown();
        let plain = self.setting.shape.kind() != Kind::Text;
        let number = if plain { serde_json::from_str(&shown).ok() } else { None };
        json!({
            "key": self.setting.path,
            "value": number.unwrap_or(Value::String(shown)),
            "origin": self.origin.to_string(),
            "is_default": self.origin == Origin::Default,
            "environment": self.setting.variable(),
            "also": self.setting.names().collect::<Vec<_>>(),
            "allowed": self.setting.shape.right(),
            "about": self.setting.about,
        })
    }
}

/// Key, value and origin, a row each.
pub(crate) fn as_rows(config: &Config) -> Vec<[String; 3]> {
    let row = |one: &Resolved| [one.setting.path.to_owned(), one.shown(), one.origin.to_string()];
    config.resolved.iter().map(row).collect()
}

/// The same for machines: `{"settings": [{"key", "value", "origin", "is_default", "environment", "also", "allowed",
/// "about"}]}`.
pub(crate) fn as_json(config: &Config) -> Value {
    json!({ "settings": config.resolved.iter().map(Resolved::as_json).collect::<Vec<_>>() })
}
