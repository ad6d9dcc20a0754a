//! What values look like.

use serde_json::Value;

/// Whether the value is a moment in UTC with so many decimals, such as `2025-02-23T10:00:00.000Z` with three.
pub(crate) fn is_moment(value: &Value, decimals: usize) -> bool {
    let Some((seconds, rest)) = value.as_str().and_then(|text| text.split_once('.')) else { return false };
    let shape: String =
        seconds.chars().map(|digit| if digit.is_ascii_digit() { '0' } else { digit }).collect();
    let fraction = rest.strip_suffix('Z').unwrap_or_default();
    shape == "0000-00-00T00:00:00"
        && fraction.len() == decimals
        && fraction.bytes().all(|digit| digit.is_ascii_digit())
}

/// The names of an object's members, in their order.
pub(crate) fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
