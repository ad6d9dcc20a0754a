//! Stopping: a signal, then everything drains, then the process ends.

use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How often it is tried to remove a folder in which files are still made.
const REMOVALS_MAX: u32 = 100;

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
    /// A folder that is to go with the process, however that ends.
    ephemeral: Option<PathBuf>,
}

impl Signals {
    /// Listens from now on: one that comes before it is waited for counts too.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, ephemeral: None })
    }

    /// Removes this folder too when a second signal ends the process at once.
    pub(crate) fn removing(self, folder: PathBuf) -> Self {
        Self { ephemeral: Some(folder), ..self }
    }

    /// Waits for SIGTERM or SIGINT; a second one ends the process at once, as impatient operators expect.
    pub(crate) async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            if let Some(folder) = &self.ephemeral {
                remove(folder);
            }
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

/// Removes a temporary data folder. Whoever still writes in it may make a file while the others go: then again.
pub(crate) fn remove(folder: &Path) {
    let mut removed = std::fs::remove_dir_all(folder);
    for _ in 1..REMOVALS_MAX {
        if removed.is_ok() || !folder.exists() {
            return;
        }
        removed = std::fs::remove_dir_all(folder);
    }
    if let Err(error) = removed {
        tracing::warn!(path = %folder.display(), %error, "cannot remove the temporary data folder");
    }
}
