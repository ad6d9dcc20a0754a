//! Opening a database: to serve, or to look at it as it is.

use crate::clock::DatabaseClock;
use crate::connect::{Conn, Purpose, Target, TimeLimits};
use crate::error::Tried;
use crate::meta::{self, Seed};
use crate::migrate::{self, MIGRATIONS, Migrated};
use crate::parts::{Keeper, PartPolicy};
use crate::read::EventSizes;
use crate::readers::Readers;
use crate::refusal::{Refusal, Unopened};
use crate::terms::Packer;
use crate::tips::Tips;
use crate::writer::Writers;
use crate::{PostgresStorage, address, epoch, facts, pepper};
use order_core::Timestamp;
use order_core::clock::Clock;
use order_core::query::Install;
use std::sync::Arc;

/// How to open a database.
#[derive(Clone)]
pub struct Options {
    /// `postgres://USER:PASSWORD@HOST:PORT/NAME`.
    pub url: String,
    /// How many lanes commit at once.
    pub lanes: usize,
    /// How many connections read, at most; and as many again read for tenants.
    pub readers: usize,
    /// How the journal is kept.
    pub parts: PartPolicy,
    /// How long what may take.
    pub limits: TimeLimits,
    /// Certificates of authorities that are believed besides the public ones (PEM).
    pub authorities: Option<Vec<u8>>,
    /// Whether orders may go over a network in the clear.
    pub insecure: bool,
    /// Whether a database that is there is taken with as many shards as it has.
    pub any_shards: bool,
}

impl Options {
    /// The usual, for the database with this URL.
    pub fn new(url: &str) -> Self {
        let (parts, limits) = (PartPolicy::default(), TimeLimits::default());
        Self {
            url: url.to_owned(),
            lanes: 2,
            readers: 8,
            parts,
            limits,
            authorities: None,
            insecure: false,
            any_shards: false,
        }
    }
}

/// What a database says of itself to who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// What was written at install; `None` when nothing has been installed in it.
    pub install: Option<Install>,
    /// How many API keys are live.
    pub live_keys: u64,
    /// What the pepper left that they were made under.
    pub pepper_print: Option<[u8; 8]>,
    /// Connections of wellorder besides the one that looked.
    pub connections: u64,
}

/// Looks at a database, and changes nothing.
///
/// # Errors
/// When it cannot be had.
pub async fn look(options: &Options, now: Timestamp) -> Result<Looked, Unopened> {
    let target = Target::parse(options).map_err(|refusal| Unopened::of("", refusal.into()))?;
    let looking = async {
        let conn = target.connect(Purpose::Read).await?;
        facts::of(&conn).await?.check(false)?;
        let Some(install) = meta::load(&conn).await? else {
            return Ok(Looked { install: None, live_keys: 0, pepper_print: None, connections: 0 });
        };
        migrate::known(&conn).await?;
        let (live_keys, pepper_print) = pepper::look(&conn, now).await?;
        let connections = epoch::connections(&conn).await?;
        Ok(Looked { install: Some(install), live_keys, pepper_print, connections })
    };
    looking.await.map_err(|trouble| Unopened::of(target.name(), trouble))
}

/// Reads a URL: whether it names a server, and asks for nothing that is not safe.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str, insecure: bool) -> Result<(), Unopened> {
    address::read(url, insecure).map(drop).map_err(|refusal| Unopened::of("", refusal.into()))
}

/// What a server and its database are called, without user and password.
pub fn name(options: &Options) -> String {
    Target::parse(options).map(|target| target.name().to_owned()).unwrap_or_default()
}

impl PostgresStorage {
    /// Opens a database: installs it when it is empty, and brings its schema up to date. Other nodes may do so at the same
    /// moment.
    ///
    /// # Errors
    /// When the server cannot be reached or used, the database belongs to a newer version, or has another number of shards.
    pub async fn open(options: &Options, seed: &Seed) -> Result<(Self, Migrated), Unopened> {
        let target = Target::parse(options).map_err(|refusal| Unopened::of("", refusal.into()))?;
        let name = target.name().to_owned();
        let opening = async {
            let clock = DatabaseClock::new(target.clone());
            let conn = target.connect(Purpose::Migrate).await?;
            facts::of(&conn).await?.check(true)?;
            clock.measured().await?;
            let migrated = migrate::migrate(&conn, seed, options.parts.events, clock.now()).await?;
            let opened = Self::to_write(&conn, target, options, seed.shards, clock).await?;
            Ok((opened, migrated))
        };
        opening.await.map_err(|trouble| Unopened::of(&name, trouble))
    }

    /// Opens a database that is up to date, to read and to write: nothing is installed or migrated.
    ///
    /// # Errors
    /// As [`Self::open`], and when nothing was installed in it, or its schema is older than this program's.
    pub async fn open_up_to_date(options: &Options, shards: u16) -> Result<Self, Unopened> {
        let target = Target::parse(options).map_err(|refusal| Unopened::of("", refusal.into()))?;
        let name = target.name().to_owned();
        let opening = async {
            let clock = DatabaseClock::new(target.clone());
            let conn = target.connect(Purpose::Write).await?;
            facts::of(&conn).await?.check(true)?;
            clock.measured().await?;
            up_to_date(&conn).await?;
            Self::to_write(&conn, target, options, shards, clock).await
        };
        opening.await.map_err(|trouble| Unopened::of(&name, trouble))
    }

    async fn to_write(
        conn: &Conn,
        target: Target,
        options: &Options,
        shards: u16,
        clock: DatabaseClock,
    ) -> Tried<Self> {
        let install = installed(conn).await?;
        if !options.any_shards {
            meta::check_shards(&install, shards)?;
        }
        let is_guarded = meta::guard_reads(conn).await?;
        if !is_guarded {
            tracing::warn!("no role `wellorder_read`: nothing but each statement keeps tenants apart");
        }
        let target = target.of(install.epoch);
        let packer = Some(Packer::start(target.clone()));
        Ok(Self { packer, ..Self::over(target, options, install, clock, is_guarded) })
    }

    /// Opens a database that is there, as it is: nothing is installed or migrated. A standby will do.
    ///
    /// # Errors
    /// When it cannot be had, nothing was installed in it, or its schema is not this program's.
    pub async fn open_as_it_is(options: &Options) -> Result<Self, Unopened> {
        let target = Target::parse(options).map_err(|refusal| Unopened::of("", refusal.into()))?;
        let name = target.name().to_owned();
        let opening = async {
            let clock = DatabaseClock::new(target.clone());
            let conn = target.connect(Purpose::Read).await?;
            facts::of(&conn).await?.check(false)?;
            clock.measured().await?;
            let install = up_to_date(&conn).await?;
            Ok(Self::over(target.of(install.epoch), options, install, clock, false))
        };
        opening.await.map_err(|trouble| Unopened::of(&name, trouble))
    }

    fn over(
        target: Target,
        options: &Options,
        install: Install,
        clock: DatabaseClock,
        is_guarded: bool,
    ) -> Self {
        let install = Arc::new(install);
        let readers = Readers::new(target.clone(), options.readers);
        let guarded =
            if is_guarded { Readers::guarded(target.clone(), options.readers) } else { readers.clone() };
        let tips = Arc::new(Tips::new(install.shards));
        let writers =
            Writers::new(target.clone(), Arc::clone(&install), Arc::clone(&tips), options.lanes.max(1));
        let parts = Keeper::new(target.clone(), readers.clone(), Arc::clone(&tips), options.parts);
        let (clock, news, event_sizes) = (Arc::new(clock), Arc::default(), EventSizes::default());
        Self {
            install,
            clock,
            readers,
            guarded,
            writers,
            tips,
            parts,
            packer: None,
            news,
            event_sizes,
            target,
        }
    }
}

/// What was installed, unless its schema is not this program's.
async fn up_to_date(conn: &Conn) -> Tried<Install> {
    let install = installed(conn).await?;
    migrate::known(conn).await?;
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    if install.schema_version < newest {
        let why = format!("the database has schema {}, this program reads {newest}", install.schema_version);
        return Err(Refusal::lasting(why, "run `wellorder migrate`").into());
    }
    Ok(install)
}

pub(crate) async fn installed(conn: &Conn) -> Tried<Install> {
    let install = meta::load(conn).await?;
    install.ok_or_else(|| {
        Refusal::lasting("there is no wellorder in this database", "name another, or start a server on it")
            .into()
    })
}
