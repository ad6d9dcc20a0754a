//! A connection's socket, watched: what framing its requests have, what the HTTP library replies by itself, and whether
//! the other side takes replies.

use crate::framing::{Verdict, Watch};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

/// How long, and how much, is read and thrown away after an early reply, so that the reply is not lost: closing a
/// socket with unread data resets the connection.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A socket and its watch.
pub(crate) struct Socket<I> {
    io: I,
    watch: Watch,
    verdict: Arc<Verdict>,
    /// What is read instead of what comes, and nothing after it.
    instead: Option<&'static [u8]>,
    /// Whether the other side has been given all that was to be written.
    flushed: bool,
    /// Longest wait for the other side to take more of a reply.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Until when nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Socket<I> {
    pub(crate) fn new(io: I, verdict: Arc<Verdict>, patience: Duration) -> Self {
        let watch = Watch::default();
        Self { io, watch, verdict, instead: None, flushed: true, patience, stalled: None, pause: None }
    }

    /// Reads `request`, whatever the other side sends.
    pub(crate) fn reading(mut self, request: &'static [u8]) -> Self {
        self.instead = Some(request);
        self
    }

    /// Whether the last reply is written to its end.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// Closes a connection on which a request was answered before it was read: first our side, then, when the other
    /// has seen that or has had its time, the rest.
    pub(crate) async fn close(mut self) {
        let closed = self.io.shutdown().await;
        // Who takes no reply would not take the end of one.
        let stalled = self.verdict.is_stalled();
        if closed.is_err() || stalled || (self.instead.is_none() && self.watch.is_between_requests()) {
            return;
        }
        let mut rest = self.io.take(LINGER_BYTES_MAX);
        let mut sink = tokio::io::sink();
        // However it ends, the connection ends with it.
        drop(tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut sink)).await);
    }

    /// Whether these bytes are not to be written now. Nobody needs to be woken: whoever polls the library sees to it.
    fn keeps(&mut self, bytes: Option<&[u8]>) -> bool {
        let keeps = self.verdict.withheld.keeps(bytes.filter(|_| self.flushed));
        self.flushed &= keeps;
        keeps
    }

    /// Lets a pause pass.
    fn paused(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(span) = self.verdict.take_pause() {
            self.pause = Some(Box::pin(tokio::time::sleep(span)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Gives up on a peer that has not taken anything for too long.
    fn patient<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        self.verdict.give_up();
        metrics::counter!("wellorder_http_stalled_total").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(request) = &mut this.instead {
            if request.is_empty() {
                // Neither the rest nor its end is looked at any more; there is a reply to write.
                return Poll::Pending;
            }
            let (here, rest) = request.split_at(request.len().min(buf.remaining()));
            buf.put_slice(here);
            *request = rest;
            return Poll::Ready(Ok(()));
        }
        ready!(this.paused(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.watch.feed(&buf.filled()[before..], &this.verdict);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.keeps(Some(bytes)) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.patient(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // A head without a body is in one piece.
        let only = if let [bytes] = slices { Some(&**bytes) } else { None };
        if this.keeps(only) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.patient(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        // The library flushes when it has nothing left to write.
        this.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_during_a_pause_and_replies_go_out() {
        let (mut client, io) = tokio::io::duplex(64);
        let verdict = Arc::new(Verdict::default());
        let mut socket = Socket::new(io, Arc::clone(&verdict), Duration::from_secs(30));
        client.write_all(b"next request").await.unwrap();
        verdict.stalled().pause(Duration::from_millis(700));
        let began = Instant::now();
        socket.write_all(b"reply").await.unwrap();
        let mut bytes = [0; 12];
        client.read_exact(&mut bytes[..5]).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "the reply is there at once");
        socket.read_exact(&mut bytes).await.unwrap();
        // The timer goes by whole milliseconds.
        assert!(began.elapsed() >= Duration::from_millis(700));
        client.write_all(b"and another!").await.unwrap();
        let later = Instant::now();
        socket.read_exact(&mut bytes).await.unwrap();
        assert_eq!(later.elapsed(), Duration::ZERO, "a pause is one pause");
    }
}
