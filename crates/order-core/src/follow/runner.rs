//! A follower on its way: one stretch after the other.

use super::standing::Standing;
use super::stretch::{Ended, Until};
use super::{FollowerPolicy, Progress};
use crate::app::App;
use crate::breaker::{Breaker, Call};
use crate::error::{Error, Fault, Rejection};
use crate::ids::SourceId;
use crate::journal::Event;
use crate::parking::ParkedStream;
use crate::ports::{Sink, SinkFault};
use crate::query::FollowerRow;
use crate::trace::{Attribute, Span, SpanName};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Carries the journal to one sink.
pub struct Follower {
    pub(super) app: Arc<App>,
    pub(super) name: String,
    pub(super) sink: Arc<dyn Sink>,
    /// Of whose orders alone the sink takes events, if so.
    pub(super) sources: Option<Vec<SourceId>>,
    pub(super) policy: FollowerPolicy,
    breaker: Mutex<Breaker>,
    standing: Mutex<Standing>,
    /// Whether the sink is open.
    pub(super) open: AtomicBool,
}

impl Follower {
    /// The follower `name`, which feeds `sink`. Its row must be there ([`App::ensure_follower`]).
    pub fn new(app: Arc<App>, name: &str, sink: Arc<dyn Sink>, policy: FollowerPolicy) -> Self {
        let breaker = Mutex::new(Breaker::new(policy.breaker));
        let (standing, open) = (Mutex::default(), AtomicBool::new(false));
        let (name, sources) = (name.to_owned(), sink.sources());
        Self { app, name, sink, sources, policy, breaker, standing, open }
    }

    /// Reads a page of what is to be carried on once more, else of what is behind the cursor, delivers it, moves that place;
    /// and keeps in [`super::FollowerFaults`] what ails it.
    ///
    /// # Errors
    /// When storage or the sink fails; the place then stays, and the same events come again.
    pub async fn step(&self) -> Result<Progress, Error> {
        let how = self.carry(None).await.how;
        self.tell(&how);
        how
    }

    /// Keeps what ails it, by how a stretch ended.
    fn tell(&self, how: &Result<Progress, Error>) {
        match how {
            Ok(Progress::Carried(_) | Progress::Moved | Progress::LeaseLost | Progress::UpToDate) => {
                self.recovered();
            }
            Ok(Progress::Paused) => {}
            // What the sink said last is told already, unless there was nothing to carry for a while.
            Ok(Progress::Held(_)) if self.app.follower_faults.of(&self.name).is_some() => {}
            Ok(Progress::Held(_)) => self.failed("the sink failed too often and is left alone for a while"),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers; returns what the sink has refused for good.
    pub(super) async fn deliver(
        &self,
        call: Call,
        row: &FollowerRow,
        events: &[Event],
    ) -> Result<Vec<ParkedStream>, Fault> {
        let taken = match self.holding(self.sink.deliver(events)).await {
            Ok(()) => Ok(Vec::new()),
            // A sink that refuses something has answered, unless it refuses too much.
            Err(SinkFault::Refused(refused)) => self.refused(row, events, &refused).await?,
            Err(fault @ SinkFault::Transient(_)) => Err(self.fault(&fault)),
        };
        let now = self.app.clock.now();
        self.breaker().ended(call, taken.is_ok(), now);
        match &taken {
            Ok(_) => self.standing().took(),
            Err(_) => self.standing().failed(now),
        }
        taken
    }

    /// What it means that a move was not made: one that is refused found another place than was read.
    pub(super) fn not_moved(&self, error: Error) -> Result<Progress, Error> {
        match error {
            Error::Rejection(Rejection::LeaseLost) => {
                tracing::warn!(follower = %self.name, "lost the lease; another node goes on, what was sent may come twice");
                self.app.follower_faults.lost(&self.name);
                Ok(Progress::LeaseLost)
            }
            Error::Rejection(_) => Ok(Progress::Moved),
            fault => Err(fault),
        }
    }

    pub(super) fn fault(&self, fault: &SinkFault) -> Fault {
        let why = format!("sink {}: {fault}", self.sink.kind());
        Fault::Unavailable { why, retry_after: self.policy.retry_min }
    }

    /// A span for each event whose trace is recorded, in that trace: whoever looks at an order finds where it went.
    pub(super) fn spans(&self, events: &[Event]) -> Vec<Span> {
        let begin = |event: &Event| {
            let mut span = self.app.tracer.child(SpanName::Deliver, event.trace);
            span.recorded()?;
            span.say(|| Attribute::OrderId(event.order_id));
            span.say(|| Attribute::EventType(event.kind.as_str().to_owned()));
            span.say(|| Attribute::Follower(self.name.clone()));
            span.say(|| Attribute::Sink(self.sink.kind()));
            span.say(|| Attribute::BatchSize(events.len()));
            Some(span)
        };
        events.iter().filter_map(begin).collect()
    }

    /// Follows until `stop` says so, then leaves its shards to other nodes.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        self.follow(stop).await;
        if let Err(error) = self.release().await {
            tracing::warn!(follower = %self.name, %error, "cannot leave it to other nodes; its lease runs out");
        }
    }

    async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let mut grew = self.app.wakes.journal.subscribe();
        let mut pause = self.policy.retry_min;
        while !*stop.borrow() {
            grew.mark_unchanged();
            let until = Until { grew: &mut grew, stop: &mut stop };
            let Ended { has_moved, is_at_end, how } = self.carry(Some(until)).await;
            self.tell(&how);
            if has_moved || !matches!(how, Ok(Progress::Paused | Progress::Held(_)) | Err(_)) {
                pause = self.policy.retry_min;
            }
            let wait = match how {
                Ok(Progress::Carried(_) | Progress::Moved | Progress::LeaseLost) if !is_at_end => continue,
                Ok(Progress::Carried(_) | Progress::Moved | Progress::LeaseLost | Progress::UpToDate) => {
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => return,
                        _ = grew.changed() => {}
                        () = tokio::time::sleep(self.policy.idle) => {}
                    }
                    continue;
                }
                // More events change nothing: look now and then whether it was resumed.
                Ok(Progress::Paused) => self.policy.idle,
                Ok(Progress::Held(wait)) => wait,
                Err(_) => {
                    let now = pause;
                    pause = (pause * 2).min(self.policy.retry_max);
                    now
                }
            };
            // Neither a pause nor a fault is mended by more events: wait for time alone.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    pub(super) fn recovered(&self) {
        if self.app.follower_faults.of(&self.name).is_some() {
            tracing::info!(follower = %self.name, "carries events on again");
            self.app.follower_faults.set(&self.name, None);
        }
    }

    pub(super) fn failed(&self, error: &str) {
        if self.app.follower_faults.of(&self.name).is_none() {
            tracing::error!(follower = %self.name, error, "cannot carry events on; trying again");
        }
        self.app.follower_faults.set(&self.name, Some(error.to_owned()));
    }
}
