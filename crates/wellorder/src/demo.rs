//! `dev --demo`: orders of every kind, a trickle of new ones, some failing, and a repair now and then; shown as they
//! happen.

use crate::invocation::Invocation;
use crate::output::escape;
use axum::Router;
use axum::body::Body;
use http::{Method, Request, header};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::follow;
use order_core::journal::{Cursor, Event};
use order_core::order::event::EventType;
use order_core::query::OrderQuery;
use order_core::redrive::RedriveFilter;
use order_core::state::Processing;
use order_core::{App, OrderId, TenantId};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt;

/// Between two orders of the trickle.
const TRICKLE: Duration = Duration::from_millis(1_500);
/// Orders of the trickle between two repairs.
const REPAIR_EVERY: u64 = 8;
/// Orders whose events are told apart by their reference; older ones go by their id.
const NAMES_MAX: usize = 2_000;

/// The demonstration: goes through the same doors as everybody else.
pub(crate) struct Demo {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
}

impl Demo {
    /// Seeds, then trickles until `stop`.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let run = self.app.ids.uuid_v4().simple().to_string();
        let run = &run[..6];
        let mut sent = 0;
        for body in seeds() {
            sent += 1;
            self.send(run, sent, body).await;
        }
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(TRICKLE) => {}
            }
            sent += 1;
            self.send(run, sent, self.chance_order(sent)).await;
            if sent % REPAIR_EVERY == 0 {
                self.repair().await;
                self.ship().await;
            }
        }
    }

    /// An order of the trickle: about one in five fails once or more, a few park.
    fn chance_order(&self, sent: u64) -> (&'static str, Value) {
        let chance = self.app.ids.unit();
        let cents = 500 + (chance * 20_000.0) as u64;
        let total = format!("{}.{:02}", cents / 100, cents % 100);
        match sent % 6 {
            0 => {
                ("/oscarps/orders", json!({ "customer": format!("customer-{}", sent % 40), "total": total }))
            }
            1 => (
                "/parspec/orders",
                json!({ "userId": format!("user-{}", sent % 40), "itemIds": ["tea", "cup"], "totalAmount": total }),
            ),
            _ => {
                let simulate = match chance {
                    chance if chance < 0.10 => json!({ "fail": 1 }),
                    chance if chance < 0.20 => json!({ "fail": 3 }),
                    chance if chance < 0.21 => json!("park"),
                    _ => json!({ "delay_ms": 400 }),
                };
                (
                    "/v1/orders",
                    json!({ "customer": format!("c-{}", sent % 40), "currency": "EUR", "total": total, "attributes": { "simulate": simulate } }),
                )
            }
        }
    }

    async fn send(&self, run: &str, number: u64, (path, mut body): (&'static str, Value)) {
        let reference = format!("demo-{run}-{number}");
        match path {
            "/oscarps/orders" => body["orderId"] = json!(reference),
            "/v1/orders" => body["reference"] = json!(reference),
            _ => {}
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        let Ok(request) = request else { return };
        match self.router.clone().oneshot(request).await {
            Ok(reply) if reply.status().is_success() => {}
            Ok(reply) => {
                tracing::warn!(status = reply.status().as_u16(), path, "the demo's order was refused")
            }
            Err(never) => match never {},
        }
    }

    /// Redrives about half of what is parked and can succeed, so that there is something to see and something left to
    /// repair. What is hopeless is left alone: its history would grow for nothing.
    async fn repair(&self) {
        let parked = self.some_orders(Processing::Parked, Some("simulated failure")).await;
        let half = parked.len().div_ceil(2);
        let order_ids: Vec<_> = parked.into_iter().rev().take(half).collect();
        if order_ids.is_empty() {
            return;
        }
        let filter = RedriveFilter { order_ids: Some(order_ids), ..RedriveFilter::default() };
        let started =
            self.app.start_redrive(TenantId::default_tenant(), filter, "demo repair".into(), "demo".into());
        let done = match started.await {
            Ok(redrive) => self.app.finish_redrive(redrive.redrive_id).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the demo could not redrive");
        }
    }

    /// Ships the newest processed order, and delivers the one before it.
    async fn ship(&self) {
        let done = self.some_orders(Processing::Done, None).await;
        let now = self.app.clock.now();
        let ship = ChangeKind::Ship { shipped_at: Some(now), tracking_number: Some("DEMO-1".to_owned()) };
        for (order_id, kind) in done.iter().zip([ship, ChangeKind::Deliver { delivered_at: now }]) {
            let target = Target {
                tenant: TenantId::default_tenant(),
                source: None,
                order_id: *order_id,
                expected_version: None,
            };
            if let Err(error) = self.app.change(target, kind).await {
                tracing::debug!(%error, "the demo could not ship");
            }
        }
    }

    async fn some_orders(&self, processing: Processing, error: Option<&str>) -> Vec<OrderId> {
        let query = OrderQuery {
            processing: Some(processing),
            withdrawn: Some(false),
            error_contains: error.map(str::to_owned),
            ..OrderQuery::all(TenantId::default_tenant(), 20, self.app.clock.now())
        };
        match self.app.storage.orders(&query).await {
            Ok(page) => page.orders.into_iter().map(|order| order.id).collect(),
            Err(_) => Vec::new(),
        }
    }
}

fn seeds() -> Vec<(&'static str, Value)> {
    let line = |sku: &str, quantity: u32, price: &str| json!({ "sku": sku, "quantity": quantity, "unit_price": price });
    let order = |simulate: Value| json!({ "customer": "c-42", "currency": "EUR", "lines": [line("tea", 2, "9.95"), line("cup", 1, "12.00")], "attributes": { "simulate": simulate } });
    vec![
        ("/v1/orders", order(json!({ "delay_ms": 300 }))),
        ("/oscarps/orders", json!({ "customer": "Ada", "total": 199.99 })),
        (
            "/parspec/orders",
            json!({ "userId": "user-123", "itemIds": ["item1", "item2"], "totalAmount": 59.99 }),
        ),
        ("/v1/orders", order(json!({ "fail": 1, "delay_ms": 200 }))),
        ("/v1/orders", order(json!({ "fail": 3, "delay_ms": 100 }))),
        ("/v1/orders", order(json!("park"))),
        ("/v1/orders", order(json!({ "fail": 3, "delay_ms": 300 }))),
    ]
}

/// Prints each event behind `cursor` as a line for people, until `stop`; what it says to type is typed `again`.
pub(crate) async fn show_events(
    app: Arc<App>,
    mut cursor: Cursor,
    (mut to, again): (Box<dyn Write + Send>, Invocation),
    mut stop: watch::Receiver<bool>,
) {
    let mut grew = app.wakes.journal.subscribe();
    let mut names = Names::default();
    loop {
        match follow::feed(&app, cursor.clone(), 200).await {
            Ok((events, next)) => {
                cursor = next;
                for event in &events {
                    show(event, &mut names, &again, &mut to);
                }
                if !events.is_empty() {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "cannot show events"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = grew.changed() => {}
        }
    }
}

/// What the newest orders are called.
#[derive(Default)]
struct Names(VecDeque<(OrderId, String)>);

impl Names {
    fn of(&mut self, event: &Event, data: &Value) -> String {
        if event.kind == EventType::OrderAccepted {
            let reference = data["reference"].as_str();
            let name = reference.map_or_else(|| format!("#{}", data["number"]), str::to_owned);
            self.0.push_front((event.order_id, name));
            self.0.truncate(NAMES_MAX);
        }
        let known = self.0.iter().find(|(order_id, _)| *order_id == event.order_id);
        known.map_or_else(|| event.order_id.to_string(), |(_, name)| name.clone())
    }
}

fn show(event: &Event, names: &mut Names, again: &Invocation, to: &mut impl Write) {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let name = names.of(event, &data);
    let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    let detail = match &event.kind {
        EventType::OrderAccepted => format!("{} {}  from {}", text("total"), text("currency"), event.source),
        EventType::OrderProcessed => format!("attempt {}", data["attempt"]),
        EventType::ProcessingFailed => {
            format!("attempt {}: {}; again at {}", data["attempt"], text("error"), clock(&text("retry_at")))
        }
        EventType::OrderParked => {
            let redrive = again.command(&format!("orders redrive {} --reason retry", event.order_id));
            format!("{}; waits for `{redrive}`", text("error"))
        }
        EventType::OrderRedriven | EventType::OrderWithdrawn => {
            format!("{} (by {})", text("reason"), text("by"))
        }
        EventType::OrderShipped => text("tracking_number"),
        _ => String::new(),
    };
    let line = format!(
        "{}  {:<24}  {:<22}  {detail}",
        clock(&event.occurred_at.to_string()),
        event.kind.as_str(),
        name
    );
    // Whoever read along may be gone; the demonstration goes on.
    drop(writeln!(to, "{}", escape(line.trim_end())));
}

/// The time of day of an RFC 3339 text.
fn clock(text: &str) -> String {
    text.get(11..19).unwrap_or_default().to_owned()
}
