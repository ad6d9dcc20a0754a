//! `parked`: what waits for an operator.

use serde_json::Value;

use super::{
    api_call::{ApiCall, with_query},
    args::ParkedArgs,
    failure::{Exit, Failure},
    json::{list, string, text},
    orders::{money, short_time},
};
use crate::output::{Cell, Output, Style, escape};

/// A page of parked orders, each with why.
pub(super) async fn parked(
    api: &dyn ApiCall,
    args: &ParkedArgs,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let limit = args.limit.map(|limit| limit.to_string());
    let page = [("limit", limit.as_deref()), ("after", args.cursor.as_deref())];
    let source = [("source", args.source.as_deref())];
    let query = [&source[..], &args.filter.texts(), &page].concat();
    let (reply, page) = api.get(&with_query("/v1/parked", &query)).await?;
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<Cell>> = list(&page, "orders").iter().map(row).collect();
    if rows.is_empty() {
        out.note("nothing is parked");
    } else {
        out.table(&["ORDER", "SOURCE", "REFERENCE", "TOTAL", "TRIES", "SINCE", "LAST ERROR"], &rows)?;
    }
    match string(&page, "next") {
        Some(next) => out.note(&format!("more: --cursor {}", escape(next))),
        None if !rows.is_empty() => {
            let next = out.again.command("orders redrive --parked --reason '…'");
            out.note(&format!("next: {next}  # says how many, then asks"));
        }
        None => (),
    }
    Ok(Exit::Ok)
}

fn row(order: &Value) -> Vec<Cell> {
    let field = |name: &str| Cell::from(text(order, name));
    vec![
        field("order_id"),
        field("source"),
        field("reference"),
        money(order, "total").into(),
        field("attempt"),
        short_time(&text(order, "updated_at")).into(),
        Cell::new(Style::Bad, &text(order, "last_error")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::args::ParkedFilter;
    use crate::cli::fake::{Fake, json as reply, said};

    #[tokio::test]
    async fn parked_orders_with_their_reasons() {
        let order = json!({
            "order_id": "0192", "source": "api", "reference": "A-1", "currency": "EUR", "total": "5", "attempt": 3,
            "updated_at": "2026-11-20T10:00:09.000000Z", "last_error": "out of\nstock",
        });
        let fake = Fake::new([reply(200, &json!({ "orders": [order], "next": "c" }))]);
        let filter = ParkedFilter {
            error_contains: Some("out of".to_owned()),
            withdrawn: Some(false),
            ..ParkedFilter::default()
        };
        let source = Some("api".to_owned());
        let args = ParkedArgs { source, filter, limit: Some(1), cursor: None };
        let said = said(false, async |out| parked(fake.api(), &args, out).await).await;
        insta::assert_snapshot!(said.out, @r"
        ORDER  SOURCE  REFERENCE  TOTAL  TRIES  SINCE                 LAST ERROR
        0192   api     A-1        5 EUR  3      2026-11-20T10:00:09Z  out of\nstock
        ");
        assert_eq!(said.err, "more: --cursor c\n");
        assert_eq!(
            fake.asked(),
            ["GET /v1/parked?source=api&error_contains=out%20of&withdrawn=false&limit=1"]
        );
    }

    #[tokio::test]
    async fn nothing_parked_says_so() {
        let fake = Fake::new([reply(200, &json!({ "orders": [], "next": null }))]);
        let said = said(false, async |out| parked(fake.api(), &ParkedArgs::default(), out).await).await;
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", "nothing is parked\n"));
    }
}
