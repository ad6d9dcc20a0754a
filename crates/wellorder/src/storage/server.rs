//! A database on a PostgreSQL server, which any number of nodes share.

mod examine;

use super::{Away, Beside, Database, Done, Judged, Opened, Raised, Stands, Usable, other_pepper};
use crate::access;
use crate::cli::doctor::Check;
use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::lookout::DRIFT_MIN;
use crate::seldom::Seldom;
use crate::system::{SystemClock, SystemIds};
use crate::trust;
use async_trait::async_trait;
use order_core::api_key::chance;
use order_core::ports::Storage;
use order_core::{App, Clock, Ids, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::{
    Looked, MIGRATIONS, NotRaised, Options, PartPolicy, PartsKept, PostgresStorage, Seed, TimeLimits,
    Unopened,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two looks at the server's clock.
const MEASURE_EVERY: Duration = Duration::from_secs(60);

/// Between two looks at the parts of the journal.
const PARTS_EVERY: Duration = Duration::from_secs(10);
/// The same where something was done: readers below a raised floor have so long to see it before that goes.
const PARTS_AGAIN: Duration = Duration::from_secs(2);
/// Between two lines of the log about that.
const SAY_EVERY: Duration = Duration::from_secs(60);

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
            parts: PartPolicy { events: settings.journal.part_events, kept_for: settings.journal.retention },
            limits,
            authorities: trust::pem(settings)?,
            insecure: it.insecure,
            any_shards: !settings.shards_said,
        };
        Ok(Self { settings: settings.clone(), options })
    }

    /// Opens it, after it was installed and migrated where that is needed.
    async fn migrated(&self) -> anyhow::Result<(PostgresStorage, Done)> {
        let ids = SystemIds;
        let (cursor_key, key_pepper) = (chance(&ids), chance(&ids));
        let shards = self.settings.shards;
        let seed = Seed { installation_id: ids.uuid_v4(), cursor_key, key_pepper, shards };
        let (storage, migrated) = PostgresStorage::open(&self.options, &seed).await.map_err(Away::from)?;
        Ok((storage, Done { from: migrated.from, to: migrated.to, ..Done::default() }))
    }

    /// What is wrong with this database for a command, which changes nothing that nodes stand on.
    fn unusable(&self, looked: &Looked, makes_keys: bool) -> Option<Failure> {
        let refused = |what: String, fix: &str| Some(Failure::here(Exit::Refused, what, fix));
        let Some(install) = &looked.install else {
            let fix = "name another in `database`; or set this one up: `wellorder migrate`";
            return refused("there is no wellorder in this database".to_owned(), fix);
        };
        let (version, newest) = (install.schema_version, newest());
        if version < newest {
            let what = format!("the database has schema {version}, this program needs {newest}");
            return refused(what, "run `wellorder migrate`, or use the program that its nodes run");
        }
        let print = access::pepper_of(&self.settings, install).print();
        let is_other = looked.pepper_print.is_some_and(|noted| noted != print);
        // With no key left and no node running, the next node may have another.
        let in_use = looked.live_keys > 0 || looked.connections > 0;
        (makes_keys && is_other && in_use).then(other_pepper)
    }

    /// How it is opened, for whoever does so otherwise.
    pub(crate) fn into_options(self) -> Options {
        self.options
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
        let (storage, done) = self.migrated().await?;
        let pepper = access::pepper_of(&self.settings, storage.install());
        if let Err(error) = storage.note_pepper(pepper.print(), storage.clock().now()).await {
            tracing::debug!(%error, "cannot note what API keys are hashed with");
        }
        Ok(self.opened(storage, done).await)
    }

    async fn migrate(&self) -> anyhow::Result<Done> {
        // What keys are hashed with is said by who takes them.
        Ok(self.migrated().await?.1)
    }

    async fn open_to_read(&self) -> Result<Opened, Failure> {
        let storage = PostgresStorage::open_as_it_is(&self.options).await.map_err(Away::from)?;
        Ok(self.opened(storage, Done::default()).await)
    }

    async fn open_for_command(&self, makes_keys: bool) -> Result<Usable, Failure> {
        let now = SystemClock::default().now();
        let looked = storage_postgres::look(&self.options, now).await.map_err(Away::from)?;
        if let Some(failure) = self.unusable(&looked, makes_keys) {
            return Err(failure);
        }
        let storage = PostgresStorage::open_up_to_date(&self.options, self.settings.shards).await;
        let storage = storage.map_err(Away::from)?;
        if makes_keys {
            let pepper = access::pepper_of(&self.settings, storage.install());
            let noted = storage.note_pepper(pepper.print(), storage.clock().now()).await;
            noted.map_err(anyhow::Error::from)?;
        }
        Ok(Usable { opened: self.opened(storage, Done::default()).await, unwritable: None })
    }

    async fn stands(&self, now: Timestamp) -> anyhow::Result<Option<Stands>> {
        let looked = storage_postgres::look(&self.options, now).await.map_err(Away::from)?;
        let Some(install) = looked.install else { return Ok(None) };
        let print = access::pepper_of(&self.settings, &install).print();
        Ok(Some(Stands {
            schema: (install.schema_version, newest()),
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

/// The newest schema of this program.
fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
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

/// Keeps the parts of the journal, beside all other nodes that do, until `stop`.
async fn keep_parts(storage: Arc<PostgresStorage>, mut stop: watch::Receiver<bool>) {
    let mut said = Seldom::every(SAY_EVERY);
    loop {
        let kept = storage.keep_parts(storage.clock().now()).await;
        let again = match kept {
            // One that had to be split, or waits for a floor, may have left more to do.
            Ok(PartsKept { put_off: 0, made, raised, dropped }) => made + raised + dropped > 0,
            Ok(_) => false,
            Err(error) => {
                if said.due(Instant::now()) {
                    tracing::warn!(%error, "cannot look after the parts of the journal; events are kept all the same");
                }
                false
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(if again { PARTS_AGAIN } else { PARTS_EVERY }) => {}
        }
    }
}

/// What a node shares with the others: what was committed, and the time.
struct Sharing(Arc<PostgresStorage>);

impl Beside for Sharing {
    fn start(self: Box<Self>, app: &Arc<App>, mut stop: watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        let shared = self.0.share_wakes(app.wakes.clone());
        let (clock, machine) = (self.0.clock(), ServerClock::of(&self.0));
        tasks.spawn(keep_parts(Arc::clone(&self.0), stop.clone()));
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

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "tests")]
    use super::*;
    use crate::config::{Flag, Inputs, load};
    use order_core::Pepper;
    use order_core::query::Install;

    fn looked(schema_version: u32) -> Looked {
        let install = Install {
            installation_id: uuid::Uuid::nil(),
            shards: 16,
            epoch: 0,
            cursor_key: [0; 32],
            key_pepper: Pepper::new([0; 32]),
            schema_version,
        };
        let pepper_print = Some(install.key_pepper.print());
        Looked { install: Some(install), live_keys: 1, pepper_print, connections: 0 }
    }

    #[test]
    fn what_a_command_finds_is_refused_where_it_would_have_to_change_it() {
        let flag = |path, value: &str| Flag { path, flag: "--x", value: value.to_owned() };
        let url = "postgres://wellorder@127.0.0.1/orders";
        let inputs = Inputs { flags: vec![flag("database", url)], ..Inputs::default() };
        let settings = load(&inputs).unwrap_or_else(|problems| panic!("{problems}")).settings;
        let Ok(server) = Server::of(&settings, url) else { panic!("no server") };
        let refused = |looked: Looked, makes_keys| match server.unusable(&looked, makes_keys) {
            Some(Failure::Here { exit: Exit::Refused, what, .. }) => Some(what),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(looked(newest()), true), None);
        assert_eq!(refused(looked(newest() + 1), true), None, "which lets this program run");
        assert!(refused(looked(newest() - 1), false).is_some_and(|what| what.contains("has schema")));
        assert!(refused(Looked { install: None, ..looked(0) }, false).is_some());
        let other = |live_keys, connections| Looked {
            pepper_print: Some([7; 8]),
            live_keys,
            connections,
            ..looked(newest())
        };
        assert_eq!(refused(other(1, 1), false), None, "it makes no keys");
        assert!([other(1, 0), other(0, 1)].into_iter().all(|looked| refused(looked, true).is_some()));
        assert_eq!(refused(other(0, 0), true), None, "nobody has one, and nobody runs");
    }
}
