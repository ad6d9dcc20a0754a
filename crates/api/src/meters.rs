//! `/metrics`: what was counted on the way, and the state of the whole at this moment. Every label is bounded.

use crate::create::SOURCE_UNLESS_SAID;
use crate::exposition::Page;
use crate::{Api, process_stats};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use order_core::desk::Desk;
use order_core::follow::lag;
use order_core::marketplace::{ImportState, SyncEnd};
use order_core::query::{Backlog, FollowerRow};
use order_core::shed::Shed;
use order_core::webhook::endpoint::EndpointState;
use order_core::{App, Fault, SourceId, Timestamp};
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
    let text = page(&api.app, api.metrics.as_ref()).await;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    edge::respond::with_type(StatusCode::OK, content_type, text)
}

/// All of it, in the text form of Prometheus; `counted` is what was counted on the way.
pub async fn page(app: &App, counted: Option<&PrometheusHandle>) -> String {
    let mut text = counted.map(PrometheusHandle::render).unwrap_or_default();
    let mut page = Page(&mut text);
    process(app, &mut page);
    consumers(app, &mut page);
    // What cannot be read now is left out: the scrape itself must work when the storage does not.
    let read = storage(app, &mut page).await;
    let help = "Whether the storage can be read (1) or not (0)";
    page.one("wellorder_storage_up", "gauge", help, u8::from(read.is_ok()));
    process_stats::show(&mut page);
    text
}

fn process(app: &App, page: &mut Page<'_>) {
    page.family("wellorder_build_info", "gauge", "Always 1; the version is in its label");
    page.sample("wellorder_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let lanes = &app.lanes;
    page.one("wellorder_lane_queue_depth", "gauge", "Commands that wait for a commit", lanes.queued());
    let help = "How long the oldest command has waited that is not answered yet";
    page.one("wellorder_lane_oldest_seconds", "gauge", help, lanes.oldest().as_secs_f64());
    let help = "Memory that commands hold until they are committed, roughly";
    page.one("wellorder_lane_queue_bytes", "gauge", help, lanes.queued_bytes());
    let help = "Writes that were refused because there was too much to do, by why";
    page.family("wellorder_lane_refused_total", "counter", help);
    for why in Shed::ALL {
        page.sample("wellorder_lane_refused_total", &[("reason", why.word())], lanes.sheds().of(why));
    }
    let help = "How long the command of a commit that waited longest waited for it to begin";
    page.histogram("wellorder_lane_wait_seconds", help, &lanes.waits().read());
    let help = "Requests that wait for the end of an order's processing";
    page.one("wellorder_waiters", "gauge", help, app.tail.waits().count());
    let stats = &app.worker_stats;
    let running = stats.running.load(Ordering::Relaxed);
    page.one("wellorder_worker_running", "gauge", "Orders in work in this process", running);
    let help = "Tries of the worker of this process, by how they ended";
    page.family("wellorder_worker_attempts_total", "counter", help);
    let outcomes = [
        ("done", &stats.done),
        ("failed", &stats.failed),
        ("parked", &stats.parked),
        ("lease_lost", &stats.lease_lost),
        ("lapsed", &stats.lapsed),
    ];
    for (outcome, count) in outcomes {
        let count = count.load(Ordering::Relaxed);
        page.sample("wellorder_worker_attempts_total", &[("outcome", outcome)], count);
    }
    market(app, page);
    courier(app, page);
    let help = "Spans that wait for the collector";
    page.one("wellorder_spans_waiting", "gauge", help, app.tracer.waiting());
    let help = "Spans that were dropped because too many waited for the collector";
    page.one("wellorder_spans_dropped_total", "counter", help, app.tracer.dropped());
}

/// What this process did with marketplaces.
fn market(app: &App, page: &mut Page<'_>) {
    let stats = &app.market_stats;
    let calls = stats.calls.load(Ordering::Relaxed);
    page.one("wellorder_market_calls_total", "counter", "Calls to marketplaces", calls);
    let help = "Times that a call to a marketplace had to wait for what its budget allows";
    page.one(
        "wellorder_market_budget_waits_total",
        "counter",
        help,
        stats.budget_waits.load(Ordering::Relaxed),
    );
    let help = "Leases of syncs or imports that were lost while the work ran";
    page.one(
        "wellorder_market_leases_lost_total",
        "counter",
        help,
        stats.leases_lost.load(Ordering::Relaxed),
    );
    page.family(
        "wellorder_market_imports_total",
        "counter",
        "Tries of imports that ended, by what became of them",
    );
    for (state, count) in ImportState::ALL.iter().zip(&stats.imports) {
        // A try that ended leaves nothing pending.
        if *state != ImportState::Pending {
            let count = count.load(Ordering::Relaxed);
            page.sample("wellorder_market_imports_total", &[("state", state.word())], count);
        }
    }
    page.family("wellorder_market_syncs_total", "counter", "Syncs of stores that ended, by why");
    for (end, count) in SyncEnd::ALL.iter().zip(&stats.syncs) {
        page.sample("wellorder_market_syncs_total", &[("end", end.word())], count.load(Ordering::Relaxed));
    }
}

/// What the courier of this process did.
fn courier(app: &App, page: &mut Page<'_>) {
    let stats = &app.courier_stats;
    let help = "Tries to deliver webhooks that ended, by what became of them";
    page.family("wellorder_webhook_attempts_total", "counter", help);
    for (outcome, count) in
        [("delivered", &stats.delivered), ("retry", &stats.retried), ("failed", &stats.failed)]
    {
        let count = count.load(Ordering::Relaxed);
        page.sample("wellorder_webhook_attempts_total", &[("outcome", outcome)], count);
    }
    let help = "How long a try to deliver a webhook took";
    page.histogram("wellorder_webhook_attempt_seconds", help, &stats.took.read());
    let in_flight = stats.in_flight.load(Ordering::Relaxed);
    page.one("wellorder_webhook_in_flight", "gauge", "Webhooks on their way from this process", in_flight);
    let help = "Leases of deliveries that were lost while the try ran";
    let lost = stats.lease_lost.load(Ordering::Relaxed);
    page.one("wellorder_webhook_leases_lost_total", "counter", help, lost);
    let help =
        "Endpoints of webhooks that were disabled because they took nothing for too long, or were gone";
    let disabled = stats.disabled.load(Ordering::Relaxed);
    page.one("wellorder_webhook_endpoints_disabled_total", "counter", help, disabled);
}

/// What waits for receivers of webhooks.
async fn webhooks(app: &App, now: Timestamp, page: &mut Page<'_>) -> Result<(), Fault> {
    let backlog = app.storage.webhook_backlog(now).await?;
    let help = "Orders and stores with a delivery that is due to an active endpoint, counted up to 10000";
    page.one("wellorder_webhook_due", "gauge", help, backlog.due);
    let age = backlog.due_since.map_or(0.0, |since| now.since(since).as_secs_f64());
    let help = "How long the oldest due delivery of a webhook has been due";
    page.one("wellorder_webhook_due_age_seconds", "gauge", help, age);
    page.one("wellorder_webhook_leased", "gauge", "Deliveries under a live lease", backlog.leased);
    page.family("wellorder_webhook_endpoints", "gauge", "Endpoints of webhooks by state");
    for (state, count) in EndpointState::ALL.iter().zip(backlog.endpoints) {
        page.sample("wellorder_webhook_endpoints", &[("state", state.word())], count);
    }
    let help = "Active endpoints of webhooks that have failed since their last success";
    page.one("wellorder_webhook_endpoints_failing", "gauge", help, backlog.failing);
    Ok(())
}

/// What takes messages from queues for this process.
fn consumers(app: &App, page: &mut Page<'_>) {
    let all = app.consumers.figures();
    if all.is_empty() {
        return;
    }
    page.family("wellorder_consumer_messages_total", "counter", "Messages by what became of them");
    for (queue, is) in &all {
        let by = [("done", is.done), ("retried", is.retried), ("dead", is.dead), ("held", is.held)];
        for (outcome, count) in by {
            page.sample(
                "wellorder_consumer_messages_total",
                &[("queue", queue), ("outcome", outcome)],
                count,
            );
        }
    }
    page.family("wellorder_consumer_lag_messages", "gauge", "Messages in a queue, and those in hand");
    for (queue, is) in &all {
        page.sample("wellorder_consumer_lag_messages", &[("queue", queue)], is.lag);
    }
    let help = "Messages that were set aside: put off (retry), or parked at the broker for good (parked)";
    page.family("wellorder_consumer_set_aside_messages", "gauge", help);
    for (queue, is) in &all {
        for (state, count) in [("retry", is.put_off), ("parked", is.parked)] {
            page.sample(
                "wellorder_consumer_set_aside_messages",
                &[("queue", queue), ("state", state)],
                count,
            );
        }
    }
    let help = "For how long the oldest message that is in hand has been there";
    page.family("wellorder_consumer_age_seconds", "gauge", help);
    for (queue, is) in &all {
        page.sample("wellorder_consumer_age_seconds", &[("queue", queue)], is.age_seconds);
    }
    page.family("wellorder_consumer_connected", "gauge", "Whether a consumer is connected (1)");
    for (queue, is) in &all {
        page.sample("wellorder_consumer_connected", &[("queue", queue)], u8::from(is.connected));
    }
    page.family(
        "wellorder_consumer_reconnects_total",
        "counter",
        "Times that a consumer lost its connection",
    );
    for (queue, is) in &all {
        page.sample("wellorder_consumer_reconnects_total", &[("queue", queue)], is.reconnects);
    }
}

async fn storage(app: &App, page: &mut Page<'_>) -> Result<(), Fault> {
    let storage = &app.storage;
    let followers = storage.followers().await?;
    let heads = storage.heads().await?;
    let now = app.clock.now();
    let backlog = storage.backlog(now).await?;
    let events = heads.iter().map(|head| head.position).sum::<u64>();
    page.one("wellorder_journal_events", "gauge", "Events in the journal since the beginning", events);
    let parts = storage.parts().await?.unwrap_or_default();
    let help = "Parts that the journal is kept in, over all shards, on PostgreSQL";
    page.one("wellorder_journal_parts", "gauge", help, parts.count);
    let help = "Shards of the journal whose next part is missing";
    page.one("wellorder_journal_parts_missing", "gauge", help, parts.missing.len());
    page.family("wellorder_follower_lag_events", "gauge", "Events that a follower has yet to carry on");
    for row in &followers {
        page.sample("wellorder_follower_lag_events", &[("follower", &row.name)], lag(&row.cursor, &heads));
    }
    let help = "How long ago the oldest event happened that a follower has yet to carry on";
    page.family("wellorder_follower_lag_seconds", "gauge", help);
    for (name, since) in &backlog.followers {
        let age = since.map_or(0.0, |since| now.since(since).as_secs_f64());
        page.sample("wellorder_follower_lag_seconds", &[("follower", name)], age);
    }
    page.family("wellorder_follower_failing", "gauge", "Whether a follower's sink takes nothing (1)");
    for row in &followers {
        let failing = app.follower_fault(row).is_some();
        page.sample("wellorder_follower_failing", &[("follower", &row.name)], u8::from(failing));
    }
    page.family("wellorder_follower_paused", "gauge", "Whether a follower is paused (1)");
    for row in &followers {
        page.sample("wellorder_follower_paused", &[("follower", &row.name)], u8::from(row.paused));
    }
    relays(app, &followers, now, page);
    work(&backlog, now, page);
    webhooks(app, now, page).await?;
    orders(app, page).await?;
    if let Some(space) = storage.space().await {
        page.one("wellorder_storage_free_bytes", "gauge", "Free bytes where the data lies", space.free);
    }
    if let Some(pages) = backlog.log_pages {
        page.one("wellorder_storage_log_pages", "gauge", "Pages in the log of the database", pages);
    }
    Ok(())
}

fn relays(app: &App, followers: &[FollowerRow], now: Timestamp, page: &mut Page<'_>) {
    let help = "Orders that are parked for a follower: its sink refused an event of theirs for good";
    page.family("wellorder_follower_parked", "gauge", help);
    for row in followers {
        page.sample("wellorder_follower_parked", &[("follower", &row.name)], row.parked);
    }
    page.family("wellorder_follower_relays", "gauge", "Nodes that carry a follower");
    for row in followers {
        let live = row.relays.iter().filter(|relay| relay.until > now).count();
        page.sample("wellorder_follower_relays", &[("follower", &row.name)], live);
    }
    let help = "Times this process had to stop because a follower's shards were another node's by then";
    page.family("wellorder_follower_leases_lost_total", "counter", help);
    for row in followers {
        let lost = app.follower_faults.leases_lost(&row.name);
        page.sample("wellorder_follower_leases_lost_total", &[("follower", &row.name)], lost);
    }
}

fn work(backlog: &Backlog, now: Timestamp, page: &mut Page<'_>) {
    let age = |since: Option<Timestamp>| since.map_or(0.0, |since| now.since(since).as_secs_f64());
    let help = "Work that is not finished: due, due later, or leased";
    page.one("wellorder_work_open", "gauge", help, backlog.open);
    let help = "Work that is due, whoever is to do it, counted up to 10000";
    page.one("wellorder_work_due", "gauge", help, backlog.due);
    let help = "How long the oldest due work has been due";
    page.one("wellorder_work_due_age_seconds", "gauge", help, age(backlog.due_since));
    page.one("wellorder_work_leased", "gauge", "Work under a live lease", backlog.leased);
    page.one("wellorder_work_parked", "gauge", "Orders that wait for an operator", backlog.parked);
    let help = "How long nothing has happened to the parked order that waits longest";
    page.one("wellorder_work_parked_age_seconds", "gauge", help, age(backlog.parked_since));
    page.one("wellorder_redrives_open", "gauge", "Redrive jobs that are not finished", backlog.redrives);
    let help = "How long ago the oldest redrive job was asked for that is not finished";
    page.one("wellorder_redrives_open_age_seconds", "gauge", help, age(backlog.redrives_since));
}

/// Orders of all tenants by source, of the sources that are known by name; clients name others as they like, and labels
/// must stay few.
async fn orders(app: &App, page: &mut Page<'_>) -> Result<(), Fault> {
    let now = app.clock.now();
    page.family("wellorder_orders", "gauge", "Orders by source and processing state");
    let names = || std::iter::once(SOURCE_UNLESS_SAID).chain(Desk::reserved_sources());
    let sources = names().map(SourceId::new).collect::<Result<Vec<_>, _>>().map_err(Fault::internal)?;
    let tallies = app.storage.tallies(&sources, now).await?;
    for (name, tally) in names().zip(tallies) {
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
