//! A body that is no JSON, or more of it than is read: which field is to blame, and why, for people.

use order_core::json::InvalidJson;

/// Longest field name and pointer that are echoed, in bytes; a longer one is cut.
const ECHO_BYTES_MAX: usize = 255;

/// The field at the top of the body that holds the offence; `None` when it is the body as a whole.
pub(crate) fn field(invalid: &InvalidJson) -> Option<String> {
    let token = invalid.pointer().strip_prefix('/')?.split('/').next()?;
    Some(cut(&token.replace("~1", "/").replace("~0", "~")))
}

/// What is wrong, in one sentence that does not name the field.
pub(crate) fn sentence(invalid: &InvalidJson) -> String {
    let what = match invalid {
        InvalidJson::Absent => "A body is needed".to_owned(),
        InvalidJson::Syntax { line, column, .. } => format!("Malformed JSON at line {line} column {column}"),
        InvalidJson::DuplicateKey { .. } => "Given twice".to_owned(),
        InvalidJson::Nul { .. } => "Must not contain U+0000".to_owned(),
        InvalidJson::ReservedKey { .. } => "Holds a reserved key".to_owned(),
        InvalidJson::TooDeep { depth_max, .. } => format!("Nested deeper than {depth_max} levels"),
        InvalidJson::TooMany { items_max, .. } => format!("More than {items_max} items"),
    };
    let pointer = invalid.pointer();
    if pointer.matches('/').count() > 1 { format!("{what}, at {}", cut(pointer)) } else { what }
}

fn cut(text: &str) -> String {
    if text.len() <= ECHO_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = ECHO_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_the_first_token_unescaped() {
        let at = |pointer: &str| field(&InvalidJson::Nul { pointer: pointer.to_owned() });
        assert_eq!(at("/customer").as_deref(), Some("customer"));
        assert_eq!(at("/a~1b~0c/0").as_deref(), Some("a/b~c"));
        assert_eq!(at(""), None);
        assert_eq!(field(&InvalidJson::Syntax { line: 1, column: 1, pointer: String::new() }), None);
    }

    #[test]
    fn an_endless_key_is_not_echoed_whole() {
        let invalid = InvalidJson::DuplicateKey { pointer: format!("/{}", "é".repeat(100_000)) };
        assert!(field(&invalid).is_some_and(|field| field.len() < 300));
        let deep = InvalidJson::DuplicateKey { pointer: format!("/a/{}", "é".repeat(100_000)) };
        assert!(sentence(&deep).len() < 400);
    }
}
