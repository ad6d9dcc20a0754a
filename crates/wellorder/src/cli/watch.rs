//! `orders watch`.

use std::time::Duration;

use serde_json::Value;

use super::{
    api_call::{ApiCall, encode, nothing_comes},
    args::{Until, WatchArgs},
    events::print,
    failure::{Exit, Failure},
    json::{list, string, text},
    orders::{fetch, state},
    retry,
};
use crate::output::{Output, escape};

/// How often the order is looked at.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// Events that are asked for at once.
const PAGE: u32 = 100;

/// Prints the events of an order, those to come too, until enough happened.
pub(super) async fn watch(
    api: &dyn ApiCall,
    args: &WatchArgs,
    poll: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (_, mut order) = fetch(api, &args.order).await?;
    let path = format!("/v1/orders/{}", encode(&text(&order, "order_id")));
    // Where the newest page begins, how much of it was seen, and how much in all.
    let (mut after, mut seen, mut all) = (String::new(), 0, 0_u64);
    loop {
        let page = format!("{path}/events?limit={PAGE}{after}");
        let (_, page) = retry::get(api, &page, poll, out).await?;
        let events = list(&page, "events");
        for event in events.get(seen..).unwrap_or_default() {
            print(event, out)?;
            all += 1;
        }
        seen = events.len();
        if let Some(next) = string(&page, "next") {
            (after, seen) = (format!("&after={}", encode(next)), 0);
            continue;
        }
        // An order that was read before its events may have gone on since.
        let current = order.get("version").and_then(Value::as_u64) == Some(all);
        if current && let Some(exit) = ended(&order, args.until) {
            if !out.json {
                out.note(&format!("order {}: {}", escape(&text(&order, "order_id")), state(&order, out)));
            }
            return Ok(exit);
        }
        if current && api.holds_folder() {
            return Err(nothing_comes());
        }
        if current {
            tokio::time::sleep(poll).await;
        }
        (_, order) = retry::get(api, &path, poll, out).await?;
    }
}

/// How it ends, if it does: what is parked or withdrawn goes nowhere by itself.
fn ended(order: &Value, until: Until) -> Option<Exit> {
    let is = |field: &str, words: &[&str]| string(order, field).is_some_and(|word| words.contains(&word));
    let enough = match until {
        Until::Worked => is("processing", &["done"]),
        Until::Shipped => is("fulfilment", &["shipped", "delivered"]),
        Until::Delivered => is("fulfilment", &["delivered"]),
    };
    let withdrawn = order.get("withdrawn") == Some(&Value::Bool(true)) && is("processing", &["done"]);
    match (enough, is("processing", &["parked"]) || withdrawn) {
        (true, _) => Some(Exit::Ok),
        (false, true) => Some(Exit::Refused),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::{
        api_call::ApiReply,
        args::GetArgs,
        fake::{Fake, Said, json as reply, said},
    };

    const ID: &str = "01920000-0000-7000-8000-000000000001";

    fn order(version: u32, processing: &str, fulfilment: &str) -> ApiReply {
        reply(
            200,
            &json!({ "order_id": ID, "version": version, "processing": processing, "fulfilment": fulfilment }),
        )
    }

    fn events(words: &[&str]) -> ApiReply {
        let event = |word: &&str| json!({ "order_id": "0192", "version": 1, "type": word });
        reply(200, &json!({ "events": words.iter().map(event).collect::<Vec<_>>() }))
    }

    #[tokio::test]
    async fn a_long_history_is_followed_page_by_page() {
        let first =
            json!({ "events": [{ "type": "order.accepted" }, { "type": "order.revised" }], "next": "c1" });
        let fake = Fake::new([
            order(3, "queued", "unshipped"),
            reply(200, &first),
            events(&["order.revised"]),
            order(4, "done", "unshipped"),
            events(&["order.revised", "order.processed"]),
        ]);
        let said = run(&fake, Until::Worked).await;
        assert_eq!(said.out.lines().count(), 4, "{}", said.out);
        assert!(said.out.lines().last().is_some_and(|line| line.contains("order.processed")), "{}", said.out);
        assert_eq!(said.exit, Exit::Ok);
        assert_eq!(fake.asked().len(), 5);
    }

    async fn run(fake: &Fake, until: Until) -> Said {
        let args = WatchArgs { order: GetArgs { order: ID.to_owned(), source: None }, until };
        said(true, async |out| watch(fake.api(), &args, Duration::ZERO, out).await).await
    }

    #[tokio::test]
    async fn each_event_is_printed_once_until_the_work_ends() {
        let fake = Fake::new([
            order(1, "running", "unshipped"),
            events(&["order.accepted"]),
            order(2, "done", "unshipped"),
            events(&["order.accepted", "order.processed"]),
        ]);
        let said = run(&fake, Until::Worked).await;
        let types: Vec<&str> = said.out.lines().filter_map(|line| line.split('"').nth(9)).collect();
        assert_eq!(types, ["order.accepted", "order.processed"], "{}", said.out);
        assert_eq!(said.exit, Exit::Ok);
        assert_eq!(fake.asked().len(), 4);
    }

    #[tokio::test]
    async fn what_goes_nowhere_ends_it_with_a_code() {
        let fake = Fake::new([order(1, "parked", "unshipped"), events(&["order.parked"])]);
        assert_eq!(run(&fake, Until::Delivered).await.exit, Exit::Refused);
        let fake = Fake::new([order(1, "parked", "delivered"), events(&["order.delivered"])]);
        assert_eq!(run(&fake, Until::Delivered).await.exit, Exit::Ok);
    }
}
