//! A processor that does what it is told, and counts.

use async_trait::async_trait;
use order_core::ids::{EventId, OrderId};
use order_core::lease::Leased;
use order_core::ports::{Processed, Processor};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// What one try does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Ends so.
    End(Processed),
    /// Waits for [`ScriptedProcessor::release`], then ends so.
    Hang(Processed),
    /// Panics.
    Panic,
}

impl Act {
    /// Succeeds.
    pub fn done() -> Self {
        Self::End(Processed::Done)
    }

    /// Fails, and may be tried again.
    pub fn fail(why: &str) -> Self {
        Self::End(Processed::Failed { why: why.to_owned(), retry_after: None })
    }

    /// Fails for good.
    pub fn hopeless(why: &str) -> Self {
        Self::End(Processed::Hopeless { why: why.to_owned() })
    }
}

/// Tries follow a script, order by order; without one they succeed.
#[derive(Debug)]
pub struct ScriptedProcessor {
    scripts: Mutex<BTreeMap<OrderId, VecDeque<Act>>>,
    tries: Mutex<Vec<Leased>>,
    effects: Mutex<BTreeMap<EventId, u32>>,
    began: watch::Sender<usize>,
    release: Notify,
}

impl ScriptedProcessor {
    /// One whose tries all succeed.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            scripts: Mutex::default(),
            tries: Mutex::default(),
            effects: Mutex::default(),
            began: watch::Sender::new(0),
            release: Notify::new(),
        })
    }

    /// The next tries of this order do so; those after succeed.
    pub fn script(&self, order_id: OrderId, acts: impl IntoIterator<Item = Act>) {
        lock(&self.scripts).entry(order_id).or_default().extend(acts);
    }

    /// Lets one hanging try go on: the one that hangs longest, or the next that would hang.
    pub fn release(&self) {
        self.release.notify_one();
    }

    /// Waits until so many tries have begun in all.
    pub async fn began(&self, tries: usize) {
        let mut began = self.began.subscribe();
        began.wait_for(|count| *count >= tries).await.expect("the processor is alive");
    }

    /// Every try that began, in order.
    pub fn tries(&self) -> Vec<Leased> {
        lock(&self.tries).clone()
    }

    /// How often the effect of this key came to its end: more than once is a repetition that the outside must know by
    /// its key.
    pub fn effects(&self, effect_key: EventId) -> u32 {
        lock(&self.effects).get(&effect_key).copied().unwrap_or(0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Processor for ScriptedProcessor {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn process(&self, work: &Leased) -> Processed {
        let act = lock(&self.scripts).get_mut(&work.order.id).and_then(VecDeque::pop_front);
        lock(&self.tries).push(work.clone());
        self.began.send_modify(|count| *count += 1);
        let end = match act.unwrap_or(Act::done()) {
            Act::End(end) => end,
            Act::Hang(end) => {
                self.release.notified().await;
                end
            }
            Act::Panic => panic!("the script says so"),
        };
        if end == Processed::Done {
            *lock(&self.effects).entry(work.effect_key).or_default() += 1;
        }
        end
    }
}
