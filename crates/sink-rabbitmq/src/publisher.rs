//! The sink, and the connection that it publishes over.

use crate::handover::{self, Post, Taken};
use crate::link::{self, Confirming, Options, Trouble};
use crate::topology::Topology;
use async_trait::async_trait;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection};
use order_core::ids::{OrderId, SourceId};
use order_core::journal::Event;
use order_core::parking::RefusedFor;
use order_core::ports::{RefusedEvent, Sink, SinkFault};
use order_core::telling::Untellable;
use order_core::trace::TraceContext;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::Mutex;

/// Kept on disk by a durable queue.
pub(crate) const PERSISTENT: u8 = 2;

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The exchange; `""` stands for the queue that `routing_key` names.
    pub exchange: String,
    /// What queues are bound by.
    pub routing_key: String,
    /// Whether it must reach a queue: if none takes it, it counts as refused.
    pub mandatory: bool,
    /// What it is known by; empty: by nothing.
    pub message_id: String,
    /// What kind of message it is.
    pub kind: String,
    /// When what it tells happened, in seconds since 1970.
    pub timestamp: u64,
    /// JSON.
    pub body: Vec<u8>,
    /// Further headers, names and values.
    pub headers: Vec<(&'static str, String)>,
    /// Where in a trace it belongs.
    pub trace: Option<TraceContext>,
}

impl Message {
    fn post(&self) -> Post<'_> {
        let Self { exchange, routing_key: key, mandatory, body, .. } = self;
        Post { exchange, key, mandatory: *mandatory, body, properties: self.properties() }
    }

    fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            headers.insert((*name).into(), AMQPValue::LongString(value.as_str().into()));
        }
        if let Some(trace) = self.trace {
            // W3C Trace Context.
            headers.insert("traceparent".into(), AMQPValue::LongString(trace.to_string().into()));
        }
        let short = |text: &str| lapin::types::ShortString::try_new(text).unwrap_or_default();
        let mut properties = BasicProperties::default();
        if !self.message_id.is_empty() {
            properties = properties.with_message_id(short(&self.message_id));
        }
        properties
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_type(short(&self.kind))
            .with_timestamp(self.timestamp)
            .with_app_id("wellorder".into())
            .with_headers(headers)
    }
}

/// What becomes of an event in RabbitMQ.
pub trait Encode: Send + Sync {
    /// The exchanges and queues that must be there first.
    fn topology(&self) -> Topology;

    /// As [`Sink::sources`].
    fn sources(&self) -> Option<Vec<SourceId>> {
        None
    }

    /// The message; `None` when the event is of no concern here.
    ///
    /// # Errors
    /// When there should be one, and it can never be made: then the order is parked, and no other waits for it.
    fn encode(&self, event: &Event) -> Result<Option<Message>, Untellable>;
}

struct Live {
    connection: Connection,
    over: Confirming,
}

/// Publishes over one connection, made anew after a failure.
pub struct Publisher {
    options: Options,
    topology: Topology,
    live: Mutex<Option<Live>>,
}

impl Publisher {
    /// A publisher for exchanges and queues that it declares. Nothing is connected yet.
    pub fn new(options: Options, topology: Topology) -> Self {
        Self { options, topology, live: Mutex::new(None) }
    }

    /// Makes sure that there is a connection, and what is published to.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(&self) -> Result<(), Trouble> {
        let mut live = self.live.lock().await;
        self.connected(&mut live).await.map(drop)
    }

    /// Publishes one message, and returns once it is safe.
    ///
    /// # Errors
    /// Why it was not taken; it may have been, when the connection broke.
    pub async fn publish(&self, message: &Message) -> Result<(), Trouble> {
        match self.wave(&[message]).await?.pop() {
            Some(Taken::Yes) => Ok(()),
            Some(Taken::Returned(why)) => Err(Trouble::new(unrouted(message, &why))),
            Some(Taken::Refused) => Err(full(message)),
            Some(Taken::TooLarge(why)) => Err(Trouble::new(why)),
            None => Err(Trouble::new("nothing was published")),
        }
    }

    /// Declares once more what is published to: somebody may have taken a queue away since.
    async fn mend(&self) -> Result<(), Trouble> {
        let mut live = self.live.lock().await;
        let over = self.connected(&mut live).await?;
        link::in_time(&self.options, self.topology.declare(&over.channel)).await
    }

    async fn connected(&self, live: &mut Option<Live>) -> Result<Confirming, Trouble> {
        if let Some(Live { connection, over }) = &*live
            && connection.status().connected()
            && over.channel.status().connected()
        {
            return Ok(over.clone());
        }
        *live = None;
        let connection = link::connect(&self.options, "publisher").await?;
        let opening = async {
            let over = Confirming::open(&connection).await?;
            self.topology.declare(&over.channel).await?;
            Ok(over)
        };
        let over = link::in_time(&self.options, opening).await?;
        *live = Some(Live { connection, over: over.clone() });
        Ok(over)
    }

    /// Publishes messages that may overtake each other; one answer for each. One wave at a time is on its way, so that what
    /// comes back is of this one.
    async fn wave(&self, messages: &[&Message]) -> Result<Vec<Taken>, Trouble> {
        let mut live = self.live.lock().await;
        let over = self.connected(&mut live).await?;
        let posts: Vec<Post<'_>> = messages.iter().map(|message| message.post()).collect();
        let taken = handover::all(&over, &posts, self.options.answer_timeout).await;
        if taken.is_err() {
            // What hangs or failed in one connection is never finished by it.
            live.take();
        }
        taken
    }
}

fn full(message: &Message) -> Trouble {
    let Message { exchange, routing_key, .. } = message;
    Trouble::new(format!(
        "a queue does not take it: exchange {exchange}, routing key {routing_key}; is it full?"
    ))
}

fn unrouted(message: &Message, why: &str) -> String {
    format!("no queue takes it: exchange {}, routing key {} ({why})", message.exchange, message.routing_key)
}

/// The sink. Nothing is connected before it is opened.
pub struct RabbitSink {
    publisher: Publisher,
    encode: Box<dyn Encode>,
}

impl RabbitSink {
    /// A sink that publishes what `encode` makes of events.
    pub fn new(options: Options, encode: Box<dyn Encode>) -> Self {
        Self { publisher: Publisher::new(options, encode.topology()), encode }
    }

    fn fault(&self, trouble: &Trouble) -> SinkFault {
        SinkFault::transient(format!("{trouble} (rabbitmq.url {})", self.publisher.options.address))
    }
}

#[async_trait]
impl Sink for RabbitSink {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn sources(&self) -> Option<Vec<SourceId>> {
        self.encode.sources()
    }

    async fn open(&self) -> Result<(), SinkFault> {
        self.publisher.open().await.map_err(|trouble| self.fault(&trouble))
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let (mut messages, mut refused) = (Vec::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            match self.encode.encode(event) {
                Ok(Some(message)) => messages.push(Carried { index, order_id: event.order_id, message }),
                Ok(None) => {}
                Err(never) => {
                    let (reason, why) = (RefusedFor::Invalid, never.to_string());
                    refused.push(RefusedEvent { index, reason, why });
                }
            }
        }
        for mut wave in waves(&messages) {
            // What is behind a refused one waits with it.
            wave.retain(|one| {
                let is_behind =
                    |it: &RefusedEvent| it.index < one.index && events[it.index].order_id == one.order_id;
                !refused.iter().any(is_behind)
            });
            refused.extend(self.wave(&wave).await.map_err(|trouble| self.fault(&trouble))?);
        }
        // Of each order the first: the rest of what it has waits with that.
        refused.sort_by_key(|it| it.index);
        let mut orders = BTreeSet::new();
        refused.retain(|it| orders.insert(events[it.index].order_id));
        if refused.is_empty() { Ok(()) } else { Err(SinkFault::Refused(refused)) }
    }
}

impl RabbitSink {
    /// Publishes a wave; gives those that no queue takes, or no connection, and why.
    async fn wave(&self, wave: &[&Carried]) -> Result<Vec<RefusedEvent>, Trouble> {
        let (returned, mut refused): (Vec<RefusedEvent>, Vec<RefusedEvent>) =
            self.once(wave).await?.into_iter().partition(|one| one.reason == RefusedFor::Unroutable);
        if returned.is_empty() {
            return Ok(refused);
        }
        // Perhaps the queue is ours and somebody took it away: then declaring it mends that.
        self.publisher.mend().await?;
        let came_back = |one: &&Carried| returned.iter().any(|it| it.index == one.index);
        let again: Vec<&Carried> = wave.iter().copied().filter(came_back).collect();
        refused.extend(self.once(&again).await?);
        Ok(refused)
    }

    async fn once(&self, wave: &[&Carried]) -> Result<Vec<RefusedEvent>, Trouble> {
        let messages: Vec<&Message> = wave.iter().map(|one| &one.message).collect();
        let mut refused = Vec::new();
        for (taken, one) in self.publisher.wave(&messages).await?.into_iter().zip(wave) {
            match taken {
                Taken::Yes => {}
                Taken::Returned(why) => {
                    let (reason, why) = (RefusedFor::Unroutable, unrouted(&one.message, &why));
                    refused.push(RefusedEvent { index: one.index, reason, why });
                }
                Taken::TooLarge(why) => {
                    refused.push(RefusedEvent { index: one.index, reason: RefusedFor::TooLarge, why });
                }
                Taken::Refused => return Err(full(&one.message)),
            }
        }
        Ok(refused)
    }
}

/// A message, and which of the events it was made of.
struct Carried {
    index: usize,
    order_id: OrderId,
    message: Message,
}

/// Messages apart by how many of the same order come before: each wave holds an order once.
fn waves(messages: &[Carried]) -> Vec<Vec<&Carried>> {
    let mut waves: Vec<Vec<&Carried>> = Vec::new();
    let mut before: BTreeMap<OrderId, usize> = BTreeMap::new();
    for one in messages {
        let turn = before.entry(one.order_id).or_default();
        if waves.len() == *turn {
            waves.push(Vec::new());
        }
        waves[*turn].push(one);
        *turn += 1;
    }
    waves
}
