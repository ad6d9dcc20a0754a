//! The commands that take long or change much: import, export, watch, repairs, the feed as a stream.

use crate::harness::{Ended, Home, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use testkit::chaos::{Chaos, Harm, Protocol, Side};

/// Runs a command without keeping a proxy of the same test from its work.
async fn run(home: &std::sync::Arc<Home>, args: &[&str]) -> Ended {
    let home = std::sync::Arc::clone(home);
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let run = move || home.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn write_orders(home: &Home, name: &str, orders: impl Iterator<Item = Value>) {
    let text: String = orders.map(|order| format!("{order}\n")).collect();
    std::fs::write(home.path().join(name), text).unwrap();
}

/// A way to a server that breaks off three times, each time after so many bytes of the answer; and its URL.
async fn breaking_off(server: &Server, bytes: usize) -> (Chaos, String) {
    let way = Chaos::before(server.address, Protocol::Bytes(bytes)).await;
    way.harm(3, |frame| frame.is(Side::Server, "mark").then_some(Harm::CutBehind));
    let url = format!("http://{}", way.address());
    (way, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_over_connections_that_break_loses_nothing_and_makes_nothing_twice() {
    const ORDERS: usize = 3_000;
    let server = Server::builder().api_alone().start().await;
    let home = server.home();
    write_orders(
        &home,
        "o.ndjson",
        (0..ORDERS).map(|n| json!({ "reference": format!("r-{n}"), "total": n })),
    );
    let (way, url) = breaking_off(&server, 40_000).await;
    let import = ["orders", "import", "o.ndjson", "--url", &url];
    let ended = run(&home, &import).await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(way.harms(), 3, "{ended:?}");
    assert!(ended.stderr.contains("trying again"), "{ended:?}");
    let taken: usize =
        ended.stdout.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<usize>().ok()).sum();
    assert_eq!(taken, ORDERS, "{ended:?}");

    let again = run(&home, &import).await;
    assert_eq!(again.stdout, format!("0 taken in, {ORDERS} taken in before\n"), "{again:?}");
    let exported = lines(&run(&home, &["orders", "export"]).await.stdout);
    let references: BTreeSet<&str> =
        exported.iter().map(|order| order["reference"].as_str().unwrap()).collect();
    assert_eq!((exported.len(), references.len()), (ORDERS, ORDERS));
    assert_eq!(home.audited()["events"], ORDERS);
}

#[tokio::test]
async fn an_import_names_bad_lines_and_takes_the_others_with_a_server_and_without() {
    let server = Server::builder().start().await;
    let home = server.home();
    let text = "{\"reference\":\"a\",\"total\":\"1\"}\n\nno json\n{\"reference\":\"b\",\"total\":\"-1\"}\n\
                {\"total\":\"1\"}\n{\"reference\":\"a\",\"total\":\"2\"}\n{\"reference\":\"c\",\"total\":\"3\"}";
    std::fs::write(home.path().join("o.ndjson"), text).unwrap();
    let ended = home.run(&["orders", "import", "o.ndjson"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (4, "2 taken in, 4 refused\n"), "{ended:?}");
    let named: BTreeSet<&str> = ended.stderr.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(named, BTreeSet::from(["line 3", "line 4", "line 5", "line 6"]), "{ended:?}");
    for said in ["line 4: A value is refused: /total must not be negative (422)", "line 5: has no reference"]
    {
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    assert!(ended.stderr.contains("/total (422)"), "what differs is named: {ended:?}");
    let told = home.run(&["orders", "import", "o.ndjson", "--json"]);
    let told: BTreeMap<u64, Value> = lines(&told.stdout)
        .iter()
        .map(|one| (one["line"].as_u64().unwrap(), one["status"].clone()))
        .collect();
    assert_eq!(json!(told), json!({ "1": 200, "3": 400, "4": 422, "5": null, "6": 422, "7": 200 }));
    server.terminate().await;

    write_orders(
        &home,
        "more.ndjson",
        (0..500).map(|n| json!({ "reference": format!("m-{n}"), "total": n })),
    );
    let offline = home.run(&["orders", "import", "more.ndjson"]);
    assert_eq!((offline.code(), offline.stdout.as_str()), (0, "500 taken in\n"), "{offline:?}");
    let input = std::fs::File::open(home.path().join("more.ndjson")).unwrap();
    let piped = home.command(&["orders", "import", "-", "--data", "data"]).stdin(input).output().unwrap();
    let piped = Ended::from(piped);
    assert_eq!((piped.code(), piped.stdout.as_str()), (0, "0 taken in, 500 taken in before\n"), "{piped:?}");
    assert_eq!(home.run(&["orders", "import", "nowhere"]).code(), 2);
}

#[tokio::test]
async fn an_operator_repairs_a_thousand_parked_orders_with_one_command_after_seeing_the_count() {
    const ORDERS: usize = 1_000;
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "1").start().await;
    let home = server.home();
    let failing =
        |n| json!({ "reference": format!("r-{n}"), "total": 1, "attributes": { "simulate": { "fail": 1 } } });
    write_orders(&home, "o.ndjson", (0..ORDERS).map(failing));
    assert_eq!(home.run(&["orders", "import", "o.ndjson"]).code(), 0);
    let dry = r#"{"filter": {"all": true}, "dry_run": true}"#;
    crate::harness::eventually("all are parked", async || {
        (server.post("/v1/redrives", dry).await.json()["matched"] == ORDERS).then_some(())
    })
    .await;
    let parked = home.run(&["parked", "--limit", "2"]);
    assert_eq!(parked.stdout.lines().count(), 3, "{parked:?}");
    assert!(parked.stdout.contains("simulated failure"), "{parked:?}");

    // Nobody is there to be asked: it tells how many there are, and does nothing.
    let command =
        ["orders", "redrive", "--parked", "--error-contains", "simulated", "--reason", "stock is back"];
    let asked = home.run(&command);
    assert_eq!(asked.code(), 2, "{asked:?}");
    assert!(
        asked.stderr.contains("redrive 1000 parked orders?") && asked.stderr.contains("--yes"),
        "{asked:?}"
    );
    assert_eq!(server.post("/v1/redrives", dry).await.json()["matched"], ORDERS);

    let repaired = home.run(&[&command[..], &["--yes"]].concat());
    assert_eq!((repaired.code(), repaired.stdout.as_str()), (0, "1000 redriven\n"), "{repaired:?}");
    assert_eq!(repaired.stderr, "1000 parked orders match\n");
    crate::harness::eventually("all are done", async || {
        let page = server.json("/v1/orders?processing=done&limit=1").await;
        let open = server.json("/v1/orders?processing=queued&limit=1").await;
        let parked = server.json("/v1/parked?limit=1").await;
        let none = |page: &Value| page["orders"].as_array().unwrap().is_empty();
        (none(&open) && none(&parked) && !none(&page)).then_some(())
    })
    .await;
    let nothing = home.run(&command);
    assert_eq!(nothing.stdout, "no parked order matches: nothing to do\n", "{nothing:?}");
    let done = home.run(&["orders", "export", "--processing", "done", "done.ndjson"]);
    assert_eq!(done.code(), 0, "{done:?}");
    let file = std::fs::read_to_string(home.path().join("done.ndjson")).unwrap();
    assert_eq!(lines(&file).len(), ORDERS);
}

#[tokio::test]
async fn an_order_is_watched_shipped_delivered_withdrawn_and_erased_from_the_command_line() {
    let server = Server::builder().start().await;
    let home = server.home();
    let good = |args: &[&str]| {
        let ended = home.run(&[&["orders"], args].concat());
        assert_eq!(ended.code(), 0, "{ended:?}");
        ended
    };
    good(&["create", "--reference", "A-1", "--customer", "c", "--total", "5"]);
    let watched = good(&["watch", "A-1"]);
    let types: Vec<&str> = watched.stdout.lines().filter_map(|line| line.split_whitespace().nth(4)).collect();
    assert_eq!(types, ["order.accepted", "order.processed"], "{watched:?}");
    let shipped = good(&["ship", "A-1", "--tracking-number", "1Z"]);
    assert!(shipped.stdout.ends_with(": done, shipped\n"), "{shipped:?}");
    assert!(good(&["ship", "A-1"]).stdout.contains("(it was so before)"));
    let differs = home.run(&["orders", "ship", "A-1", "--tracking-number", "2Z"]);
    assert_eq!(differs.code(), 4, "{differs:?}");
    good(&["deliver", "A-1", "--at", "2026-11-20T10:00:00Z"]);
    assert_eq!(good(&["watch", "A-1", "--until", "delivered", "--json"]).stdout.lines().count(), 4);
    let erased = home.run(&["orders", "erase", "A-1"]);
    assert_eq!(erased.code(), 2, "nobody can be asked: {erased:?}");
    assert!(good(&["erase", "A-1", "--yes"]).stdout.contains("/customer"));
    assert_eq!(server.by_reference("A-1").await.unwrap()["customer"], Value::Null);

    good(&["create", "--reference", "A-2", "--total", "5", "--attributes", r#"{"simulate":"park"}"#]);
    let parked = home.run(&["orders", "watch", "A-2"]);
    assert_eq!((parked.code(), parked.stdout.lines().count()), (4, 2), "{parked:?}");
    assert!(good(&["withdraw", "A-2", "--reason", "late"]).stdout.contains("withdrawn"));
    assert_eq!(home.run(&["orders", "ship", "nope"]).code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_followed_over_connections_that_break() {
    const EVENTS: usize = 60;
    let server = Server::builder().start().await;
    let home = server.home();
    write_orders(
        &home,
        "o.ndjson",
        (0..EVENTS / 2).map(|n| json!({ "reference": format!("r-{n}"), "total": n })),
    );
    assert_eq!(home.run(&["orders", "import", "o.ndjson"]).code(), 0);
    server.carried().await;
    server.until("/v1/orders?processing=queued", |page| page["orders"] == json!([])).await;
    server.until("/v1/orders?processing=running", |page| page["orders"] == json!([])).await;
    let (way, url) = breaking_off(&server, 5_000).await;
    let limit = EVENTS.to_string();
    let limit = limit.as_str();
    let from = ["--from", "beginning", "--limit", limit, "--url", &url];
    let ended = run(&home, &[&["events", "tail", "--follow", "--json"], &from[..]].concat()).await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(way.harms(), 3);
    let followed = lines(&ended.stdout);
    let ids: BTreeSet<&str> = followed.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!((followed.len(), ids.len()), (EVENTS, EVENTS), "each once");
    let read = lines(&home.run(&["events", "tail", "--json", "--from", "beginning"]).stdout);
    let key = |event: &Value| (event["shard"].as_u64(), event["position"].as_u64());
    let by_place =
        |events: &[Value]| events.iter().map(|one| (key(one), one.clone())).collect::<BTreeMap<_, _>>();
    assert_eq!(by_place(&followed), by_place(&read), "as a stream and as pages it is the same");
}

#[tokio::test]
async fn a_key_may_be_given_in_the_environment_or_on_the_command_line() {
    let home = Home::new();
    let made = home.run(&["keys", "create", "--name", "x", "--scope", "orders:read"]);
    let key = made.stdout.trim();
    assert_eq!(made.code(), 0, "{made:?}");
    let server = home.server().serving().start().await;
    let url = format!("http://{}", server.address);
    let list = ["orders", "list", "--url", &url];
    assert_eq!(home.run(&list).code(), 4, "without a login");
    assert_eq!(home.run_with(&[("WELLORDER_KEY", key)], &list).code(), 0);
    assert_eq!(home.run_with(&[("WELLORDER_CLIENT_KEY", key)], &list).code(), 0);
    assert_eq!(home.run_bare(&[], &["orders", "list", "--url", &url, "--key", key]).code(), 0);
    assert_eq!(
        home.run_with(&[("WELLORDER_KEY", key)], &["parked", "--url", &url, "--key", "wo_nobody"]).code(),
        4
    );
}

#[tokio::test]
async fn descriptions_and_manual_pages_need_no_server_and_no_settings() {
    let home = Home::new();
    let printed = |args: &[&str]| {
        let ended = home.run_bare(&[("WELLORDER_NOPE", "1")], args);
        assert_eq!(ended.code(), 0, "{ended:?}");
        ended
    };
    let server = Server::builder().api_alone().start().await;
    assert_eq!(printed(&["openapi"]).json(), server.json("/openapi.json").await);
    let asyncapi = printed(&["openapi", "--asyncapi"]).json();
    assert_eq!(asyncapi["channels"], server.json("/asyncapi.json").await["channels"]);
    let schema = printed(&["openapi", "--schema", "order.parked", "--json"]);
    assert_eq!(schema.stdout.lines().count(), 1);
    assert_eq!(schema.json(), server.json("/schemas/events/order.parked.json").await);
    assert_eq!(home.run_bare(&[], &["openapi", "--schema", "order.nope"]).code(), 3);

    assert!(printed(&["man"]).stdout.contains(".TH wellorder 1"));
    printed(&["man", "--to", "pages"]);
    for page in
        ["wellorder", "wellorder-orders-import", "wellorder-events-tail", "wellorder-followers-replay"]
    {
        let text = std::fs::read_to_string(home.path().join(format!("pages/{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS") && text.contains("json"), "{page}: {text}");
    }
    let refused = home.command(&["man", "--to", "/proc/nowhere"]).stderr(Stdio::null()).status().unwrap();
    assert_eq!(refused.code(), Some(1));
}
