//! What takes messages from elsewhere: what it has done, and what waits for it.

use crate::app::App;
use crate::trace::{self, Attribute, SpanName, TraceContext};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Counted since the process began.
#[derive(Debug, Default)]
pub struct ConsumerStats {
    done: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    held: AtomicU64,
    reconnects: AtomicU64,
    connected: AtomicBool,
    waiting: AtomicU64,
    put_off: AtomicU64,
    parked: AtomicU64,
    in_hand: Mutex<Vec<Arc<Instant>>>,
    fault: Mutex<Option<String>>,
}

/// The same at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConsumerFigures {
    /// Messages that were dealt with.
    pub done: u64,
    /// Times that a message was put off.
    pub retried: u64,
    /// Messages that were parked at the broker.
    pub dead: u64,
    /// Times that a message was held: because of a fault of ours, or because what it goes to does not take it.
    pub held: u64,
    /// Times that a connection was lost.
    pub reconnects: u64,
    /// Whether it is connected.
    pub connected: bool,
    /// Messages in the queue when it was looked at last, and those in hand.
    pub lag: u64,
    /// Messages that lie where those are that were put off, when that was looked at last.
    pub put_off: u64,
    /// Messages that lie parked at the broker, when that was looked at last, whoever parked them.
    pub parked: u64,
    /// For how many seconds the oldest message in hand has been there; 0 with none.
    pub age_seconds: f64,
    /// Why it is not connected.
    pub fault: Option<String>,
}

impl ConsumerStats {
    /// What was counted so far.
    pub fn figures(&self) -> ConsumerFigures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let in_hand = locked(&self.in_hand);
        let oldest = in_hand.iter().map(|since| since.elapsed()).max();
        ConsumerFigures {
            done: of(&self.done),
            retried: of(&self.retried),
            dead: of(&self.dead),
            held: of(&self.held),
            reconnects: of(&self.reconnects),
            connected: self.connected.load(Ordering::Relaxed),
            lag: of(&self.waiting) + in_hand.len() as u64,
            put_off: of(&self.put_off),
            parked: of(&self.parked),
            age_seconds: oldest.unwrap_or_default().as_secs_f64(),
            fault: locked(&self.fault).clone(),
        }
    }

    /// A message was dealt with.
    pub fn count_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was put off.
    pub fn count_retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was parked at the broker.
    pub fn count_dead(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    /// A message is held.
    pub fn count_held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// So many messages were in the queue.
    pub fn set_waiting(&self, messages: u64) {
        self.waiting.store(messages, Ordering::Relaxed);
    }

    /// So many messages lay where those are that were put off.
    pub fn set_put_off(&self, messages: u64) {
        self.put_off.store(messages, Ordering::Relaxed);
    }

    /// So many messages lay parked at the broker.
    pub fn set_parked(&self, messages: u64) {
        self.parked.store(messages, Ordering::Relaxed);
    }

    /// There is a connection.
    pub fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
        locked(&self.fault).take();
    }

    /// Notes that there is no connection; says whether that is news.
    pub fn disconnected(&self, why: &str) -> bool {
        if self.connected.swap(false, Ordering::Relaxed) {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        locked(&self.fault).replace(why.to_owned()).is_none()
    }

    /// Counts a message as in hand until what is returned is dropped.
    pub fn take(self: &Arc<Self>) -> InHand {
        let since = Arc::new(Instant::now());
        locked(&self.in_hand).push(Arc::clone(&since));
        InHand { stats: Arc::clone(self), since }
    }
}

/// A message in hand.
pub struct InHand {
    stats: Arc<ConsumerStats>,
    since: Arc<Instant>,
}

impl Drop for InHand {
    fn drop(&mut self) {
        locked(&self.stats.in_hand).retain(|since| !Arc::ptr_eq(since, &self.since));
    }
}

/// The consumers of a process, each with the name of its queue.
#[derive(Debug, Default)]
pub struct Consumers(Mutex<Vec<(String, Arc<ConsumerStats>)>>);

impl Consumers {
    /// Adds one.
    pub fn add(&self, queue: &str, stats: Arc<ConsumerStats>) {
        locked(&self.0).push((queue.to_owned(), stats));
    }

    /// What each has done.
    pub fn figures(&self) -> Vec<(String, ConsumerFigures)> {
        locked(&self.0).iter().map(|(queue, stats)| (queue.clone(), stats.figures())).collect()
    }
}

impl App {
    /// Deals with a message of `queue` by `deal`, in the trace that it came with, or one that begins here.
    pub async fn deal_with<F: Future>(&self, queue: &str, trace: Option<TraceContext>, deal: F) -> F::Output {
        let mut span = self.tracer.begin(SpanName::Consume, trace);
        span.say(|| Attribute::Queue(queue.to_owned()));
        trace::within(span.context(), deal).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
