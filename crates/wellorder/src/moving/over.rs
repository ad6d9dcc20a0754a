//! From the folder to the server: read here, written there in one transaction, and audited there.

use super::{MOVED_FILE, Moved, forget, read, shown};
use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::folder::{DATABASE_FILE, Folder};
use crate::output::{Output, Style, escape};
use crate::restore::prove_opened;
use crate::storage::server::Server;
use crate::storage::{Away, Database};
use crate::system::SystemClock;
use anyhow::Context;
use order_core::carry::{CarryProgress, Origin, Piece};
use order_core::sealing::SealedColumn;
use order_core::{Clock, Fault};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use storage_postgres::{Cargo, CarriedIn, NotCarried};
use storage_sqlite::{Carrier, Options};
use tokio::sync::mpsc;

/// How often progress is shown.
const LOOK: Duration = Duration::from_millis(200);
/// Pieces that are read ahead.
const AHEAD: usize = 4;

/// Carries everything over.
///
/// # Errors
/// When the folder is in use, or the database cannot be had or is not empty. The folder is as it was then.
pub(super) async fn carry_over(
    shards: Option<u16>,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    // Held to the end: nobody else uses the folder meanwhile.
    let _folder = Folder::lock(&settings.data)?;
    let url = settings.database.text().unwrap_or_default();
    let options = Server::of(settings, url)?.into_options();
    let moved = read(&settings.data)?;
    // Reading takes its time: what is wrong there is said before.
    let occupants = storage_postgres::occupants(&options).await.map_err(Away::from)?;
    if let (Some(what), None) = (&occupants, &moved) {
        return Err(occupied(what));
    }
    let carrier = opened(settings).await?;
    let origin = carrier.origin().clone();
    if let Some(moved) = moved {
        let looked = storage_postgres::look(&options, SystemClock::default().now()).await;
        let there = looked.map_err(Away::from)?.install;
        // An earlier try ended after all was there, and before that was proved.
        let there = there.filter(|there| there.installation_id == origin.install.installation_id);
        if let Some(there) = there {
            let carried = CarriedIn { place: moved.to, epoch: there.epoch, counts: origin.counts.clone() };
            out.note("everything was carried there before; it is proved now");
            return prove(&carried, &origin, settings, out).await;
        }
        // Else the transaction was never committed: the mark is of that try, if it was there.
        if moved.to != storage_postgres::name(&options) {
            let what = format!("{} was moved to {}", shown(&settings.data), escape(&moved.to));
            let fix = "move it there again, or take it back first: `wellorder move --back`";
            return Err(Failure::here(Exit::Refused, what, fix));
        }
    }
    let before = origin.install.shards;
    let shards = shards.unwrap_or(before);
    if shards != before && before != 1 {
        let what =
            format!("the events of {before} shards have no one order in which to deal them out to {shards}");
        return Err(Failure::here(Exit::Refused, what, "leave --shards out: there will be as many as now"));
    }
    let carried = carried(&options, carrier, &origin, shards, settings, out).await?;
    prove(&carried, &origin, settings, out).await
}

/// The database in the folder, for reading alone.
async fn opened(settings: &Settings) -> Result<Carrier, Failure> {
    let options = Options {
        path: settings.data.join(DATABASE_FILE),
        busy_timeout: settings.storage.busy_timeout,
        free_bytes_min: 0,
        leases_outlive: order_core::desk::Desks::ALL,
    };
    let opening = tokio::task::spawn_blocking(move || Carrier::open(&options));
    let opened = opening.await.context("opening the database broke off")?;
    opened.map_err(|fault| anyhow::Error::from(fault).context("cannot read the data folder").into())
}

/// Reads and writes, and shows how far it is.
async fn carried(
    options: &storage_postgres::Options,
    carrier: Carrier,
    origin: &Origin,
    shards: u16,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<CarriedIn, Failure> {
    let (sender, pieces) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || hand_over(carrier, &sender));
    let (progress, data) = (CarryProgress::default(), settings.data.clone());
    let cargo = Cargo { origin, shards, pieces };
    let marked = Cell::new(false);
    let mark = |to: &str, epoch: u32| {
        // From here on it may be there: whoever serves the folder must be told.
        marked.set(true);
        note(&data, to, epoch)
            .map_err(|error| Fault::internal(format!("cannot mark the folder as moved: {error}")))
    };
    let mut carrying = pin!(storage_postgres::carry_in(options, cargo, &progress, mark));
    let done = loop {
        tokio::select! {
            done = &mut carrying => break done,
            () = tokio::time::sleep(LOOK) => out.progress(&bar(progress.rows(), origin.rows())),
        }
    };
    out.progress("");
    reading.await.context("reading broke off")?;
    done.map_err(|not| refused(not, marked.get(), settings))
}

/// Notes where the orders of a folder go: whole, or not at all.
pub(super) fn note(data: &Path, to: &str, epoch: u32) -> io::Result<()> {
    let moved = Moved { to: to.to_owned(), epoch, at: SystemClock::default().now().to_string() };
    let (path, partial) = (data.join(MOVED_FILE), data.join([MOVED_FILE, ".partial"].concat()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
    file.write_all(serde_json::to_string(&moved)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(partial, path)?;
    fs::File::open(data)?.sync_all()
}

fn hand_over(carrier: Carrier, sender: &mpsc::Sender<Result<Piece, Fault>>) {
    if let Err(fault) = carrier.hand_over(|piece| sender.blocking_send(Ok(piece)).is_ok()) {
        // Whoever takes has ended when nobody takes this.
        drop(sender.blocking_send(Err(fault)));
    }
}

fn occupied(what: &str) -> Failure {
    let fix = "name an empty database (createdb -E UTF8 NAME); or, if nobody needs what is in it, drop it and make it anew \
               (dropdb NAME)";
    Failure::here(Exit::Refused, format!("nothing was moved: {what}"), fix)
}

/// Why nothing was moved; the folder is what it was, `marked` or not.
fn refused(not: NotCarried, marked: bool, settings: &Settings) -> Failure {
    if let NotCarried::Unknown(unopened) = not {
        let what = format!("whether the move ended is not known: {}", unopened.why);
        let fix = "run it again once the server is back: it goes on where this one ended";
        return Failure::here(Exit::Unreachable, what, fix);
    }
    if marked && let Err(error) = forget(&settings.data) {
        tracing::warn!(%error, "the folder says that it was moved: `wellorder move --back` ends that");
    }
    match not {
        NotCarried::Occupied(what) => occupied(&what),
        NotCarried::Source(fault) => {
            anyhow::Error::from(fault).context("nothing was moved, and the folder is as it was").into()
        }
        NotCarried::Unopened(unopened) | NotCarried::Unknown(unopened) => Away::from(unopened).into(),
    }
}

/// Audits what is there now, and says what it is.
async fn prove(
    carried: &CarriedIn,
    origin: &Origin,
    settings: &Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let url = settings.database.text().unwrap_or_default();
    let opened = Server::of(settings, url)?.open_to_read().await?;
    let exit = prove_opened(settings, &opened, out).await?;
    if exit != Exit::Ok {
        out.note(
            "an audit of the folder tells whether that was so before: `wellorder audit`, without a database",
        );
        out.note("to go on with the folder: drop the new database, then `wellorder move --back`");
        return Ok(exit);
    }
    show(carried, origin, opened.storage.install().shards, out)?;
    Ok(Exit::Ok)
}

fn show(carried: &CarriedIn, origin: &Origin, shards: u16, out: &mut Output<'_>) -> io::Result<()> {
    let CarriedIn { place, epoch, counts } = carried;
    let before = &origin.install;
    if out.json {
        let rows: serde_json::Map<String, Value> =
            counts.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
        let json = json!({
            "to": place, "from_epoch": before.epoch, "epoch": epoch, "from_shards": before.shards, "shards": shards,
            "rows": rows, "sound": true,
        });
        return out.json(json.to_string().as_bytes());
    }
    let word = out.paint(Style::Good, "moved and sound");
    let count = |table: &str| counts.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
    out.line(&format!("{word}: {}", escape(place)))?;
    let said = [
        ("orders", "orders"),
        ("events", "journal"),
        ("work", "work"),
        ("followers", "followers"),
        ("parked for them", "parked_streams"),
        ("idempotency keys", "idempotency"),
        ("messages", "inbox"),
        ("redrives", "redrives"),
        ("API keys", "api_keys"),
        ("stores", "stores"),
        ("imports", "imports"),
        ("webhook endpoints", "endpoints"),
        ("actions", "actions"),
    ];
    let said: Vec<String> = said.iter().map(|(what, table)| format!("{what} {}", count(table))).collect();
    out.line(&said.join(", "))?;
    if *epoch == before.epoch {
        out.line(&format!("epoch {epoch}, shards {shards}: every cursor is as good as before"))?;
    } else {
        let shards = format!("shards {} -> {shards}", before.shards);
        out.line(&format!("epoch {} -> {epoch}, {shards}: cursors from before get 410", before.epoch))?;
        out.note("followers go on where they were; readers of the feed and of lists begin anew");
    }
    if SealedColumn::ALL.iter().any(|column| count(column.table()) > 0) {
        out.note(
            "secrets are there as they were sealed: give what serves them the same key (secrets.key_file)",
        );
    }
    out.note("the folder is served no more: set `database` (WELLORDER_DATABASE) to serve what is there now");
    Ok(())
}

fn bar(done: u64, total: u64) -> String {
    let part = (done * 20).checked_div(total).unwrap_or(20).min(20);
    if part == 20 {
        return "all is there; look-ups are made".to_owned();
    }
    let filled = usize::try_from(part).unwrap_or(0);
    format!("[{}{}] {done} of {total} rows", "#".repeat(filled), ".".repeat(20 - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_how_far_it_is() {
        assert_eq!(bar(0, 10), "[....................] 0 of 10 rows");
        assert_eq!(bar(5, 10), "[##########..........] 5 of 10 rows");
        assert_eq!((bar(10, 10), bar(0, 0)), (bar(11, 10), bar(1, 1)));
    }
}
