//! `restore`: a copy becomes the database of a data folder. What was there is moved aside, never deleted.

use crate::cli::audit;
use crate::cli::backup::folder as backups;
use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::folder::{DATABASE_FILE, Folder};
use crate::output::{Output, Style, escape};
use crate::storage::{self, Database as _, Opened, Raised, sqlite};
use crate::system::{SystemClock, SystemIds};
use crate::{moving, wire_up};
use anyhow::Context;
use clap::Args;
use order_core::action_log::chain;
use order_core::backup::BackupProgress;
use order_core::trace::Tracer;
use order_core::{Clock, Ids};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage_sqlite::{Staged, Unrestored};

/// How often progress is shown.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The copy
    #[arg(required_unless_present = "raise_epoch")]
    pub(crate) file: Option<PathBuf>,
    /// Move the database that is there aside
    #[arg(long)]
    pub(crate) replace: bool,
    /// Prove first that the copy is sound; exit code 6 when it is not
    #[arg(long)]
    pub(crate) audit: bool,
    /// On PostgreSQL, once a copy was restored or a standby promoted with its own tools: begin another history
    #[arg(long, conflicts_with_all = ["file", "replace", "audit"])]
    pub(crate) raise_epoch: bool,
}

/// Restores a copy. Until the very end, which is one step, everything is as it was.
///
/// # Errors
/// When the folder is in use or has a database, or the copy is none; nothing is changed then.
pub(crate) async fn restore(
    args: &RestoreArgs,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let Some(source) = &args.file else { return raise_epoch(settings, out).await };
    if storage::copies(settings).is_none() {
        let what = "a database on a server is restored with its own tools (pg_restore, a promoted standby)";
        let fix = "do that with every node stopped, then `wellorder restore --raise-epoch`";
        return Err(Failure::here(Exit::Refused, what, fix));
    }
    if !source.is_file() {
        let what = format!("there is no file {}", shown(source));
        return Err(Failure::here(Exit::NotFound, what, "name the copy that is to be restored"));
    }
    // Held to the end: nobody else uses the folder meanwhile.
    let folder = Folder::lock(&settings.data)?;
    let database = folder.database();
    let there = is_there(&settings.data);
    if there && !args.replace {
        let what = format!("{} has a database", shown(&settings.data));
        let fix = "--replace moves it aside; or name another folder with --data";
        return Err(Failure::here(Exit::Refused, what, fix));
    }
    let work = work_folder(&settings.data)?;
    let staged = work.join(DATABASE_FILE);
    let ready = ready((source, args.audit), settings, &staged, there.then_some(&*database), out).await;
    let (ready, exit) = match ready {
        Ok(ready) => ready,
        Err(failure) => {
            fs::remove_dir_all(&work).context("cannot clear away what was begun")?;
            return Err(failure);
        }
    };
    if exit != Exit::Ok {
        fs::remove_dir_all(&work).context("cannot clear away what was begun")?;
        return Ok(exit);
    }
    storage_sqlite::put_in_place(&staged, &database).map_err(anyhow::Error::from)?;
    // What was moved is not what is there now.
    moving::forget(&settings.data)?;
    if !there {
        // Nothing was moved there. That it stays is no harm.
        drop(fs::remove_dir(&work));
    }
    show(source, &ready, there.then_some(&*staged), out)?;
    drop(folder);
    Ok(Exit::Ok)
}

/// Begins another history of a database that was restored by other means.
async fn raise_epoch(settings: &Settings, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let Raised { from, to, leases, followers } = storage::of(settings)?.raise_epoch().await?;
    if out.json {
        let json = json!({ "from_epoch": from, "epoch": to, "leases": leases, "followers": followers });
        out.json(json.to_string().as_bytes())?;
        return Ok(Exit::Ok);
    }
    out.line(&format!("{}: epoch {from} -> {to}", out.paint(Style::Good, "another history")))?;
    if leases > 0 {
        out.note(&format!("work that was in somebody's hands and is done again: {leases}"));
    }
    out.note(
        "API keys that were revoked, and orders that were erased, after what was restored are as they were",
    );
    Ok(Exit::Ok)
}

fn is_there(data: &Path) -> bool {
    ["", "-wal"].iter().any(|suffix| data.join(format!("{DATABASE_FILE}{suffix}")).exists())
}

/// A new folder in which the copy is readied, and which has what was replaced in the end.
fn work_folder(data: &Path) -> anyhow::Result<PathBuf> {
    let now = SystemClock::default().now().to_string();
    let digits: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
    let chance = SystemIds.uuid_v4().simple().to_string();
    let work = backups(data)?.join(format!("restore-{digits}-{}", chance.get(..6).unwrap_or_default()));
    fs::create_dir(&work).with_context(|| format!("cannot make {}", work.display()))?;
    Ok(work)
}

/// Copies, checks and, if asked, audits.
async fn ready(
    (source, audits): (&Path, bool),
    settings: &Settings,
    staged: &Path,
    replaced: Option<&Path>,
    out: &mut Output<'_>,
) -> Result<(Staged, Exit), Failure> {
    let progress = Arc::new(BackupProgress::default());
    let (file, target, replaced) = (source.to_owned(), staged.to_owned(), replaced.map(Path::to_owned));
    let looking = Arc::clone(&progress);
    let mut staging = tokio::task::spawn_blocking(move || {
        let now = SystemClock::default().now();
        storage_sqlite::stage(&file, &target, replaced.as_deref(), now, &looking)
    });
    let done = loop {
        tokio::select! {
            done = &mut staging => break done,
            () = tokio::time::sleep(LOOK) => {
                let (done, total) = progress.bytes();
                out.progress(&format!("{} of {} MiB", done >> 20, total >> 20));
            }
        }
    };
    out.progress("");
    let ready = done.context("the restore broke off")?.map_err(|unrestored| match unrestored {
        Unrestored::Unfit(why) => {
            let what = format!("{} cannot be restored: {why}", shown(source));
            Failure::here(Exit::Refused, what, "nothing was changed; try another copy")
        }
        Unrestored::Fault(fault) => anyhow::Error::from(fault).into(),
    })?;
    let exit = if audits { prove(settings, staged, out).await? } else { Exit::Ok };
    Ok((ready, exit))
}

/// Audits what was readied.
async fn prove(settings: &Settings, staged: &Path, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let opened = sqlite::File::at(settings, staged.to_owned()).open_to_read().await?;
    prove_opened(settings, &opened, out).await
}

/// Audits a database: its orders, then what people did. What is found is shown.
pub(crate) async fn prove_opened(
    settings: &Settings,
    opened: &Opened,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let app = wire_up::app(settings, opened, Tracer::off());
    let report =
        order_core::audit::audit(&app, |orders| out.progress(&format!("{orders} orders read"))).await;
    let report = report.map_err(anyhow::Error::from)?;
    let followed = chain::follow(app.storage.as_ref(), &[]).await.map_err(anyhow::Error::from)?;
    out.progress("");
    if report.found > 0 {
        return Ok(audit::show(&report, out)?);
    }
    if followed.broken.is_some() {
        return Ok(audit::show_actions(&followed, out)?);
    }
    Ok(Exit::Ok)
}

fn show(file: &Path, staged: &Staged, aside: Option<&Path>, out: &mut Output<'_>) -> Result<(), Failure> {
    let Staged { made, epoch, leases, followers, keys_revoked, erased } = staged;
    if out.json {
        let json = json!({
            "file": file.display().to_string(),
            "orders": made.orders,
            "from_epoch": made.epoch,
            "epoch": epoch,
            "leases": leases,
            "followers": followers,
            "keys_revoked": keys_revoked,
            "erase_again": erased,
            "replaced": aside.map(|path| path.display().to_string()),
        });
        out.json(json.to_string().as_bytes())?;
        return Ok(());
    }
    let word = out.paint(Style::Good, "restored");
    out.line(&format!("{word}: orders {}, epoch {} -> {epoch}", made.orders, made.epoch))?;
    if let Some(aside) = aside {
        out.line(&format!("what was there: {}", shown(aside)))?;
    }
    if *leases > 0 {
        out.note(&format!("work that was in somebody's hands and is done again: {leases}"));
    }
    if *keys_revoked > 0 {
        out.note(&format!("API keys that were revoked since, and stay so: {keys_revoked}"));
    }
    for order_id in erased {
        out.note(&format!("was erased since, erase it again: order {}", escape(order_id)));
    }
    if aside.is_none() {
        out.note("API keys that were revoked, and orders that were erased, since the copy was made are as they were");
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    escape(&path.display().to_string()).into_owned()
}
