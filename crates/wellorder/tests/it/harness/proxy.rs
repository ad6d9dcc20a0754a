//! A way to a server that breaks off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Hands bytes on, and cuts the first connections after so many bytes of the answer. It ends when this is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    cut: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Cuts `times` connections to `server`, each after `bytes` bytes of the answer.
    pub(crate) async fn cutting(server: SocketAddr, times: usize, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = Arc::clone(&counter);
                let bound = if cut.load(Ordering::SeqCst) < times { bytes } else { usize::MAX };
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    if relay(client, server, bound).await {
                        cut.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, cut, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were cut.
    pub(crate) fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether it was cut, and not ended by either side.
async fn relay(client: TcpStream, server: TcpStream, bound: usize) -> bool {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let (mut left, mut buffer) = (bound, vec![0; 4096]);
    let cut = loop {
        let room = left.min(buffer.len());
        match from_server.read(&mut buffer[..room]).await {
            Ok(0) | Err(_) => break false,
            Ok(read) if to_client.write_all(&buffer[..read]).await.is_err() => break false,
            Ok(read) => left -= read,
        }
        if left == 0 {
            break true;
        }
    };
    asking.abort();
    cut
}
