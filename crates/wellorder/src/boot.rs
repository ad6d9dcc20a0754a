//! Opening the storage, however long that takes: while it is locked, or while its disk is full, the process lives and
//! says so, as it does when that happens later.

use crate::cli::failure::Failure;
use crate::config::{Mode, Settings};
use crate::folder::Folder;
use crate::further::Further;
use crate::seldom::Seldom;
use crate::serve;
use crate::serve_check::ServeCheck;
use crate::shutdown::Stop;
use crate::storage::{Database, Judged, Opened};
use anyhow::Context;
use edge::{Listening, Transport};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
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

/// Where a server serves, and from which folder.
pub(crate) struct Place<'a> {
    pub(crate) mode: Mode,
    pub(crate) settings: &'a Settings,
    pub(crate) folder: &'a Arc<Folder>,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) listener: TcpListener,
    pub(crate) ops: Option<TcpListener>,
    pub(crate) further: Vec<Further>,
    pub(crate) transport: Transport,
}

/// Opens the storage, after `check` if there is one, and serves what can be served without a storage meanwhile; `None` when
/// `stopped` comes first.
///
/// # Errors
/// When it cannot be opened, and waiting will not change that.
pub(crate) async fn storage(
    place: &Place<'_>,
    check: Option<ServeCheck>,
    stopped: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Option<Opened>, Failure> {
    let check = check.map(Arc::new);
    let mut waiting: Option<Waiting> = None;
    loop {
        let mut attempt = tokio::spawn(attempt(check.clone(), Arc::clone(&place.database)));
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
        let why = match place.database.judge(failure) {
            Judged::Passes(why) => why,
            Judged::Stays(failure) => return Err(failure),
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
            tasks.spawn(edge::serve(twin(ops)?, router, Arc::clone(&guard), stop.subscribe(), DRAIN));
        }
        for further in &self.further {
            let (listening, router) = further.waiting(&guard, self.transport.clone())?;
            tasks.spawn(edge::serve(listening, router, Arc::clone(&guard), stop.subscribe(), DRAIN));
        }
        let ops = self.ops.as_ref().and_then(|ops| ops.local_addr().ok()).map(|ops| ops.to_string());
        tracing::info!(%address, ops, "the database is not open yet; until it is, all but health is refused");
        Ok(Waiting { address, why, stop, tasks, said: Seldom::every(SAY_EVERY), failed: false })
    }
}

/// One try.
async fn attempt(check: Option<Arc<ServeCheck>>, database: Arc<dyn Database>) -> Result<Opened, Failure> {
    if let Some(check) = check {
        check.pass(&*database).await?;
    }
    Ok(database.open().await?)
}

/// A second socket of the same listener: what comes to one is taken by either.
///
/// # Errors
/// When the process may have no more sockets.
pub(crate) fn twin(listener: &TcpListener) -> anyhow::Result<TcpListener> {
    let twin = listener.as_fd().try_clone_to_owned().context("cannot listen while the database is away")?;
    TcpListener::from_std(twin.into()).context("cannot listen while the database is away")
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
