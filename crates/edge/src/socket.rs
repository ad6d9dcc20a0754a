//! A connection's socket, watched: what framing its requests have, and whether the other side takes replies.

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
    /// Longest wait for the other side to take more of a reply.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Socket<I> {
    pub(crate) fn new(io: I, verdict: Arc<Verdict>, patience: Duration) -> Self {
        Self { io, watch: Watch::default(), verdict, patience, stalled: None }
    }

    /// Closes a connection on which a request was answered before it was read: first our side, then, when the other
    /// has seen that or has had its time, the rest.
    pub(crate) async fn close(mut self) {
        let closed = self.io.shutdown().await;
        if closed.is_err() || self.watch.is_between_requests() {
            return;
        }
        let mut rest = self.io.take(LINGER_BYTES_MAX);
        let mut sink = tokio::io::sink();
        // However it ends, the connection ends with it.
        drop(tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut sink)).await);
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
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.watch.feed(&buf.filled()[before..], &this.verdict);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.patient(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.patient(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
