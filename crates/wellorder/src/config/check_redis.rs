//! Settings of Redis that must fit one another.

use super::settings::Settings;

const BUILD: &str = "build it with `cargo build --release -p wellorder --features redis`, or remove this";

/// Adds what does not fit. The setting to mend comes first in the list given to `add`.
pub(super) fn redis(settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let redis = &settings.redis;
    let Some(url) = redis.url.text() else {
        if redis.ca_file.is_some() {
            let fix = "set redis.url, or remove this";
            add(&["redis.ca_file", "redis.url"], "is set, and redis.url is not", fix);
        }
        return;
    };
    if !cfg!(feature = "redis") {
        add(&["redis.url"], "is set, and this program was built without Redis", BUILD);
        return;
    }
    let tls = url.starts_with("rediss://");
    let Some(host) = crate::redis::host(url) else {
        let fix =
            "write redis://HOST:PORT or rediss://HOST:PORT, with USER:PASSWORD@ before the host if it asks";
        add(&["redis.url"], "is no URL of a Redis", fix);
        return;
    };
    if redis.ca_file.is_some() && !tls {
        let what = "is set, and redis.url is not rediss://";
        add(&["redis.ca_file", "redis.url"], what, "write rediss:// for TLS, or remove this");
    }
    if !tls && !redis.insecure && !super::check::is_loopback(&host) {
        let what = "leads over a network, where everybody on the way could read its password and change what lies there";
        let fix = "write rediss:// for TLS, or say redis.insecure = true";
        add(&["redis.url", "redis.insecure"], what, fix);
    }
}
