//! Exchanges and queues that must be there. Declaring what is there already, with the same properties, changes nothing.

use crate::link::{Trouble, name};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use std::time::Duration;

/// A durable topic exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
}

/// A durable queue without arguments, as others who declare it too will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The exchange and the routing key that it is bound by; `None`: by its name alone.
    pub bound: Option<(String, String)>,
}

/// What must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Exchanges, declared first.
    pub exchanges: Vec<Exchange>,
    /// Queues.
    pub queues: Vec<Queue>,
}

impl Topology {
    /// Declares all of it.
    pub(crate) async fn declare(&self, channel: &Channel) -> Result<(), Trouble> {
        for exchange in &self.exchanges {
            let (kind, options) = (
                ExchangeKind::Topic,
                ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() },
            );
            let declared =
                channel.exchange_declare(name(&exchange.name)?, kind, options, FieldTable::default()).await;
            declared.map_err(|error| Trouble::declaring("exchange", &exchange.name, &error))?;
        }
        for queue in &self.queues {
            declare_queue(channel, &queue.name, FieldTable::default()).await?;
            let Some((exchange, key)) = &queue.bound else { continue };
            let (queue, exchange, key) = (name(&queue.name)?, name(exchange)?, name(key)?);
            let bound = channel.queue_bind(
                queue.clone(),
                exchange,
                key,
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.map_err(|error| Trouble::declaring("binding of queue", queue.as_str(), &error))?;
        }
        Ok(())
    }
}

/// Declares a durable queue.
pub(crate) async fn declare_queue(
    channel: &Channel,
    queue: &str,
    arguments: FieldTable,
) -> Result<(), Trouble> {
    let declared = channel.queue_declare(name(queue)?, QueueDeclareOptions::durable(), arguments).await;
    declared.map(drop).map_err(|error| Trouble::declaring("queue", queue, &error))
}

/// What makes a queue hand its messages to the queue `back` after they have lain there for `wait`.
pub(crate) fn waiting_room(back: &str, wait: Duration) -> FieldTable {
    let mut arguments = FieldTable::default();
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(back.into()));
    arguments
}
