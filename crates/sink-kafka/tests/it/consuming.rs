//! Reading topics as one of a group.

use crate::rig::{PARTITIONS, PATIENCE, Topic, brokers, put};
use async_trait::async_trait;
use order_core::consumers::ConsumerStats;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sink_kafka::{Consumer, ConsumerState, Handler, Incoming, Options, Received, Subscription};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// What was handled: topic aside, where it lay, its key and what it said (or why not).
type Seen = (i32, i64, String, Result<u64, String>);

/// Keeps what it is given; may be told to fail, or to wait.
struct Keeper {
    seen: watch::Sender<Vec<Seen>>,
    failures: Mutex<usize>,
    tries: watch::Sender<usize>,
    gate: Semaphore,
    /// Most bytes that one batch had.
    bytes: AtomicUsize,
}

impl Keeper {
    fn new() -> Arc<Self> {
        Self::gated(Semaphore::MAX_PERMITS)
    }

    /// One that lets so many batches pass.
    fn gated(batches: usize) -> Arc<Self> {
        let (seen, tries) = (watch::Sender::new(Vec::new()), watch::Sender::new(0));
        let (failures, gate, bytes) = (Mutex::new(0), Semaphore::new(batches), AtomicUsize::new(0));
        Arc::new(Self { seen, failures, tries, gate, bytes })
    }

    async fn until(&self, is: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut seen = self.seen.subscribe();
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| is(seen))).await;
        found.unwrap_or_else(|_| panic!("only {} were handled", self.seen.borrow().len())).unwrap().clone()
    }

    async fn until_tried(&self, times: usize) {
        let mut tries = self.tries.subscribe();
        tokio::time::timeout(PATIENCE, tries.wait_for(|tries| *tries >= times)).await.unwrap().unwrap();
    }
}

#[async_trait]
impl Handler for Keeper {
    type Message = u64;

    fn read(&self, _: &Received, value: &[u8]) -> Result<u64, String> {
        let text = std::str::from_utf8(value).map_err(|_| "is no text".to_owned())?;
        text.parse().map_err(|_| format!("{text} is no number"))
    }

    async fn handle(&self, batch: &[Incoming<u64>]) -> Result<(), String> {
        self.tries.send_modify(|tries| *tries += 1);
        let bytes = batch.iter().map(|one| one.record().value.as_ref().map_or(0, Vec::len)).sum();
        self.bytes.fetch_max(bytes, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        {
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err("the database is away".to_owned());
            }
        }
        self.seen.send_modify(|seen| seen.extend(batch.iter().map(shown)));
        Ok(())
    }
}

fn shown(incoming: &Incoming<u64>) -> Seen {
    let record = incoming.record();
    let key = String::from_utf8(record.key.clone().unwrap_or_default()).unwrap();
    let said = match incoming {
        Incoming::Message { message, .. } => Ok(*message),
        Incoming::Poison { why, .. } => Err(why.clone()),
    };
    (record.partition, record.offset, key, said)
}

/// A member of a group that runs.
struct Member {
    state: Arc<ConsumerState>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    stats: Arc<ConsumerStats>,
}

impl Member {
    fn join(group: &str, topic: &Topic, keeper: &Arc<Keeper>) -> Self {
        Self::with(Subscription::new(group, &[&topic.0]), keeper)
    }

    fn with(mut subscription: Subscription, keeper: &Arc<Keeper>) -> Self {
        subscription.session_timeout = Duration::from_secs(6);
        let stats = Arc::<ConsumerStats>::default();
        let consumer = Consumer::new(Options::plaintext(&brokers()), subscription).unwrap();
        let consumer = consumer.counting(Arc::clone(&stats));
        let (state, stop, keeper) = (consumer.state(), watch::Sender::new(false), Arc::clone(keeper));
        let stopped = stop.subscribe();
        let task = tokio::spawn(async move { consumer.run(&*keeper, stopped).await });
        Self { state, stop, task, stats }
    }

    async fn leave(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// Waits for a fact.
async fn until(what: &str, is: impl Fn() -> bool) {
    let so = async {
        while !is() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.unwrap_or_else(|_| panic!("this does not happen: {what}"));
}

fn group() -> String {
    format!("test-{}", Uuid::new_v4())
}

fn numbers(count: u64) -> Vec<(String, Option<Vec<u8>>)> {
    (0..count).map(|n| (format!("key-{}", n % 16), Some(n.to_string().into_bytes()))).collect()
}

/// Each key's numbers, in the order in which they were handled.
fn by_key(seen: &[Seen]) -> BTreeMap<&str, Vec<u64>> {
    let mut by_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (_, _, key, said) in seen {
        by_key.entry(key).or_default().push(*said.as_ref().unwrap());
    }
    by_key
}

#[tokio::test]
async fn what_was_handled_does_not_come_again() {
    let (topic, group, keeper) = (Topic::new().await, group(), Keeper::new());
    put(&topic, numbers(200)).await;
    let member = Member::join(&group, &topic, &keeper);
    let seen = keeper.until(|seen| seen.len() >= 200).await;
    member.leave().await;
    assert!(by_key(&seen).values().all(|numbers| numbers.is_sorted()), "{seen:?}");
    put(&topic, vec![("key-1".to_owned(), Some(b"1000".to_vec()))]).await;
    let again = Keeper::new();
    let member = Member::join(&group, &topic, &again);
    let seen = again.until(|seen| !seen.is_empty()).await;
    assert_eq!(seen.into_iter().map(|(.., said)| said).collect::<Vec<_>>(), [Ok(1000)]);
    assert_eq!((member.state.handled(), member.state.fault()), (1, None));
    member.leave().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_poison_and_the_partition_goes_on() {
    let (topic, keeper) = (Topic::new().await, Keeper::new());
    let one_key = |values: &[Option<&[u8]>]| -> Vec<_> {
        values.iter().map(|value| ("one".to_owned(), value.map(<[u8]>::to_vec))).collect()
    };
    put(&topic, one_key(&[Some(b"1"), None, Some(b"null"), Some(b""), Some(b"\xff"), Some(b"2")])).await;
    let member = Member::join(&group(), &topic, &keeper);
    let seen = keeper.until(|seen| seen.len() >= 6).await;
    let said: Vec<_> = seen.iter().map(|(.., said)| said.clone()).collect();
    let poison = |why: &str| Err(why.to_owned());
    let expected = [
        Ok(1),
        poison("the record has no value"),
        poison("null is no number"),
        poison(" is no number"),
        poison("is no text"),
        Ok(2),
    ];
    assert_eq!(said, expected);
    until("all are counted", || member.state.handled() == 6).await;
    assert_eq!(member.state.poison(), 4);
    member.leave().await;
}

#[tokio::test]
async fn a_batch_that_fails_comes_again_whole() {
    let (topic, keeper) = (Topic::new().await, Keeper::new());
    *keeper.failures.lock().unwrap() = 2;
    put(&topic, numbers(40)).await;
    let member = Member::join(&group(), &topic, &keeper);
    keeper.until_tried(2).await;
    let seen = keeper.until(|seen| seen.len() >= 40).await;
    assert_eq!(seen.len(), 40, "each once");
    assert_eq!(member.stats.figures().held, 2);
    assert!(by_key(&seen).values().all(|numbers| numbers.is_sorted()), "{seen:?}");
    member.leave().await;
}

#[tokio::test]
async fn what_a_member_died_with_comes_to_another() {
    let (topic, group) = (Topic::new().await, group());
    put(&topic, numbers(60)).await;
    let doomed = Keeper::gated(0);
    let member = Member::join(&group, &topic, &doomed);
    doomed.until_tried(1).await;
    member.task.abort();
    assert!(member.task.await.unwrap_err().is_cancelled());
    let keeper = Keeper::new();
    let heir = Member::join(&group, &topic, &keeper);
    let seen = keeper.until(|seen| seen.len() >= 60).await;
    assert_eq!((seen.len(), doomed.seen.borrow().len()), (60, 0));
    heir.leave().await;
}

#[tokio::test]
async fn two_share_the_partitions_and_one_takes_over() {
    let (topic, group) = (Topic::new().await, group());
    let (first, second) = (Keeper::new(), Keeper::new());
    put(&topic, numbers(100)).await;
    let one = Member::join(&group, &topic, &first);
    first.until(|seen| seen.len() >= 100).await;
    let two = Member::join(&group, &topic, &second);
    let half = usize::try_from(PARTITIONS / 2).unwrap();
    let shared = async {
        while one.state.partitions() != half || two.state.partitions() != half {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, shared).await.unwrap();
    put(&topic, numbers(400)).await;
    // At least once: what the first had handled and not committed when it was told to share may come to the second.
    let all = |first: &[Seen], second: &[Seen]| {
        let places = first.iter().chain(second).map(|(partition, offset, ..)| (*partition, *offset));
        places.collect::<BTreeSet<_>>().len()
    };
    let (mut a, mut b) = (first.seen.subscribe(), second.seen.subscribe());
    let both = async {
        while all(&first.seen.borrow(), &second.seen.borrow()) < 500 {
            tokio::select! {
                _ = a.changed() => {}
                _ = b.changed() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(!second.seen.borrow().is_empty(), "the second had its share");
    two.leave().await;
    put(&topic, numbers(100)).await;
    let handled = second.seen.borrow().clone();
    first.until(|first| all(first, &handled) >= 600).await;
    assert_eq!(one.state.partitions(), usize::try_from(PARTITIONS).unwrap());
    one.leave().await;
}

#[tokio::test]
async fn a_member_without_a_partition_has_joined_too() {
    let (topic, group, keeper) = (Topic::new().await, group(), Keeper::new());
    let members: Vec<_> = (0..=PARTITIONS).map(|_| Member::join(&group, &topic, &keeper)).collect();
    assert!(!members[0].state.has_joined(), "nobody has told it yet");
    let shared = async {
        let partitions = || members.iter().map(|member| member.state.partitions());
        while partitions().sum::<usize>() != usize::try_from(PARTITIONS).unwrap()
            || partitions().any(|count| count > 1)
            || !members.iter().all(|member| member.state.has_joined())
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, shared).await.unwrap();
    for member in members {
        assert_eq!(member.state.fault(), None);
        member.leave().await;
    }
}

#[tokio::test]
async fn a_slow_handler_is_waited_for_and_nothing_is_lost() {
    let (topic, keeper) = (Topic::new().await, Keeper::gated(0));
    put(&topic, numbers(2_000)).await;
    let mut subscription = Subscription::new(&group(), &[&topic.0]);
    // Room for 20 records beside the batch at hand: the rest waits with the broker.
    subscription.batch_max = 10;
    let member = Member::with(subscription, &keeper);
    keeper.until_tried(1).await;
    assert_eq!(member.state.handled(), 0);
    keeper.gate.add_permits(1_000_000);
    let seen = keeper.until(|seen| seen.len() >= 2_000).await;
    assert_eq!(seen.len(), 2_000, "each once");
    let places: BTreeSet<_> = seen.iter().map(|(partition, offset, ..)| (*partition, *offset)).collect();
    assert_eq!(places.len(), 2_000);
    assert!(by_key(&seen).values().all(|numbers| numbers.is_sorted()));
    member.leave().await;
}

#[tokio::test]
async fn a_member_whose_handler_hangs_stays_in_its_group() {
    let (topic, group, keeper) = (Topic::new().await, group(), Keeper::gated(0));
    put(&topic, numbers(200)).await;
    let mut subscription = Subscription::new(&group, &[&topic.0]);
    subscription.batch_max = 10;
    let member = Member::with(subscription, &keeper);
    keeper.until_tried(1).await;
    // Whoever joins makes the member answer: it takes part although its handler hangs.
    let other = Keeper::new();
    let newcomer = Member::join(&group, &topic, &other);
    let shared = async {
        while newcomer.state.partitions() == 0 || member.state.partitions() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, shared).await.unwrap();
    newcomer.leave().await;
    keeper.gate.add_permits(1_000_000);
    let all = |seen: &[Seen]| {
        seen.iter().map(|(partition, offset, ..)| (*partition, *offset)).collect::<BTreeSet<_>>()
    };
    let handled = all(&other.seen.borrow());
    keeper.until(|seen| all(seen).union(&handled).count() == 200).await;
    member.leave().await;
}

#[tokio::test]
async fn large_records_are_not_all_in_hand_at_once() {
    let (topic, keeper) = (Topic::new().await, Keeper::gated(0));
    // Numbers too, of so many digits.
    let long = |n: u64, digits: usize| Some(format!("{}{n:03}", "0".repeat(digits - 3)).into_bytes());
    put(&topic, (0..100).map(|n| (format!("key-{}", n % 16), long(n, 10_000))).collect()).await;
    // One that is larger than all that may be in hand is alone.
    put(&topic, vec![("key-0".to_owned(), long(100, 100_000))]).await;
    let mut subscription = Subscription::new(&group(), &[&topic.0]);
    subscription.bytes_max = 64 << 10;
    let member = Member::with(subscription, &keeper);
    keeper.until_tried(1).await;
    keeper.gate.add_permits(1_000_000);
    let seen = keeper.until(|seen| seen.len() >= 101).await;
    assert_eq!(seen.iter().map(|(.., said)| said.clone().unwrap()).collect::<BTreeSet<_>>().len(), 101);
    assert_eq!(keeper.bytes.load(Ordering::Relaxed), 100_000);
    let others = seen.iter().filter(|(.., said)| *said != Ok(100)).count();
    assert!(*keeper.tries.borrow() > others / 6, "at most six at a time");
    member.leave().await;
}

/// Somebody in a group, who shares partitions in a way that we do not.
struct Stranger {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Stranger {
    async fn join(group: &str, topic: &Topic) -> Self {
        let stranger: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers())
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .create()
            .unwrap();
        stranger.subscribe(&[&topic.0]).unwrap();
        let (stop, joined) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stopped, is_in) = (Arc::clone(&stop), Arc::clone(&joined));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                drop(stranger.poll(Duration::from_millis(20)));
                is_in.store(stranger.assignment().unwrap().count() > 0, Ordering::Release);
            }
        });
        until("the stranger is in", || joined.load(Ordering::Acquire)).await;
        Self { stop, thread }
    }

    async fn leave(self) {
        self.stop.store(true, Ordering::Release);
        tokio::task::spawn_blocking(move || self.thread.join().unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn what_keeps_a_member_from_reading_is_told_until_it_reads() {
    let (topic, group, keeper) = (Topic::new().await, group(), Keeper::new());
    let stranger = Stranger::join(&group, &topic).await;
    let member = Member::join(&group, &topic, &keeper);
    until("it is told", || member.state.fault().is_some()).await;
    let fault = member.state.fault().unwrap();
    assert!(fault.contains("share partitions in the same way"), "{fault}");
    assert!(!member.state.has_joined());
    stranger.leave().await;
    put(&topic, numbers(10)).await;
    keeper.until(|seen| seen.len() >= 10).await;
    until("that is over", || member.state.fault().is_none() && member.state.has_joined()).await;
    member.leave().await;
}

#[tokio::test]
async fn what_ails_a_batch_that_is_anothers_by_now_ails_its_first_member_no_longer() {
    // Which partitions move when another joins, nobody can say before.
    for _ in 0..10 {
        let (topic, group) = (Topic::new().await, group());
        let (failing, keeper) = (Keeper::new(), Keeper::new());
        *failing.failures.lock().unwrap() = usize::MAX;
        put(&topic, vec![("one".to_owned(), Some(b"1".to_vec()))]).await;
        let first = Member::join(&group, &topic, &failing);
        failing.until_tried(2).await;
        assert_eq!(first.state.fault().as_deref(), Some("the database is away"));
        let second = Member::join(&group, &topic, &keeper);
        let half = usize::try_from(PARTITIONS / 2).unwrap();
        until("they share", || second.state.partitions() == half && first.state.partitions() == half).await;
        let tries = *failing.tries.borrow();
        let goes_on = || *failing.tries.borrow() >= tries + 3;
        let has_moved = || !keeper.seen.borrow().is_empty();
        until("one of the two goes on", || has_moved() || goes_on()).await;
        let has_moved = has_moved();
        if has_moved {
            until("it is well", || first.state.fault().is_none()).await;
            assert_eq!(first.state.handled(), 0, "the other has handled it");
        }
        first.leave().await;
        second.leave().await;
        if has_moved {
            return;
        }
    }
    panic!("it never moved");
}
