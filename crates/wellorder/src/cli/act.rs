//! `orders ship`, `deliver`, `withdraw`, `erase`: what happens to one order.

use axum::body::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    api_call::{ApiCall, ApiReply, encode},
    args::{DeliverArgs, EraseArgs, GetArgs, ShipArgs, WithdrawArgs},
    failure::{Exit, Failure},
    json::{list, text},
    orders::{fetch, state},
};
use crate::output::{Output, escape};

pub(super) async fn ship(api: &dyn ApiCall, args: &ShipArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let body = said([("shipped_at", &args.at), ("tracking_number", &args.tracking_number)]);
    tell(api, &args.order, "shipments", &body, out).await
}

pub(super) async fn deliver(
    api: &dyn ApiCall,
    args: &DeliverArgs,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    tell(api, &args.order, "deliveries", &said([("delivered_at", &args.at)]), out).await
}

pub(super) async fn withdraw(
    api: &dyn ApiCall,
    args: &WithdrawArgs,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    tell(api, &args.order, "withdrawals", &json!({ "reason": args.reason }), out).await
}

/// Nothing brings back what is blanked, so it is asked for twice: by the command, and by `--yes` or an answer.
pub(super) async fn erase(
    api: &dyn ApiCall,
    args: &EraseArgs,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (_, order) = fetch(api, &args.order).await?;
    let id = text(&order, "order_id");
    let question = format!("blank the personal data of order {id} for ever?");
    if !args.yes && !confirmed(&question, out)? {
        return Ok(Exit::Refused);
    }
    let (reply, erased) = post(api, &id, "erasures", &json!({})).await?;
    if out.json {
        out.json(&reply.body)?;
    } else {
        let pointers: Vec<&str> = list(&erased, "pointers").iter().filter_map(Value::as_str).collect();
        let what = match reply.headers.contains_key("idempotent-replayed") {
            true => "nothing was left to erase".to_owned(),
            false if pointers.is_empty() => "nothing personal was there".to_owned(),
            false => pointers.join(" "),
        };
        out.line(&format!("order {} erased: {}", escape(&id), escape(&what)))?;
        for place in list(&erased, "remains") {
            let named = [text(place, "where"), text(place, "name")].join(" ");
            out.line(&format!("remains: {}: {}", escape(named.trim_end()), escape(&text(place, "advice"))))?;
        }
    }
    Ok(Exit::Ok)
}

/// Asks whoever sits at the terminal.
///
/// # Errors
/// Nobody does.
pub(super) fn confirmed(question: &str, out: &mut Output<'_>) -> Result<bool, Failure> {
    match out.ask(question) {
        Some(true) => Ok(true),
        Some(false) => {
            out.note("nothing is changed");
            Ok(false)
        }
        None => {
            let what = format!("{question} There is no terminal to ask at");
            Err(Failure::here(Exit::Usage, what, "say --yes"))
        }
    }
}

/// What was said on the command line, and nothing else.
fn said<const N: usize>(members: [(&str, &Option<String>); N]) -> Value {
    let said = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
    said.collect::<Map<_, _>>().into()
}

async fn tell(
    api: &dyn ApiCall,
    order: &GetArgs,
    what: &str,
    body: &Value,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (_, order) = fetch(api, order).await?;
    let id = text(&order, "order_id");
    let (reply, order) = post(api, &id, what, body).await?;
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    let again = if reply.headers.contains_key("idempotent-replayed") { " (it was so before)" } else { "" };
    out.line(&format!("order {}: {}{again}", escape(&id), state(&order, out)))?;
    Ok(Exit::Ok)
}

async fn post(api: &dyn ApiCall, id: &str, what: &str, body: &Value) -> Result<(ApiReply, Value), Failure> {
    let path = format!("/v1/orders/{}/{what}", encode(id));
    api.call(Method::POST, &path, Some(Bytes::from(body.to_string())), &[]).await?.success()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, json as reply, problem, said};

    const ID: &str = "01920000-0000-7000-8000-000000000001";

    fn order(fulfilment: &str) -> ApiReply {
        reply(200, &json!({ "order_id": ID, "processing": "done", "fulfilment": fulfilment }))
    }

    fn named() -> GetArgs {
        GetArgs { order: ID.to_owned(), source: None }
    }

    #[tokio::test]
    async fn a_shipment_says_what_was_said_and_nothing_else() {
        let fake = Fake::new([order("unshipped"), order("shipped")]);
        let args = ShipArgs { order: named(), tracking_number: Some("1Z".to_owned()), at: None };
        let said = said(false, async |out| ship(fake.api(), &args, out).await).await;
        assert_eq!(said.out, format!("order {ID}: done, shipped\n"));
        let path = format!("/v1/orders/{ID}");
        let post = format!("POST {path}/shipments {{\"tracking_number\":\"1Z\"}}");
        assert_eq!(fake.asked(), [format!("GET {path}"), post]);
    }

    #[tokio::test]
    async fn what_was_told_before_is_told_so_and_a_refusal_is_one() {
        let mut again = order("delivered");
        again.headers.insert("idempotent-replayed", "true".parse().unwrap_or_else(|_| unreachable!()));
        let fake = Fake::new([order("shipped"), again]);
        let args = DeliverArgs { order: named(), at: Some("2026-01-01T00:00:00Z".to_owned()) };
        let result = said(false, async |out| deliver(fake.api(), &args, out).await).await;
        assert_eq!(result.out, format!("order {ID}: done, delivered (it was so before)\n"));
        assert!(fake.asked()[1].ends_with(r#"/deliveries {"delivered_at":"2026-01-01T00:00:00Z"}"#));
        let fake = Fake::new([order("shipped"), problem(409, &json!({ "title": "no" }))]);
        let args = WithdrawArgs { order: named(), reason: "late".to_owned() };
        let result = said(false, async |out| withdraw(fake.api(), &args, out).await).await;
        assert_eq!(result.exit, Exit::Refused);
    }

    #[tokio::test]
    async fn an_erasure_is_asked_for_twice() {
        let erased = || {
            reply(
                200,
                &json!({ "pointers": ["/customer", "/attributes"], "remains": [
            { "where": "follower", "name": "nd\u{1b}json", "sink": "ndjson", "advice": "blank it there" },
            { "where": "copies", "name": null, "sink": null, "advice": "delete them" },
        ] }),
            )
        };
        let args = |yes| EraseArgs { order: named(), yes };
        let fake = Fake::new([order("shipped")]);
        let result = said(false, async |out| erase(fake.api(), &args(false), out).await).await;
        assert_eq!(result.exit, Exit::Usage, "nobody can be asked");
        let fake = Fake::new([order("shipped"), erased()]);
        let result = said(false, async |out| erase(fake.api(), &args(true), out).await).await;
        let lines: Vec<&str> = result.out.lines().collect();
        let erased_line = format!("order {ID} erased: /customer /attributes");
        let remains = ["remains: follower nd\\u{1b}json: blank it there", "remains: copies: delete them"];
        assert_eq!(lines, [erased_line.as_str(), remains[0], remains[1]]);
        for (answer, asked, exit) in
            [("y\n", 2, Exit::Ok), ("no\n", 1, Exit::Refused), ("", 1, Exit::Refused)]
        {
            let answers = [order("shipped"), erased()];
            let fake = Fake::new(answers.into_iter().take(asked));
            let result = said(false, async |out| {
                out.answered_by(answer.as_bytes());
                erase(fake.api(), &args(false), out).await
            })
            .await;
            assert_eq!((result.exit, fake.asked().len()), (exit, asked), "{answer}");
            assert!(result.err.contains("for ever? [y/N] "), "{}", result.err);
        }
    }
}
