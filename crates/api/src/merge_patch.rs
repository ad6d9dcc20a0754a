//! JSON merge patches (RFC 7396).

use crate::problem::{Failure, MEDIA_TYPE_UNSUPPORTED, Problem};
use axum::extract::{FromRequest, Request};
use edge::{Json, content_type_is_json, refuse_coded};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

/// Tells which patches are read here (RFC 5789 §3.1).
const ACCEPT_PATCH: (HeaderName, HeaderValue) = (
    HeaderName::from_static("accept-patch"),
    HeaderValue::from_static("application/merge-patch+json, application/json"),
);

/// A body that is a merge patch: other patches in JSON mean something else by the same text.
pub(crate) struct MergePatch(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for MergePatch {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        refuse_coded(request.headers())?;
        if !is_merge_patch(request.headers()) {
            let detail = "Content-Type must be application/merge-patch+json or application/json";
            return Err(Problem::new(MEDIA_TYPE_UNSUPPORTED, detail).header(ACCEPT_PATCH).into());
        }
        let Json(patch) = Json::from_request(request, state).await.map_err(Failure::Refused)?;
        Ok(Self(patch))
    }
}

fn is_merge_patch(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    let known = ["application/merge-patch+json", "application/json"];
    content_type_is_json(headers) && known.iter().any(|known| known.eq_ignore_ascii_case(essence))
}

/// Lets a patch that is an object change `target`: `null` removes, objects merge, all else replaces.
pub(crate) fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            // The order of what stays is kept.
            Value::Null => drop(target.shift_remove(name)),
            Value::Object(inner) => {
                let place = target.entry(name).or_insert(Value::Null);
                if let Value::Object(target) = place {
                    merge(target, inner);
                } else {
                    let mut fresh = Map::new();
                    merge(&mut fresh, inner);
                    *place = Value::Object(fresh);
                }
            }
            value => drop(target.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Appendix A of RFC 7396, as far as both are objects.
    const CASES: &str = r#"
        {"a":"b"} | {"a":"c"} | {"a":"c"}
        {"a":"b"} | {"b":"c"} | {"a":"b","b":"c"}
        {"a":"b"} | {"a":null} | {}
        {"a":"b","b":"c"} | {"a":null} | {"b":"c"}
        {"a":["b"]} | {"a":"c"} | {"a":"c"}
        {"a":"c"} | {"a":["b"]} | {"a":["b"]}
        {"a":{"b":"c"}} | {"a":{"b":"d","c":null}} | {"a":{"b":"d"}}
        {"a":[{"b":"c"}]} | {"a":[1]} | {"a":[1]}
        {"e":null} | {"a":1} | {"e":null,"a":1}
        {} | {"a":{"bb":{"ccc":null}}} | {"a":{"bb":{}}}
        {"a":1} | {"a":{"b":{"c":null,"d":[null]}}} | {"a":{"b":{"d":[null]}}}
        {"a":1,"b":2,"c":3} | {"a":null,"c":4} | {"b":2,"c":4}"#;

    #[test]
    fn patches_merge_as_the_standard_says() {
        let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text.trim()).unwrap();
        for case in CASES.lines().filter(|line| !line.trim().is_empty()) {
            let mut parts = case.split('|').map(object);
            let (mut target, patch, result) =
                (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            merge(&mut target, &patch);
            let text = |map: &Map<String, Value>| serde_json::to_string(map).unwrap();
            assert_eq!(text(&target), text(&result), "{case}");
        }
    }

    #[test]
    fn other_patches_are_none() {
        let check = |text: &'static str| {
            is_merge_patch(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]))
        };
        assert!(check("application/json"));
        assert!(check("Application/Merge-Patch+JSON; charset=utf-8"));
        for other in
            ["application/json-patch+json", "application/xml", "", "application/json; charset=latin1"]
        {
            assert!(!check(other), "{other}");
        }
    }
}
