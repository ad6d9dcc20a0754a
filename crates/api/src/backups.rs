//! Copies of the whole database, made beside it while it serves. Where they lie is the server's choice: no path comes
//! over the wire, and none goes out.

use crate::Api;
use crate::params::NoParams;
use crate::problem::{BACKUP_ELSEWHERE, BACKUP_UNKNOWN, Failure, Problem};
use axum::extract::{Path, State};
use axum::response::Response;
use edge::Caller;
use http::{HeaderValue, StatusCode, header};
use order_core::action_log::{self, ActionKind};
use order_core::backup::{BackupMade, BackupProgress};
use order_core::{App, Error, Fault};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why none is made of a database on a server.
const ELSEWHERE: &str = "The database is on a server of its own, which makes copies with its own tools (pg_dump, pg_basebackup); the guide \
     «PostgreSQL» says how.";

/// Copies that are remembered.
const MADE_MAX: usize = 16;

/// The copies that this process makes: one at a time.
pub(crate) struct Backups {
    folder: PathBuf,
    made: Mutex<VecDeque<Arc<Making>>>,
}

/// A copy that is being made, or was.
struct Making {
    name: String,
    progress: Arc<BackupProgress>,
    ended: Mutex<Option<Result<BackupMade, Fault>>>,
}

impl Making {
    fn ended(&self) -> MutexGuard<'_, Option<Result<BackupMade, Fault>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> Value {
        let (done, total) = self.progress.bytes();
        let mut making = json!({
            "name": self.name,
            "state": "running",
            "bytes_done": done,
            "bytes_total": total,
            "orders": null,
            "epoch": null,
            "heads": null,
        });
        match &*self.ended() {
            None => {}
            Some(Err(_)) => making["state"] = "failed".into(),
            Some(Ok(made)) => {
                let heads =
                    made.heads.iter().map(|head| json!({ "shard": head.shard.0, "position": head.position }));
                making["state"] = "done".into();
                (making["bytes_done"], making["bytes_total"]) = (made.bytes.into(), made.bytes.into());
                (making["orders"], making["epoch"]) = (made.orders.into(), made.epoch.into());
                making["heads"] = heads.collect();
            }
        }
        making
    }
}

impl Backups {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, made: Mutex::default() }
    }

    fn made(&self) -> MutexGuard<'_, VecDeque<Arc<Making>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy that is being made, or a new one, which whoever asked has to make.
    fn join(&self, name: impl FnOnce() -> String) -> (Arc<Making>, bool) {
        let mut made = self.made();
        if let Some(running) = made.back().filter(|making| making.ended().is_none()) {
            return (Arc::clone(running), false);
        }
        let making = Arc::new(Making { name: name(), progress: Arc::default(), ended: Mutex::default() });
        made.push_back(Arc::clone(&making));
        if made.len() > MADE_MAX {
            made.pop_front();
        }
        (making, true)
    }
}

/// Have a copy of the whole database made.
///
/// The server makes it beside its work, in the folder `backups` of its data folder, and checks it. One is made at a time:
/// while one is, this answers with that one. Of a database on a server none is made: that has tools of its own.
#[utoipa::path(
    post,
    path = "/v1/backups",
    tag = "operations",
    operation_id = "start_backup",
    responses((status = 202, description = "The copy, as far as it is", body = crate::schema::operate::Backup,
        headers(("Location" = String, description = "Where to see how far it is"))))
)]
pub(crate) async fn start(State(api): State<Arc<Api>>, _: Caller, _: NoParams) -> Result<Response, Failure> {
    let backups = api.backups.as_ref().ok_or_else(|| Problem::new(BACKUP_ELSEWHERE, ELSEWHERE))?;
    let (making, fresh) = backups.join(|| name(&api.app));
    if fresh {
        // In a task of its own, so that a client who goes away leaves no copy that nobody makes.
        let begun = begin(Arc::clone(&api.app), Arc::clone(&making), backups.folder.clone());
        let begun = tokio::spawn(action_log::within(action_log::current(), begun));
        begun.await.map_err(Fault::internal)??;
    }
    let mut response = edge::respond::json(StatusCode::ACCEPTED, making.show().to_string());
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/backups/{}", making.name)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Show how far a copy is.
#[utoipa::path(
    get,
    path = "/v1/backups/{backup}",
    tag = "operations",
    operation_id = "get_backup",
    params(("backup" = String, Path, description = "The copy's name")),
    responses((status = 200, description = "The copy, as far as it is", body = crate::schema::operate::Backup))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    _: Caller,
    Path(name): Path<String>,
    _: NoParams,
) -> Result<Response, Failure> {
    let found = api.backups.as_ref().and_then(|backups| {
        backups.made().iter().find(|making| making.name == name).map(|making| making.show().to_string())
    });
    let unknown = || Problem::new(BACKUP_UNKNOWN, "No such copy has been made since the server was started");
    Ok(edge::respond::json(StatusCode::OK, found.ok_or_else(unknown)?))
}

/// Made when, and like no other.
fn name(app: &App) -> String {
    let digits: String = app.clock.now().to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let chance: String = app.ids.uuid_v4().simple().to_string().chars().take(6).collect();
    format!("wellorder-{digits}-{chance}.db")
}

/// Tells of the copy, which thereby tells of itself, then has it made.
async fn begin(app: Arc<App>, making: Arc<Making>, folder: PathBuf) -> Result<(), Error> {
    let recorded = app.record(ActionKind::BackupStarted, &making.name, &json!({})).await;
    match &recorded {
        Ok(()) => drop(tokio::spawn(make(app, making, folder))),
        Err(_) => *making.ended() = Some(Err(Fault::internal("it could not be told of"))),
    }
    recorded
}

async fn make(app: Arc<App>, making: Arc<Making>, folder: PathBuf) {
    let ended = made(&app, &making, folder).await;
    match &ended {
        Ok(made) => tracing::info!(backup = making.name, bytes = made.bytes, "made a copy of the database"),
        Err(fault) => tracing::error!(backup = making.name, %fault, "cannot make a copy of the database"),
    }
    *making.ended() = Some(ended);
}

async fn made(app: &App, making: &Making, folder: PathBuf) -> Result<BackupMade, Fault> {
    let target = folder.join(&making.name);
    let readied = tokio::task::spawn_blocking(move || ready(&folder)).await;
    readied
        .map_err(Fault::internal)?
        .map_err(|error| Fault::internal(format!("the folder for copies: {error}")))?;
    let mut stopping = app.stopping.subscribe();
    let copying = app.storage.back_up(&target, Arc::clone(&making.progress));
    tokio::pin!(copying);
    tokio::select! {
        made = &mut copying => return made,
        _ = stopping.wait_for(|stop| *stop) => making.progress.call_off(),
    }
    copying.await
}

/// Makes the folder for copies, and clears away what an earlier process did not bring to its end.
fn ready(folder: &FilePath) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "partial") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
