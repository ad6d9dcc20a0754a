//! `simulate webhook-receiver`, as somebody who sends to it finds it.

use crate::harness::{Home, eventually};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use testkit::http::Client;

/// A receiver that ends when it is dropped.
pub(crate) struct Receiver {
    child: Child,
    pub(crate) address: SocketAddr,
    log: std::path::PathBuf,
    _home: Arc<Home>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Receiver {
    pub(crate) async fn start(args: &[&str]) -> Self {
        let home = Home::new();
        let log = home.path().join("receiver.log");
        let mut command =
            home.command(&[&["simulate", "webhook-receiver", "--port", "0", "--json"], args].concat());
        command.stdin(Stdio::null()).stdout(std::fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        let address = eventually("the address", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            let first: Value = serde_json::from_str(said.lines().next()?).ok()?;
            first["listening"].as_str()?.parse().ok()
        })
        .await;
        Self { child, address, log, _home: home }
    }

    async fn send(&self, headers: &[(&str, &str)], body: &str) -> u16 {
        Client::new(self.address).send("POST", "/webhook", headers, body.as_bytes()).await.status
    }

    /// What it says of the first `count` that came.
    pub(crate) async fn said(&self, count: usize) -> Vec<Value> {
        eventually("what came", async || {
            let said = std::fs::read_to_string(&self.log).unwrap();
            let lines: Option<Vec<Value>> =
                said.lines().skip(1).map(|line| serde_json::from_str(line).ok()).collect();
            lines.filter(|lines| lines.len() == count)
        })
        .await
    }
}

#[tokio::test]
async fn a_receiver_shows_what_comes_and_fails_where_it_is_told_to() {
    let receiver = Receiver::start(&[]).await;
    let good = json!({ "eventId": "e-1", "event": "sync.completed", "data": {} }).to_string();
    let bad = json!({ "event": "sync.completed", "data": { "receipt": "RL15" } }).to_string();
    let statuses = [
        receiver.send(&[("X-Event-Id", "e-1")], &good).await,
        receiver.send(&[("X-Event-Id", "e-1")], &good).await,
        receiver.send(&[("x-fail", "true")], &good).await,
        receiver.send(&[], &bad).await,
        receiver.send(&[], "no JSON").await,
    ];
    assert_eq!(statuses, [200, 200, 500, 500, 200]);
    let said = receiver.said(5).await;
    assert!(said.iter().all(|line| line["event"] == "webhook_received" && line["path"] == "/webhook"));
    assert_eq!((&said[0]["id"], &said[0]["again"]), (&json!("e-1"), &json!(false)));
    assert_eq!((&said[1]["again"], &said[3]["status"]), (&json!(true), &json!(500)));
    assert_eq!((&said[0]["body"]["event"], &said[4]["body"]), (&json!("sync.completed"), &json!("no JSON")));
    assert_eq!(said[0]["signature"], "unchecked");
}

#[tokio::test]
async fn a_receiver_with_a_secret_takes_nothing_unsigned() {
    let receiver =
        Receiver::start(&["--secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--count", "2"]).await;
    assert_eq!(receiver.send(&[], "{}").await, 401);
    // The example of the specification, long ago.
    let example = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    assert_eq!(receiver.send(&example, r#"{"test": 2432232314}"#).await, 401);
    let words: Vec<_> = receiver.said(2).await.into_iter().map(|line| line["signature"].clone()).collect();
    assert_eq!(words, ["missing", "stale"]);
}
