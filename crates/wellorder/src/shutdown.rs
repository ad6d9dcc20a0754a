//! Stopping: a signal, then everything drains, then the process ends.

use tokio::signal::unix::{SignalKind, signal};
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

/// Waits for SIGTERM or SIGINT; a second one ends the process at once, as impatient operators expect.
///
/// # Errors
/// When signals cannot be listened to.
pub(crate) async fn signalled() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nothing is lost by this: leases run out, cursors stay behind what is safe.
        std::process::exit(130);
    });
    Ok(())
}
