//! `orders import`: a file of orders, over the bulk route, sent and answered at the same time.
//!
//! What was sent and not answered is sent again, by the next request or by the next run: every line has a reference, so
//! the server tells it from a second order. Only a line that was refused for good is done with and not taken in.

mod lines;
mod request;
mod tally;

use std::{path::Path, time::Duration};

use self::{
    lines::Lines,
    request::{Ended, request},
    tally::Tally,
};
use super::{
    api_call::ApiCall,
    args::ImportArgs,
    failure::{Exit, Failure},
    retry::Patience,
    shown,
};
use crate::output::Output;

/// Hands in every order of a file.
pub(super) async fn import(
    api: &dyn ApiCall,
    args: &ImportArgs,
    pause: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let mut lines = Lines::open(&args.file).await.map_err(|error| unreadable(&args.file, &error))?;
    let mut patience = Patience::new(pause);
    let mut tally = Tally::new(out);
    loop {
        let before = tally.settled();
        let ended = request(api, &mut lines, &mut tally).await?;
        if tally.settled() > before {
            patience.progressed();
        }
        match ended {
            Ended::Whole if lines.is_empty() => break,
            Ended::Whole => (),
            Ended::Unreadable(error) => return Err(unreadable(&args.file, &error)),
            Ended::Broken(failure) => {
                if let Err(failure) = patience.after(failure, tally.out()).await {
                    tally.gave_up();
                    return Err(failure);
                }
            }
        }
    }
    tally.end()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("cannot read {}: {error}", shown(path));
    Failure::here(Exit::Usage, what, "name a file with an order on each line, or - for standard input")
}

#[cfg(test)]
mod tests;
