//! What the fuzz targets see of this crate besides its interface.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use crate::retry_after;

/// The wait that an answer with these headers asks for.
#[must_use]
pub fn retry_after(value: HeaderValue, date: Option<HeaderValue>) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, value);
    if let Some(date) = date {
        headers.insert(DATE, date);
    }
    retry_after::from_headers(&headers)
}
