//! Stopping: a signal, then everything drains, then the process ends.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The switch that stops everything.
pub(crate) struct Stop {
    sender: watch::Sender<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { sender: watch::Sender::new(false) }
    }

    /// What tasks wait on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.sender.subscribe()
    }

    /// Stops everything.
    pub(crate) fn stop(&self) {
        self.sender.send_replace(true);
    }
}

/// The signals that stop the process. From [`Signals::listen`] on they no longer end it by themselves.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on: one that comes before it is waited for counts too.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for SIGTERM or SIGINT; a second one ends the process at once, as impatient operators expect.
    pub(crate) async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            // Nothing is lost by this: leases run out, cursors stay behind what is safe.
            std::process::exit(130);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
