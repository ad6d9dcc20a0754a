//! Opening the storage, however long that takes: while it is locked, or while its disk is full, the process lives and
//! says so, as it does when that happens later.

use crate::cli::failure::{Exit, Failure};
use crate::config::{Mode, Settings};
use crate::folder::Folder;
use crate::further::Further;
use crate::seldom::Seldom;
use crate::serve_check::ServeCheck;
use crate::shutdown::Stop;
use crate::{serve, wire_up};
use anyhow::Context;
use edge::{Listening, Transport};
use order_core::Fault;
use order_core::ports::Storage;
use rustix::fs::{Access, access, statvfs};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage_sqlite::Opened;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests wait so long for a storage that is being opened; then they are refused until it is.
const GRACE: Duration = Duration::from_secs(2);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(1);
/// Between two lines of the log while it cannot be opened.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long a refusal may take to be sent when the waiting is over.
const DRAIN: Duration = Duration::from_secs(1);
/// A disk with less room is full, whatever SQLite makes of it.
const ROOM_MIN: u64 = 1 << 20;

/// Where a server serves, and from which folder.
pub(crate) struct Place<'a> {
    pub(crate) mode: Mode,
    pub(crate) settings: &'a Settings,
    pub(crate) folder: &'a Arc<Folder>,
    pub(crate) listener: TcpListener,
    pub(crate) ops: Option<TcpListener>,
    pub(crate) further: Vec<Further>,
    pub(crate) transport: Transport,
}

/// A storage that is open.
type Opening = (Arc<dyn Storage>, Opened);

/// Opens the storage, after `check` if there is one, and serves what can be served without a storage meanwhile; `None` when
/// `stopped` comes first.
///
/// # Errors
/// When it cannot be opened, and waiting will not change that.
pub(crate) async fn storage(
    place: &Place<'_>,
    check: Option<ServeCheck>,
    stopped: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Opening>, Failure> {
    let (settings, check) = (Arc::new(place.settings.clone()), check.map(Arc::new));
    let mut waiting: Option<Waiting> = None;
    loop {
        let mut attempt =
            tokio::spawn(attempt(check.clone(), Arc::clone(&settings), Arc::clone(place.folder)));
        let ended = loop {
            tokio::select! {
                biased;
                () = &mut *stopped => return Ok(None),
                ended = &mut attempt => break ended,
                () = tokio::time::sleep(GRACE), if waiting.is_none() => waiting = Some(place.wait()?),
            }
        };
        let failure = match ended.context("opening the database broke off").map_err(Failure::from)? {
            Ok(opened) => {
                if let Some(waiting) = waiting {
                    waiting.end().await;
                }
                return Ok(Some(opened));
            }
            Err(failure) => failure,
        };
        let Some(why) = passing(&failure, place.settings, &place.folder.database()) else {
            return Err(named(failure, place.settings, &place.folder.database()));
        };
        let mut now = match waiting {
            Some(waiting) => waiting,
            None => place.wait()?,
        };
        now.because(why);
        waiting = Some(now);
        tokio::select! {
            () = &mut *stopped => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

impl Place<'_> {
    /// Serves that it waits, where the server will serve.
    fn wait(&self) -> anyhow::Result<Waiting> {
        let address = self.listener.local_addr().context("the listener has no address")?;
        if let Err(error) = self.folder.announce(address, matches!(self.transport, Transport::Tls(_))) {
            tracing::debug!(%error, "cannot write the address into the lock file yet");
        }
        let why =
            Arc::new(Mutex::new("is being opened, which takes a while: a lock, or many orders".to_owned()));
        let (stop, mut tasks) = (Stop::new(), JoinSet::new());
        let guard = serve::waiting_guard(self.mode, self.settings);
        let telling = |tells_checks| {
            let why = Arc::clone(&why);
            let why = move || why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            api::Waiting { why: Arc::new(why), tells_checks }
        };
        let router = serve::waiting_router(self.settings, &guard, telling(self.mode != Mode::Serve));
        let http2 = serve::waiting_grpc(&guard);
        let listening =
            Listening { listener: twin(&self.listener)?, transport: self.transport.clone(), http2 };
        tasks.spawn(edge::serve(listening, router, Arc::clone(&guard), stop.subscribe(), DRAIN));
        if let Some(ops) = &self.ops {
            let router = api::waiting_router(telling(true), &guard, false);
            tasks.spawn(edge::serve(twin(ops)?, router, guard, stop.subscribe(), DRAIN));
        }
        let ops = self.ops.as_ref().and_then(|ops| ops.local_addr().ok()).map(|ops| ops.to_string());
        tracing::info!(%address, ops, "the database is not open yet; until it is, all but health is refused");
        Ok(Waiting { address, why, stop, tasks, said: Seldom::every(SAY_EVERY), failed: false })
    }
}

/// One try.
async fn attempt(
    check: Option<Arc<ServeCheck>>,
    settings: Arc<Settings>,
    folder: Arc<Folder>,
) -> Result<Opening, Failure> {
    if let Some(check) = check {
        check.pass().await?;
    }
    let opening = tokio::task::spawn_blocking(move || wire_up::open_storage(&settings, &folder));
    Ok(opening.await.context("opening the database broke off")??)
}

/// A second socket of the same listener: what comes to one is taken by either.
fn twin(listener: &TcpListener) -> anyhow::Result<TcpListener> {
    let twin = listener.as_fd().try_clone_to_owned().context("cannot listen while the database is away")?;
    TcpListener::from_std(twin.into()).context("cannot listen while the database is away")
}

/// Whether a start waits for what it failed at: then why, and what to do, for whoever runs it.
pub(crate) fn passing(failure: &Failure, settings: &Settings, database: &Path) -> Option<String> {
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
pub(crate) fn remedy(why: &str, settings: &Settings, database: &Path) -> String {
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

/// What is served meanwhile. Dropped, it breaks off.
struct Waiting {
    address: SocketAddr,
    why: Arc<Mutex<String>>,
    stop: Stop,
    tasks: JoinSet<usize>,
    said: Seldom,
    failed: bool,
}

impl Waiting {
    fn because(&mut self, why: String) {
        self.failed = true;
        if self.said.due(Instant::now()) {
            let address = self.address;
            tracing::warn!(why, %address, "waiting for the database; until then all but health is refused");
        }
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Ends it: from now on connections wait for the server.
    async fn end(mut self) {
        self.stop.stop();
        while self.tasks.join_next().await.is_some() {}
        if self.failed {
            tracing::info!("the database can be had: starting");
        }
    }
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
        let fault = Fault::Unavailable { why: why.to_owned(), retry_after: RETRY };
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
