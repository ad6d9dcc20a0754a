//! `orders export`.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use uuid::Uuid;

use super::{
    api_call::{ApiCall, with_query},
    args::ExportArgs,
    failure::{Exit, Failure},
    json::{list, string},
    retry::Patience,
    shown,
};
use crate::output::{Output, escape};

const PAGE: &str = "200";

/// Writes every order that changed since then, as it is now, a line each. One that changes meanwhile comes again, newer.
pub(super) async fn export(
    api: &dyn ApiCall,
    args: &ExportArgs,
    pause: Duration,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let path = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let mut file = path.map(|path| create(path, args.force)).transpose()?;
    let mut since = args.updated_since.clone();
    let (mut written, mut told, mut patience) = (0_u64, Told::default(), Patience::new(pause));
    loop {
        let query = [
            ("updated_since", Some(since.as_str())),
            ("source", args.source.as_deref()),
            ("processing", args.processing.map(super::args::Processing::word)),
            ("limit", Some(PAGE)),
        ];
        let page = match api.get(&with_query("/v1/orders", &query)).await {
            Ok((_, page)) => page,
            // Nothing of it was written, so the page is simply asked for again.
            Err(failure) => {
                patience.after(failure, out).await?;
                continue;
            }
        };
        patience.progressed();
        for order in list(&page, "orders") {
            // An order stands at each of its changes, as it is now: once is enough.
            if !told.is_news(order) {
                continue;
            }
            match (&mut file, path) {
                (Some(file), Some(path)) => {
                    writeln!(file, "{order}").map_err(|error| unwritable(path, &error))?
                }
                _ => out.json(order.to_string().as_bytes())?,
            }
            written += 1;
        }
        if file.is_some() {
            out.progress(&format!("{} orders", told.orders()));
        }
        since = string(&page, "next").unwrap_or(&since).to_owned();
        if page.get("up_to_date") != Some(&Value::Bool(false)) {
            break;
        }
    }
    if let (Some(file), Some(path)) = (&mut file, path) {
        file.flush().map_err(|error| unwritable(path, &error))?;
        out.progress("");
    }
    // What changed meanwhile stands twice.
    let (orders, again) = (told.orders(), written - told.orders());
    let lines = if again > 0 {
        format!(" in {written} lines (some changed meanwhile: the last is good)")
    } else {
        String::new()
    };
    out.note(&format!(
        "{orders} orders{lines}; what changes from now on: --updated-since {}",
        escape(&since)
    ));
    Ok(Exit::Ok)
}

/// What was written: of each order its latest version, and how many have no id to be known by.
#[derive(Default)]
struct Told {
    versions: HashMap<Uuid, u64>,
    nameless: u64,
}

impl Told {
    /// Whether this version of an order was not written yet; notes it.
    fn is_news(&mut self, order: &Value) -> bool {
        let id = string(order, "order_id").and_then(|id| Uuid::try_parse(id).ok());
        let version = order.get("version").and_then(Value::as_u64);
        let (Some(id), Some(version)) = (id, version) else {
            self.nameless += 1;
            return true;
        };
        self.versions.insert(id, version).is_none_or(|before| before < version)
    }

    /// Different orders among them.
    fn orders(&self) -> u64 {
        self.versions.len() as u64 + self.nameless
    }
}

/// A file that is there may be the only export of its time. A pipe or a device loses nothing.
fn create(path: &Path, force: bool) -> Result<BufWriter<File>, Failure> {
    let loses = !force && std::fs::metadata(path).is_ok_and(|found| found.is_file());
    if loses {
        let what = format!("{} is there already", shown(path));
        return Err(Failure::here(Exit::Refused, what, "name a new file, or write over it with --force"));
    }
    File::create(path).map(BufWriter::new).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("cannot write {}: {error}", shown(path));
    Failure::here(Exit::Fault, what, "name a file that can be written")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::cli::fake::{Fake, json as reply, problem, said};

    fn page(totals: &[&str], next: &str, up_to_date: bool) -> crate::cli::api_call::ApiReply {
        let orders: Vec<Value> = totals.iter().map(|total| json!({ "total": total })).collect();
        reply(200, &json!({ "orders": orders, "next": next, "up_to_date": up_to_date }))
    }

    #[tokio::test]
    async fn pages_become_lines_and_a_server_that_is_away_for_a_moment_is_asked_again() {
        let unavailable = problem(503, &json!({ "title": "busy" }));
        let fake = Fake::new([
            page(&["1", "2"], "a", false),
            unavailable,
            page(&[], "b", false),
            page(&["3"], "c", true),
        ]);
        let args = ExportArgs { updated_since: "beginning".to_owned(), ..ExportArgs::default() };
        let said = said(false, async |out| export(fake.api(), &args, Duration::ZERO, out).await).await;
        assert_eq!(said.out, "{\"total\":\"1\"}\n{\"total\":\"2\"}\n{\"total\":\"3\"}\n");
        assert!(
            said.err.ends_with("3 orders; what changes from now on: --updated-since c\n"),
            "{}",
            said.err
        );
        let since: Vec<String> = fake.asked();
        let expected = ["beginning", "a", "a", "b"];
        assert_eq!(since, expected.map(|since| format!("GET /v1/orders?updated_since={since}&limit=200")));
    }

    #[test]
    fn an_order_is_written_again_only_when_it_has_changed() {
        let mut told = Told::default();
        let order =
            |version: u64| json!({ "order_id": "01920000-0000-7000-8000-000000000001", "version": version });
        assert_eq!([1, 1, 3, 3].map(|version| told.is_news(&order(version))), [true, false, true, false]);
        assert_eq!(told.orders(), 1, "lines are not counted");
    }

    #[tokio::test]
    async fn a_dash_is_standard_output_and_orders_are_counted_not_lines() {
        let order =
            |version: u64| json!({ "order_id": "01920000-0000-7000-8000-000000000001", "version": version });
        let pages = [(1, "a", false), (2, "b", true)].map(|(version, next, up_to_date)| {
            reply(200, &json!({ "orders": [order(version)], "next": next, "up_to_date": up_to_date }))
        });
        let args =
            ExportArgs { file: Some("-".into()), updated_since: "x".to_owned(), ..ExportArgs::default() };
        let fake = Fake::new(pages);
        let said = said(false, async |out| export(fake.api(), &args, Duration::ZERO, out).await).await;
        assert_eq!((said.exit, said.out.lines().count()), (Exit::Ok, 2), "{}", said.err);
        assert!(said.err.starts_with("1 orders in 2 lines (some changed meanwhile"), "{}", said.err);
        assert!(!Path::new("-").exists());
    }

    #[tokio::test]
    async fn a_file_holds_the_same_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let args =
            ExportArgs { file: Some(path.clone()), updated_since: "x".to_owned(), ..ExportArgs::default() };
        let fake = Fake::new([page(&["1"], "a", true)]);
        let result = said(false, async |out| export(fake.api(), &args, Duration::ZERO, out).await).await;
        assert_eq!((result.out.as_str(), result.exit), ("", Exit::Ok));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"total\":\"1\"}\n");
        let result =
            said(false, async |out| export(Fake::new([]).api(), &args, Duration::ZERO, out).await).await;
        assert_eq!(result.exit, Exit::Refused, "never over another file: {}", result.err);
        assert!(result.why.contains("--force"), "{}", result.why);
        let fake = Fake::new([page(&["2"], "a", true)]);
        let args = ExportArgs { force: true, ..args };
        let result = said(false, async |out| export(fake.api(), &args, Duration::ZERO, out).await).await;
        assert_eq!(result.exit, Exit::Ok);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"total\":\"2\"}\n");
        let args = ExportArgs { file: Some(folder.path().to_owned()), ..ExportArgs::default() };
        let result = said(false, async |out| export(Fake::new([]).api(), &args, Duration::ZERO, out).await);
        assert_eq!(result.await.exit, Exit::Fault);
    }
}
