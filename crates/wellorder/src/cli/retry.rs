//! Going on after a server was away: for commands that take long and lose nothing by asking again.

use std::time::Duration;

use serde_json::Value;

use super::{
    api_call::{ApiCall, ApiReply},
    failure::{Exit, Failure},
};
use crate::output::{Output, escape};

/// Failures in a row, without anything gained between, after which a command gives up.
const FAILURES_MAX: u32 = 8;
/// The longest pause that is made.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often a command has failed in a row.
pub(super) struct Patience {
    pause: Duration,
    failures: u32,
    max: u32,
}

impl Patience {
    /// Waits for `pause` first, then twice as long each time, and gives up in the end.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, failures: 0, max: FAILURES_MAX }
    }

    /// Never gives up.
    pub(super) fn endless(pause: Duration) -> Self {
        Self { max: u32::MAX, ..Self::new(pause) }
    }

    /// Something was gained.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits after a failure that may pass.
    ///
    /// # Errors
    /// The failure, when it will not, or there were too many.
    pub(super) async fn after(&mut self, failure: Failure, out: &mut Output<'_>) -> Result<(), Failure> {
        let Some(told) = passing(&failure) else { return Err(failure) };
        self.failures = self.failures.saturating_add(1);
        if self.failures > self.max {
            return Err(failure);
        }
        let factor = 1_u32 << (self.failures - 1).min(16);
        let pause = told.unwrap_or_else(|| self.pause.saturating_mul(factor)).min(PAUSE_MAX);
        if self.failures == 1 && !out.json {
            out.note(&format!("{}; trying again", escape(&why(&failure))));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// `GET`, asked again while what keeps it from an answer may pass: `pause` after the first failure, then twice as long each time.
///
/// # Errors
/// The failure that will not pass, or the last of too many.
pub(super) async fn get(
    api: &dyn ApiCall,
    path_and_query: &str,
    pause: Duration,
    out: &mut Output<'_>,
) -> Result<(ApiReply, Value), Failure> {
    let mut patience = Patience::new(pause);
    loop {
        match api.get(path_and_query).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => patience.after(failure, out).await?,
        }
    }
}

/// For a failure that may pass: after how long, where the server says so.
fn passing(failure: &Failure) -> Option<Option<Duration>> {
    match failure {
        Failure::Here { exit: Exit::Unreachable, .. } => Some(None),
        Failure::Answer(reply) if matches!(reply.status, 408 | 429 | 500..=599) => Some(retry_after(reply)),
        _ => None,
    }
}

fn retry_after(reply: &ApiReply) -> Option<Duration> {
    let seconds = reply.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn why(failure: &Failure) -> String {
    match failure {
        Failure::Here { what, .. } => what.clone(),
        Failure::Answer(reply) => format!("the server answered {}", reply.status),
        _ => "it failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::cli::fake::{Fake, problem, said};

    #[tokio::test]
    async fn what_will_not_pass_is_told_at_once_and_what_may_after_a_while() {
        let said = said(false, async |out| {
            let mut patience = Patience::new(Duration::ZERO);
            let refusal = || Failure::from(problem(422, &json!({})));
            let busy = || Failure::from(problem(503, &json!({})));
            assert!(patience.after(refusal(), out).await.is_err());
            for _ in 0..FAILURES_MAX {
                assert!(patience.after(busy(), out).await.is_ok());
            }
            assert!(patience.after(busy(), out).await.is_err());
            patience.progressed();
            assert!(patience.after(busy(), out).await.is_ok());
            Ok(Exit::Ok)
        })
        .await;
        assert_eq!(said.err, "the server answered 503; trying again\n".repeat(2));
        assert!(Fake::new([]).asked().is_empty());
    }

    #[test]
    fn the_server_says_how_long() {
        let mut busy = problem(429, &json!({}));
        busy.headers.insert(http::header::RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(passing(&busy.into()), Some(Some(Duration::from_secs(7))));
        assert_eq!(passing(&problem(503, &json!({})).into()), Some(None));
        assert_eq!(passing(&problem(409, &json!({})).into()), None);
    }
}
