//! Events in RabbitMQ, as a foreign program reads them (Debian's `amqp-tools`), and a delivery service that is simulated:
//! `cargo xtask services up rabbitmq` starts a server, or the variable `WELLORDER_TEST_RABBITMQ_URL` names one.

use crate::harness::{Home, Server, eventually};
use serde_json::{Value, json};
use sink_rabbitmq::{Address, Exchange, Options, Publisher, Queue, Topology};
use std::net::TcpListener;
use std::process::Command;

/// Where RabbitMQ is.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
pub(crate) fn url() -> String {
    std::env::var("WELLORDER_TEST_RABBITMQ_URL")
        .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5673/%2f".to_owned())
}

/// A name that nobody has used.
#[expect(clippy::disallowed_methods, reason = "no other test, and no other run, has the name")]
pub(crate) fn unique(what: &str) -> String {
    format!("it.{what}.{}", uuid::Uuid::new_v4())
}

/// Declares queues, each without arguments; bound to all of the exchange that has the name, if one is given.
pub(crate) async fn declare(queues: &[&str], exchange: Option<&str>) {
    let options = Options::new(Address::parse(&url()).unwrap());
    let bound = |name: &str| Queue {
        name: name.to_owned(),
        bound: exchange.map(|exchange| (exchange.to_owned(), "#".to_owned())),
    };
    let exchanges = exchange.map(|name| Exchange { name: name.to_owned() }).into_iter().collect();
    let topology = Topology { exchanges, queues: queues.iter().map(|name| bound(name)).collect() };
    let opened = Publisher::new(options, topology).open().await;
    opened.expect("is RabbitMQ up? cargo xtask services up rabbitmq");
}

/// Takes the next message of a queue with a foreign program.
pub(crate) fn take(queue: &str) -> Option<String> {
    let taken = Command::new("amqp-get").args(["--url", &url(), "-q", queue]).output();
    let taken = taken.expect("amqp-get is missing: apt-get install amqp-tools");
    taken.status.success().then(|| String::from_utf8(taken.stdout).unwrap())
}

pub(crate) async fn until_taken(queue: &str) -> Value {
    let text = eventually("a message", async || take(queue)).await;
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn send(queue: &str, body: &str) {
    let sent = Command::new("amqp-publish").args(["--url", &url(), "-r", queue, "-b", body]).status();
    assert!(sent.expect("amqp-publish is missing: apt-get install amqp-tools").success());
}

pub(crate) fn delete(queues: &[&str]) {
    for queue in queues {
        let deleted =
            Command::new("amqp-delete-queue").args(["--url", &url(), "-q", queue]).output().unwrap();
        assert!(deleted.status.success(), "{deleted:?}");
    }
}

fn free_address() -> String {
    format!("amqp://shop:hidden@{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[tokio::test]
async fn a_foreign_program_reads_every_event_in_its_order() {
    let (exchange, queue) = (unique("events"), unique("all"));
    declare(&[&queue], Some(&exchange)).await;
    let server = Server::builder().env("RABBITMQ_URL", &url()).env("WELLORDER_RABBITMQ_EXCHANGE", &exchange);
    let server = server.start().await;
    let order = server.accept(&json!({ "reference": "r-1", "total": 1 })).await;
    server.until_order(&order, "done").await;
    let (events, _) = server.feed(100).await;
    for event in &events {
        assert_eq!(until_taken(&queue).await, event["data"]);
    }
    assert_eq!(events.len(), 2);
    let ready = server.json("/readyz?verbose").await;
    let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "rabbitmq").unwrap();
    let detail = check["detail"].as_str().unwrap();
    assert!(
        check["ok"] == true && detail.contains("vhost / can be used") && detail.contains(" ms)"),
        "{detail}"
    );
    assert!(!detail.contains("guest"), "{detail}");
    delete(&[&queue]);
}

#[tokio::test]
async fn a_server_that_is_away_keeps_no_orders_out_and_is_named() {
    let address = free_address();
    let server = Server::builder().env("RABBITMQ_URL", &address).start().await;
    let order = server.accept(&json!({ "total": 1 })).await;
    server.until_order(&order, "done").await;
    let failing = |follower: &Value| follower["state"] == "failing";
    let follower = server.until("/v1/followers/rabbitmq", failing).await;
    let error = follower["last_error"].as_str().unwrap();
    let host = address.rsplit_once('@').unwrap().1;
    assert!(error.contains(host) && error.contains("rabbitmq.url") && !error.contains("hidden"), "{error}");
    let ready = server.get("/readyz?verbose").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    let text = ready.text();
    assert!(
        text.contains(host) && text.contains("that the server runs") && !text.contains("hidden"),
        "{text}"
    );
}

#[tokio::test]
async fn the_doctor_names_the_server_and_the_setting_to_mend() {
    let home = Home::new();
    let well = home.run_with(&[("RABBITMQ_URL", &url())], &["doctor"]);
    assert!(well.stdout.contains("vhost / can be used") && well.stdout.contains("answers in"), "{well:?}");
    let away = home.run_with(&[("RABBITMQ_URL", &free_address())], &["doctor"]);
    assert_eq!(away.code(), 6, "{away:?}");
    assert!(away.stdout.contains("rabbitmq.url") && !away.stdout.contains("hidden"), "{away:?}");
}

#[tokio::test]
async fn a_delivery_service_is_simulated() {
    let (created, shipped, delivered) = (unique("created"), unique("shipped"), unique("delivered"));
    let (home, order_id) = (Home::new(), "0198f1f0-0000-7000-8000-000000000001");
    let simulate = |more: &[&str]| {
        let mut args = vec!["simulate", "delivery", "--created", &created, "--shipped", &shipped];
        args.extend([
            "--delivered",
            &delivered,
            "--ship-after-ms",
            "0",
            "--deliver-after-ms",
            "0",
            "--count",
            "1",
        ]);
        args.extend(more);
        home.run_with(&[("RABBITMQ_URL", &url())], &args)
    };
    declare(&[&created], None).await;
    send(&created, &json!({ "order_id": order_id }).to_string());
    let ended = simulate(&["--duplicates", "1"]);
    assert_eq!((ended.code(), ended.stdout.lines().count()), (0, 4), "{ended:?}");
    assert!(ended.stdout.contains(&format!("{order_id} Shipped again")), "{ended:?}");
    let (first, again) = (until_taken(&shipped).await, until_taken(&shipped).await);
    assert_eq!(first, again, "a duplicate is the same message");
    assert_eq!((&first["order_id"], &first["event_type"]), (&json!(order_id), &json!("OrderShipped")));
    assert!(
        first["data"]["tracking_number"].is_string() && first["data"]["shipped_at"].is_string(),
        "{first}"
    );
    assert_eq!(until_taken(&delivered).await["data"]["status"], "Delivered");
    until_taken(&delivered).await;

    send(&created, &json!({ "order_id": order_id, "data": {} }).to_string());
    let ended = simulate(&["--reorder", "1", "--bare", "--json"]);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent: Vec<&Value> = lines.iter().map(|line| &line["sent"]).collect();
    assert_eq!(sent, [&json!("Delivered"), &json!("Shipped")], "{ended:?}");
    let bare = until_taken(&shipped).await;
    assert!(bare["status"] == "Shipped" && bare.get("event_id").is_none(), "{bare}");
    let away = home.run_with(&[("RABBITMQ_URL", &free_address())], &["simulate", "delivery"]);
    assert_eq!(away.code(), 5, "{away:?}");
    delete(&[&created, &shipped, &delivered]);
}
