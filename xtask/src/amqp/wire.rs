//! AMQP 0-9-1 as bytes: frames, methods, the fields of a message's header.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::http::bad;

/// Kinds of frames.
pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
pub(super) const HEARTBEAT: u8 = 8;
/// Behind each frame.
const END: u8 = 0xCE;
/// Longest frame that is believed.
const FRAME_MAX: u32 = 1 << 24;

/// One frame.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 7];
        from.read_exact(&mut head)?;
        let len = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        if len > FRAME_MAX {
            return Err(bad("a frame that is too long"));
        }
        let mut payload = vec![0; len as usize + 1];
        from.read_exact(&mut payload)?;
        if payload.pop() != Some(END) {
            return Err(bad("a frame without its end"));
        }
        Ok(Self { kind: head[0], channel: u16::from_be_bytes([head[1], head[2]]), payload })
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[self.kind])?;
        to.write_all(&self.channel.to_be_bytes())?;
        to.write_all(&(self.payload.len() as u32).to_be_bytes())?;
        to.write_all(&self.payload)?;
        to.write_all(&[END])
    }
}

/// Makes arguments of a method, one after another.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn method(class: u16, method: u16) -> Self {
        Self::default().short(class).short(method)
    }

    pub(super) fn octet(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long_long(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// At most 255 bytes: names, all of them ours.
    pub(super) fn text(mut self, value: &str) -> Self {
        self.0.push(value.len() as u8);
        self.0.extend(value.as_bytes());
        self
    }

    pub(super) fn long_text(self, value: &str) -> Self {
        let mut with_len = self.long(value.len() as u32);
        with_len.0.extend(value.as_bytes());
        with_len
    }

    pub(super) fn empty_table(self) -> Self {
        self.long(0)
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Takes arguments apart, one after another.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or_else(|| bad("arguments that are too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> io::Result<u64> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn octet(&mut self) -> io::Result<u8> {
        self.number(1).map(|number| number as u8)
    }

    pub(super) fn short(&mut self) -> io::Result<u16> {
        self.number(2).map(|number| number as u16)
    }

    pub(super) fn long(&mut self) -> io::Result<u32> {
        self.number(4).map(|number| number as u32)
    }

    pub(super) fn long_long(&mut self) -> io::Result<u64> {
        self.number(8)
    }

    pub(super) fn text(&mut self) -> io::Result<String> {
        let len = usize::from(self.octet()?);
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn long_text(&mut self) -> io::Result<String> {
        let len = self.long()? as usize;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    /// The texts of a table; other values are passed over.
    fn table(&mut self) -> io::Result<BTreeMap<String, String>> {
        let len = self.long()? as usize;
        let mut inner = Reader(self.take(len)?);
        let mut texts = BTreeMap::new();
        while !inner.0.is_empty() {
            let name = inner.text()?;
            if let Some(text) = inner.value()? {
                texts.insert(name, text);
            }
        }
        Ok(texts)
    }

    fn value(&mut self) -> io::Result<Option<String>> {
        let len = match self.octet()? {
            b'S' => return self.long_text().map(Some),
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'A' | b'F' | b'x' => self.long()? as usize,
            other => return Err(bad(&format!("a value of the unknown type {other}"))),
        };
        self.take(len).map(|_| None)
    }
}

/// The length of a message's body, its id, and those of its headers that are texts.
pub(super) fn header(payload: &[u8]) -> io::Result<(u64, Option<String>, BTreeMap<String, String>)> {
    let mut reader = Reader(payload);
    let (_class, _weight) = (reader.short()?, reader.short()?);
    let len = reader.long_long()?;
    let flags = reader.short()?;
    let has = |bit: u16| flags & 1 << bit != 0;
    let (mut message_id, mut headers) = (None, BTreeMap::new());
    // In the order in which they come: content type and encoding, headers, …, message id. What is behind that is not read.
    for bit in (7..=15).rev().filter(|bit| has(*bit)) {
        match bit {
            13 => headers = reader.table()?,
            12 | 11 => drop(reader.octet()?),
            7 => message_id = Some(reader.text()?),
            _ => drop(reader.text()?),
        }
    }
    Ok((len, message_id, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gives_its_texts_and_passes_the_rest_over() {
        let table =
            Writer::default().text("a").octet(b'S').long_text("one").text("n").octet(b'l').long_long(7);
        let table = table.text("b").octet(b'S').long_text("two").done();
        let text = String::from_utf8(table).unwrap();
        let wire = Writer::method(60, 0).long_long(5).short(1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6);
        let wire = wire.text("text/plain").long_text(&text).octet(2).text("m-1").long_long(99).done();
        let (len, id, headers) = header(&wire).unwrap();
        assert_eq!((len, id.as_deref(), headers.len()), (5, Some("m-1"), 2));
        assert_eq!((headers["a"].as_str(), headers["b"].as_str()), ("one", "two"));
        assert!(header(&wire[..20]).is_err());
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut wire = Vec::new();
        Frame { kind: METHOD, channel: 1, payload: b"abc".to_vec() }.write(&mut wire).unwrap();
        let frame = Frame::read(&mut &wire[..]).unwrap();
        assert_eq!((frame.kind, frame.channel, frame.payload.as_slice()), (METHOD, 1, &b"abc"[..]));
        *wire.last_mut().unwrap() = 0;
        assert!(Frame::read(&mut &wire[..]).is_err());
    }
}
