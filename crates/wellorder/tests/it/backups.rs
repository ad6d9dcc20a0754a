//! Copies that are made beside the work, and what a folder is like once one of them became its database.

use crate::harness::{Home, Server, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::http::Client;

/// Every reference that a server has.
async fn references(server: &Server) -> BTreeSet<String> {
    let (mut found, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = server.json(&format!("/v1/orders?limit=200{after}")).await;
        let orders = page["orders"].as_array().unwrap();
        found.extend(orders.iter().map(|order| order["reference"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

async fn backed_up(home: &Arc<Home>, to: &str) -> Value {
    let (home, to) = (Arc::clone(home), to.to_owned());
    let ended =
        tokio::task::spawn_blocking(move || home.run(&["backup", "--json", "--to", &to])).await.unwrap();
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended.json()
}

fn restored(home: &Home, args: &[&str]) -> Value {
    let ended = home.run(&[&["restore", "--json", "--audit"], args].concat());
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended.json()
}

fn copy_of(home: &Home) -> String {
    home.path().join("copy.db").display().to_string()
}

/// The databases that restores moved aside.
fn aside(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.data().join("backups")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.join("wellorder.db")).filter(|path| path.exists()).collect()
}

async fn posting(client: Client, stop: Arc<AtomicBool>, lane: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reference = format!("load-{lane}-{number}");
        let reply =
            client.post("/v1/orders", &json!({ "reference": reference, "total": 1 }).to_string()).await;
        assert_eq!(reply.status, 201, "intake goes on: {}", reply.text());
        acknowledged.push(reference);
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_load_has_every_order_that_was_acknowledged_before() {
    let server = Server::builder().start().await;
    let home = server.home();
    let lines: Vec<String> = (0..2_000)
        .map(|number| json!({ "reference": format!("before-{number}"), "total": 1 }).to_string())
        .collect();
    let bulk = [("content-type", "application/x-ndjson")];
    let answers = server.send("POST", "/v1/orders/bulk", &bulk, lines.join("\n").as_bytes()).await;
    assert_eq!(answers.text().matches(r#""status":201"#).count(), 2_000);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> =
        (0..4).map(|lane| tokio::spawn(posting(server.client(), Arc::clone(&stop), lane))).collect();
    // The load is on once something of it is there.
    eventually("load", async || server.by_reference("load-3-0").await).await;
    let before = references(&server).await;
    let made = backed_up(&home, &copy_of(&home)).await;
    stop.store(true, Ordering::Relaxed);
    let mut loaded = 0;
    for lane in load {
        loaded += lane.await.unwrap().len();
    }
    assert_eq!(references(&server).await.len(), 2_000 + loaded, "the load itself is all there");
    assert_eq!(made["path"], copy_of(&home));
    assert_eq!(std::fs::read_dir(home.data().join("backups")).unwrap().count(), 0, "it was moved");

    let elsewhere = Home::new();
    let told = restored(&elsewhere, &[&copy_of(&home)]);
    assert_eq!((&told["orders"], &told["replaced"]), (&made["orders"], &Value::Null));
    assert_eq!(elsewhere.audited()["orders"], made["orders"]);
    let copy = elsewhere.server().start().await;
    let found = references(&copy).await;
    assert!(found.is_superset(&before), "{:?}", before.difference(&found).collect::<Vec<_>>());
    copy.until("/v1/orders?processing=queued&limit=1", |page| page["orders"] == json!([])).await;
    copy.carried().await;
    drop((server, copy));
    home.audited();
    elsewhere.audited();
}

/// Cursors of the history that is lost are refused, whatever they are for, and new events go on from the copy's end.
#[tokio::test]
async fn a_restored_folder_begins_a_new_epoch_and_goes_on() {
    let server = Server::builder().start().await;
    let home = server.home();
    let kept = server.accept(&json!({ "reference": "kept", "total": 1 })).await;
    server.until_order(&kept, "done").await;
    server.carried().await;
    let made = backed_up(&home, &copy_of(&home)).await;
    let (_, early) = server.feed(100).await;
    let lost = server.accept(&json!({ "reference": "lost", "total": 1 })).await;
    server.until_order(&lost, "done").await;
    server.carried().await;
    let (_, late) = server.feed(100).await;
    let list = server.json("/v1/orders?limit=1").await["next"].as_str().unwrap().to_owned();
    let changes =
        server.json("/v1/orders?updated_since=beginning").await["next"].as_str().unwrap().to_owned();
    let in_use = home.run(&["restore", &copy_of(&home), "--replace"]);
    assert_eq!(in_use.code(), 4, "{in_use:?}");
    assert_eq!(server.terminate().await.code(), 0);
    let refused = home.run(&["restore", &copy_of(&home)]);
    assert_eq!(refused.code(), 4, "{refused:?}");
    assert!(refused.stderr.contains("--replace"), "{refused:?}");

    let told = restored(&home, &[&copy_of(&home), "--replace"]);
    let epoch = told["epoch"].as_u64().unwrap();
    assert_eq!((&told["from_epoch"], epoch > 1), (&json!(1), true));
    home.audited();
    let server = home.server().start().await;
    assert_eq!(server.by_reference("lost").await, None);
    assert_eq!(server.by_reference("kept").await.unwrap()["order_id"], kept["order_id"]);
    let stream = [("accept", "text/event-stream"), ("last-event-id", late.as_str())];
    for (path, headers) in [
        (format!("/v1/events?after={late}"), &[][..]),
        (format!("/v1/events?after={early}"), &[][..]),
        ("/v1/events".to_owned(), &stream[..]),
        (format!("/v1/orders?updated_since={changes}"), &[][..]),
        (format!("/v1/orders?limit=1&after={list}"), &[][..]),
    ] {
        let reply = server.send("GET", &path, headers, b"").await;
        let problem = reply.json();
        assert_eq!(
            (reply.status, &problem["type"]),
            (410, &json!("urn:wellorder:problem:epoch-changed")),
            "{path}"
        );
        assert!(problem["detail"].as_str().unwrap().contains("beginning"), "it says what to do: {problem}");
    }
    let order = server.accept(&json!({ "reference": "new", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let lines = server.carried().await;
    let (events, _) = server.feed(100).await;
    let head = made["heads"][0]["position"].as_u64().unwrap();
    let new: Vec<&Value> = events.iter().filter(|event| event["epoch"] == epoch).collect();
    let positions: Vec<u64> = new.iter().map(|event| event["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, [head + 1, head + 2], "they go on from the end of the copy");
    for event in &events {
        assert!(lines.contains(event), "every event of this history is in the sink: {event}");
    }
    // What the file has of the history that is lost can be told: an older epoch, at or behind where the new one begins.
    let lost: Vec<&Value> =
        lines.iter().filter(|line| line["epoch"] == 1 && line["position"].as_u64().unwrap() > head).collect();
    assert_eq!(lost.len(), 2, "{lines:?}");
    drop(server);
    home.audited();
    assert_eq!(home.run(&["audit", "--actions"]).code(), 0);
}

/// What was there lies aside, whole; a copy that is restored twice is two histories.
#[tokio::test]
async fn what_was_replaced_is_moved_aside_and_every_restore_has_an_epoch_of_its_own() {
    let server = Server::builder().start().await;
    let home = server.home();
    server.accept(&json!({ "reference": "kept", "total": 1 })).await;
    backed_up(&home, &copy_of(&home)).await;
    server.accept(&json!({ "reference": "lost", "total": 1 })).await;
    // Its log is still beside the database.
    server.kill().await;
    let first = restored(&home, &[&copy_of(&home), "--replace"]);
    let replaced = Home::new();
    std::fs::create_dir(replaced.data()).unwrap();
    std::fs::copy(first["replaced"].as_str().unwrap(), replaced.database()).unwrap();
    assert_eq!(replaced.audited()["orders"], 2, "nothing of it is missing");
    let second = restored(&home, &[&copy_of(&home), "--replace"]);
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64(), "{first} {second}");
    assert_eq!(aside(&home).len(), 2);
    assert_eq!(home.audited()["orders"], 1);
}

/// Whoever held work when the copy was made has lost it; the followers send again what they sent since; keys are known.
#[tokio::test]
async fn leases_followers_and_keys_are_as_a_new_history_needs_them() {
    let home = Home::new();
    let builder = || home.server().env("WELLORDER_PROCESSOR", "pull");
    let server = builder().start().await;
    eventually("the follower", async || {
        (server.get("/v1/followers/ndjson").await.status == 200).then_some(())
    })
    .await;
    server.post("/v1/followers/ndjson/pause", "").await;
    let key = [("idempotency-key", "k-1"), ("content-type", "application/json")];
    let body = br#"{"total": "1"}"#;
    let order = server.send("POST", "/v1/orders", &key, body).await.json();
    let claimed = server.post("/v1/work/claim", r#"{"max": 1, "lease_seconds": 900}"#).await.json();
    let token = claimed["work"][0]["token"].as_str().unwrap();
    let secret = server.post("/v1/keys", r#"{"name": "k", "scopes": ["orders:read"]}"#).await.json();
    backed_up(&home, &copy_of(&home)).await;
    // All of this is lost, but that the key is worth nothing and a person's data is to be gone.
    let path = format!("/v1/orders/{}/erasures", order["order_id"].as_str().unwrap());
    assert_eq!(server.send("POST", &path, &[], b"").await.status, 200);
    let path = format!("/v1/keys/{}", secret["key_id"].as_str().unwrap());
    assert_eq!(server.send("DELETE", &path, &[], b"").await.status, 200);
    server.post("/v1/followers/ndjson/resume", "").await;
    let sent = server.carried().await;
    assert_eq!(server.terminate().await.code(), 0);

    let told = restored(&home, &[&copy_of(&home), "--replace"]);
    assert_eq!(
        (&told["leases"], &told["followers"], &told["keys_revoked"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(told["erase_again"], json!([order["order_id"]]));
    let server = builder().start().await;
    assert_eq!(server.json(&path).await["state"], "revoked", "a key does not come back to life");
    let late = json!({ "token": token, "outcome": "done" }).to_string();
    let late = server.post("/v1/work/finish", &late).await;
    assert_eq!((late.status, &late.json()["type"]), (409, &json!("urn:wellorder:problem:lease-lost")));
    let again = server.post("/v1/work/claim", r#"{"max": 1}"#).await.json();
    assert_eq!(again["work"][0]["order_id"], order["order_id"], "it is done again");
    let replayed = server.send("POST", "/v1/orders", &key, body).await;
    assert_eq!((replayed.status, &replayed.json()["order_id"]), (200, &order["order_id"]));
    assert_eq!(server.json("/v1/followers/ndjson").await["state"], "paused", "as it was");
    server.post("/v1/followers/ndjson/resume", "").await;
    let all = server.carried().await;
    let again: Vec<&Value> = all[sent.len()..].iter().collect();
    assert_eq!(again.iter().filter(|line| line["event_id"] == sent[0]["event_id"]).count(), 1, "{again:?}");
    drop(server);
    home.audited();
}

#[tokio::test]
async fn what_is_no_whole_copy_is_refused_and_nothing_is_changed() {
    let server = Server::builder().start().await;
    let home = server.home();
    for number in 0..50 {
        server.accept(&json!({ "reference": number.to_string(), "total": 1 })).await;
    }
    let copy = copy_of(&home);
    backed_up(&home, &copy).await;
    let over = home.run(&["backup", "--to", &copy]);
    assert_eq!(over.code(), 4, "never over another file: {over:?}");
    let into = home.run(&["backup", "--json", "--to", &home.path().display().to_string()]).json();
    assert!(
        std::path::Path::new(into["path"].as_str().unwrap()).exists(),
        "into a folder, with its own name"
    );
    assert_eq!(server.terminate().await.code(), 0);
    let before = home.audited();
    let bad = |name: &str| home.path().join(name).display().to_string();
    let sql = |name: &str, sql: &str| {
        std::fs::copy(&copy, bad(name)).unwrap();
        rusqlite::Connection::open(bad(name)).unwrap().execute_batch(sql).unwrap();
    };
    std::fs::write(bad("text"), "no database at all, but rather long".repeat(100)).unwrap();
    std::fs::write(bad("empty"), "").unwrap();
    let whole = std::fs::read(&copy).unwrap();
    std::fs::write(bad("short"), &whole[..whole.len() / 2]).unwrap();
    rusqlite::Connection::open(bad("foreign")).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    sql("newer", "INSERT INTO migrations VALUES (999, 'later', zeroblob(32), 0)");
    sql("gap", "DELETE FROM journal WHERE place = (SELECT min(place) FROM journal)");
    for name in ["text", "empty", "short", "foreign", "newer", "gap"] {
        let ended = home.run(&["restore", &bad(name), "--replace", "--json"]);
        assert_eq!(ended.code(), 4, "{name}: {ended:?}");
        assert!(ended.json()["detail"].is_string(), "{name}: {ended:?}");
    }
    sql("unsound", "UPDATE orders SET total = '2' WHERE number = 1");
    let unsound = home.run(&["restore", &bad("unsound"), "--replace", "--audit", "--json"]);
    assert_eq!((unsound.code(), &unsound.json()["ok"]), (6, &json!(false)));
    assert_eq!(home.run(&["restore", &bad("none"), "--replace"]).code(), 3);
    assert_eq!(home.audited(), before);
    assert_eq!(aside(&home), Vec::<PathBuf>::new(), "nothing is left of what was begun");
    // A folder at rest is copied too.
    let made = home.run(&["backup", "--json"]).json();
    assert_eq!(made["orders"], 50);
    let elsewhere = Home::new();
    assert_eq!(restored(&elsewhere, &[made["path"].as_str().unwrap()])["orders"], 50);
}

#[cfg(feature = "killpoints")]
mod killed {
    use super::*;

    #[tokio::test]
    async fn a_backup_that_was_killed_leaves_no_copy_and_the_next_one_is_whole() {
        let home = Home::new();
        let server = home.server().env("WELLORDER_KILLPOINT", "backup.mid_copy:1").start().await;
        server.accept(&json!({ "reference": "a", "total": 1 })).await;
        assert_ne!(home.run(&["backup", "--to", &copy_of(&home)]).code(), 0);
        assert!(server.ended().await.was_killed());
        assert!(!home.path().join("copy.db").exists());
        let left = || -> Vec<String> {
            let entries = std::fs::read_dir(home.data().join("backups")).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert!(left().iter().all(|name| name.ends_with(".partial")), "{:?}", left());
        home.audited();
        let server = home.server().start().await;
        backed_up(&home, &copy_of(&home)).await;
        assert_eq!(left(), Vec::<String>::new(), "and the rest was cleared away");
        drop(server);
        assert_eq!(restored(&Home::new(), &[&copy_of(&home)])["orders"], 1);
    }

    #[tokio::test]
    async fn a_restore_that_was_killed_leaves_everything_as_it_was() {
        let server = Server::builder().start().await;
        let home = server.home();
        server.accept(&json!({ "reference": "kept", "total": 1 })).await;
        backed_up(&home, &copy_of(&home)).await;
        server.accept(&json!({ "reference": "late", "total": 1 })).await;
        server.kill().await;
        for point in ["backup.mid_copy:1", "restore.mid_swap:1"] {
            let variables = [("WELLORDER_KILLPOINT", point)];
            let killed = home.run_with(&variables, &["restore", &copy_of(&home), "--replace"]);
            assert!(killed.was_killed(), "{point}: {killed:?}");
            assert_eq!(home.audited()["orders"], 2, "{point}");
            let server = home.server().start().await;
            assert!(server.by_reference("late").await.is_some(), "{point}");
            assert_eq!(server.feed(10).await.0[0]["epoch"], 1, "{point}");
            server.kill().await;
        }
        let empty = Home::new();
        let killed =
            empty.run_with(&[("WELLORDER_KILLPOINT", "restore.mid_swap:1")], &["restore", &copy_of(&home)]);
        assert!(killed.was_killed());
        assert!(!empty.database().exists());
        assert_eq!(restored(&empty, &[&copy_of(&home)])["orders"], 1);
        assert_eq!(restored(&home, &[&copy_of(&home), "--replace"])["orders"], 1);
        assert_eq!(home.audited()["orders"], 1);
    }
}
