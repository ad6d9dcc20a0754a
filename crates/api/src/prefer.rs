//! `Prefer: wait=N` (RFC 7240 §4.3): the answer may wait until the order's processing has ended.

use axum::extract::FromRequestParts;
use axum::response::Response;
use edge::{Guard, Standing};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use order_core::{App, Order};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Longest wait, in seconds.
const WAIT_MAX: u64 = 50;

/// What the client prefers. Handlers take it as an argument before the body, so that the time in which the body comes
/// counts too.
pub(crate) struct Prefer {
    /// Seconds, 1 to [`WAIT_MAX`].
    wait: Option<u64>,
    /// When the wait must be over whatever was asked for, so that the answer is in time.
    latest: Instant,
}

/// An order after the wait.
pub(crate) struct Waited {
    /// As it is now.
    pub(crate) order: Order,
    /// The wait that was granted.
    applied: Option<u64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let limits = parts.extensions.get::<Arc<Guard>>().map(|guard| guard.limits).unwrap_or_default();
        Ok(Self { wait: wait(&parts.headers), latest: Instant::now() + limits.request_timeout * 11 / 12 })
    }
}

impl Prefer {
    /// Until when the answer may wait, if it may.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wait.map(|seconds| (Instant::now() + Duration::from_secs(seconds)).min(self.latest))
    }

    /// The reply, which tells whether it would have waited.
    pub(crate) fn told(&self, response: Response) -> Response {
        told(self.wait, response)
    }

    /// The order once its processing has ended, or as it is when the wait is over. Whoever may not see it any more by then
    /// is told of it as it was.
    pub(crate) async fn settled(&self, app: &App, standing: &mut Standing, order: Order) -> Waited {
        let Some(seconds) = self.wait else { return Waited { order, applied: None } };
        let patience = Duration::from_secs(seconds).min(self.latest - Instant::now());
        match app.when_settled(order.clone(), patience).await {
            Some(_) if standing.ask_if_due().await.is_err() => Waited { order, applied: None },
            Some(order) => Waited { order, applied: Some(seconds) },
            // A preference is no demand: too many wait already.
            None => Waited { order, applied: None },
        }
    }
}

impl Waited {
    /// The reply, which tells whether it was waited for.
    pub(crate) fn told(&self, response: Response) -> Response {
        told(self.applied, response)
    }
}

fn told(applied: Option<u64>, mut response: Response) -> Response {
    if let Some(seconds) = applied
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}"))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response
}

/// The first preference `wait`, as all say; what is not understood is ignored.
pub(crate) fn wait(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
    let (_, value) = lines
        .flat_map(|line| line.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))?;
    let value = value.trim();
    let digits = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than fit are more seconds than are granted.
    let seconds = digits.parse::<u64>().unwrap_or(u64::MAX).min(WAIT_MAX);
    (seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn said(lines: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, line.parse().unwrap());
        }
        wait(&headers)
    }

    #[test]
    fn a_wait_is_read_as_the_rfc_has_it() {
        for (line, seconds) in [
            ("wait=1", 1),
            ("WAIT = \"7\"", 7),
            ("respond-async, wait=10;x=y", 10),
            ("wait=50", 50),
            ("wait=51", 50),
            ("wait=99999999999999999999999999", 50),
            ("wait=3, wait=9", 3),
        ] {
            assert_eq!(said(&[line]), Some(seconds), "{line}");
        }
        assert_eq!(said(&["handling=lenient", "wait=4", "wait=5"]), Some(4));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for line in [
            "", "wait", "wait=", "wait=0", "wait=-1", "wait=1.5", "wait=x", "await=3", "wait=\"3", "a;wait=3",
        ] {
            assert_eq!(said(&[line]), None, "{line}");
        }
        assert_eq!(said(&[]), None);
    }
}
