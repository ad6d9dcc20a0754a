//! The data folder: whose it is, who may use it, what is left of it.

use crate::harness::{Home, Receiver, Server, eventually};
use rustix::process::Signal;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn everything_in_it_is_for_its_owner_alone() {
    let home = Home::new();
    // What the caller allows by its own mask must not matter.
    let inside = home.path().join("a/b/data");
    let nested = inside.display().to_string();
    let server = home.server().without_data().args(&["--data", &nested]).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;
    server.until("/v1/followers/ndjson", |follower| follower["lag"] == 0).await;
    assert_eq!(mode(&inside), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&inside).unwrap() {
        let path = entry.unwrap().path();
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    for name in ["wellorder.db", "wellorder.db-wal", "wellorder.db-shm", "wellorder.lock", "events.ndjson"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    assert!(std::fs::read_dir(home.path()).unwrap().count() == 1, "nothing lies elsewhere");
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_holds_it() {
    let server = Server::builder().start().await;
    let home = server.home();
    let Err(second) = home.server().try_start().await else { panic!("two servers on one folder") };
    assert_eq!(second.code(), 4, "{second:?}");
    let said = format!("{}{}", second.stdout, second.stderr);
    assert!(said.contains("in use") && said.contains(&server.pid().to_string()), "{said}");
    for command in ["dev", "serve", "migrate"] {
        let refused = home.run_with(&[("PORT", "0")], &[command]);
        assert_eq!(refused.code(), 4, "{command}: {refused:?}");
        assert!(refused.stderr.contains("in use") && refused.stderr.contains("--data"), "{refused:?}");
    }
    let refused = home.run(&["migrate", "--json"]).json();
    assert_eq!(refused["type"], "urn:wellorder:problem:refused");
    assert!(said.contains(&server.address.to_string()), "{said}");
    let migrate = home.run(&["migrate"]);
    assert_eq!(migrate.code(), 4, "{migrate:?}");
    assert!(migrate.stderr.contains(&server.pid().to_string()), "{migrate:?}");
    server.accept(&json!({ "total": 1 })).await;
    server.kill().await;
    let server = home.server().start().await;
    assert_eq!(
        server.json("/v1/orders").await["orders"].as_array().unwrap().len(),
        1,
        "a dead holder holds nothing"
    );
}

#[tokio::test]
async fn an_ephemeral_server_leaves_nothing_behind() {
    let home = Home::new();
    let temp = home.path().join("tmp");
    std::fs::create_dir(&temp).unwrap();
    let builder = home.server().without_data().args(&["--ephemeral"]).env("TMPDIR", temp.to_str().unwrap());
    let server = builder.start().await;
    assert_eq!(server.started["ephemeral"], true);
    let folder = server.started["data"].as_str().unwrap().to_owned();
    assert!(folder.starts_with(temp.to_str().unwrap()), "{folder}");
    assert_eq!(mode(Path::new(&folder)), 0o700);
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "the folder is gone");
    let left: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tmp"], "and nothing lies elsewhere");
    assert_eq!(home.run_bare(&[], &["dev", "--ephemeral", "--data", "x"]).code(), 2, "one or the other");
}

/// The lock is the folder's own: a file in it can be deleted, or replaced, and the next process would lock another.
#[tokio::test]
async fn a_lock_file_that_is_deleted_lets_nobody_in_and_is_written_anew() {
    let server = Server::builder().start().await;
    let home = server.home();
    server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let lock = home.data().join("wellorder.lock");
    let whole = std::fs::read(&lock).unwrap();
    let harms: [&dyn Fn(); 3] =
        [&|| std::fs::remove_file(&lock).unwrap(), &|| std::fs::write(&lock, "").unwrap(), &|| {
            let other = home.path().join("other");
            std::fs::write(&other, r#"{"pid":1,"address":"127.0.0.1:1"}"#).unwrap();
            std::fs::rename(&other, &lock).unwrap();
        }];
    for harm in harms {
        harm();
        let Err(second) = home.server().try_start().await else { panic!("two servers on one folder") };
        assert_eq!(second.code(), 4, "{second:?}");
        assert!(second.stdout.contains("in use by another wellorder"), "{second:?}");
        assert_eq!(home.run(&["migrate"]).code(), 4);
        eventually("a lock file that is whole", async || (std::fs::read(&lock).ok()? == whole).then_some(()))
            .await;
        assert_eq!(mode(&lock), 0o600);
        let listed = home.run(&["orders", "get", "a"]);
        assert_eq!(listed.code(), 0, "{listed:?}");
    }
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("the lock file was deleted or changed"), "{ended:?}");
    home.server().start().await;
}

#[tokio::test]
async fn an_impatient_end_takes_the_ephemeral_folder_along_too() {
    for signals in [[Signal::INT, Signal::INT], [Signal::TERM, Signal::TERM]] {
        let home = Home::new();
        let temp = home.path().join("tmp");
        std::fs::create_dir(&temp).unwrap();
        let receiver = Receiver::gated().await;
        let server = home
            .server()
            .without_data()
            .args(&["--ephemeral"])
            .env("TMPDIR", temp.to_str().unwrap())
            .env("WELLORDER_SHUTDOWN_DRAIN_MS", "3600000")
            .processor(&receiver.url())
            .start()
            .await;
        server.accept(&json!({ "total": 1 })).await;
        receiver.until_calls(1).await;
        server.signal(signals[0]);
        server.stderr().until("stopping").await;
        server.signal(signals[1]);
        assert_eq!(server.ended().await.code(), 130);
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "the folder is gone");
    }
}

#[tokio::test]
async fn at_rest_it_is_one_whole_file() {
    let server = Server::builder().start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let home = server.home();
    let ended = server.terminate().await;
    assert_eq!(ended.code(), 0);
    assert!(!home.data().join("wellorder.db-wal").exists(), "the log was carried into the database");
    let copy = Home::new();
    std::fs::create_dir(copy.data()).unwrap();
    std::fs::copy(home.database(), copy.database()).unwrap();
    assert_eq!(copy.audited()["orders"], 1);
}

#[tokio::test]
async fn another_number_of_shards_or_a_file_that_is_no_database_is_refused_with_the_reason() {
    let server = Server::builder().env("WELLORDER_SHARDS", "4").start().await;
    let home = server.home();
    server.accept(&json!({ "total": 1 })).await;
    server.terminate().await;
    let Err(refused) = home.server().try_start().await else { panic!("it started with other shards") };
    assert_eq!(refused.code(), 1);
    assert!(format!("{refused:?}").contains("shards = 4"), "{refused:?}");
    std::fs::write(
        home.database(),
        "this is no database, though it is long enough to look like the head of one",
    )
    .unwrap();
    let Err(refused) = home.server().env("WELLORDER_SHARDS", "4").try_start().await else {
        panic!("no database")
    };
    assert_eq!(refused.code(), 1);
    assert!(!format!("{refused:?}").contains("panicked"), "{refused:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_way_out() {
    let server = Server::builder().start().await;
    let other = Home::new();
    let address = server.address.to_string();
    let ended = other.run(&["dev", "--listen", &address]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("--listen"), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_folder_is_refused_with_the_reason() {
    let home = Home::new();
    std::fs::write(home.data(), "a file").unwrap();
    let Err(refused) = home.server().try_start().await else { panic!("it started on a file") };
    assert_eq!(refused.code(), 1);
    assert!(format!("{refused:?}").contains(home.data().to_str().unwrap()), "{refused:?}");
    assert_eq!(std::fs::read_to_string(home.data()).unwrap(), "a file");
    let doctor = home.run_with(&[("PORT", "0")], &["doctor"]);
    assert_eq!(doctor.code(), 6, "{doctor:?}");
}
