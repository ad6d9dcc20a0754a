//! Looks at single rows of webhooks: endpoints and their streams. What became of tries is told as it was, whatever became of
//! its endpoint since.

use super::kept::Seen;
use super::lenient;
use super::strays::{finding, shown};
use crate::error::Tried;
use crate::rows::number;
use crate::webhooks::{endpoint_row, stream_row};
use order_core::audit::Finding;
use order_core::audit::kept;
use tokio_postgres::Row;

pub(super) fn endpoint(row: &Row, _: u16) -> Tried<Seen> {
    let name = || ("endpoint", format!("number {}", shown(row, 1)));
    Ok(lenient(endpoint_row(row), name)?.err().map(Finding::from).into())
}

/// A stream is one of an endpoint, about an order that is there, and has something left.
pub(super) fn stream(row: &Row, _: u16) -> Tried<Seen> {
    let subject = || format!("endpoint {}", shown(row, 2));
    let stream = match lenient(stream_row(row), || ("webhook_stream", subject()))? {
        Ok(stream) => stream,
        Err(unreadable) => return Ok(Some(unreadable.into()).into()),
    };
    let mut wrong = match (stream.subject.order_id(), row.try_get::<_, Option<i64>>(12)?) {
        (None, _) => Vec::new(),
        (Some(_), None) => kept::webhook_stream(&stream, None),
        (Some(_), Some(_)) => kept::webhook_stream(&stream, Some(number::<_, i64>(row, 12)?)),
    };
    if !row.try_get::<_, bool>(11)? {
        wrong.push("belongs to no endpoint".to_owned());
    }
    Ok(Seen::Wrong(wrong.into_iter().map(|wrong| finding("webhook_streams", subject(), wrong)).collect()))
}
