//! `move`: everything in a data folder goes to an empty PostgreSQL, and goes on there as if nothing had been.

use crate::harness::database::{count, run};
use crate::harness::{Database, Home, Server, eventually};
use crate::login::{ask, offline_key, serving};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A data folder with something in every table, and what is known of it outside.
struct Filled {
    home: Arc<Home>,
    /// The credential of `acme`.
    bearer: String,
    /// Work in the hands of a client.
    held: Value,
    /// A cursor of the feed, and what lies behind it.
    cursor: String,
    behind: Vec<Value>,
    /// What is read there, byte by byte.
    reads: Vec<(String, String)>,
    /// How many events `ndjson` has carried, of how many.
    carried: usize,
    events: usize,
}

fn path(order: &Value) -> String {
    format!("/v1/orders/{}", order["order_id"].as_str().unwrap())
}

async fn posted(server: &Server, path: &str, body: &Value) -> Value {
    let reply = server.post(path, &body.to_string()).await;
    assert!((200..300).contains(&reply.status), "{path}: {}", reply.text());
    reply.json()
}

async fn accepted(server: &Server, reference: &str, attributes: Value) -> Value {
    let order = json!({
        "reference": reference, "customer": format!("customer of {reference}"), "currency": "EUR",
        "lines": [{"sku": "tea", "name": "tea\tor \\coffee\n", "quantity": 3, "unit_price": "9.950"}],
        "attributes": attributes,
    });
    server.accept(&order).await
}

/// Orders that came as far as orders come, with a worker in the process.
async fn worked_on(home: &Arc<Home>) {
    let server = home.server().env("WELLORDER_WORKER_BACKOFF_BASE_MS", "600000").start().await;
    // More than a piece, and more than a block of events.
    let many: Vec<String> = (0..1_100)
        .map(|number| json!({ "reference": format!("many-{number}"), "total": 1 }).to_string())
        .collect();
    let lines = [("content-type", "application/x-ndjson")];
    let answers = server.send("POST", "/v1/orders/bulk", &lines, many.join("\n").as_bytes()).await;
    assert_eq!(answers.text().matches(r#""status":201"#).count(), 1_100);
    server.until("/v1/orders?processing=queued&limit=1", |page| page["orders"] == json!([])).await;
    let mut done = Vec::new();
    for reference in ["done", "shipped", "delivered", "withdrawn", "erased", "amended"] {
        done.push(accepted(&server, reference, json!({})).await);
    }
    let nobody_there = json!({ "url": "http://127.0.0.1:1/hook", "events": ["order.shipped"] });
    posted(&server, "/v1/endpoints", &nobody_there).await;
    let parked = accepted(&server, "parked", json!({ "simulate": "park" })).await;
    let redriven = accepted(&server, "redriven", json!({ "simulate": "park" })).await;
    let waiting = accepted(&server, "waiting", json!({ "simulate": { "fail": 1 } })).await;
    for order in &done {
        server.until_order(order, "done").await;
    }
    server.until_order(&parked, "parked").await;
    server.until_order(&redriven, "parked").await;
    server.until(&path(&waiting), |order| order["attempt"] == 1).await;
    posted(&server, &format!("{}/shipments", path(&done[1])), &json!({ "tracking_number": "T-1" })).await;
    posted(&server, &format!("{}/deliveries", path(&done[2])), &json!({})).await;
    posted(&server, &format!("{}/withdrawals", path(&done[3])), &json!({ "reason": "sent back" })).await;
    let headers = [("content-type", "application/merge-patch+json"), ("if-match", "*")];
    let patch = json!({ "customer": "another" }).to_string();
    assert_eq!(server.send("PATCH", &path(&done[5]), &headers, patch.as_bytes()).await.status, 200);
    let filter = json!({ "filter": { "order_ids": [redriven["order_id"]] }, "reason": "once more" });
    let redrive = posted(&server, "/v1/redrives", &filter).await;
    let job = format!("/v1/redrives/{}", redrive["redrive_id"].as_str().unwrap());
    server.until(&job, |redrive| redrive["state"] == "finished").await;
    server.until_order(&redriven, "parked").await;
    sold_on(&server).await;
    let failed = |page: &Value| page["deliveries"].as_array().unwrap().iter().any(|one| one["attempt"] == 1);
    server.until("/v1/deliveries?state=waiting", failed).await;
    server.carried().await;
    assert_eq!(server.terminate().await.code(), 0);
    let erased = home.run(&["orders", "erase", done[4]["order_id"].as_str().unwrap(), "--yes"]);
    assert_eq!(erased.code(), 0, "{erased:?}");
}

/// A store that was imported from and synced.
async fn sold_on(server: &Server) {
    let store = json!({
        "organizationId": "org-1", "marketplace": "etsy", "externalStoreId": "ext-1", "storeName": "Tea",
        "accessToken": "an access token", "currency": "EUR",
    });
    let store = posted(server, "/marketplace/stores/register", &store).await;
    assert_eq!(posted(server, "/v1/syncs", &json!({})).await["synced"], 1);
    for (receipt, success) in [("receipt-101", true), ("receipt-115", false)] {
        let import = json!({ "syncToken": store["syncToken"], "receipt": receipt });
        let answer = posted(server, "/marketplace/orders/import", &import).await;
        assert_eq!(answer["success"], success, "{answer}");
    }
}

/// What servers of others bring about, without one: a message that was consumed, an order that a sink refused, a marketplace's limit.
fn of_brokers(home: &Home) {
    let conn = rusqlite::Connection::open(home.database()).unwrap();
    conn.execute_batch(
        "INSERT INTO inbox SELECT tenant, 'orders.shipped', 'm-1', order_id, updated_at FROM orders LIMIT 1;
         INSERT INTO parked_streams SELECT 'ndjson', shard, order_id, tenant, 1, 1, 'too-large', 'of a size',
             updated_at, 0 FROM orders WHERE reference = 'done';
         UPDATE followers SET parked = 1 WHERE name = 'ndjson';",
    )
    .unwrap();
    let (key, limit) = ("shopify:app:*:orders", json!({ "capacity": 40, "micro_per_second": 2_000_000 }));
    let budget = json!({
        "key": key, "said": limit, "limit": limit, "level": 1, "as_of": 1, "not_before": 1, "served": [1, 0, 0],
        "turn_of": 0, "next_turn": 1, "waiting": [],
    });
    conn.execute("INSERT INTO budgets VALUES (?1, ?2)", [key, &budget.to_string()]).unwrap();
}

/// Everything that a reader of `default` can ask for.
async fn reads(server: &Server) -> Vec<(String, String)> {
    let all = server.json("/v1/orders?limit=30").await;
    let mut paths: Vec<String> = [
        "/v1/orders?limit=3",
        "/v1/orders?limit=200",
        "/v1/orders?updated_since=beginning&limit=200",
        "/v1/orders?q=customer",
        "/v1/orders?customer=another",
        "/v1/orders?fulfilment=shipped",
        "/v1/orders?withdrawn=true",
        "/v1/parked",
        "/v1/endpoints",
        "/v1/deliveries?state=waiting",
        "/v1/stores",
        "/v1/events?limit=200",
    ]
    .map(str::to_owned)
    .into();
    for order in all["orders"].as_array().unwrap() {
        paths.extend(["", "/events", "/timeline"].map(|of| [&path(order), of].concat()));
        if let Some(reference) = order["reference"].as_str() {
            paths.push(format!("/v1/orders?reference={reference}"));
        }
    }
    let mut read = Vec::new();
    for path in paths {
        let reply = server.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let tag = reply.header("etag").unwrap_or_default().to_owned();
        let mut text = reply.text().to_owned();
        if path.ends_with("/timeline") {
            // It says when it was asked for.
            let mut shown = reply.json();
            shown["now"]["at"].take();
            text = shown.to_string();
        }
        read.push((path, [&tag, " ", &text].concat()));
    }
    read
}

async fn filled() -> Filled {
    let home = Home::on(None);
    worked_on(&home).await;
    let key = offline_key(&home, "acme", &["orders:read", "orders:write"]);
    let server = home.server().api_alone().env("WELLORDER_PROCESSOR", "pull").start().await;
    accepted(&server, "held", json!({})).await;
    let claim = posted(&server, "/v1/work/claim", &json!({ "max": 1, "lease_seconds": 3_600 })).await;
    let (_, cursor) = server.feed(200).await;
    accepted(&server, "queued", json!({ "text": "a \u{1F600} and \\N", "external_id": "x-1" })).await;
    let keyed = [("idempotency-key", "k-1"), ("content-type", "application/json")];
    assert_eq!(server.send("POST", "/v1/orders", &keyed, br#"{"total":"19.90"}"#).await.status, 201);
    let body = json!({ "orderId": "o-1", "customer": "c", "total": 1 });
    posted(&server, "/oscarps/orders", &body).await;
    let behind = server.json(&format!("/v1/events?limit=200&after={cursor}")).await["events"].clone();
    let (events, _) = server.feed(200).await;
    assert_eq!(server.terminate().await.code(), 0);
    of_brokers(&home);
    let server = home.server().api_alone().env("WELLORDER_PROCESSOR", "pull").start().await;
    let reads = reads(&server).await;
    assert_eq!(server.terminate().await.code(), 0);
    let carried = home.ndjson().len();
    Filled {
        bearer: format!("Bearer {key}"),
        held: claim["work"][0].clone(),
        cursor,
        behind: behind.as_array().unwrap().clone(),
        reads,
        carried,
        events: events.len(),
        home,
    }
}

/// The same program on the database that was moved to, with a folder of its own.
fn elsewhere(database: &Arc<Database>) -> Arc<Home> {
    Home::on(Some(Arc::clone(database)))
}

/// The file of the key that `dev` makes.
const KEY: &str = "wellorder.secrets-key";

/// The same, with the key of what was sealed in another.
fn with_key_of(before: &Home, database: &Arc<Database>) -> Arc<Home> {
    let home = elsewhere(database);
    std::fs::create_dir_all(home.data()).unwrap();
    std::fs::copy(before.data().join(KEY), home.data().join(KEY)).unwrap();
    home
}

fn moved(home: &Home, to: &str, more: &[&str]) -> crate::harness::Ended {
    home.run(&[&["move", "--to", to, "--json"], more].concat())
}

#[tokio::test]
async fn a_folder_goes_on_in_a_database_as_if_nothing_had_been() {
    let filled = filled().await;
    let database = Arc::new(Database::new());
    let ended = moved(&filled.home, &database.url, &[]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let told = ended.json();
    assert_eq!((&told["epoch"], &told["shards"], &told["sound"]), (&json!(1), &json!(1), &json!(true)));
    for (table, rows) in told["rows"].as_object().unwrap() {
        assert!(rows.as_u64() > Some(0), "nothing of {table} is tried here: {told}");
    }
    let home = with_key_of(&filled.home, &database);
    home.audited();
    assert_eq!(home.run(&["audit", "--actions"]).code(), 0);

    let server = home.server().api_alone().env("WELLORDER_PROCESSOR", "pull").start().await;
    for ((path, before), (same, now)) in filled.reads.iter().zip(reads(&server).await) {
        assert_eq!((path, before), (&same, &now));
    }
    let next = server.json(&format!("/v1/events?limit=200&after={}", filled.cursor)).await;
    assert_eq!(next["events"], Value::Array(filled.behind.clone()));
    let keyed = [("idempotency-key", "k-1"), ("content-type", "application/json")];
    let again = server.send("POST", "/v1/orders", &keyed, br#"{"total":"19.90"}"#).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")), "{}", again.text());
    let token = json!({ "token": filled.held["token"], "outcome": "done" });
    assert_eq!(
        posted(&server, "/v1/work/finish", &token).await["processing"],
        "done",
        "who holds work still does"
    );
    let highest = server.json("/v1/orders?limit=1").await["orders"][0]["number"].as_u64().unwrap();
    let new = accepted(&server, "new", json!({})).await;
    assert_eq!(new["number"], highest + 1);
    let actions = server.json("/v1/actions?limit=1").await;
    assert_eq!(actions["actions"][0]["action"], "database.moved", "{actions}");
    assert_eq!(server.terminate().await.code(), 0);

    let server = home.server().start().await;
    let queued = server.by_reference("queued").await.unwrap();
    server.until_order(&queued, "done").await;
    server.until_order(&new, "done").await;
    server.carried().await;
    let first = filled.home.ndjson();
    let rest = home.ndjson();
    let ids: BTreeSet<&str> =
        first.iter().chain(&rest).map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(first.len(), filled.carried);
    assert_eq!(ids.len(), first.len() + rest.len(), "nothing is carried twice");
    let all = server.feed(200).await.0;
    // The order that is parked for it waits as it did.
    assert_eq!(ids.len(), all.len());
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();

    let key = std::fs::read_to_string(filled.home.data().join(KEY)).unwrap();
    let server = serving(&home).env("WELLORDER_SECRETS_KEY", key.trim()).start().await;
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&filled.bearer), None).await.status, 200);
    assert_eq!(server.terminate().await.code(), 0);
}

/// Two that go on from the same place would both say that they are the one.
#[tokio::test]
async fn a_folder_that_was_moved_is_not_served_until_it_is_taken_back() {
    let home = Home::on(None);
    let server = home.server().start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let cursor = server.carried().await.len();
    assert_eq!(cursor, 2);
    let after = server.feed(10).await.1;
    let (database, other) = (Database::new(), Database::new());
    let used = moved(&home, &database.url, &[]);
    assert_eq!(used.code(), 4, "{used:?}");
    assert!(used.stdout.contains("is in use by another wellorder"), "{used:?}");
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(moved(&home, &database.url, &[]).code(), 0);

    for args in
        [&["dev", "--listen", "127.0.0.1:0"][..], &["orders", "list"], &["migrate"], &["keys", "list"]]
    {
        let refused = home.run(args);
        assert_eq!(refused.code(), 4, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains("was moved to PostgreSQL at"), "{refused:?}");
        assert!(
            refused.stderr.contains("move --back") && refused.stderr.contains("WELLORDER_DATABASE"),
            "{refused:?}"
        );
    }
    let doctor = home.run(&["doctor"]);
    assert!(doctor.code() == 6 && doctor.stdout.contains("was moved to"), "{doctor:?}");
    home.audited();
    let elsewhere = moved(&home, &other.url, &[]);
    assert!(elsewhere.code() == 4 && elsewhere.stdout.contains("move --back"), "{elsewhere:?}");

    assert_eq!(home.run(&["move", "--back"]).code(), 0);
    assert_eq!(home.run(&["move", "--back"]).code(), 4, "it is back");
    let server = home.server().start().await;
    assert_eq!(server.json(&path(&order)).await["processing"], "done");
    assert_eq!(server.get(&format!("/v1/events?after={after}")).await.status, 410, "of another history");
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
    let full = moved(&home, &database.url, &[]);
    assert_eq!(full.code(), 4, "{full:?}");
    assert!(full.stdout.contains("keeps its data in it: orders 1"), "{full:?}");
    assert_eq!(moved(&home, &other.url, &[]).code(), 0, "it can be moved again");
}

/// What can be wrong with a target is said with its name and what to do; the folder is served as before.
#[tokio::test]
async fn a_target_that_cannot_be_used_is_named_with_its_fix() {
    let home = Home::on(None);
    let missing = moved(&home, "postgres://postgres@127.0.0.1:1/x", &[]);
    assert!(missing.code() == 5 && missing.stdout.contains("--data"), "{missing:?}");
    assert_eq!(home.run(&["orders", "create", "--reference", "a", "--total", "1"]).code(), 0);
    let nowhere = home.run(&["move"]);
    assert!(nowhere.code() == 2 && nowhere.stderr.contains("WELLORDER_DATABASE"), "{nowhere:?}");
    let none = home.run(&["move", "--to", "mysql://u:hunter2@h/n"]);
    assert!(none.code() == 2 && none.stderr.contains("--to") && !none.stderr.contains("hunter2"), "{none:?}");
    let away = home.run(&["move", "--to", "postgres://postgres@127.0.0.1:1/x"]);
    assert!(away.code() == 5 && away.stderr.contains("PostgreSQL at 127.0.0.1:1"), "{away:?}");
    let database = Database::new();
    let stranger = database.url.replace("postgres@", "nobody_at_all:hunter2@");
    let stranger = home.run(&["move", "--to", &stranger]);
    assert!(
        stranger.stderr.contains("nobody_at_all") && stranger.stderr.contains("`database`"),
        "{stranger:?}"
    );
    assert!(!stranger.stderr.contains("hunter2"), "{stranger:?}");
    run(&database.url, "CREATE TABLE orders (id integer)");
    let others = home.run(&["move", "--to", &database.url]);
    assert!(others.code() == 4 && others.stderr.contains("have the names of ours: orders"), "{others:?}");
    run(&database.url, "DROP TABLE orders");
    assert_eq!(elsewhere_migrated(&database.url), 0);
    let set_up = home.run(&["move", "--to", &database.url]);
    assert!(set_up.code() == 4 && set_up.stderr.contains("with nothing in it yet"), "{set_up:?}");
    assert!(set_up.stderr.contains("dropdb"), "{set_up:?}");
    assert_eq!(home.run(&["orders", "list"]).code(), 0, "the folder is served as before");
}

fn elsewhere_migrated(url: &str) -> i32 {
    let home = Home::on(None);
    home.run(&["migrate", "--database", url]).code()
}

/// Whatever becomes of the process, there is one place that serves, and the next try gets to the end.
#[cfg(feature = "killpoints")]
#[tokio::test]
async fn a_move_that_is_killed_leaves_one_to_serve_and_is_run_again() {
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = $1";
    for (point, is_marked, is_there) in [
        ("move.mid_copy:3", false, false),
        ("move.before_commit:1", true, false),
        ("move.after_commit:1", true, true),
    ] {
        let home = Home::on(None);
        for reference in ["a", "b"] {
            let args = ["orders", "create", "--reference", reference, "--total", "1"];
            assert_eq!(home.run(&args).code(), 0);
        }
        let database = Arc::new(Database::new());
        let variables = [("WELLORDER_KILLPOINT", point)];
        let killed = home.run_with(&variables, &["move", "--to", &database.url]);
        assert!(killed.was_killed(), "{point}: {killed:?}");
        assert_eq!(count(&database.url, tables, "public") > 0, is_there, "{point}: all or nothing");
        assert_eq!(home.run(&["orders", "list"]).code(), if is_marked { 4 } else { 0 }, "{point}");
        let again = moved(&home, &database.url, &[]);
        assert_eq!(again.code(), 0, "{point}: {again:?}");
        assert_eq!(again.json()["rows"]["orders"], 2);
        assert_eq!(home.run(&["orders", "list"]).code(), 4);
        assert_eq!(elsewhere(&database).audited()["orders"], 2);
    }
}

/// With other shards each event has another place: cursors of readers are refused, followers go on where they were.
#[tokio::test]
async fn events_are_dealt_out_to_more_shards_under_another_epoch() {
    let filled = filled().await;
    let database = Arc::new(Database::new());
    let ended = moved(&filled.home, &database.url, &["--shards", "16"]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!((&ended.json()["shards"], &ended.json()["from_epoch"]), (&json!(16), &json!(1)));
    assert!(ended.json()["epoch"].as_u64() > Some(1));
    let home = with_key_of(&filled.home, &database);
    home.audited();
    let server = home.server().start().await;
    assert_eq!(server.get(&format!("/v1/events?after={}", filled.cursor)).await.status, 410);
    server.carried().await;
    let (first, rest) = (filled.home.ndjson(), home.ndjson());
    let ids: BTreeSet<&str> =
        first.iter().chain(&rest).map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), first.len() + rest.len(), "nothing is carried twice");
    assert!(ids.len() >= filled.events, "and nothing is left out");
    let queued = server.by_reference("queued").await.unwrap();
    server.until_order(&queued, "done").await;
    let histories: Vec<Vec<String>> = {
        let mut histories = Vec::new();
        for order in server.json("/v1/orders?limit=200").await["orders"].as_array().unwrap() {
            histories.push(server.history(order).await);
        }
        histories
    };
    assert!(histories.iter().all(|history| history[0] == "order.accepted"), "{histories:?}");
    eventually("the end of it all", async || (server.feed(200).await.0.len() > filled.events).then_some(()))
        .await;
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
    let refused = home.run_with(&[("WELLORDER_SHARDS", "1")], &["orders", "list"]);
    assert!(refused.stderr.contains("set shards = 16"), "{refused:?}");
}
