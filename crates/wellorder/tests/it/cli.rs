//! The command line around the server: health, the doctor, migrations, completions, usage.

use crate::harness::{Ended, Home, Server};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[tokio::test]
async fn healthcheck_tells_ready_not_ready_and_nobody_there() {
    let server = Server::builder().api_alone().start().await;
    let home = server.home();
    let ready = home.run(&["healthcheck"]);
    assert_eq!((ready.code(), ready.stdout.as_str()), (0, "ready\n"));
    let url = format!("http://{}", server.address);
    let elsewhere = Home::new();
    assert_eq!(elsewhere.run_bare(&[], &["healthcheck", "--url", &url]).code(), 0);
    assert_eq!(elsewhere.run_bare(&[], &["healthcheck", "--url", &url, "--json"]).json()["status"], "ready");
    assert_eq!(
        elsewhere.run_bare(&[("PORT", &server.address.port().to_string())], &["healthcheck"]).code(),
        0
    );
    std::fs::rename(home.database(), home.data().join("away")).unwrap();
    let not = home.run(&["healthcheck"]);
    assert_eq!((not.code(), not.stdout.as_str()), (1, "not ready\n"), "{not:?}");
    assert_eq!(home.run(&["healthcheck", "--json"]).json()["status"], "not-ready");
    std::fs::rename(home.data().join("away"), home.database()).unwrap();
    server.kill().await;
    let nobody = elsewhere.run_bare(&[], &["healthcheck", "--url", &url]);
    assert_eq!(nobody.code(), 5, "{nobody:?}");
    assert!(nobody.stderr.contains("fix:"), "{nobody:?}");
    assert_eq!(elsewhere.run_bare(&[], &["healthcheck", "--url", &url, "--json"]).json()["exit"], 5);
}

/// What the doctor said of one thing.
fn verdict<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {report}"))
}

fn doctor(home: &Home) -> Ended {
    home.run_with(&[("PORT", "0")], &["doctor", "--json"])
}

#[tokio::test]
async fn the_doctor_finds_nothing_where_all_is_well() {
    let home = Home::new();
    let before = doctor(&home);
    assert_eq!((before.code(), &before.json()["ok"]), (0, &json!(true)), "no folder yet: {before:?}");
    assert!(!home.data().exists(), "it changes nothing");
    let server = home.server().start().await;
    let port = server.address.port().to_string();
    let beside = home.run_with(&[("PORT", &port)], &["doctor", "--json"]);
    assert_eq!(beside.code(), 0, "{beside:?}");
    let report = beside.json();
    for name in [
        "settings",
        "data folder",
        "database file",
        "free space",
        "clock",
        "database",
        "server",
        "listen",
        "readiness",
    ] {
        assert_eq!(verdict(&report, name)["result"], "ok", "{report}");
    }
    assert!(verdict(&report, "server")["detail"].as_str().unwrap().contains(&server.pid().to_string()));
    server.terminate().await;
    let text = home.run_with(&[("PORT", "0")], &["doctor"]);
    assert_eq!(text.code(), 0, "{text:?}");
    assert!(text.stdout.lines().all(|line| line.starts_with("ok")), "{text:?}");
}

#[tokio::test]
async fn the_doctor_names_what_is_wrong_and_the_fix() {
    let server = Server::builder().start().await;
    let home = server.home();
    let fails = |ended: &Ended, name: &str, fix: &str| {
        assert_eq!(ended.code(), 6, "{ended:?}");
        let report = ended.json();
        assert_eq!(
            (&report["ok"], &verdict(&report, name)["result"]),
            (&json!(false), &json!("fail")),
            "{report}"
        );
        let said = verdict(&report, name)["fix"].as_str().unwrap();
        assert!(said.contains(fix), "{name}: {said}");
    };
    std::fs::rename(home.database(), home.data().join("away")).unwrap();
    fails(&doctor(&home), "readiness", "log");
    std::fs::rename(home.data().join("away"), home.database()).unwrap();
    let address = server.address.to_string();
    let elsewhere = Home::new();
    let taken = elsewhere.run_with(&[("WELLORDER_LISTEN", &address)], &["doctor", "--json"]);
    fails(&taken, "listen", "--listen");
    server.terminate().await;
    let room = home.run_with(
        &[("PORT", "0"), ("WELLORDER_STORAGE_FREE_SPACE_MIN_MIB", "1048576")],
        &["doctor", "--json"],
    );
    fails(&room, "free space", "make room");
    std::fs::set_permissions(home.database(), PermissionsExt::from_mode(0o644)).unwrap();
    fails(&doctor(&home), "database file", "chmod 600");
    std::fs::set_permissions(home.database(), PermissionsExt::from_mode(0o600)).unwrap();
    let changed = rusqlite::Connection::open(home.database()).unwrap();
    changed.execute("INSERT INTO migrations VALUES (999, 'later', zeroblob(32), 0)", []).unwrap();
    drop(changed);
    fails(&doctor(&home), "database", "newer");
    let text = home.run_with(&[("PORT", "0")], &["doctor"]);
    assert!(text.code() == 6 && text.stdout.contains("FAIL") && text.stdout.contains("fix:"), "{text:?}");
    std::fs::write(home.database(), "x".repeat(5000)).unwrap();
    fails(&doctor(&home), "database", "backups");
}

#[tokio::test]
async fn migrate_makes_a_folder_ready_and_then_has_nothing_to_do() {
    let home = Home::new();
    let made = home.run(&["migrate", "--json"]);
    assert_eq!(made.code(), 0, "{made:?}");
    let newest = made.json()["to"].clone();
    assert_eq!(json!([made.json()["from"], made.json()["backup"]]), json!([0, null]));
    let again = home.run(&["migrate"]);
    assert_eq!((again.code(), again.stdout), (0, format!("schema {newest} is the newest: nothing to do\n")));
    let server = home.server().start().await;
    assert_eq!(server.started["schema"], newest);
    server.terminate().await;
    let newer = rusqlite::Connection::open(home.database()).unwrap();
    newer.execute("INSERT INTO migrations VALUES (999, 'later', zeroblob(32), 0)", []).unwrap();
    drop(newer);
    let refused = home.run(&["migrate"]);
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("newer wellorder"), "{refused:?}");
    let Err(refused) = home.server().try_start().await else { panic!("it started on a newer schema") };
    assert_eq!(refused.code(), 1);
}

#[test]
fn completions_are_scripts_that_their_shell_reads() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        // Wrong settings must not keep it from working.
        let script = home.run_bare(&[("WELLORDER_NOPE", "1")], &["completions", shell]);
        assert_eq!(script.code(), 0, "{shell}");
        assert!(script.stdout.contains("wellorder") && script.stdout.contains("redrive"), "{shell}");
    }
    let script = home.run_bare(&[], &["completions", "bash"]).stdout;
    let file = home.path().join("completion");
    std::fs::write(&file, script).unwrap();
    if let Ok(checked) = Command::new("bash").arg("-n").arg(&file).output() {
        assert!(checked.status.success(), "{checked:?}");
    }
    assert_eq!(home.run_bare(&[], &["completions", "tcsh"]).code(), 2);
}

#[test]
fn what_is_said_wrong_is_usage() {
    let home = Home::new();
    for args in [
        &["nope"][..],
        &[],
        &["dev", "--as", "nope"],
        &["dev", "--listen", "nowhere"],
        &["dev", "--listen", "0.0.0.0:0"],
        &["dev", "--role", "nope"],
        &["dev", "--ops", "0.0.0.0:1"],
        &["orders"],
        &["orders", "create"],
        &["orders", "create", "--total", "1", "--line", "tea"],
        &["orders", "redrive", "--reason", "x"],
        &["orders", "redrive", "--all"],
        &["orders", "list", "--processing", "lost"],
        &["events", "tail", "--limit", "x"],
        &["followers", "replay", "ndjson"],
        &["--config", "missing.toml", "config", "show"],
    ] {
        let ended = home.run_bare(&[], args);
        assert_eq!(ended.code(), 2, "{args:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{args:?}");
        let ended = home.run_bare(&[], &[&["--json"], args].concat());
        assert_eq!(ended.code(), 2, "{args:?}: {ended:?}");
        let problem = ended.json();
        assert_eq!(problem["type"], "urn:wellorder:problem:usage", "{args:?}: {problem}");
        assert_eq!(
            (problem["title"].as_str(), problem["exit"].as_u64()),
            (Some("usage"), Some(2)),
            "{args:?}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{args:?}: {problem}");
        assert_eq!(ended.stderr, "", "{args:?}");
    }
    let told = home.run_bare(&[], &["orders", "list", "--nope", "--json"]).json();
    assert_eq!(told["detail"], "unexpected argument '--nope' found");
    for args in [&["--help"][..], &["--version"], &["dev", "--help"], &["orders", "create", "--help"]] {
        assert_eq!(home.run_bare(&[], args).code(), 0, "{args:?}");
    }
    let help = home.run_bare(&[], &["--help"]).stdout;
    assert!(help.contains("Exit codes"), "{help}");
}
