//! Takes messages from a queue, each until it is dealt with.

use crate::link::{self, Options, Trouble, broken, name};
use crate::retries::{Retries, attempt};
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
        let mut wait = RECONNECT_MIN;
        while !*stop.borrow() {
            let Err(trouble) = self.connected(&mut stop).await else { return };
            if self.stats.figures().connected {
                wait = RECONNECT_MIN;
            }
            if self.stats.disconnected(&trouble.to_string()) {
                tracing::warn!(queue = self.queue(), error = %trouble, "cannot consume; trying again");
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = sleep(wait) => {}
            }
            wait = RECONNECT_MAX.min(wait * 2);
        }
    }

    /// Consumes over one connection; ends well only by `stop`.
    async fn connected(&self, stop: &mut watch::Receiver<bool>) -> Result<(), Trouble> {
        let what = format!("consumer of {}", self.queue());
        let connection = tokio::select! {
            () = stopped(stop) => return Ok(()),
            connection = link::connect(&self.server, &what) => connection?,
        };
        let consumed = self.consume(&connection, stop).await;
        // What was not acknowledged goes back to the queue, whether this is heard or not.
        drop(timeout(DRAIN_MAX, connection.close(200, "bye".into())).await);
        consumed
    }

    async fn consume(
        &self,
        connection: &Connection,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Trouble> {
        let (channel, mut deliveries) = link::in_time(&self.server, self.begin(connection)).await?;
        self.stats.connected();
        tracing::info!(queue = self.queue(), "consuming");
        let mut in_hand = FuturesUnordered::new();
        let stopping = stop.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                () = stopped(stop) => break,
                Some(dealt_with) = in_hand.next(), if !in_hand.is_empty() => dealt_with?,
                delivery = deliveries.next() => match delivery {
                    Some(Ok(delivery)) => in_hand.push(self.deal_with(&channel, delivery, stopping.clone())),
                    Some(Err(error)) => return Err(Trouble::new(format!("the connection broke: {error}"))),
                    None => return Err(Trouble::new("the server ended the consumer: is the queue gone?".to_owned())),
                },
                _ = look.tick() => link::in_time(&self.server, self.look(&channel)).await?,
            }
        }
        let tag = deliveries.tag();
        drop(timeout(DRAIN_MAX, channel.basic_cancel(tag, BasicCancelOptions::default())).await);
        let rest = async { while in_hand.next().await.is_some() {} };
        drop(timeout(DRAIN_MAX, rest).await);
        Ok(())
    }

    async fn begin(&self, connection: &Connection) -> Result<(Channel, lapin::Consumer), Trouble> {
        let channel = link::confirming(connection).await?;
        self.retries.declare(&channel).await?;
        let qos = channel.basic_qos(self.options.prefetch, BasicQosOptions::default()).await;
        qos.map_err(broken("cannot limit what is in hand"))?;
        let (queue, options) = (name(self.queue())?, BasicConsumeOptions::default());
        let consuming = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await;
        Ok((channel, consuming.map_err(broken("cannot consume"))?))
    }

    /// How much waits.
    async fn look(&self, channel: &Channel) -> Result<(), Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(name(self.queue())?, passive, FieldTable::default()).await;
        let queue = queue.map_err(|error| Trouble::declaring("queue", self.queue(), &error))?;
        self.stats.set_waiting(queue.message_count().into());
        Ok(())
    }

    /// Sees a message to its end, unless `stop` comes first: then it goes back to the queue.
    async fn deal_with(
        &self,
        channel: &Channel,
        delivery: Delivery,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Trouble> {
        let _in_hand = self.stats.take();
        let patience = self.server.answer_timeout;
        let why = match self.outcome(&delivery, stop).await {
            Outcome::Done => {
                self.stats.count_done();
                fault_point::pass("inbox.after_commit");
                return acknowledge(&delivery).await;
            }
            Outcome::Hold { .. } => {
                let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                return delivery.nack(back).await.map(drop).map_err(broken("cannot give a message back"));
            }
            Outcome::Retry { why } => match self.retries.next(attempt(&delivery)) {
                Some(queue) => {
                    self.retries.put_off(channel, &delivery, &queue, patience).await?;
                    self.stats.count_retried();
                    return acknowledge(&delivery).await;
                }
                None => why,
            },
            Outcome::Poison { why } => why,
        };
        fault_point::pass("inbox.before_dlq");
        self.retries.bury(channel, &delivery, &why, patience).await?;
        fault_point::pass("inbox.after_dlq");
        self.stats.count_dead();
        tracing::warn!(queue = self.queue(), why, "a message is a dead letter");
        acknowledge(&delivery).await
    }

    /// What becomes of a message; held while that is a fault of ours.
    async fn outcome(&self, delivery: &Delivery, mut stop: watch::Receiver<bool>) -> Outcome {
        let (began, mut wait) = (Instant::now(), self.options.hold);
        let mut said = false;
        loop {
            let message = Incoming {
                queue: self.queue(),
                body: &delivery.data,
                message_id: delivery.properties.message_id().as_ref().map(|id| id.as_str()),
                attempt: attempt(delivery),
            };
            let outcome = trace::within(trace_of(delivery), self.handle.handle(message)).await;
            let Outcome::Hold { why } = &outcome else { return outcome };
            self.stats.count_held();
            if !said {
                tracing::warn!(queue = self.queue(), why, "holding a message");
                said = true;
            }
            if began.elapsed() >= HOLD_MAX {
                return outcome;
            }
            tokio::select! {
                () = stopped(&mut stop) => return outcome,
                () = sleep(wait) => {}
            }
            wait = HOLD_STEP_MAX.min(wait * 2);
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

/// Where in a trace a message belongs (W3C Trace Context).
fn trace_of(delivery: &Delivery) -> Option<TraceContext> {
    match delivery.properties.headers().as_ref()?.inner().get("traceparent")? {
        AMQPValue::LongString(text) => TraceContext::parse(std::str::from_utf8(text.as_bytes()).ok()?),
        AMQPValue::ShortString(text) => TraceContext::parse(text.as_str()),
        _ => None,
    }
}
