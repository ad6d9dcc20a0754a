//! What people and keys do is told, to their tenant alone, and whoever changes what is told is found out.

use crate::harness::{Home, Server, eventually};
use crate::login::{Token, ask, serving};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::sync::Arc;

/// The action log of a tenant, the oldest first, read in small pages.
async fn actions(server: &Server, bearer: Option<&str>) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(server, "GET", &format!("/v1/actions?limit=3{after}"), bearer, None).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        rows.extend(page["actions"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    rows.reverse();
    rows
}

fn kinds(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

fn end(home: &Home) -> String {
    let ended = home.run(&["audit", "--actions", "--json"]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended.json()["end"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_people_and_keys_do_is_told_to_their_tenant_alone() {
    let home = Home::new();
    let server = serving(&home).env("WELLORDER_AUTH_OPERATOR_TENANT", "acme").start().await;
    let (acme, other) = (Token::all("acme").bearer(), Token::all("other").bearer());
    let done = async |method: &str, path: &str, bearer: &str, body: Option<&str>| -> Value {
        let reply = ask(&server, method, path, Some(bearer), body).await;
        assert!((200..300).contains(&reply.status), "{method} {path}: {}", reply.text());
        reply.json()
    };
    eventually("the follower", async || {
        let reply = ask(&server, "GET", "/v1/followers/ndjson", Some(&acme), None).await;
        (reply.status == 200).then_some(())
    })
    .await;
    let order =
        done("POST", "/v1/orders", &acme, Some(r#"{"total": "1", "customer": "canary-person"}"#)).await;
    let order = order["order_id"].as_str().unwrap();
    done("POST", &format!("/v1/orders/{order}/shipments"), &acme, Some("{}")).await;
    assert_eq!(actions(&server, Some(&acme)).await, Vec::<Value>::new(), "orders tell of themselves");
    let key =
        done("POST", "/v1/keys", &acme, Some(r#"{"name": "canary-name", "scopes": ["audit:read"]}"#)).await;
    let key_id = key["key_id"].as_str().unwrap();
    done("POST", "/v1/keys", &other, Some(r#"{"name": "k", "scopes": ["audit:read"]}"#)).await;
    done("POST", &format!("/v1/keys/{key_id}/rotate"), &acme, None).await;
    done("DELETE", &format!("/v1/keys/{key_id}"), &acme, None).await;
    done("POST", "/v1/followers/ndjson/pause", &acme, None).await;
    done("POST", "/v1/followers/ndjson/resume", &acme, None).await;
    done("POST", "/v1/followers/ndjson/replay", &acme, Some(r#"{"from": "beginning"}"#)).await;
    done("POST", "/v1/redrives", &acme, Some(r#"{"filter": {"all": true}, "reason": "canary-why"}"#)).await;
    let spare = done("POST", "/v1/orders", &acme, Some(r#"{"total": "1"}"#)).await;
    let spare = spare["order_id"].as_str().unwrap();
    let withdrawals = format!("/v1/orders/{spare}/withdrawals");
    done("POST", &withdrawals, &acme, Some(r#"{"reason": "canary-reason"}"#)).await;
    done("POST", &format!("/v1/orders/{order}/erasures"), &acme, None).await;
    done("POST", "/v1/backups", &acme, None).await;
    let unknown = ask(&server, "POST", "/v1/followers/none/pause", Some(&acme), None).await;
    assert_eq!(unknown.status, 404, "what was refused was not done");

    told(&server, &acme, &other, key_id, order).await;
    assert_eq!(end(&home).split(':').next(), Some("11"), "beside a server");
    // What is told outside of the database too can be held against it.
    let noted = server.stderr().until(&end(&home)).await;
    assert!(noted.contains("backup.started"), "{noted}");
}

async fn told(server: &Server, acme: &str, other: &str, key_id: &str, order: &str) {
    let rows = actions(server, Some(acme)).await;
    let expected = [
        "key.created",
        "key.rotated",
        "key.revoked",
        "follower.paused",
        "follower.resumed",
        "follower.replayed",
        "redrive.started",
        "order.withdrawn",
        "order.erased",
        "backup.started",
    ];
    assert_eq!(kinds(&rows), expected);
    for row in &rows {
        assert_eq!((&row["by"], &row["address"]), (&json!("tester"), &json!("127.0.0.1")), "{row}");
        assert!(row["request_id"].is_string() && row["details"].is_object(), "{row}");
        assert!(crate::is_moment(&row["at"], 6), "{row}");
    }
    assert!(
        !json!(rows).to_string().contains("canary"),
        "nothing that was said, and nobody's data: {rows:?}"
    );
    assert_eq!((&rows[0]["subject"], &rows[8]["subject"]), (&json!(key_id), &json!(order)));
    assert_eq!((&rows[0]["state_before"], rows[0]["state_after"].is_string()), (&Value::Null, true));
    assert_eq!(rows[1]["state_before"], rows[0]["state_after"], "a state is followed by its hashes");
    assert_eq!(rows[4]["state_after"], rows[3]["state_before"], "paused and resumed");
    let theirs = actions(server, Some(other)).await;
    assert_eq!((kinds(&theirs), &theirs[0]["number"]), (vec!["key.created"], &json!(2)));
    assert_eq!(theirs[0]["previous_hash"], rows[0]["hash"], "one chain through all tenants");
    let foreign = ask(server, "GET", "/v1/actions?limit=1", Some(acme), None).await.json();
    let foreign = format!("/v1/actions?after={}", foreign["next"].as_str().unwrap());
    assert_eq!(ask(server, "GET", &foreign, Some(other), None).await.status, 400);
}

/// A folder at rest with six rows.
async fn at_rest() -> Arc<Home> {
    let server = Server::builder().start().await;
    eventually("the follower", async || {
        (server.get("/v1/followers/ndjson").await.status == 200).then_some(())
    })
    .await;
    for _ in 0..3 {
        for verb in ["pause", "resume"] {
            let reply = server.post(&format!("/v1/followers/ndjson/{verb}"), "").await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
    let home = server.home();
    assert_eq!(server.terminate().await.code(), 0);
    home
}

fn tampered(home: &Home, sql: &str) -> Arc<Home> {
    let copy = Home::new();
    std::fs::create_dir(copy.data()).unwrap();
    std::fs::copy(home.database(), copy.database()).unwrap();
    let conn = Connection::open(copy.database()).unwrap();
    conn.execute_batch("DROP TRIGGER actions_are_kept; DROP TRIGGER actions_stay_as_they_are").unwrap();
    conn.execute_batch(sql).unwrap();
    copy
}

#[tokio::test]
async fn whoever_changes_the_action_log_is_found_out() {
    let home = at_rest().await;
    let whole = end(&home);
    for (number, sql) in [
        (2, "UPDATE actions SET by = 'somebody else' WHERE number = 2"),
        (3, "UPDATE actions SET at = at + 1 WHERE number = 3"),
        (3, "UPDATE actions SET hash = zeroblob(32) WHERE number = 3"),
        (3, "UPDATE actions SET hash = zeroblob(31) WHERE number = 3"),
        (4, "UPDATE actions SET epoch = 9 WHERE number = 4"),
        (1, "DELETE FROM actions WHERE number = 1"),
        (4, "DELETE FROM actions WHERE number = 4"),
        (4, "DELETE FROM actions WHERE number = 4; UPDATE actions SET number = number - 1 WHERE number > 4"),
        (
            2,
            "UPDATE actions SET number = 99 WHERE number = 2; UPDATE actions SET number = 2 WHERE number = 5; \
             UPDATE actions SET number = 5 WHERE number = 99",
        ),
        (6, "DELETE FROM actions WHERE number = 6"),
        (1, "DELETE FROM actions"),
        (1, "DELETE FROM meta WHERE key = 'action_end'"),
        (0, "UPDATE meta SET value = 7 WHERE key = 'action_end'"),
    ] {
        let copy = tampered(&home, sql);
        let ended = copy.run(&["audit", "--actions", "--json"]);
        assert_eq!(ended.code(), 6, "{sql}: {ended:?}");
        let report = ended.json();
        assert_eq!(
            (&report["ok"], &report["broken"]["number"]),
            (&json!(false), &json!(number)),
            "{sql}: {report}"
        );
        let text = copy.run(&["audit", "--actions"]);
        assert_eq!(text.code(), 6);
        assert!(text.stdout.starts_with(&format!("broken: action {number} ")), "{text:?}");
    }
    // Whoever cuts rows off and writes the end anew leaves a chain that is sound in itself: what was noted elsewhere tells.
    let cut = "DELETE FROM actions WHERE number > 4; UPDATE meta SET value = \
               (SELECT unhex(printf('%016x', number)) || hash FROM actions WHERE number = 4) WHERE key = 'action_end'";
    let cut = format!("{cut}; UPDATE meta SET value = CAST(value AS BLOB) WHERE key = 'action_end'");
    let copy = tampered(&home, &cut);
    assert!(end(&copy).starts_with("4:"));
    let told = copy.run(&["audit", "--actions", "--noted", &whole]);
    assert_eq!(told.code(), 6, "{told:?}");
    assert_eq!(home.run(&["audit", "--actions", "--noted", &whole]).code(), 0);
    let changed = whole.replacen("6:", "5:", 1);
    assert_eq!(home.run(&["audit", "--actions", "--noted", &changed]).code(), 6);
}

/// Our own program cannot change a row either: the database refuses.
#[tokio::test]
async fn rows_of_the_action_log_are_only_added() {
    let home = at_rest().await;
    let conn = Connection::open(home.database()).unwrap();
    for sql in ["UPDATE actions SET by = 'x' WHERE number = 1", "DELETE FROM actions WHERE number = 1"] {
        let refused = conn.execute(sql, []).unwrap_err().to_string();
        assert!(refused.contains("only added to"), "{refused}");
    }
}
