//! The database in the data folder.

use super::{Database, Done, Judged, Nothing, Opened, Raised, Stands, Usable, other_pepper};
use crate::access;
use crate::cli::doctor::Check;
use crate::cli::failure::{Exit, Failure};
use crate::config::{ProcessorKind, Settings};
use crate::folder::{DATABASE_FILE, Folder};
use crate::system::{SystemClock, SystemIds};
use anyhow::Context;
use async_trait::async_trait;
use order_core::api_key::chance;
use order_core::ports::Storage;
use order_core::{Clock, Fault, Ids, Timestamp};
use rustix::fs::{Access, access, statvfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage_sqlite::{Options, Seed, SqliteStorage};

/// A disk with less room is full, whatever SQLite makes of it.
const ROOM_MIN: u64 = 1 << 20;

/// A file.
#[derive(Clone)]
pub(crate) struct File {
    settings: Settings,
    path: PathBuf,
}

impl File {
    /// That of the data folder.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self { settings: settings.clone(), path: settings.data.join(DATABASE_FILE) }
    }

    /// Another, which nobody uses.
    pub(crate) fn at(settings: &Settings, path: PathBuf) -> Self {
        Self { settings: settings.clone(), path }
    }

    fn options(&self) -> Options {
        Options {
            path: self.path.clone(),
            busy_timeout: self.settings.storage.busy_timeout,
            free_bytes_min: self.settings.storage.free_space_min_bytes,
            // Workers outside work on while this process is away.
            leases_outlive: self.settings.desks_of(ProcessorKind::Pull),
        }
    }

    /// The number of the newest migration that it has had (0: nothing was installed), and of the newest of this program.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn versions(&self) -> Result<(u32, u32), Fault> {
        let newest = storage_sqlite::MIGRATIONS.last().map_or(0, |migration| migration.number);
        Ok((storage_sqlite::schema_version(&self.options())?, newest))
    }

    fn opened(&self, storage: SqliteStorage, done: Done) -> Opened {
        let place = self.settings.data.display().to_string();
        Opened {
            storage: Arc::new(storage),
            clock: Arc::new(SystemClock::default()),
            done: Done { place, engine: "SQLite, every commit flushed".to_owned(), ..done },
            beside: Box::new(Nothing),
        }
    }

    fn open_now(&self) -> anyhow::Result<Opened> {
        let ids = SystemIds;
        let (cursor_key, key_pepper) = (chance(&ids), chance(&ids));
        let shards = self.settings.shards;
        let seed = Seed { installation_id: ids.uuid_v4(), cursor_key, key_pepper, shards };
        let (options, now) = (self.options(), SystemClock::default().now());
        let opened = SqliteStorage::open(&options, &seed, now);
        let (storage, opened) = opened.with_context(|| format!("cannot open {}", options.path.display()))?;
        let pepper = access::pepper_of(&self.settings, storage.install());
        // Whoever cannot write it now will at the next start.
        if let Err(error) = storage_sqlite::note_pepper(&options, pepper.print(), now) {
            tracing::debug!(%error, "cannot note what API keys are hashed with");
        }
        let migrated = opened.migrated;
        let leases_expired = opened.leases_expired;
        let done = Done {
            from: migrated.from,
            to: migrated.to,
            copy: migrated.backup,
            leases_expired,
            ..Done::default()
        };
        Ok(self.opened(storage, done))
    }

    /// For reading alone, where it cannot be written now; and why, with what to do.
    fn readable(&self, unwritable: anyhow::Error) -> anyhow::Result<Usable> {
        let Some(Fault::Unavailable { why, .. }) = unwritable.downcast_ref() else { return Err(unwritable) };
        match SqliteStorage::open_at_rest(&self.options()) {
            Ok(storage) => {
                let why = format!("{why}; fix: {}", remedy(why, &self.settings, &self.path));
                Ok(Usable { opened: self.opened(storage, Done::default()), unwritable: Some(why) })
            }
            // What keeps it from being written says more.
            Err(_) => Err(unwritable),
        }
    }

    /// Beside its server; or, where SQLite cannot read because it cannot write, as it lies.
    fn to_audit(&self) -> Result<SqliteStorage, Failure> {
        let unreadable = match SqliteStorage::open_read_only(&self.options()) {
            Ok(storage) => return Ok(storage),
            Err(fault) => fault,
        };
        if matches!(unreadable, Fault::Unavailable { .. })
            && let Ok(folder) = Folder::lock(&self.settings.data)
            && let Ok(storage) = SqliteStorage::open_at_rest(&self.options())
        {
            // Held until the process ends: nobody may write meanwhile.
            std::mem::forget(folder);
            return Ok(storage);
        }
        Err(anyhow::Error::from(unreadable).into())
    }
}

#[async_trait]
impl Database for File {
    async fn open(&self) -> anyhow::Result<Opened> {
        let file = self.clone();
        tokio::task::spawn_blocking(move || file.open_now())
            .await
            .context("opening the database broke off")?
    }

    async fn open_to_read(&self) -> Result<Opened, Failure> {
        if !self.path.exists() {
            let what = format!("there is no database {}", self.path.display());
            return Err(Failure::here(Exit::Unreachable, what, "name the data folder with --data"));
        }
        Ok(self.opened(self.to_audit()?, Done::default()))
    }

    async fn open_for_command(&self, makes_keys: bool) -> Result<Usable, Failure> {
        let usable = match self.open().await {
            Ok(opened) => Usable { opened, unwritable: None },
            Err(unwritable) => self.readable(unwritable)?,
        };
        // Nobody serves this folder now, so with no key left the next server may have another: that is noted already.
        if makes_keys {
            let stands = self.stands(SystemClock::default().now()).await?;
            if stands.is_some_and(|stands| stands.is_other_pepper) {
                return Err(other_pepper());
            }
        }
        Ok(usable)
    }

    async fn stands(&self, now: Timestamp) -> anyhow::Result<Option<Stands>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let schema = self.versions()?;
        if schema.0 != schema.1 {
            return Ok(Some(Stands { schema, live_keys: 0, is_other_pepper: false }));
        }
        let storage = SqliteStorage::open_read_only(&self.options())?;
        let live_keys = storage.live_api_keys(now).await?;
        let print = access::pepper_of(&self.settings, storage.install()).print();
        let is_other_pepper = storage.pepper_print().await?.is_some_and(|noted| noted != print);
        Ok(Some(Stands { schema, live_keys, is_other_pepper }))
    }

    async fn raise_epoch(&self) -> Result<Raised, Failure> {
        let what = "a copy of SQLite is given its epoch when it is restored";
        Err(Failure::here(Exit::Usage, what, "restore it by `wellorder restore FILE`, without --raise-epoch"))
    }

    async fn examine(&self) -> Option<Vec<Check>> {
        None
    }

    fn judge(&self, failure: Failure) -> Judged {
        match passing(&failure, &self.settings, &self.path) {
            Some(why) => Judged::Passes(why),
            None => Judged::Stays(named(failure, &self.settings, &self.path)),
        }
    }
}

/// Whether a start waits for what it failed at: then why, and what to do, for whoever runs it.
fn passing(failure: &Failure, settings: &Settings, database: &Path) -> Option<String> {
    let Failure::Fault(error) = failure else { return None };
    let Some(Fault::Unavailable { why, .. }) = error.downcast_ref::<Fault>() else { return None };
    if is_lasting(&settings.data, database) {
        return None;
    }
    let fix = remedy(why, settings, database);
    Some(format!("cannot be opened yet ({why}): {fix}; no restart is needed"))
}

/// The same failure, with what to do where that is known.
fn named(failure: Failure, settings: &Settings, database: &Path) -> Failure {
    match failure {
        Failure::Fault(error) => match error.downcast_ref() {
            Some(Fault::Unavailable { why, .. }) => {
                Failure::here(Exit::Fault, format!("{error:#}"), remedy(why, settings, database))
            }
            _ => Failure::Fault(error),
        },
        failure => failure,
    }
}

/// What to do about a database that cannot be opened or written, for whoever runs it.
fn remedy(why: &str, settings: &Settings, database: &Path) -> String {
    let (shown, folder) = (database.display(), settings.data.display());
    let free = statvfs(&settings.data).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if is_lasting(&settings.data, database) {
        format!(
            "let {folder} and what is in it be written by this user (a mount for reading alone is no place for it)"
        )
    } else if why.starts_with("locked") {
        format!("another program holds {shown} (`fuser -v {shown}` names it): end it")
    } else if why.starts_with("full") || free.is_ok_and(|free| free < ROOM_MIN) {
        format!("there is no room at {folder}: make some")
    } else {
        format!("`wellorder doctor` looks for what keeps {shown} from being opened")
    }
}

/// Whether only somebody's deed, and a new start, can help: it may not be read or written, or it is no file.
fn is_lasting(folder: &Path, database: &Path) -> bool {
    let denied = |path: &Path, wanted| {
        let errno = access(path, wanted).err();
        matches!(errno, Some(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS | rustix::io::Errno::PERM))
    };
    let no_file = database.exists() && !database.is_file();
    no_file
        || denied(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        || denied(database, Access::READ_OK | Access::WRITE_OK)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::config::{Flag, Inputs, load};

    fn settings(folder: &Path) -> Settings {
        let flags = vec![Flag { path: "data", flag: "--data", value: folder.display().to_string() }];
        let inputs = Inputs { flags, ..Inputs::default() };
        load(&inputs).unwrap_or_else(|problems| panic!("{problems}")).settings
    }

    fn unavailable(why: &str) -> Failure {
        let fault = Fault::Unavailable { why: why.to_owned(), retry_after: std::time::Duration::ZERO };
        Failure::Fault(anyhow::Error::new(fault).context("cannot open it"))
    }

    #[test]
    fn what_passes_is_waited_for_and_named_with_its_fix() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, database) = (settings(folder.path()), folder.path().join("a.db"));
        for (why, fix) in [
            ("locked: busy", "end it"),
            ("full: no room", "make some"),
            ("disk I/O error", "wellorder doctor"),
        ] {
            let said = passing(&unavailable(why), &settings, &database).unwrap();
            assert!(said.contains(why) && said.contains(fix), "{said}");
        }
    }

    #[test]
    fn what_does_not_go_away_alone_ends_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, database) = (settings(folder.path()), folder.path().join("a.db"));
        let lasting = [
            Failure::Fault(Fault::internal("no database").into()),
            Failure::Fault(anyhow::anyhow!("whatever")),
            Failure::here(Exit::Refused, "in use", "stop it"),
        ];
        for failure in lasting {
            assert_eq!(passing(&failure, &settings, &database), None, "{failure:?}");
        }
        std::fs::create_dir(&database).unwrap();
        assert_eq!(passing(&unavailable("cannot open"), &settings, &database), None, "a folder is no file");
    }
}
