//! `simulate delivery`: a delivery service, as it may be at the other end of RabbitMQ.

#[cfg(not(feature = "amqp"))]
pub(crate) async fn run(
    _: &crate::cli::args::DeliveryArgs,
    _: &crate::config::Settings,
    _: &mut crate::output::Output<'_>,
) -> Result<crate::cli::failure::Exit, crate::cli::failure::Failure> {
    use crate::cli::failure::{Exit, Failure};
    let fix = "build it with `cargo build --release -p wellorder --features amqp`";
    Err(Failure::here(Exit::Usage, "this program was built without RabbitMQ", fix))
}

#[cfg(feature = "amqp")]
pub(crate) use simulated::run;

#[cfg(feature = "amqp")]
mod simulated {
    use crate::cli::args::DeliveryArgs;
    use crate::cli::failure::{Exit, Failure};
    use crate::config::Settings;
    use crate::output::{Output, escape};
    use crate::rabbitmq;
    use crate::system::{SystemClock, SystemIds};
    use async_trait::async_trait;
    use order_core::inbox::Outcome;
    use order_core::{Clock, Ids};
    use serde_json::{Value, json};
    use sink_rabbitmq::{Consumer, ConsumerOptions, Handle, Incoming, Message, Publisher, Queue, Topology};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::{mpsc, watch};

    /// Things to tell that may wait for a slow terminal.
    const TELL_MAX: usize = 1_000;

    /// What there is to tell.
    enum Told {
        Sent { order_id: String, what: &'static str, again: bool },
        Ended,
        Failed(String),
    }

    /// Takes created orders, and sends what becomes of them, until it is stopped or has seen `--count` of them.
    pub(crate) async fn run(
        args: &DeliveryArgs,
        settings: &Settings,
        out: &mut Output<'_>,
    ) -> Result<Exit, Failure> {
        let server = rabbitmq::options(settings)?.ok_or_else(|| {
            Failure::here(
                Exit::Usage,
                "rabbitmq.url is not set",
                "set it, or RABBITMQ_URL, to amqp://USER:PASSWORD@HOST:PORT/VHOST",
            )
        })?;
        if let Err(trouble) = sink_rabbitmq::probe(&server).await {
            let fix = trouble.fix.unwrap_or("check rabbitmq.url");
            return Err(Failure::here(
                Exit::Unreachable,
                format!("{}: {}", server.address, trouble.why),
                fix,
            ));
        }
        out.note(&format!("delivering what comes through {} at {}", escape(&args.created), server.address));
        let queue = |name: &String| Queue { name: name.clone(), bound: None };
        let queues = vec![queue(&args.shipped), queue(&args.delivered)];
        let publisher = Publisher::new(server.clone(), Topology { exchanges: Vec::new(), queues });
        let (tell, mut told) = mpsc::channel(TELL_MAX);
        let service =
            Service { args: args.clone(), publisher, ids: SystemIds, clock: SystemClock::default(), tell };
        let mut options = ConsumerOptions::new(&args.created);
        options.prefetch = settings.rabbitmq.prefetch;
        let consumer = Consumer::new(server, options, Arc::new(service));
        let (stop, stopped) = watch::channel(false);
        let mut running = tokio::spawn(consumer.run(stopped));
        let mut left = args.count.unwrap_or(u64::MAX);
        while left > 0 {
            tokio::select! {
                told = told.recv() => match told {
                    Some(Told::Ended) => left -= 1,
                    Some(told) => show(&told, out)?,
                    None => break,
                },
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        stop.send_replace(true);
        // What it still has to tell does not keep it from ending.
        told.close();
        drop((&mut running).await);
        Ok(Exit::Ok)
    }

    fn show(told: &Told, out: &mut Output<'_>) -> std::io::Result<()> {
        match told {
            Told::Sent { order_id, what, again } => {
                let line = json!({ "order_id": order_id, "sent": what, "again": again });
                if out.json {
                    return out.line(&line.to_string());
                }
                let again = if *again { " again" } else { "" };
                out.line(&format!("{} {what}{again}", escape(order_id)))
            }
            Told::Failed(why) => {
                out.note(&escape(why));
                Ok(())
            }
            Told::Ended => Ok(()),
        }
    }

    struct Service {
        args: DeliveryArgs,
        publisher: Publisher,
        ids: SystemIds,
        clock: SystemClock,
        tell: mpsc::Sender<Told>,
    }

    #[async_trait]
    impl Handle for Service {
        async fn handle(&self, message: Incoming<'_>) -> Outcome {
            let body: Option<Value> = serde_json::from_slice(message.body).ok();
            let order_id = body.as_ref().and_then(|body| body.get("order_id")).and_then(Value::as_str);
            let Some(order_id) = order_id else {
                return Outcome::Poison { why: "names no order".to_owned() };
            };
            match self.deliver(order_id).await {
                Ok(()) => {
                    self.tell(Told::Ended).await;
                    Outcome::Done
                }
                Err(why) => {
                    self.tell(Told::Failed(why.clone())).await;
                    Outcome::Hold { why }
                }
            }
        }
    }

    impl Service {
        async fn tell(&self, told: Told) {
            // Nobody listens any more at the end.
            drop(self.tell.send(told).await);
        }

        async fn deliver(&self, order_id: &str) -> Result<(), String> {
            tokio::time::sleep(Duration::from_millis(self.args.ship_after_ms)).await;
            let shipped = (self.args.shipped.as_str(), "Shipped");
            let delivered = (self.args.delivered.as_str(), "Delivered");
            let reordered = self.ids.unit() < self.args.reorder;
            let (first, second) = if reordered { (delivered, shipped) } else { (shipped, delivered) };
            self.send(order_id, first).await?;
            tokio::time::sleep(Duration::from_millis(self.args.deliver_after_ms)).await;
            self.send(order_id, second).await
        }

        /// Says what became of an order, perhaps twice.
        async fn send(&self, order_id: &str, (queue, status): (&str, &'static str)) -> Result<(), String> {
            let message = self.message(order_id, queue, status);
            let again = self.ids.unit() < self.args.duplicates;
            for again in [false, true].into_iter().take(1 + usize::from(again)) {
                self.publisher.publish(&message).await.map_err(|trouble| trouble.to_string())?;
                self.tell(Told::Sent { order_id: order_id.to_owned(), what: status, again }).await;
            }
            Ok(())
        }

        fn message(&self, order_id: &str, queue: &str, status: &str) -> Message {
            let (now, event_id) = (self.clock.now(), self.ids.uuid_v4().to_string());
            let at = if status == "Shipped" { "shipped_at" } else { "delivered_at" };
            let mut data = json!({ "order_id": order_id, "status": status, at: now.to_string() });
            if status == "Shipped" {
                let number: String = order_id.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
                data["tracking_number"] = json!(format!("SIM-{number}"));
            }
            let body = if self.args.bare {
                data
            } else {
                json!({
                    "event_id": event_id,
                    "event_type": format!("Order{status}"),
                    "order_id": order_id,
                    "timestamp": now.to_string(),
                    "data": data,
                })
            };
            Message {
                exchange: String::new(),
                routing_key: queue.to_owned(),
                mandatory: true,
                message_id: if self.args.bare { String::new() } else { event_id },
                kind: format!("Order{status}"),
                timestamp: u64::try_from(now.micros() / 1_000_000).unwrap_or(0),
                body: body.to_string().into_bytes(),
                headers: Vec::new(),
                trace: None,
            }
        }
    }
}
