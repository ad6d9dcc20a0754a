//! The lines of a file that is imported.

use std::{collections::VecDeque, io, os::fd::AsFd as _, path::Path};

use axum::body::Bytes;
use serde_json::Value;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, BufReader},
};

/// The longest line that is read; the server takes far less.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A line that holds an order, as far as can be told here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1, blank ones too.
    pub(super) number: u64,
    pub(super) text: Bytes,
}

/// What comes next of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line(Line),
    /// A line that is not sent, and why.
    Unfit(u64, &'static str),
    End,
}

/// A file that is read line by line. Whoever stops waiting for a line loses nothing.
pub(super) struct Lines {
    file: BufReader<File>,
    /// What was read of the present line.
    partial: Vec<u8>,
    /// Whether the present line is longer than what is kept of it.
    overlong: bool,
    number: u64,
    read: u64,
    size: Option<u64>,
    /// Lines that must be sent again, before any other.
    again: VecDeque<Line>,
    ended: bool,
}

impl Lines {
    /// Opens a file; `-` is standard input.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let opening = move || -> io::Result<std::fs::File> {
            if path.as_os_str() == "-" {
                return Ok(io::stdin().as_fd().try_clone_to_owned()?.into());
            }
            std::fs::File::open(path)
        };
        let file = tokio::task::spawn_blocking(opening).await.map_err(io::Error::other)??;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let size = about.is_file().then_some(about.len());
        let file = BufReader::with_capacity(256 * 1024, File::from_std(file));
        let (partial, again) = (Vec::new(), VecDeque::new());
        Ok(Self { file, partial, overlong: false, number: 0, read: 0, size, again, ended: false })
    }

    /// How many bytes were read, and of how many, where that is known.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        (self.read, self.size)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.again.is_empty()
    }

    /// Whether the next line is there already.
    pub(super) fn has_more_at_hand(&self) -> bool {
        !self.again.is_empty() || self.file.buffer().contains(&b'\n')
    }

    /// Takes lines back, to be given out again first.
    pub(super) fn give_back(&mut self, lines: impl DoubleEndedIterator<Item = Line>) {
        for line in lines.rev() {
            self.again.push_front(line);
        }
    }

    /// The next line that is not blank.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn next(&mut self) -> io::Result<Next> {
        if let Some(line) = self.again.pop_front() {
            return Ok(Next::Line(line));
        }
        while !self.ended {
            let buffer = self.file.fill_buf().await?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            if self.partial.len() + piece.len() <= LINE_BYTES_MAX {
                self.partial.extend_from_slice(piece);
            } else {
                self.overlong = true;
            }
            self.ended = buffer.is_empty();
            let taken = piece.len() + usize::from(end.is_some());
            self.read += taken as u64;
            self.file.consume(taken);
            if (end.is_some() || self.ended)
                && let Some(next) = self.end_line()
            {
                return Ok(next);
            }
        }
        Ok(Next::End)
    }

    fn end_line(&mut self) -> Option<Next> {
        self.number += 1;
        let text = Bytes::from(std::mem::take(&mut self.partial));
        if std::mem::take(&mut self.overlong) {
            return Some(Next::Unfit(self.number, "is longer than 1 MiB"));
        }
        if text.trim_ascii().is_empty() {
            return None;
        }
        if lacks_reference(&text) {
            return Some(Next::Unfit(
                self.number,
                "has no reference: sent again, it would be a second order",
            ));
        }
        Some(Next::Line(Line { number: self.number, text }))
    }
}

/// Whether it is an order without a reference. What else may be wrong, the server says.
fn lacks_reference(text: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(order)) => order.get("reference").is_none_or(Value::is_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn line(number: u64, text: &'static str) -> Next {
        Next::Line(Line { number, text: Bytes::from_static(text.as_bytes()) })
    }

    #[tokio::test]
    async fn lines_are_counted_as_an_editor_counts_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.ndjson");
        let long = format!("{{\"reference\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        let text = format!(
            "{{\"reference\":\"a\"}}\n\n  \r\n{long}\nno json\r\n{{\"total\":1}}\n{{\"reference\":\"b\"}}"
        );
        std::fs::write(&path, &text).unwrap();
        let mut lines = Lines::open(&path).await.unwrap();
        assert_eq!(lines.next().await.unwrap(), line(1, "{\"reference\":\"a\"}"));
        assert_eq!(lines.next().await.unwrap(), Next::Unfit(4, "is longer than 1 MiB"));
        let Next::Line(five) = lines.next().await.unwrap() else { panic!() };
        assert_eq!((five.number, &five.text[..]), (5, &b"no json\r"[..]));
        assert!(matches!(lines.next().await.unwrap(), Next::Unfit(6, _)));
        assert_eq!(lines.next().await.unwrap(), line(7, "{\"reference\":\"b\"}"));
        assert!(lines.is_empty());
        lines.give_back([five.clone()].into_iter());
        assert!(!lines.is_empty() && lines.has_more_at_hand());
        assert_eq!(lines.next().await.unwrap(), Next::Line(five));
        assert_eq!(lines.next().await.unwrap(), Next::End);
        assert_eq!(lines.progress(), (text.len() as u64, Some(text.len() as u64)));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        assert!(Lines::open(Path::new("/nowhere/at/all")).await.is_err());
        assert!(Lines::open(Path::new("/")).await.is_err());
    }
}
