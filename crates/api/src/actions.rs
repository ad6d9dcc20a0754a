//! What may be done with an order next, told in the order itself: every change that the table of the core allows now and
//! that the caller may ask for, with the door to it. The routes are declared with the same doors.

use crate::Api;
use axum::handler::Handler;
use edge::{Need, Routes, Scope, Scopes};
use http::Method;
use order_core::order::render::push;
use order_core::state::ChangeName;
use order_core::{Order, Timestamp};
use std::sync::Arc;

/// Where a change is asked for.
struct Door {
    method: Method,
    /// Below `/v1`.
    path: &'static str,
    scope: Scope,
}

fn door(change: ChangeName) -> Door {
    let (method, path, scope) = match change {
        ChangeName::Revise => (Method::PATCH, "/orders/{order_id}", Scope::OrdersWrite),
        ChangeName::Withdraw => (Method::POST, "/orders/{order_id}/withdrawals", Scope::OrdersCancel),
        ChangeName::Ship => (Method::POST, "/orders/{order_id}/shipments", Scope::OrdersWrite),
        ChangeName::Deliver => (Method::POST, "/orders/{order_id}/deliveries", Scope::OrdersWrite),
        ChangeName::Redrive => (Method::POST, "/redrives", Scope::WorkRedrive),
        ChangeName::Erase => (Method::POST, "/orders/{order_id}/erasures", Scope::OrdersCancel),
    };
    Door { method, path, scope }
}

/// Declares the route of a change.
pub(crate) fn route<H, T>(routes: Routes<Arc<Api>>, change: ChangeName, handler: H) -> Routes<Arc<Api>>
where
    H: Handler<T, Arc<Api>>,
    T: 'static,
{
    let Door { method, path, scope } = door(change);
    routes.route(method, path, Need::Scope(scope), handler)
}

/// An order as a caller with these scopes sees it at `now`: as the core shows it, and what may be done with it.
pub(crate) fn order_json(order: &Order, now: Timestamp, scopes: Scopes) -> String {
    let mut json = order.to_json(now);
    // The brace that closes the order.
    json.pop();
    json.push_str(",\"actions\":[");
    let doors = order.legal_changes().map(|change| (change, door(change)));
    for (index, (change, door)) in doors.filter(|(_, door)| scopes.has(door.scope)).enumerate() {
        if index > 0 {
            json.push(',');
        }
        push(
            &mut json,
            format_args!("{{\"name\":\"{change}\",\"method\":\"{}\",\"href\":\"/v1", door.method),
        );
        match door.path.split_once("{order_id}") {
            Some((before, behind)) => push(&mut json, format_args!("{before}{}{behind}", order.id)),
            None => json.push_str(door.path),
        }
        json.push_str("\"}");
    }
    json.push_str("]}");
    json
}
