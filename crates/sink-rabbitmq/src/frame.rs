//! How large the frame is that says what a message is. A body is split over frames; this one cannot be, and a server that gets
//! a larger one than was agreed ends the connection.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// Kind, channel and size before what a frame carries, and its end (AMQP 0-9-1 §4.2.3).
const AROUND: usize = 1 + 2 + 4 + 1;
/// Class, weight, size of the body, and which properties there are (§4.2.6.1).
const HEAD: usize = 2 + 2 + 8 + 2;

/// How many bytes the frame takes.
pub(crate) fn bytes(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let texts: usize = texts.into_iter().flatten().map(short).sum();
    let octets = [properties.delivery_mode(), properties.priority()].into_iter().flatten().count();
    let timestamp = properties.timestamp().map_or(0, |_| 8);
    AROUND + HEAD + texts + octets + timestamp + properties.headers().as_ref().map_or(0, table)
}

fn short(text: &ShortString) -> usize {
    1 + text.as_str().len()
}

fn table(table: &FieldTable) -> usize {
    4 + table.inner().iter().map(|(name, value)| short(name) + 1 + of(value)).sum::<usize>()
}

/// What a value takes behind the byte that says what it is.
fn of(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => short(text),
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(values) => {
            4 + values.as_slice().iter().map(|value| 1 + of(value)).sum::<usize>()
        }
        AMQPValue::FieldTable(inner) => table(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_takes_nothing_and_all_else_its_bytes() {
        assert_eq!(bytes(&BasicProperties::default()), 22);
        let text =
            BasicProperties::default().with_message_id("m-1".into()).with_delivery_mode(2).with_timestamp(7);
        assert_eq!(bytes(&text), 22 + 4 + 1 + 8);
        let mut inner = FieldTable::default();
        inner.insert("a".into(), AMQPValue::LongInt(7));
        let mut headers = FieldTable::default();
        headers.insert("deaths".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(inner)].into()));
        headers.insert("why".into(), AMQPValue::LongString("gone".into()));
        let with_headers = BasicProperties::default().with_headers(headers);
        let (inner, deaths, why) = (4 + 2 + 1 + 4, 7 + 1 + 4 + 1, 4 + 1 + 4 + 4);
        assert_eq!(bytes(&with_headers), 22 + 4 + inner + deaths + why);
    }
}
