//! What comparing two descriptions of an API comes to.

use std::fmt;

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether a client that is right by the old description can be wrong by the new one.
    pub(crate) breaking: bool,
    /// Where, such as `GET /v1/orders: parameter limit`.
    pub(crate) place: String,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.breaking { "BREAKING" } else { "addition" };
        write!(f, "{kind}  {}: {}", self.place, self.what)
    }
}

/// Findings as they gather.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn breaks(&mut self, place: &str, what: impl Into<String>) {
        self.add(true, place, what);
    }

    pub(crate) fn adds(&mut self, place: &str, what: impl Into<String>) {
        self.add(false, place, what);
    }

    pub(crate) fn add(&mut self, breaking: bool, place: &str, what: impl Into<String>) {
        let finding = Finding { breaking, place: place.to_owned(), what: what.into() };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Breaks when `old` is there and not equal; adds when it is new.
    pub(crate) fn same(&mut self, place: &str, what: &str, old: &serde_json::Value, new: &serde_json::Value) {
        if old != new {
            self.add(!old.is_null(), place, format!("{what} is {new}, was {old}"));
        }
    }

    pub(crate) fn any_breaks(&self) -> bool {
        self.0.iter().any(|finding| finding.breaking)
    }
}
