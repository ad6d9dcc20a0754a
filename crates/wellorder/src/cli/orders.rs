//! `orders get` and `orders list`.

use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::{
    api_call::{ApiCall, ApiReply, encode, with_query},
    args::{GetArgs, ListArgs, Processing},
    failure::{Exit, Failure},
    json::{list as items, string, text},
};
use crate::output::{Cell, Output, Style, escape};

/// Shows one order.
pub(super) async fn get(api: &dyn ApiCall, args: &GetArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let (reply, order) = fetch(api, args).await?;
    if out.json {
        out.json(&reply.body)?;
    } else {
        show(&order, out)?;
    }
    Ok(Exit::Ok)
}

/// One order, by id or by reference. What looks like an id and is none may still be somebody's reference.
pub(super) async fn fetch(api: &dyn ApiCall, args: &GetArgs) -> Result<(ApiReply, Value), Failure> {
    let by_id = if args.source.is_none() && Uuid::try_parse(&args.order).is_ok() {
        Some(api.call(Method::GET, &address(&args.order), None, &[]).await?)
    } else {
        None
    };
    match by_id {
        Some(reply) if reply.status != 404 => reply.success(),
        missed => match find(api, args).await? {
            Some(id) => api.get(&address(&id)).await,
            None => Err(not_found(api, missed, args).await),
        },
    }
}

fn address(order_id: &str) -> String {
    format!("/v1/orders/{}", encode(order_id))
}

/// The id of the order with that reference.
pub(super) async fn find(api: &dyn ApiCall, args: &GetArgs) -> Result<Option<String>, Failure> {
    let query = [("reference", Some(args.order.as_str())), ("source", args.source.as_deref())];
    let (_, page) = api.get(&with_query("/v1/orders", &query)).await?;
    Ok(items(&page, "orders").first().map(|order| text(order, "order_id")))
}

/// That there is no such order; and where there is one, if its reference came from elsewhere.
pub(super) async fn not_found(api: &dyn ApiCall, by_id: Option<ApiReply>, args: &GetArgs) -> Failure {
    let elsewhere = elsewhere(api, args).await;
    let source = args.source.as_deref().unwrap_or("api");
    let what = format!("there is no order with the reference {} of source {source}", args.order);
    let fix = match (by_id, elsewhere.as_slice()) {
        (Some(reply), []) => return reply.into(),
        (None, []) => {
            return Failure::here(Exit::NotFound, what, "`wellorder orders list` lists all");
        }
        (_, sources) => format!("there is one of {}: say --source {}", sources.join(", "), sources[0]),
    };
    Failure::here(Exit::NotFound, what, fix)
}

/// The other sources that have an order with this reference, as far as one page tells.
async fn elsewhere(api: &dyn ApiCall, args: &GetArgs) -> Vec<String> {
    let query = [("q", Some(args.order.as_str())), ("limit", Some("200"))];
    // What was asked for is not there, whatever comes of this.
    let Ok((_, page)) = api.get(&with_query("/v1/orders", &query)).await else { return Vec::new() };
    let same = items(&page, "orders").iter().filter(|order| text(order, "reference") == args.order);
    let mut sources: Vec<String> = same.map(|order| text(order, "source")).collect();
    sources.sort();
    sources.dedup();
    sources
}

/// A page of orders.
pub(super) async fn list(api: &dyn ApiCall, args: &ListArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let limit = args.limit.map(|limit| limit.to_string());
    let query = [
        ("processing", args.processing.map(Processing::word)),
        ("source", args.source.as_deref()),
        ("reference", args.reference.as_deref()),
        ("q", args.search.as_deref()),
        ("customer", args.customer.as_deref()),
        ("accepted_from", args.accepted_from.as_deref()),
        ("accepted_to", args.accepted_to.as_deref()),
        ("limit", limit.as_deref()),
        ("after", args.cursor.as_deref()),
    ];
    let (reply, page) = api.get(&with_query("/v1/orders", &query)).await?;
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    let orders = items(&page, "orders");
    let rows: Vec<Vec<Cell>> = orders.iter().map(row).collect();
    if rows.is_empty() {
        out.note("no orders");
    } else {
        out.table(
            &["ORDER", "SOURCE", "REFERENCE", "CUSTOMER", "TOTAL", "STATE", "TRIES", "ACCEPTED"],
            &rows,
        )?;
    }
    if let Some(next) = string(&page, "next") {
        out.note(&format!("more: --cursor {}", escape(next)));
    }
    Ok(Exit::Ok)
}

fn row(order: &Value) -> Vec<Cell> {
    let (style, state) = state_of(order);
    vec![
        text(order, "order_id").into(),
        text(order, "source").into(),
        text(order, "reference").into(),
        text(order, "customer").into(),
        money(order, "total").into(),
        Cell::new(style, &state),
        text(order, "attempt").into(),
        short_time(&text(order, "accepted_at")).into(),
    ]
}

pub(super) fn money(order: &Value, field: &str) -> String {
    format!("{} {}", text(order, field), text(order, "currency")).trim().to_owned()
}

/// Up to the second, which is as much as one reads.
pub(super) fn short_time(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) if fraction.ends_with('Z') => format!("{seconds}Z"),
        _ => time.to_owned(),
    }
}

/// Both axes in as few words as possible: fulfilment is named once it has begun.
fn state_of(order: &Value) -> (Style, String) {
    let processing = text(order, "processing");
    let style = match processing.as_str() {
        "done" => Style::Good,
        "parked" => Style::Bad,
        "queued" | "running" => Style::Busy,
        _ => Style::Plain,
    };
    let mut state = processing;
    match string(order, "fulfilment") {
        None | Some("unshipped") => (),
        Some(fulfilment) => state = format!("{state}, {fulfilment}"),
    }
    if order.get("withdrawn") == Some(&Value::Bool(true)) {
        return (Style::Dim, format!("{state}, withdrawn"));
    }
    (style, state)
}

/// The state as it is shown in a line of text.
pub(super) fn state(order: &Value, out: &Output<'_>) -> String {
    let (style, state) = state_of(order);
    out.paint(style, &state)
}

/// All of an order.
fn show(order: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let (style, state) = state_of(order);
    let field = |name: &str| text(order, name);
    let rows = [
        ("order", Cell::new(Style::Bold, &field("order_id"))),
        ("number", field("number").into()),
        ("source", field("source").into()),
        ("reference", field("reference").into()),
        ("customer", field("customer").into()),
        ("total", money(order, "total").into()),
        ("state", Cell::new(style, &state)),
        ("attempts", field("attempt").into()),
        ("last error", Cell::new(Style::Bad, &field("last_error"))),
        ("version", field("version").into()),
        ("accepted", field("accepted_at").into()),
        ("updated", field("updated_at").into()),
        ("processed", field("processed_at").into()),
        ("shipped", field("shipped_at").into()),
        ("tracking", field("tracking_number").into()),
        ("delivered", field("delivered_at").into()),
        ("attributes", attributes(order).into()),
    ];
    out.fields(rows)?;
    let lines = items(order, "lines");
    if !lines.is_empty() {
        out.line("")?;
        let rows: Vec<Vec<Cell>> = lines
            .iter()
            .map(|line| {
                ["sku", "name", "quantity", "unit_price", "amount"].map(|name| text(line, name).into()).into()
            })
            .collect();
        out.table(&["SKU", "NAME", "QUANTITY", "PRICE", "AMOUNT"], &rows)?;
    }
    Ok(())
}

fn attributes(order: &Value) -> String {
    match order.get("attributes") {
        Some(Value::Object(attributes)) if !attributes.is_empty() => text(order, "attributes"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::cli::fake::{Fake, json as reply, problem, said};

    const ID: &str = "01920000-0000-7000-8000-000000000001";

    fn order() -> Value {
        json!({
            "order_id": ID, "number": 17, "source": "api", "reference": "A-1001\u{1b}[2J", "customer": "c-42",
            "currency": "EUR", "total": "19.90", "attributes": {"gift": true}, "version": 3,
            "lines": [{"sku": "tea", "name": "Green tea", "quantity": 2, "unit_price": "9.95", "amount": "19.90"}],
            "processing": "parked", "fulfilment": "unshipped", "withdrawn": false, "attempt": 3,
            "last_error": "503 Service Unavailable", "accepted_at": "2026-11-20T10:00:00.123456Z",
            "updated_at": "2026-11-20T10:00:09.000000Z", "processed_at": null,
            "shipped_at": "2026-11-21T10:00:00.000000Z", "tracking_number": "T-1", "delivered_at": null,
        })
    }

    fn args(order: &str, source: Option<&str>) -> GetArgs {
        GetArgs { order: order.to_owned(), source: source.map(str::to_owned) }
    }

    fn missing() -> ApiReply {
        problem(404, &json!({ "title": "Not found", "status": 404 }))
    }

    #[tokio::test]
    async fn an_order_by_its_id() {
        let fake = Fake::new([reply(200, &order())]);
        let said = said(false, async |out| get(fake.api(), &args(ID, None), out).await).await;
        insta::assert_snapshot!(said.out, @r#"
        order       01920000-0000-7000-8000-000000000001
        number      17
        source      api
        reference   A-1001\u{1b}[2J
        customer    c-42
        total       19.90 EUR
        state       parked
        attempts    3
        last error  503 Service Unavailable
        version     3
        accepted    2026-11-20T10:00:00.123456Z
        updated     2026-11-20T10:00:09.000000Z
        shipped     2026-11-21T10:00:00.000000Z
        tracking    T-1
        attributes  {"gift":true}

        SKU  NAME       QUANTITY  PRICE  AMOUNT
        tea  Green tea  2         9.95   19.90
        "#);
        assert_eq!(fake.asked(), [format!("GET /v1/orders/{ID}")]);
    }

    #[tokio::test]
    async fn an_order_by_its_reference() {
        let fake = Fake::new([reply(200, &json!({ "orders": [order()] })), reply(200, &order())]);
        let said = said(true, async |out| get(fake.api(), &args("A 1", Some("shop")), out).await).await;
        assert_eq!(said.out, format!("{}\n", order()), "JSON as it came");
        let expected =
            ["GET /v1/orders?reference=A%201&source=shop".to_owned(), format!("GET /v1/orders/{ID}")];
        assert_eq!(fake.asked(), expected);
    }

    #[tokio::test]
    async fn a_reference_that_looks_like_an_id() {
        let other = "01920000-0000-7000-8000-000000000002";
        let page = json!({ "orders": [order()] });
        let fake = Fake::new([missing(), reply(200, &page), reply(200, &order())]);
        let found = said(false, async |out| get(fake.api(), &args(other, None), out).await).await;
        assert_eq!(found.exit, Exit::Ok);
        assert_eq!(fake.asked()[1], format!("GET /v1/orders?reference={other}"));
    }

    #[tokio::test]
    async fn an_order_that_is_not_there() {
        let none = || reply(200, &json!({ "orders": [], "next": null }));
        let fake = Fake::new([missing(), none(), none()]);
        let result = said(false, async |out| get(fake.api(), &args(ID, None), out).await).await;
        assert_eq!(result.exit, Exit::NotFound);
        let other = |source: &str, reference: &str| json!({ "source": source, "reference": reference });
        let near = reply(
            200,
            &json!({ "orders": [other("web", "A-1"), other("x", "A-10"), other("shop", "A-1")], "next": "c" }),
        );
        let fake = Fake::new([none(), near]);
        let missed =
            get(fake.api(), &args("A-1", None), &mut Output::to(Vec::new(), Vec::new(), false)).await;
        let Err(Failure::Here { exit, what, fix }) = missed else { panic!("{missed:?}") };
        assert_eq!(
            (exit, what.as_str()),
            (Exit::NotFound, "there is no order with the reference A-1 of source api")
        );
        assert_eq!(fix, "there is one of shop, web: say --source shop");
        assert_eq!(fake.asked()[1], "GET /v1/orders?q=A-1&limit=200");
    }

    #[tokio::test]
    async fn a_list_with_all_its_filters() {
        let mut done = order();
        done["processing"] = "done".into();
        done["fulfilment"] = "shipped".into();
        done["reference"] = Value::Null;
        let fake = Fake::new([reply(200, &json!({ "orders": [order(), done], "next": "c/1" }))]);
        let args = ListArgs {
            processing: Some(Processing::Parked),
            source: Some("api".to_owned()),
            reference: Some("A&B".to_owned()),
            limit: Some(2),
            cursor: Some("c 0".to_owned()),
            customer: Some("c".to_owned()),
            ..ListArgs::default()
        };
        let said = said(false, async |out| list(fake.api(), &args, out).await).await;
        insta::assert_snapshot!(said.out, @r"
        ORDER                                 SOURCE  REFERENCE        CUSTOMER  TOTAL      STATE          TRIES  ACCEPTED
        01920000-0000-7000-8000-000000000001  api     A-1001\u{1b}[2J  c-42      19.90 EUR  parked         3      2026-11-20T10:00:00Z
        01920000-0000-7000-8000-000000000001  api                      c-42      19.90 EUR  done, shipped  3      2026-11-20T10:00:00Z
        ");
        assert_eq!(said.err, "more: --cursor c/1\n");
        let query = "processing=parked&source=api&reference=A%26B&customer=c&limit=2&after=c%200";
        assert_eq!(fake.asked(), [format!("GET /v1/orders?{query}")]);
    }

    #[tokio::test]
    async fn an_empty_list_says_so() {
        let fake = Fake::new([reply(200, &json!({ "orders": [], "next": null }))]);
        let said = said(false, async |out| list(fake.api(), &ListArgs::default(), out).await).await;
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", "no orders\n"));
        assert_eq!(fake.asked(), ["GET /v1/orders"]);
    }

    #[test]
    fn a_withdrawn_order_is_dim_whatever_else_it_is() {
        let order = json!({ "processing": "done", "fulfilment": "delivered", "withdrawn": true });
        assert_eq!(state_of(&order), (Style::Dim, "done, delivered, withdrawn".to_owned()));
    }
}
