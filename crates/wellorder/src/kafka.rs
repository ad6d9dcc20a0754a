//! Kafka, as the settings have it. A build without the feature `kafka` has none, and the settings are refused.

#[cfg(feature = "kafka")]
pub(crate) use wired::{check, options, plans, remote};
#[cfg(not(feature = "kafka"))]
pub(crate) use without::{check, plans, remote};

#[cfg(feature = "kafka")]
mod wired {
    use crate::config::{Kafka, KafkaLogin, Problems, Settings};
    use crate::files;
    use crate::following::Plan;
    use anyhow::Context;
    use async_trait::async_trait;
    use contracts::sales::OrderEvents;
    use order_core::App;
    use order_core::remote::{Remote, Trouble};
    use sink_kafka::{
        CloudEvents, Identity, KafkaSink, NewTopics, Options, Sasl, SaslMechanism, Security, TellingSink,
    };
    use std::sync::Arc;

    /// The name of the follower that carries every event to the topic of our own form.
    const EVENTS: &str = "kafka";
    /// The name of the follower that tells what happens to the orders of the contract `sales`.
    const SALES: &str = "sales-kafka";

    /// The followers that write to Kafka.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn plans(settings: &Settings, app: &App) -> anyhow::Result<Vec<Plan>> {
        let Some(options) = options(&settings.kafka)? else { return Ok(Vec::new()) };
        let encode = CloudEvents::new(&settings.kafka.topic, app.storage.install().installation_id);
        let sink = KafkaSink::new(options.clone(), Box::new(encode)).context("kafka")?;
        let mut plans = vec![Plan::new(settings, EVENTS, Arc::new(sink))];
        let topic = &settings.sales.topic;
        if !topic.is_empty() {
            let telling = Arc::new(OrderEvents::new(topic)?);
            let sink = TellingSink::new(options, telling, Arc::clone(&app.storage)).context("kafka")?;
            plans.push(Plan::new(settings, SALES, Arc::new(sink)));
        }
        Ok(plans)
    }

    /// Refuses what cannot be used whatever the brokers say.
    ///
    /// # Errors
    /// When a file cannot be read, or librdkafka does not take a setting.
    pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
        let kafka = &settings.kafka;
        let Some(options) = options(kafka)? else { return Ok(()) };
        let files = [
            ("kafka.ca_file", &kafka.ca_file),
            ("kafka.cert_file", &kafka.cert_file),
            ("kafka.key_file", &kafka.key_file),
        ];
        for (setting, file) in files {
            if let Some(file) = file {
                files::text(setting, file)?;
            }
        }
        options.check().map_err(|error| {
            Problems::one("kafka.brokers", error.to_string(), "set what begins with kafka. right").into()
        })
    }

    /// The brokers, for health checks.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn remote(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Remote>>> {
        let options = options(&settings.kafka)?;
        Ok(options.map(|options| Arc::new(Brokers { options, topics: topics(settings) }) as Arc<dyn Remote>))
    }

    /// Every topic that is written or read.
    fn topics(settings: &Settings) -> Vec<String> {
        let (sales, ours) = (&settings.sales.topic, &settings.orderstream);
        let topics = [&settings.kafka.topic, sales, &ours.events_topic, &ours.ack_topic];
        topics.into_iter().filter(|topic| !topic.is_empty()).cloned().collect()
    }

    struct Brokers {
        options: Options,
        topics: Vec<String>,
    }

    #[async_trait]
    impl Remote for Brokers {
        fn name(&self) -> &'static str {
            "kafka"
        }

        fn address(&self) -> String {
            self.options.brokers.clone()
        }

        fn setting(&self) -> &'static str {
            "kafka.brokers"
        }

        async fn look(&self) -> Result<String, Trouble> {
            let found = sink_kafka::probe(&self.options, &self.topics).await;
            found.map_err(|ails| Trouble { why: ails.why, fix: ails.fix })
        }
    }

    /// How the brokers are reached; `None` when there are to be none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn options(kafka: &Kafka) -> anyhow::Result<Option<Options>> {
        if kafka.brokers.is_empty() {
            return Ok(None);
        }
        let identity = match (&kafka.cert_file, &kafka.key_file) {
            (Some(cert), Some(key)) => Some(Identity { cert_file: cert.clone(), key_file: key.clone() }),
            _ => None,
        };
        let security = match kafka.tls {
            true => Security::Tls { ca_file: kafka.ca_file.clone(), identity },
            false => Security::Plaintext,
        };
        let replication = Some(kafka.replication).filter(|copies| *copies > 0);
        let new_topics = NewTopics { partitions: kafka.partitions, replication };
        Ok(Some(Options {
            brokers: kafka.brokers.clone(),
            security,
            sasl: kafka.sasl.map(|login| sasl(kafka, login)).transpose()?,
            delivery_timeout: kafka.delivery_timeout,
            record_bytes_max: kafka.record_bytes_max,
            new_topics: kafka.create_topics.then_some(new_topics),
        }))
    }

    fn sasl(kafka: &Kafka, login: KafkaLogin) -> anyhow::Result<Sasl> {
        let mechanism = match login {
            KafkaLogin::Plain => SaslMechanism::Plain,
            KafkaLogin::ScramSha256 => SaslMechanism::ScramSha256,
            KafkaLogin::ScramSha512 => SaslMechanism::ScramSha512,
        };
        let password = match &kafka.password_file {
            // Editors end a file with a line break, passwords do not.
            Some(file) => files::text("kafka.password_file", file)?.trim_end_matches(['\r', '\n']).to_owned(),
            None => kafka.password.text().unwrap_or_default().to_owned(),
        };
        Ok(Sasl { mechanism, username: kafka.username.clone(), password })
    }

    #[cfg(test)]
    mod tests {
        #![expect(clippy::panic, reason = "tests")]
        use super::*;
        use crate::config::{Flag, Inputs, load};

        #[test]
        fn health_looks_at_every_topic() {
            let flag = |path, value: &str| Flag { path, flag: "--x", value: value.to_owned() };
            let flags = vec![
                flag("kafka.topic", "all"),
                flag("contracts.sales.topic", ""),
                flag("contracts.orderstream.events_topic", "told"),
                flag("contracts.orderstream.ack_topic", "done"),
            ];
            let config = load(&Inputs { flags, ..Inputs::default() });
            let settings = config.unwrap_or_else(|problems| panic!("{problems}")).settings;
            assert_eq!(topics(&settings), ["all", "told", "done"]);
        }
    }
}

#[cfg(not(feature = "kafka"))]
mod without {
    use crate::config::Settings;
    use crate::following::Plan;
    use order_core::App;
    use order_core::remote::Remote;
    use std::sync::Arc;

    #[expect(clippy::unnecessary_wraps, reason = "as with Kafka")]
    pub(crate) fn plans(_: &Settings, _: &App) -> anyhow::Result<Vec<Plan>> {
        Ok(Vec::new())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with Kafka")]
    pub(crate) fn check(_: &Settings) -> anyhow::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with Kafka")]
    pub(crate) fn remote(_: &Settings) -> anyhow::Result<Option<Arc<dyn Remote>>> {
        Ok(None)
    }
}
