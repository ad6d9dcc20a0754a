//! The parts of the journal on PostgreSQL, through the program: killed in the middle of each step, it goes on at the next start.

use crate::harness::database::{count, run};
use crate::harness::{Builder, Database, Home, eventually};
use std::fmt::Write;
use std::sync::Arc;

/// One shard, and parts as small as may be.
fn small(home: &Arc<Home>, killed_at: &str) -> Builder {
    let server = home.server().api_alone().env("WELLORDER_SHARDS", "1");
    let server = server.env("WELLORDER_JOURNAL_PART_EVENTS", "1000");
    if killed_at.is_empty() { server } else { server.env("WELLORDER_KILLPOINT", &[killed_at, ":1"].concat()) }
}

fn forgetful(home: &Arc<Home>, killed_at: &str) -> Builder {
    small(home, killed_at).env("WELLORDER_JOURNAL_RETENTION_DAYS", "1")
}

fn parts(home: &Home) -> usize {
    count(home.url().unwrap(), "SELECT count(*) FROM journal_parts WHERE $1 = ''", "")
}

/// Whether the first part is in the list, as a table, or neither.
fn first_part(home: &Home) -> [usize; 2] {
    let url = home.url().unwrap();
    let listed = count(url, "SELECT count(*) FROM journal_parts WHERE low::text = $1", "0");
    [listed, count(url, "SELECT count(*) FROM pg_class WHERE relname = $1", "journal_0_0")]
}

/// Starts it, and waits until it is killed: that may be before it says that it has started.
async fn killed(server: Builder) {
    let ended = match server.try_start().await {
        Ok(server) => server.ended().await,
        Err(ended) => ended,
    };
    assert!(ended.was_killed(), "{ended:?}");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_making_or_dropping_parts_leaves_nothing_wrong() {
    let home = Home::on(Some(Arc::new(Database::new())));
    let server = small(&home, "parts.mid_make").start().await;
    let mut lines = String::new();
    for number in 0..1_100 {
        writeln!(lines, r#"{{"reference": "r-{number}", "total": "1"}}"#).unwrap();
    }
    let bulk = [("content-type", "application/x-ndjson")];
    let answers = server.send("POST", "/v1/orders/bulk", &bulk, lines.as_bytes()).await;
    assert_eq!(answers.status, 200);
    assert!(server.ended().await.was_killed(), "by the look behind the bulk");
    assert_eq!(parts(&home), 2, "what was half made is undone");
    home.audited();

    let server = small(&home, "").start().await;
    assert_eq!(parts(&home), 3, "a start makes it");
    let order = server.by_reference("r-0").await.unwrap();
    let events = ["/v1/orders/", order["order_id"].as_str().unwrap(), "/events"].concat();
    assert_eq!(server.json(&events).await["truncated"], false);
    server.terminate().await;

    let long_ago = "UPDATE spans SET latest = latest - interval '9 days'";
    run(home.url().unwrap(), long_ago);
    killed(forgetful(&home, "parts.after_floor")).await;
    assert_eq!(
        count(home.url().unwrap(), "SELECT count(*) FROM journal_heads WHERE floor::text = $1", "999"),
        1
    );
    assert_eq!(first_part(&home), [1, 1], "the floor comes first");
    home.audited();

    killed(forgetful(&home, "parts.mid_drop")).await;
    assert_eq!(first_part(&home), [1, 1], "what was half dropped is undone");
    home.audited();

    let server = forgetful(&home, "").start().await;
    eventually("the end of the first part", async || (first_part(&home) == [0, 0]).then_some(())).await;
    let history = server.json(&events).await;
    assert_eq!((history["events"].as_array().unwrap().len(), &history["truncated"]), (0, &true.into()));
    let timeline = server.json(&events.replace("/events", "/timeline")).await;
    assert_eq!((&timeline["truncated"], &timeline["version"]), (&true.into(), &1.into()));
    let (kept, _) = server.feed(10).await;
    assert_eq!(kept[0]["position"], 1_000, "the feed begins with what is kept");
    server.accept(&serde_json::json!({ "reference": "r-new", "total": "1" })).await;
    server.terminate().await;
    home.audited();
}
