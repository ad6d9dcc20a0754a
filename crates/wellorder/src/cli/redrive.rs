//! `orders redrive`: a job of the server that is asked for, then watched.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    api_call::{ApiCall, ApiReply, encode},
    args::RedriveArgs,
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Output, Style, escape};

/// How often a job is looked at.
pub(super) const POLL: Duration = Duration::from_millis(300);

/// Asks for a redrive and waits for its end, unless told not to.
pub(super) async fn redrive(
    api: &dyn ApiCall,
    args: &RedriveArgs,
    poll: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let filter = if args.all {
        json!({ "all": true })
    } else {
        json!({ "order_ids": args.ids })
    };
    let body = json!({ "filter": filter, "reason": args.reason, "dry_run": args.dry_run });
    let (mut reply, mut job) = api.post("/v1/redrives", Some(&body)).await?;
    if !args.dry_run && !args.no_wait {
        let address = format!("/v1/redrives/{}", encode(&text(&job, "redrive_id")));
        while goes_on(&job) {
            out.progress(&format!(
                "redriving {} of {}",
                escape(&count(&job, DONE)),
                escape(&text(&job, "matched"))
            ));
            tokio::time::sleep(poll).await;
            (reply, job) = api.get(&address).await?;
        }
        out.progress("");
    }
    report(&reply, &job, args.dry_run, out)
}

const DONE: [&str; 2] = ["done", "redriven"];
const FAILED: [&str; 2] = ["failed", "refused"];

fn goes_on(job: &Value) -> bool {
    matches!(text(job, "state").as_str(), "queued" | "pending" | "running")
}

/// The first of these fields that is there.
fn count(job: &Value, names: [&str; 2]) -> String {
    names
        .iter()
        .map(|name| text(job, name))
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| "0".to_owned())
}

fn report(reply: &ApiReply, job: &Value, dry_run: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let failed = count(job, FAILED);
    // Orders that could not be redriven were refused, each with its reason.
    let exit = if failed == "0" { Exit::Ok } else { Exit::Refused };
    if out.json {
        out.json(&reply.body)?;
        return Ok(exit);
    }
    let matched = text(job, "matched");
    if dry_run {
        out.line(&format!("{} parked orders would be redriven", escape(&matched)))?;
        return Ok(exit);
    }
    let id = text(job, "redrive_id");
    if goes_on(job) {
        out.line(&format!(
            "redrive {} of {} orders goes on",
            escape(&id),
            escape(&matched)
        ))?;
        return Ok(exit);
    }
    let done = out.paint(Style::Good, &format!("{} redriven", count(job, DONE)));
    let failed = if exit == Exit::Ok {
        String::new()
    } else {
        out.paint(Style::Bad, &format!(", {failed} refused"))
    };
    out.line(&format!("{done}{failed}"))?;
    for item in list(job, "items") {
        let result = text(item, "result");
        if result != "redriven" {
            out.line(&format!(
                "  {}  {}",
                escape(&text(item, "order_id")),
                escape(&result)
            ))?;
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, problem, said};

    fn job(state: &str, done: u32, failed: u32) -> Value {
        let items = json!([
            {"order_id": "0192", "result": "redriven"},
            {"order_id": "0193", "result": "not_parked"},
        ]);
        json!({ "redrive_id": "r 1", "state": state, "matched": 2, "done": done, "failed": failed, "items": items })
    }

    fn args(ids: &[&str]) -> RedriveArgs {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        RedriveArgs {
            all: ids.is_empty(),
            ids,
            reason: "fixed".to_owned(),
            ..RedriveArgs::default()
        }
    }

    async fn run(fake: &Fake, args: &RedriveArgs, json: bool) -> Said {
        said(json, async |out| {
            redrive(fake.api(), args, Duration::ZERO, out).await
        })
        .await
    }

    #[tokio::test]
    async fn a_job_is_watched_to_its_end() {
        let replies = [("queued", 0), ("running", 1), ("done", 2)];
        let fake = Fake::new(replies.map(|(state, done)| reply(202, &job(state, done, 0))));
        let said = run(&fake, &args(&["0192", "0193"]), false).await;
        assert_eq!(said.out, "2 redriven\n  0193  not_parked\n");
        assert_eq!(said.exit, Exit::Ok);
        let body = r#"{"filter":{"order_ids":["0192","0193"]},"reason":"fixed","dry_run":false}"#;
        let watch = "GET /v1/redrives/r%201".to_owned();
        assert_eq!(
            fake.asked(),
            [format!("POST /v1/redrives {body}"), watch.clone(), watch]
        );
    }

    #[tokio::test]
    async fn what_was_refused_shows_in_the_exit_code() {
        let fake = Fake::new([reply(202, &job("done", 1, 1))]);
        let said = run(&fake, &args(&[]), false).await;
        assert_eq!(said.out, "1 redriven, 1 refused\n  0193  not_parked\n");
        assert_eq!(said.exit, Exit::Refused);
        assert!(fake.asked()[0].contains(r#"{"filter":{"all":true}"#));
    }

    #[tokio::test]
    async fn a_dry_run_and_an_unwatched_job_ask_once() {
        let dry = RedriveArgs {
            dry_run: true,
            ..args(&[])
        };
        let result = run(
            &Fake::new([reply(200, &json!({ "matched": "10000+" }))]),
            &dry,
            false,
        )
        .await;
        assert_eq!(result.out, "10000+ parked orders would be redriven\n");
        let unwatched = RedriveArgs {
            no_wait: true,
            ..args(&[])
        };
        let running = job("running", 1, 0);
        let result = run(&Fake::new([reply(202, &running)]), &unwatched, false).await;
        assert_eq!(result.out, "redrive r 1 of 2 orders goes on\n");
        let result = run(&Fake::new([reply(202, &running)]), &unwatched, true).await;
        assert_eq!(result.out, format!("{running}\n"));
    }

    #[tokio::test]
    async fn a_refusal_is_one() {
        let fake = Fake::new([problem(422, &json!({ "title": "no" }))]);
        assert_eq!(run(&fake, &args(&["x"]), false).await.exit, Exit::Refused);
    }
}
