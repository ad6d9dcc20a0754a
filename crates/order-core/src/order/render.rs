//! The one JSON form of an order that the journal and `/v1` share.

use super::{Content, Line, Order};
use crate::clock::Timestamp;
use crate::ids::{OrderId, Reference, SourceId};
use crate::order::state::Processing;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Appends `text` as a JSON string.
pub fn push_text(json: &mut String, text: &str) {
    // Most texts need no escaping: one scan, one copy.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&Value::from(text).to_string());
    }
}

/// Appends a text, or `null`.
pub fn push_optional(json: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_text(json, text),
        None => json.push_str("null"),
    }
}

/// Appends a moment in RFC 3339, or `null`.
pub fn push_time(json: &mut String, time: Option<Timestamp>) {
    match time {
        Some(time) => push(json, format_args!("\"{time}\"")),
        None => json.push_str("null"),
    }
}

/// Appends formatted text; writing to a `String` cannot fail.
pub fn push(json: &mut String, text: std::fmt::Arguments<'_>) {
    let written = json.write_fmt(text);
    debug_assert!(written.is_ok());
}

/// The lines as a JSON array.
pub fn lines(lines: &[Line]) -> String {
    let mut json = String::with_capacity(2 + lines.len() * 96);
    json.push('[');
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str("{\"sku\":");
        push_text(&mut json, &line.sku);
        json.push_str(",\"name\":");
        push_optional(&mut json, line.name.as_deref());
        push(
            &mut json,
            format_args!(",\"quantity\":{},\"unit_price\":\"{}\"", line.quantity, line.unit_price),
        );
        if let Some(amount) = line.amount() {
            push(&mut json, format_args!(",\"amount\":\"{amount}\""));
        }
        json.push('}');
    }
    json.push(']');
    json
}

/// The attributes as a JSON object.
pub fn attributes(attributes: &Map<String, Value>) -> String {
    if attributes.is_empty() {
        "{}".to_owned()
    } else {
        serde_json::to_string(attributes).unwrap_or_default()
    }
}

/// What names an order.
pub struct Named<'a> {
    /// Its id.
    pub order_id: OrderId,
    /// Its number.
    pub number: i64,
    /// Where it came from.
    pub source: &'a SourceId,
    /// The client's own id.
    pub reference: Option<&'a Reference>,
}

/// The members of an order that never depend on its state, without the braces: what `order.accepted` carries.
pub fn facts(named: &Named<'_>, content: &Content) -> String {
    let mut json = String::with_capacity(320);
    push(
        &mut json,
        format_args!("\"order_id\":\"{}\",\"number\":{},\"source\":", named.order_id, named.number),
    );
    push_text(&mut json, named.source.as_str());
    json.push_str(",\"reference\":");
    push_optional(&mut json, named.reference.map(Reference::as_str));
    json.push_str(",\"customer\":");
    push_optional(&mut json, content.customer.as_deref());
    json.push_str(",\"currency\":");
    push_optional(&mut json, content.currency.as_deref());
    json.push_str(",\"lines\":");
    json.push_str(&lines(&content.lines));
    push(&mut json, format_args!(",\"total\":\"{}\",\"attributes\":", content.total));
    json.push_str(&attributes(&content.attributes));
    json
}

impl Order {
    /// The order as `/v1` shows it at `now`, but for its `actions`, which depend on who asks: one JSON object.
    pub fn to_json(&self, now: Timestamp) -> String {
        let named = Named {
            order_id: self.id,
            number: self.number,
            source: &self.source,
            reference: self.reference.as_ref(),
        };
        let mut json = String::with_capacity(768);
        json.push('{');
        json.push_str(&facts(&named, &self.content));
        let processing = self.processing_at(now);
        let attempt = match (processing, self.lease) {
            (Processing::Running, Some(lease)) => lease.attempt,
            _ => self.attempt,
        };
        push(&mut json, format_args!(",\"version\":{},\"processing\":\"{processing}\"", self.version));
        push(
            &mut json,
            format_args!(",\"fulfilment\":\"{}\",\"withdrawn\":{}", self.fulfilment, self.withdrawn),
        );
        push(&mut json, format_args!(",\"attempt\":{attempt},\"last_error\":"));
        push_optional(&mut json, self.last_error.as_deref());
        push(
            &mut json,
            format_args!(",\"accepted_at\":\"{}\",\"updated_at\":\"{}\"", self.accepted_at, self.updated_at),
        );
        json.push_str(",\"processed_at\":");
        push_time(&mut json, self.processed_at);
        json.push_str(",\"shipped_at\":");
        push_time(&mut json, self.shipped_at);
        json.push_str(",\"tracking_number\":");
        push_optional(&mut json, self.tracking_number.as_deref());
        json.push_str(",\"delivered_at\":");
        push_time(&mut json, self.delivered_at);
        json.push('}');
        json
    }
}
