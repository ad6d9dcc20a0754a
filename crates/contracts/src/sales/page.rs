//! What this contract shows of the installation's metrics: its own requests and orders, and how much waits.

use super::NAME;

/// Families of which every sample is shown.
const SHARED: [&str; 10] = [
    "wellorder_lane_queue_depth",
    "wellorder_work_open",
    "wellorder_work_due",
    "wellorder_work_due_age_seconds",
    "wellorder_consumer_lag_messages",
    "wellorder_storage_up",
    "wellorder_catalog_lookups_total",
    "wellorder_catalog_retries_total",
    "wellorder_catalog_call_duration_seconds",
    "wellorder_catalog_breaker_open",
];

/// Families of which the samples are shown that are labelled as this contract's.
const LABELLED: [(&str, &str); 4] = [
    ("wellorder_http_requests_total", "mount"),
    ("wellorder_http_requests_in_flight", "mount"),
    ("wellorder_http_request_duration_seconds", "mount"),
    ("wellorder_orders", "source"),
];

/// The part of `page`, which is in the text form of Prometheus, that is this contract's to show.
pub(super) fn own(page: &str) -> String {
    let mut own = String::new();
    for line in page.lines().filter(|line| is_own(line)) {
        own.push_str(line);
        own.push('\n');
    }
    own
}

fn is_own(line: &str) -> bool {
    let (about, sample) = match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
        Some(about) => (true, about),
        None => (false, line),
    };
    let name = sample.split([' ', '{']).next().unwrap_or_default();
    if SHARED.iter().any(|family| is_of(name, family)) {
        return true;
    }
    let Some((_, label)) = LABELLED.iter().find(|(family, _)| is_of(name, family)) else { return false };
    about || sample.contains(&format!("{label}=\"{NAME}\""))
}

/// Whether a sample's name is of a family: a histogram has samples of three names.
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|end| ["", "_bucket", "_sum", "_count"].contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_one_that_there_is() {
        let page = include_str!("../../../../docs/metrics.md");
        for name in SHARED.iter().chain(LABELLED.iter().map(|(name, _)| name)) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn others_requests_and_orders_are_not_shown() {
        let page = "# HELP wellorder_http_requests_total HTTP requests\n\
            # TYPE wellorder_http_requests_total counter\n\
            wellorder_http_requests_total{mount=\"sales\",method=\"GET\"} 3\n\
            wellorder_http_requests_total{mount=\"v1\",method=\"GET\"} 4\n\
            wellorder_http_request_duration_seconds_bucket{mount=\"sales\",le=\"0.1\"} 3\n\
            wellorder_orders{source=\"api\",state=\"done\"} 1\n\
            wellorder_orders{source=\"sales\",state=\"done\"} 2\n\
            wellorder_lane_queue_depth 0\n\
            wellorder_logins_refused_total{why=\"expired\"} 2\n\
            process_open_fds 12\n";
        let expected = "# HELP wellorder_http_requests_total HTTP requests\n\
            # TYPE wellorder_http_requests_total counter\n\
            wellorder_http_requests_total{mount=\"sales\",method=\"GET\"} 3\n\
            wellorder_http_request_duration_seconds_bucket{mount=\"sales\",le=\"0.1\"} 3\n\
            wellorder_orders{source=\"sales\",state=\"done\"} 2\n\
            wellorder_lane_queue_depth 0\n";
        assert_eq!(own(page), expected);
    }
}
