//! `events tail`.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt as _;
use http::Method;
use serde_json::Value;

use super::{
    api_call::{ApiCall, Call, Streamed, Unreachable, nothing_comes, with_query},
    args::EventsCommand,
    failure::{Exit, Failure},
    json::{list, string, text},
    orders::short_time,
    retry::Patience,
    sse,
};
use crate::output::{Output, Style, escape};

/// How long to wait before a stream that broke off is asked for again, at first.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The longest page that the feed gives.
const PAGE: u64 = 1000;
/// How many of the newest events are printed when nobody says where to begin.
const UNLESS_SAID: u32 = 10;

/// Prints events; with `--json` each as the feed gives it, on its own line. At the end it is told where to go on.
pub(super) async fn tail(
    api: &dyn ApiCall,
    command: &EventsCommand,
    pause: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let EventsCommand::Tail(args) = command;
    if args.follow && api.holds_folder() {
        return Err(nothing_comes());
    }
    let (mut after, mut left) = (args.after.clone(), args.limit.unwrap_or(u64::MAX));
    let newest = after.is_none() && args.from.is_none();
    if newest {
        let count = u64::from(args.newest.unwrap_or(UNLESS_SAID));
        let (printed, cursor) = show_newest(api, count.min(left), out).await?;
        (after, left) = (cursor, left - printed);
    }
    if args.follow {
        after = follow_on(api, after, left, pause, out).await?;
    } else if !newest {
        after = read(api, after, left, out).await?;
    }
    if let Some(after) = after {
        out.note(&format!("more: --after {}", escape(&after)));
    }
    Ok(Exit::Ok)
}

/// Prints the newest `count` events at most; gives how many there were, and the cursor behind them.
async fn show_newest(
    api: &dyn ApiCall,
    count: u64,
    out: &mut Output<'_>,
) -> Result<(u64, Option<String>), Failure> {
    // Of none the cursor is wanted all the same.
    let last = count.max(1).to_string();
    let (_, page) = api.get(&with_query("/v1/events", &[("last", Some(last.as_str()))])).await?;
    let events = if count == 0 { &[] } else { list(&page, "events") };
    for event in events {
        print(event, out)?;
    }
    Ok((events.len() as u64, string(&page, "next").map(str::to_owned)))
}

/// Prints what there is, a page at a time; gives the cursor behind it.
async fn read(
    api: &dyn ApiCall,
    mut after: Option<String>,
    mut left: u64,
    out: &mut Output<'_>,
) -> Result<Option<String>, Failure> {
    while left > 0 {
        let size = left.min(PAGE).to_string();
        let query = [("after", after.as_deref()), ("limit", Some(size.as_str()))];
        let (_, page) = api.get(&with_query("/v1/events", &query)).await?;
        let events = list(&page, "events");
        for event in events {
            print(event, out)?;
        }
        left = left.saturating_sub(events.len() as u64);
        let next = string(&page, "next").map(str::to_owned);
        // A page may be empty before the end: the end is where the cursor stands still.
        let at_end = events.is_empty() && (next.is_none() || next == after);
        after = next.or(after);
        if at_end {
            break;
        }
    }
    Ok(after)
}

/// Prints what there is and what comes, from a stream that is taken up again where it broke off.
async fn follow_on(
    api: &dyn ApiCall,
    mut after: Option<String>,
    mut left: u64,
    pause: Duration,
    out: &mut Output<'_>,
) -> Result<Option<String>, Failure> {
    let (mut patience, mut known) = (Patience::endless(pause), false);
    while left > 0 {
        let mut stream = match open(api, after.as_deref(), known).await {
            Ok(stream) => stream,
            // Before the first answer nothing says that there is a server at all.
            Err(failure) if !known => return Err(failure),
            Err(failure) => {
                patience.after(failure, out).await?;
                continue;
            }
        };
        known = true;
        let mut reader = sse::Reader::default();
        let broken = loop {
            let chunk: Bytes = match stream.chunks.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(broken)) => break broken,
                None => {
                    break Unreachable::because("the server", "it ended the stream");
                }
            };
            for frame in reader.take(&chunk) {
                patience.progressed();
                if let Some(event) = frame.data.as_deref().and_then(|data| serde_json::from_str(data).ok()) {
                    print(&event, out)?;
                    left -= 1;
                }
                after = frame.id.or(after);
                if left == 0 {
                    return Ok(after);
                }
            }
        };
        patience.after(broken.into(), out).await?;
    }
    Ok(after)
}

/// Asks for the stream behind `after`. `again` is for whoever comes back: then the cursor is the stream's own.
async fn open(api: &dyn ApiCall, after: Option<&str>, again: bool) -> Result<Streamed, Failure> {
    let (query, came_back) = if again { (None, after) } else { (after, None) };
    let accept = Some(("accept", "text/event-stream".to_owned()));
    let cursor = came_back.map(|cursor| ("last-event-id", cursor.to_owned()));
    let headers: Vec<_> = accept.into_iter().chain(cursor).collect();
    let path = with_query("/v1/events", &[("after", query)]);
    let call = Call { method: Method::GET, path_and_query: &path, body: None, headers: &headers };
    api.open(call, None).await?.success().await
}

/// Prints an event in a line.
pub(super) fn print(event: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    if out.json {
        out.json(event.to_string().as_bytes())?;
        return Ok(());
    }
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
    use crate::cli::{
        api_call::ApiReply,
        args::{Beginning, TailArgs},
        fake::{Fake, Said, broken, json as reply, problem, said},
    };

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

    /// Behind a cursor, or from the beginning.
    fn args(after: Option<&str>, follow: bool, limit: Option<u64>) -> EventsCommand {
        let from = after.is_none().then_some(Beginning::Beginning);
        EventsCommand::Tail(TailArgs { after: after.map(str::to_owned), from, follow, limit, newest: None })
    }

    #[tokio::test]
    async fn the_newest_are_shown_and_following_goes_on_behind_them() {
        let fake = Fake::new([reply(200, &page(&[7, 8], "c"))]);
        let tail = |args: TailArgs| EventsCommand::Tail(args);
        let said = run(&fake, &tail(TailArgs::default()), false).await;
        assert_eq!((said.out.lines().count(), said.err.as_str()), (2, "more: --after c\n"));
        assert_eq!(fake.asked(), ["GET /v1/events?last=10"]);
        let fake = Fake::new([reply(200, &page(&[8], "c8")), broken(200, &frames(&[9, 10]))]);
        let args = TailArgs { newest: Some(1), follow: true, limit: Some(2), ..TailArgs::default() };
        let said = run(&fake, &tail(args), true).await;
        assert_eq!((said.out.lines().count(), said.err.as_str()), (2, "more: --after c9\n"));
        let stream = "GET /v1/events?after=c8 accept=text/event-stream".to_owned();
        assert_eq!(fake.asked(), ["GET /v1/events?last=1".to_owned(), stream]);
        let fake = Fake::new([reply(200, &page(&[8], "c8"))]);
        let said = run(&fake, &tail(TailArgs { newest: Some(0), ..TailArgs::default() }), false).await;
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", "more: --after c8\n"));
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
        let expected = ["limit=1000", "after=a&limit=1000", "after=b&limit=1000", "after=c&limit=1000"];
        assert_eq!(fake.asked(), expected.map(|query| format!("GET /v1/events?{query}")));
    }

    #[tokio::test]
    async fn json_is_an_event_a_line_as_it_came() {
        let pages = [page(&[1, 2], "a"), page(&[], "a")];
        let fake = Fake::new(pages.clone().map(|page| reply(200, &page)));
        let said = run(&fake, &args(Some("0"), false, None), true).await;
        assert_eq!(said.out, format!("{}\n{}\n", pages[0]["events"][0], pages[0]["events"][1]));
        assert_eq!(said.err, "more: --after a\n");
    }

    /// A stream with these events, each with the cursor behind it.
    fn frames(ids: &[u32]) -> String {
        let frame = |id: &u32| format!("id: c{id}\nevent: x\ndata: {}\n\n", page(&[*id], "")["events"][0]);
        format!("retry: 1000\n\n{}", ids.iter().map(frame).collect::<String>())
    }

    #[tokio::test]
    async fn following_comes_back_to_where_the_stream_broke_off_and_stops_at_the_limit() {
        let fake = Fake::new([
            broken(200, &frames(&[1, 2])),
            ApiReply { status: 0, ..reply(200, &Value::Null) },
            problem(503, &json!({})),
            broken(200, ":\nid: later\n\n"),
            broken(200, &frames(&[3, 4, 5])),
        ]);
        let said = run(&fake, &args(Some("a"), true, Some(4)), true).await;
        let ids: Vec<&str> = said.out.lines().filter_map(|line| line.split('"').nth(3)).collect();
        assert_eq!(ids, ["e-1", "e-2", "e-3", "e-4"]);
        assert_eq!(said.err, "more: --after c4\n");
        let asked =
            |place: &str, header: &str| format!("GET /v1/events{place} accept=text/event-stream{header}");
        let again = asked("", " last-event-id=c2");
        let last = asked("", " last-event-id=later");
        assert_eq!(fake.asked(), [asked("?after=a", ""), again.clone(), again.clone(), again, last]);
    }

    #[tokio::test]
    async fn following_ends_where_coming_back_is_refused_or_nobody_ever_answered() {
        let fake = Fake::new([broken(200, &frames(&[1])), problem(410, &json!({ "title": "gone" }))]);
        assert_eq!(run(&fake, &args(None, true, None), false).await.exit, Exit::Refused);
        let fake = Fake::new([ApiReply { status: 0, ..reply(200, &Value::Null) }]);
        assert_eq!(run(&fake, &args(None, true, None), false).await.exit, Exit::Unreachable);
    }

    #[tokio::test]
    async fn an_empty_journal_ends_at_once() {
        let fake = Fake::new([reply(200, &json!({ "events": [], "next": null }))]);
        let said = run(&fake, &args(None, false, None), false).await;
        assert_eq!((said.out.as_str(), said.err.as_str(), said.exit), ("", "", Exit::Ok));
    }
}
