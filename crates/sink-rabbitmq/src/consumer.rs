//! Takes messages from a queue, each until it is dealt with.

use crate::link::{self, Confirming, Options, Trouble, broken, name};
use crate::retries::{NotMoved, Retries, attempt};
use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};
use order_core::consumers::ConsumerStats;
use order_core::fault_point;
use order_core::inbox::Outcome;
use order_core::trace::{self, TraceContext};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// First wait after a connection was lost; doubles up to `RECONNECT_MAX`.
const RECONNECT_MIN: Duration = Duration::from_millis(200);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// A connection that lasted for so long was a good one, though nothing came.
const SETTLED: Duration = Duration::from_secs(30);
/// Between two looks at how much waits in the queue.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that a message is held at a time. Servers take a consumer that acknowledges nothing for half an hour for dead.
const HOLD_MAX: Duration = Duration::from_secs(600);
/// The longest wait between two tries of a message that is held.
const HOLD_STEP_MAX: Duration = Duration::from_secs(5);
/// The longest wait at the end for what is in hand.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'m> {
    /// The queue.
    pub queue: &'m str,
    /// What it says.
    pub body: &'m [u8],
    /// What its sender knows it by, if it says so.
    pub message_id: Option<&'m str>,
    /// How many retries it has had.
    pub attempt: usize,
}

/// Deals with messages. May be called again for the same one.
#[async_trait]
pub trait Handle: Send + Sync {
    /// One try.
    async fn handle(&self, message: Incoming<'_>) -> Outcome;
}

/// How messages are taken.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// The queue, declared durable and without arguments.
    pub queue: String,
    /// How long a message waits before its first, second … retry.
    pub retries: Vec<Duration>,
    /// Most messages in hand.
    pub prefetch: u16,
    /// First wait before a message that is held is tried again; doubles up to five seconds.
    pub hold: Duration,
}

impl ConsumerOptions {
    /// With retries after 5, 25 and 125 seconds, and 50 messages in hand.
    pub fn new(queue: &str) -> Self {
        let retries = [5, 25, 125].map(Duration::from_secs).to_vec();
        Self { queue: queue.to_owned(), retries, prefetch: 50, hold: Duration::from_secs(1) }
    }
}

/// How many messages are ready in a queue.
async fn messages(channel: &Channel, queue: &str) -> Result<u64, Trouble> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(name(queue)?, passive, FieldTable::default()).await;
    let declared = declared.map_err(|error| Trouble::declaring("queue", queue, &error))?;
    Ok(declared.message_count().into())
}

/// Takes the messages of one queue. Several may take from one queue.
pub struct Consumer {
    server: Options,
    options: ConsumerOptions,
    retries: Retries,
    handle: Arc<dyn Handle>,
    stats: Arc<ConsumerStats>,
}

impl Consumer {
    /// A consumer that has `handle` deal with messages. Nothing is connected yet.
    pub fn new(server: Options, options: ConsumerOptions, handle: Arc<dyn Handle>) -> Self {
        let retries = Retries::new(&options.queue, &options.retries);
        Self { server, options, retries, handle, stats: Arc::default() }
    }

    /// The queue.
    pub fn queue(&self) -> &str {
        &self.options.queue
    }

    /// What it has done.
    pub fn stats(&self) -> Arc<ConsumerStats> {
        Arc::clone(&self.stats)
    }

    /// Consumes until `stop`, over one connection after the other.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let (mut wait, mut told) = (RECONNECT_MIN, None);
        while !*stop.borrow() {
            let (began, before) = (Instant::now(), self.dealt_with());
            let Err(trouble) = self.connected(&mut stop, told.is_some()).await else { return };
            // One that breaks as soon as it is there, time after time, is no better than none.
            if self.dealt_with() > before || began.elapsed() >= SETTLED {
                (wait, told) = (RECONNECT_MIN, None);
            }
            let why = trouble.to_string();
            self.stats.disconnected(&why);
            if told.as_ref() != Some(&why) {
                tracing::warn!(queue = self.queue(), error = why, "cannot consume; trying again");
                told = Some(why);
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = sleep(wait) => {}
            }
            wait = RECONNECT_MAX.min(wait * 2);
        }
    }

    /// How many messages came to their end, or were put off.
    fn dealt_with(&self) -> u64 {
        let figures = self.stats.figures();
        figures.done + figures.retried + figures.dead
    }

    /// Consumes over one connection, after one that `failed`; ends well only by `stop`.
    async fn connected(&self, stop: &mut watch::Receiver<bool>, failed: bool) -> Result<(), Trouble> {
        let what = format!("consumer of {}", self.queue());
        let connection = tokio::select! {
            () = stopped(stop) => return Ok(()),
            connection = link::connect(&self.server, &what) => connection?,
        };
        let consumed = self.consume(&connection, stop, failed).await;
        // What was not acknowledged goes back to the queue, whether this is heard or not.
        drop(timeout(DRAIN_MAX, connection.close(200, "bye".into())).await);
        consumed
    }

    async fn consume(
        &self,
        connection: &Connection,
        stop: &mut watch::Receiver<bool>,
        failed: bool,
    ) -> Result<(), Trouble> {
        let (over, mut deliveries) = link::in_time(&self.server, self.begin(connection)).await?;
        self.stats.connected();
        let mut news = News { queue: self.queue(), since: Instant::now(), told: false };
        if !failed {
            news.tell();
        }
        let mut in_hand = FuturesUnordered::new();
        let stopping = stop.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                () = stopped(stop) => break,
                Some(dealt_with) = in_hand.next(), if !in_hand.is_empty() => {
                    dealt_with?;
                    news.tell();
                }
                delivery = deliveries.next() => match delivery {
                    Some(Ok(delivery)) => in_hand.push(self.deal_with(&over, delivery, stopping.clone())),
                    Some(Err(error)) => return Err(Trouble::new(format!("the connection broke: {error}"))),
                    None => return Err(Trouble::new("the server ended the consumer: is the queue gone?".to_owned())),
                },
                _ = look.tick() => {
                    link::in_time(&self.server, self.look(&over.channel)).await?;
                    link::in_time(&self.server, self.look_aside(connection)).await?;
                    news.tell_when_settled();
                }
            }
        }
        let tag = deliveries.tag();
        drop(timeout(DRAIN_MAX, over.channel.basic_cancel(tag, BasicCancelOptions::default())).await);
        let rest = async { while in_hand.next().await.is_some() {} };
        drop(timeout(DRAIN_MAX, rest).await);
        Ok(())
    }

    async fn begin(&self, connection: &Connection) -> Result<(Confirming, lapin::Consumer), Trouble> {
        let over = Confirming::open(connection).await?;
        let channel = &over.channel;
        self.retries.declare(channel).await?;
        let qos = channel.basic_qos(self.options.prefetch, BasicQosOptions::default()).await;
        qos.map_err(broken("cannot limit what is in hand"))?;
        let (queue, options) = (name(self.queue())?, BasicConsumeOptions::default());
        let consuming = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await;
        Ok((over.clone(), consuming.map_err(broken("cannot consume"))?))
    }

    /// How much waits.
    async fn look(&self, channel: &Channel) -> Result<(), Trouble> {
        self.stats.set_waiting(messages(channel, self.queue()).await?);
        Ok(())
    }

    /// How much was set aside. Over a channel of its own: one that asks for a queue that somebody deleted is closed, and what is
    /// consumed goes on.
    async fn look_aside(&self, connection: &Connection) -> Result<(), Trouble> {
        let channel = connection.create_channel().await.map_err(broken("cannot open a channel"))?;
        let looked = async {
            let mut put_off = 0;
            for room in self.retries.waiting_rooms() {
                put_off += messages(&channel, &room).await?;
            }
            self.stats.set_put_off(put_off);
            self.stats.set_parked(messages(&channel, &self.retries.dead_letters()).await?);
            Ok::<(), Trouble>(())
        };
        if looked.await.is_ok() {
            drop(channel.close(200, "bye".into()).await);
        }
        Ok(())
    }

    /// Sees a message to its end, unless `stop` comes first: then it goes back to the queue.
    async fn deal_with(
        &self,
        over: &Confirming,
        delivery: Delivery,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Trouble> {
        let _in_hand = self.stats.take();
        let way = match self.outcome(&delivery, &mut stop).await {
            Outcome::Done => {
                self.stats.count_done();
                fault_point::pass("inbox.after_commit");
                return acknowledge(&delivery).await;
            }
            Outcome::Hold { .. } => return give_back(&delivery).await,
            Outcome::Retry { why } => match self.retries.next(attempt(&delivery)) {
                Some(queue) => Way::Later(queue),
                None => Way::Dead(why),
            },
            Outcome::Poison { why } => Way::Dead(why),
        };
        if !self.moved(over, &delivery, &way, &mut stop).await? {
            return give_back(&delivery).await;
        }
        match way {
            Way::Later(_) => self.stats.count_retried(),
            Way::Dead(why) => {
                fault_point::pass("inbox.after_dlq");
                self.stats.count_dead();
                tracing::warn!(queue = self.queue(), why, "a message is a dead letter");
            }
        }
        acknowledge(&delivery).await
    }

    /// Moves a message on; false when it is still in hand because the queue that it goes to does not take it, for too long
    /// or until `stop`. It alone waits for that: the connection is as good as it was.
    async fn moved(
        &self,
        over: &Confirming,
        delivery: &Delivery,
        way: &Way,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, Trouble> {
        let (patience, mut holding) = (self.server.answer_timeout, self.holding());
        loop {
            let moved = match way {
                Way::Later(queue) => self.retries.put_off(over, delivery, queue, patience).await,
                Way::Dead(why) => {
                    fault_point::pass("inbox.before_dlq");
                    self.retries.bury(over, delivery, why, patience).await
                }
            };
            match moved {
                Ok(()) => return Ok(true),
                Err(NotMoved::Trouble(trouble)) => return Err(trouble),
                Err(NotMoved::Refused(why)) if holding.again(&why, stop).await => {}
                Err(NotMoved::Refused(_)) => return Ok(false),
            }
        }
    }

    /// What becomes of a message; held while that is a fault of ours.
    async fn outcome(&self, delivery: &Delivery, stop: &mut watch::Receiver<bool>) -> Outcome {
        let mut holding = self.holding();
        loop {
            let message = Incoming {
                queue: self.queue(),
                body: &delivery.data,
                message_id: delivery.properties.message_id().as_ref().map(|id| id.as_str()),
                attempt: attempt(delivery),
            };
            let outcome = trace::within(trace_of(delivery), self.handle.handle(message)).await;
            match &outcome {
                Outcome::Hold { why } if holding.again(why, stop).await => {}
                _ => return outcome,
            }
        }
    }

    fn holding(&self) -> Holding<'_> {
        Holding { of: self, began: Instant::now(), wait: self.options.hold, said: false }
    }
}

/// Where a message goes that was not dealt with.
enum Way {
    /// To this queue, from where it comes again.
    Later(String),
    /// To the dead letters, with the reason.
    Dead(String),
}

/// A message that is held.
struct Holding<'c> {
    of: &'c Consumer,
    began: Instant,
    wait: Duration,
    said: bool,
}

impl Holding<'_> {
    /// Waits until it is time for the next try; false when there is to be none.
    async fn again(&mut self, why: &str, stop: &mut watch::Receiver<bool>) -> bool {
        self.of.stats.count_held();
        if !self.said {
            tracing::warn!(queue = self.of.queue(), why, "holding a message");
            self.said = true;
        }
        if self.began.elapsed() >= HOLD_MAX {
            return false;
        }
        let wait = self.wait;
        self.wait = HOLD_STEP_MAX.min(wait * 2);
        tokio::select! {
            () = stopped(stop) => false,
            () = sleep(wait) => true,
        }
    }
}

/// That a connection is of use, told once: not before it was, where others broke as soon as they were there.
struct News<'c> {
    queue: &'c str,
    since: Instant,
    told: bool,
}

impl News<'_> {
    fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::info!(queue = self.queue, "consuming");
        }
    }

    fn tell_when_settled(&mut self) {
        if self.since.elapsed() >= SETTLED {
            self.tell();
        }
    }
}

/// Returns at the end of the process, or when nobody can tell of it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn acknowledge(delivery: &Delivery) -> Result<(), Trouble> {
    delivery.ack(BasicAckOptions::default()).await.map(drop).map_err(broken("cannot acknowledge"))
}

async fn give_back(delivery: &Delivery) -> Result<(), Trouble> {
    let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    delivery.nack(back).await.map(drop).map_err(broken("cannot give a message back"))
}

/// Where in a trace a message belongs (W3C Trace Context).
fn trace_of(delivery: &Delivery) -> Option<TraceContext> {
    match delivery.properties.headers().as_ref()?.inner().get("traceparent")? {
        AMQPValue::LongString(text) => TraceContext::parse(std::str::from_utf8(text.as_bytes()).ok()?),
        AMQPValue::ShortString(text) => TraceContext::parse(text.as_str()),
        _ => None,
    }
}
