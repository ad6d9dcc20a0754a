//! Servers that this process talks to besides its storage, and what health checks find out about them.

use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest that a look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What was found is told again for so long, however often it is asked for.
const KEPT: Duration = Duration::from_secs(1);

/// A server that this process talks to.
#[async_trait]
pub trait Remote: Send + Sync {
    /// What it is called: one of a few words.
    fn name(&self) -> &'static str;

    /// Where it is, without any secret.
    fn address(&self) -> String;

    /// The setting that says where it is.
    fn setting(&self) -> &'static str;

    /// Connects, logs in and looks whether it can do its work; what was found, for people.
    async fn look(&self) -> Result<String, Trouble>;
}

/// What keeps a server from doing its work for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub why: String,
    /// What to do, with the setting to look at.
    pub fix: String,
}

/// What a look at a server found.
#[derive(Debug, Clone)]
pub struct Look {
    /// What the server is called.
    pub name: &'static str,
    /// Where it is.
    pub address: String,
    /// How long the look took.
    pub latency: Duration,
    /// What was found.
    pub found: Result<String, Trouble>,
}

/// A look at `remote`, bounded in time.
pub async fn look(remote: &dyn Remote) -> Look {
    let began = Instant::now();
    let found = timeout(PATIENCE, remote.look()).await.unwrap_or_else(|_| {
        Err(Trouble {
            why: format!("no answer within {} s", PATIENCE.as_secs()),
            fix: format!("check {} and the way there", remote.setting()),
        })
    });
    Look { name: remote.name(), address: remote.address(), latency: began.elapsed(), found }
}

/// The servers of a process.
#[derive(Default)]
pub struct Remotes {
    all: Mutex<Vec<Arc<dyn Remote>>>,
    // Held while a look goes on: whoever asks meanwhile gets what it found.
    looked: tokio::sync::Mutex<Option<(Instant, Vec<Look>)>>,
}

impl Remotes {
    /// Adds one.
    pub fn add(&self, remote: Arc<dyn Remote>) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(remote);
    }

    /// Looks at all of them at once, at most once a second.
    pub async fn look(&self) -> Vec<Look> {
        let mut looked = self.looked.lock().await;
        if let Some((at, looks)) = &*looked
            && at.elapsed() < KEPT
        {
            return looks.clone();
        }
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let looks = futures_util::future::join_all(all.iter().map(|remote| look(remote.as_ref()))).await;
        *looked = Some((Instant::now(), looks.clone()));
        looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Fake(AtomicUsize, bool);

    #[async_trait]
    impl Remote for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn address(&self) -> String {
            "127.0.0.1:1".to_owned()
        }

        fn setting(&self) -> &'static str {
            "fake.address"
        }

        async fn look(&self) -> Result<String, Trouble> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if self.1 {
                std::future::pending::<()>().await;
            }
            Ok("there".to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_looked_at_once_a_second_however_many_ask() {
        let remotes = Remotes::default();
        let fake = Arc::new(Fake(AtomicUsize::new(0), false));
        remotes.add(Arc::clone(&fake) as Arc<dyn Remote>);
        for _ in 0..3 {
            assert_eq!(remotes.look().await[0].found, Ok("there".to_owned()));
        }
        assert_eq!(fake.0.load(Ordering::Relaxed), 1);
        tokio::time::advance(KEPT).await;
        remotes.look().await;
        assert_eq!(fake.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_named_with_its_setting() {
        let found = look(&Fake(AtomicUsize::new(0), true)).await;
        assert_eq!(found.latency, PATIENCE);
        assert!(found.found.is_err_and(|trouble| trouble.fix.contains("fake.address")));
    }
}
