//! What hints name can be pasted into another shell of the same folder: the program as it was started, the data folder
//! or the server that was named.

use crate::harness::{Ended, Home, PROGRAM, Server};
use crate::login::ask;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Types `line` into a shell in `folder` that knows of nothing.
fn paste(folder: &Path, line: &str) -> Ended {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env_clear().current_dir(folder);
    shell.output().unwrap().into()
}

/// The commands that a start says to try next.
async fn tries(server: &Server) -> Vec<String> {
    server.stdout().until("events tail --follow").await;
    let lines = server.stdout().all();
    let begin = lines.iter().position(|line| line == "Try next:").unwrap();
    lines[begin + 1..].iter().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test]
async fn what_a_start_says_to_try_works_elsewhere() {
    for builder in [
        Server::builder().for_people(),
        Server::builder().for_people().without_data().args(&["--ephemeral"]),
        Server::builder().for_people().without_data().env("WELLORDER_DATA", "it's here"),
    ] {
        let server = builder.start().await;
        let tries = tries(&server).await;
        assert_eq!(tries.len(), 3, "{tries:?}");
        let hint = server.stdout().until("sales asks for one: ").await;
        let token = paste(server.home().path(), hint.split_once("one: ").unwrap().1).stdout;
        let bearer = format!("Bearer {}", token.trim());
        let sold = ask(&server, "GET", "/sales/api/v1/orders", Some(&bearer), None).await;
        assert_eq!((sold.status, sold.text()), (200, "[]"), "{hint}");
        let listed = paste(server.home().path(), &tries[1]);
        assert_eq!((listed.code(), listed.stderr.trim()), (0, "no orders"), "{tries:?}: {listed:?}");
        let posted = paste(server.home().path(), &format!("PATH=/usr/bin:/bin {}", tries[0]));
        assert_eq!(posted.code(), 0, "{tries:?}: {posted:?}");
        let seen = paste(server.home().path(), &tries[2].replace("--follow", "-n 200"));
        assert!(seen.stdout.contains("order.accepted"), "{tries:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_node_without_the_api_names_nothing_of_it_to_try() {
    for role in ["worker", "relay"] {
        let server = Server::builder().for_people().args(&["--role", role]).start().await;
        server.stdout().until("  data ").await;
        let ended = server.terminate().await;
        assert!(!ended.stdout.contains("Try next") && !ended.stdout.contains("/v1"), "{role}: {ended:?}");
    }
}

#[tokio::test]
async fn a_hint_of_a_command_names_the_same_place() {
    let server = Server::builder().start().await;
    let home = server.home();
    let url = format!("http://{}", server.address);
    let next =
        |ended: &Ended| ended.stderr.lines().find_map(|line| line.strip_prefix("next: ").map(str::to_owned));
    let create = ["orders", "create", "--reference", "A-1", "--total", "1"];
    for place in [["--url", url.as_str()], ["--data", "data"]] {
        for (before, behind) in [(&place[..], &[][..]), (&[], &place[..])] {
            let created = home.run_bare(&[], &[before, &create, behind].concat());
            let hint = next(&created).unwrap_or_else(|| panic!("{created:?}"));
            assert!(hint.ends_with(&place.join(" ")), "{hint}");
            let got = paste(home.path(), &hint);
            assert!(got.code() == 0 && got.stdout.contains("A-1"), "{hint}: {got:?}");
        }
    }
    server.terminate().await;
    let nowhere = home.run_bare(&[], &["orders", "list", "--data", "not here", "--json"]);
    let fix = format!("start `{PROGRAM} dev --data 'not here'`, or name the folder with --data");
    assert_eq!(nowhere.json()["fix"], fix);
}

#[test]
fn the_program_is_named_as_it_was_started() {
    let home = Home::new();
    let program = Path::new(PROGRAM);
    let (folder, path) = (program.parent().unwrap(), program.parent().unwrap().display());
    let said = |line: &str, folder: &Path| {
        let text = paste(folder, line).stdout;
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{line}: {text}"));
        value["fix"].as_str().unwrap().split('`').nth(1).unwrap().to_owned()
    };
    let absent = "orders list --json --data absent";
    let rest = "dev --data absent";
    assert_eq!(said(&format!("{PROGRAM} {absent}"), home.path()), format!("{PROGRAM} {rest}"));
    assert_eq!(said(&format!("PATH='{path}' wellorder {absent}"), home.path()), format!("wellorder {rest}"));
    assert_eq!(said(&format!("PATH='{path}' {PROGRAM} {absent}"), home.path()), format!("wellorder {rest}"));
    assert_eq!(said(&format!("./wellorder {absent}"), folder), format!("./wellorder {rest}"));
    assert_eq!(said(&format!("{PROGRAM} {absent}"), folder), format!("./wellorder {rest}"));
    let above = folder.parent().unwrap();
    let below = Path::new(folder.file_name().unwrap()).join("wellorder");
    assert_eq!(said(&format!("{} {absent}", below.display()), above), format!("{} {rest}", below.display()));
}

#[tokio::test]
async fn a_reference_of_another_source_is_found_by_name_or_the_error_names_it() {
    let server = Server::builder().start().await;
    let home = server.home();
    let parked =
        json!({ "reference": "A-1", "source": "shop", "total": 1, "attributes": { "simulate": "park" } });
    let order = server.accept(&parked).await;
    server.until_order(&order, "parked").await;
    let verbs: [&[&str]; 7] = [
        &["orders", "get", "A-1"],
        &["orders", "redrive", "A-1", "--reason", "again"],
        &["orders", "watch", "A-1"],
        &["orders", "withdraw", "A-1", "--reason", "late"],
        &["orders", "ship", "A-1"],
        &["orders", "deliver", "A-1"],
        &["orders", "erase", "A-1", "--yes"],
    ];
    let url = format!("http://{}", server.address);
    for verb in verbs {
        for place in [["--url", url.as_str()], ["--data", "data"]] {
            let missed = home.run_bare(&[], &[verb, &place].concat());
            assert_eq!(missed.code(), 3, "{verb:?}: {missed:?}");
            assert!(missed.stderr.contains("say --source shop"), "{verb:?}: {missed:?}");
        }
    }
    let elsewhere = home.run(&["orders", "get", "A-1", "--source", "web"]);
    assert!(elsewhere.code() == 3 && elsewhere.stderr.contains("say --source shop"), "{elsewhere:?}");
    let nowhere = home.run(&["orders", "get", "A-2"]);
    assert!(nowhere.code() == 3 && !nowhere.stderr.contains("--source"), "{nowhere:?}");
    // A redrive of what parks again, of a source that is a contract's name too, at rest as beside a server.
    let named = ["--source", "shop"];
    let redriven = home.run(&[verbs[1], &named].concat());
    assert_eq!((redriven.code(), redriven.stdout.as_str()), (0, "1 redriven\n"), "{redriven:?}");
    server.post("/oscarps/orders", r#"{"orderId":"o-1","customer":"c","total":1}"#).await;
    assert!(home.run(&["orders", "get", "o-1"]).stderr.contains("say --source oscarps"));
    assert_eq!(home.run(&["orders", "get", "o-1", "--source", "oscarps"]).code(), 0);
    server.until_order(&order, "parked").await;
    server.terminate().await;
    assert!(home.run(verbs[0]).stderr.contains("say --source shop"));
    assert_eq!(home.run(&[verbs[1], &named].concat()).code(), 0);
}
