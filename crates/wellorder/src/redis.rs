//! Redis, as the settings have it: where nodes tell each other what they admitted, and where results are kept before an order of
//! `orderstream` is acknowledged over Kafka. Neither waits for a Redis that is away. A build without the feature `redis` has none,
//! and the settings are refused.

#[cfg(all(feature = "redis", feature = "kafka"))]
pub(crate) use wired::{Results, results};
#[cfg(feature = "redis")]
pub(crate) use wired::{check, host, remote, share_key, share_rates};
#[cfg(all(not(feature = "redis"), feature = "kafka"))]
pub(crate) use without::{Results, results};
#[cfg(not(feature = "redis"))]
pub(crate) use without::{check, host, remote, share_key, share_rates};

#[cfg(feature = "redis")]
mod wired {
    use crate::config::{Problems, Redis, Role, Settings};
    use crate::files;
    use crate::seldom::Seldom;
    use async_trait::async_trait;
    use edge::{Rates, ShareKey, Spent};
    #[cfg(feature = "kafka")]
    use order_core::breaker::{Breaker, BreakerPolicy};
    use order_core::query::Install;
    use order_core::remote::{BadCertificate, Remote, Trouble};
    use order_core::{App, Clock};
    use redis_kv::{Error, Options, Place, RedisKv, SPENDS_MAX, Spend};
    use sha2::{Digest, Sha256};
    use std::sync::Arc;
    #[cfg(feature = "kafka")]
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::time::{Instant, MissedTickBehavior, interval};

    /// Between two times that a node tells what it admitted: so long it may admit what others have taken already.
    const TELL_EVERY: Duration = Duration::from_millis(100);
    /// Between two lines of the log while Redis is away.
    const SAY_EVERY: Duration = Duration::from_secs(60);
    const FAILED: &str = "wellorder_redis_failures_total";

    /// The host that a URL names; `None` when it cannot be used.
    pub(crate) fn host(url: &str) -> Option<String> {
        Place::of(url).ok().map(|place| place.host)
    }

    /// What the nodes of an installation have in common, when they share rates.
    pub(crate) fn share_key(settings: &Settings, install: &Install) -> Option<ShareKey> {
        settings.redis.url.text()?;
        let secret = Sha256::new_with_prefix(b"wellorder/rates/1").chain_update(install.cursor_key);
        Some(ShareKey::new(secret.finalize().into()))
    }

    fn describe() {
        metrics::describe_counter!(FAILED, "Times that Redis did not take what this process had for it");
        // There from the start: a rate needs a zero to rise from.
        metrics::counter!(FAILED).increment(0);
    }

    /// Refuses what cannot be used whatever Redis says.
    ///
    /// # Errors
    /// When the file with the authorities cannot be used.
    pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
        open(&settings.redis).map(drop)
    }

    /// What a process with these settings has Redis for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Kept {
        Rates,
        Results,
        Both,
    }

    impl Kept {
        /// `None` for nothing.
        fn of(settings: &Settings) -> Option<Self> {
            let tells = settings.has_role(Role::Worker) || settings.has_role(Role::Relay);
            let results = tells && !settings.kafka.brokers.is_empty() && !settings.left_to_kafka();
            match (settings.has_role(Role::Api), results) {
                (true, true) => Some(Self::Both),
                (true, false) => Some(Self::Rates),
                (false, true) => Some(Self::Results),
                (false, false) => None,
            }
        }

        fn found(self) -> &'static str {
            match self {
                Self::Rates => "rates are shared",
                Self::Results => "results of orderstream are kept",
                Self::Both => "rates are shared, and results of orderstream are kept",
            }
        }

        /// What is done without it.
        fn without(self) -> &'static str {
            match self {
                Self::Rates => "each node counts rates for itself",
                Self::Results => "orders of orderstream are acknowledged without results",
                Self::Both => {
                    "each node counts rates for itself, and orders of orderstream are acknowledged without results"
                }
            }
        }
    }

    /// Redis, for health checks of who has a use for it.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn remote(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Remote>>> {
        let Some(kept) = Kept::of(settings) else { return Ok(None) };
        let url = settings.redis.url.text().unwrap_or_default();
        Ok(open(&settings.redis)?.map(|redis| {
            let address = Place::of(url).map(|place| format!("{}:{}", place.host, place.port));
            Arc::new(Server { redis, address: address.unwrap_or_default(), kept }) as Arc<dyn Remote>
        }))
    }

    struct Server {
        redis: RedisKv,
        address: String,
        kept: Kept,
    }

    #[async_trait]
    impl Remote for Server {
        fn name(&self) -> &'static str {
            "redis"
        }

        fn address(&self) -> String {
            self.address.clone()
        }

        fn setting(&self) -> &'static str {
            "redis.url"
        }

        async fn look(&self) -> Result<String, Trouble> {
            let error = match self.redis.ping().await {
                Ok(()) => return Ok(self.kept.found().to_owned()),
                Err(error) => error,
            };
            let why = error.to_string();
            let fix = match (&error, BadCertificate::of(&why)) {
                (Error::Login(_), _) => "set user and password in redis.url right",
                (_, Some(BadCertificate::Issuer)) => {
                    "name the authority of its certificate with redis.ca_file"
                }
                (_, Some(BadCertificate::Name)) => "name the server in redis.url as its certificate does",
                (_, Some(BadCertificate::Time)) => {
                    "give the server that redis.url names a certificate that is good now, or set the clock here"
                }
                _ => "start it, or set redis.url right",
            };
            Err(Trouble { why, fix: format!("{fix}; until then {}", self.kept.without()) })
        }
    }

    fn open(redis: &Redis) -> anyhow::Result<Option<RedisKv>> {
        let Some(url) = redis.url.text() else { return Ok(None) };
        let ca_file = redis.ca_file.as_deref();
        let authorities = ca_file.map(|file| files::certificates("redis.ca_file", file)).transpose()?;
        let authorities = authorities.map(String::into_bytes);
        let options = Options { url: url.to_owned(), authorities, timeout: redis.timeout };
        let opened = RedisKv::open(&options).map_err(|error| match error {
            Error::Authorities(_) => Problems::one(
                "redis.ca_file",
                error.to_string(),
                "name a PEM file with certificates of authorities",
            ),
            error => Problems::one("redis.url", error.to_string(), "set it right"),
        })?;
        Ok(Some(opened))
    }

    /// Where results are kept for programs beside us that answer from there; nowhere without a Redis. It is no truth of
    /// anything: while it is away, acknowledgements go without it, and none waits for a server that did not answer the last.
    #[cfg(feature = "kafka")]
    pub(crate) struct Results {
        redis: Option<RedisKv>,
        clock: Arc<dyn Clock>,
        away: Mutex<Away>,
    }

    /// Whether Redis answers, and when it was last said that it does not.
    #[cfg(feature = "kafka")]
    struct Away {
        breaker: Breaker,
        said: Seldom,
    }

    /// The first failure is enough: what failed once is most often away for seconds.
    #[cfg(feature = "kafka")]
    const BREAKER: BreakerPolicy =
        BreakerPolicy { calls: 1, failures_percent: 100, probe_every: Duration::from_secs(1) };

    #[cfg(feature = "kafka")]
    impl Results {
        fn new(redis: Option<RedisKv>, clock: Arc<dyn Clock>) -> Self {
            describe();
            let away = Away { breaker: Breaker::new(BREAKER), said: Seldom::every(SAY_EVERY) };
            Self { redis, clock, away: Mutex::new(away) }
        }

        /// Keeps a result for as long as the contract says, if Redis takes it.
        pub(crate) async fn keep(&self, key: &str, result: &serde_json::Value) {
            use contracts::orderstream::events::RESULT_SECONDS;
            let Some(redis) = &self.redis else { return };
            let Ok(call) = self.away().breaker.ask(self.clock.now()) else { return };
            let (text, lasts) = (result.to_string(), Duration::from_secs(RESULT_SECONDS));
            let kept = redis.keep(key, text.as_bytes(), lasts).await;
            let mut away = self.away();
            away.breaker.ended(call, kept.is_ok(), self.clock.now());
            let Err(error) = kept else { return };
            metrics::counter!(FAILED).increment(1);
            if away.said.due(Instant::now()) {
                tracing::warn!(%error, "redis.url: cannot keep results; orders are acknowledged without");
            }
        }

        fn away(&self) -> MutexGuard<'_, Away> {
            self.away.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Where results are kept.
    ///
    /// # Errors
    /// When the settings cannot be used.
    #[cfg(feature = "kafka")]
    pub(crate) fn results(settings: &Settings, app: &App) -> anyhow::Result<Results> {
        Ok(Results::new(open(&settings.redis)?, Arc::clone(&app.clock)))
    }

    /// Tells other nodes what is admitted here, and takes up what they admitted, until `stop`. While Redis is away each counts
    /// for itself.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn share_rates(
        settings: &Settings,
        app: &App,
        rates: Arc<Rates>,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Option<impl Future<Output = ()> + use<>>> {
        describe();
        let Some(redis) = open(&settings.redis)? else { return Ok(None) };
        let installation = app.storage.install().installation_id.to_string();
        let sharing = Sharing { redis, installation, rates, clock: Arc::clone(&app.clock) };
        Ok(Some(sharing.run(stop)))
    }

    struct Sharing {
        redis: RedisKv,
        installation: String,
        rates: Arc<Rates>,
        clock: Arc<dyn Clock>,
    }

    impl Sharing {
        async fn run(self, mut stop: watch::Receiver<bool>) {
            let (mut said, mut turns) = (Seldom::every(SAY_EVERY), interval(TELL_EVERY));
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    _ = turns.tick() => {}
                }
                // What could not be told is forgotten: it may have been heard all the same, and nobody is to pay twice.
                if let Err(error) = self.tell().await {
                    metrics::counter!(FAILED).increment(1);
                    if said.due(Instant::now()) {
                        tracing::warn!(%error, "redis.url: cannot share rates; each node counts for itself");
                    }
                }
            }
        }

        async fn tell(&self) -> Result<(), Error> {
            loop {
                let spent = self.rates.spent(SPENDS_MAX, self.clock.now());
                let spends: Vec<Spend> = spent.iter().map(spend).collect();
                let owed = self.redis.spend(&self.installation, &spends).await?;
                let now = self.clock.now();
                for (spent, owed) in spent.iter().zip(owed) {
                    self.rates.owed(spent, owed, now);
                }
                if spent.len() < SPENDS_MAX {
                    return Ok(());
                }
            }
        }
    }

    fn spend(spent: &Spent) -> Spend {
        let Spent { limit, name, cost, ago, owed_max } = *spent;
        Spend { limit, name, cost, ago, owed_max }
    }

    #[cfg(test)]
    mod tests {
        #![allow(
            clippy::unwrap_used,
            clippy::expect_used,
            clippy::panic,
            clippy::disallowed_methods,
            reason = "tests"
        )]

        use super::*;
        use crate::config::{Flag, Inputs, load};
        use edge::{Caller, Rate, RatePolicy, Refusal};
        use order_core::TenantId;
        use testkit::ManualClock;

        fn url() -> String {
            std::env::var("WELLORDER_TEST_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:16379".to_owned())
        }

        /// Two at once, then one an hour.
        fn node(url: &str, installation: &str, clock: &Arc<ManualClock>) -> Sharing {
            let policy = RatePolicy {
                key: Some(Rate::new(1, Duration::from_secs(3_600), 2)),
                tracked_max: 10,
                shared: Some(ShareKey::new([7; 32])),
                ..RatePolicy::default()
            };
            let options = Options { url: url.to_owned(), authorities: None, timeout: Duration::from_secs(5) };
            Sharing {
                redis: RedisKv::open(&options).unwrap(),
                installation: installation.to_owned(),
                rates: Arc::new(Rates::new(policy)),
                clock: Arc::clone(clock) as Arc<dyn Clock>,
            }
        }

        impl Sharing {
            fn ask(&self, subject: &str) -> Result<(), Refusal> {
                let tenant = TenantId::new("default").unwrap();
                let scopes = edge::Scopes::default();
                let caller = Caller { tenant, subject: subject.into(), scopes, tenant_said: true };
                self.rates.caller(&caller, self.clock.now())
            }
        }

        #[test]
        fn health_tells_what_it_is_for() {
            let of = |role: &str, brokers: &str, processor: &str| {
                let flag = |path, value: &str| Flag { path, flag: "--x", value: value.to_owned() };
                let flags = vec![
                    flag("role", role),
                    flag("kafka.brokers", brokers),
                    flag("contracts.orderstream.processor", processor),
                ];
                let config = load(&Inputs { flags, ..Inputs::default() });
                Kept::of(&config.unwrap_or_else(|problems| panic!("{problems}")).settings)
            };
            for (role, with_kafka) in [
                ("api", Kept::Rates),
                ("worker", Kept::Results),
                ("relay", Kept::Results),
                ("all", Kept::Both),
            ] {
                assert_eq!(of(role, "127.0.0.1:9092", ""), Some(with_kafka), "{role}");
            }
            assert_eq!([of("all", "", ""), of("relay", "", "")], [Some(Kept::Rates), None]);
            assert_eq!(of("relay", "127.0.0.1:9092", "kafka"), None, "another program keeps them");
            assert!(Kept::Both.without().contains("acknowledged") && Kept::Both.found().contains("results"));
        }

        #[tokio::test]
        async fn nodes_hear_of_what_others_admitted() {
            let (clock, installation) = (Arc::new(ManualClock::new()), uuid::Uuid::new_v4().to_string());
            let [one, other] = [(); 2].map(|()| node(&url(), &installation, &clock));
            one.ask("a").unwrap();
            one.ask("a").unwrap();
            let told = one.tell().await;
            told.expect("no Redis? start one: cargo xtask services up redis");
            other.ask("b").unwrap();
            other.ask("a").unwrap();
            other.tell().await.unwrap();
            assert!(matches!(other.ask("a"), Err(Refusal::RateLimited { .. })), "the third of two");
            other.ask("b").unwrap();
        }

        #[tokio::test]
        async fn without_redis_each_counts_for_itself() {
            let (clock, nowhere) = (Arc::new(ManualClock::new()), "redis://127.0.0.1:1");
            let [one, other] = [(); 2].map(|()| node(nowhere, "x", &clock));
            for node in [&one, &other] {
                node.ask("a").unwrap();
                node.tell().await.unwrap_err();
                node.ask("a").unwrap();
                node.tell().await.unwrap_err();
                assert!(matches!(node.ask("a"), Err(Refusal::RateLimited { .. })));
            }
        }
    }
}

#[cfg(not(feature = "redis"))]
mod without {
    use crate::config::Settings;
    use edge::{Rates, ShareKey};
    use order_core::App;
    use order_core::query::Install;
    use order_core::remote::Remote;
    use std::sync::Arc;
    use tokio::sync::watch;

    #[cfg(feature = "kafka")]
    pub(crate) struct Results;

    #[cfg(feature = "kafka")]
    impl Results {
        #[expect(clippy::unused_async, reason = "as with Redis")]
        pub(crate) async fn keep(&self, _: &str, _: &serde_json::Value) {}
    }

    #[cfg(feature = "kafka")]
    #[expect(clippy::unnecessary_wraps, reason = "as with Redis")]
    pub(crate) fn results(_: &Settings, _: &App) -> anyhow::Result<Results> {
        Ok(Results)
    }

    pub(crate) fn host(_: &str) -> Option<String> {
        None
    }

    pub(crate) fn share_key(_: &Settings, _: &Install) -> Option<ShareKey> {
        None
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with Redis")]
    pub(crate) fn check(_: &Settings) -> anyhow::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with Redis")]
    pub(crate) fn remote(_: &Settings) -> anyhow::Result<Option<Arc<dyn Remote>>> {
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as with Redis")]
    pub(crate) fn share_rates(
        _: &Settings,
        _: &App,
        _: Arc<Rates>,
        _: watch::Receiver<bool>,
    ) -> anyhow::Result<Option<std::future::Ready<()>>> {
        Ok(None)
    }
}
