//! A delivery service: reads of new orders from RabbitMQ, and says that each was shipped and delivered; some of it twice, some
//! in the wrong order, some that nobody can read. It lives through the server's crashes as others must: what was not
//! confirmed is sent again, under the same id.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::amqp::Connection;
use crate::rng::Rng;

const CREATED: &str = "orders.created";
const SHIPPED: &str = "orders.shipped";
const DELIVERED: &str = "orders.delivered";
/// Where messages lie that nobody can read.
pub(super) const DEAD: &str = "orders.shipped.dlq";

const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at an empty queue, and after a fault.
const IDLE: Duration = Duration::from_millis(50);
/// Between two messages that nobody can read.
const POISON_EVERY: Duration = Duration::from_millis(400);

pub(super) struct Delivery {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Vec<String>>,
}

struct Service {
    server: SocketAddr,
    rng: Rng,
    run: String,
    /// Confirmed, all of them.
    poison: Vec<String>,
    poisoned: Instant,
}

impl Delivery {
    pub(super) fn start(server: SocketAddr, run: &str, rng: Rng) -> Result<Self> {
        let mut connection = Connection::open(server, PATIENCE).context("RabbitMQ")?;
        // A message for a queue that is not there yet would be lost.
        for queue in [SHIPPED, DELIVERED] {
            connection.declare_queue(queue)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = run.to_owned();
        let mut service = Service { server, rng, run, poison: Vec::new(), poisoned: Instant::now() };
        let running = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Whatever went wrong, the server may be away: it is tried again.
                if service.serve(&stopped).is_err() {
                    thread::sleep(IDLE);
                }
            }
            service.poison
        });
        Ok(Self { stop, running })
    }

    /// Ends it; returns what it sent that nobody can read.
    pub(super) fn end(self) -> Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join().map_err(|_| anyhow!("the delivery service panicked"))
    }
}

impl Service {
    fn serve(&mut self, stopped: &AtomicBool) -> std::io::Result<()> {
        let mut connection = Connection::open(self.server, PATIENCE)?;
        connection.declare_queue(CREATED)?;
        while !stopped.load(Ordering::Relaxed) {
            if self.poisoned.elapsed() > POISON_EVERY {
                let text = format!("{{\"{} no order {}", self.run, self.poison.len());
                connection.publish(SHIPPED, None, text.as_bytes())?;
                self.poison.push(text);
                self.poisoned = Instant::now();
            }
            let Some((tag, message)) = connection.get(CREATED)? else {
                thread::sleep(IDLE);
                continue;
            };
            let created: Value = serde_json::from_slice(&message.body).unwrap_or_default();
            self.deliver(&mut connection, created["order_id"].as_str().unwrap_or_default())?;
            connection.acknowledge(tag)?;
        }
        Ok(())
    }

    fn deliver(&mut self, connection: &mut Connection, order_id: &str) -> std::io::Result<()> {
        let mut messages = vec![(SHIPPED, "OrderShipped"), (DELIVERED, "OrderDelivered")];
        if self.rng.chance(20) {
            messages.reverse();
        }
        if self.rng.chance(20) {
            messages.push(messages[0]);
        }
        for (queue, kind) in messages {
            // Made of the order alone: whenever it is sent again, it is the same message.
            let event_id = format!("{kind}-{order_id}");
            let message = json!({ "event_id": event_id, "event_type": kind, "order_id": order_id });
            connection.publish(queue, Some(&event_id), message.to_string().as_bytes())?;
        }
        Ok(())
    }
}
