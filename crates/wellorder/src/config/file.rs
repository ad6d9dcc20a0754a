//! `wellorder.toml`: what is in it, by path, with lines.

use toml_edit::{Document, Item, TableLike, Value};

use super::{problem::Problems, sources::Text};

/// One value of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// Its keys joined by dots.
    pub(super) path: String,
    pub(super) value: Written,
    /// From 1.
    pub(super) line: usize,
}

/// A value as it was written.
#[derive(Debug, PartialEq)]
pub(super) enum Written {
    /// A string, or an array of strings joined by commas.
    Text(String),
    /// A whole number or one with a point.
    Number(String),
    /// `true` or `false`.
    Switch(bool),
    /// A date, an array of other things, a list of tables, or a table without keys.
    Other,
}

/// Reads all values; a file that is no TOML is one problem, and `None`.
pub(super) fn parse(file: &Text, problems: &mut Problems) -> Option<Vec<Entry>> {
    match Document::parse(file.text.as_str()) {
        Ok(document) => {
            let mut entries = Vec::new();
            walk(document.as_table(), "", &file.text, &mut entries);
            Some(entries)
        }
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(&file.text, span.start));
            // The message names what was expected; the excerpt that toml would add may show a secret.
            let what = format!("is no TOML ({})", error.message().trim().replace('\n', ", "));
            problems.add(format!("{}:{line}", file.name), "", what, "mend this line");
            None
        }
    }
}

fn walk(table: &dyn TableLike, prefix: &str, text: &str, entries: &mut Vec<Entry>) {
    for (key, item) in table.iter() {
        let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        match item.as_table_like() {
            Some(inner) if !inner.is_empty() => walk(inner, &path, text, entries),
            _ => {
                let start = table.key(key).and_then(|key| key.span()).map_or(0, |span| span.start);
                entries.push(Entry { path, value: written(item), line: line_of(text, start) });
            }
        }
    }
}

fn written(item: &Item) -> Written {
    match item.as_value() {
        Some(Value::String(text)) => Written::Text(text.value().clone()),
        Some(Value::Integer(number)) => Written::Number(number.value().to_string()),
        Some(Value::Float(number)) => Written::Number(number.value().to_string()),
        Some(Value::Boolean(switch)) => Written::Switch(*switch.value()),
        Some(Value::Array(array)) => {
            let words: Option<Vec<&str>> = array.iter().map(Value::as_str).collect();
            words.map_or(Written::Other, |words| Written::Text(words.join(",")))
        }
        _ => Written::Other,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
