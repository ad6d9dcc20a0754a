//! Reads under overload: so many at once, the rest wait for a while, and who would wait longer is refused. One thing by its
//! id comes before lists; writes and health are not held to any of this.

use crate::access::Caller;
use crate::answers::Answers;
use crate::guard::Guard;
use crate::refusal::Refused;
use axum::extract::FromRequestParts;
use http::Method;
use http::request::Parts;
use order_core::{Fault, TenantId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

/// How much may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPolicy {
    /// Reads at once.
    pub at_once: usize,
    /// Of these, lists; always fewer, so that no list keeps a look-up waiting.
    pub lists_at_once: usize,
    /// Longest wait for a turn.
    pub wait: Duration,
    /// Bytes of answers that clients have not taken, beyond which nothing more is read.
    pub answers_bytes_max: usize,
}

impl Default for ReadPolicy {
    fn default() -> Self {
        Self { at_once: 16, lists_at_once: 3, wait: Duration::from_secs(1), answers_bytes_max: 64 << 20 }
    }
}

/// What a route reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadClass {
    /// One thing, by its id.
    One,
    /// Many.
    List,
}

impl ReadClass {
    const ALL: [Self; 2] = [Self::One, Self::List];

    /// What a route reads, by what it is: a path that ends with a parameter names one thing, and so does a method of gRPC
    /// that gets (all of those are POST). `None` for what writes.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        match (method, path.ends_with('}')) {
            (&Method::GET, true) => Some(Self::One),
            (&Method::POST, _) if path.rsplit('/').next().is_some_and(|name| name.starts_with("Get")) => {
                Some(Self::One)
            }
            (&Method::GET, false) => Some(Self::List),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::One => "order",
            Self::List => "list",
        }
    }
}

/// The reads of a process.
#[derive(Debug)]
pub struct Reads {
    wait: Duration,
    all: Semaphore,
    lists: Semaphore,
    /// What was read and not yet taken.
    pub answers: Arc<Answers>,
}

/// A turn to read, until this is dropped.
pub(crate) struct Turn<'r> {
    _list: Option<SemaphorePermit<'r>>,
    _any: SemaphorePermit<'r>,
}

impl Reads {
    /// Nothing is read yet.
    pub fn new(policy: ReadPolicy) -> Self {
        let at_once = policy.at_once.clamp(1, Semaphore::MAX_PERMITS);
        let lists = policy.lists_at_once.clamp(1, (at_once - 1).max(1));
        Self {
            wait: policy.wait,
            all: Semaphore::new(at_once),
            lists: Semaphore::new(lists),
            answers: Answers::new(policy.answers_bytes_max),
        }
    }

    /// A turn to read for `tenant`.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when none comes in time, or the answers to what was read before are not taken.
    pub(crate) async fn turn(&self, tenant: &TenantId, class: ReadClass) -> Result<Turn<'_>, Fault> {
        let turn = self.wait_for(tenant, class).await;
        if matches!(turn, Err(Fault::Overloaded { .. })) {
            metrics::counter!("wellorder_reads_shed_total", "class" => class.word()).increment(1);
        }
        turn
    }

    async fn wait_for(&self, tenant: &TenantId, class: ReadClass) -> Result<Turn<'_>, Fault> {
        self.answers.room(tenant)?;
        let turn = async {
            let list = match class {
                ReadClass::List => Some(permit(&self.lists).await?),
                ReadClass::One => None,
            };
            Ok(Turn { _list: list, _any: permit(&self.all).await? })
        };
        let waiting = Waiting::of(class);
        let turn = tokio::time::timeout(self.wait, turn).await.map_err(|_| Fault::overloaded())??;
        drop(waiting);
        // Those that had their turn meanwhile have left their answers.
        self.answers.room(tenant)?;
        Ok(turn)
    }
}

/// A read that waits, until this is dropped: its request may be given up meanwhile.
struct Waiting(ReadClass);

impl Waiting {
    fn of(class: ReadClass) -> Self {
        gauge(class).increment(1.0);
        Self(class)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        gauge(self.0).decrement(1.0);
    }
}

fn gauge(class: ReadClass) -> metrics::Gauge {
    metrics::gauge!("wellorder_reads_waiting", "class" => class.word())
}

async fn permit(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Fault> {
    match turns.try_acquire() {
        Ok(permit) => Ok(permit),
        Err(TryAcquireError::NoPermits) => turns.acquire().await.map_err(Fault::internal),
        Err(closed @ TryAcquireError::Closed) => Err(Fault::internal(closed)),
    }
}

/// There is room for a large answer. A write that is answered with much that is read takes it before it does anything.
#[derive(Debug, Clone, Copy)]
pub struct AnswerRoom;

impl<S: Send + Sync> FromRequestParts<S> for AnswerRoom {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let Some(guard) = parts.extensions.get::<Arc<Guard>>() else { return Ok(Self) };
        let room = guard.reads.answers.room(&caller.tenant);
        if room.is_err() {
            metrics::counter!("wellorder_reads_shed_total", "class" => ReadClass::List.word()).increment(1);
        }
        Ok(room.map(|()| Self)?)
    }
}

/// Describes what is counted.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "wellorder_reads_shed_total",
        "Reads that were refused because too much was being read, or was not taken: of one `order`, or a `list`"
    );
    metrics::describe_gauge!("wellorder_reads_waiting", "Reads that wait for their turn");
    metrics::describe_gauge!(
        "wellorder_answers_bytes",
        "Bytes of large answers that clients have not taken yet"
    );
    // There from the start: a rate needs a zero to rise from.
    for class in ReadClass::ALL {
        metrics::counter!("wellorder_reads_shed_total", "class" => class.word()).increment(0);
        gauge(class).increment(0.0);
    }
    metrics::gauge!("wellorder_answers_bytes").increment(0.0);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::time::Instant;

    fn reads(at_once: usize, lists_at_once: usize) -> Reads {
        Reads::new(ReadPolicy { at_once, lists_at_once, ..ReadPolicy::default() })
    }

    #[test]
    fn a_path_that_ends_with_a_parameter_names_one_thing() {
        let of = |method: Method, path: &str| ReadClass::of(&method, path);
        assert_eq!(of(Method::GET, "/orders/{order_id}"), Some(ReadClass::One));
        for list in ["/orders", "/orders/{order_id}/events", "/metrics"] {
            assert_eq!(of(Method::GET, list), Some(ReadClass::List), "{list}");
        }
        for method in [Method::POST, Method::PATCH, Method::DELETE] {
            assert_eq!(of(method, "/orders/{order_id}"), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lists_leave_room_for_look_ups_and_who_waits_too_long_is_refused() {
        let (reads, tenant) = (reads(3, 9), TenantId::default_tenant());
        let turn = |class| reads.turn(&tenant, class);
        let lists = [turn(ReadClass::List).await.unwrap(), turn(ReadClass::List).await.unwrap()];
        let began = Instant::now();
        assert!(matches!(turn(ReadClass::List).await, Err(Fault::Overloaded { .. })));
        assert_eq!(began.elapsed(), Duration::from_secs(1), "that is how long it waited");
        let one = turn(ReadClass::One).await.unwrap();
        assert!(turn(ReadClass::One).await.is_err(), "all turns are taken");
        let (next, ()) = tokio::join!(turn(ReadClass::List), async { drop(lists) });
        assert!(next.is_ok(), "whoever waits gets the turn that comes free");
        drop((one, next));
        assert_eq!((reads.all.available_permits(), reads.lists.available_permits()), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_answers_are_not_taken() {
        let reads = Reads::new(ReadPolicy { answers_bytes_max: 100_000, ..ReadPolicy::default() });
        let tenant = TenantId::default_tenant();
        let began = Instant::now();
        let held = reads.answers.counted(&tenant, vec![0; 100_000]);
        for class in ReadClass::ALL {
            assert!(matches!(reads.turn(&tenant, class).await, Err(Fault::Overloaded { .. })));
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "at once");
        drop(held);
        assert!(reads.turn(&tenant, ReadClass::List).await.is_ok());
    }
}
