//! RabbitMQ, as the settings have it. A build without the feature `amqp` has none, and the settings are refused.

#[cfg(feature = "amqp")]
pub(crate) use wired::{check, consume, options, plans, remote};
#[cfg(not(feature = "amqp"))]
pub(crate) use without::{check, consume, plans, remote};

#[cfg(feature = "amqp")]
mod wired {
    use crate::config::Settings;
    use crate::files;
    use crate::following::Plan;
    use crate::sales;
    use crate::shutdown::Stop;
    use anyhow::Context;
    use async_trait::async_trait;
    use order_core::App;
    use order_core::remote::{Remote, Trouble};
    use sink_rabbitmq::{Address, CloudEvents, Options, RabbitSink};
    use std::sync::Arc;
    use tokio::task::JoinSet;

    /// The name of the follower that carries every event to the exchange of our own form.
    const EVENTS: &str = "rabbitmq";

    /// The followers that publish to RabbitMQ.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn plans(settings: &Settings, app: &App) -> anyhow::Result<Vec<Plan>> {
        let Some(options) = options(settings)? else { return Ok(Vec::new()) };
        let mut plans: Vec<Plan> = sales::plan(settings, options.clone())?.into_iter().collect();
        let exchange = &settings.rabbitmq.exchange;
        if !exchange.is_empty() {
            let encode = CloudEvents::new(exchange, app.storage.install().installation_id);
            let sink = RabbitSink::new(options, Box::new(encode));
            plans.insert(0, Plan::new(settings, EVENTS, Arc::new(sink)));
        }
        Ok(plans)
    }

    /// Starts what takes messages from queues.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn consume(
        settings: &Settings,
        app: &Arc<App>,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let Some(options) = options(settings)? else { return Ok(()) };
        for consumer in sales::consumers(settings, &options, app)? {
            tasks.spawn(consumer.run(stop.subscribe()));
        }
        Ok(())
    }

    /// Refuses what cannot be used whatever the server says.
    ///
    /// # Errors
    /// When a file cannot be read, or the address is none.
    pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
        options(settings).map(drop)
    }

    /// The server, for health checks.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn remote(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Remote>>> {
        let options = options(settings)?;
        Ok(options.map(|options| Arc::new(Server(options)) as Arc<dyn Remote>))
    }

    /// How the server is reached; `None` when there is to be none.
    ///
    /// # Errors
    /// As [`check`].
    pub(crate) fn options(settings: &Settings) -> anyhow::Result<Option<Options>> {
        let rabbitmq = &settings.rabbitmq;
        let Some(url) = rabbitmq.url.text() else { return Ok(None) };
        let address = Address::parse(url).context("rabbitmq.url")?;
        let ca_file = rabbitmq.ca_file.as_deref();
        let ca_pem = ca_file.map(|file| files::certificates("rabbitmq.ca_file", file)).transpose()?;
        let (connect_timeout, answer_timeout) = (rabbitmq.connect_timeout, rabbitmq.confirm_timeout);
        Ok(Some(Options { address, ca_pem, connect_timeout, answer_timeout }))
    }

    struct Server(Options);

    #[async_trait]
    impl Remote for Server {
        fn name(&self) -> &'static str {
            "rabbitmq"
        }

        fn address(&self) -> String {
            self.0.address.to_string()
        }

        fn setting(&self) -> &'static str {
            "rabbitmq.url"
        }

        async fn look(&self) -> Result<String, Trouble> {
            let found = sink_rabbitmq::probe(&self.0).await;
            found.map_err(|trouble| Trouble {
                why: trouble.why,
                fix: trouble.fix.unwrap_or("check rabbitmq.url").to_owned(),
            })
        }
    }
}

#[cfg(not(feature = "amqp"))]
mod without {
    use crate::config::Settings;
    use crate::following::Plan;
    use crate::shutdown::Stop;
    use order_core::App;
    use order_core::remote::Remote;
    use std::sync::Arc;
    use tokio::task::JoinSet;

    #[expect(clippy::unnecessary_wraps, reason = "as with RabbitMQ")]
    pub(crate) fn plans(_: &Settings, _: &App) -> anyhow::Result<Vec<Plan>> {
        Ok(Vec::new())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with RabbitMQ")]
    pub(crate) fn check(_: &Settings) -> anyhow::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with RabbitMQ")]
    pub(crate) fn remote(_: &Settings) -> anyhow::Result<Option<Arc<dyn Remote>>> {
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with RabbitMQ")]
    pub(crate) fn consume(_: &Settings, _: &Arc<App>, _: &Stop, _: &mut JoinSet<()>) -> anyhow::Result<()> {
        Ok(())
    }
}
