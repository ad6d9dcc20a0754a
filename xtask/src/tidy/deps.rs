//! Who may depend on whom: arrows point to `order-core` only, an adapter never sees another adapter, only the
//! binary sees all; and a driver stays in the one crate that exists to hold it.

use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike};

use super::{Finding, Text};

const CORE: &str = "order-core";
const BINARY: &str = "wellorder";
const TEST_ONLY: &str = "testkit";
const TOOLS: &str = "xtask";
/// Looks into every crate, and is looked into by none.
const FUZZ: &str = "fuzz";

/// What the domain must not know: HTTP, SQL, brokers, clients, ambient randomness.
const CORE_DENIED: &[&str] = &[
    "axum",
    "hyper",
    "hyper-util",
    "http",
    "http-body-util",
    "tower",
    "tower-http",
    "tonic",
    "utoipa",
    "reqwest",
    "ureq",
    "rusqlite",
    "tokio-postgres",
    "deadpool-postgres",
    "sqlx",
    "rdkafka",
    "lapin",
    "redis",
    "rand",
    "rand_core",
    "fastrand",
    "getrandom",
    "clap",
    "anyhow",
    "rustix",
    "metrics",
    "tracing-subscriber",
];

/// A dependency that exactly these crates exist to hold.
const HELD_BY: &[(&str, &[&str])] = &[
    ("reqwest", &["outbound"]),
    ("rusqlite", &["storage-sqlite"]),
    ("tokio-postgres", &["storage-postgres"]),
    ("deadpool-postgres", &["storage-postgres"]),
    ("rdkafka", &["sink-kafka"]),
    ("lapin", &["sink-rabbitmq"]),
    ("redis", &["redis-kv"]),
];

/// Plumbing shared by the crates that speak HTTP inward; an adapter of anything else does not see it.
const PLUMBING: (&str, &[&str]) = ("edge", &["api", "auth", "contracts", "console"]);

struct Dependency {
    name: String,
    dev: bool,
    line: usize,
}

struct Crate<'a> {
    path: &'a Path,
    name: String,
    dependencies: Vec<Dependency>,
}

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut crates = Vec::new();
    for text in texts.iter().filter(|text| is_member_manifest(&text.path)) {
        match read(text) {
            Ok(found) => crates.push(found),
            Err(fault) => findings.push(Finding::new(&text.path, 1, "manifest", fault)),
        }
    }
    let members: Vec<String> = crates.iter().map(|found| found.name.clone()).collect();
    for found in &crates {
        for dependency in &found.dependencies {
            for (rule, note) in refusals(&found.name, dependency, &members) {
                findings.push(Finding::new(found.path, dependency.line, rule, note));
            }
        }
    }
    findings
}

fn is_member_manifest(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    matches!(parts[..], ["crates", _, "Cargo.toml"] | [TOOLS | FUZZ, "Cargo.toml"])
}

/// Every rule that one arrow breaks.
fn refusals(from: &str, to: &Dependency, members: &[String]) -> Vec<(&'static str, String)> {
    let mut refusals = Vec::new();
    let name = to.name.as_str();
    if members.iter().any(|member| member == name) && !arrow_allowed(from, name, to.dev) {
        let note =
            format!("{from} must not depend on {name}: arrows point to {CORE}, only {BINARY} sees all");
        refusals.push(("dependency", note));
    }
    if from == CORE && !to.dev && CORE_DENIED.contains(&name) {
        refusals.push((
            "core-purity",
            format!("{CORE} knows no HTTP, SQL, broker, client or randomness: {name}"),
        ));
    }
    let holders = HELD_BY.iter().find(|(held, _)| *held == name).map(|(_, holders)| *holders);
    if let Some(holders) = holders.filter(|holders| !to.dev && !holders.contains(&from)) {
        refusals.push(("held-dependency", format!("{name} belongs to {} alone", holders.join(", "))));
    }
    refusals
}

fn arrow_allowed(from: &str, to: &str, dev: bool) -> bool {
    match (from, to) {
        (TOOLS, _) | (_, TOOLS | FUZZ) => false,
        (FUZZ, _) => true,
        (_, BINARY) => false,
        (_, TEST_ONLY) => dev && from != TEST_ONLY,
        (CORE, _) => false,
        (BINARY, _) | (_, CORE) => true,
        (from, to) => to == PLUMBING.0 && PLUMBING.1.contains(&from),
    }
}

fn read(text: &Text) -> Result<Crate<'_>, String> {
    let document: DocumentMut = text.text.parse().map_err(|fault: toml_edit::TomlError| fault.to_string())?;
    let name = document.get("package").and_then(|package| package.get("name")).and_then(Item::as_str);
    let name = name.ok_or("no package.name")?.to_owned();
    let mut dependencies = Vec::new();
    collect(document.as_table(), &text.text, &mut dependencies);
    if let Some(targets) = document.get("target").and_then(Item::as_table_like) {
        for (_, target) in targets.iter() {
            if let Some(target) = target.as_table_like() {
                collect(target, &text.text, &mut dependencies);
            }
        }
    }
    Ok(Crate { path: &text.path, name, dependencies })
}

fn collect(tables: &dyn TableLike, text: &str, into: &mut Vec<Dependency>) {
    for (section, dev) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
    {
        let Some(table) = tables.get(section).and_then(Item::as_table_like) else {
            continue;
        };
        for (key, value) in table.iter() {
            // `alias = { package = "real" }` depends on `real`.
            let renamed = value.as_table_like().and_then(|spec| spec.get("package")).and_then(Item::as_str);
            let name = renamed.unwrap_or(key).to_owned();
            into.push(Dependency { name, dev, line: line_of_key(text, key) });
        }
    }
}

fn line_of_key(text: &str, key: &str) -> usize {
    let starts = |line: &str| {
        let rest = line.trim_start().strip_prefix(key).unwrap_or("\n");
        rest.starts_with([' ', '=', '.', ']'])
    };
    text.lines().position(starts).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn rules(name: &str, manifest: &str) -> Vec<(&'static str, usize)> {
        let mut texts =
            vec![text("crates/x/Cargo.toml", &format!("[package]\nname = \"{name}\"\n{manifest}"))];
        for other in [CORE, "storage-sqlite", "api", "outbound", "edge", TEST_ONLY, BINARY, FUZZ] {
            texts.push(text(
                &format!("crates/o-{other}/Cargo.toml"),
                &format!("[package]\nname = \"{other}\"\n"),
            ));
        }
        check(&texts).iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn arrows_point_to_the_core_only() {
        assert_eq!(rules("sink-kafka", "[dependencies]\norder-core.workspace = true\n"), []);
        assert_eq!(
            rules("sink-kafka", "[dependencies]\nserde = \"1\"\napi.workspace = true\n"),
            [("dependency", 5)]
        );
        assert_eq!(
            rules("sink-kafka", "[dependencies]\nother = { package = \"api\" }\n"),
            [("dependency", 4)]
        );
        assert_eq!(
            rules("sink-kafka", "[target.'cfg(unix)'.dependencies]\nwellorder = \"0\"\n"),
            [("dependency", 4)]
        );
        assert_eq!(rules(BINARY, "[dependencies]\napi = \"0\"\noutbound = \"0\"\n"), []);
        assert_eq!(rules(TOOLS, "[dependencies]\norder-core = \"0\"\n"), [("dependency", 4)]);
        assert_eq!(rules(FUZZ, "[dependencies]\norder-core = \"0\"\nwellorder = \"0\"\n"), []);
        assert_eq!(rules("api", "[dependencies]\nfuzz = \"0\"\n"), [("dependency", 4)]);
    }

    #[test]
    fn http_plumbing_is_for_those_who_serve_http() {
        assert_eq!(rules("contracts", "[dependencies]\nedge.workspace = true\n"), []);
        assert_eq!(rules("sink-kafka", "[dependencies]\nedge.workspace = true\n"), [("dependency", 4)]);
        assert_eq!(rules("edge", "[dependencies]\napi.workspace = true\n"), [("dependency", 4)]);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(rules("sink-kafka", "[dev-dependencies]\ntestkit.workspace = true\n"), []);
        assert_eq!(rules("sink-kafka", "[dependencies]\ntestkit.workspace = true\n"), [("dependency", 4)]);
        assert_eq!(rules(BINARY, "[dependencies]\ntestkit.workspace = true\n"), [("dependency", 4)]);
        assert_eq!(rules("sink-kafka", "[dev-dependencies]\napi.workspace = true\n"), [("dependency", 4)]);
    }

    #[test]
    fn the_core_is_pure_and_drivers_stay_where_they_are_held() {
        assert_eq!(rules(CORE, "[dependencies]\naxum = \"0\"\n"), [("core-purity", 4)]);
        assert_eq!(rules("api", "[dependencies]\nrusqlite = \"0\"\n"), [("held-dependency", 4)]);
        assert_eq!(rules("storage-sqlite", "[dependencies]\nrusqlite = \"0\"\n"), []);
        assert_eq!(rules(BINARY, "[dev-dependencies]\nrusqlite = \"0\"\n"), []);
    }
}
