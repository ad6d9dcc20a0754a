//! Whether a connection begins as HTTP/2 does. What was read to find out is read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// What a client sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection, and what was read of it already.
pub(crate) struct Sniffed<I> {
    io: I,
    head: [u8; PREFACE.len()],
    /// How much of `head` was read from the connection, and how much of that was read again.
    read: usize,
    given: usize,
}

impl<I: AsyncRead + Unpin> Sniffed<I> {
    pub(crate) fn new(io: I) -> Self {
        Self { io, head: [0; PREFACE.len()], read: 0, given: 0 }
    }

    /// Reads until it is clear. No client that was asked nothing is kept longer than `patience`, nor beyond `stop`: then
    /// `None`, and so when it cannot be read. One that says nothing else is no HTTP/2 either.
    pub(crate) async fn begins_with_preface(
        &mut self,
        patience: Duration,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<bool> {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            sniffed = tokio::time::timeout(patience, self.sniff()) => sniffed.ok()?.ok(),
        }
    }

    async fn sniff(&mut self) -> io::Result<bool> {
        while self.read < PREFACE.len() {
            let read = self.io.read(&mut self.head[self.read..]).await?;
            self.read += read;
            if read == 0 || !PREFACE.starts_with(&self.head[..self.read]) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Sniffed<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.head[this.given..this.read];
        if left.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let again = left.len().min(buf.remaining());
        buf.put_slice(&left[..again]);
        this.given += again;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Sniffed<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn sniffed(pieces: &[&[u8]], end: bool) -> (Option<bool>, Vec<u8>) {
        let (mut client, io) = tokio::io::duplex(64);
        let (_keep, mut stop) = watch::channel(false);
        let mut sniffed = Sniffed::new(io);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sent = tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            (!end).then_some(client)
        });
        let begins = sniffed.begins_with_preface(Duration::from_secs(10), &mut stop).await;
        drop(sent.await.unwrap());
        let mut all = Vec::new();
        sniffed.read_to_end(&mut all).await.unwrap();
        (begins, all)
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let preface = [&PREFACE[..], b"frames"].concat();
        assert_eq!(sniffed(&[&preface], true).await, (Some(true), preface.clone()));
        assert_eq!(
            sniffed(&[&preface[..1], &preface[1..20], &preface[20..]], true).await,
            (Some(true), preface)
        );
        for other in ["POST / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "PR", "P", ""] {
            assert_eq!(sniffed(&[other.as_bytes()], true).await, (Some(false), other.as_bytes().to_vec()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_not_waited_for_for_ever() {
        assert_eq!(sniffed(&[b"PRI * "], false).await.0, None);
    }
}
