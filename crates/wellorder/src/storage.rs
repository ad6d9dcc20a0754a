//! The one place that knows which database there is: the file in the data folder, or a server. Everybody else has an
//! [`Opened`] and what it brings along.

#[cfg(feature = "postgres")]
pub(crate) mod server;
pub(crate) mod sqlite;

use crate::cli::doctor::Check;
use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::folder::{BACKUPS_FOLDER, Folder};
use crate::moving;
use async_trait::async_trait;
use order_core::ports::Storage;
use order_core::{App, Clock, Timestamp};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A database, before it is opened.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// Opens it for a server, or a command in the place of one: installs an empty one, and brings its schema up to date.
    /// The [`folder`] must be ours.
    ///
    /// # Errors
    /// What [`Self::judge`] judges.
    async fn open(&self) -> anyhow::Result<Opened>;

    /// Opens it to prove that it is sound, beside whoever uses it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    async fn open_to_read(&self) -> Result<Opened, Failure>;

    /// Opens it for a command that makes API keys, or does not: where it cannot be written now, for reading alone. The
    /// [`folder`] must be ours. What others use meanwhile is neither installed nor migrated.
    ///
    /// # Errors
    /// When it cannot be read either; or it would have to be migrated under those who use it; or no server would take the
    /// keys that are made here.
    async fn open_for_command(&self, makes_keys: bool) -> Result<Usable, Failure>;

    /// Installs an empty one, and brings its schema up to date. The [`folder`] must be ours.
    ///
    /// # Errors
    /// What [`Self::judge`] judges.
    async fn migrate(&self) -> anyhow::Result<Done> {
        Ok(self.open().await?.done)
    }

    /// What it says about itself to a server that is about to use it; `None` when nothing was installed in it yet.
    ///
    /// # Errors
    /// What [`Self::judge`] judges.
    async fn stands(&self, now: Timestamp) -> anyhow::Result<Option<Stands>>;

    /// What a doctor finds there, where it is not in the data folder.
    async fn examine(&self) -> Option<Vec<Check>>;

    /// Begins another history in it, after it was restored by other means than ours.
    ///
    /// # Errors
    /// When somebody uses it, or it cannot be had; everything is as it was then.
    async fn raise_epoch(&self) -> Result<Raised, Failure>;

    /// What a start makes of a failure to open it.
    fn judge(&self, failure: Failure) -> Judged;
}

/// A database that is open, with what comes with it.
pub(crate) struct Opened {
    pub(crate) storage: Arc<dyn Storage>,
    /// The time that its rows go by.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) done: Done,
    /// What a server runs beside it.
    pub(crate) beside: Box<dyn Beside>,
}

/// What opening did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// Where the data lies, for people.
    pub(crate) place: String,
    /// What keeps it, and how.
    pub(crate) engine: String,
    /// The version of the schema before, 0 for a new database.
    pub(crate) from: u32,
    /// The version now.
    pub(crate) to: u32,
    /// A copy of what was there.
    pub(crate) copy: Option<PathBuf>,
    /// Leases of an earlier process that were made due.
    pub(crate) leases_expired: usize,
}

/// What runs beside an open database for as long as the process serves.
pub(crate) trait Beside: Send + Sync {
    /// Starts it.
    fn start(self: Box<Self>, app: &Arc<App>, stop: watch::Receiver<bool>, tasks: &mut JoinSet<()>);
}

/// Nothing does.
pub(crate) struct Nothing;

impl Beside for Nothing {
    fn start(self: Box<Self>, _: &Arc<App>, _: watch::Receiver<bool>, _: &mut JoinSet<()>) {}
}

/// A database that a command has opened.
pub(crate) struct Usable {
    pub(crate) opened: Opened,
    /// Why it is not written, if it is not, with what to do.
    pub(crate) unwritable: Option<String>,
}

/// What a database says about itself.
pub(crate) struct Stands {
    /// The schema that it has, and the one of this program.
    pub(crate) schema: (u32, u32),
    /// API keys that are live; 0 where the schema is older.
    pub(crate) live_keys: u64,
    /// Whether they were made under another pepper than that of the settings.
    pub(crate) is_other_pepper: bool,
}

/// Another history of a database.
pub(crate) struct Raised {
    /// The epochs before and now.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Leases that were taken away.
    pub(crate) leases: u64,
    /// Followers that go on from where they were.
    pub(crate) followers: u64,
}

/// What is made of a failure to open a database.
pub(crate) enum Judged {
    /// It may pass by itself, for this reason, and then no restart is needed.
    Passes(String),
    /// It stays.
    Stays(Failure),
}

/// Why a database cannot be had, where more is known than that.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) why: String,
    pub(crate) fix: String,
    pub(crate) passes: bool,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Away {}

impl From<Away> for Failure {
    fn from(Away { why, fix, passes }: Away) -> Self {
        Self::here(if passes { Exit::Unreachable } else { Exit::Fault }, why, fix)
    }
}

/// Why a command makes no API keys.
pub(crate) fn other_pepper() -> Failure {
    let what = "auth.key_pepper is not what the API keys of this database are made under: no server would take one that is \
                made here";
    let fix = "set it as the servers have it (nothing, where it is not set), or ask one of them with --url";
    Failure::here(Exit::Refused, what, fix)
}

/// A failure to open a database, as a command tells it.
pub(crate) fn named(error: anyhow::Error) -> Failure {
    match error.downcast::<Away>() {
        Ok(away) => away.into(),
        Err(error) => Failure::Fault(error),
    }
}

/// The database that the settings name.
///
/// # Errors
/// When this program was built without what it needs, or the address is none.
pub(crate) fn of(settings: &Settings) -> Result<Arc<dyn Database>, Failure> {
    match settings.database.text() {
        None => Ok(Arc::new(sqlite::File::of(settings))),
        #[cfg(feature = "postgres")]
        Some(url) => Ok(Arc::new(server::Server::of(settings, url)?)),
        #[cfg(not(feature = "postgres"))]
        Some(_) => {
            let fix = "build it with PostgreSQL: cargo build --release -p wellorder --features postgres";
            Err(Failure::here(
                Exit::Usage,
                "`database` is set, and this program was built without PostgreSQL",
                fix,
            ))
        }
    }
}

/// The folder that copies of the database are made in; `None` where a server makes them with its own tools.
pub(crate) fn copies(settings: &Settings) -> Option<PathBuf> {
    settings.database.text().is_none().then(|| settings.data.join(BACKUPS_FOLDER))
}

/// The data folder of a command, where the database is in it: else nothing is written there.
///
/// # Errors
/// When it cannot be had; with who holds it when somebody does.
pub(crate) fn folder_of_command(settings: &Settings) -> Result<Option<Folder>, Failure> {
    settings.database.text().is_none().then(|| used(settings)).transpose()
}

/// The data folder with the database in it, unless that was moved to another.
fn used(settings: &Settings) -> Result<Folder, Failure> {
    let folder = Folder::lock(&settings.data)?;
    moving::check(&settings.data)?;
    Ok(folder)
}

/// The data folder of a server: its own where the database is in it, else one that others may use too.
///
/// # Errors
/// When it cannot be had; with who holds it when somebody does.
pub(crate) fn folder(settings: &Settings) -> Result<Folder, Failure> {
    if settings.database.text().is_some() { Ok(Folder::shared(&settings.data)) } else { used(settings) }
}
