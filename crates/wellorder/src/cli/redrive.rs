//! `orders redrive`: a job of the server that is asked for, then watched.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    act::confirmed,
    api_call::{ApiCall, ApiReply, encode},
    args::{GetArgs, RedriveArgs},
    failure::{Exit, Failure},
    json::{list, text},
    orders, retry,
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
    let filter = filter(api, args).await?;
    let mut matched = None;
    // Whoever names orders knows how many there are.
    if args.dry_run || args.ids.is_empty() {
        let (reply, count) = ask(api, &json!({ "filter": filter, "dry_run": true })).await?;
        if args.dry_run {
            return dry_run(&reply, &count, out);
        }
        let many = text(&count, "matched");
        if !sure(args, &many, out)? {
            return Ok(if many == "0" { Exit::Ok } else { Exit::Refused });
        }
        matched = many.parse().ok();
    }
    let body = json!({ "filter": filter, "reason": args.reason, "dry_run": false });
    let (mut reply, mut job) = ask(api, &body).await?;
    let address = format!("/v1/redrives/{}", encode(&text(&job, "redrive_id")));
    if !args.no_wait {
        while goes_on(&job) {
            let done =
                ["redriven", "refused"].map(|count| job.get(count).and_then(Value::as_u64).unwrap_or(0));
            out.bar(done.iter().sum(), matched, &format!("{} redriven", done[0]));
            tokio::time::sleep(poll).await;
            (reply, job) = match retry::get(api, &address, poll, out).await {
                Ok(answer) => answer,
                Err(failure) => {
                    out.note(&format!("{}, as far as is known", going_on(&job)));
                    return Err(failure);
                }
            };
        }
        out.progress("");
    }
    // Orders that could not be redriven were refused, each with its reason.
    let refused = text(&job, "refused");
    let exit = if refused == "0" { Exit::Ok } else { Exit::Refused };
    if out.json {
        out.json(&reply.body)?;
    } else if goes_on(&job) {
        out.line(&going_on(&job))?;
    } else {
        let done = out.paint(Style::Good, &format!("{} redriven", escape(&text(&job, "redriven"))));
        let failed = out.paint(Style::Bad, &format!(", {} refused", escape(&refused)));
        out.line(&if exit == Exit::Ok { done } else { format!("{done}{failed}") })?;
        if exit == Exit::Refused {
            show_refused(api, &address, poll, out).await?;
        }
    }
    Ok(exit)
}

async fn ask(api: &dyn ApiCall, body: &Value) -> Result<(ApiReply, Value), Failure> {
    api.post("/v1/redrives", Some(body)).await
}

/// Which orders.
async fn filter(api: &dyn ApiCall, args: &RedriveArgs) -> Result<Value, Failure> {
    if !args.ids.is_empty() {
        return Ok(json!({ "order_ids": ids(api, args).await? }));
    }
    let mut filter = Map::new();
    if args.all {
        filter.insert("all".to_owned(), true.into());
    }
    let source = [("source", args.source.as_deref())];
    for (name, value) in source.into_iter().chain(args.filter.texts()) {
        filter.extend(value.map(|value| (name.to_owned(), value.into())));
    }
    // The one that is no text on this wire.
    if let Some(withdrawn) = args.filter.withdrawn {
        filter.insert("withdrawn".to_owned(), withdrawn.into());
    }
    Ok(filter.into())
}

/// Tells how many orders match; whether it goes on.
///
/// # Errors
/// Nobody is there to be asked, and `--yes` was not said.
fn sure(args: &RedriveArgs, many: &str, out: &mut Output<'_>) -> Result<bool, Failure> {
    if many == "0" {
        if out.json {
            out.json(br#"{"matched":0}"#)?;
        } else {
            out.line("no parked order matches: nothing to do")?;
        }
        return Ok(false);
    }
    if args.yes {
        if !out.json {
            out.note(&format!("{} {}", parked(many), if many == "1" { "matches" } else { "match" }));
        }
        return Ok(true);
    }
    confirmed(&format!("redrive {}?", parked(many)), out)
}

fn parked(many: &str) -> String {
    format!("{} parked {}", escape(many), if many == "1" { "order" } else { "orders" })
}

/// The ids of orders that were named by id or by reference.
async fn ids(api: &dyn ApiCall, args: &RedriveArgs) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for name in &args.ids {
        if args.source.is_none() && Uuid::try_parse(name).is_ok() {
            ids.push(name.clone());
            continue;
        }
        let named = GetArgs { order: name.clone(), source: args.source.clone() };
        match orders::find(api, &named).await? {
            Some(id) => ids.push(id),
            None => return Err(orders::not_found(api, None, &named).await),
        }
    }
    Ok(ids)
}

fn going_on(job: &Value) -> String {
    format!("redrive {} goes on", escape(&text(job, "redrive_id")))
}

fn goes_on(job: &Value) -> bool {
    text(job, "state") == "running"
}

fn dry_run(reply: &ApiReply, count: &Value, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if out.json {
        out.json(&reply.body)?;
    } else {
        out.line(&format!("{} would be redriven", parked(&text(count, "matched"))))?;
    }
    Ok(Exit::Ok)
}

/// Lists what was refused, page by page.
async fn show_refused(
    api: &dyn ApiCall,
    address: &str,
    poll: Duration,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let mut page = format!("{address}/items?limit=200");
    loop {
        let (_, items) = retry::get(api, &page, poll, out).await?;
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
    use crate::cli::args::{Fulfilment, ParkedFilter};
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
        let reason = Some("fixed".to_owned());
        RedriveArgs { all: ids.is_empty(), ids, reason, yes: true, ..RedriveArgs::default() }
    }

    fn counted(matched: u32) -> ApiReply {
        reply(200, &json!({ "dry_run": true, "matched": matched }))
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
        let replies =
            [counted(4), reply(202, &job("finished", 2, 2)), reply(200, &pages[0]), reply(200, &pages[1])];
        let fake = Fake::new(replies);
        let said = run(&fake, &args(&[]), false).await;
        assert_eq!(said.out, "2 redriven, 2 refused\n  0193  not_parked\n  0192  unknown\n");
        assert_eq!(said.exit, Exit::Refused);
        assert_eq!(fake.asked()[3], "GET /v1/redrives/r%201/items?limit=200&after=c");
        assert_eq!(fake.asked()[0], r#"POST /v1/redrives {"filter":{"all":true},"dry_run":true}"#);
        assert_eq!(said.err, "4 parked orders match\n");
    }

    #[tokio::test]
    async fn a_dry_run_and_an_unwatched_job_ask_once() {
        let dry = RedriveArgs { dry_run: true, ..args(&[]) };
        let result = run(&Fake::new([reply(200, &json!({ "matched": "10000+" }))]), &dry, false).await;
        assert_eq!(result.out, "10000+ parked orders would be redriven\n");
        let unwatched = RedriveArgs { no_wait: true, ..args(&[]) };
        let running = job("running", 1, 0);
        let result = run(&Fake::new([counted(2), reply(202, &running)]), &unwatched, false).await;
        assert_eq!(result.out, "redrive r 1 goes on\n");
        let result = run(&Fake::new([counted(2), reply(202, &running)]), &unwatched, true).await;
        assert_eq!(result.out, format!("{running}\n"));
    }

    #[tokio::test]
    async fn many_are_counted_and_asked_for_before_anything_is_done() {
        let careful = RedriveArgs {
            all: false,
            source: Some("shop".to_owned()),
            filter: ParkedFilter {
                error_contains: Some("stock".to_owned()),
                search: Some("A-".to_owned()),
                customer: Some("c-42".to_owned()),
                fulfilment: Some(Fulfilment::Shipped),
                withdrawn: Some(false),
                accepted_from: Some("2026-11-20T00:00:00Z".to_owned()),
                accepted_to: Some("2026-11-21T00:00:00Z".to_owned()),
            },
            yes: false,
            ..args(&[])
        };
        let nobody = Fake::new([counted(1000)]);
        assert_eq!(run(&nobody, &careful, false).await.exit, Exit::Usage);
        let filter = concat!(
            r#""filter":{"source":"shop","error_contains":"stock","q":"A-","customer":"c-42","fulfilment":"shipped","#,
            r#""withdrawn":false,"accepted_from":"2026-11-20T00:00:00Z","accepted_to":"2026-11-21T00:00:00Z"}"#
        );
        assert_eq!(nobody.asked(), [format!("POST /v1/redrives {{{filter},\"dry_run\":true}}")]);
        for (answer, exit, asked) in [("y\n", Exit::Ok, 2), ("\n", Exit::Refused, 1)] {
            let fake =
                Fake::new([counted(1000), reply(202, &job("finished", 1000, 0))].into_iter().take(asked));
            let said = said(false, async |out| {
                out.answered_by(answer.as_bytes());
                redrive(fake.api(), &careful, Duration::ZERO, out).await
            })
            .await;
            assert_eq!((said.exit, fake.asked().len()), (exit, asked));
            assert!(said.err.starts_with("redrive 1000 parked orders? [y/N] "), "{}", said.err);
        }
        let none = Fake::new([counted(0)]);
        let said = run(&none, &careful, false).await;
        assert_eq!((said.out.as_str(), said.exit), ("no parked order matches: nothing to do\n", Exit::Ok));
    }

    #[tokio::test]
    async fn a_server_that_is_busy_or_away_is_asked_again_and_in_the_end_the_job_is_named() {
        let running = || reply(202, &job("running", 1, 0));
        let busy = || problem(429, &json!({ "title": "no" }));
        let fake = Fake::new([counted(2), running(), busy(), busy(), reply(200, &job("finished", 2, 0))]);
        let said = run(&fake, &args(&[]), false).await;
        assert_eq!((said.out.as_str(), said.exit), ("2 redriven\n", Exit::Ok));
        let fake = Fake::new([counted(2), running()].into_iter().chain((0..9).map(|_| busy())));
        let said = run(&fake, &args(&[]), false).await;
        assert_eq!(said.exit, Exit::Fault);
        assert!(said.err.contains("redrive r 1 goes on"), "{}", said.err);
    }

    #[tokio::test]
    async fn a_refusal_is_one() {
        let fake = Fake::new([problem(422, &json!({ "title": "no" }))]);
        assert_eq!(run(&fake, &args(&[ID]), false).await.exit, Exit::Refused);
    }
}
