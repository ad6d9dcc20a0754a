//! The follower that writes lines of JSON, and what an operator can do about it.

use crate::harness::{Home, Server, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;

async fn with_done(count: usize) -> (Server, Vec<Value>) {
    let server = Server::builder().start().await;
    let mut orders = Vec::new();
    for number in 0..count {
        orders.push(server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await);
    }
    for order in &orders {
        server.until_order(order, "done").await;
    }
    (server, orders)
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_id"].as_str().unwrap()).collect()
}

/// How often each event is there.
fn counted(events: &[Value]) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for id in ids(events) {
        *counted.entry(id).or_default() += 1;
    }
    counted
}

#[tokio::test]
async fn every_event_lies_in_the_file_as_the_feed_shows_it() {
    let (server, _) = with_done(10).await;
    let lines = server.carried().await;
    let (events, _) = server.feed(1000).await;
    assert_eq!(events.len(), 20);
    let by_id = |events: &[Value]| -> BTreeMap<String, Value> {
        events.iter().map(|event| (event["event_id"].to_string(), event.clone())).collect()
    };
    assert_eq!(lines.len(), 20, "each once");
    assert_eq!(by_id(&lines), by_id(&events));
    let mut versions = BTreeMap::<String, u64>::new();
    for line in &lines {
        let version = versions.entry(line["order_id"].to_string()).or_default();
        *version += 1;
        assert_eq!(line["version"], *version, "an order's events come in their order");
    }
}

#[tokio::test]
async fn a_paused_follower_carries_nothing_on_until_it_is_resumed() {
    let (server, _) = with_done(1).await;
    let before = server.carried().await;
    let paused = server.post("/v1/followers/ndjson/pause", "{}").await;
    assert_eq!((paused.status, &paused.json()["state"]), (200, &json!("paused")), "{}", paused.text());
    let order = server.accept(&json!({ "reference": "later", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let follower = server.json("/v1/followers/ndjson").await;
    assert_eq!(json!([follower["lag"], follower["state"]]), json!([2, "paused"]), "intake goes on");
    assert_eq!(server.home().ndjson(), before);
    assert_eq!(server.get("/readyz").await.status, 200);
    let server = server.restart().await;
    assert_eq!(server.json("/v1/followers/ndjson").await["state"], "paused", "a restart does not resume it");
    let resumed = server.post("/v1/followers/ndjson/resume", "{}").await;
    assert_eq!(resumed.json()["state"], "running");
    let after = server.carried().await;
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!(after[..before.len()], before[..]);
}

#[tokio::test]
async fn a_replay_sends_again_from_where_it_is_told() {
    let (server, _) = with_done(3).await;
    let first = server.carried().await;
    let middle = server.json("/v1/events?limit=2").await["next"].as_str().unwrap().to_owned();
    let replay = async |from: &str| {
        let body = json!({ "from": from }).to_string();
        let reply = server.post("/v1/followers/ndjson/replay", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        server.carried().await
    };
    let twice = replay("beginning").await;
    assert_eq!(twice.len(), 12);
    assert!(counted(&twice).values().all(|count| *count == 2), "the same events again");
    let again: BTreeMap<_, _> = ids(&twice[6..]).into_iter().zip(&twice[6..]).collect();
    let before: BTreeMap<_, _> = ids(&first).into_iter().zip(&first).collect();
    assert_eq!(again, before, "with the same content");
    assert_eq!(replay("now").await.len(), 12, "nothing lies behind now");
    let some = replay(&middle).await;
    assert_eq!(some.len(), 16, "four lie behind the cursor");
    for bad in ["", "yesterday", &middle[1..]] {
        let body = json!({ "from": bad }).to_string();
        let reply = server.post("/v1/followers/ndjson/replay", &body).await;
        assert!((400..=422).contains(&reply.status), "{bad:?}: {}", reply.text());
    }
    assert_eq!(server.carried().await.len(), 16);
}

#[tokio::test]
async fn a_range_is_sent_once_more_and_nothing_else() {
    let (server, _) = with_done(5).await;
    let first = server.carried().await;
    let cursor = server.json("/v1/followers/ndjson").await["cursor"].clone();
    let page = server.json("/v1/events?limit=3").await;
    let behind = format!("/v1/events?limit=4&after={}", page["next"].as_str().unwrap());
    let page = (page["next"].clone(), server.json(&behind).await);
    let range = json!({ "from": page.0, "to": page.1["next"] }).to_string();
    let asked = server.post("/v1/followers/ndjson/replay", &range).await;
    assert_eq!((asked.status, &asked.json()["cursor"]), (200, &cursor), "the cursor does not move back");
    let through = |follower: &Value| follower["replay"].is_null();
    server.until("/v1/followers/ndjson", through).await;
    let twice = server.carried().await;
    let middle = page.1["events"].as_array().unwrap();
    assert_eq!((twice.len(), middle.len()), (first.len() + 4, 4));
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let texts = |events: &[Value]| sorted(ids(events).into_iter().map(str::to_owned).collect());
    assert_eq!(texts(&twice[10..]), texts(middle), "those between, with the same content");
    assert!(twice[10..].iter().all(|event| first.contains(event)));
    assert_eq!(server.json("/v1/followers/ndjson").await["cursor"], cursor);
    // Moments name ranges too; a pause holds them back, a restart does not lose them.
    server.post("/v1/followers/ndjson/pause", "{}").await;
    let all = r#"{"from":"2020-01-01T00:00:00Z","to":"2999-01-01T00:00:00Z"}"#;
    let asked = server.post("/v1/followers/ndjson/replay", all).await;
    assert_eq!(json!([asked.json()["state"], asked.json()["replay"]["left"]]), json!(["paused", 10]));
    let server = server.restart().await;
    let kept = server.json("/v1/followers/ndjson").await;
    assert_eq!(json!([kept["state"], kept["replay"]["left"]]), json!(["paused", 10]));
    server.post("/v1/followers/ndjson/resume", "{}").await;
    server.until("/v1/followers/ndjson", through).await;
    assert_eq!(server.carried().await.len(), 24);
    server.home().audited();
}

#[tokio::test]
async fn the_command_line_steers_it_too() {
    let (server, _) = with_done(1).await;
    server.carried().await;
    let home = server.home();
    let list = home.run(&["followers"]);
    assert_eq!(list.code(), 0);
    assert!(list.stdout.contains("ndjson") && list.stdout.contains("running"), "{list:?}");
    for (command, says, state) in
        [("pause", "ndjson is paused\n", "paused"), ("resume", "ndjson carries on\n", "running")]
    {
        let said = home.run(&["followers", command, "ndjson"]);
        assert_eq!((said.code(), said.stdout.as_str()), (0, says));
        let shown = home.run(&["followers", "get", "ndjson", "--json"]);
        assert_eq!(shown.json()["state"], state);
    }
    let replayed = home.run(&["followers", "replay", "ndjson", "--from", "beginning"]);
    assert_eq!(replayed.code(), 0, "{replayed:?}");
    assert_eq!(server.carried().await.len(), 4);
    let range = home.run(&["followers", "replay", "ndjson", "--from", "beginning", "--to", "now"]);
    assert_eq!((range.code(), range.stdout.as_str()), (0, "ndjson carries 2 events on once more\n"));
    server.until("/v1/followers/ndjson", |follower| follower["replay"].is_null()).await;
    assert_eq!(server.carried().await.len(), 6);
    let none = home.run(&["followers", "replay", "ndjson", "--from", "now", "--to", "now", "--json"]);
    assert_eq!((none.code(), &none.json()["replay"]), (0, &Value::Null));
    let turned = home.run(&["followers", "replay", "ndjson", "--from", "now", "--to", "beginning"]);
    assert_eq!(turned.code(), 4, "{turned:?}");
    assert_eq!(home.run(&["followers", "get", "nobody"]).code(), 3);
    assert_eq!(home.run(&["followers", "pause", "nobody"]).code(), 3);
}

#[tokio::test]
async fn a_sink_that_fails_is_shown_and_catches_up_by_itself() {
    let home = Home::new();
    let path = home.path().join("sink/events.ndjson");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let server = home.server().env("WELLORDER_NDJSON_PATH", path.to_str().unwrap()).start().await;
    let first = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&first, "done").await;
    server.until("/v1/followers/ndjson", |follower| follower["lag"] == 0).await;
    let away = home.path().join("away");
    std::fs::rename(path.parent().unwrap(), &away).unwrap();
    let second = server.accept(&json!({ "reference": "b", "total": 1 })).await;
    server.until_order(&second, "done").await;
    let failing = server.until("/v1/followers/ndjson", |follower| follower["state"] == "failing").await;
    assert!(failing["last_error"].is_string() && failing["lag"].as_u64() > Some(0), "{failing}");
    assert_eq!(server.get("/readyz").await.status, 200, "a sink that is away keeps no order out");
    std::fs::rename(&away, path.parent().unwrap()).unwrap();
    // The cursor is seen to have moved a moment before the follower itself hears of it.
    let well = |follower: &Value| follower["lag"] == 0 && follower["state"] == "running";
    let well = server.until("/v1/followers/ndjson", well).await;
    assert_eq!(well["last_error"], Value::Null);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4);
}

#[tokio::test]
async fn events_go_to_standard_output_when_asked_and_the_start_does_not() {
    let home = Home::new();
    let mut child = home
        .command(&["dev", "--listen", "127.0.0.1:0", "--data", "data", "--json"])
        .env("WELLORDER_NDJSON_PATH", "-")
        .env("WORKER_PROCESSING_DELAY_MS", "0")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = crate::harness::Lines::gather(child.stdout.take().unwrap());
    let stderr = crate::harness::Lines::gather(child.stderr.take().unwrap());
    stderr.until("on http://").await;
    let created = eventually("the server", async || {
        let created = home.run(&["orders", "create", "--total", "1", "--json"]);
        (created.status.code() == Some(0)).then_some(created)
    })
    .await;
    stdout.until("order.processed").await;
    let lines: Vec<Value> = stdout.all().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!([lines[0]["type"], lines[1]["type"]]), json!(["order.accepted", "order.processed"]));
    assert_eq!(lines[0]["order_id"], created.json()["order_id"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_full_file_is_renamed_and_no_event_is_lost_between_two() {
    let server = Server::builder().env("WELLORDER_NDJSON_ROTATE_MIB", "1").start().await;
    let filling = "x".repeat(100_000);
    let mut orders = Vec::new();
    for number in 0..25 {
        let attributes = json!({ "filling": filling });
        let order = json!({ "reference": format!("r-{number}"), "total": 1, "attributes": attributes });
        orders.push(server.accept(&order).await);
    }
    for order in &orders {
        server.until_order(order, "done").await;
    }
    let mut lines = server.carried().await;
    let (events, _) = server.feed(1000).await;
    let data = server.home().data();
    for number in 1..=2 {
        let text = std::fs::read_to_string(data.join(format!("events.ndjson.{number:06}"))).unwrap();
        assert!(text.len() <= 1 << 20 && text.ends_with('\n'), "{}", text.len());
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    assert_eq!(lines.len(), 50);
    assert!(events.iter().all(|event| lines.contains(event)));
}

#[tokio::test]
async fn a_file_that_is_cut_or_deleted_while_it_is_written_is_noticed_and_goes_on() {
    let (server, _) = with_done(3).await;
    assert_eq!(server.carried().await.len(), 6);
    let path = server.home().data().join("events.ndjson");
    let cut = || drop(std::fs::File::create(&path).unwrap());
    let deleted = || std::fs::remove_file(&path).unwrap();
    let harms: [(&dyn Fn(), &str); 2] = [(&cut, "it was cut short"), (&deleted, "moved away or deleted")];
    for (harm, said) in harms {
        harm();
        let order = server.accept(&json!({ "total": 1 })).await;
        server.until_order(&order, "done").await;
        server.stderr().until(said).await;
        let lines = server.carried().await;
        assert_eq!(lines.len(), 2, "{said}: {lines:?}");
        assert!(lines.iter().all(|line| line["order_id"] == order["order_id"]), "{said}: {lines:?}");
    }
    assert_eq!(server.json("/v1/followers/ndjson").await["state"], "running");
}
