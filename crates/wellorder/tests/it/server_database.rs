//! A database on a server: what a start makes of one that is away or not right, and what commands say of it.

use crate::harness::database::{count, run};
use crate::harness::{Database, Home, Server, eventually};
use crate::login::{ask, offline_key, serving};
use crate::own_server::OwnServer;
use serde_json::{Value, json};
use std::sync::Arc;

/// Starts on this URL, in vain; what it said.
fn refused(url: &str) -> String {
    let home = Home::on(None);
    let ended = home.run(&["dev", "--listen", "127.0.0.1:0", "--database", url]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    ended.stderr
}

#[test]
fn a_database_that_cannot_be_used_is_named_with_its_fix() {
    let database = Database::new();
    let missing = [&database.url, "_not"].concat();
    let said = refused(&missing);
    assert!(said.contains("_not") && said.contains("CREATE DATABASE"), "{said}");
    let stranger = database.url.replace("postgres@", "nobody_at_all:hunter2@");
    let said = refused(&stranger);
    assert!(said.contains("nobody_at_all") && said.contains("`database`"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let poor = ["r", database.url.rsplit_once('/').unwrap().1].concat();
    run(&database.url, &format!("REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE ROLE {poor} LOGIN"));
    let said = refused(&database.url.replace("postgres@", &format!("{poor}@")));
    run(&database.url, &format!("DROP ROLE {poor}"));
    assert!(said.contains("GRANT"), "{said}");
}

#[test]
fn a_url_that_is_none_is_a_wrong_setting() {
    let home = Home::on(None);
    for (url, what) in [
        ("mysql://u:hunter2@h/n", "is no address of a PostgreSQL database"),
        ("postgres://u:hunter2@db.example.com/n?sslmode=disable", "sslmode=disable"),
        ("postgres://u:hunter2@h:port/n", "cannot be used"),
    ] {
        let ended = home.run(&["audit", "--database", url]);
        assert_eq!(ended.code(), 2, "{ended:?}");
        assert!(ended.stderr.contains(what) && !ended.stderr.contains("hunter2"), "{ended:?}");
    }
    let variables = [("API_POSTGRES_DSN", "postgres://u:hunter2@h/n"), ("WELLORDER_ROLE", "api")];
    let shown = home.run_with(&variables, &["config", "show"]);
    assert!(shown.stdout.contains("postgres://(hidden)@h/n"), "{shown:?}");
    assert!(!shown.stdout.contains("hunter2"), "{shown:?}");
    let worker = home.run_with(&[variables[0], ("WELLORDER_ROLE", "worker")], &["config", "show"]);
    assert!(!worker.stdout.contains("@h/n"), "of another role: {worker:?}");
}

#[tokio::test]
async fn a_server_that_stops_is_waited_for() {
    let own = OwnServer::start();
    let home = Home::on(Some(Arc::new(Database::on(&own.url()))));
    own.stop();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = home.server().listening(free.to_string().leak());
    let client = testkit::http::Client::new(free);
    let meanwhile = async {
        eventually("that it lives", async || {
            tokio::net::TcpStream::connect(free).await.ok()?;
            (client.get("/livez").await.status == 200).then_some(())
        })
        .await;
        let refused = eventually("why it waits", async || {
            let reply = client.get("/readyz?verbose").await;
            reply.text().contains("PostgreSQL at 127.0.0.1").then_some(reply)
        })
        .await;
        assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
        assert_eq!(client.get("/v1/orders").await.status, 503);
        own.resume();
    };
    let (server, ()): (Server, ()) = tokio::join!(builder.start(), meanwhile);
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;

    own.stop();
    eventually("a refusal", async || {
        let reply = server.post("/v1/orders", r#"{"reference": "b", "total": 1}"#).await;
        (reply.status == 503 && reply.header("retry-after").is_some()).then_some(())
    })
    .await;
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 503);
    let ready = server.get("/readyz?verbose").await.json();
    let database = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database");
    assert!(database.unwrap()["detail"].as_str().unwrap().contains("`database`"), "{ready}");
    own.resume();
    let again = eventually("that it takes orders again", async || {
        let reply = server.post("/v1/orders", r#"{"reference": "b", "total": 1}"#).await;
        (reply.status < 300).then(|| reply.json())
    })
    .await;
    server.until_order(&again, "done").await;
    server.carried().await;
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(home.audited()["orders"], 2);
}

#[tokio::test]
async fn commands_look_at_it_copy_it_with_its_own_tools_and_begin_another_history() {
    let home = Home::new();
    let empty = home.run(&["audit"]);
    assert!(empty.stderr.contains("no wellorder in this database"), "{empty:?}");
    let doctor: Value = home.run(&["doctor", "--json"]).json();
    assert!(doctor["checks"].to_string().contains("is empty"), "{doctor}");
    let both = std::thread::scope(|scope| {
        let starts = [(), ()].map(|()| scope.spawn(|| home.run(&["migrate", "--json"])));
        starts.map(|start| start.join().unwrap())
    });
    let mut from = both.each_ref().map(|ended| ended.json()["from"].as_i64().unwrap());
    from.sort_unstable();
    assert!(from[0] == 0 && from[1] == both[0].json()["to"], "one of them migrates: {both:?}");

    let created = home.run(&["orders", "create", "--reference", "a", "--total", "1.5", "--json"]);
    assert_eq!(created.code(), 0, "{created:?}");
    let doctor: Value = home.run(&["doctor", "--json"]).json();
    let check = |name: &str| {
        let checks = doctor["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {doctor}"))
            .clone()
    };
    assert!(check("database")["detail"].as_str().unwrap().contains("PostgreSQL 1"), "{doctor}");
    assert_eq!((&check("standby")["result"], &check("clock")["result"]), (&json!("warn"), &json!("ok")));
    let copied = home.run(&["backup"]);
    assert_eq!(copied.code(), 4, "{copied:?}");
    assert!(copied.stderr.contains("pg_dump"), "{copied:?}");
    let restored = home.run(&["restore", "a.db"]);
    assert!(restored.code() == 4 && restored.stderr.contains("--raise-epoch"), "{restored:?}");

    let server = home.server().api_alone().start().await;
    let verbose = server.get("/readyz?verbose").await;
    let verbose = verbose.text();
    assert!(verbose.contains("PostgreSQL 1") && verbose.contains("no synchronous standby"), "{verbose}");
    assert!(verbose.contains("32 parts; each shard has room for"), "{verbose}");
    let cursor = server.feed(10).await.1;
    let used = home.run(&["restore", "--raise-epoch"]);
    assert!(used.code() == 4 && used.stderr.contains("stop every node"), "{used:?}");
    assert_eq!(server.terminate().await.code(), 0);
    let raised = eventually("the end of its connections", async || {
        let ended = home.run(&["restore", "--raise-epoch", "--json"]);
        (ended.code() == 0).then(|| ended.json())
    })
    .await;
    assert!(raised["epoch"].as_u64() > raised["from_epoch"].as_u64(), "{raised}");
    let server = home.server().api_alone().start().await;
    assert_eq!(server.get(&format!("/v1/events?after={cursor}")).await.status, 410);
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
    assert_eq!(home.run(&["audit", "--actions"]).code(), 0);
}

/// The name of a database may be mistyped, and nodes of an older version may run on it.
#[test]
fn commands_change_nothing_that_nodes_stand_on() {
    let home = Home::new();
    let tables =
        || count(home.url().unwrap(), "SELECT count(*) FROM pg_tables WHERE schemaname = $1", "public");
    for args in [&["orders", "list"][..], &["orders", "create", "--total", "1"], &["keys", "list"]] {
        let ended = home.run(args);
        assert_eq!(ended.code(), 4, "{ended:?}");
        assert!(ended.stderr.contains("wellorder migrate"), "{ended:?}");
        assert_eq!((tables(), home.data().exists()), (0, false), "{args:?}");
    }
    // No server starts without a login: the first key sets an empty database up, and says so.
    let made = home.run(&["keys", "create", "--name", "first", "--scope", "orders:read"]);
    assert_eq!(made.code(), 0, "{made:?}");
    assert!(made.stderr.contains("was empty and is set up now"), "{made:?}");
    assert_eq!(home.run(&["orders", "list"]).code(), 0);
}

/// What makes keys beside nodes must have the pepper that they have.
#[tokio::test]
async fn no_key_is_made_that_no_node_would_take() {
    const PEPPER: (&str, &str) = ("WELLORDER_AUTH_KEY_PEPPER", "pEppEr-9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq");
    let create = ["keys", "create", "--name", "a", "--scope", "orders:read"];
    let home = Home::new();
    assert_eq!(home.run(&["migrate"]).code(), 0);
    let server = serving(&home).env(PEPPER.0, PEPPER.1).start().await;
    let without = home.run(&create);
    assert_eq!(without.code(), 4, "{without:?}");
    assert!(without.stderr.contains("auth.key_pepper"), "{without:?}");
    let with = home.run_with(&[PEPPER], &create);
    assert_eq!(with.code(), 0, "{with:?}");
    let bearer = format!("Bearer {}", with.stdout.trim());
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&bearer), None).await.status, 200);
    let id = with.stdout.trim()[3..19].to_owned();
    assert_eq!(home.run(&["keys", "rotate", &id]).code(), 4);
    // It ends keys and reads all the same, and its start notes nothing else.
    assert_eq!(home.run(&["keys", "revoke", &id]).code(), 0);
    assert_eq!(home.run(&create).code(), 4, "nodes run that have another");
    assert_eq!(server.terminate().await.code(), 0);
    // With no key left and no node running, another may be chosen.
    eventually("the end of its connections", async || (home.run(&create).code() == 0).then_some(())).await;
    assert_eq!(home.run_with(&[PEPPER], &create).code(), 4);
    offline_key(&home, "acme", &["orders:read"]);
}

/// Where nobody listens.
fn nowhere() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

const BROKERS: [&str; 3] = ["kafka", "rabbitmq", "redis"];

#[tokio::test]
async fn a_start_says_which_servers_cannot_be_used_and_what_to_do() {
    let away = nowhere();
    let server = Server::builder()
        .env("KAFKA_BROKERS", &away)
        .env("RABBITMQ_URL", &format!("amqp://{away}"))
        .env("REDIS_URL", &format!("redis://{away}"))
        .start()
        .await;
    for name in BROKERS {
        let says = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "a server cannot be used yet" && line["server"] == name).then_some(line)
        };
        let line = server.stderr().find(name, says).await.unwrap();
        let text = |field: &str| line[field].as_str().unwrap();
        assert!(text("address").contains(&away) && text("fix").contains(&format!("{name}.")), "{line}");
    }
}

#[test]
fn the_doctor_looks_at_brokers_beside_a_database_on_a_server() {
    let away = nowhere();
    let (amqp, redis) = (format!("amqp://{away}"), format!("redis://{away}"));
    let variables = [("KAFKA_BROKERS", away.as_str()), ("RABBITMQ_URL", &amqp), ("REDIS_URL", &redis)];
    let doctor = Home::new().run_with(&variables, &["doctor", "--json"]);
    assert_eq!(doctor.code(), 6, "{doctor:?}");
    let checks = doctor.json()["checks"].as_array().unwrap().clone();
    for name in BROKERS {
        let check = checks.iter().find(|check| check["name"] == name);
        assert_eq!(check.map(|check| &check["result"]), Some(&json!("fail")), "{name}: {checks:?}");
    }
}
