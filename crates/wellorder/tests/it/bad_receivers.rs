//! Receivers that fail, hang, send elsewhere or change their address: a real process, for which the test has time pass, and whose
//! names it sets.

use crate::harness::database::count;
use crate::harness::{Answer, Builder, Call, Disk, Home, Receiver, Server, eventually};
use crate::login::{SECRET, Token, ask};
use crate::webhooks::{by_order, endpoint, is_signed, taking};
use order_core::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const DAY: u64 = 24 * 3_600;

/// As if so many seconds had passed, where the clock is the server's: nothing is on its way then.
const PASS: &str = "WITH s AS (UPDATE webhook_streams SET due_at = due_at - $1::text::interval RETURNING 1), \
     e AS (UPDATE endpoints SET failing_since = failing_since - $1::text::interval RETURNING 1) \
     SELECT (SELECT count(*) FROM s) + (SELECT count(*) FROM e)";

/// Time that passes at the word of a test: on SQLite the process goes by the machine's clock, which the shim sets ahead; on
/// PostgreSQL by the server's, so what is kept there is set back.
struct Time {
    home: Arc<Home>,
    disk: Disk,
    ahead: AtomicU64,
}

impl Time {
    fn of(home: &Arc<Home>) -> Self {
        Self { home: Arc::clone(home), disk: Disk::new(home.path()), ahead: AtomicU64::new(0) }
    }

    fn pass(&self, seconds: u64) {
        match self.home.url() {
            None => {
                let ahead = self.ahead.fetch_add(seconds, Ordering::Relaxed) + seconds;
                self.disk.set_clock(u32::try_from(ahead).unwrap());
            }
            Some(url) => {
                count(url, PASS, format!("{seconds} seconds").leak());
            }
        }
    }
}

/// A server that takes orders and tells of them, under the shim.
fn staged(home: &Arc<Home>, disk: &Disk) -> Builder {
    disk.under(home.server().args(&["--role", "api", "--role", "relay"]))
}

/// A receiver that answers its calls in turn, the last answer for ever.
async fn in_turn(answers: Vec<Answer>) -> Receiver {
    let turn = AtomicUsize::new(0);
    Receiver::start(move |_| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        answers[turn.min(answers.len() - 1)].clone()
    })
    .await
}

async fn order(server: &Server, reference: &str) -> Value {
    server.accept(&json!({ "reference": reference, "total": "1" })).await
}

/// The delivery of the first event of an order, once it had so many tries; these, the oldest first.
async fn tries(server: &Server, endpoint: &Value, order: &Value, count: usize) -> Vec<Value> {
    let [endpoint, order] = [&endpoint["endpoint_id"], &order["order_id"]].map(|id| id.as_str().unwrap());
    let path = format!("/v1/deliveries/{endpoint}.{order}.1");
    let has = |delivery: &Value| delivery["attempts"].as_array().unwrap().len() >= count;
    let mut tries = server.until(&path, has).await["attempts"].as_array().unwrap().clone();
    tries.reverse();
    tries
}

/// How long after a try the next one is due.
fn wait(tried: &Value) -> Duration {
    let [at, next] = ["at", "retry_at"].map(|name| Timestamp::parse(tried[name].as_str().unwrap()).unwrap());
    next.since(at)
}

fn text<'v>(values: &'v [Value], name: &str) -> Vec<&'v str> {
    values.iter().map(|value| value[name].as_str().unwrap_or("-")).collect()
}

#[tokio::test]
async fn what_is_not_taken_comes_again_by_the_schedule_and_nothing_of_its_order_before_it() {
    let home = Home::new();
    let time = Time::of(&home);
    let fails = Answer::Tells(500, "no room");
    let receiver = in_turn(vec![fails.clone(), fails.clone(), fails, Answer::Says(204, "")]).await;
    let server = staged(&home, &time.disk).start().await;
    let made = endpoint(&server, &receiver.url(), &["order.accepted", "order.withdrawn"]).await;
    let order = order(&server, "again").await;
    let withdrawn = format!("/v1/orders/{}/withdrawals", order["order_id"].as_str().unwrap());
    assert_eq!(server.post(&withdrawn, r#"{"reason": "x"}"#).await.status, 200);
    let mut waited = Vec::new();
    for (count, seconds) in [(1, 5), (2, 300), (3, 1_800)] {
        let tried = tries(&server, &made, &order, count).await;
        let wait = wait(&tried[count - 1]).as_secs();
        assert!(wait >= seconds * 9 / 10, "{wait} s after {count} tries");
        waited.push(wait);
        assert_eq!(receiver.calls().len(), count, "nothing comes before its time");
        time.pass(wait + 1);
        receiver.until_calls(count + 1).await;
    }
    assert!(waited[1] < 600 && waited[2] < 3_600, "{waited:?}");
    let calls = receiver.until_calls(5).await;
    let moment = |call: &Call| call.header("webhook-timestamp").parse::<u64>().unwrap();
    for pair in calls[..4].windows(2) {
        assert_eq!(pair[0].header("webhook-id"), pair[1].header("webhook-id"));
        assert_eq!(pair[0].body, pair[1].body);
        let apart = moment(&pair[1]).checked_sub(moment(&pair[0])).unwrap();
        assert!(apart >= 4 || home.url().is_some(), "each try is signed at its own time: {apart} s");
    }
    assert!(calls.iter().all(|call| is_signed(call, &made["secret"])));
    assert_eq!(calls[4].order["type"], "order.withdrawn");
    let tried = tries(&server, &made, &order, 4).await;
    assert_eq!(text(&tried, "outcome"), ["retry", "retry", "retry", "delivered"]);
    assert_eq!(text(&tried, "answer"), ["no room", "no room", "no room", ""]);
    assert_eq!(text(&tried, "error")[2..], ["the receiver answered 500", "-"]);
}

#[tokio::test]
async fn a_receiver_says_when_to_come_again_and_that_it_is_gone() {
    let home = Home::new();
    let time = Time::of(&home);
    let later = Answer::Says(503, "retry-after: 7200\r\n");
    let receiver = in_turn(vec![later, Answer::Says(410, "")]).await;
    let server = staged(&home, &time.disk).start().await;
    let made = endpoint(&server, &receiver.url(), &["*"]).await;
    let order = order(&server, "gone").await;
    let tried = tries(&server, &made, &order, 1).await;
    assert!(wait(&tried[0]) >= Duration::from_secs(7_200), "{tried:?}");
    time.pass(wait(&tried[0]).as_secs() + 1);
    let path = format!("/v1/endpoints/{}", made["endpoint_id"].as_str().unwrap());
    let gone = server.until(&path, |endpoint| endpoint["state"] == "disabled").await;
    assert_eq!(gone["disabled_for"], "gone");
    told_of(&server, &made).await;
    let after = crate::bad_receivers::order(&server, "after").await;
    let of_it = format!("/v1/deliveries?state=waiting&order_id={}", after["order_id"].as_str().unwrap());
    server.until("/v1/followers/webhooks", |follower| follower["lag"] == 0).await;
    assert_eq!(server.json(&of_it).await["deliveries"], json!([]), "nothing new is kept for it");
    assert_eq!(receiver.calls().len(), 2);
}

/// That an operator hears of an endpoint that was disabled: from the log, the metrics and the log of actions.
async fn told_of(server: &Server, endpoint: &Value) {
    let id = endpoint["endpoint_id"].as_str().unwrap();
    assert!(server.stderr().until("an endpoint is disabled").await.contains(id));
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("wellorder_webhook_endpoints_disabled_total 1\n"), "{}", metrics.text());
    let actions = server.json("/v1/actions").await;
    let is_it = |action: &&Value| action["action"] == "endpoint.disabled" && action["subject"] == id;
    let action = actions["actions"].as_array().unwrap().iter().find(is_it);
    assert_eq!(action.map(|action| &action["by"]), Some(&json!("courier")), "{actions}");
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_for_five_days_is_left_alone_until_somebody_enables_it() {
    let home = Home::new();
    let time = Time::of(&home);
    let fails = Answer::Says(500, "");
    let receiver = in_turn(vec![fails.clone(), fails, Answer::Says(200, "")]).await;
    let server = staged(&home, &time.disk).start().await;
    let made = endpoint(&server, &receiver.url(), &["order.accepted"]).await;
    let path = format!("/v1/endpoints/{}", made["endpoint_id"].as_str().unwrap());
    let order = order(&server, "late").await;
    tries(&server, &made, &order, 1).await;
    assert!(server.json(&path).await["failing_since"].is_string());
    time.pass(5 * DAY + 60);
    let left = server.until(&path, |endpoint| endpoint["state"] == "disabled").await;
    assert_eq!(left["disabled_for"], "failing");
    told_of(&server, &made).await;
    assert_eq!(server.post(&format!("{path}/enable"), "").await.json()["failing_since"], Value::Null);
    time.pass(DAY);
    let tried = tries(&server, &made, &order, 3).await;
    assert_eq!(text(&tried, "outcome"), ["retry", "retry", "delivered"]);
}

/// Orders that are told of while one receiver answers nobody.
const MANY: usize = 300;

/// So many orders as a bulk request has them.
fn lines(mark: &str, count: usize) -> String {
    let line = |n: usize| json!({ "reference": format!("{mark}-{n}"), "total": "1" }).to_string() + "\n";
    (0..count).map(line).collect()
}

async fn figure(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").await;
    let line = metrics.text().lines().find(|line| line.starts_with(name)).map(str::to_owned);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap()
}

#[tokio::test]
async fn a_receiver_that_hangs_has_sixteen_places_and_nobody_waits_for_it() {
    let (hangs, takes) = (in_turn(vec![Answer::Says(200, ""), Answer::Nothing]).await, taking().await);
    let server = Server::builder().args(&["--role", "api", "--role", "relay"]).start().await;
    let made = endpoint(&server, &hangs.url(), &["order.accepted"]).await;
    endpoint(&server, &takes.url(), &["order.accepted"]).await;
    // It took one, and is trusted with more.
    tries(&server, &made, &order(&server, "taken").await, 1).await;
    let ndjson = [("content-type", "application/x-ndjson")];
    let orders = lines("h", MANY);
    assert_eq!(server.send("POST", "/v1/orders/bulk", &ndjson, orders.as_bytes()).await.status, 200);
    let calls = takes.until_calls(MANY + 1).await;
    assert_eq!((by_order(&calls).len(), calls.len()), (MANY + 1, MANY + 1));
    // A try takes fifteen seconds at most: sixteen were begun, and one at a time since these have failed.
    let begun = hangs.calls().len() - 1;
    assert!((16..=20).contains(&begun), "{begun}");
    // What the other took may not be noted yet.
    for name in ["wellorder_webhook_in_flight", "wellorder_webhook_leased"] {
        let none_but_its = async || Some(figure(&server, name).await).filter(|figure| *figure <= 16.0);
        eventually(&format!("{name}: sixteen and no more"), none_but_its).await;
    }
}

/// Receivers of one tenant that answer nobody: with sixteen places each they would have all that there are, twice over.
const HANGING: usize = 40;

#[tokio::test]
async fn many_receivers_that_hang_keep_nobody_waiting() {
    let (home, acme, other) = (Home::new(), Token::all("acme").bearer(), Token::all("other").bearer());
    let server =
        home.server().args(&["--role", "api", "--role", "relay"]).env("JWT_SECRET", SECRET).start().await;
    let hangs = Receiver::start(|_| Answer::Nothing).await;
    let receivers = [taking().await, taking().await];
    let create = async |bearer: &str, url: &str| {
        let body = json!({ "url": url, "events": ["order.accepted"] }).to_string();
        assert_eq!(ask(&server, "POST", "/v1/endpoints", Some(bearer), Some(&body)).await.status, 201);
    };
    for _ in 0..HANGING {
        create(&acme, &hangs.url()).await;
    }
    let bulk = async |bearer: &str, mark: &str| {
        let orders = lines(mark, 20);
        assert_eq!(ask(&server, "POST", "/v1/orders/bulk", Some(bearer), Some(&orders)).await.status, 200);
    };
    bulk(&acme, "before").await;
    hangs.until_calls(HANGING).await;
    // They hold what they can get, and will for as long as a try may take.
    for (bearer, receiver) in [(&acme, &receivers[0]), (&other, &receivers[1])] {
        create(bearer, &receiver.url()).await;
        bulk(bearer, "after").await;
        assert_eq!(by_order(&receiver.until_calls(20).await).len(), 20);
    }
    // New ones, and those that fail: each in a quarter of all places, of which one tenant has three quarters.
    assert!(figure(&server, "wellorder_webhook_in_flight").await <= 48.0 + 48.0);
}

#[tokio::test]
async fn a_redirect_is_followed_by_nobody() {
    let elsewhere = taking().await;
    let head: &'static str = format!("location: {}\r\n", elsewhere.url()).leak();
    let receiver = in_turn(vec![Answer::Says(302, head), Answer::Says(308, head)]).await;
    let server = Server::builder().args(&["--role", "api", "--role", "relay"]).start().await;
    let made = endpoint(&server, &receiver.url(), &["order.accepted"]).await;
    let order = order(&server, "sent on").await;
    let tried = tries(&server, &made, &order, 2).await;
    assert_eq!(text(&tried, "error"), ["the receiver answered 302", "the receiver answered 308"]);
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn a_name_that_comes_to_stand_for_an_inner_address_is_not_called() {
    let home = Home::new();
    let time = Time::of(&home);
    let disk = &time.disk;
    let receiver = Receiver::start(|_| Answer::Says(200, "connection: close\r\n")).await;
    let server = staged(&home, disk).start().await;
    let url = format!("http://hooks.example:{}/", receiver.address.port());
    disk.name("hooks.example 127.0.0.1");
    let made = endpoint(&server, &url, &["order.accepted"]).await;
    order(&server, "one").await;
    assert_eq!(receiver.until_calls(1).await[0].header("host"), &url["http://".len()..url.len() - 1]);
    for inner in ["169.254.169.254", "10.0.0.1", "::ffff:192.168.0.1"] {
        disk.name(&format!("hooks.example {inner}"));
        let order = order(&server, inner).await;
        let tried = tries(&server, &made, &order, 1).await;
        assert_eq!((&tried[0]["status"], &tried[0]["answer"]), (&Value::Null, &json!("")), "{tried:?}");
        assert!(tried[0]["error"].as_str().unwrap().ends_with("leads to an address that is not public"));
        disk.name("hooks.example 127.0.0.1");
        time.pass(6);
        assert_eq!(text(&tries(&server, &made, &order, 2).await, "outcome"), ["retry", "delivered"]);
    }
    assert_eq!(receiver.calls().len(), 4);
    let said = eventually("what the log says of it", async || Some(server.stderr().text())).await;
    assert!(!said.contains("panicked"), "{said}");
}
