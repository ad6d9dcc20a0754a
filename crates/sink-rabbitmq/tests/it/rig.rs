//! Queues of its own for each test, and what lies in them.

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use order_core::clock::Timestamp;
use order_core::consumers::ConsumerStats;
use order_core::ids::{EventId, OrderId, Shard, SourceId, TenantId};
use order_core::inbox::Outcome;
use order_core::journal::Event;
use order_core::order::event::EventType;
use order_core::telling::Untellable;
use sink_rabbitmq::{
    Address, Consumer, ConsumerOptions, Encode, Exchange, Handle, Incoming, Message, Options, Queue, Topology,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where the server is that all tests share.
pub(crate) fn url() -> String {
    std::env::var("WELLORDER_TEST_RABBITMQ_URL")
        .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5673/%2f".to_owned())
}

pub(crate) fn options() -> Options {
    Options::new(Address::parse(&url()).unwrap())
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("test.{what}.{}", Uuid::new_v4())
}

/// Gives up where a fact does not come to be.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("this does not happen: {what}"),
    }
}

/// Another program at the same server.
pub(crate) struct Other {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Other {
    pub(crate) async fn new() -> Self {
        Self::at(&url()).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        let connected = Connection::connect(url, ConnectionProperties::default()).await;
        let connection = connected.unwrap_or_else(|error| {
            panic!("no RabbitMQ at {url}: {error}; start one: cargo xtask services up rabbitmq")
        });
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    /// Declares a queue as existing programs do: durable, without arguments.
    pub(crate) async fn declare(&self, queue: &str) {
        let declared =
            self.channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default());
        declared.await.unwrap();
    }

    pub(crate) async fn send(&self, queue: &str, body: &str, properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties);
        sent.await.unwrap();
    }

    /// Takes the next `count` messages of a queue.
    pub(crate) async fn take(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let tag = Uuid::new_v4().to_string();
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer =
            self.channel.basic_consume(queue.into(), tag.as_str().into(), options, none).await.unwrap();
        let mut taken = Vec::new();
        while taken.len() < count {
            let what = format!("message {} of {count} in {queue}", taken.len() + 1);
            let delivery = soon(&what, consumer.next()).await.unwrap().unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            taken.push(delivery);
        }
        self.channel.basic_cancel(tag.as_str().into(), Default::default()).await.unwrap();
        taken
    }

    /// Takes the next message of a queue, and leaves all others there.
    pub(crate) async fn next(&self, queue: &str) -> Delivery {
        let next = async {
            loop {
                let got = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await;
                match got.unwrap() {
                    Some(message) => return message.delivery,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        soon(&format!("a message in {queue}"), next).await
    }

    /// How many messages are ready in a queue.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }

    pub(crate) async fn delete(&self, queues: &[String]) {
        for queue in queues {
            self.channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
        }
    }
}

/// The headers of a message that are texts or numbers.
pub(crate) fn headers(delivery: &Delivery) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in delivery.properties.headers().iter().flat_map(|headers| headers.inner()) {
        let shown = match value {
            AMQPValue::LongString(text) => text.to_string(),
            AMQPValue::LongInt(number) => number.to_string(),
            _ => continue,
        };
        headers.insert(name.to_string(), shown);
    }
    headers
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.data.clone()).unwrap()
}

/// An event of an order.
pub(crate) fn event(order_id: OrderId, version: u64, data: &str) -> Event {
    Event {
        event_id: EventId(Uuid::new_v4()),
        tenant: TenantId::default_tenant(),
        source: SourceId::new("api").unwrap(),
        order_id,
        version,
        shard: Shard(3),
        position: 7 + version,
        prev_position: 0,
        epoch: 1,
        kind: EventType::OrderProcessed,
        data_version: 1,
        data: data.to_owned(),
        occurred_at: Timestamp::from_micros(1_790_000_000_123_456),
        trace: None,
    }
}

/// A header of so many bytes.
fn wide(bytes: &str) -> (&'static str, String) {
    ("wide", "x".repeat(bytes.parse().unwrap()))
}

/// Events as a contract may have them: an exchange with one queue.
#[derive(Clone)]
pub(crate) struct ToQueue {
    pub(crate) exchange: String,
    pub(crate) queue: Option<String>,
}

impl ToQueue {
    pub(crate) fn new() -> Self {
        let exchange = unique("orders.created");
        Self { queue: Some(exchange.clone()), exchange }
    }
}

impl Encode for ToQueue {
    fn topology(&self) -> Topology {
        let queue = |name: &String| Queue {
            name: name.clone(),
            bound: Some((self.exchange.clone(), "order.created".to_owned())),
        };
        Topology {
            exchanges: vec![Exchange { name: self.exchange.clone() }],
            queues: self.queue.iter().map(queue).collect(),
        }
    }

    fn encode(&self, event: &Event) -> Result<Option<Message>, Untellable> {
        if event.data == "garbled" {
            return Err(Untellable("it does not read".to_owned()));
        }
        Ok((event.data != "nothing").then(|| Message {
            exchange: self.exchange.clone(),
            routing_key: if event.data == "astray" { "nowhere" } else { "order.created" }.to_owned(),
            mandatory: true,
            message_id: event.event_id.to_string(),
            kind: "OrderCreated".to_owned(),
            timestamp: 1_790_000_000,
            body: format!("{{\"version\":{}}}", event.version).into_bytes(),
            headers: event.data.strip_prefix("wide ").map(wide).into_iter().collect(),
            trace: event.trace,
        }))
    }
}

type Rule = dyn Fn(&str, Incoming<'_>) -> Outcome + Send + Sync;

/// Tells of each try, and answers by a rule.
struct Told {
    tries: mpsc::UnboundedSender<(String, usize)>,
    rule: Box<Rule>,
}

#[async_trait]
impl Handle for Told {
    async fn handle(&self, message: Incoming<'_>) -> Outcome {
        let body = String::from_utf8_lossy(message.body).into_owned();
        drop(self.tries.send((body.clone(), message.attempt)));
        (self.rule)(&body, message)
    }
}

/// A consumer that runs.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    tries: mpsc::UnboundedReceiver<(String, usize)>,
    pub(crate) stats: Arc<ConsumerStats>,
}

impl Running {
    pub(crate) fn start(
        server: Options,
        queue: &str,
        rule: impl Fn(&str, Incoming<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self::with_retries(server, queue, &[20, 30, 40].map(Duration::from_millis), rule)
    }

    pub(crate) fn with_retries(
        server: Options,
        queue: &str,
        retries: &[Duration],
        rule: impl Fn(&str, Incoming<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let mut options = ConsumerOptions::new(queue);
        options.retries = retries.to_vec();
        options.hold = Duration::from_millis(5);
        let (tell, tries) = mpsc::unbounded_channel();
        let told = Told { tries: tell, rule: Box::new(rule) };
        let consumer = Consumer::new(server, options, Arc::new(told));
        let (stats, (stop, stopped)) = (consumer.stats(), watch::channel(false));
        Self { stop, task: tokio::spawn(consumer.run(stopped)), tries, stats }
    }

    /// The next try: what came, and how many retries it had had.
    pub(crate) async fn next(&mut self) -> (String, usize) {
        soon("a message comes", self.tries.recv()).await.unwrap()
    }

    /// Ends it, with all that it had in hand.
    pub(crate) async fn stop(self) -> Vec<(String, usize)> {
        self.stop.send_replace(true);
        soon("the consumer ends", self.task).await.unwrap();
        let mut tries = self.tries;
        let mut rest = Vec::new();
        while let Ok(one) = tries.try_recv() {
            rest.push(one);
        }
        rest
    }
}

/// The queues beside one that the consumer of these tests makes, and itself.
pub(crate) fn family(queue: &str) -> Vec<String> {
    ["", ".retry.20", ".retry.30", ".retry.40", ".dlq"].map(|end| format!("{queue}{end}")).to_vec()
}
