//! `/metrics`: what was counted on the way, and the state of the whole at this moment. Every label is bounded.

use crate::create::SOURCE_UNLESS_SAID;
use crate::{Api, CONTRACTS};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use order_core::follow::lag;
use order_core::{Fault, SourceId, TenantId};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    operation_id = "metrics",
    responses((status = 200, description = "The text form of Prometheus", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let mut text = api.metrics.as_ref().map(|handle| handle.render()).unwrap_or_default();
    let mut page = Page(&mut text);
    process(&api, &mut page);
    // What cannot be read now is left out: the scrape itself must work when the storage does not.
    let read = storage(&api, &mut page).await;
    page.family("wellorder_storage_up", "gauge", "Whether the storage can be read (1) or not (0)");
    page.sample("wellorder_storage_up", &[], u8::from(read.is_ok()));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    edge::respond::with_type(StatusCode::OK, content_type, text)
}

fn process(api: &Api, page: &mut Page<'_>) {
    page.family("wellorder_lane_queue_depth", "gauge", "Commands that wait for a commit");
    page.sample("wellorder_lane_queue_depth", &[], api.app.lanes.queued());
    page.family(
        "wellorder_lane_queue_bytes",
        "gauge",
        "Memory that commands hold until they are committed, roughly",
    );
    page.sample("wellorder_lane_queue_bytes", &[], api.app.lanes.queued_bytes());
    page.family("wellorder_waiters", "gauge", "Requests that wait for the end of an order's processing");
    page.sample("wellorder_waiters", &[], api.app.tail.waits().count());
    let stats = &api.app.worker_stats;
    page.family("wellorder_worker_running", "gauge", "Orders in work in this process");
    page.sample("wellorder_worker_running", &[], stats.running.load(Ordering::Relaxed));
    page.family(
        "wellorder_worker_attempts_total",
        "counter",
        "Tries of the worker of this process, by how they ended",
    );
    let outcomes = [
        ("done", &stats.done),
        ("failed", &stats.failed),
        ("parked", &stats.parked),
        ("lease_lost", &stats.lease_lost),
        ("lapsed", &stats.lapsed),
    ];
    for (outcome, count) in outcomes {
        page.sample(
            "wellorder_worker_attempts_total",
            &[("outcome", outcome)],
            count.load(Ordering::Relaxed),
        );
    }
}

async fn storage(api: &Api, page: &mut Page<'_>) -> Result<(), Fault> {
    let storage = &api.app.storage;
    let followers = storage.followers().await?;
    let heads = storage.heads().await?;
    page.family("wellorder_journal_events", "gauge", "Events in the journal since the beginning");
    page.sample("wellorder_journal_events", &[], heads.iter().map(|head| head.position).sum::<u64>());
    page.family("wellorder_follower_lag_events", "gauge", "Events that a follower has yet to carry on");
    for row in &followers {
        page.sample("wellorder_follower_lag_events", &[("follower", &row.name)], lag(&row.cursor, &heads));
    }
    page.family("wellorder_follower_failing", "gauge", "Whether a follower's sink takes nothing (1)");
    for row in &followers {
        let failing = api.app.follower_faults.of(&row.name).is_some();
        page.sample("wellorder_follower_failing", &[("follower", &row.name)], u8::from(failing));
    }
    page.family("wellorder_follower_paused", "gauge", "Whether a follower is paused (1)");
    for row in &followers {
        page.sample("wellorder_follower_paused", &[("follower", &row.name)], u8::from(row.paused));
    }
    orders(api, page).await?;
    if let Some(bytes) = storage.free_bytes().await {
        page.family("wellorder_storage_free_bytes", "gauge", "Free bytes where the data lies");
        page.sample("wellorder_storage_free_bytes", &[], bytes);
    }
    Ok(())
}

/// Orders of the sources that are known by name; clients name others as they like, and labels must stay few.
async fn orders(api: &Api, page: &mut Page<'_>) -> Result<(), Fault> {
    let now = api.app.clock.now();
    page.family("wellorder_orders", "gauge", "Orders by source and processing state");
    for name in std::iter::once(SOURCE_UNLESS_SAID).chain(CONTRACTS) {
        let source = SourceId::new(name).map_err(Fault::internal)?;
        let tally = api.app.storage.tally(&TenantId::default_tenant(), &source, now).await?;
        if tally.orders == 0 {
            continue;
        }
        let states = [
            ("queued", tally.queued.saturating_sub(tally.running)),
            ("running", tally.running),
            ("done", tally.processed),
            ("parked", tally.parked),
        ];
        for (state, count) in states {
            page.sample("wellorder_orders", &[("source", name), ("state", state)], count);
        }
    }
    Ok(())
}

/// Text in the form of Prometheus. Labels here need no escaping: names of followers, sources and states are plain.
struct Page<'t>(&'t mut String);

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.line(format_args!("{open}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{close} {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let written = self.0.write_fmt(text);
        debug_assert!(written.is_ok());
    }
}
