//! `audit` finds what was done to a database behind the program's back.

use crate::harness::{Home, Server};
use rusqlite::Connection;
use serde_json::json;
use std::sync::Arc;

/// A folder at rest with three orders: done, parked and waiting.
async fn at_rest() -> Arc<Home> {
    let server = Server::builder()
        .env("WELLORDER_WORKER_BACKOFF_BASE_MS", "3600000")
        .env("WELLORDER_WORKER_BACKOFF_CAP_MS", "3600000")
        .start()
        .await;
    let order = |reference: &str, simulate: serde_json::Value| json!({ "reference": reference, "total": 1, "attributes": { "simulate": simulate } });
    let done = server.accept(&order("done", json!({ "delay_ms": 0 }))).await;
    let parked = server.accept(&order("parked", json!("park"))).await;
    let waiting = server.accept(&order("waiting", json!("fail"))).await;
    server.until_order(&done, "done").await;
    server.until_order(&parked, "parked").await;
    let path = format!("/v1/orders/{}", waiting["order_id"].as_str().unwrap());
    server.until(&path, |order| order["attempt"] == 1).await;
    server.carried().await;
    let home = server.home();
    assert_eq!(server.terminate().await.code(), 0);
    home
}

#[tokio::test]
async fn a_sound_folder_is_sound_at_rest_and_beside_a_server() {
    let home = at_rest().await;
    let report = home.audited();
    assert_eq!(
        json!([report["ok"], report["orders"], report["events"], report["work"]]),
        json!([true, 3, 6, 1])
    );
    assert_eq!(json!([report["followers"], report["found"], report["findings"]]), json!([1, 0, []]));
    let server = home.server().api_alone().start().await;
    assert_eq!(home.audited(), report);
    let text = home.run(&["audit"]);
    assert_eq!(text.stdout, "sound: orders 3, events 6, work 1, followers 1\n");
    drop(server);
}

/// Damage, and the check that must find it.
const TAMPERING: &[(&str, &str)] = &[
    ("fold", "UPDATE orders SET total = '2' WHERE reference = 'done'"),
    ("fold", "UPDATE orders SET processing = 'done' WHERE reference = 'parked'"),
    ("fold", "UPDATE orders SET customer = 'somebody' WHERE reference = 'done'"),
    ("positions", "DELETE FROM journal WHERE rowid = (SELECT min(rowid) FROM journal)"),
    ("versions", "UPDATE journal SET version = 7 WHERE type = 'order.processed'"),
    ("events", "DELETE FROM orders WHERE reference = 'done'"),
    ("work", "DELETE FROM work"),
    (
        "work",
        "INSERT INTO work SELECT number, order_id, tenant, 0, 0, 0, 0, NULL, NULL, NULL FROM orders WHERE reference = 'done'",
    ),
    ("cursors", "UPDATE cursors SET position = position + 1000"),
    ("cursors", "UPDATE cursors SET replay_next = 0, replay_up_to = position + 1"),
    ("cursors", "UPDATE cursors SET replay_next = 0"),
    ("tallies", "UPDATE tallies SET orders = orders + 1"),
    ("unreadable", "UPDATE orders SET customer = CAST(x'ff' AS TEXT) WHERE reference = 'done'"),
    ("unreadable", "UPDATE orders SET order_id = x'01' WHERE reference = 'done'"),
    ("unreadable", "UPDATE followers SET epoch = -1"),
    ("ids", "INSERT OR REPLACE INTO meta VALUES ('ids_merged', 1000)"),
    ("idempotency", "INSERT INTO idempotency VALUES ('default', 'r', 'k', zeroblob(16), zeroblob(32), 0)"),
    ("redrives", "INSERT INTO redrive_items VALUES (zeroblob(16), 1, zeroblob(16), 'unknown')"),
    (
        "redrives",
        "INSERT INTO redrives VALUES (zeroblob(16), 'default', '{}', 'why', 'me', 1, 3, 0, 0, 0, 9, 8)",
    ),
    (
        "redrives",
        "INSERT INTO redrives VALUES (zeroblob(16), 'default', '{}', 'why', 'me', 1, 0, 0, 0, 0, 3, 8)",
    ),
    ("work", "UPDATE work SET tenant = 'other'"),
    ("work", "UPDATE work SET desk = 3"),
    ("work", "UPDATE work SET attempt = 2"),
    ("work", "UPDATE work SET lapses = 5000"),
    ("work", "UPDATE work SET token = zeroblob(16)"),
    ("work", "UPDATE work SET claimed_at = 1"),
    ("work", "UPDATE work SET token = zeroblob(16), claimed_at = 1"),
    ("work", "UPDATE work SET due_at = due_at + 200000000000"),
    ("unreadable", "UPDATE work SET token = x'00'"),
    ("positions", "UPDATE journal_heads SET floor = 1000"),
    (
        "positions",
        "UPDATE journal_heads SET floor = position FROM journal WHERE journal.shard = journal_heads.shard",
    ),
    ("positions", "DELETE FROM journal_heads"),
    ("positions", "INSERT INTO journal_heads VALUES (99, 0)"),
    ("epochs", "UPDATE journal SET epoch = 2"),
    ("epochs", "UPDATE journal SET epoch = 0"),
    ("events", "UPDATE journal SET data_version = 9"),
    ("events", "UPDATE journal SET type = 'order.dreamt' WHERE type = 'order.processed'"),
    ("cursors", "DELETE FROM cursors"),
    ("cursors", "INSERT INTO cursors SELECT follower, 99, 0, NULL, NULL, NULL FROM cursors LIMIT 1"),
    ("cursors", "INSERT INTO cursors (follower, shard, position) VALUES ('ghost', 0, 0)"),
    ("cursors", "UPDATE followers SET epoch = 2"),
    (
        "idempotency",
        "INSERT INTO idempotency SELECT tenant, 'v1.orders', 'k', order_id, zeroblob(32), 0 FROM orders LIMIT 1",
    ),
    ("tallies", "INSERT INTO tallies VALUES ('default', 'ghost', 0, 0, 0, 0, 0)"),
    ("ids", "DELETE FROM order_ids WHERE number = 1"),
    ("ids", "UPDATE order_ids SET number = 2 WHERE number = 1"),
    ("ids", "INSERT INTO order_ids VALUES (zeroblob(16), 1)"),
    ("blocks", "INSERT INTO order_blocks VALUES (0, 0, 0)"),
    ("blocks", "INSERT INTO journal_blocks VALUES (0, 0, 0)"),
    (
        "actions",
        "INSERT OR REPLACE INTO meta VALUES ('action_end', CAST(x'0000000000000007' || zeroblob(32) AS BLOB))",
    ),
];

#[tokio::test]
async fn every_kind_of_tampering_is_found_and_named() {
    let home = at_rest().await;
    for (check, sql) in TAMPERING {
        let copy = Home::new();
        std::fs::create_dir(copy.data()).unwrap();
        std::fs::copy(home.database(), copy.database()).unwrap();
        let changed = Connection::open(copy.database()).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
        let ended = copy.run(&["audit", "--json"]);
        assert_eq!(ended.code(), 6, "{sql}: {ended:?}");
        let report = ended.json();
        assert_eq!(report["ok"], false);
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["check"] == *check), "{sql}: {report}");
        assert_eq!(report["found"].as_u64().unwrap(), findings.len() as u64);
        assert!(
            findings.iter().all(|finding| finding["detail"].is_string() && finding["subject"].is_string())
        );
        let text = copy.run(&["audit"]);
        assert_eq!(text.code(), 6);
        assert!(text.stdout.contains("CHECK") && text.stdout.contains(check), "{sql}: {text:?}");
    }
    home.audited();
}

#[tokio::test]
async fn what_is_no_database_is_said_and_not_called_sound() {
    let home = Home::new();
    assert_eq!(home.run(&["audit"]).code(), 5, "there is no folder");
    std::fs::create_dir(home.data()).unwrap();
    let missing = home.run(&["audit", "--json"]);
    assert_eq!(missing.code(), 5, "there is no database: {missing:?}");
    assert!(missing.json()["detail"].is_string());
    std::fs::write(home.database(), "x".repeat(5000)).unwrap();
    assert_eq!(home.run(&["audit"]).code(), 1);
    std::fs::write(home.database(), "").unwrap();
    assert_eq!(home.run(&["audit"]).code(), 1, "an empty file");
}

/// SQLite cannot read the rows of a page that is damaged; the audit names them and reads the others.
#[tokio::test]
async fn a_damaged_page_is_a_finding() {
    let home = at_rest().await;
    let mut bytes = std::fs::read(home.database()).unwrap();
    let holds = |page: &[u8], text: &str| page.windows(text.len()).any(|part| part == text.as_bytes());
    let pages = bytes.chunks_mut(4_096).skip(1);
    for page in pages.filter(|page| page[0] == 0x0d && holds(page, "order.accepted")) {
        page[..64].fill(0xff);
    }
    std::fs::write(home.database(), bytes).unwrap();
    let ended = home.run(&["audit", "--json"]);
    assert_eq!(ended.code(), 6, "{ended:?}");
    let report = ended.json();
    let findings = report["findings"].as_array().unwrap();
    let named = |finding: &serde_json::Value| {
        finding["check"] == "unreadable" && finding["detail"].as_str().unwrap().contains("malformed")
    };
    assert!(findings.iter().any(named), "{report}");
    assert_eq!(report["orders"], 3, "{report}");
}
