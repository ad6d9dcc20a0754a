//! RESP, versions 2 and 3.

use super::session::{Session, Side};
use std::collections::{BTreeSet, VecDeque};

#[derive(Default)]
pub(super) struct Redis {
    /// What is yet to be answered, in order.
    asked: VecDeque<String>,
    said: BTreeSet<String>,
}

impl Session for Redis {
    fn frame(&mut self, from: Side, bytes: &mut [u8]) -> Option<(usize, String)> {
        let len = value(bytes)?;
        let name = match from {
            Side::Client => {
                let name = command(&bytes[..len]);
                self.asked.push_back(name.clone());
                self.said.insert(name.clone());
                name
            }
            // Told by itself, and no answer.
            Side::Server if bytes[0] == b'>' => "push".to_owned(),
            Side::Server => self.asked.pop_front().unwrap_or_default(),
        };
        Some((len, name))
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.iter().any(|said| said.contains(text))
    }
}

/// The word after the first `$LENGTH`.
fn command(request: &[u8]) -> String {
    let lines = request.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
    String::from_utf8_lossy(lines).trim().to_ascii_uppercase()
}

/// The length of the first value, once it is whole.
fn value(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let count = || -> usize {
        let digits = std::str::from_utf8(&bytes[1..end - 2]).ok();
        // −1 stands for nothing at all.
        digits
            .and_then(|digits| digits.parse::<i64>().ok())
            .and_then(|count| count.try_into().ok())
            .unwrap_or(0)
    };
    match bytes[0] {
        b'$' | b'=' | b'!' if bytes.get(1) == Some(&b'-') => Some(end),
        b'$' | b'=' | b'!' => Some(end + count() + 2).filter(|len| *len <= bytes.len()),
        b'*' | b'~' | b'>' => values(bytes, end, count()),
        b'%' => values(bytes, end, 2 * count()),
        _ => Some(end),
    }
}

fn values(bytes: &[u8], from: usize, count: usize) -> Option<usize> {
    let mut at = from;
    for _ in 0..count {
        at += value(&bytes[at..])?;
    }
    Some(at)
}
