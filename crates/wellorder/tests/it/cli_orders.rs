//! `orders` and `events`: with a server, and on the folder itself.

use crate::harness::{Ended, Home, Server};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

/// Every command that reads, in both forms.
fn readings(home: &Home, id: &str) -> Vec<Ended> {
    let commands = [
        &["orders", "list"][..],
        &["orders", "list", "--processing", "done", "--limit", "1"],
        &["orders", "list", "--reference", "A-1"],
        &["orders", "list", "--source", "nobody"],
        &["orders", "get", "A-1"],
        &["orders", "get", id],
        &["orders", "get", "nope"],
        &["events", "tail"],
        &["events", "tail", "--limit", "3"],
        &["followers"],
        &["followers", "get", "ndjson"],
        &["followers", "get", "nobody"],
    ];
    commands.iter().flat_map(|args| [home.run(args), home.run(&[args, &["--json"][..]].concat())]).collect()
}

/// What a command said, less the id of the request, which is another each time, and less how many nodes carry a follower: none
/// does at rest.
fn said(ended: &Ended) -> (i32, Value, String) {
    let mut out = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| Value::from(ended.stdout.as_str()));
    if let Some(body) = out.as_object_mut() {
        body.remove("request_id");
        let listed = body.get_mut("followers").and_then(Value::as_array_mut);
        for follower in listed.into_iter().flatten().filter_map(Value::as_object_mut) {
            follower.remove("relays");
        }
        body.remove("relays");
    }
    let err = ended.stderr.lines().filter(|line| !line.trim_start().starts_with("request "));
    (ended.code(), out, err.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn a_running_server_and_the_folder_at_rest_say_the_same() {
    let server = Server::builder().start().await;
    let home = server.home();
    for args in [
        &[
            "--reference",
            "A-1",
            "--customer",
            "c",
            "--currency",
            "EUR",
            "--line",
            "tea:2:9.95",
            "--line",
            "a:b:1:0.10",
        ][..],
        &["--reference", "A-2", "--total", "5", "--attributes", r#"{"gift":true}"#],
        &["--total", "1.50"],
    ] {
        let created = home.run(&[&["orders", "create", "--json"], args].concat());
        assert_eq!(created.code(), 0, "{created:?}");
        server.until_order(&created.json(), "done").await;
    }
    server.carried().await;
    let order = server.by_reference("A-1").await.unwrap();
    assert_eq!(json!([order["total"], order["lines"][1]["sku"]]), json!(["20.00", "a:b"]));
    let id = order["order_id"].as_str().unwrap();
    let beside = readings(&home, id);
    assert_eq!(server.terminate().await.code(), 0);
    let at_rest = readings(&home, id);
    for (beside, at_rest) in beside.iter().zip(&at_rest) {
        assert_eq!(said(beside), said(at_rest));
    }
    assert!(
        beside[0].stdout.starts_with("ORDER ") && beside[0].stdout.lines().count() == 4,
        "{}",
        beside[0].stdout
    );
    assert_eq!(beside[1].json()["orders"].as_array().unwrap().len(), 3);
    assert!(beside[2].stderr.starts_with("more: --cursor "), "{:?}", beside[2]);
    assert_eq!(beside[9].json(), server_order(&home, id));
    assert_eq!([beside[12].code(), beside[22].code()], [3, 3]);
}

fn server_order(home: &Home, id: &str) -> Value {
    home.run(&["orders", "get", id, "--json"]).json()
}

#[tokio::test]
async fn events_are_printed_as_many_as_asked_for_and_on_from_a_cursor() {
    let server = Server::builder().start().await;
    let home = server.home();
    for number in 0..4 {
        let order = server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
        server.until_order(&order, "done").await;
    }
    let three = home.run(&["events", "tail", "--from", "beginning", "--limit", "3"]);
    assert_eq!((three.code(), three.stdout.lines().count()), (0, 3), "{three:?}");
    let cursor = three.stderr.trim().strip_prefix("more: --after ").unwrap().to_owned();
    let rest = home.run(&["events", "tail", "--after", &cursor]);
    assert_eq!((rest.code(), rest.stdout.lines().count()), (0, 5), "{rest:?}");
    let all = home.run(&["events", "tail", "--from", "beginning"]);
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let pages = format!("{}{}", three.stdout, rest.stdout);
    assert_eq!(sorted(&all.stdout), sorted(&pages), "the same, however it is cut into pages");
    let pages = home.run(&["events", "tail", "--from", "beginning", "--limit", "3", "--json"]);
    let read: Vec<Value> = pages.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((read.len(), &read[0]["epoch"]), (3, &json!(1)), "an event a line");
    assert_eq!(pages.stderr, format!("more: --after {cursor}\n"));
    let newest = home.run(&["events", "tail", "-n", "3"]);
    let lines: Vec<&str> = all.stdout.lines().collect();
    assert_eq!(newest.stdout.lines().collect::<Vec<_>>(), lines[lines.len() - 3..], "the newest");
    let behind = newest.stderr.trim().strip_prefix("more: --after ").unwrap();
    assert_eq!(home.run(&["events", "tail", "--after", behind]).stdout, "");
    assert_eq!(home.run(&["events", "tail"]).stdout.lines().count(), 8, "ten are enough for all");
    let refused = home.run(&["events", "tail", "--after", "nonsense"]);
    assert_eq!(refused.code(), 4, "{refused:?}");

    let mut following = home.command(&["events", "tail", "--follow", "--limit", "10", "--data", "data"]);
    let mut following = following.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = crate::harness::Lines::gather(following.stdout.take().unwrap());
    lines.until("r-3").await;
    server.accept(&json!({ "reference": "later", "total": 1 })).await;
    lines.until("later").await;
    lines.whole().await;
    assert_eq!(lines.all().len(), 10, "and it ends by itself: {:?}", lines.all());
    assert!(following.wait().unwrap().success());
}

#[tokio::test]
async fn exit_codes_tell_what_became_of_it() {
    let server = Server::builder().start().await;
    let home = server.home();
    let create = ["orders", "create", "--reference", "A-1", "--total", "5"];
    let new = home.run(&create);
    assert_eq!(new.code(), 0);
    assert!(new.stdout.contains("accepted: number 1"), "{new:?}");
    let again = home.run(&create);
    assert_eq!(again.code(), 0);
    assert!(again.stdout.contains("was accepted before"), "{again:?}");
    let differs = home.run(&["orders", "create", "--reference", "A-1", "--total", "6"]);
    assert_eq!(differs.code(), 4);
    assert!(differs.stderr.contains("/total"), "{differs:?}");
    let refused = home.run(&["orders", "create", "--total", "x", "--currency", "euro"]);
    assert_eq!(refused.code(), 4);
    assert!(refused.stderr.contains("/total") && refused.stderr.contains("/currency"), "{refused:?}");
    let refused = home.run(&["orders", "create", "--total", "x", "--json"]);
    assert_eq!((refused.code(), &refused.json()["status"]), (4, &json!(422)));
    assert_eq!(home.run(&["orders", "get", "nope"]).code(), 3);
    assert_eq!(home.run(&["orders", "get", "00000000-0000-8000-8000-000000000000"]).code(), 3);
    assert_eq!(home.run(&["orders", "get", "A-1", "--source", "nobody"]).code(), 3);
    for args in [&["orders", "list"][..], &["events", "tail"], &["followers"], &["orders", "get", "x"]] {
        let elsewhere = Home::new();
        let none = elsewhere.run(args);
        assert_eq!(none.code(), 5, "{args:?}: {none:?}");
        assert!(!elsewhere.data().exists(), "{args:?} makes no folder");
        let nobody = elsewhere.run_bare(&[], &[args, &["--url", "http://127.0.0.1:1"][..]].concat());
        assert_eq!(nobody.code(), 5, "{args:?}: {nobody:?}");
    }
    std::fs::rename(home.database(), home.data().join("away")).unwrap();
    let fault = home.run(&["orders", "list"]);
    assert_eq!(fault.code(), 1, "{fault:?}");
    std::fs::rename(home.data().join("away"), home.database()).unwrap();
}

#[tokio::test]
async fn an_order_may_come_from_a_file_from_standard_input_or_without_a_server() {
    let home = Home::new();
    let first = home.run(&["orders", "create", "--reference", "A-1", "--total", "5", "--json"]);
    assert_eq!(first.code(), 0, "it makes the folder: {first:?}");
    std::fs::write(home.path().join("order.json"), r#"{"reference":"A-2","total":"3.20"}"#).unwrap();
    assert_eq!(home.run(&["orders", "create", "order.json"]).code(), 0);
    let mut child = home
        .command(&["orders", "create", "-", "--data", "data", "--json", "--idempotency-key", "k-1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(br#"{"total":"3.30"}"#).unwrap();
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert_eq!((ended.code(), &ended.json()["total"]), (0, &json!("3.30")));
    let again = home.run(&["orders", "create", "--total", "3.3", "--idempotency-key", "k-1", "--json"]);
    assert_eq!(again.json()["order_id"], ended.json()["order_id"], "a key is known without a server too");
    let server = home.server().start().await;
    server.until_order(&first.json(), "done").await;
    assert_eq!(server.json("/v1/orders").await["orders"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn hostile_data_does_nothing_to_a_terminal_and_no_color_is_honoured() {
    let server = Server::builder().start().await;
    let home = server.home();
    let hostile = "x\u{1b}[2J\u{9b}31m\u{202e}\r\nforged";
    server.accept(&json!({ "reference": hostile, "customer": hostile, "total": 1 })).await;
    for args in [&["orders", "list"][..], &["orders", "get", hostile], &["events", "tail"]] {
        for json in [&[][..], &["--json"]] {
            for variables in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "dumb")]] {
                let ended = home.run_with(variables, &[args, json].concat());
                assert_eq!(ended.code(), 0, "{ended:?}");
                let text = format!("{}{}", ended.stdout, ended.stderr);
                let unsafe_one = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
                assert_eq!(unsafe_one, None, "{args:?} {json:?}: {text:?}");
                assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_fault() {
    let server = Server::builder().start().await;
    let home = server.home();
    let filling = "x".repeat(100_000);
    for number in 0..3 {
        let order =
            json!({ "reference": format!("r-{number}"), "total": 1, "attributes": { "filling": filling } });
        server.accept(&order).await;
    }
    for args in [&["orders", "list", "--json"][..], &["events", "tail", "--json", "--follow"]] {
        let mut child = home.command(&[args, &["--data", "data"]].concat());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // More than a pipe holds is to be written; nobody reads it.
        drop(child.stdout.take());
        let ended: Ended = child.wait_with_output().unwrap().into();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{args:?}");
    }
}
