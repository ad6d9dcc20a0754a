//! `stores`: shops at marketplaces, over the API.

use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

use super::{
    api_call::{ApiCall, encode},
    args::{RegisterArgs, StoresCommand},
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Cell, Output, Style, escape};

/// Longest access token that is read, in bytes: what the API takes.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// Shows or registers stores.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &StoresCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (reply, value) = match command {
        StoresCommand::List { organization, limit, cursor } => {
            let organization = organization.as_deref().map(|name| ("organization", name));
            api.get(&paged("/v1/stores", *limit, cursor.as_deref(), organization)).await?
        }
        StoresCommand::Get { store } => api.get(&format!("/v1/stores/{}", encode(store))).await?,
        StoresCommand::Register(args) => api.post("/v1/stores", Some(&registration(args)?)).await?,
        StoresCommand::Runs { store, limit, cursor } => {
            let path = format!("/v1/stores/{}/runs", encode(store));
            api.get(&paged(&path, *limit, cursor.as_deref(), None)).await?
        }
    };
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    match command {
        StoresCommand::List { .. } => stores(&value, out)?,
        StoresCommand::Get { .. } => show(&value, out)?,
        StoresCommand::Register(_) => {
            show(&value, out)?;
            out.note("the sync token opens this store at the contract marketplace: keep it to yourself");
        }
        StoresCommand::Runs { .. } => runs(&value, out)?,
    }
    Ok(Exit::Ok)
}

/// A path with what every list may be asked for.
pub(super) fn paged(path: &str, limit: u32, after: Option<&str>, filter: Option<(&str, &str)>) -> String {
    let mut path = format!("{path}?limit={limit}");
    for (name, value) in filter.into_iter().chain(after.map(|after| ("after", after))) {
        path.push_str(&format!("&{name}={}", encode(value)));
    }
    path
}

/// Tells where the next page begins, if there is one.
pub(super) fn more(page: &Value, out: &mut Output<'_>) {
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --cursor {next}"));
    }
}

fn registration(args: &RegisterArgs) -> Result<Value, Failure> {
    Ok(json!({
        "organization": args.organization,
        "marketplace": args.marketplace,
        "external_id": args.external_id,
        "name": args.name,
        "currency": args.currency,
        "access_token": token(&args.access_token_file)?,
    }))
}

/// The text of a file, without the end of its line.
fn token(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(TOKEN_BYTES_MAX + 2).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX + 2).read_to_string(&mut text))
    };
    let path = path.display().to_string();
    if let Err(error) = read {
        let what = format!("cannot read {}: {error}", escape(&path));
        return Err(Failure::here(Exit::Usage, what, "name a file that holds the access token"));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn status(store: &Value) -> Cell {
    let status = text(store, "status");
    let style = match status.as_str() {
        "success" => Style::Good,
        "partial" => Style::Busy,
        "failed" => Style::Bad,
        _ => Style::Plain,
    };
    Cell::new(style, &status)
}

fn stores(page: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let stores = list(page, "stores");
    if stores.is_empty() {
        out.note("no stores");
        return Ok(());
    }
    let row = |store: &Value| {
        let field = |name: &str| Cell::from(text(store, name));
        let orders = Cell::from(text(&store["imports"], "success"));
        let [id, organization, place, name] = ["store_id", "organization", "marketplace", "name"].map(field);
        vec![id, organization, place, name, status(store), orders, field("last_sync_at")]
    };
    let rows: Vec<_> = stores.iter().map(row).collect();
    out.table(&["STORE", "ORGANIZATION", "MARKETPLACE", "NAME", "STATUS", "ORDERS", "LAST SYNC"], &rows)?;
    more(page, out);
    Ok(())
}

fn show(store: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let field = |name: &str| Cell::from(text(store, name));
    let count = |name: &str| Cell::from(text(&store["imports"], name));
    out.fields([
        ("store", Cell::new(Style::Bold, &text(store, "store_id"))),
        ("organization", field("organization")),
        ("marketplace", field("marketplace")),
        ("external id", field("external_id")),
        ("name", field("name")),
        ("currency", field("currency")),
        ("status", status(store)),
        ("orders", count("success")),
        ("pending", count("pending")),
        ("failed", count("failed")),
        ("rate limited", count("rate_limited")),
        ("invalid", count("invalid")),
        ("last sync", field("last_sync_at")),
        ("next sync", field("next_sync_at")),
        ("sync token", field("sync_token")),
    ])?;
    Ok(())
}

fn runs(page: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let runs = list(page, "runs");
    if runs.is_empty() {
        out.note("this store was never synced");
        return Ok(());
    }
    let names =
        ["run", "started_at", "ended_at", "processed", "success", "failed", "rate_limited", "end", "detail"];
    let row = |run: &Value| names.map(|name| Cell::from(text(run, name))).into();
    let rows: Vec<Vec<Cell>> = runs.iter().map(row).collect();
    let heading =
        ["RUN", "STARTED", "ENDED", "PROCESSED", "SUCCESS", "FAILED", "RATE LIMITED", "END", "DETAIL"];
    out.table(&heading, &rows)?;
    more(page, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, said};

    fn store() -> Value {
        json!({
            "store_id": "0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11", "organization": "org-1", "marketplace": "etsy",
            "external_id": "ext-100", "name": "My Etsy Store", "currency": "USD", "status": "partial",
            "imports": {"pending": 0, "success": 2, "failed": 0, "rate_limited": 1, "invalid": 0},
            "last_sync_at": "2026-11-20T10:00:00.000000Z", "next_sync_at": null,
        })
    }

    async fn run_one(fake: &Fake, command: StoresCommand) -> Said {
        said(false, async |out| run(fake.api(), &command, out).await).await
    }

    #[tokio::test]
    async fn stores_are_listed_and_the_next_page_is_named() {
        let fake = Fake::new([
            reply(200, &json!({ "stores": [store()], "next": "c-1" })),
            reply(200, &json!({ "stores": [], "next": null })),
        ]);
        let list = |organization: Option<&str>, cursor: Option<&str>| StoresCommand::List {
            organization: organization.map(str::to_owned),
            limit: 50,
            cursor: cursor.map(str::to_owned),
        };
        let shown = run_one(&fake, list(Some("a b"), None)).await;
        insta::assert_snapshot!(shown.out, @r"
        STORE                                 ORGANIZATION  MARKETPLACE  NAME           STATUS   ORDERS  LAST SYNC
        0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11  org-1         etsy         My Etsy Store  partial  2       2026-11-20T10:00:00.000000Z
        ");
        assert_eq!(shown.err, "more: --cursor c-1\n");
        assert_eq!(run_one(&fake, list(None, Some("c-1"))).await.err, "no stores\n");
        let asked = ["GET /v1/stores?limit=50&organization=a%20b", "GET /v1/stores?limit=50&after=c-1"];
        assert_eq!(fake.asked(), asked);
    }

    #[tokio::test]
    async fn a_store_is_registered_with_a_token_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "tok\n").unwrap();
        let mut registered = store();
        registered["sync_token"] = "6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52".into();
        let fake = Fake::new([reply(200, &registered)]);
        let shown = run_one(
            &fake,
            StoresCommand::Register(RegisterArgs {
                organization: "org-1".to_owned(),
                marketplace: "etsy".to_owned(),
                external_id: "ext-100".to_owned(),
                name: "My Etsy Store".to_owned(),
                currency: "USD".to_owned(),
                access_token_file: file.path().to_owned(),
            }),
        )
        .await;
        insta::assert_snapshot!(shown.out, @r"
        store         0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11
        organization  org-1
        marketplace   etsy
        external id   ext-100
        name          My Etsy Store
        currency      USD
        status        partial
        orders        2
        pending       0
        failed        0
        rate limited  1
        invalid       0
        last sync     2026-11-20T10:00:00.000000Z
        sync token    6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52
        ");
        let body = r#"{"organization":"org-1","marketplace":"etsy","external_id":"ext-100","name":"My Etsy Store","currency":"USD","access_token":"tok"}"#;
        assert_eq!(fake.asked(), [format!("POST /v1/stores {body}")]);
    }

    #[tokio::test]
    async fn runs_tell_what_was_done() {
        let run = json!({
            "run": 3, "started_at": "2026-11-20T10:00:00.000000Z", "ended_at": "2026-11-20T10:00:01.000000Z",
            "processed": 3, "success": 1, "failed": 1, "rate_limited": 1, "end": "done", "detail": null,
        });
        let fake = Fake::new([
            reply(200, &json!({ "runs": [run], "next": null })),
            reply(200, &json!({ "runs": [], "next": null })),
        ]);
        let runs = || StoresCommand::Runs { store: "s-1".to_owned(), limit: 50, cursor: None };
        insta::assert_snapshot!(run_one(&fake, runs()).await.out, @r"
        RUN  STARTED                      ENDED                        PROCESSED  SUCCESS  FAILED  RATE LIMITED  END   DETAIL
        3    2026-11-20T10:00:00.000000Z  2026-11-20T10:00:01.000000Z  3          1        1       1             done
        ");
        assert_eq!(run_one(&fake, runs()).await.err, "this store was never synced\n");
    }
}
