//! A start that cannot have its database yet, its sink, or a clock that is right.

use crate::bad_input::{APIS, OSCARPS, PARSPEC, is_refusal};
use crate::harness::{Builder, Disk, Home, Server, Starting};
use crate::login::SECRET;
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use testkit::http::Client;

/// A folder with an order in it that is done, at rest.
async fn with_an_order() -> (Arc<Home>, Value) {
    let server = Server::builder().start().await;
    let home = server.home();
    let order = server.accept(&json!({ "reference": "before", "total": 1 })).await;
    server.until_order(&order, "done").await;
    server.carried().await;
    assert_eq!(server.terminate().await.code(), 0);
    (home, order)
}

fn locked(database: &Path) -> Connection {
    let other = Connection::open(database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

/// It lives, says what it waits for, and refuses everything else in the form of each API.
async fn waits(starting: &Starting, why: &[&str]) {
    let client = starting.client;
    starting.stderr().until("waiting for the database").await;
    assert_eq!(client.get("/livez").await.status, 200);
    let ready = client.get("/readyz?verbose").await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("not-ready")));
    assert!(ready.header("retry-after").is_some());
    let check = &ready.json()["checks"][0];
    assert_eq!((&check["name"], &check["ok"]), (&json!("storage"), &json!(false)));
    for word in why {
        assert!(check["detail"].as_str().unwrap().contains(word), "{word}: {check}");
    }
    for api in &APIS {
        for reply in [client.post(api.path, api.valid).await, client.get(api.path).await] {
            is_refusal(api, &reply, 503, None, "before it began");
            assert!(reply.header("retry-after").is_some(), "{}", api.path);
        }
    }
    for path in ["/", "/metrics", "/v1/orders/x", "/nowhere", "/openapi.json"] {
        let reply = client.get(path).await;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{path}");
        assert!(reply.header("retry-after").is_some(), "{path}");
    }
}

/// It begins by itself, in the same process and at the same address, with all that was there.
async fn begins(starting: Starting, order: &Value) -> Server {
    let (pid, address) = (starting.pid(), starting.address);
    let server = starting.started().await;
    assert_eq!((server.pid(), server.address), (pid, address));
    server.stderr().until("the database can be had").await;
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(server.by_reference("before").await.unwrap()["order_id"], order["order_id"]);
    let after = server.accept(&json!({ "reference": "after", "total": 1 })).await;
    server.until_order(&after, "done").await;
    assert_eq!(server.by_reference("a").await, None, "what was refused was not written");
    server.home().audited();
    server
}

fn impatient(home: &Arc<Home>) -> Builder {
    home.server().env("WELLORDER_STORAGE_BUSY_TIMEOUT_MS", "10")
}

#[tokio::test]
async fn a_start_waits_while_another_program_holds_the_database() {
    let (home, order) = with_an_order().await;
    let other = locked(&home.database());
    let starting = impatient(&home).begin().await;
    waits(&starting, &["locked", "another program", "end it", home.database().to_str().unwrap()]).await;
    assert_eq!(home.run(&["healthcheck"]).code(), 1);
    let listed = home.run(&["orders", "list"]);
    assert_eq!(listed.code(), 1, "{listed:?}");
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code(), 6, "{doctor:?}");
    assert!(doctor.stdout.contains("another program"), "{doctor:?}");
    other.execute_batch("ROLLBACK").unwrap();
    let server = begins(starting, &order).await;
    assert_eq!(home.run(&["healthcheck"]).code(), 0);
    let said = server.terminate().await;
    assert_eq!(said.code(), 0);
    assert_eq!(said.stderr.matches("waiting for the database").count(), 1, "once: {}", said.stderr);
}

#[tokio::test]
async fn a_lock_that_is_waited_out_in_silence_is_waited_for_in_public_too() {
    let (home, order) = with_an_order().await;
    let other = locked(&home.database());
    // SQLite itself waits an hour here.
    let starting = home.server().env("WELLORDER_STORAGE_BUSY_TIMEOUT_MS", "3600000").begin().await;
    assert_eq!(starting.client.get("/livez").await.status, 200);
    assert_eq!(starting.client.get("/readyz").await.status, 503);
    other.execute_batch("ROLLBACK").unwrap();
    let server = starting.started().await;
    assert_eq!(server.by_reference("before").await.unwrap()["order_id"], order["order_id"]);
}

/// Addresses of contracts can be connected to already: who does is told as well.
#[tokio::test]
async fn further_addresses_refuse_while_a_start_waits() {
    let (home, order) = with_an_order().await;
    let other = locked(&home.database());
    let free = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [contract, grpc] = free.map(|listener| listener.local_addr().unwrap());
    let starting = impatient(&home)
        .env("WELLORDER_CONTRACTS_PARSPEC_LISTEN", &contract.to_string())
        .env("WELLORDER_CONTRACTS_ORDERSTREAM_GRPC", &grpc.to_string())
        .begin()
        .await;
    starting.stderr().until("waiting for the database").await;
    for address in [contract, grpc] {
        let reply = Client::new(address).get("/orders").await;
        assert_eq!((reply.status, reply.header("retry-after").is_some()), (503, true), "{}", reply.text());
    }
    other.execute_batch("ROLLBACK").unwrap();
    let server = begins(starting, &order).await;
    assert_eq!(Client::new(contract).get("/nowhere").await.status, 404);
    assert_eq!(server.terminate().await.code(), 0);
}

#[tokio::test]
async fn a_start_waits_while_the_disk_is_full() {
    let (home, order) = with_an_order().await;
    let disk = Disk::new(home.path());
    for how in ["ENOSPC room wellorder.db-shm", "ENOSPC room wellorder.db*", "EIO write wellorder.db-shm"] {
        disk.fail(how);
        let starting = disk.under(home.server()).begin().await;
        waits(&starting, &["cannot be opened yet", "no restart is needed"]).await;
        assert!(disk.failures() > 0, "{how}");
        disk.heal();
        begins(starting, &order).await.terminate().await;
        // The next round begins as this one did.
        std::fs::remove_dir_all(home.data()).unwrap();
        let server = home.server().start().await;
        server.accept(&json!({ "reference": "before", "total": 1 })).await;
        server.terminate().await;
    }
}

#[tokio::test]
async fn the_first_start_of_all_waits_for_room_and_leaves_nothing_half_written() {
    for how in ["ENOSPC write wellorder.db-wal", "ENOSPC torn wellorder.db-wal", "ENOSPC room wellorder.db*"]
    {
        let home = Home::new();
        let disk = Disk::new(home.path());
        disk.fail(how);
        let starting = disk.under(home.server()).begin().await;
        waits(&starting, &["cannot be opened yet"]).await;
        disk.heal();
        let server = starting.started().await;
        let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
        server.until_order(&order, "done").await;
        assert_eq!(home.audited()["orders"], 1, "{how}");
    }
}

#[tokio::test]
async fn a_server_for_others_waits_the_same_way_and_tells_strangers_less() {
    let (home, order) = with_an_order().await;
    let disk = Disk::new(home.path());
    disk.fail("ENOSPC room wellorder.db*");
    let starting = disk.under(home.server().serving().env("JWT_SECRET", SECRET)).begin().await;
    starting.stderr().until("waiting for the database").await;
    let verbose = starting.client.get("/readyz?verbose").await;
    assert_eq!((verbose.status, verbose.json()), (503, json!({ "status": "not-ready" })));
    let said = starting.stderr().until("is not open yet").await;
    let ops = said.split_once("\"ops\":\"").unwrap().1.split_once('"').unwrap().0;
    let ops = Client::new(ops.parse().unwrap());
    assert_eq!(ops.get("/livez").await.status, 200);
    let verbose = ops.get("/readyz?verbose").await;
    assert!(verbose.text().contains("cannot be opened yet"), "{}", verbose.text());
    assert_eq!(ops.get("/metrics").await.status, 503);
    disk.heal();
    let server = starting.started().await;
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(server.get("/v1/orders").await.status, 401);
    assert_eq!(server.terminate().await.code(), 0);
    let found = home.run(&["orders", "get", "before", "--json"]).json();
    assert_eq!(found["order_id"], order["order_id"]);
}

#[tokio::test]
async fn what_the_settings_lack_is_told_at_once_though_the_database_is_away() {
    let (home, _) = with_an_order().await;
    let disk = Disk::new(home.path());
    disk.fail("ENOSPC room wellorder.db*");
    let builder = disk.under(home.server().serving().env("JWT_SECRET", "changeme"));
    let Err(refused) = builder.try_start().await else { panic!("it started with a weak secret") };
    assert_eq!(refused.code(), 2, "{refused:?}");
}

#[tokio::test]
async fn a_contract_at_the_root_refuses_in_its_own_form_meanwhile() {
    let (home, _) = with_an_order().await;
    let _other = locked(&home.database());
    for api in [&OSCARPS, &PARSPEC] {
        let name = api.path.split('/').nth(1).unwrap();
        let starting = impatient(&home).args(&["--as", name]).begin().await;
        let root = api.path.strip_prefix(&format!("/{name}")).unwrap();
        for path in [root, "/docs", "/nowhere"] {
            let reply = starting.client.post(path, api.valid).await;
            is_refusal(api, &reply, 503, None, "at the root");
        }
        assert_eq!(starting.client.get("/livez").await.status, 200);
        assert_eq!(starting.client.get("/readyz").await.status, 503);
    }
}

#[tokio::test]
async fn a_signal_ends_the_waiting() {
    let (home, _) = with_an_order().await;
    let _other = locked(&home.database());
    for (signal, busy) in [(Signal::TERM, "10"), (Signal::INT, "10"), (Signal::TERM, "3600000")] {
        let starting = home.server().env("WELLORDER_STORAGE_BUSY_TIMEOUT_MS", busy).begin().await;
        starting.signal(signal);
        let ended = starting.ended().await;
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
}

#[tokio::test]
async fn what_does_not_go_away_alone_ends_the_start_with_the_reason() {
    let home = Home::new();
    std::fs::create_dir_all(home.database()).unwrap();
    let Err(refused) = home.server().try_start().await else { panic!("it started on a folder") };
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stdout.contains(home.database().to_str().unwrap()), "{refused:?}");
}

/// What reads the folder at rest, and what it finds there.
fn is_readable(home: &Home, disk: &Disk, how: &str) {
    let reads: [&[&str]; 5] = [
        &["orders", "list"],
        &["orders", "get", "before"],
        &["events", "tail"],
        &["parked"],
        &["audit", "--json"],
    ];
    for args in reads {
        let ended = disk.run(home, args);
        assert_eq!(ended.code(), 0, "{how}: {args:?}: {ended:?}");
        let found = ended.stdout.contains("before") || ["parked", "audit", "events"].contains(&args[0]);
        assert!(found, "{how}: {args:?}: {ended:?}");
    }
    let refused = disk.run(home, &["orders", "create", "--reference", "x", "--total", "1"]);
    assert_eq!(refused.code(), 1, "{how}: {refused:?}");
    assert!(refused.stderr.contains("fix"), "{how}: {refused:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_can_be_read_whole_or_with_its_log() {
    let (home, _) = with_an_order().await;
    let disk = Disk::new(home.path());
    for how in ["ENOSPC room /data/*", "EROFS open /data/*"] {
        disk.fail(how);
        is_readable(&home, &disk, how);
        disk.heal();
    }
    // A process that was killed leaves its log: what was committed last lies there alone.
    let server = home.server().api_alone().start().await;
    server.accept(&json!({ "reference": "newest", "total": 1 })).await;
    server.kill().await;
    assert!(std::fs::metadata(home.data().join("wellorder.db-wal")).unwrap().len() > 0);
    let before = std::fs::read(home.database()).unwrap();
    for how in ["EROFS open /data/*", "ENOSPC room /data/*"] {
        drop(std::fs::remove_file(home.data().join("wellorder.db-shm")));
        disk.fail(how);
        is_readable(&home, &disk, how);
        let newest = disk.run(&home, &["orders", "get", "newest"]);
        assert_eq!(newest.code(), 0, "{how}: {newest:?}");
        disk.heal();
    }
    assert!(std::fs::read(home.database()).unwrap() == before, "and nothing was changed");
    assert!(std::fs::metadata(home.data().join("wellorder.db-wal")).unwrap().len() > 0);
    assert_eq!(home.audited()["orders"], 2);
}

/// A server whose file of events lies there.
fn with_sink(home: &Arc<Home>, path: &Path) -> Builder {
    home.server().env("WELLORDER_NDJSON_PATH", path.to_str().unwrap())
}

/// The sink is away: it is said, and orders are taken in and processed all the same.
async fn goes_without_its_sink(server: &Server, named: &str) -> Value {
    let failing = server.until("/v1/followers/ndjson", |follower| follower["state"] == "failing").await;
    let error = failing["last_error"].as_str().unwrap();
    assert!(error.contains(named), "{error}");
    let ready = server.get("/readyz?verbose").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    let checks = ready.json()["checks"].clone();
    let followers = checks.as_array().unwrap().iter().find(|check| check["name"] == "followers").unwrap();
    assert!(followers["detail"].as_str().unwrap().contains(error), "{followers}");
    let order = server.accept(&json!({ "reference": "meanwhile", "total": 1 })).await;
    server.until_order(&order, "done").await
}

/// Everything lies in the file, once it can be had.
async fn catches_up(server: &Server, path: &Path, order: &Value) {
    server
        .until("/v1/followers/ndjson", |follower| {
            follower["lag"] == 0
                && json!([follower["state"], follower["last_error"]]) == json!(["running", null])
        })
        .await;
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.contains(order["order_id"].as_str().unwrap())).count();
    assert_eq!(lines, 2, "{text}");
}

#[tokio::test]
async fn a_sink_whose_folder_is_missing_keeps_nobody_out_and_is_taken_up_when_it_is_there() {
    let home = Home::new();
    let path = home.path().join("sink/events.ndjson");
    let server = with_sink(&home, &path).start().await;
    let order = goes_without_its_sink(&server, path.to_str().unwrap()).await;
    let doctor = home.run_with(&[("WELLORDER_NDJSON_PATH", path.to_str().unwrap())], &["doctor"]);
    assert_eq!(doctor.code(), 6, "{doctor:?}");
    assert!(
        doctor.stdout.contains("its folder is missing") && doctor.stdout.contains("mkdir -p"),
        "{doctor:?}"
    );
    std::fs::create_dir(home.path().join("sink")).unwrap();
    catches_up(&server, &path, &order).await;
}

#[tokio::test]
async fn a_sink_on_a_disk_that_cannot_be_written_keeps_nobody_out_either() {
    for how in ["ENOSPC open events.ndjson", "EROFS open events.ndjson"] {
        let home = Home::new();
        let disk = Disk::new(home.path());
        disk.fail(how);
        let server = disk.under(home.server()).start().await;
        let order = goes_without_its_sink(&server, "events.ndjson").await;
        disk.heal();
        catches_up(&server, &home.data().join("events.ndjson"), &order).await;
    }
}

#[tokio::test]
async fn a_sink_that_can_never_be_is_refused() {
    let home = Home::new();
    let Err(refused) = with_sink(&home, home.path()).try_start().await else {
        panic!("it writes to a folder")
    };
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.stdout.contains("ndjson.path") && refused.stdout.contains("is a folder"), "{refused:?}");
}

#[tokio::test]
async fn a_clock_that_was_set_forward_and_back_is_told_of() {
    let home = Home::new();
    let disk = Disk::new(home.path());
    let server = disk.under(home.server()).start().await;
    let clock = async || {
        let checks = server.json("/readyz?verbose").await["checks"].clone();
        let found = checks.as_array().unwrap().iter().find(|check| check["name"] == "clock").cloned();
        found.unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(clock().await, "runs with the machine's");
    disk.set_clock(3_600);
    server.accept(&json!({ "reference": "later", "total": 1 })).await;
    disk.set_clock(0);
    assert!(clock().await.contains("s ahead"), "{}", clock().await);
    server.stderr().until("the machine's clock was set back").await;
    let doctor = home.run(&["doctor"]);
    assert!(doctor.stdout.contains("behind the newest event"), "{doctor:?}");
    let said = server.terminate().await;
    assert_eq!(said.stderr.matches("the machine's clock was set back").count(), 1, "{}", said.stderr);
    let server = home.server().start().await;
    server.stderr().until("the newest event lies in the future").await;
}
