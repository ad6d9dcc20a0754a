//! Whom a client command talks to.

use anyhow::Context as _;
use axum::Router;

use super::{
    api_call::{ApiCall, HttpCall, InProcess},
    failure::{Exit, Failure},
    lock::{self, Holder, Lock},
    shown,
};
use crate::{config::Settings, trust};

/// Whether a command needs a data folder that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    MustBe,
    MayBeMade,
}

/// The server at `url`; else the server on the data folder; else the API over the folder in this process.
///
/// # Errors
/// There is no folder, its server does not say where it is, or the folder cannot be opened.
pub(super) async fn connect<F>(
    settings: &Settings,
    url: Option<&str>,
    folder: Folder,
    offline: F,
) -> Result<Box<dyn ApiCall>, Failure>
where
    F: AsyncFn(&Settings) -> Result<Router, Failure>,
{
    if let Some(url) = url {
        return Ok(Box::new(HttpCall::new(url, &settings.client_key, &trust::of(settings)?)?));
    }
    match look(settings)? {
        Lock::Held(Some(holder)) => Ok(Box::new(of_folder(&holder, settings)?)),
        Lock::Held(None) => Err(starting(settings)),
        Lock::NoFolder if folder == Folder::MustBe => {
            let what = format!("there is no data folder {}", shown(&settings.data));
            Err(Failure::here(
                Exit::Unreachable,
                what,
                "start `wellorder dev`, or name the folder with --data",
            ))
        }
        Lock::NoFolder | Lock::Free => {
            let holds_folder = settings.database.text().is_none();
            Ok(Box::new(InProcess { router: offline(settings).await?, holds_folder }))
        }
    }
}

/// A server that runs: at `url`, on the data folder, or at the address it would listen on.
///
/// # Errors
/// `url` is none, or the folder's server does not say where it is.
pub(super) fn server(settings: &Settings, url: Option<&str>) -> Result<Box<dyn ApiCall>, Failure> {
    let url = match (url, look(settings)?) {
        (Some(url), _) => url.to_owned(),
        (None, Lock::Held(Some(holder))) => return Ok(Box::new(of_folder(&holder, settings)?)),
        (None, Lock::Held(None)) => return Err(starting(settings)),
        (None, Lock::NoFolder | Lock::Free) => format!("http://{}", settings.listen),
    };
    Ok(Box::new(HttpCall::new(&url, &settings.client_key, &trust::of(settings)?)?))
}

/// The server on the data folder, by its address. For that a certificate is seldom made: the one to believe lies in the
/// folder, which says where the server is.
fn of_folder(holder: &Holder, settings: &Settings) -> Result<HttpCall, Failure> {
    let trust = match trust::of_server_on(&settings.data) {
        Some(trust) => trust,
        None => trust::of(settings)?,
    };
    HttpCall::new(&holder.url(), &settings.client_key, &trust)
}

fn look(settings: &Settings) -> Result<Lock, Failure> {
    // A database on a server is anybody's at any time, and none of its nodes says in a folder where it is.
    if settings.database.text().is_some() {
        return Ok(Lock::Free);
    }
    let lock = lock::look(&settings.data);
    let lock = lock.with_context(|| format!("cannot read the lock in {}", shown(&settings.data)))?;
    Ok(lock)
}

fn starting(settings: &Settings) -> Failure {
    let what = format!("a server starts on {} and has no address yet", shown(&settings.data));
    Failure::here(Exit::Unreachable, what, "try again in a moment")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::{fs::File, path::Path};

    use axum::routing::get;

    use super::*;
    use crate::{
        cli::lock::LOCK_FILE,
        config::{Flag, Inputs, load},
    };

    fn settings(data: &Path) -> Settings {
        let flag = Flag { path: "data", flag: "--data", value: data.display().to_string() };
        load(&Inputs { flags: vec![flag], ..Inputs::default() })
            .map_or_else(|e| panic!("{e}"), |config| config.settings)
    }

    async fn offline(_: &Settings) -> Result<Router, Failure> {
        Ok(Router::new().route("/v1/orders", get(async || "here")))
    }

    async fn exit(settings: &Settings, url: Option<&str>, folder: Folder) -> Option<Exit> {
        connect(settings, url, folder, offline).await.err().map(|failure| failure.exit())
    }

    #[tokio::test]
    async fn without_a_server_the_folder_is_opened_here() {
        let folder = tempfile::tempdir().unwrap();
        let api = connect(&settings(folder.path()), None, Folder::MustBe, offline)
            .await
            .unwrap_or_else(|_| panic!());
        assert!(!api.is_server() && api.holds_folder());
        let reply = api.call(http::Method::GET, "/v1/orders", None, &[]).await.unwrap();
        assert_eq!(reply.body, "here");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder.path().join("none"));
        assert_eq!(exit(&settings, None, Folder::MustBe).await, Some(Exit::Unreachable));
        assert_eq!(exit(&settings, None, Folder::MayBeMade).await, None);
        assert_eq!(
            exit(&settings, Some("http://127.0.0.1:1"), Folder::MustBe).await,
            None,
            "--url needs no folder"
        );
        assert_eq!(exit(&settings, Some("127.0.0.1"), Folder::MustBe).await, Some(Exit::Usage));
    }

    #[tokio::test]
    async fn with_a_server_it_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let lock = File::open(folder.path()).unwrap();
        lock.lock().unwrap();
        assert_eq!(exit(&settings, None, Folder::MustBe).await, Some(Exit::Unreachable), "it starts");
        std::fs::write(folder.path().join(LOCK_FILE), r#"{"pid": 1, "address": "127.0.0.1:1"}"#).unwrap();
        let api = connect(&settings, None, Folder::MustBe, offline).await.unwrap_or_else(|_| panic!());
        assert!(api.is_server());
    }
}
