//! `move`: carries everything from a data folder to an empty PostgreSQL. A folder that was moved says so in a file, and is served
//! no more: two that go on from the same place would both say that they are the one.

#[cfg(feature = "postgres")]
mod over;

use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::folder::{DATABASE_FILE, Folder};
use crate::output::{Output, Style, escape};
use crate::system::SystemClock;
use anyhow::Context;
use clap::Args;
use order_core::Clock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use storage_sqlite::{Staged, Unrestored};

/// The file in a data folder that says where its orders went.
const MOVED_FILE: &str = "wellorder.moved";

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The database, with nothing in it; others on this machine may see a password: the variable WELLORDER_DATABASE is better
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Shards that it is to have [default: as many as now]. With another number cursors of readers are refused afterwards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) shards: Option<u16>,
    /// Let the folder be served again, as it was when it was moved, under another epoch
    #[arg(long, conflicts_with_all = ["to", "shards"])]
    pub(crate) back: bool,
}

/// Where the orders of a folder went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moved {
    /// The server and the database.
    to: String,
    /// The epoch that they go on with there.
    epoch: u32,
    /// When.
    at: String,
}

/// Carries everything over, or takes the folder back.
///
/// # Errors
/// When the folder is in use, or the database cannot be had or is not empty.
pub(crate) async fn run(args: &MoveArgs, settings: &Settings, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let folder = shown(&settings.data);
    if !settings.data.join(DATABASE_FILE).exists() {
        let what = format!("there is no database in {folder}");
        return Err(Failure::here(Exit::Unreachable, what, "name the data folder with --data"));
    }
    if args.back {
        return take_back(settings, out);
    }
    if settings.database.text().is_none() {
        let fix = "--to postgres://USER:PASSWORD@HOST:PORT/NAME, or the variable WELLORDER_DATABASE";
        return Err(Failure::here(Exit::Usage, "it is not said where to move to", fix));
    }
    #[cfg(feature = "postgres")]
    {
        over::carry_over(args.shards, settings, out).await
    }
    #[cfg(not(feature = "postgres"))]
    {
        // Which says that it was built without it.
        let _ = args.shards;
        crate::storage::of(settings).map(|_| Exit::Ok)
    }
}

/// Refuses a folder whose orders went elsewhere.
///
/// # Errors
/// When they did, or it cannot be told.
pub(crate) fn check(data: &Path) -> Result<(), Failure> {
    let Some(Moved { to, at, .. }) = read(data)? else { return Ok(()) };
    let what = format!("{} was moved to PostgreSQL at {} ({at})", shown(data), escape(&to));
    let fix = "serve that: set `database` (--database, WELLORDER_DATABASE); or, to go on here without what came there since: \
               `wellorder move --back`";
    Err(Failure::here(Exit::Refused, what, fix))
}

/// Forgets that the folder was moved.
///
/// # Errors
/// When the file cannot be deleted.
pub(crate) fn forget(data: &Path) -> anyhow::Result<()> {
    let path = data.join(MOVED_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(anyhow::Error::new(error).context(format!("cannot delete {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Where the orders of a folder went, if they did.
fn read(data: &Path) -> anyhow::Result<Option<Moved>> {
    let path = data.join(MOVED_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display())));
        }
    };
    let moved = serde_json::from_str(&text);
    moved
        .map(Some)
        .with_context(|| format!("{} does not read: delete it if you know why it is there", path.display()))
}

fn take_back(settings: &Settings, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let _folder = Folder::lock(&settings.data)?;
    let Some(moved) = read(&settings.data)? else {
        let what = format!("{} was not moved", shown(&settings.data));
        return Err(Failure::here(Exit::Refused, what, "nothing is to be done: serve it"));
    };
    let path = settings.data.join(DATABASE_FILE);
    let taken = storage_sqlite::take_back(&path, SystemClock::default().now());
    let Staged { made, epoch, leases, .. } = taken.map_err(|unrestored| match unrestored {
        Unrestored::Unfit(why) => {
            let what = format!("{} cannot be used: {why}", shown(&path));
            Failure::here(Exit::Refused, what, "restore a copy: `wellorder restore FILE --replace`")
        }
        Unrestored::Fault(fault) => anyhow::Error::from(fault).into(),
    })?;
    forget(&settings.data)?;
    if out.json {
        let json = json!({
            "orders": made.orders, "from_epoch": made.epoch, "epoch": epoch, "leases": leases, "was_moved_to": moved.to,
        });
        out.json(json.to_string().as_bytes())?;
        return Ok(Exit::Ok);
    }
    let word = out.paint(Style::Good, "taken back");
    out.line(&format!("{word}: orders {}, epoch {} -> {epoch}", made.orders, made.epoch))?;
    out.note(&format!("stop whatever serves {}: what came there since is not here", escape(&moved.to)));
    Ok(Exit::Ok)
}

fn shown(path: &Path) -> String {
    escape(&path.display().to_string()).into_owned()
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_folder_that_was_moved_says_so_until_that_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path()).is_ok());
        over::note(folder.path(), "db.example.com:5432/orders", 7).unwrap();
        let Err(Failure::Here { exit: Exit::Refused, what, .. }) = check(folder.path()) else {
            unreachable!()
        };
        assert!(what.contains("db.example.com:5432/orders"), "{what}");
        assert_eq!(read(folder.path()).unwrap().unwrap().epoch, 7);
        forget(folder.path()).unwrap();
        forget(folder.path()).unwrap();
        assert!(check(folder.path()).is_ok());
        fs::write(folder.path().join(MOVED_FILE), "{").unwrap();
        assert!(check(folder.path()).is_err(), "nobody knows");
    }
}
