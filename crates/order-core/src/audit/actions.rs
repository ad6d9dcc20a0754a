//! The end of the action log, which is kept apart from its rows. The chain itself is followed by
//! [`crate::action_log::chain::follow`].

use super::{Report, readable};
use crate::app::App;
use crate::error::Error;

/// Checks that the log ends where its end says.
pub(super) async fn end(app: &App, report: &mut Report) -> Result<(), Error> {
    let storage = &app.storage;
    let Some(kept) = readable(storage.action_end().await, "the end of the action log", report)? else {
        return Ok(());
    };
    let subject = || format!("action {}", kept.number);
    if kept.number > 0 {
        let last = storage.action_rows(kept.number - 1, 1).await;
        let Some(last) = readable(last, &subject(), report)? else { return Ok(()) };
        match last.first().filter(|row| row.number == kept.number) {
            None => report.add("actions", None, subject(), "is the end of the log, and missing".to_owned()),
            Some(row) if row.hash != kept.hash => {
                report.add(
                    "actions",
                    None,
                    subject(),
                    "is not the one that the end of the log names".to_owned(),
                );
            }
            Some(row) if row.epoch > storage.install().epoch => {
                let detail =
                    format!("is of epoch {}, the database is in {}", row.epoch, storage.install().epoch);
                report.add("epochs", None, subject(), detail);
            }
            Some(_) => {}
        }
    }
    let behind = readable(storage.action_rows(kept.number, 1).await, "the actions", report)?;
    let Some(row) = behind.and_then(|rows| rows.into_iter().next()) else { return Ok(()) };
    // Rows and end are committed together, so an end that is read after the rows is never before them.
    let Some(now) = readable(storage.action_end().await, "the end of the action log", report)? else {
        return Ok(());
    };
    if now.number < row.number {
        let detail = format!("lies behind the end of the log, which is {}", now.number);
        report.add("actions", None, format!("action {}", row.number), detail);
    }
    Ok(())
}
