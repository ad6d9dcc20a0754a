//! `events tail`.

use std::time::Duration;

use serde_json::Value;

use super::{
    api_call::{ApiCall, with_query},
    args::EventsCommand,
    failure::{Exit, Failure},
    json::{list, string, text},
    orders::short_time,
};
use crate::output::{Output, Style, escape};

/// How often the end of the journal is looked at with `--follow`.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// The longest page that the feed gives.
const PAGE: u64 = 1000;
/// How many events are printed when nobody says how many.
const UNLESS_SAID: u64 = 100;

/// Prints events a page at a time; with `--json` every page on its own line, cursor included.
pub(super) async fn tail(
    api: &dyn ApiCall,
    command: &EventsCommand,
    poll: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let EventsCommand::Tail { after, follow, limit } = command;
    let mut after = after.clone();
    let mut left = limit.unwrap_or(if *follow { u64::MAX } else { UNLESS_SAID });
    while left > 0 {
        let size = left.min(PAGE).to_string();
        let query = [("after", after.as_deref()), ("limit", Some(size.as_str()))];
        let (reply, page) = api.get(&with_query("/v1/events", &query)).await?;
        let events = list(&page, "events");
        if out.json && !events.is_empty() {
            out.json(&reply.body)?;
        } else {
            for event in events {
                print(event, out)?;
            }
        }
        left = left.saturating_sub(events.len() as u64);
        let next = string(&page, "next").map(str::to_owned);
        // A page may be empty before the end: the end is where the cursor stands still.
        let at_end = events.is_empty() && (next.is_none() || next == after);
        after = next.or(after);
        if at_end && !follow {
            break;
        }
        if at_end {
            tokio::time::sleep(poll).await;
        }
    }
    if let (false, Some(after)) = (out.json, after) {
        out.note(&format!("more: --after {}", escape(&after)));
    }
    Ok(Exit::Ok)
}

fn print(event: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let kind = text(event, "type");
    let style = match kind.as_str() {
        "order.processed" | "order.delivered" => Style::Good,
        "order.processing_failed" => Style::Busy,
        "order.parked" => Style::Bad,
        "order.withdrawn" | "order.erased" => Style::Dim,
        _ => Style::Plain,
    };
    let data = event.get("data").unwrap_or(&Value::Null);
    let detail = ["error", "reason", "reference"].iter().find_map(|name| string(data, name)).unwrap_or("");
    let line = format!(
        "{}  {}  v{:<3} {}/{}  {}  {}",
        escape(&short_time(&text(event, "occurred_at"))),
        escape(&text(event, "order_id")),
        escape(&text(event, "version")),
        escape(&text(event, "shard")),
        escape(&text(event, "position")),
        out.paint(style, &format!("{kind:<23}")),
        escape(detail),
    );
    out.line(line.trim_end())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, said};

    fn page(ids: &[u32], next: &str) -> Value {
        let event = |id: &u32| {
            json!({
                "event_id": format!("e-{id}"), "order_id": "0192", "version": id, "shard": 7, "position": id,
                "type": "order.parked", "occurred_at": "2026-11-20T10:00:00.123456Z", "epoch": 1,
                "data": {"error": "out of\nstock"},
            })
        };
        json!({ "events": ids.iter().map(event).collect::<Vec<_>>(), "next": next })
    }

    fn args(after: Option<&str>, follow: bool, limit: Option<u64>) -> EventsCommand {
        EventsCommand::Tail { after: after.map(str::to_owned), follow, limit }
    }

    async fn run(fake: &Fake, args: &EventsCommand, json: bool) -> Said {
        said(json, async |out| tail(fake.api(), args, Duration::ZERO, out).await).await
    }

    #[tokio::test]
    async fn pages_are_read_to_the_end_even_through_empty_ones() {
        let pages = [page(&[1], "a"), page(&[], "b"), page(&[2], "c"), page(&[], "c")];
        let fake = Fake::new(pages.map(|page| reply(200, &page)));
        let said = run(&fake, &args(None, false, None), false).await;
        insta::assert_snapshot!(said.out, @r"
        2026-11-20T10:00:00Z  0192  v1   7/1  order.parked             out of\nstock
        2026-11-20T10:00:00Z  0192  v2   7/2  order.parked             out of\nstock
        ");
        assert_eq!(said.err, "more: --after c\n");
        let expected = ["limit=100", "after=a&limit=99", "after=b&limit=99", "after=c&limit=98"];
        assert_eq!(fake.asked(), expected.map(|query| format!("GET /v1/events?{query}")));
    }

    #[tokio::test]
    async fn json_is_a_page_a_line_as_it_came() {
        let pages = [page(&[1, 2], "a"), page(&[], "a")];
        let fake = Fake::new(pages.clone().map(|page| reply(200, &page)));
        let said = run(&fake, &args(Some("0"), false, None), true).await;
        assert_eq!(said.out, format!("{}\n", pages[0]));
        assert_eq!(said.err, "");
    }

    #[tokio::test]
    async fn following_waits_at_the_end_and_stops_at_the_limit() {
        let pages = [page(&[], "a"), page(&[], "a"), page(&[1], "b"), page(&[], "b"), page(&[2], "c")];
        let fake = Fake::new(pages.map(|page| reply(200, &page)));
        let said = run(&fake, &args(Some("a"), true, Some(2)), false).await;
        assert_eq!(said.out.lines().count(), 2);
        assert_eq!(fake.asked().last().map(String::as_str), Some("GET /v1/events?after=b&limit=1"));
    }

    #[tokio::test]
    async fn an_empty_journal_ends_at_once() {
        let fake = Fake::new([reply(200, &json!({ "events": [], "next": null }))]);
        let said = run(&fake, &args(None, false, None), false).await;
        assert_eq!((said.out.as_str(), said.err.as_str(), said.exit), ("", "", Exit::Ok));
    }
}
