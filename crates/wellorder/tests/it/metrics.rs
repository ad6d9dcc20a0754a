//! `/metrics` of a server with traffic, beside the page that describes it, the alerts and the dashboard.

use crate::harness::collector::Collector;
use crate::harness::promql::{self, Used};
use crate::harness::{Answer, Builder, Receiver, Server, eventually};
use crate::login::{SECRET, Token, ask};
use crate::rabbitmq::{delete, unique, url};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Labels that Prometheus adds to whatever it scrapes.
const ADDED: [&str; 2] = ["job", "instance"];

/// One family of a page.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// What a page shows: families by name, and the labels of each series with their values.
#[derive(Debug, Default)]
struct Page {
    families: BTreeMap<String, Family>,
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

fn page(text: &str) -> Page {
    let mut page = Page::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            page.families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let family = page.families.entry(name.to_owned()).or_default();
            assert!(family.kind.is_empty(), "{name} is there twice: {text}");
            family.kind = kind.to_owned();
        } else {
            sample(&mut page, line);
        }
    }
    page
}

fn sample(page: &mut Page, line: &str) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let family = [name, cut(name, "_bucket"), cut(name, "_sum"), cut(name, "_count")]
        .into_iter()
        .find(|name| page.families.contains_key(*name))
        .unwrap_or_else(|| panic!("no family: {line}"))
        .to_owned();
    let series = page.series.entry(name.to_owned()).or_default();
    for pair in labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        series.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        if label != "le" {
            page.families.get_mut(&family).unwrap().labels.insert(label.to_owned());
        }
    }
}

fn cut<'n>(name: &'n str, end: &str) -> &'n str {
    name.strip_suffix(end).unwrap_or(name)
}

/// Queues of RabbitMQ that nobody else has.
struct Queues([String; 3]);

impl Queues {
    fn new() -> Self {
        Self(["created", "shipped", "delivered"].map(unique))
    }

    fn of(&self, builder: Builder) -> Builder {
        let variables = ["CREATED", "SHIPPED", "DELIVERED"].into_iter().zip(&self.0);
        let builder = builder
            .env("RABBITMQ_URL", &url())
            .env("WELLORDER_RABBITMQ_EXCHANGE", "")
            .env("WELLORDER_RABBITMQ_RETRY_MS", "10");
        variables.fold(builder, |builder, (end, queue)| {
            builder.env(&format!("WELLORDER_CONTRACTS_SALES_{end}"), queue)
        })
    }

    async fn until_consumed(&self, server: &Server) {
        let lines: Vec<_> = self.0[1..]
            .iter()
            .map(|queue| format!("wellorder_consumer_connected{{queue=\"{queue}\"}} 1"))
            .collect();
        eventually("consumers", async || {
            let reply = server.get("/metrics").await;
            lines.iter().all(|line| reply.text().lines().any(|at| at == line)).then_some(())
        })
        .await;
    }

    fn forget(self) {
        let [created, shipped, delivered] = self.0;
        delete(&[&created]);
        for queue in [shipped, delivered] {
            ["", ".retry.10", ".dlq"].iter().for_each(|end| delete(&[&format!("{queue}{end}")]));
        }
    }
}

/// The page of a server that has done a bit of everything.
async fn shown() -> Page {
    let collector = Collector::start().await;
    let receiver =
        Receiver::start(|call| Answer::Says(if call.order["total"] == "13" { 400 } else { 200 }, "")).await;
    let builder = Server::builder()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("JWT_SECRET", SECRET)
        .env("PRODUCT_SERVICE_URL", &receiver.url());
    let queues = Queues::new();
    let server = queues.of(builder.processor(&receiver.url())).start().await;
    queues.until_consumed(&server).await;
    let done = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let parked = server.accept(&json!({ "reference": "b", "total": 13 })).await;
    server.until_order(&done, "done").await;
    server.until_order(&parked, "parked").await;
    for total in [1, 2] {
        server.post("/oscarps/orders", &format!(r#"{{"orderId":"o","customer":"c","total":{total}}}"#)).await;
    }
    let (bearer, sale) = (Token::all("default").bearer(), crate::matrix::SALE);
    ask(&server, "POST", "/sales/api/v1/orders", Some(&bearer), Some(sale)).await;
    server.get("/v1/orders?limit=0").await;
    assert_eq!(server.send("GET", "/v1/orders", &[("authorization", "Bearer x.y.z")], b"").await.status, 401);
    server.carried().await;
    collector.until("spans", |spans| (!spans.is_empty()).then_some(())).await;
    let reply = server.get("/metrics").await;
    assert_eq!(reply.status, 200);
    let shown = page(reply.text());
    let value = |line: &str| assert!(reply.text().lines().any(|at| at == line), "{line}: {}", reply.text());
    value("wellorder_work_parked 1");
    value("wellorder_work_due 0");
    value("wellorder_redrives_open_age_seconds 0");
    assert!(!reply.text().contains("wellorder_work_parked_age_seconds 0\n"), "one waits: {}", reply.text());
    value(r#"wellorder_follower_lag_seconds{follower="ndjson"} 0"#);
    value(r#"wellorder_duplicates_differing_total{contract="oscarps"} 1"#);
    value("wellorder_spans_dropped_total 0");
    value("wellorder_storage_up 1");
    drop(server);
    queues.forget();
    shown
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// What `docs/metrics.md` says: name → (type, unit, labels).
fn described() -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let text = read("docs/metrics.md");
    let mut described = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, labels, what] = cells[..] else { panic!("five columns: {line}") };
        assert!(!what.is_empty(), "{line}");
        let labels = quoted(labels).into_iter().map(str::to_owned).collect();
        let names = quoted(name);
        assert_eq!(names.len(), 1, "{line}");
        let before = described.insert(names[0].to_owned(), (kind.to_owned(), unit.to_owned(), labels));
        assert!(before.is_none(), "twice: {line}");
    }
    described
}

/// What no run of the test above happens to show: every name that the code may count under.
#[test]
fn every_name_of_the_code_is_described() {
    let text = read("docs/metrics.md");
    // Those that are not shown by every server stand in a list, not in a table.
    let described: BTreeSet<String> = quoted(&text).into_iter().map(str::to_owned).collect();
    let mut found = BTreeSet::new();
    // Crates that the program uses.
    let manifest = read("crates/wellorder/Cargo.toml");
    let depends = |name: &str| {
        manifest.contains(&format!("\n{name}.workspace")) || manifest.contains(&format!("\n{name} = "))
    };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.ends_with("wellorder") || depends(path.file_name().unwrap().to_str().unwrap()))
        .map(|path| path.join("src"))
        .filter(|folder| folder.is_dir())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap();
                // Names of metrics stand alone between quotes, and have a part after the first.
                let names = text.split('"').filter(|text| {
                    let rest = text.strip_prefix("wellorder_").unwrap_or_default();
                    rest.contains('_') && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                });
                found.extend(names.map(str::to_owned));
            }
        }
    }
    let missing: Vec<_> = found.difference(&described).collect();
    assert!(missing.is_empty(), "in the code, not in docs/metrics.md: {missing:?}");
    assert!(found.len() > 30, "{found:?}");
}

#[tokio::test]
async fn the_page_of_metrics_and_its_description_are_the_same() {
    let (shown, described) = (shown().await, described());
    let names: BTreeSet<&String> = shown.families.keys().collect();
    assert_eq!(names, described.keys().collect(), "left: /metrics, right: docs/metrics.md");
    for (name, family) in &shown.families {
        let (kind, unit, labels) = &described[name];
        assert_eq!((kind, labels), (&family.kind, &family.labels), "{name}");
        let base = cut(name, "_total");
        let wanted = if base.ends_with("_seconds") {
            "s"
        } else if base.ends_with("_bytes") {
            "bytes"
        } else {
            ""
        };
        assert_eq!(unit, wanted, "{name}");
        assert!(!family.help.is_empty(), "{name} has no help");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
    }
}

/// Every metric that a query uses is there, with the labels that it asks for.
fn check(query: &str, shown: &Page) -> Used {
    let used = promql::used(query);
    assert!(!used.selectors.is_empty(), "it asks for nothing: {query}");
    let mut labels: BTreeSet<&str> = ADDED.into();
    for selector in &used.selectors {
        let name = selector.name.as_str();
        if name == "up" {
            continue;
        }
        let series = shown.series.get(name).unwrap_or_else(|| panic!("there is no {name}: {query}"));
        labels.extend(series.keys().map(String::as_str));
        for (label, operator, text) in &selector.matchers {
            if ADDED.contains(&label.as_str()) {
                continue;
            }
            let values = series.get(label).unwrap_or_else(|| panic!("{name} has no label {label}: {query}"));
            // Which statuses there were is chance; everything else is of a closed list.
            if label != "status" && operator == "=" {
                assert!(values.contains(text), "{label} of {name} is never {text}, but {values:?}: {query}");
            }
        }
    }
    for label in &used.labels {
        assert!(labels.contains(label.as_str()), "nothing has the label {label}: {query}");
    }
    used
}

fn yaml(path: &str) -> Value {
    serde_norway::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn entries<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or_else(|| panic!("no list {key}: {value}"), Vec::as_slice)
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_is_there() {
    let shown = shown().await;
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    for file in entries(&prometheus, "rule_files") {
        assert!(root().join("deploy/prometheus").join(file.as_str().unwrap()).exists(), "{file}");
    }
    let scrape = &entries(&prometheus, "scrape_configs")[0];
    assert_eq!(json!([scrape["job_name"], scrape["metrics_path"]]), json!(["wellorder", "/metrics"]));
    let alerts = yaml("deploy/prometheus/alerts.yml");
    let mut names = BTreeSet::new();
    for rule in entries(&alerts, "groups").iter().flat_map(|group| entries(group, "rules")) {
        let used = check(rule["expr"].as_str().unwrap(), &shown);
        assert!(names.insert(rule["alert"].as_str().unwrap()), "twice: {rule}");
        let texts = &rule["annotations"];
        assert!(texts["summary"].is_string() && texts["description"].is_string(), "{rule}");
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{rule}");
        legend_is_there(texts["summary"].as_str().unwrap(), "$labels.", &used, &shown);
    }
    assert!(names.len() >= 15, "{names:?}");
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/wellorder.json")).unwrap();
    let (mut queries, mut ids) = (0, BTreeSet::new());
    for panel in entries(&dashboard, "panels") {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id {}", panel["id"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let used = check(target["expr"].as_str().unwrap(), &shown);
            legend_is_there(target["legendFormat"].as_str().unwrap(), "", &used, &shown);
            queries += 1;
        }
    }
    assert!(queries >= 40, "{queries}");
    for variable in entries(&dashboard["templating"], "list") {
        if variable["type"] == "query" {
            check(variable["query"].as_str().unwrap(), &shown);
        }
    }
}

/// Labels that a text puts in (`{{label}}`) are there.
fn legend_is_there(text: &str, head: &str, used: &Used, shown: &Page) {
    for part in text.split("{{").skip(1) {
        let inside = part.split("}}").next().unwrap().trim();
        let Some(label) = inside.strip_prefix(head) else { continue };
        let of = |name: &str| shown.series.get(name).is_some_and(|labels| labels.contains_key(label));
        let is_there = used.selectors.iter().any(|selector| of(&selector.name));
        assert!(is_there || ADDED.contains(&label), "nothing has the label {label}: {text}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_the_page_stays() {
    let server = Server::builder().start().await;
    let home = server.home();
    std::fs::rename(home.database(), home.data().join("away")).unwrap();
    let reply = server.get("/metrics").await;
    let shown = page(reply.text());
    assert!(reply.text().contains("wellorder_storage_up 0\n"), "{}", reply.text());
    assert!(!shown.families.contains_key("wellorder_work_due"), "{}", reply.text());
    assert!(shown.families.contains_key("process_open_fds"), "{}", reply.text());
    std::fs::rename(home.data().join("away"), home.database()).unwrap();
}

#[tokio::test]
async fn the_backlog_and_its_age_are_seen() {
    let server = Server::builder().api_alone().start().await;
    for number in 0..3 {
        server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
    }
    let reply = server.get("/metrics").await;
    let value = |name: &str| {
        let line = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {}", reply.text())).parse::<f64>().unwrap()
    };
    let counts = ["wellorder_work_open", "wellorder_work_due", "wellorder_work_leased"].map(value);
    assert_eq!(counts.map(|count| count.to_string()), ["3", "3", "0"]);
    assert!(value("wellorder_work_due_age_seconds") > 0.0);
    assert!(value("wellorder_storage_log_pages") > 0.0);
    let none = ["wellorder_work_parked_age_seconds", "wellorder_redrives_open_age_seconds"].map(value);
    assert_eq!(none.map(|age| age.to_string()), ["0", "0"], "there from the start");
    assert!(value("wellorder_lane_wait_seconds_count") >= 3.0);
}
