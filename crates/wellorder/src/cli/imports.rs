//! `imports`: orders fetched from stores, over the API.

use serde_json::{Value, json};

use super::{
    api_call::{ApiCall, encode},
    args::ImportsCommand,
    failure::{Exit, Failure},
    json::{list, text},
    stores::{more, paged},
};
use crate::output::{Cell, Output, Style, escape};

/// Shows imports, or has some done.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &ImportsCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (reply, value) = match command {
        ImportsCommand::List { store, state, limit, cursor } => {
            let path = paged("/v1/imports", *limit, cursor.as_deref(), Some(("store_id", store)));
            let state = state.as_ref().map(|state| format!("&state={state}")).unwrap_or_default();
            api.get(&format!("{path}{state}")).await?
        }
        ImportsCommand::Find { receipt } => {
            api.get(&format!("/v1/imports?receipt={}", encode(receipt))).await?
        }
        ImportsCommand::Run { receipt, store } => {
            api.post_patiently("/v1/imports", Some(&json!({ "store_id": store, "receipt": receipt }))).await?
        }
        ImportsCommand::Retry { receipt, store, now } => {
            let store = match store {
                Some(store) => store.clone(),
                None => only_store(api, receipt).await?,
            };
            let path = format!("/v1/imports/{}/{}/retry", encode(&store), encode(receipt));
            api.post(&path, Some(&json!({ "now": now }))).await?
        }
    };
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    match command {
        ImportsCommand::List { .. } => table(&value, "no imports", out)?,
        ImportsCommand::Find { receipt } => {
            table(&value, &format!("no store has the receipt {}", escape(receipt)), out)?;
            if list(&value, "imports").is_empty() {
                return Ok(Exit::NotFound);
            }
        }
        ImportsCommand::Run { .. } => show(&value, out)?,
        ImportsCommand::Retry { now, .. } => {
            show(&value, out)?;
            // What was invalid is due in any case.
            let due = *now || text(&value, "error") == "invalid_receipt";
            if due && text(&value, "state") != "success" {
                out.note("it is imported by the next sync of its store: wellorder sync --once");
            }
        }
    }
    Ok(Exit::Ok)
}

/// The store that has a receipt, if only one does.
async fn only_store(api: &dyn ApiCall, receipt: &str) -> Result<String, Failure> {
    let (_, found) = api.get(&format!("/v1/imports?receipt={}", encode(receipt))).await?;
    let shown = escape(receipt).into_owned();
    match list(&found, "imports") {
        [] => {
            let fix = "import it first: wellorder imports run RECEIPT --store ID";
            Err(Failure::here(Exit::NotFound, format!("no store has the receipt {shown}"), fix))
        }
        [import] => Ok(text(import, "store_id")),
        several => {
            let stores: Vec<String> = several.iter().map(|import| text(import, "store_id")).collect();
            let what = format!("{} stores have the receipt {shown}: {}", stores.len(), stores.join(", "));
            Err(Failure::here(Exit::Usage, what, "name one with --store"))
        }
    }
}

fn state(import: &Value) -> Cell {
    let state = text(import, "state");
    let style = match state.as_str() {
        "success" => Style::Good,
        "pending" | "rate_limited" => Style::Busy,
        _ => Style::Bad,
    };
    Cell::new(style, &state)
}

fn table(page: &Value, nothing: &str, out: &mut Output<'_>) -> Result<(), Failure> {
    let imports = list(page, "imports");
    if imports.is_empty() {
        out.note(nothing);
        return Ok(());
    }
    let row = |import: &Value| {
        let field = |name: &str| Cell::from(text(import, name));
        let [receipt, store, attempt, due, order, error] =
            ["receipt", "store_id", "attempt", "due_at", "order_id", "error"].map(field);
        vec![receipt, store, state(import), attempt, due, order, error]
    };
    let rows: Vec<_> = imports.iter().map(row).collect();
    out.table(&["RECEIPT", "STORE", "STATE", "ATTEMPTS", "DUE", "ORDER", "ERROR"], &rows)?;
    more(page, out);
    Ok(())
}

fn show(import: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let field = |name: &str| Cell::from(text(import, name));
    out.fields([
        ("receipt", Cell::new(Style::Bold, &text(import, "receipt"))),
        ("store", field("store_id")),
        ("state", state(import)),
        ("attempts", field("attempt")),
        ("due", field("due_at")),
        ("order", field("order_id")),
        ("there", field("external_order_id")),
        ("amount", field("amount")),
        ("currency", field("currency")),
        ("imported", field("imported_at")),
        ("error", Cell::new(Style::Bad, &text(import, "error"))),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, said};

    fn import(store: &str, state: &str) -> Value {
        json!({
            "store_id": store, "receipt": "RL15", "state": state, "attempt": 1, "due_at": "2026-11-20T10:05:00.000000Z",
            "order_id": null, "external_order_id": null, "amount": null, "currency": null, "imported_at": null,
            "error": "rate_limited",
        })
    }

    fn page(imports: &[Value]) -> Value {
        json!({ "imports": imports, "next": null })
    }

    async fn run_one(fake: &Fake, command: ImportsCommand) -> Said {
        said(false, async |out| run(fake.api(), &command, out).await).await
    }

    fn retry(store: Option<&str>) -> ImportsCommand {
        ImportsCommand::Retry { receipt: "RL15".to_owned(), store: store.map(str::to_owned), now: true }
    }

    #[tokio::test]
    async fn a_receipt_is_found_wherever_it_is() {
        let found = page(&[import("s-1", "rate_limited"), import("s-2", "failed")]);
        let fake = Fake::new([reply(200, &found), reply(200, &page(&[]))]);
        let find = || ImportsCommand::Find { receipt: "RL/15".to_owned() };
        insta::assert_snapshot!(run_one(&fake, find()).await.out, @r"
        RECEIPT  STORE  STATE         ATTEMPTS  DUE                          ORDER  ERROR
        RL15     s-1    rate_limited  1         2026-11-20T10:05:00.000000Z         rate_limited
        RL15     s-2    failed        1         2026-11-20T10:05:00.000000Z         rate_limited
        ");
        let nowhere = run_one(&fake, find()).await;
        assert_eq!(nowhere.err, "no store has the receipt RL/15\n");
        assert_eq!(fake.asked()[0], "GET /v1/imports?receipt=RL%2F15");
    }

    #[tokio::test]
    async fn a_receipt_is_tried_again_in_the_one_store_that_has_it() {
        let again = import("s-1", "rate_limited");
        let fake = Fake::new([reply(200, &page(&[import("s-1", "rate_limited")])), reply(200, &again)]);
        let said = run_one(&fake, retry(None)).await;
        assert!(said.out.contains("rate_limited"), "{}", said.out);
        assert_eq!(said.err, "it is imported by the next sync of its store: wellorder sync --once\n");
        let asked = ["GET /v1/imports?receipt=RL15", "POST /v1/imports/s-1/RL15/retry {\"now\":true}"];
        assert_eq!(fake.asked(), asked);
    }

    #[tokio::test]
    async fn what_keeps_its_time_is_not_said_to_be_due() {
        for (error, due) in [("rate_limited", false), ("invalid_receipt", true)] {
            let mut kept = import("s-1", "failed");
            kept["error"] = error.into();
            let fake = Fake::new([reply(200, &kept)]);
            let store = Some("s-1".to_owned());
            let retry = ImportsCommand::Retry { receipt: "RL15".to_owned(), store, now: false };
            assert_eq!(run_one(&fake, retry).await.err.contains("next sync"), due, "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_imported_at_once_may_take_its_time() {
        let fake = Fake::new([reply(200, &import("s-1", "rate_limited"))]);
        let run = ImportsCommand::Run { receipt: "RL15".to_owned(), store: "s-1".to_owned() };
        assert_eq!(run_one(&fake, run).await.exit, Exit::Ok);
        assert_eq!(fake.asked(), ["POST /v1/imports {\"store_id\":\"s-1\",\"receipt\":\"RL15\"} patiently"]);
    }

    #[tokio::test]
    async fn of_several_stores_one_is_to_be_named() {
        let both = page(&[import("s-1", "failed"), import("s-2", "failed")]);
        let fake =
            Fake::new([reply(200, &both), reply(200, &page(&[])), reply(200, &import("s-2", "pending"))]);
        let several = run_one(&fake, retry(None)).await;
        assert!(several.why.contains("s-1, s-2") && several.why.contains("--store"), "{}", several.why);
        assert!(run_one(&fake, retry(None)).await.why.contains("no store has the receipt RL15"));
        run_one(&fake, retry(Some("s-2"))).await;
        assert_eq!(fake.asked()[2], "POST /v1/imports/s-2/RL15/retry {\"now\":true}");
    }
}
