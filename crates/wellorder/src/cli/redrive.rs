//! `orders redrive`: a job of the server that is asked for, then watched.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    api_call::{ApiCall, ApiReply, encode},
    args::{GetArgs, RedriveArgs},
    failure::{Exit, Failure},
    json::{list, text},
    orders,
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
    let filter =
        if args.all { json!({ "all": true }) } else { json!({ "order_ids": ids(api, &args.ids).await? }) };
    let body = json!({ "filter": filter, "reason": args.reason, "dry_run": args.dry_run });
    let (mut reply, mut job) = api.post("/v1/redrives", Some(&body)).await?;
    if args.dry_run {
        return dry_run(&reply, &job, out);
    }
    let address = format!("/v1/redrives/{}", encode(&text(&job, "redrive_id")));
    if !args.no_wait {
        while goes_on(&job) {
            out.progress(&format!("{} redriven", escape(&text(&job, "redriven"))));
            tokio::time::sleep(poll).await;
            (reply, job) = api.get(&address).await?;
        }
        out.progress("");
    }
    // Orders that could not be redriven were refused, each with its reason.
    let refused = text(&job, "refused");
    let exit = if refused == "0" { Exit::Ok } else { Exit::Refused };
    if out.json {
        out.json(&reply.body)?;
    } else if goes_on(&job) {
        out.line(&format!("redrive {} goes on", escape(&text(&job, "redrive_id"))))?;
    } else {
        let done = out.paint(Style::Good, &format!("{} redriven", escape(&text(&job, "redriven"))));
        let failed = out.paint(Style::Bad, &format!(", {} refused", escape(&refused)));
        out.line(&if exit == Exit::Ok { done } else { format!("{done}{failed}") })?;
        if exit == Exit::Refused {
            show_refused(api, &address, out).await?;
        }
    }
    Ok(exit)
}

/// The ids of orders that were named by id or by reference.
async fn ids(api: &dyn ApiCall, named: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for name in named {
        if Uuid::try_parse(name).is_ok() {
            ids.push(name.clone());
            continue;
        }
        let args = GetArgs { order: name.clone(), source: None };
        ids.push(orders::find(api, &args).await?.ok_or_else(|| orders::not_found(None, &args))?);
    }
    Ok(ids)
}

fn goes_on(job: &Value) -> bool {
    text(job, "state") == "running"
}

fn dry_run(reply: &ApiReply, count: &Value, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if out.json {
        out.json(&reply.body)?;
    } else {
        out.line(&format!("{} parked orders would be redriven", escape(&text(count, "matched"))))?;
    }
    Ok(Exit::Ok)
}

/// Lists what was refused, page by page.
async fn show_refused(api: &dyn ApiCall, address: &str, out: &mut Output<'_>) -> Result<(), Failure> {
    let mut page = format!("{address}/items?limit=200");
    loop {
        let (_, items) = api.get(&page).await?;
        for item in list(&items, "items") {
            let result = text(item, "result");
            if result != "redriven" {
                out.line(&format!("  {}  {}", escape(&text(item, "order_id")), escape(&result)))?;
            }
        }
        match items["next"].as_str() {
            Some(next) => page = format!("{address}/items?limit=200&after={}", encode(next)),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, problem, said};

    const ID: &str = "01920000-0000-7000-8000-000000000001";

    fn job(state: &str, redriven: u32, refused: u32) -> Value {
        json!({ "redrive_id": "r 1", "state": state, "redriven": redriven, "refused": refused })
    }

    fn items(results: [&str; 2], next: Option<&str>) -> Value {
        let items: Vec<Value> = results
            .iter()
            .zip(["0192", "0193"])
            .map(|(result, id)| json!({ "order_id": id, "result": result }))
            .collect();
        json!({ "items": items, "next": next })
    }

    fn args(ids: &[&str]) -> RedriveArgs {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        RedriveArgs { all: ids.is_empty(), ids, reason: "fixed".to_owned(), ..RedriveArgs::default() }
    }

    async fn run(fake: &Fake, args: &RedriveArgs, json: bool) -> Said {
        said(json, async |out| redrive(fake.api(), args, Duration::ZERO, out).await).await
    }

    #[tokio::test]
    async fn a_job_is_watched_to_its_end() {
        let found = reply(200, &json!({ "orders": [{ "order_id": "0193" }], "next": null }));
        let replies = [("running", 0), ("running", 1), ("finished", 2)];
        let jobs = replies.map(|(state, done)| reply(202, &job(state, done, 0)));
        let fake = Fake::new([vec![found], jobs.into()].concat());
        let said = run(&fake, &args(&[ID, "A-2"]), false).await;
        assert_eq!(said.out, "2 redriven\n");
        assert_eq!(said.exit, Exit::Ok);
        let body =
            format!(r#"{{"filter":{{"order_ids":["{ID}","0193"]}},"reason":"fixed","dry_run":false}}"#);
        let watch = "GET /v1/redrives/r%201".to_owned();
        let find = "GET /v1/orders?reference=A-2".to_owned();
        assert_eq!(fake.asked(), [find, format!("POST /v1/redrives {body}"), watch.clone(), watch]);
    }

    #[tokio::test]
    async fn what_was_refused_shows_in_the_exit_code() {
        let pages = [items(["redriven", "not_parked"], Some("c")), items(["unknown", "redriven"], None)];
        let replies = [reply(202, &job("finished", 2, 2)), reply(200, &pages[0]), reply(200, &pages[1])];
        let fake = Fake::new(replies);
        let said = run(&fake, &args(&[]), false).await;
        assert_eq!(said.out, "2 redriven, 2 refused\n  0193  not_parked\n  0192  unknown\n");
        assert_eq!(said.exit, Exit::Refused);
        assert_eq!(fake.asked()[2], "GET /v1/redrives/r%201/items?limit=200&after=c");
        assert!(fake.asked()[0].contains(r#"{"filter":{"all":true}"#));
    }

    #[tokio::test]
    async fn a_dry_run_and_an_unwatched_job_ask_once() {
        let dry = RedriveArgs { dry_run: true, ..args(&[]) };
        let result = run(&Fake::new([reply(200, &json!({ "matched": "10000+" }))]), &dry, false).await;
        assert_eq!(result.out, "10000+ parked orders would be redriven\n");
        let unwatched = RedriveArgs { no_wait: true, ..args(&[]) };
        let running = job("running", 1, 0);
        let result = run(&Fake::new([reply(202, &running)]), &unwatched, false).await;
        assert_eq!(result.out, "redrive r 1 goes on\n");
        let result = run(&Fake::new([reply(202, &running)]), &unwatched, true).await;
        assert_eq!(result.out, format!("{running}\n"));
    }

    #[tokio::test]
    async fn a_refusal_is_one() {
        let fake = Fake::new([problem(422, &json!({ "title": "no" }))]);
        assert_eq!(run(&fake, &args(&[ID]), false).await.exit, Exit::Refused);
    }
}
