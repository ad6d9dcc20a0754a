//! Reads server-sent events (WHATWG HTML §9.2), as far as our feed uses them.

/// One event: what came before an empty line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where to come back to; without data it is no event.
    pub(super) id: Option<String>,
    /// The data, if there is any.
    pub(super) data: Option<String>,
}

/// The longest line that is kept; an event is far shorter.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A stream as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    frame: Frame,
}

impl Reader {
    /// Takes what came, and gives back the events that it ends.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LINE_BYTES_MAX {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            frames.extend(self.end_line(line.trim_end_matches('\r')));
        }
        frames
    }

    fn end_line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return (frame != Frame::default()).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.frame.id = Some(value.to_owned()),
            "data" => match &mut self.frame.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // A comment, or what a command does not need.
            _ => (),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let text = "retry: 1000\n\nid: a\nevent: order.accepted\ndata: {\"n\":1}\n\n:\n\n:\nid: b\n\ndata:x\r\ndata: y\r\n\r\nid: c";
        let frame = |id: Option<&str>, data: Option<&str>| Frame {
            id: id.map(str::to_owned),
            data: data.map(str::to_owned),
        };
        let expected =
            [frame(Some("a"), Some("{\"n\":1}")), frame(Some("b"), None), frame(None, Some("x\ny"))];
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let frames: Vec<Frame> =
                text.as_bytes().chunks(size).flat_map(|piece| reader.take(piece)).collect();
            assert_eq!(frames, expected, "{size}");
        }
    }
}
