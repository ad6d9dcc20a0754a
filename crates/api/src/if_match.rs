//! `If-Match` (RFC 9110 §13.1.1): on which versions of an order a change may be made.

use crate::problem::{Failure, INVALID_PARAMETER, Offence, PRECONDITION_REQUIRED, Problem, VERSION_MISMATCH};
use http::{HeaderMap, header};
use order_core::Order;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

/// The header where it may be left out, as it is described.
pub(crate) struct IfMatchParam;

impl IntoParams for IfMatchParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let form = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#))
            .build();
        let header = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .description(Some("Only this version of the order: its `ETag`"))
            .schema(Some(form))
            .example(Some("\"1\"".into()))
            .build();
        vec![header]
    }
}

/// What a client insists on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`: whatever version there is.
    Any,
    /// One of these tags, without their quotes. Weak ones are left out: they never match (RFC 9110 §8.8.3.2).
    Tags(Vec<Vec<u8>>),
}

impl IfMatch {
    /// What the header says, if it is there.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let values: Vec<&[u8]> =
            headers.get_all(header::IF_MATCH).iter().map(http::HeaderValue::as_bytes).collect();
        if values.is_empty() {
            return Ok(None);
        }
        // Fields of one name are one list (RFC 9110 §5.3).
        let list = values.join(&b", "[..]);
        if list.trim_ascii() == b"*" {
            return Ok(Some(Self::Any));
        }
        match tags(&list) {
            Some(tags) => Ok(Some(Self::Tags(tags))),
            None => {
                let message = "must be * or entity tags in double quotes, apart by commas";
                let offence = Offence::parameter("If-Match", "form", message);
                let problem = Problem::new(INVALID_PARAMETER, format!("If-Match {message}"));
                Err(problem.offences(vec![offence]).into())
            }
        }
    }

    /// What the header says, which must be there.
    pub(crate) fn required(headers: &HeaderMap) -> Result<Self, Failure> {
        Self::read(headers)?.ok_or_else(|| {
            let detail = "Send If-Match with the ETag of the order that you looked at, or * for any version";
            Problem::new(PRECONDITION_REQUIRED, detail).into()
        })
    }

    /// Refuses an order of another version.
    pub(crate) fn check(&self, order: &Order) -> Result<(), Failure> {
        let version = order.version.to_string();
        match self {
            Self::Any => Ok(()),
            Self::Tags(tags) if tags.iter().any(|tag| tag == version.as_bytes()) => Ok(()),
            Self::Tags(_) => {
                let detail = format!("The order has version {version}, which If-Match does not name");
                Err(Problem::new(VERSION_MISMATCH, detail).version(order.version).into())
            }
        }
    }
}

/// The strong ones of a list of entity tags; `None` when it is none, or empty.
fn tags(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut strong, mut any) = (Vec::new(), false);
    let mut rest = list.trim_ascii_start();
    loop {
        // Empty elements are passed over (RFC 9110 §5.6.1.2).
        while let Some(behind) = rest.strip_prefix(b",") {
            rest = behind.trim_ascii_start();
        }
        if rest.is_empty() {
            return any.then_some(strong);
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let opened = quoted.strip_prefix(b"\"")?;
        let end = opened.iter().position(|byte| *byte == b'"')?;
        let (tag, behind) = opened.split_at(end);
        if tag.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return None;
        }
        if !weak {
            strong.push(tag.to_vec());
        }
        any = true;
        rest = behind.strip_prefix(b"\"")?.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strong_tags_count_and_anything_else_is_no_list() {
        let read = |text: &str| tags(text.as_bytes());
        let strong = |tags: &[&str]| Some(tags.iter().map(|tag| tag.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(read("\"3\""), strong(&["3"]));
        assert_eq!(read(" \"3\" ,W/\"4\",, \"x,y\"\t"), strong(&["3", "x,y"]));
        assert_eq!(read("W/\"3\""), strong(&[]));
        assert_eq!(read("\"\""), strong(&[""]));
        for bad in
            ["", " ", ",", "3", "\"3", "3\"", "\"3\" \"4\"", "w/\"3\"", "\"a b\"", "*, \"3\"", "\"3\", *"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
