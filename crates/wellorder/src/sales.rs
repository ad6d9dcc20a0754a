//! The queues of the contract `sales`: new orders go out through one, and what becomes of them comes back through two.

use crate::config::Settings;
use crate::following::Plan;
use anyhow::Context;
use async_trait::async_trait;
use contracts::sales::consumed::{Fact, Message as Said};
use contracts::sales::{self, message};
use order_core::App;
use order_core::ids::SourceId;
use order_core::inbox::{self, Outcome};
use order_core::journal::Event;
use order_core::order::Order;
use order_core::order::event::EventType;
use order_core::telling::Untellable;
use order_core::trace;
use sink_rabbitmq::{
    Consumer, ConsumerOptions, Encode, Exchange, Handle, Incoming, Message, Options, Queue, RabbitSink,
    Topology,
};
use std::sync::Arc;

/// The name of the follower that publishes new orders.
const FOLLOWER: &str = "sales-rabbitmq";
/// What `type` a new order has.
const CREATED: &str = "OrderCreated";

/// The follower that publishes new orders, unless the settings want none.
pub(crate) fn plan(settings: &Settings, server: Options) -> anyhow::Result<Option<Plan>> {
    let created = &settings.sales.created;
    if created.is_empty() {
        return Ok(None);
    }
    let encode = NewOrders { source: source()?, created: created.clone() };
    Ok(Some(Plan::new(settings, FOLLOWER, Arc::new(RabbitSink::new(server, Box::new(encode))))))
}

/// What takes the messages that say what became of orders.
///
/// # Errors
/// When the settings cannot be used.
pub(crate) fn consumers(
    settings: &Settings,
    server: &Options,
    app: &Arc<App>,
) -> anyhow::Result<Vec<Consumer>> {
    let queues = [(&settings.sales.shipped, Fact::Shipped), (&settings.sales.delivered, Fact::Delivered)];
    let mut consumers = Vec::new();
    for (queue, fact) in queues.into_iter().filter(|(queue, _)| !queue.is_empty()) {
        let hearing = Hearing { app: Arc::clone(app), source: source()?, queue: queue.as_str().into(), fact };
        let options = ConsumerOptions {
            retries: settings.rabbitmq.retries.clone().unwrap_or_default(),
            prefetch: settings.rabbitmq.prefetch,
            ..ConsumerOptions::new(queue)
        };
        let consumer = Consumer::new(server.clone(), options, Arc::new(hearing));
        app.consumers.add(queue, consumer.stats());
        consumers.push(consumer);
    }
    Ok(consumers)
}

fn source() -> anyhow::Result<SourceId> {
    SourceId::new(sales::NAME).context("the contract's name is no source")
}

/// Makes messages of new orders. They go to a topic exchange, and a queue of the same name is bound to it, so that nothing
/// is lost before anybody listens.
struct NewOrders {
    source: SourceId,
    created: String,
}

impl Encode for NewOrders {
    fn topology(&self) -> Topology {
        let bound = Some((self.created.clone(), message::CREATED_KEY.to_owned()));
        Topology {
            exchanges: vec![Exchange { name: self.created.clone() }],
            queues: vec![Queue { name: self.created.clone(), bound }],
        }
    }

    fn sources(&self) -> Option<Vec<SourceId>> {
        Some(vec![self.source.clone()])
    }

    fn encode(&self, event: &Event) -> Result<Option<Message>, Untellable> {
        if event.source != self.source || event.kind != EventType::OrderAccepted {
            return Ok(None);
        }
        let never = |error: &dyn std::fmt::Display| Untellable(error.to_string());
        // The first event holds all of the order.
        let order = Order::fold(None, event).map_err(|error| never(&error))?;
        Ok(Some(Message {
            exchange: self.created.clone(),
            routing_key: message::CREATED_KEY.to_owned(),
            mandatory: true,
            message_id: event.event_id.to_string(),
            kind: CREATED.to_owned(),
            timestamp: u64::try_from(event.occurred_at.micros() / 1_000_000).unwrap_or(0),
            body: message::created(&order, event).map_err(|error| never(&error))?,
            headers: Vec::new(),
            trace: event.trace,
        }))
    }
}

/// Changes orders as the messages of one queue say.
struct Hearing {
    app: Arc<App>,
    source: SourceId,
    queue: Arc<str>,
    fact: Fact,
}

#[async_trait]
impl Handle for Hearing {
    async fn handle(&self, message: Incoming<'_>) -> Outcome {
        let said = match Said::read(self.fact, message.body) {
            Ok(said) => said,
            Err(unreadable) => return Outcome::Poison { why: unreadable.to_string() },
        };
        let kind = said.change(self.app.clock.now());
        let fact = inbox::Fact {
            event_id: said.event_id,
            tenant: None,
            source: Some(self.source.clone()),
            order_id: said.order_id,
            kind,
        };
        let heard = self.app.hear(&self.queue, message.message_id, fact);
        self.app.deal_with(&self.queue, trace::current(), heard).await
    }
}
