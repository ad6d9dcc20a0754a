//! Reads the particulars of events back.

use super::event::{Accepted, FoldError};
use super::{Content, Line};
use crate::clock::Timestamp;
use crate::ids::{OrderId, Reference, SourceId};
use crate::order::money::Money;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Reads members of `data` with errors that name them.
pub(super) struct Data<'a>(pub(super) &'a Map<String, Value>);

impl Data<'_> {
    pub(super) fn get(&self, key: &str) -> Result<&Value, FoldError> {
        self.0.get(key).ok_or_else(|| FoldError(format!("data lacks {key}")))
    }

    pub(super) fn text(&self, key: &str) -> Result<String, FoldError> {
        self.optional(key)?.ok_or_else(|| FoldError(format!("{key} is no text")))
    }

    pub(super) fn optional(&self, key: &str) -> Result<Option<String>, FoldError> {
        match self.get(key)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(FoldError(format!("{key} is no text"))),
        }
    }

    /// A member that the type gained: earlier events lack it.
    pub(super) fn gained<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, FoldError>,
    ) -> Result<Option<T>, FoldError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => read(self, key).map(Some),
        }
    }

    pub(super) fn by(&self) -> Result<Option<Arc<str>>, FoldError> {
        self.gained("by", |data, key| data.text(key).map(Arc::from))
    }

    pub(super) fn count(&self, key: &str) -> Result<u32, FoldError> {
        let value = self.get(key)?.as_u64().and_then(|value| u32::try_from(value).ok());
        value.ok_or_else(|| FoldError(format!("{key} is no count")))
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn time(&self, key: &str) -> Result<Timestamp, FoldError> {
        Timestamp::parse(&self.text(key)?).map_err(|error| FoldError(format!("{key}: {error}")))
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, FoldError> {
        let list = self.get(key)?.as_array().ok_or_else(|| FoldError(format!("{key} is no list")))?;
        Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    pub(super) fn content(&self) -> Result<Content, FoldError> {
        let attributes = self.get("attributes")?.as_object().cloned();
        Ok(Content {
            customer: self.optional("customer")?,
            currency: self.optional("currency")?,
            lines: parse_lines(self.get("lines")?)?,
            total: parse_money(&self.text("total")?)?,
            attributes: attributes.ok_or_else(|| FoldError("attributes is no object".to_owned()))?,
        })
    }

    pub(super) fn accepted(&self, order_id: OrderId) -> Result<Accepted, FoldError> {
        if self.text("order_id")? != order_id.to_string() {
            return Err(FoldError("data names another order".to_owned()));
        }
        let text_error = |error| FoldError(format!("{error}"));
        let reference = self.optional("reference")?;
        Ok(Accepted {
            order_id,
            number: self
                .get("number")?
                .as_i64()
                .ok_or_else(|| FoldError("number is no integer".to_owned()))?,
            source: SourceId::new(&self.text("source")?).map_err(text_error)?,
            reference: reference.map(|text| Reference::new(&text)).transpose().map_err(text_error)?,
            content: self.content()?,
            by: self.by()?,
        })
    }
}

fn parse_money(text: &str) -> Result<Money, FoldError> {
    Money::parse(text).map_err(|error| FoldError(error.to_string()))
}

/// Reads the lines of an order from their JSON.
///
/// # Errors
/// When it is not an array of lines.
pub fn parse_lines(json: &Value) -> Result<Vec<Line>, FoldError> {
    let list = json.as_array().ok_or_else(|| FoldError("lines is no array".to_owned()))?;
    list.iter()
        .map(|line| {
            let line = Data(line.as_object().ok_or_else(|| FoldError("a line is no object".to_owned()))?);
            Ok(Line {
                sku: line.text("sku")?,
                name: line.optional("name")?,
                quantity: line.count("quantity")?,
                unit_price: parse_money(&line.text("unit_price")?)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::ids::{EventId, OrderId, Shard, SourceId, TenantId};
    use crate::journal::Event;
    use crate::order::event::{EventBody, EventType};
    use uuid::Uuid;

    const CONTENT: &str = r#""order_id":"00000000-0000-0000-0000-000000000001","number":1,"source":"api","reference":null,
        "customer":null,"currency":null,"lines":[],"total":"1","attributes":{}"#;

    fn event(kind: EventType, data: String) -> Event {
        Event {
            event_id: EventId(Uuid::from_u128(2)),
            order_id: OrderId(Uuid::from_u128(1)),
            tenant: TenantId::default_tenant(),
            source: SourceId::new("api").unwrap(),
            version: 1,
            shard: Shard(0),
            position: 1,
            prev_position: 0,
            kind,
            occurred_at: crate::Timestamp::from_micros(0),
            epoch: 1,
            data_version: 1,
            data,
            trace: None,
        }
    }

    /// Who did it, in a body that may say so.
    fn by(body: &EventBody) -> Option<&str> {
        match body {
            EventBody::Accepted(accepted) => accepted.by.as_deref(),
            EventBody::Revised { by, .. }
            | EventBody::Shipped { by, .. }
            | EventBody::Delivered { by, .. }
            | EventBody::Erased { by, .. } => by.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn events_that_were_written_before_they_said_who_still_read() {
        let revised = format!(r#"{CONTENT},"changed":[],"requeued":false"#);
        let at = "2026-11-20T10:00:00.000000Z";
        for (kind, data) in [
            (EventType::OrderAccepted, CONTENT.to_owned()),
            (EventType::OrderRevised, revised),
            (EventType::OrderShipped, format!(r#""shipped_at":"{at}","tracking_number":null"#)),
            (EventType::OrderDelivered, format!(r#""delivered_at":"{at}""#)),
            (EventType::OrderErased, r#""pointers":[]"#.to_owned()),
        ] {
            for (more, expected) in [("", None), (r#","by":null"#, None), (r#","by":"key:1""#, Some("key:1"))]
            {
                let read = EventBody::parse(&event(kind.clone(), format!("{{{data}{more}}}"))).unwrap();
                assert_eq!(by(&read), expected, "{kind:?}");
            }
            assert!(EventBody::parse(&event(kind, format!(r#"{{{data},"by":1}}"#))).is_err());
        }
        let parked = r#""attempt":1,"lapses":0,"error":"no""#;
        for (more, expected) in [(String::new(), false), (format!(r#","started_at":"{at}""#), true)] {
            let read =
                EventBody::parse(&event(EventType::OrderParked, format!("{{{parked}{more}}}"))).unwrap();
            assert!(
                matches!(read, EventBody::Parked { started_at, .. } if started_at.is_some() == expected),
                "{read:?}"
            );
        }
    }
}
