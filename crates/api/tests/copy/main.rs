//! The copy of what describes the API, under `docs/api`, is what the server gives out. Where it is not, this says whether
//! clients break.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod documents;
mod findings;
mod planted;
mod schemas;

use findings::Findings;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The command that takes a new copy.
const REFRESH: &str = "cargo xtask api --write";
/// What the command sets to `write`.
const VARIABLE: &str = "WELLORDER_API_COPY";
/// The server that the AsyncAPI document of the copy names.
const HOST: &str = "127.0.0.1:3000";

type Compare = fn(&Value, &Value) -> Findings;

/// Each file of the copy, what it should hold, and how the two are compared.
fn files() -> Vec<(String, Value, Compare)> {
    let mut files: Vec<(String, Value, Compare)> = vec![
        ("openapi.json".to_owned(), api::described::openapi(), documents::openapi),
        ("asyncapi.json".to_owned(), api::described::asyncapi(HOST, false), documents::asyncapi),
    ];
    for name in api::described::event_schema_names() {
        let schema = api::described::event_schema(&name).unwrap();
        files.push((format!("events/{name}.json"), schema, documents::event));
    }
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api")
}

/// The files of the copy that there are.
fn kept() -> BTreeSet<String> {
    let list = |place: &str| {
        let entries = std::fs::read_dir(folder().join(place)).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let json = names.filter(|name| name.ends_with(".json"));
        json.map(|name| Path::new(place).join(name).display().to_string()).collect::<Vec<_>>()
    };
    [list(""), list("events")].concat().into_iter().collect()
}

/// Everything in which the copy is not what the server gives out, a line each; and whether clients break.
fn differences() -> (Vec<String>, bool) {
    let (mut lines, mut breaks) = (Vec::new(), false);
    let mut kept = kept();
    for (name, now, compare) in files() {
        if !kept.remove(&name) {
            lines.push(format!("  {name}: addition  it is new"));
            continue;
        }
        let text = std::fs::read_to_string(folder().join(&name)).unwrap();
        let copy: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = compare(&copy, &now);
        breaks |= found.any_breaks();
        lines.extend(found.0.iter().map(|finding| format!("  {name}: {finding}")));
    }
    breaks |= !kept.is_empty();
    lines.extend(kept.iter().map(|name| format!("  {name}: BREAKING  what it describes is gone")));
    (lines, breaks)
}

/// What is said of differences; nothing when there are none.
fn verdict(lines: &[String], breaks: bool) -> Option<String> {
    let lines_said = lines.join("\n");
    match (lines.is_empty(), breaks) {
        (true, _) => None,
        (false, true) => Some(format!(
            "this change BREAKS clients that were written by docs/api:\n{lines_said}\n\
             Keep what was there and add beside it. If it must be so before 1.0: say it in CHANGELOG.md under \
             \"Changed\", then take a new copy with `{REFRESH}`."
        )),
        (false, false) => Some(format!(
            "docs/api is not up to date; nothing breaks:\n{lines_said}\nRefresh the copy with `{REFRESH}`."
        )),
    }
}

fn write() {
    let events = folder().join("events");
    std::fs::create_dir_all(&events).unwrap();
    let mut kept = kept();
    for (name, now, _) in files() {
        kept.remove(&name);
        std::fs::write(folder().join(name), format!("{now:#}\n")).unwrap();
    }
    for name in kept {
        std::fs::remove_file(folder().join(name)).unwrap();
    }
}

#[test]
#[expect(clippy::print_stderr, clippy::disallowed_methods, reason = "it is a command too")]
fn the_copy_of_the_descriptions_is_what_the_server_gives_out() {
    let (lines, breaks) = differences();
    let verdict = verdict(&lines, breaks);
    if std::env::var(VARIABLE).is_ok_and(|value| value == "write") {
        write();
        eprintln!("{}", verdict.as_deref().unwrap_or("docs/api was up to date"));
        eprintln!("docs/api is written");
    } else if let Some(verdict) = verdict {
        panic!("{verdict}");
    }
}
