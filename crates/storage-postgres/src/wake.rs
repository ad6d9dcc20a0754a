//! Waking the workers and followers of other nodes. What a commit came to is told after it and apart from it, many commits
//! with one notification: a notification within a commit would have all commits wait for each other. One that is lost costs
//! time only: whoever waits also looks by itself now and then.

use crate::connect::{Purpose, Target};
use crate::error::Tried;
use order_core::lane::Wakes;
use order_core::ports::Committed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Least time from one notification to the next, of a node that tells alone.
const GAP: Duration = Duration::from_millis(10);
/// Longest that it grows where many tell: each wakes all that hear.
const GAP_MAX: Duration = Duration::from_millis(40);
/// How long to wait before a connection that broke is made anew.
const PAUSE: Duration = Duration::from_secs(1);

const TELL: &str = "SELECT pg_notify('wellorder', $1)";

/// What is to be told.
#[derive(Default)]
pub(crate) struct News {
    work: AtomicBool,
    journal: AtomicBool,
    any: Notify,
    /// Notifications of others since our last.
    heard: AtomicU32,
    /// Whose notifications are our own.
    teller: AtomicI32,
}

impl News {
    /// Takes notice of a commit.
    pub(crate) fn note(&self, committed: &Committed) {
        self.work.fetch_or(committed.work_due, Ordering::Relaxed);
        self.journal.fetch_or(committed.journal_grew, Ordering::Relaxed);
        if committed.work_due || committed.journal_grew {
            self.any.notify_one();
        }
    }

    fn take(&self) -> &'static str {
        match (self.work.swap(false, Ordering::Relaxed), self.journal.swap(false, Ordering::Relaxed)) {
            (true, true) => "work journal",
            (true, false) => "work",
            (false, true) => "journal",
            (false, false) => "",
        }
    }
}

/// Tells other nodes, and hears them, for as long as it is kept.
pub struct SharedWakes {
    tasks: [JoinHandle<()>; 2],
}

impl Drop for SharedWakes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl SharedWakes {
    pub(crate) fn start(target: Target, news: Arc<News>, wakes: Wakes) -> Self {
        let (telling, told) = (target.clone(), Arc::clone(&news));
        let tell = tokio::spawn(async move {
            loop {
                let Err(trouble) = tell(&telling, &told).await;
                tracing::warn!(?trouble, "other nodes cannot be told what was committed");
                tokio::time::sleep(PAUSE).await;
            }
        });
        let hear = tokio::spawn(async move {
            loop {
                match hear(&target, &news, &wakes).await {
                    Ok(()) => tracing::debug!("the connection that hears of other nodes has ended"),
                    Err(trouble) => tracing::warn!(?trouble, "cannot hear what other nodes have committed"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { tasks: [tell, hear] }
    }
}

async fn tell(target: &Target, news: &News) -> Tried<std::convert::Infallible> {
    let conn = target.connect(Purpose::Write).await?;
    let own: i32 = conn.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    news.teller.store(own, Ordering::Relaxed);
    loop {
        // The first after a while is told at once, what follows is told together.
        news.any.notified().await;
        let what = news.take();
        if !what.is_empty() {
            conn.query_one(TELL, &[&what]).await?;
        }
        tokio::time::sleep(gap(news.heard.swap(0, Ordering::Relaxed))).await;
    }
}

/// The time until the next notification, when so many of others came since the one before the last: about one of each that
/// tells as often, so that all of them together tell no more often than one alone.
fn gap(heard: u32) -> Duration {
    GAP.saturating_mul(heard.saturating_add(1)).min(GAP_MAX)
}

/// Ends with its connection.
async fn hear(target: &Target, news: &News, wakes: &Wakes) -> Tried<()> {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let conn = target.listen(sender).await?;
    conn.run("LISTEN wellorder").await?;
    // Whatever was told before.
    wake(wakes, "work journal");
    loop {
        match tokio::time::timeout(target.limits.unacknowledged, heard.recv()).await {
            Ok(Some(notification)) if notification.process_id() == news.teller.load(Ordering::Relaxed) => {}
            Ok(Some(notification)) => {
                news.heard.fetch_add(1, Ordering::Relaxed);
                wake(wakes, notification.payload());
            }
            Ok(None) => return Ok(()),
            // One that hears nothing for long may be cut off without a word.
            Err(_) => conn.run("SELECT").await?,
        }
    }
}

fn wake(wakes: &Wakes, what: &str) {
    if what.contains("work") {
        wakes.work.notify_one();
    }
    if what.contains("journal") {
        wakes.journal.send_modify(|commits| *commits += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_tell_do_so_less_often_each() {
        let gaps = [0, 1, 2, 3, 100, u32::MAX].map(gap);
        assert_eq!(gaps.map(|gap| gap.as_millis()), [10, 20, 30, 40, 40, 40]);
    }
}
