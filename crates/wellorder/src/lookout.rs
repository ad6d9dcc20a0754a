//! What a server looks at each second: that the lock file still says where it is, and that its clock runs with the
//! machine's; and once, at its start, other servers.

use crate::folder::Folder;
use crate::seldom::Seldom;
use order_core::{App, Fault};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two lines of the log about a file that cannot be written.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How far a clock may run ahead without a word.
pub(crate) const DRIFT_MIN: Duration = Duration::from_secs(1);

/// Keeps the lock file as the server wrote it, until `stop`.
pub(crate) async fn lock_file(folder: Arc<Folder>, mut stop: watch::Receiver<bool>) {
    let mut said = Seldom::every(SAY_EVERY);
    while pause(&mut stop).await {
        match folder.keep_announced() {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(
                    "the lock file was deleted or changed, and is written anew; the folder stayed locked"
                );
            }
            Err(error) if said.due(Instant::now()) => {
                tracing::warn!(%error, "cannot write the address into the lock file: commands need --url");
            }
            Err(_) => {}
        }
    }
}

/// Says once when the clock begins to run ahead of the machine's, and once when that is over, until `stop`.
pub(crate) async fn clock(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut ahead = false;
    while pause(&mut stop).await {
        let drift = app.clock.ahead();
        if !ahead && drift > DRIFT_MIN {
            tracing::warn!(
                seconds_ahead = drift.as_secs(),
                "the machine's clock was set back; ours goes on ahead of it until it is overtaken: set the clock, then restart"
            );
        } else if ahead && drift <= DRIFT_MIN {
            tracing::info!("the clock runs with the machine's again");
        }
        ahead = drift > DRIFT_MIN;
    }
}

/// What is looked at when a process starts. A catalogue is not: each look is a request to somebody's program.
const SERVERS: [&str; 3] = ["kafka", "rabbitmq", "redis"];

/// Says once, at the start, which servers cannot be used as they are set; nothing waits for that.
pub(crate) async fn remotes(app: Arc<App>) {
    for look in app.remotes.look_at(&SERVERS).await {
        let Err(trouble) = look.found else { continue };
        let (server, address) = (look.name, look.address);
        tracing::warn!(
            server,
            address,
            error = trouble.why,
            fix = trouble.fix,
            "a server cannot be used yet"
        );
    }
}

/// Says when the newest events were written under a clock that was ahead of the machine's as it is now.
///
/// # Errors
/// When the journal cannot be read.
pub(crate) async fn newest(app: &App) -> Result<(), Fault> {
    if let Some(newest) = order_core::journal::newest(app.storage.as_ref()).await? {
        let ahead = newest.since(app.clock.now());
        if ahead > DRIFT_MIN {
            let (newest, seconds_ahead) = (newest.to_string(), ahead.as_secs());
            tracing::warn!(
                newest,
                seconds_ahead,
                "the newest event lies in the future: the clock was set back, or is wrong; `wellorder doctor` says more"
            );
        }
    }
    Ok(())
}

/// Whether to look again; no longer after `stop`.
async fn pause(stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(LOOK_EVERY) => true,
    }
}
