//! Messages of the contract `orderstream` over Kafka, as the settings have it: what is told of its orders, what others tell, and
//! who acknowledges what. A build without the feature `kafka` has none of it.

#[cfg(feature = "kafka")]
mod acks;
#[cfg(feature = "kafka")]
mod events;
#[cfg(feature = "kafka")]
mod parked;

#[cfg(feature = "kafka")]
pub(crate) use wired::{consumers, plans};
#[cfg(not(feature = "kafka"))]
pub(crate) use without::{consumers, plans};

use std::pin::Pin;

/// What runs until it is told to stop.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(feature = "kafka")]
mod wired {
    use super::Running;
    use super::acks::{Acks, KeepResult};
    use super::events::Events;
    use super::parked::Parked;
    use crate::config::{Role, Settings};
    use crate::following::Plan;
    use crate::{kafka, redis};
    use anyhow::Context;
    use contracts::orderstream::telling::{AcksTold, EventsTold};
    use order_core::consumers::ConsumerStats;
    use order_core::{App, TenantId};
    use sink_kafka::{
        Consumer, ConsumerState, Depth, Handler, Options, Publisher, Subscription, TellingSink,
    };
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::watch;

    /// The names of the followers.
    const EVENTS: &str = "orderstream-events";
    const ACKS: &str = "orderstream-acks";

    /// Between two looks at how a consumer is doing.
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    /// Between two looks at how much is parked: each asks the brokers.
    const COUNT_EVERY: Duration = Duration::from_secs(15);

    /// The followers that tell of this contract's orders.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn plans(settings: &Settings, app: &App) -> anyhow::Result<Vec<Plan>> {
        let Some(options) = kafka::options(&settings.kafka)? else { return Ok(Vec::new()) };
        let (ours, storage) = (&settings.orderstream, &app.storage);
        let told = EventsTold::new(&ours.events_topic, installation(app));
        let events =
            TellingSink::new(options.clone(), Arc::new(told), Arc::clone(storage)).context("kafka")?;
        let mut plans = vec![Plan::new(settings, EVENTS, Arc::new(events))];
        if !settings.left_to_kafka() {
            let told = || AcksTold::new(&ours.ack_topic);
            let first = KeepResult { told: told(), results: redis::results(settings, app)? };
            let sink = TellingSink::new(options, Arc::new(told()), Arc::clone(storage)).context("kafka")?;
            plans.push(Plan::new(settings, ACKS, Arc::new(sink.after(Box::new(first)))));
        }
        Ok(plans)
    }

    /// What reads messages of others for this process's roles: a worker their events, and where another program is the worker,
    /// whoever answers clients its acknowledgements.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn consumers(
        settings: &Settings,
        app: &Arc<App>,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<Running>> {
        let Some(options) = kafka::options(&settings.kafka)? else { return Ok(Vec::new()) };
        let (ours, tenant) = (&settings.orderstream, TenantId::default_tenant());
        let stats = Arc::new(ConsumerStats::default());
        let parked = |topic: &str| -> anyhow::Result<Parked> {
            let topic = Parked::topic(topic);
            Ok(Parked { publisher: publisher(&options, &topic)?, topic, bytes_max: options.record_bytes_max })
        };
        if settings.left_to_kafka() {
            if !settings.has_role(Role::Api) && !settings.has_role(Role::Relay) {
                return Ok(Vec::new());
            }
            let topic = &ours.ack_topic;
            // Of this installation alone: two that share brokers must not take each other's acknowledgements.
            let group = format!("wellorder-acks-{}", installation(app));
            let (app_of, parked) = (Arc::clone(app), parked(topic)?);
            let handler = Acks { app: app_of, tenant, parked, stats: Arc::clone(&stats) };
            return run(&options, &group, topic, handler, (app, stats), stop);
        }
        if !settings.has_role(Role::Worker) {
            return Ok(Vec::new());
        }
        let topic = &ours.events_topic;
        let handler = Events {
            app: Arc::clone(app),
            tenant,
            installation: installation(app),
            told: AcksTold::new(&ours.ack_topic),
            acks: publisher(&options, &ours.ack_topic)?,
            results: redis::results(settings, app)?,
            parked: parked(topic)?,
            stats: Arc::clone(&stats),
        };
        run(&options, &ours.worker_group, topic, handler, (app, stats), stop)
    }

    fn run<H: Handler + 'static>(
        options: &Options,
        group: &str,
        topic: &str,
        handler: H,
        (app, stats): (&App, Arc<ConsumerStats>),
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<Running>> {
        let consumer = Consumer::new(options.clone(), Subscription::new(group, &[topic])).context("kafka")?;
        let consumer = consumer.counting(Arc::clone(&stats));
        app.consumers.add(topic, Arc::clone(&stats));
        let parked = Depth::new(options.clone(), &Parked::topic(topic)).context("kafka")?;
        let (state, stopping) = (consumer.state(), stop.clone());
        let running: Running = Box::pin(async move { consumer.run(&handler, stopping).await });
        let counting = Box::pin(count(parked, Arc::clone(&stats), stop.clone()));
        Ok(vec![running, counting, Box::pin(look(state, stats, stop.clone()))])
    }

    /// Carries over to the metrics how much is parked. Where that cannot be told, what was told last stands: the consumer says
    /// what ails.
    async fn count(mut parked: Depth, stats: Arc<ConsumerStats>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                looked = parked.look() => if let Ok(records) = looked {
                    stats.set_parked(records);
                },
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(COUNT_EVERY) => {}
            }
        }
    }

    /// Carries over to the metrics how a consumer is doing.
    async fn look(state: Arc<ConsumerState>, stats: Arc<ConsumerStats>, mut stop: watch::Receiver<bool>) {
        loop {
            match state.unread() {
                Some(why) => drop(stats.disconnected(&why)),
                // With more workers than partitions some have none, and are well. That what was read cannot be handled the log
                // tells, and how often it was held.
                None if state.has_joined() => stats.connected(),
                None => {}
            }
            stats.set_waiting(state.lag());
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn publisher(options: &Options, topic: &str) -> anyhow::Result<Publisher> {
        Publisher::new(options.clone(), vec![topic.to_owned()]).context("kafka")
    }

    fn installation(app: &App) -> String {
        app.storage.install().installation_id.to_string()
    }
}

#[cfg(not(feature = "kafka"))]
mod without {
    use super::Running;
    use crate::config::Settings;
    use crate::following::Plan;
    use std::sync::Arc;
    use tokio::sync::watch;

    #[expect(clippy::unnecessary_wraps, reason = "as with Kafka")]
    pub(crate) fn plans(_: &Settings, _: &App) -> anyhow::Result<Vec<Plan>> {
        Ok(Vec::new())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with Kafka")]
    pub(crate) fn consumers(
        _: &Settings,
        _: &Arc<App>,
        _: &watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<Running>> {
        Ok(Vec::new())
    }
}
