//! `sync`: stores that are due are synced by hand.

use super::{
    api_call::ApiCall,
    args::SyncArgs,
    failure::{Exit, Failure},
    json::text,
};
use crate::output::Output;
use std::time::Duration;

/// How often the stores are looked at in a loop.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// Syncs the stores that are due: once, or again and again until it is stopped or the server is gone.
pub(super) async fn run(
    api: &dyn ApiCall,
    args: &SyncArgs,
    every: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    loop {
        let (reply, round) = api.post("/v1/syncs", None).await?;
        if out.json {
            out.json(&reply.body)?;
        } else {
            let count = |name: &str| text(&round, name);
            let stores = if count("found") == "1" { "store was" } else { "stores were" };
            out.line(&format!(
                "{} {stores} due, {} synced, {} failed",
                count("found"),
                count("synced"),
                count("faults")
            ))?;
        }
        if !args.looping {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, json as reply, problem, said};
    use serde_json::json;

    #[tokio::test]
    async fn once_is_once_and_a_loop_goes_on_until_nobody_answers() {
        let round = |found: u32| reply(200, &json!({ "found": found, "synced": found, "faults": 0 }));
        let fake = Fake::new([round(1)]);
        let once = SyncArgs { once: true, looping: false };
        let one = said(false, async |out| run(fake.api(), &once, Duration::ZERO, out).await).await;
        assert_eq!(one.out, "1 store was due, 1 synced, 0 failed\n");
        assert_eq!(fake.asked(), ["POST /v1/syncs"]);
        let fake = Fake::new([
            round(2),
            round(0),
            problem(
                503,
                &json!({"type": "urn:wellorder:problem:unavailable", "title": "away", "status": 503}),
            ),
        ]);
        let looping = SyncArgs { once: false, looping: true };
        let many = said(false, async |out| run(fake.api(), &looping, Duration::ZERO, out).await).await;
        assert_eq!(
            many.out,
            "2 stores were due, 2 synced, 0 failed\n0 stores were due, 0 synced, 0 failed\n"
        );
        assert_eq!(many.exit, Exit::Fault);
    }
}
