//! Servers that this process talks to besides its storage, and what health checks find out about them.

use async_trait::async_trait;
use futures_util::future::join_all;
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

/// What is wrong with the certificate that a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadCertificate {
    /// Nobody who is believed vouches for it.
    Issuer,
    /// It is for another name.
    Name,
    /// It has expired, or is not good yet.
    Time,
}

impl BadCertificate {
    /// What an error is about, by the words of `rustls`: clients of servers pass them on, and nothing else of it.
    pub fn of(error: &str) -> Option<Self> {
        let (_, why) = error.split_once("invalid peer certificate: ")?;
        let says = |words: &str| why.contains(words);
        if says("UnknownIssuer") || says("BadSignature") {
            Some(Self::Issuer)
        } else if says("not valid for name") || says("NotValidForName") {
            Some(Self::Name)
        } else if says("certificate expired") || says("not valid yet") {
            Some(Self::Time)
        } else {
            None
        }
    }
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

/// A server, and what the last look at it found.
struct Watched {
    remote: Arc<dyn Remote>,
    // Held while a look goes on: whoever asks meanwhile gets what it found.
    turn: tokio::sync::Mutex<()>,
    found: Mutex<Option<(Instant, Look)>>,
}

impl Watched {
    fn last(&self) -> Option<(Instant, Look)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn look(&self) -> Look {
        let _turn = self.turn.lock().await;
        if let Some((at, look)) = self.last()
            && at.elapsed() < KEPT
        {
            return look;
        }
        let look = look(self.remote.as_ref()).await;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), look.clone()));
        look
    }
}

/// The servers of a process.
#[derive(Default)]
pub struct Remotes(Mutex<Vec<Arc<Watched>>>);

impl Remotes {
    /// Adds one.
    pub fn add(&self, remote: Arc<dyn Remote>) {
        let watched = Watched { remote, turn: tokio::sync::Mutex::default(), found: Mutex::default() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(watched));
    }

    fn all(&self) -> Vec<Arc<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at all of them at once, at each at most once a second.
    pub async fn look(&self) -> Vec<Look> {
        let all = self.all();
        join_all(all.iter().map(|watched| watched.look())).await
    }

    /// The same of those with these names.
    pub async fn look_at(&self, names: &[&str]) -> Vec<Look> {
        let some = self.named(names);
        join_all(some.iter().map(|watched| watched.look())).await
    }

    fn named(&self, names: &[&str]) -> Vec<Arc<Watched>> {
        let mut all = self.all();
        all.retain(|watched| names.contains(&watched.remote.name()));
        all
    }

    /// Whether those with these names can be had, as far as that is known after `patience`. A look that takes longer goes on
    /// beside, and what the one before it found is told; who was never found cannot be had.
    pub async fn can_be_had(&self, names: &[&str], patience: Duration) -> Vec<(&'static str, bool)> {
        join_all(self.named(names).into_iter().map(|watched| async move {
            let beside = Arc::clone(&watched);
            let looking = tokio::spawn(async move { beside.look().await });
            let look = match timeout(patience, looking).await {
                Ok(Ok(look)) => Some(look),
                _ => watched.last().map(|(_, look)| look),
            };
            (watched.remote.name(), look.is_some_and(|look| look.found.is_ok()))
        }))
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

    #[test]
    fn what_ails_a_certificate_is_told_by_the_words_of_the_library() {
        let of = |why: &str| BadCertificate::of(&format!("IO error: invalid peer certificate: {why}"));
        assert_eq!(of("UnknownIssuer"), Some(BadCertificate::Issuer));
        let name = r#"certificate not valid for name "127.0.0.1"; certificate is only valid for DnsName("localhost")"#;
        assert_eq!(of(name), Some(BadCertificate::Name));
        let time = "certificate expired: verification time 2 (UNIX), but certificate is not valid after 1 (1 seconds ago)";
        assert_eq!(of(time), Some(BadCertificate::Time));
        assert_eq!(of("Other(CaUsedAsEndEntity)"), None);
        assert_eq!(BadCertificate::of("UnknownIssuer"), None, "of a certificate");
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

    /// There, until it hangs.
    struct Hanging(AtomicBool);

    #[async_trait]
    impl Remote for Hanging {
        fn name(&self) -> &'static str {
            "hanging"
        }

        fn address(&self) -> String {
            String::new()
        }

        fn setting(&self) -> &'static str {
            "hanging.address"
        }

        async fn look(&self) -> Result<String, Trouble> {
            if self.0.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            Ok("there".to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_it_wants_to_for_a_server_that_hangs() {
        let (remotes, hanging) = (Remotes::default(), Arc::new(Hanging(AtomicBool::new(false))));
        remotes.add(Arc::clone(&hanging) as Arc<dyn Remote>);
        remotes.add(Arc::new(Fake(AtomicUsize::new(0), true)));
        let patience = Duration::from_secs(1);
        let asked = async |names: &[&str]| {
            let began = Instant::now();
            let known = remotes.can_be_had(names, patience).await;
            assert!(began.elapsed() <= patience, "{names:?}: {:?}", began.elapsed());
            known
        };
        assert_eq!(asked(&["hanging"]).await, [("hanging", true)], "the other is not looked at");
        hanging.0.store(true, Ordering::Relaxed);
        tokio::time::advance(KEPT).await;
        assert_eq!(
            asked(&["hanging", "fake"]).await,
            [("hanging", true), ("fake", false)],
            "as it was known"
        );
        tokio::time::advance(PATIENCE).await;
        tokio::task::yield_now().await;
        assert_eq!(asked(&["hanging"]).await, [("hanging", false)], "that look has ended beside");
        assert!(asked(&["nobody"]).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_named_with_its_setting() {
        let found = look(&Fake(AtomicUsize::new(0), true)).await;
        assert_eq!(found.latency, PATIENCE);
        assert!(found.found.is_err_and(|trouble| trouble.fix.contains("fake.address")));
    }
}
