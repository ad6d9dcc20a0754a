//! `backup`: a copy that the server makes beside its work (or this process, when none runs), watched, then moved to where
//! it is wanted. The server never writes where a client says.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::{
    api_call::{ApiCall, encode},
    args::ServerArgs,
    failure::{Exit, Failure},
    json::text,
    retry, shown,
};
use crate::folder::BACKUPS_FOLDER;
use crate::output::{Output, Style};

/// How often a copy is looked at.
pub(super) const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Where the copy goes: a folder that is there, or a new file, whose name has an extension such as .db [default: the folder backups in the data folder]
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) to: Option<PathBuf>,
}

/// Has a copy made and waits until it is whole. `data` is the folder of whoever makes it, where that is on this machine.
pub(super) async fn backup(
    api: &dyn ApiCall,
    args: &BackupArgs,
    data: Option<&Path>,
    poll: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    if let Some(to) = args.to.as_deref().filter(|to| to.exists() && !to.is_dir()) {
        return Err(is_there(to));
    }
    if let Some(to) = args.to.as_deref().filter(|to| names_folder(to) && !to.is_dir()) {
        let what = format!("there is no folder {}", shown(to));
        return Err(Failure::here(
            Exit::Usage,
            what,
            "make it first, or name a file, with an extension such as .db",
        ));
    }
    if let Some(folder) = args.to.as_deref().and_then(folder_of).filter(|folder| !folder.is_dir()) {
        let what = format!("there is no folder {} to put the copy in", shown(folder));
        return Err(Failure::here(Exit::Usage, what, "make it first (mkdir -p), or name a file elsewhere"));
    }
    let (_, mut job) = api.post("/v1/backups", None).await?;
    let address = format!("/v1/backups/{}", encode(&text(&job, "name")));
    while text(&job, "state") == "running" {
        out.progress(&progress(&job));
        tokio::time::sleep(poll).await;
        (_, job) = retry::get(api, &address, poll, out).await?;
    }
    out.progress("");
    if text(&job, "state") != "done" {
        let what = "the copy could not be made; nothing is left of it";
        return Err(Failure::here(Exit::Fault, what, "the server's log says why; is there room for it?"));
    }
    // What a server elsewhere made lies there.
    let path = match data {
        None => None,
        Some(data) => Some(placed(&data.join(BACKUPS_FOLDER).join(text(&job, "name")), args.to.as_deref())?),
    };
    show(job, path.as_deref(), out)
}

/// Whether it is meant for a folder: it ends with `/`, or its name has no extension, as names of folders have none.
fn names_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.extension().is_none()
}

/// The folder that a file is to be in; `None` for that of this process.
fn folder_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

fn progress(job: &Value) -> String {
    let mib = |name: &str| job[name].as_u64().unwrap_or(0) >> 20;
    let (done, total) = (job["bytes_done"].as_u64().unwrap_or(0), job["bytes_total"].as_u64().unwrap_or(0));
    match (done * 20).checked_div(total) {
        None => "begins".to_owned(),
        Some(20) => "is being checked".to_owned(),
        Some(part) => {
            let filled = usize::try_from(part).unwrap_or(0);
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(20 - filled.min(20)));
            format!("[{bar}] {} of {} MiB", mib("bytes_done"), mib("bytes_total"))
        }
    }
}

fn show(mut job: Value, path: Option<&Path>, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if out.json {
        job["path"] = path.map(|path| path.display().to_string()).into();
        out.json(job.to_string().as_bytes())?;
        return Ok(Exit::Ok);
    }
    let (orders, epoch) = (text(&job, "orders"), text(&job, "epoch"));
    out.note(&format!(
        "{}: orders {orders}, epoch {epoch}",
        out.paint_note(Style::Good, "whole and checked")
    ));
    match path {
        Some(path) => out.line(&shown(path))?,
        None => {
            out.note("it lies in the folder backups of the server's data folder");
            out.line(&crate::output::escape(&text(&job, "name")))?;
        }
    }
    Ok(Exit::Ok)
}

fn is_there(path: &Path) -> Failure {
    let what = format!("{} is there already", shown(path));
    Failure::here(Exit::Refused, what, "name a new file, or a folder")
}

/// Brings the copy to where it is wanted, never over another file, and never with only a part of it under its name.
fn placed(copy: &Path, to: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(to) = to else { return Ok(copy.to_owned()) };
    let target = match copy.file_name().filter(|_| to.is_dir()) {
        Some(name) => to.join(name),
        None => to.to_owned(),
    };
    let moved = moved(copy, &target);
    match moved {
        Ok(()) => Ok(target),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(is_there(&target)),
        Err(error) => {
            let what = format!("cannot move the copy to {}: {error}", shown(&target));
            Err(Failure::here(Exit::Fault, what, format!("it stays where it is: {}", shown(copy))))
        }
    }
}

fn moved(copy: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(copy, target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // Another file system.
        Err(_) => carried(copy, target)?,
    }
    File::open(folder_of(target).unwrap_or(Path::new(".")))?.sync_all()?;
    fs::remove_file(copy)
}

fn carried(copy: &Path, target: &Path) -> io::Result<()> {
    let mut partial = target.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut to = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial)?;
    let done = File::open(copy)
        .and_then(|mut from| io::copy(&mut from, &mut to))
        .and_then(|_| to.sync_all())
        .and_then(|()| match target.try_exists()? {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => fs::rename(&partial, target),
        });
    if done.is_err() {
        fs::remove_file(&partial)?;
    }
    done
}

/// The folder that copies are in, made if it is not there.
pub(crate) fn folder(data: &Path) -> anyhow::Result<PathBuf> {
    let folder = data.join(BACKUPS_FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::cli::failure::report;
    use crate::cli::fake::{Fake, json as reply, problem, said};

    fn job(state: &str, done: u64) -> Value {
        json!({
            "name": "a.db", "state": state, "bytes_done": done, "bytes_total": 100 << 20, "orders": 5, "epoch": 1,
            "heads": [],
        })
    }

    fn args(to: Option<PathBuf>) -> BackupArgs {
        BackupArgs { server: ServerArgs { url: None, key: None, ca_file: None }, to }
    }

    #[tokio::test]
    async fn a_copy_is_watched_to_its_end_and_moved() {
        let data = tempfile::tempdir().unwrap();
        let copy = folder(data.path()).unwrap().join("a.db");
        fs::write(&copy, "whole").unwrap();
        let target = data.path().join("b.db");
        let args = args(Some(target.clone()));
        let fake = Fake::new([reply(202, &job("running", 0)), reply(200, &job("done", 1))]);
        let done =
            said(false, async |out| backup(fake.api(), &args, Some(data.path()), Duration::ZERO, out).await)
                .await;
        assert_eq!(done.out, format!("{}\n", target.display()));
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), copy.exists()), ("whole", false));
        let again = said(false, async |out| {
            backup(Fake::new([]).api(), &args, Some(data.path()), Duration::ZERO, out).await
        })
        .await;
        assert_eq!(again.exit, Exit::Refused, "never over another file");
        // A folder that is not there never becomes a file of its name.
        for none in ["none/", "none", "none/copies"] {
            let none = BackupArgs { to: Some(data.path().join(none)), ..args.clone() };
            let none = said(false, async |out| {
                backup(Fake::new([]).api(), &none, Some(data.path()), Duration::ZERO, out).await
            })
            .await;
            assert_eq!(none.exit, Exit::Usage);
            assert!(none.why.contains("there is no folder"), "{}", none.why);
        }
        // Nor is a copy begun for a file in one: the server that is asked here has no answer.
        let none = BackupArgs { to: Some(data.path().join("none/c.db")), ..args.clone() };
        let none = said(false, async |out| {
            let failed = backup(Fake::new([]).api(), &none, Some(data.path()), Duration::ZERO, out).await;
            Ok(report(&failed.unwrap_err(), out))
        })
        .await;
        assert_eq!(none.exit, Exit::Usage);
        let folder = data.path().join("none").display().to_string();
        assert!(none.err.contains(&folder) && none.err.contains("mkdir -p"), "{}", none.err);
    }

    #[tokio::test]
    async fn a_copy_that_failed_and_one_that_lies_elsewhere() {
        let data = tempfile::tempdir().unwrap();
        let run = async |state: &str, data: Option<&Path>| {
            let fake = Fake::new([reply(202, &job(state, 0))]);
            let args = args(None);
            said(true, async |out| backup(fake.api(), &args, data, Duration::ZERO, out).await).await
        };
        assert_eq!(run("failed", Some(data.path())).await.exit, Exit::Fault);
        let elsewhere = run("done", None).await;
        let shown: Value = serde_json::from_str(&elsewhere.out).unwrap();
        assert_eq!((&shown["path"], &shown["name"]), (&Value::Null, &json!("a.db")));
    }

    #[tokio::test]
    async fn a_copy_is_waited_for_while_the_server_is_busy() {
        let data = tempfile::tempdir().unwrap();
        fs::write(folder(data.path()).unwrap().join("a.db"), "whole").unwrap();
        let busy = problem(429, &json!({ "title": "not now" }));
        let fake = Fake::new([reply(202, &job("running", 0)), busy, reply(200, &job("done", 1))]);
        let done = said(true, async |out| {
            backup(fake.api(), &args(None), Some(data.path()), Duration::ZERO, out).await
        })
        .await;
        assert_eq!(done.exit, Exit::Ok);
    }

    #[test]
    fn progress_shows_how_far_it_is() {
        assert_eq!(progress(&json!({})), "begins");
        assert_eq!(progress(&job("running", 50 << 20)), "[##########..........] 50 of 100 MiB");
        assert_eq!(progress(&job("running", 100 << 20)), "is being checked");
    }
}
