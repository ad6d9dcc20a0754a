//! Reads bodies: within a size, within a time, as JSON.

use crate::guard::{Guard, Limits};
use crate::refusal::{Refusal, Refused};
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use order_core::json::{self, InvalidJson};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The whole body, at most as large as the limit, arrived in time.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

/// A JSON body: of a JSON content type, and within the limits of [`order_core::json`].
#[derive(Debug, Clone)]
pub struct Json(pub Value);

/// A JSON body that may be left out: then it is an empty object. A body without a byte, or of white space alone, is left out,
/// whatever is said of its type: many clients name one always.
#[derive(Debug, Clone)]
pub struct MaybeJson(pub Value);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let limits = limits(&request);
        Ok(Self(read(request.into_body(), &limits).await?))
    }
}

impl<S: Sync> FromRequest<S> for Json {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let limits = limits(&request);
        refuse_coded(request.headers())?;
        if !content_type_is_json(request.headers()) {
            return Err(Refusal::MediaTypeUnsupported.into());
        }
        let body = read(request.into_body(), &limits).await?;
        Ok(Self(json::parse(&body, limits.json)?))
    }
}

impl<S: Sync> FromRequest<S> for MaybeJson {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let limits = limits(&request);
        let nothing = || Self(Value::Object(Map::new()));
        if request.body().size_hint().exact() == Some(0) {
            return Ok(nothing());
        }
        refuse_coded(request.headers())?;
        let is_json = content_type_is_json(request.headers());
        // Whether there is anything in a body is known once it is here.
        let body = read(request.into_body(), &limits).await?;
        match json::parse(&body, limits.json) {
            Err(InvalidJson::Absent) => Ok(nothing()),
            _ if !is_json => Err(Refusal::MediaTypeUnsupported.into()),
            parsed => Ok(Self(parsed?)),
        }
    }
}

/// The limits of the mount that the request came through.
fn limits(request: &Request) -> Limits {
    request.extensions().get::<Arc<Guard>>().map(|guard| guard.limits).unwrap_or_default()
}

/// Whether the body is said to be JSON (`application/json` or `application/*+json`; `charset`, if any, is UTF-8) and
/// not compressed.
pub fn content_type_is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(is_json)
}

/// Whether the body is said to be of the type `name` (`charset`, if any, is UTF-8) and not compressed.
pub(crate) fn content_type_is(headers: &HeaderMap, name: &str) -> bool {
    essence(headers).is_some_and(|essence| essence.eq_ignore_ascii_case(name))
}

/// Refuses a body that is coded: none is decoded here.
///
/// # Errors
/// [`Refusal::ContentCoded`] for any `Content-Encoding` but `identity`.
pub fn refuse_coded(headers: &HeaderMap) -> Result<(), Refusal> {
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        true => Ok(()),
        false => Err(Refusal::ContentCoded),
    }
}

/// The type of the body without its parameters, if it is one, of UTF-8 and not compressed.
fn essence(headers: &HeaderMap) -> Option<&str> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return None };
    let mut parts = only.to_str().ok()?.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    (refuse_coded(headers).is_ok() && utf8).then_some(essence)
}

fn is_json(essence: &str) -> bool {
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let suffix = subtype.rsplit_once('+').filter(|(name, _)| !name.is_empty()).map(|(_, suffix)| suffix);
    kind.eq_ignore_ascii_case("application") && suffix.unwrap_or(subtype).eq_ignore_ascii_case("json")
}

async fn read(body: Body, limits: &Limits) -> Result<Bytes, Refusal> {
    let bytes_max = limits.body_bytes_max;
    // An announced length is refused before a byte of it is read, or asked for.
    if body.size_hint().lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(Refusal::BodyTooLarge { bytes_max });
    }
    match tokio::time::timeout(limits.body_timeout, collect(body, bytes_max)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::BodyTimeout),
    }
}

/// Counts what comes, however it is framed.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BadFraming)?;
        // Trailers are not read.
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + first.len() + data.len() > bytes_max {
            return Err(Refusal::BodyTooLarge { bytes_max });
        }
        if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which needs no copy.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
                first = Bytes::new();
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn json_is_what_says_so_in_utf_8() {
        let check = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            content_type_is_json(&headers)
        };
        let good = [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/merge-patch+json",
            "application/json; profile=x",
        ];
        for text in good {
            assert!(check(text), "{text}");
        }
        let bad = [
            "",
            "text/plain",
            "application/jsonp",
            "text/json",
            "application/json; charset=latin1",
            "json",
            "application/+json",
        ];
        for text in bad {
            assert!(!check(text), "{text}");
        }
        assert!(!content_type_is_json(&HeaderMap::new()));
    }

    #[test]
    fn two_content_types_or_a_compressed_body_are_no_json() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert!(content_type_is_json(&headers));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!content_type_is_json(&headers));
        assert!(matches!(refuse_coded(&headers), Err(Refusal::ContentCoded)));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("Identity"));
        assert!(refuse_coded(&headers).is_ok());
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert!(refuse_coded(&headers).is_err());
        headers.remove(header::CONTENT_ENCODING);
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(!content_type_is_json(&headers));
    }

    /// However a client says that it sends nothing, and whatever it says of the type of that.
    #[tokio::test]
    async fn no_byte_and_white_space_are_no_body() {
        let unsized_body =
            || Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::new())]));
        let ask = async |kind: Option<&str>, body: Body| {
            let mut request = Request::post("/");
            if let Some(kind) = kind {
                request = request.header(header::CONTENT_TYPE, kind);
            }
            let read = MaybeJson::from_request(request.body(body).unwrap(), &()).await;
            read.map(|MaybeJson(value)| value.to_string())
                .map_err(|Refused(refusal)| refusal.status().as_u16())
        };
        for kind in [None, Some("application/json"), Some("text/plain")] {
            assert_eq!(ask(kind, Body::empty()).await.unwrap(), "{}", "{kind:?}");
            assert_eq!(ask(kind, Body::from(" \r\n\t")).await.unwrap(), "{}", "{kind:?}");
            assert_eq!(ask(kind, unsized_body()).await.unwrap(), "{}", "{kind:?}");
        }
        assert_eq!(ask(Some("application/json"), Body::from(r#"{"a":1}"#)).await.unwrap(), r#"{"a":1}"#);
        assert_eq!(ask(Some("application/json"), Body::from("\u{a0}")).await, Err(400));
        assert_eq!(ask(None, Body::from("{}")).await, Err(415));
        assert_eq!(ask(Some("text/plain"), Body::from("{}")).await, Err(415));
    }

    #[tokio::test]
    async fn bytes_are_counted_over_all_frames() {
        let chunks = |sizes: &[usize]| {
            let chunks: Vec<Result<Bytes, std::io::Error>> =
                sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size]))).collect();
            Body::from_stream(futures_util::stream::iter(chunks))
        };
        assert_eq!(collect(chunks(&[4, 0, 6]), 10).await.unwrap().len(), 10);
        assert_eq!(collect(chunks(&[10]), 10).await.unwrap().len(), 10);
        assert_eq!(collect(chunks(&[]), 10).await.unwrap().len(), 0);
        assert!(matches!(
            collect(chunks(&[4, 4, 3]), 10).await,
            Err(Refusal::BodyTooLarge { bytes_max: 10 })
        ));
        assert!(matches!(collect(chunks(&[11]), 10).await, Err(Refusal::BodyTooLarge { .. })));
    }
}
