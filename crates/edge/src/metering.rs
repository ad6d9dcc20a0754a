//! Counts and times requests, with bounded labels: the pattern of the route, never the path.

use axum::extract::MatchedPath;
use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// The label of a request that matches no route.
const UNMATCHED: &str = "unmatched";

/// The meters of one mount.
pub(crate) struct Metering {
    mount: &'static str,
    /// Looking a meter up by its labels costs more than the request may: they are kept, by route.
    routes: RwLock<HashMap<Box<str>, Vec<Meter>>>,
    in_flight: Gauge,
}

/// Something that is there until it is dropped, counted by a gauge.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn by(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

struct Meter {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    duration: Histogram,
}

impl Metering {
    pub(crate) fn new(mount: &'static str) -> Self {
        metrics::describe_counter!(
            "wellorder_http_requests_total",
            "HTTP requests by mount, method, route and status"
        );
        metrics::describe_histogram!(
            "wellorder_http_request_duration_seconds",
            metrics::Unit::Seconds,
            "Time from a request's head to its reply's head, by mount and route"
        );
        metrics::describe_counter!(
            "wellorder_http_stalled_total",
            "Connections that were closed because the client took nothing of a reply for too long"
        );
        // There from the start: a rate needs a zero to rise from.
        metrics::counter!("wellorder_http_stalled_total").increment(0);
        metrics::describe_gauge!(
            "wellorder_http_requests_in_flight",
            "HTTP requests that have no reply yet, by mount"
        );
        let in_flight = metrics::gauge!("wellorder_http_requests_in_flight", "mount" => mount);
        in_flight.set(0.0);
        Self { mount, routes: RwLock::default(), in_flight }
    }

    pub(crate) fn mount(&self) -> &'static str {
        self.mount
    }

    /// A request is there until the result is dropped.
    pub(crate) fn begin(&self) -> Counted {
        Counted::by(self.in_flight.clone())
    }

    /// Counts one request.
    pub(crate) fn record(&self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        let count = |meter: &Meter| {
            meter.requests.increment(1);
            meter.duration.record(took.as_secs_f64());
        };
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = routes.get(route).and_then(|meters| find(meters, method, status)) {
            return count(meter);
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let meters = routes.entry(route.into()).or_default();
        match find(meters, method, status) {
            Some(meter) => count(meter),
            None => {
                let meter = self.meter(route, method, status);
                count(&meter);
                meters.push(meter);
            }
        }
    }

    fn meter(&self, route: &str, method: &'static str, status: StatusCode) -> Meter {
        let (mount, route) = (self.mount, route.to_owned());
        let code = status.as_str().to_owned();
        let requests = metrics::counter!(
            "wellorder_http_requests_total", "mount" => mount, "method" => method, "route" => route.clone(), "status" => code
        );
        let duration = metrics::histogram!("wellorder_http_request_duration_seconds", "mount" => mount, "route" => route);
        Meter { method, status, requests, duration }
    }
}

fn find<'m>(meters: &'m [Meter], method: &str, status: StatusCode) -> Option<&'m Meter> {
    meters.iter().find(|meter| meter.method == method && meter.status == status)
}

/// The label for a route.
pub(crate) fn route_label(matched: Option<&MatchedPath>) -> &str {
    matched.map_or(UNMATCHED, MatchedPath::as_str)
}

/// The label for a method.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
