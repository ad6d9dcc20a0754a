//! Settings of Redis.

use super::{
    settings::Hidden,
    shape::Shape::{MaybePath, Millis, Secret, Switch},
    table::{Default::Is, Setting},
};

/// An address alone is one without TLS and password.
fn with_scheme(url: &Hidden) -> Hidden {
    match url.text() {
        Some(text) if !text.contains("://") => Hidden::new(&format!("redis://{}", text.trim())),
        Some(text) => Hidden::new(text.trim()),
        None => Hidden::default(),
    }
}

pub(super) const REDIS: &[Setting] = &[
    Setting::new(
        "redis.url",
        Is(""),
        Secret { set: |s, v| s.redis.url = with_scheme(&v) },
        "Redis in which nodes share their rates and keep results of orderstream: redis://HOST:PORT, rediss:// over TLS; empty is off",
    )
    .or(&["REDIS_URL", "REDIS_ADDR"])
    .secret(),
    Setting::new(
        "redis.ca_file",
        Is(""),
        MaybePath { set: |s, v| s.redis.ca_file = v },
        "authorities that vouch for it (PEM), else those of the system",
    ),
    Setting::new(
        "redis.insecure",
        Is("false"),
        Switch { set: |s, v| s.redis.insecure = v },
        "whether it may be reached over a network without TLS",
    ),
    Setting::new(
        "redis.timeout_ms",
        Is("500"),
        Millis { min: 10, max: 60_000, set: |s, v| s.redis.timeout = v },
        "longest wait for it: of no request, but of acknowledgements over Kafka",
    ),
];
