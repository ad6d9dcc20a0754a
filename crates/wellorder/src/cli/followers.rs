//! `followers`.

use serde_json::{Value, json};

use super::{
    act::confirmed,
    api_call::{ApiCall, encode},
    args::FollowersCommand,
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Cell, Output, Style, escape};

/// Shows or steers followers.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &FollowersCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let at = |name: &str, verb: &str| format!("/v1/followers/{}{verb}", encode(name));
    let (reply, value) = match command {
        FollowersCommand::List => api.get("/v1/followers").await?,
        FollowersCommand::Get { name } => api.get(&at(name, "")).await?,
        FollowersCommand::Pause { name } => api.post(&at(name, "/pause"), None).await?,
        FollowersCommand::Resume { name } => api.post(&at(name, "/resume"), None).await?,
        FollowersCommand::Replay { name, from, to: None } => {
            api.post(&at(name, "/replay"), Some(&json!({ "from": from }))).await?
        }
        FollowersCommand::Replay { name, from, to } => {
            api.post(&at(name, "/replay"), Some(&json!({ "from": from, "to": to }))).await?
        }
        FollowersCommand::Parked { name, after, limit } => {
            let query = [("after_order_id", after.clone()), ("limit", limit.map(|limit| limit.to_string()))];
            let query =
                query.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(&value?))));
            api.get(&at(name, &format!("/parked?{}", query.collect::<Vec<_>>().join("&")))).await?
        }
        FollowersCommand::Redrive { name, orders, all, skip, yes } => {
            let orders = Some(orders.as_slice()).filter(|orders| !*all && !orders.is_empty());
            return redrive(api, (name.as_str(), orders), (skip.as_deref(), *yes), out).await;
        }
    };
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    match command {
        FollowersCommand::Parked { name, .. } => parked(name, &value, out)?,
        FollowersCommand::List => table(list(&value, "followers"), out)?,
        // The other has ended above.
        FollowersCommand::Get { .. } | FollowersCommand::Redrive { .. } => show(&value, out)?,
        FollowersCommand::Pause { name } => out.line(&format!("{} is paused", escape(name)))?,
        FollowersCommand::Resume { name } => out.line(&format!("{} carries on", escape(name)))?,
        FollowersCommand::Replay { name, from, to } => {
            let name = escape(name);
            let goes_on = match (to, again(&value)) {
                (None, _) => format!("goes on from {}", escape(from)),
                (Some(_), Some(left)) => format!("carries {left} on once more"),
                (Some(_), None) => {
                    out.line(&format!("{name} has carried nothing on of that: nothing to do"))?;
                    return Ok(Exit::Ok);
                }
            };
            if text(&value, "state") == "paused" {
                out.line(&format!("{name} stays paused, and {goes_on} when it is resumed"))?;
                let next = out.again.command(&format!("followers resume {name}"));
                out.note(&format!("next: {next}"));
            } else {
                out.line(&format!("{name} {goes_on}"))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// Sends what is parked again, of `orders` or of all. To leave refused events out is to let nobody behind the follower ever have
/// them: of all orders it is asked for twice, by the command, and by `--yes` or an answer.
async fn redrive(
    api: &dyn ApiCall,
    (name, orders): (&str, Option<&[String]>),
    (skip, yes): (Option<&str>, bool),
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (at, shown) = (format!("/v1/followers/{}", encode(name)), escape(name));
    let mut body = orders.map_or_else(|| json!({ "all": true }), |orders| json!({ "order_ids": orders }));
    if let Some(reason) = skip {
        body["skip"] = true.into();
        body["reason"] = reason.into();
    }
    if skip.is_some() && orders.is_none() {
        let (_, follower) = api.get(&at).await?;
        let many = text(&follower, "parked");
        let of = format!("the refused events of {many} {}", if many == "1" { "order" } else { "orders" });
        if yes && !out.json {
            out.note(&format!("{of} are left out"));
        }
        let question = format!("leave {of} out of {shown} for ever?");
        if !yes && !confirmed(&question, out)? {
            return Ok(Exit::Refused);
        }
    }
    let (reply, value) = api.post(&format!("{at}/redrive"), Some(&body)).await?;
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    let count = text(&value, "redriven");
    let orders = if count == "1" { "order is" } else { "orders are" };
    let without = if skip.is_some() { ", without what was refused" } else { "" };
    out.line(&format!("{count} {orders} sent to {shown} again{without}"))?;
    Ok(Exit::Ok)
}

fn parked(name: &str, value: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let streams = list(value, "parked");
    if streams.is_empty() {
        out.note(&format!("nothing is parked for {}", escape(name)));
        return Ok(());
    }
    let row = |stream: &Value| {
        let field = |name: &str| Cell::from(text(stream, name));
        let state = if text(stream, "redriving") == "true" { "redriving" } else { "parked" };
        let cells = ["order_id", "from_version", "reason", "parked_at", "detail"].map(field);
        let [order, version, reason, at, detail] = cells;
        vec![order, version, Cell::from(state.to_owned()), reason, at, detail]
    };
    let rows: Vec<_> = streams.iter().map(row).collect();
    out.table(&["ORDER", "FROM VERSION", "STATE", "REASON", "SINCE", "DETAIL"], &rows)?;
    let (name, next) = (escape(name), text(value, "next"));
    if !next.is_empty() {
        let next = out.again.command(&format!("followers parked {name} --after {}", escape(&next)));
        out.note(&format!("more: {next}"));
    }
    let next = out.again.command(&format!("followers redrive {name}"));
    out.note(&format!("next: {next}"));
    Ok(())
}

/// What a follower is to carry on once more, if there is something.
fn again(follower: &Value) -> Option<String> {
    let left = text(follower.get("replay").filter(|replay| !replay.is_null())?, "left");
    Some(format!("{left} {}", if left == "1" { "event" } else { "events" }))
}

fn state(follower: &Value) -> Cell {
    let state = text(follower, "state");
    let style = match state.as_str() {
        "running" => Style::Good,
        "paused" => Style::Busy,
        "failing" => Style::Bad,
        _ => Style::Plain,
    };
    Cell::new(style, &state)
}

fn table(followers: &[Value], out: &mut Output<'_>) -> Result<(), Failure> {
    if followers.is_empty() {
        out.note("no followers");
        return Ok(());
    }
    let row = |follower: &Value| {
        let field = |name: &str| Cell::from(text(follower, name));
        vec![field("name"), field("sink"), state(follower), field("lag"), field("last_error")]
    };
    let rows: Vec<_> = followers.iter().map(row).collect();
    out.table(&["FOLLOWER", "SINK", "STATE", "BEHIND", "LAST ERROR"], &rows)?;
    Ok(())
}

fn show(follower: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let field = |name: &str| Cell::from(text(follower, name));
    out.fields([
        ("follower", Cell::new(Style::Bold, &text(follower, "name"))),
        ("sink", field("sink")),
        ("state", state(follower)),
        ("behind", field("lag")),
        (
            "parked",
            Cell::new(Style::Bad, &Some(text(follower, "parked")).filter(|n| n != "0").unwrap_or_default()),
        ),
        ("last error", Cell::new(Style::Bad, &text(follower, "last_error"))),
        ("once more", Cell::new(Style::Busy, &again(follower).unwrap_or_default())),
        ("cursor", field("cursor")),
    ])?;
    let row = |shard: &Value| ["shard", "position", "head"].map(|name| Cell::from(text(shard, name))).into();
    let rows: Vec<Vec<Cell>> = list(follower, "shards").iter().map(row).collect();
    if !rows.is_empty() {
        out.line("")?;
        out.table(&["SHARD", "POSITION", "HEAD"], &rows)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, problem, said};

    fn follower() -> Value {
        json!({
            "name": "ndjson", "sink": "file", "state": "failing", "lag": 12, "cursor": "c-1",
            "replay": null, "last_error": "disk full", "shards": [{"shard": 0, "position": 3, "head": 15}],
        })
    }

    async fn run_one(fake: &Fake, command: FollowersCommand) -> Said {
        said(false, async |out| run(fake.api(), &command, out).await).await
    }

    #[tokio::test]
    async fn all_followers() {
        let fake = Fake::new([reply(200, &json!({ "followers": [follower()] }))]);
        insta::assert_snapshot!(run_one(&fake, FollowersCommand::List).await.out, @r"
        FOLLOWER  SINK  STATE    BEHIND  LAST ERROR
        ndjson    file  failing  12      disk full
        ");
        assert_eq!(fake.asked(), ["GET /v1/followers"]);
        let fake = Fake::new([reply(200, &json!({ "followers": [] }))]);
        assert_eq!(run_one(&fake, FollowersCommand::List).await.err, "no followers\n");
    }

    #[tokio::test]
    async fn one_follower() {
        let fake = Fake::new([reply(200, &follower())]);
        let said = run_one(&fake, FollowersCommand::Get { name: "a/b".to_owned() }).await;
        insta::assert_snapshot!(said.out, @r"
        follower    ndjson
        sink        file
        state       failing
        behind      12
        last error  disk full
        cursor      c-1

        SHARD  POSITION  HEAD
        0      3         15
        ");
        assert_eq!(fake.asked(), ["GET /v1/followers/a%2Fb"]);
    }

    #[tokio::test]
    async fn steering() {
        let fake = Fake::new([reply(200, &follower()), reply(200, &follower()), reply(200, &follower())]);
        let name = || "ndjson".to_owned();
        let said = [
            run_one(&fake, FollowersCommand::Pause { name: name() }).await.out,
            run_one(&fake, FollowersCommand::Resume { name: name() }).await.out,
            run_one(&fake, FollowersCommand::Replay { name: name(), from: "beginning".to_owned(), to: None })
                .await
                .out,
        ];
        assert_eq!(said.concat(), "ndjson is paused\nndjson carries on\nndjson goes on from beginning\n");
        let at = "POST /v1/followers/ndjson";
        let replay = format!("{at}/replay {{\"from\":\"beginning\"}}");
        assert_eq!(fake.asked(), [format!("{at}/pause"), format!("{at}/resume"), replay]);
    }

    #[tokio::test]
    async fn a_paused_follower_stays_paused_at_its_new_place_and_is_said_to() {
        let mut paused = follower();
        paused["state"] = "paused".into();
        let fake = Fake::new([reply(200, &paused)]);
        let command =
            FollowersCommand::Replay { name: "ndjson".to_owned(), from: "now".to_owned(), to: None };
        let said = run_one(&fake, command).await;
        assert_eq!(said.out, "ndjson stays paused, and goes on from now when it is resumed\n");
        assert_eq!(said.err, "next: wellorder followers resume ndjson\n");
    }

    #[tokio::test]
    async fn a_range_is_carried_on_once_more() {
        let with = |left: u32| {
            let mut follower = follower();
            follower["replay"] = json!({ "from": "c-0", "to": "c-1", "left": left });
            reply(200, &follower)
        };
        let fake = Fake::new([with(10), with(1), reply(200, &follower()), with(10)]);
        let replay = || FollowersCommand::Replay {
            name: "ndjson".to_owned(),
            from: "beginning".to_owned(),
            to: Some("2026-11-20T10:00:00Z".to_owned()),
        };
        let said = [
            run_one(&fake, replay()).await.out,
            run_one(&fake, replay()).await.out,
            run_one(&fake, replay()).await.out,
        ];
        let expected = "ndjson carries 10 events on once more\nndjson carries 1 event on once more\n\
                        ndjson has carried nothing on of that: nothing to do\n";
        assert_eq!(said.concat(), expected);
        let shown = run_one(&fake, FollowersCommand::Get { name: "ndjson".to_owned() }).await;
        assert!(shown.out.contains("once more   10 events\n"), "{}", shown.out);
        let body = r#"{"from":"beginning","to":"2026-11-20T10:00:00Z"}"#;
        assert_eq!(fake.asked()[0], format!("POST /v1/followers/ndjson/replay {body}"));
    }

    #[tokio::test]
    async fn what_is_parked_is_shown_and_sent_again() {
        let stream = json!({
            "order_id": "o-1", "tenant": "default", "shard": 3, "from_version": 2, "reason": "too-large",
            "detail": "2 MB", "parked_at": "2026-11-20T10:00:00Z", "redriving": false,
        });
        let fake = Fake::new([
            reply(200, &json!({ "parked": [stream], "next": "o-1" })),
            reply(200, &json!({ "parked": [], "next": null })),
            reply(200, &json!({ "redriven": 2 })),
            reply(200, &json!({ "redriven": 1 })),
        ]);
        let name = || "kafka".to_owned();
        let parked = |after| FollowersCommand::Parked { name: name(), after, limit: Some(1) };
        let shown = run_one(&fake, parked(None)).await;
        insta::assert_snapshot!(shown.out, @r"
        ORDER  FROM VERSION  STATE   REASON     SINCE                 DETAIL
        o-1    2             parked  too-large  2026-11-20T10:00:00Z  2 MB
        ");
        assert_eq!(
            shown.err,
            "more: wellorder followers parked kafka --after o-1\nnext: wellorder followers redrive kafka\n"
        );
        assert_eq!(run_one(&fake, parked(Some("o-1".to_owned()))).await.err, "nothing is parked for kafka\n");
        let redrive = |orders: Vec<String>, skip| {
            let all = orders.is_empty();
            FollowersCommand::Redrive { name: name(), orders, all, skip, yes: false }
        };
        let all = run_one(&fake, redrive(Vec::new(), None)).await;
        assert_eq!(all.out, "2 orders are sent to kafka again\n");
        let one = run_one(&fake, redrive(vec!["o-1".to_owned()], Some("unwanted".to_owned()))).await;
        assert_eq!(one.out, "1 order is sent to kafka again, without what was refused\n");
        let at = "/v1/followers/kafka";
        assert_eq!(
            fake.asked(),
            [
                format!("GET {at}/parked?limit=1"),
                format!("GET {at}/parked?after_order_id=o-1&limit=1"),
                format!("POST {at}/redrive {{\"all\":true}}"),
                format!(
                    "POST {at}/redrive {{\"order_ids\":[\"o-1\"],\"skip\":true,\"reason\":\"unwanted\"}}"
                ),
            ]
        );
    }

    #[tokio::test]
    async fn refused_events_of_all_orders_are_left_out_only_when_it_is_said_twice() {
        let command = |yes| FollowersCommand::Redrive {
            name: "kafka".to_owned(),
            orders: Vec::new(),
            all: true,
            skip: Some("unwanted".to_owned()),
            yes,
        };
        let counted = || reply(200, &json!({ "name": "kafka", "parked": 1000 }));
        let nobody = Fake::new([counted()]);
        assert_eq!(run_one(&nobody, command(false)).await.exit, Exit::Usage);
        assert_eq!(nobody.asked(), ["GET /v1/followers/kafka"]);
        let sent = r#"POST /v1/followers/kafka/redrive {"all":true,"skip":true,"reason":"unwanted"}"#;
        for (answer, exit, asked) in [("y\n", Exit::Ok, 2), ("\n", Exit::Refused, 1)] {
            let replies = [counted(), reply(200, &json!({ "redriven": 1000 }))];
            let fake = Fake::new(replies.into_iter().take(asked));
            let said = said(false, async |out| {
                out.answered_by(answer.as_bytes());
                run(fake.api(), &command(false), out).await
            })
            .await;
            assert_eq!(said.exit, exit);
            assert_eq!(fake.asked(), ["GET /v1/followers/kafka", sent][..asked]);
            let question = "leave the refused events of 1000 orders out of kafka for ever? [y/N] ";
            assert!(said.err.starts_with(question), "{}", said.err);
        }
        let said = Fake::new([counted(), reply(200, &json!({ "redriven": 1000 }))]);
        let said = run_one(&said, command(true)).await;
        assert_eq!(said.err, "the refused events of 1000 orders are left out\n");
    }

    #[test]
    fn leaving_events_out_names_whose() {
        use crate::cli::args::Cli;
        use clap::Parser;
        let parsed = |args: &[&str]| {
            let words = ["wellorder", "followers", "redrive", "kafka"].iter().chain(args);
            Cli::try_parse_from(words).is_ok()
        };
        assert!(!parsed(&["--skip", "why"]), "of whatever there is");
        for args in [&["--skip", "why", "--all"][..], &["o-1", "--skip", "why"], &["--all"], &[]] {
            assert!(parsed(args), "{args:?}");
        }
    }

    #[tokio::test]
    async fn a_follower_that_is_not_there() {
        let fake = Fake::new([problem(404, &json!({ "title": "Not found" }))]);
        let said = run_one(&fake, FollowersCommand::Get { name: "x".to_owned() }).await;
        assert_eq!(said.exit, Exit::NotFound);
    }
}
