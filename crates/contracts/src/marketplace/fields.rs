//! How the fields of a body are read, so that all that is wrong is told at once.

use super::refuse::No;
use super::wire::Issue;
use serde_json::{Map, Value};

/// The fields of a body, and what is wrong with them.
pub(super) struct Fields<'v> {
    members: &'v Map<String, Value>,
    issues: Vec<Issue>,
}

impl<'v> Fields<'v> {
    /// Those of a body, which must be an object.
    pub(super) fn of(body: &'v Value) -> Result<Self, No> {
        let members = body.as_object().ok_or_else(|| {
            No::Invalid(vec![Issue { field: "", message: "Body must be a JSON object".to_owned() }])
        })?;
        Ok(Self { members, issues: Vec::new() })
    }

    /// Notes what is wrong with one.
    pub(super) fn wrong<T>(&mut self, field: &'static str, message: impl Into<String>) -> Option<T> {
        self.issues.push(Issue { field, message: message.into() });
        None
    }

    fn string(&mut self, field: &'static str) -> Option<&'v str> {
        match self.members.get(field) {
            None | Some(Value::Null) => self.wrong(field, "is required"),
            Some(Value::String(text)) => Some(text),
            Some(_) => self.wrong(field, "must be a string"),
        }
    }

    /// One that must be there and be a text of 1 to so many bytes.
    pub(super) fn text(&mut self, field: &'static str, bytes_max: usize) -> Option<String> {
        let text = self.string(field)?;
        if (1..=bytes_max).contains(&text.len()) {
            return Some(text.to_owned());
        }
        self.wrong(field, format!("must be 1 to {bytes_max} bytes"))
    }

    /// One that must be there and be a text that can be parsed.
    pub(super) fn read<T>(
        &mut self,
        field: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.string(field)?;
        match parse(text) {
            Some(read) => Some(read),
            None => self.wrong(field, form),
        }
    }

    /// A field that may be left out, or null.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.members.get(field) {
            None | Some(Value::Null) => Some(None),
            Some(_) => self.read(field, form, parse).map(Some),
        }
    }

    /// What was made of them, if nothing was wrong.
    pub(super) fn settle<T>(self, made: impl FnOnce() -> Option<T>) -> Result<T, No> {
        match made() {
            Some(made) if self.issues.is_empty() => Ok(made),
            _ => Err(No::Invalid(self.issues)),
        }
    }
}
