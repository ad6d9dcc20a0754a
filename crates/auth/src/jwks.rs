//! The published keys of an issuer: fetched when needed, kept for a while, and never asked for in a storm.
//!
//! | age of what is kept | what happens |
//! |---|---|
//! | below 5 minutes | used |
//! | 5 to 10 minutes | used; fetched behind the request |
//! | 10 minutes to 1 hour | fetched before it is used; used as it is while fetching fails |
//! | above 1 hour | not used any more: until a fetch succeeds, nobody gets in |
//!
//! A key that is not in the set makes it be fetched at any age. Between two fetches lie at least 30 seconds, whoever
//! asks for whatever, and there is never more than one under way. A fetch goes on when the request that began it ends.

use crate::algorithm::Algorithm;
use crate::bad::{Bad, Denied};
use crate::key_set::KeySet;
use crate::public_key::PublicKey;
use futures_util::future::BoxFuture;
use order_core::Fault;
use order_core::clock::{Clock, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Age at which the set is fetched again behind a request.
const RENEW: Duration = Duration::from_secs(5 * 60);
/// Age at which it must be fetched again before it is used.
const KEEP: Duration = Duration::from_secs(10 * 60);
/// Age up to which it is used when it cannot be fetched.
const KEEP_IF_FAILING: Duration = Duration::from_secs(3600);
/// Least time between two fetches.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// Longest wait for one fetch, whatever it does.
const FETCH_MAX: Duration = Duration::from_secs(10);

/// Fetches the set: its bytes (at most 64 KiB), or why it could not be had, without the address.
pub type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

/// The published keys of one issuer. Clones share them.
#[derive(Clone)]
pub struct Jwks(Arc<Shared>);

struct Shared {
    fetch: Fetch,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    set: Option<(Arc<KeySet>, Timestamp)>,
    tried_at: Option<Timestamp>,
    under_way: bool,
    failing: bool,
}

impl Jwks {
    /// The keys that `fetch` gets.
    pub fn new(fetch: Fetch, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared { fetch, clock, state: Mutex::default(), ended: watch::Sender::new(0) };
        Self(Arc::new(shared))
    }

    /// Begins to fetch the set, so that the first caller need not wait and a wrong address is logged at the start.
    pub fn warm(&self) {
        self.0.start();
    }

    /// The key for a token with this header.
    ///
    /// # Errors
    /// [`Bad::KeyUnknown`]; unknown while the issuer's keys cannot be had.
    pub(crate) async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<PublicKey, Denied> {
        let shared = &self.0;
        let kept = shared.kept();
        if let Some((set, age, failing)) = &kept {
            let found = set.find(kid, algorithm);
            if *age >= RENEW {
                // Behind the request; where the set is too old, `wait` below finds it under way.
                shared.start();
            }
            if let Some(key) = found.filter(|_| *age < KEEP || *failing) {
                return Ok(key.clone());
            }
        }
        shared.wait().await;
        match shared.kept() {
            Some((set, _, _)) => Ok(set.find(kid, algorithm).cloned().ok_or(Bad::KeyUnknown)?),
            None => {
                let why = "the keys of the issuer of tokens cannot be had".to_owned();
                Err(Fault::LoginUnavailable { why, retry_after: COOL_DOWN }.into())
            }
        }
    }
}

impl Shared {
    /// What is kept and may still be used, its age, and whether fetching it fails.
    fn kept(&self) -> Option<(Arc<KeySet>, Duration, bool)> {
        let state = self.state();
        let (set, fetched_at) = state.set.as_ref()?;
        let age = self.clock.now().since(*fetched_at);
        (age < KEEP_IF_FAILING).then(|| (Arc::clone(set), age, state.failing))
    }

    /// Waits for a fetch, if there is or may be one.
    async fn wait(self: &Arc<Self>) {
        // Before the start: a fetch that ends at once is not missed.
        let mut ended = self.ended.subscribe();
        if self.start() {
            // The sender lives as long as `self`.
            drop(ended.changed().await);
        }
    }

    /// Begins a fetch unless the last one began too short a time ago; says whether one is under way.
    fn start(self: &Arc<Self>) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        if state.under_way {
            return true;
        }
        if state.tried_at.is_some_and(|tried_at| now.since(tried_at) < COOL_DOWN) {
            return false;
        }
        state.tried_at = Some(now);
        state.under_way = true;
        drop(state);
        let running = Running(Arc::clone(self));
        tokio::spawn(async move { running.run().await });
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way; its end is told however it ends.
struct Running(Arc<Shared>);

impl Running {
    async fn run(self) {
        let fetched = tokio::time::timeout(FETCH_MAX, (self.0.fetch)()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let read = fetched.and_then(|body| KeySet::read(&body));
        let now = self.0.clock.now();
        let mut state = self.0.state();
        match read {
            Ok(set) => {
                state.set = Some((Arc::new(set), now));
                if std::mem::take(&mut state.failing) {
                    tracing::info!("the keys of the issuer of tokens can be had again");
                }
            }
            Err(why) => {
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::warn!(why, "cannot fetch the keys of the issuer of tokens; trying again");
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().under_way = false;
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}
