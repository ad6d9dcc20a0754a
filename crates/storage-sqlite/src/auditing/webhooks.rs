//! Looks at single rows of webhooks: endpoints and their streams. What became of tries is told as it was, whatever became of
//! its endpoint since.

use super::kept::Found;
use super::strays::{Look, finding};
use super::{lenient, shown};
use crate::webhooks::{endpoint_row, stream_row};
use order_core::audit::Finding;
use order_core::audit::kept;
use rusqlite::Row;

pub(super) fn endpoint(_: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = |_| ("endpoint", format!("number {}", shown(row, 0)));
    Ok(lenient(row, endpoint_row(row), name)?.err().map(Finding::from).into_iter().collect())
}

/// A stream is one of an endpoint, about an order that is there, and has something left.
pub(super) fn stream(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let subject = || format!("endpoint {} {}", shown(row, 0), shown(row, 1));
    let stream = match lenient(row, stream_row(row), |_| ("webhook_stream", subject()))? {
        Ok(stream) => stream,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let mut wrong = match stream.subject.order_id() {
        None => Vec::new(),
        Some(order_id) => match look.order(order_id, stream.tenant.as_str())? {
            Found::Order(order) => kept::webhook_stream(&stream, Some(order.version)),
            Found::Missing => kept::webhook_stream(&stream, None),
            Found::Unreadable => Vec::new(),
        },
    };
    if !row.get::<_, bool>(11)? {
        wrong.push("belongs to no endpoint".to_owned());
    }
    Ok(wrong.into_iter().map(|wrong| finding("webhook_streams", subject(), wrong)).collect())
}
