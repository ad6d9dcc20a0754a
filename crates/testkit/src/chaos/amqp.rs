//! AMQP 0-9-1.

use super::session::{Session, Side, number};

/// What a client begins with, and what a server answers that speaks another version.
const BEGINNING: &[u8] = b"AMQP";

pub(super) struct Amqp;

impl Session for Amqp {
    fn frame(&mut self, _from: Side, bytes: &mut [u8]) -> Option<(usize, String)> {
        if bytes.starts_with(BEGINNING) {
            return (bytes.len() >= 8).then(|| (8, "beginning".to_owned()));
        }
        // Type, channel, size; then the payload, and a byte that ends it.
        let len = 7 + number(bytes.get(3..)?)? + 1;
        let payload = bytes.get(7..len)?;
        let name = match bytes[0] {
            1 => method(payload),
            2 => "header".to_owned(),
            3 => "body".to_owned(),
            8 => "heartbeat".to_owned(),
            other => other.to_string(),
        };
        Some((len, name))
    }
}

fn method(payload: &[u8]) -> String {
    let short = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    match (short(0), short(2)) {
        (20, 11) => "channel.open-ok".to_owned(),
        (60, 21) => "basic.consume-ok".to_owned(),
        (60, 40) => "basic.publish".to_owned(),
        (60, 60) => "basic.deliver".to_owned(),
        (60, 80) => "basic.ack".to_owned(),
        (class, method) => format!("{class}.{method}"),
    }
}
