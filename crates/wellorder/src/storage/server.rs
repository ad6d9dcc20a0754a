//! A database on a PostgreSQL server, which any number of nodes share.

mod examine;

use super::{Away, Beside, Database, Done, Judged, Opened, Raised, Stands, Usable};
use crate::access;
use crate::cli::doctor::Check;
use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::lookout::DRIFT_MIN;
use crate::system::{SystemClock, SystemIds};
use crate::trust;
use async_trait::async_trait;
use order_core::api_key::chance;
use order_core::ports::Storage;
use order_core::{App, Clock, Ids, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::{MIGRATIONS, NotRaised, Options, PostgresStorage, Seed, TimeLimits, Unopened};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Between two looks at the server's clock.
const MEASURE_EVERY: Duration = Duration::from_secs(60);

/// A server, as the settings name it.
pub(crate) struct Server {
    settings: Settings,
    options: Options,
}

impl From<Unopened> for Away {
    fn from(Unopened { why, fix, lasting }: Unopened) -> Self {
        Self { why, fix, passes: !lasting }
    }
}

impl Server {
    /// The one with this URL.
    ///
    /// # Errors
    /// When the file of authorities cannot be read.
    pub(crate) fn of(settings: &Settings, url: &str) -> Result<Self, Failure> {
        let it = &settings.postgres;
        let limits = TimeLimits {
            statement: it.statement_timeout,
            lock: it.lock_timeout,
            idle_in_transaction: it.idle_in_transaction_timeout,
            unacknowledged: it.tcp_user_timeout,
            connection_wait: it.pool_wait,
        };
        let options = Options {
            url: url.to_owned(),
            lanes: it.lanes,
            readers: it.readers,
            limits,
            authorities: trust::pem(settings)?,
            insecure: it.insecure,
        };
        Ok(Self { settings: settings.clone(), options })
    }

    async fn opened(&self, storage: PostgresStorage, done: Done) -> Opened {
        let server = storage.server().await.ok().flatten();
        let (place, engine) = server.map(|server| (server.name, server.version)).unwrap_or_default();
        let storage = Arc::new(storage);
        Opened {
            clock: Arc::new(ServerClock::of(&storage)),
            done: Done { place, engine, ..done },
            beside: Box::new(Sharing(Arc::clone(&storage))),
            storage,
        }
    }
}

#[async_trait]
impl Database for Server {
    async fn open(&self) -> anyhow::Result<Opened> {
        let ids = SystemIds;
        let (cursor_key, key_pepper) = (chance(&ids), chance(&ids));
        let shards = self.settings.shards;
        let seed = Seed { installation_id: ids.uuid_v4(), cursor_key, key_pepper, shards };
        let (storage, migrated) = PostgresStorage::open(&self.options, &seed).await.map_err(Away::from)?;
        let pepper = access::pepper_of(&self.settings, storage.install());
        if let Err(error) = storage.note_pepper(pepper.print(), storage.clock().now()).await {
            tracing::debug!(%error, "cannot note what API keys are hashed with");
        }
        let done = Done { from: migrated.from, to: migrated.to, ..Done::default() };
        Ok(self.opened(storage, done).await)
    }

    async fn open_to_read(&self) -> Result<Opened, Failure> {
        let storage = PostgresStorage::open_as_it_is(&self.options).await.map_err(Away::from)?;
        Ok(self.opened(storage, Done::default()).await)
    }

    async fn open_for_command(&self) -> Result<Usable, Failure> {
        let opened = self.open().await.map_err(super::named)?;
        Ok(Usable { opened, unwritable: None })
    }

    async fn stands(&self, now: Timestamp) -> anyhow::Result<Option<Stands>> {
        let looked = storage_postgres::look(&self.options, now).await.map_err(Away::from)?;
        let Some(install) = looked.install else { return Ok(None) };
        let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
        let print = access::pepper_of(&self.settings, &install).print();
        Ok(Some(Stands {
            schema: (install.schema_version, newest),
            live_keys: looked.live_keys,
            is_other_pepper: looked.pepper_print.is_some_and(|noted| noted != print),
        }))
    }

    async fn raise_epoch(&self) -> Result<Raised, Failure> {
        match storage_postgres::raise_epoch(&self.options).await {
            Ok(storage_postgres::Raised { from, to, leases, followers }) => {
                Ok(Raised { from, to, leases, followers })
            }
            Err(NotRaised::InUse(connections)) => {
                let what = format!("the database is in use: connections of wellorder: {connections}");
                Err(Failure::here(Exit::Refused, what, "stop every node first, and commands that run"))
            }
            Err(NotRaised::Unopened(unopened)) => Err(Away::from(unopened).into()),
        }
    }

    async fn examine(&self) -> Option<Vec<Check>> {
        Some(examine::examine(self).await)
    }

    fn judge(&self, failure: Failure) -> Judged {
        let Failure::Fault(error) = failure else { return Judged::Stays(failure) };
        match error.downcast::<Away>() {
            Ok(Away { why, fix, passes: true }) => {
                Judged::Passes(format!("{why}; fix: {fix}; no restart is needed"))
            }
            Ok(away) => Judged::Stays(away.into()),
            Err(error) => Judged::Stays(Failure::Fault(error)),
        }
    }
}

/// The time of the server.
struct ServerClock {
    server: Arc<storage_postgres::DatabaseClock>,
    machine: SystemClock,
}

impl ServerClock {
    fn of(storage: &PostgresStorage) -> Self {
        Self { server: storage.clock(), machine: SystemClock::default() }
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        self.server.now()
    }

    fn off(&self) -> Option<i64> {
        Some(self.machine.now().micros() - self.now().micros())
    }
}

/// What a node shares with the others: what was committed, and the time.
struct Sharing(Arc<PostgresStorage>);

impl Beside for Sharing {
    fn start(self: Box<Self>, app: &Arc<App>, mut stop: watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        let shared = self.0.share_wakes(app.wakes.clone());
        let (clock, machine) = (self.0.clock(), ServerClock::of(&self.0));
        tasks.spawn(async move {
            let mut was_off = false;
            loop {
                let off = machine.off().unwrap_or(0).unsigned_abs();
                let is_off = u128::from(off) > DRIFT_MIN.as_micros();
                if is_off && !was_off {
                    let seconds = off / 1_000_000;
                    tracing::warn!(
                        seconds,
                        "this machine's clock is off the database's, which counts: set it (NTP)"
                    );
                }
                was_off = is_off;
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    () = tokio::time::sleep(MEASURE_EVERY) => {}
                }
                if let Err(error) = clock.measure().await {
                    tracing::debug!(%error, "cannot ask for the database's time; it goes on as it was");
                }
            }
            drop(shared);
        });
    }
}
