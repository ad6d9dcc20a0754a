//! `sync`: stores that are due are synced by hand.

use serde_json::Value;

use super::{
    api_call::ApiCall,
    args::SyncArgs,
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Output, escape};
use std::time::Duration;

/// How often the stores are looked at in a loop.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// What is wrong where a marketplace is not asked by whoever syncs.
const NOT_CONNECTED: &str = "urn:wellorder:problem:marketplace-unknown";

/// Syncs the stores that are due: once, or again and again until it is stopped or the server is gone.
pub(super) async fn run(
    api: &dyn ApiCall,
    args: &SyncArgs,
    every: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    loop {
        let (reply, round) = api.post_patiently("/v1/syncs", None).await?;
        let exit = if out.json {
            out.json(&reply.body)?;
            exit(&round, api.is_server())
        } else {
            show(&round, api.is_server(), out)?
        };
        if !args.looping {
            return Ok(exit);
        }
        tokio::time::sleep(every).await;
    }
}

fn has_ended(round: &Value) -> bool {
    round["ended"] != false
}

/// A server goes on with what takes long; where this process does it, it ends with it.
fn exit(round: &Value, is_server: bool) -> Exit {
    let whole = has_ended(round) || is_server;
    if whole && text(round, "faults") == "0" { Exit::Ok } else { Exit::Fault }
}

fn show(round: &Value, is_server: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let count = |name: &str| text(round, name);
    if has_ended(round) {
        let stores = if count("found") == "1" { "store was" } else { "stores were" };
        let (found, synced, faults) = (count("found"), count("synced"), count("faults"));
        out.line(&format!("{found} {stores} due, {synced} synced, {faults} failed"))?;
    } else if is_server {
        out.line("the stores are being synced: the server goes on, and their runs say what came of it")?;
    } else {
        out.line(
            "not all stores were synced in time: go on with `wellorder sync --once`, or start a server",
        )?;
    }
    let failures = list(round, "failures");
    for failure in failures {
        let (store, why) = (text(failure, "store_id"), text(failure, "detail"));
        out.note(&format!("store {}: {}", escape(&store), escape(&why)));
    }
    if !is_server && failures.iter().any(|failure| text(failure, "type") == NOT_CONNECTED) {
        out.note(
            "fix: start a server, which has its own mock marketplace (`wellorder dev`), or say where one is (marketplace.mock_url)",
        );
    }
    Ok(exit(round, is_server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_call::ApiReply;
    use crate::cli::fake::{Fake, Said, json as reply, problem, said};
    use serde_json::json;

    const ONCE: SyncArgs = SyncArgs { once: true, looping: false };
    const LOOPING: SyncArgs = SyncArgs { once: false, looping: true };

    fn round(found: u32) -> ApiReply {
        let round = json!({ "ended": true, "found": found, "synced": found, "faults": 0, "failures": [] });
        reply(200, &round)
    }

    fn failed() -> ApiReply {
        let failure =
            json!({ "store_id": "s-1", "type": NOT_CONNECTED, "detail": "No such marketplace is here" });
        let round = json!({ "ended": true, "found": 2, "synced": 1, "faults": 1, "failures": [failure] });
        reply(200, &round)
    }

    fn going_on() -> ApiReply {
        reply(200, &json!({ "ended": false, "found": 0, "synced": 0, "faults": 0, "failures": [] }))
    }

    async fn run_one(fake: &Fake, args: &SyncArgs) -> Said {
        said(false, async |out| run(fake.api(), args, Duration::ZERO, out).await).await
    }

    #[tokio::test]
    async fn once_is_once_and_a_loop_goes_on_until_nobody_answers() {
        let fake = Fake::new([round(1)]);
        let one = run_one(&fake, &ONCE).await;
        assert_eq!((one.out.as_str(), one.exit), ("1 store was due, 1 synced, 0 failed\n", Exit::Ok));
        assert_eq!(fake.asked(), ["POST /v1/syncs patiently"]);
        let fake = Fake::new([
            round(2),
            going_on(),
            failed(),
            round(0),
            problem(
                503,
                &json!({"type": "urn:wellorder:problem:unavailable", "title": "away", "status": 503}),
            ),
        ]);
        let many = run_one(&fake, &LOOPING).await;
        insta::assert_snapshot!(many.out, @r"
        2 stores were due, 2 synced, 0 failed
        the stores are being synced: the server goes on, and their runs say what came of it
        2 stores were due, 1 synced, 1 failed
        0 stores were due, 0 synced, 0 failed
        ");
        assert_eq!(many.exit, Exit::Fault);
    }

    #[tokio::test]
    async fn what_failed_is_said_with_its_reason_and_is_no_success() {
        let server = run_one(&Fake::new([failed()]), &ONCE).await;
        assert_eq!(server.exit, Exit::Fault);
        assert_eq!(server.err, "store s-1: No such marketplace is here\n");
        let here = run_one(&Fake::new([failed()]).offline(), &ONCE).await;
        assert_eq!(here.exit, Exit::Fault);
        assert!(here.err.contains("marketplace.mock_url"), "{}", here.err);
        let fake = Fake::new([failed()]);
        let json = said(true, async |out| run(fake.api(), &ONCE, Duration::ZERO, out).await).await;
        assert_eq!(json.exit, Exit::Fault);
    }

    #[tokio::test]
    async fn what_takes_longer_than_the_answer_goes_on_at_a_server_and_nowhere_else() {
        let server = run_one(&Fake::new([going_on()]), &ONCE).await;
        assert_eq!(server.exit, Exit::Ok);
        assert!(server.out.contains("goes on") && !server.out.contains("0 stores"), "{}", server.out);
        let here = run_one(&Fake::new([going_on()]).offline(), &ONCE).await;
        assert_eq!(here.exit, Exit::Fault);
        assert!(here.out.contains("not all"), "{}", here.out);
    }
}
