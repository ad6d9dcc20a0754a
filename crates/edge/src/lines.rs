//! Reads a body line by line, as it comes: each line within the limits of a whole body, all of them within one more.

use crate::body::{content_type_is, refuse_coded};
use crate::guard::{Guard, Limits};
use crate::refusal::{Refusal, Refused};
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The content types of JSON in lines (ndjson.org).
const NDJSON: [&str; 2] = ["application/x-ndjson", "application/ndjson"];

/// A body of lines.
#[derive(Debug)]
pub struct Lines {
    body: Body,
    limits: Limits,
    /// What was read and is no whole line yet, as far as it is kept.
    ahead: BytesMut,
    /// Bytes of `ahead` that hold no end of a line.
    scanned: usize,
    /// Bytes that may still come.
    room: usize,
    /// Whether the line that is being read is too long to be kept.
    too_long: bool,
    state: State,
    /// For how long nothing but blank lines have come.
    blank_for: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The body has ended.
    Ended,
    /// More came than may.
    TooLarge,
}

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What it holds.
    Text(Bytes),
    /// Nothing but white space.
    Blank,
    /// More than a body may have; it was skipped.
    TooLong,
}

impl<S: Sync> FromRequest<S> for Lines {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let guard = request.extensions().get::<Arc<Guard>>();
        let limits = guard.map(|guard| guard.limits).unwrap_or_default();
        refuse_coded(request.headers())?;
        if !NDJSON.iter().any(|name| content_type_is(request.headers(), name)) {
            return Err(Refusal::MediaTypeUnsupported.into());
        }
        Ok(Self::new(request.into_body(), limits)?)
    }
}

impl Lines {
    /// The lines of `body`.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`] when more is announced than may come.
    pub fn new(body: Body, limits: Limits) -> Result<Self, Refusal> {
        let room = limits.bulk_bytes_max;
        if body.size_hint().lower() > u64::try_from(room).unwrap_or(u64::MAX) {
            return Err(Refusal::BodyTooLarge { bytes_max: room });
        }
        let ahead = BytesMut::new();
        Ok(Self {
            body,
            limits,
            ahead,
            scanned: 0,
            room,
            too_long: false,
            state: State::Open,
            blank_for: Duration::ZERO,
        })
    }

    /// What its lines are held to.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Waits until the body has begun to come.
    ///
    /// # Errors
    /// As [`Lines::next`].
    pub async fn begun(&mut self) -> Result<(), Refusal> {
        let more = tokio::time::timeout(self.limits.body_timeout, self.more()).await;
        more.unwrap_or(Err(Refusal::BodyTimeout))
    }

    /// The next line. A line has the time of a whole body to arrive, blank lines before it included; the time between two
    /// calls is not counted.
    ///
    /// # Errors
    /// When the body takes too long, is too large or breaks off; nothing comes after that.
    pub async fn next(&mut self) -> Option<Result<Line, Refusal>> {
        let began = Instant::now();
        let left = self.limits.body_timeout.saturating_sub(self.blank_for);
        let Ok(line) = tokio::time::timeout(left, self.line()).await else {
            return Some(Err(Refusal::BodyTimeout));
        };
        self.blank_for = match line {
            Ok(Some(Line::Blank)) => self.blank_for + began.elapsed(),
            _ => Duration::ZERO,
        };
        line.transpose()
    }

    async fn line(&mut self) -> Result<Option<Line>, Refusal> {
        loop {
            let new = &self.ahead[self.scanned..];
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                let line = self.ahead.split_to(self.scanned + end + 1);
                return Ok(Some(self.ended(&line.freeze())));
            }
            self.scanned = self.ahead.len();
            // A line end of two bytes is no part of the line.
            if self.scanned > self.limits.body_bytes_max + 1 {
                self.too_long = true;
            }
            if self.too_long {
                self.ahead.clear();
                self.scanned = 0;
            }
            match self.state {
                State::Open => self.more().await?,
                State::TooLarge => {
                    return Err(Refusal::BodyTooLarge { bytes_max: self.limits.bulk_bytes_max });
                }
                State::Ended if self.ahead.is_empty() && !self.too_long => return Ok(None),
                // The last line needs no end.
                State::Ended => {
                    let line = self.ahead.split().freeze();
                    return Ok(Some(self.ended(&line)));
                }
            }
        }
    }

    /// A whole line, its end included.
    fn ended(&mut self, line: &Bytes) -> Line {
        self.scanned = 0;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let too_long = std::mem::take(&mut self.too_long) || text.len() > self.limits.body_bytes_max;
        if too_long {
            Line::TooLong
        } else if text.trim_ascii().is_empty() {
            Line::Blank
        } else {
            Line::Text(line.slice_ref(text))
        }
    }

    async fn more(&mut self) -> Result<(), Refusal> {
        let Some(frame) = self.body.frame().await else {
            self.state = State::Ended;
            return Ok(());
        };
        // Trailers are not read.
        let Ok(data) = frame.map_err(|_| Refusal::BadFraming)?.into_data() else { return Ok(()) };
        let taken = data.len().min(self.room);
        self.ahead.extend_from_slice(&data[..taken]);
        self.room -= taken;
        if taken < data.len() {
            self.state = State::TooLarge;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io;

    const LIMITS: fn() -> Limits = || Limits { body_bytes_max: 10, bulk_bytes_max: 100, ..Limits::default() };

    fn body(pieces: Vec<io::Result<Vec<u8>>>) -> Body {
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    /// The lines in short words, read in pieces of every size.
    async fn read(text: &str) -> Vec<String> {
        let mut read: Vec<Vec<String>> = Vec::new();
        for size in [1, 2, 3, 7, text.len().max(1)] {
            let pieces = text.as_bytes().chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            read.push(all(Lines::new(body(pieces), LIMITS()).unwrap()).await);
        }
        read.dedup();
        assert_eq!(read.len(), 1, "{read:?}");
        read.remove(0)
    }

    async fn all(mut lines: Lines) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            let over = line.is_err();
            all.push(match line {
                Ok(Line::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
                Ok(Line::Blank) => "(blank)".to_owned(),
                Ok(Line::TooLong) => "(too long)".to_owned(),
                Err(refusal) => format!("({})", refusal.status().as_u16()),
            });
            if over {
                break;
            }
        }
        all
    }

    #[tokio::test]
    async fn lines_are_apart_however_they_come() {
        assert_eq!(read("").await, [""; 0]);
        assert_eq!(read("\n").await, ["(blank)"]);
        assert_eq!(read("a\nb").await, ["a", "b"]);
        assert_eq!(read("a\r\n \r\n\nb\n").await, ["a", "(blank)", "(blank)", "b"]);
        assert_eq!(read("0123456789\r\n0123456789").await, ["0123456789", "0123456789"]);
        assert_eq!(read("a\n01234567890\nb\n").await, ["a", "(too long)", "b"]);
        let long = "x".repeat(40);
        assert_eq!(read(&format!("{long}\nb\n{long}")).await, ["(too long)", "b", "(too long)"]);
    }

    #[tokio::test]
    async fn what_ends_within_the_limit_is_read_and_then_no_more() {
        let text = "12345678\n".repeat(12);
        let read = read(&text).await;
        assert_eq!((read.len(), read.last().map(String::as_str)), (12, Some("(413)")), "{read:?}");
        let announced = Body::from(text);
        let refused = Lines::new(announced, LIMITS()).unwrap_err();
        assert!(matches!(refused, Refusal::BodyTooLarge { bytes_max: 100 }));
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_line() {
        let broken = body(vec![Ok(b"a\nhal".to_vec()), Err(io::ErrorKind::ConnectionReset.into())]);
        assert_eq!(all(Lines::new(broken, LIMITS()).unwrap()).await, ["a", "(400)"]);
    }

    #[tokio::test(start_paused = true)]
    async fn blank_lines_do_not_keep_a_request_open() {
        let sent = |piece: &'static str| {
            let pieces = futures_util::stream::unfold((), move |()| async move {
                tokio::time::advance(Duration::from_secs(10)).await;
                Some((Ok::<_, io::Error>(piece.as_bytes().to_vec()), ()))
            });
            Lines::new(Body::from_stream(pieces), Limits { bulk_bytes_max: 20, ..LIMITS() }).unwrap()
        };
        assert_eq!(all(sent("\n")).await, ["(blank)", "(blank)", "(blank)", "(408)"]);
        assert_eq!(all(sent("\na\n")).await.last().map(String::as_str), Some("(413)"));
    }

    #[tokio::test]
    async fn a_line_that_does_not_come_to_its_end_is_given_up() {
        let dribble = futures_util::stream::unfold((), async |()| {
            tokio::task::yield_now().await;
            Some((Ok::<_, io::Error>(Vec::new()), ()))
        });
        let limits = Limits { body_timeout: Duration::from_millis(1), ..LIMITS() };
        assert_eq!(all(Lines::new(Body::from_stream(dribble), limits).unwrap()).await, ["(408)"]);
    }
}
