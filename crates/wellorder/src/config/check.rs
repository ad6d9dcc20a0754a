//! Settings that must fit one another.

use std::net::SocketAddr;

use super::{
    problem::Problems,
    resolve::{Origin, Resolved, origin_of},
    settings::{ProcessorKind, Settings},
};

/// Adds what does not fit together.
pub(super) fn together(settings: &Settings, resolved: &[Resolved], problems: &mut Problems) {
    let mut add = |path: &str, what: &str, fix: &str| {
        let place = match origin_of(resolved, path) {
            Origin::Variable(name) => format!("environment {name}"),
            other => other.to_string(),
        };
        problems.add(place, path, what, fix);
    };
    let not_local = |address: &SocketAddr| !address.ip().is_loopback();
    let outside = "is not a loopback address, and nobody logs in here";
    if not_local(&settings.listen) {
        add("listen", outside, "use 127.0.0.1 or [::1]");
    }
    if settings.ops.as_ref().is_some_and(not_local) {
        add("ops", outside, "use 127.0.0.1 or [::1]");
    }
    if settings.listen.port() != 0 && settings.ops == Some(settings.listen) {
        add("ops", "is the same address as listen", "use another port, or leave it out");
    }
    if settings.processor == ProcessorKind::Http && settings.http_processor.url.is_none() {
        add("http_processor.url", "is not set, and the processor is http", "set it to the URL that takes orders");
    }
    let worker = &settings.worker;
    if worker.heartbeat >= worker.lease {
        add("worker.heartbeat_ms", "is not below worker.lease_ms", "use a third of it");
    }
    if worker.backoff_base > worker.backoff_cap {
        add("worker.backoff_base_ms", "is above worker.backoff_cap_ms", "make it smaller, or the cap larger");
    }
    if settings.lane.batch_max > settings.lane.queue_max {
        add("lane.batch_max", "is above lane.queue_max", "make it smaller, or the queue larger");
    }
}
