//! Webhooks from the front door to somebody else's: endpoints are made over `/v1`, receivers get what happens.

use crate::harness::{Answer, Authority, Call, Home, Receiver, Server, eventually, tls_of};
use crate::login::{SECRETS_KEY, Token, ask, serving};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A receiver that takes everything.
pub(crate) async fn taking() -> Receiver {
    Receiver::start(|_| Answer::Says(200, "")).await
}

/// Makes an endpoint; returns it with its secret.
pub(crate) async fn endpoint(server: &Server, url: &str, events: &[&str]) -> Value {
    let reply = server.post("/v1/endpoints", &json!({ "url": url, "events": events }).to_string()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()
}

/// Whether a call is signed with a secret, as Standard Webhooks says: any of its signatures will do.
pub(crate) fn is_signed(call: &Call, secret: &Value) -> bool {
    let key = BASE64_STANDARD.decode(secret.as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [call.header("webhook-id"), ".", call.header("webhook-timestamp"), "."].concat();
    let signed = [signed.as_bytes(), &call.body].concat();
    let mut signatures = call.header("webhook-signature").split(' ');
    signatures.any(|signature| {
        let tag = BASE64_STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, &signed, &tag).is_ok()
    })
}

/// The types that came about each order, in the order in which they came.
pub(crate) fn by_order(calls: &[Call]) -> BTreeMap<String, Vec<String>> {
    let mut of = BTreeMap::<String, Vec<String>>::new();
    for call in calls {
        let [id, kind] = ["order_id", "type"].map(|name| call.order[name].as_str().unwrap().to_owned());
        of.entry(id).or_default().push(kind);
    }
    of
}

#[tokio::test]
async fn an_endpoint_hears_of_each_order_in_its_order_and_knows_who_sent_it() {
    let (server, receiver) = (Server::builder().start().await, taking().await);
    let made = endpoint(&server, &receiver.url(), &["order.accepted", "order.processed"]).await;
    let deaf = endpoint(&server, &receiver.url(), &["order.shipped"]).await;
    let mut expected = BTreeMap::new();
    for index in 0..20 {
        let order = server.accept(&json!({ "reference": format!("w-{index}"), "total": "1" })).await;
        let types = ["order.accepted", "order.processed"].map(str::to_owned).to_vec();
        expected.insert(order["order_id"].as_str().unwrap().to_owned(), types);
    }
    let calls = receiver.until_calls(40).await;
    assert_eq!(by_order(&calls), expected);
    let (events, _) = server.feed(100).await;
    for call in &calls {
        assert!(is_signed(call, &made["secret"]) && !is_signed(call, &deaf["secret"]));
        assert_eq!(call.header("content-type"), "application/json");
        assert!(call.header("user-agent").starts_with("wellorder/"));
        // The very event of the feed.
        let id = call.header("webhook-id");
        assert_eq!(events.iter().find(|event| event["event_id"] == id), Some(&call.order));
    }
    let of_it = format!("/v1/deliveries?endpoint_id={}&limit=100", made["endpoint_id"].as_str().unwrap());
    let ended = server.until(&of_it, |page| page["deliveries"].as_array().unwrap().len() == 40).await;
    assert!(ended["deliveries"].as_array().unwrap().iter().all(|one| one["state"] == "delivered"), "{ended}");
    let one = &ended["deliveries"][0];
    let path = format!("/v1/deliveries/{}", one["delivery_id"].as_str().unwrap());
    let with_attempts = server.json(&path).await;
    assert_eq!(with_attempts["attempts"][0]["outcome"], "delivered");
    assert_eq!((&with_attempts["attempt"], &with_attempts["status"]), (&json!(1), &json!(200)));
    // Once more, by hand: the same delivery under the same id.
    let resent = server.post(&format!("{path}/resend"), "").await;
    assert_eq!((resent.status, resent.json()["queued"].clone()), (202, json!(true)));
    let calls = receiver.until_calls(41).await;
    assert_eq!(calls[40].header("webhook-id"), one["event_id"]);
    server.until(&path, |delivery| delivery["attempts"].as_array().unwrap().len() == 2).await;
    drop(server.terminate().await);
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_one_before_until_that_ends() {
    let (server, receiver) = (Server::builder().start().await, taking().await);
    let made = endpoint(&server, &receiver.url(), &["*"]).await;
    let path = format!("/v1/endpoints/{}", made["endpoint_id"].as_str().unwrap());
    let call = async |count: usize| {
        let tried = server.post(&format!("{path}/test"), "").await;
        assert_eq!(tried.json()["taken"], true, "{}", tried.text());
        receiver.until_calls(count).await.remove(count - 1)
    };
    let first = call(1).await;
    assert_eq!(first.order["type"], "endpoint.test");
    assert!(is_signed(&first, &made["secret"]));
    let rotated = server.post(&format!("{path}/rotate"), "").await.json();
    assert_ne!(rotated["secret"], made["secret"]);
    assert!(rotated["previous_secret_until"].is_string(), "{rotated}");
    let second = call(2).await;
    assert!(is_signed(&second, &made["secret"]) && is_signed(&second, &rotated["secret"]));
    let last = server.post(&format!("{path}/rotate"), r#"{"grace_seconds": 0}"#).await;
    assert_eq!(last.status, 409, "the one before counts yet: {}", last.text());
    let at_once = r#"{"grace_seconds": 0, "end_previous": true}"#;
    let last = server.post(&format!("{path}/rotate"), at_once).await.json();
    let third = call(3).await;
    assert!(is_signed(&third, &last["secret"]));
    assert!(!is_signed(&third, &made["secret"]) && !is_signed(&third, &rotated["secret"]));
    let shown = server.json(&path).await.to_string();
    assert!(!shown.contains("whsec_"), "a secret is shown once: {shown}");
}

/// The rule that a URL breaks, as it is told.
fn rule(reply: &testkit::http::Reply) -> (u16, String, String) {
    let problem = reply.json();
    let text = |name: &str| problem["errors"][0][name].as_str().unwrap_or_default().to_owned();
    (reply.status, text("pointer"), text("code"))
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_refused_with_the_rule_it_breaks() {
    let broker = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::builder().env("KAFKA_BROKERS", &broker).start().await;
    let made = endpoint(&server, "https://hooks.example/a", &["*"]).await;
    let brokers = format!("http://{broker}/a");
    let change = format!("/v1/endpoints/{}", made["endpoint_id"].as_str().unwrap());
    let own = format!("http://{}/v1/orders", server.address);
    for (url, broken) in [
        ("ftp://hooks.example/a", "scheme"),
        ("https://user@hooks.example/a", "user-info"),
        ("http://10.0.0.1/a", "address"),
        ("http://169.254.169.254/latest/meta-data", "address"),
        ("http://intranet.local/a", ""),
        ("no address", "url"),
        (own.as_str(), "own-address"),
        (brokers.as_str(), "own-address"),
    ] {
        let body = json!({ "url": url, "events": ["*"] }).to_string();
        let (refused, changed) = (server.post("/v1/endpoints", &body).await, json!({ "url": url }));
        let patched = server
            .send("PATCH", &change, &[("content-type", "application/json")], changed.to_string().as_bytes())
            .await;
        if broken.is_empty() {
            // What a name stands for is looked at when it is called.
            assert_eq!((refused.status, patched.status), (201, 200), "{url}");
            continue;
        }
        let expected = (422, "/url".to_owned(), broken.to_owned());
        assert_eq!((rule(&refused), rule(&patched)), (expected.clone(), expected), "{url}");
    }
}

#[tokio::test]
async fn a_server_for_others_calls_https_and_what_was_opened() {
    let (home, bearer) = (Home::new(), Token::all("acme").bearer());
    let receiver = taking().await;
    let server = serving(&home).env("WELLORDER_SECRETS_KEY", SECRETS_KEY).start().await;
    let create = async |server: &Server, url: &str| {
        let body = json!({ "url": url, "events": ["*"] }).to_string();
        ask(server, "POST", "/v1/endpoints", Some(&bearer), Some(&body)).await
    };
    for (url, broken) in [
        (receiver.url().as_str(), "https-only"),
        ("https://hooks.example:9443/a", "port"),
        ("https://8.8.8.8/a", "ip-literal"),
        ("https://127.0.0.1/a", "address"),
        ("https://localhost/a", "host-name"),
        ("https://hooks.internal/a", "host-name"),
    ] {
        let expected = (422, "/url".to_owned(), broken.to_owned());
        assert_eq!(rule(&create(&server, url).await), expected, "{url}");
    }
    assert_eq!(create(&server, "https://hooks.example/a").await.status, 201);
    drop(server.terminate().await);
    let opened = serving(&home)
        .env("WELLORDER_SECRETS_KEY", SECRETS_KEY)
        .env("WELLORDER_OUTBOUND_PORTS", "443,9443")
        .env("WELLORDER_OUTBOUND_OPEN_NETWORKS", "10.1.0.0/16");
    let server = opened.start().await;
    assert_eq!(create(&server, "https://10.1.2.3:9443/a").await.status, 201);
    assert_eq!(create(&server, "https://hooks.internal/a").await.status, 201);
    assert_eq!(rule(&create(&server, "https://10.2.0.1/a").await).2, "address");
    assert_eq!(rule(&create(&server, "http://10.1.2.3/a").await).2, "https-only");
    let said = eventually("a word about it", async || {
        server.stderr().all().into_iter().find(|line| line.contains("networks that are not public"))
    });
    assert!(said.await.contains("10.1.0.0"), "whoever opens a network is told so at each start");
}

/// Somebody who keeps our calls behind TLS, as `localhost` at this port.
async fn behind_tls(home: &Home, receiver: &Receiver) -> (u16, JoinSet<()>) {
    let acceptor = TlsAcceptor::from(tls_of(home.path()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, inner) = (listener.local_addr().unwrap().port(), receiver.address);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(inner).await.unwrap();
                drop(copy_bidirectional(&mut outer, &mut inner).await);
            });
        }
    });
    (port, serving)
}

#[tokio::test]
async fn a_server_for_others_asks_whoever_is_there_before_it_sends_anything() {
    let (home, authority, bearer) = (Home::new(), Authority::new(), Token::all("acme").bearer());
    authority.certify(home.path());
    std::fs::write(home.path().join("ca.pem"), authority.pem()).unwrap();
    let receiver = Receiver::start(|call| match call.order["type"].as_str() {
        Some("endpoint.challenge") if call.path() == "/stranger" => Answer::Says(200, ""),
        Some("endpoint.challenge") => Answer::SaysItBack,
        _ => Answer::Says(200, ""),
    })
    .await;
    let (port, _serving) = behind_tls(&home, &receiver).await;
    let serving = serving(&home)
        .env("WELLORDER_SECRETS_KEY", SECRETS_KEY)
        .env("WELLORDER_TLS_CA_FILE", &home.path().join("ca.pem").display().to_string())
        .env("WELLORDER_OUTBOUND_PORTS", &port.to_string())
        .env("WELLORDER_OUTBOUND_OPEN_NETWORKS", "127.0.0.0/8,::1/128");
    let server = serving.start().await;
    let asks = async |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        let reply = ask(&server, method, path, Some(&bearer), body.as_deref()).await;
        (reply.status, reply.json())
    };
    let url = |path: &str| format!("https://localhost:{port}/{path}");
    let made = asks("POST", "/v1/endpoints", Some(json!({ "url": url("stranger"), "events": ["*"] }))).await;
    assert_eq!(
        (made.0, &made.1["state"], &made.1["disabled_for"]),
        (201, &json!("disabled"), &json!("unproven"))
    );
    let own = format!("/v1/endpoints/{}", made.1["endpoint_id"].as_str().unwrap());
    let order = json!({ "reference": "before", "total": "1" });
    assert_eq!(asks("POST", "/v1/orders", Some(order)).await.0, 201);
    let refused = asks("POST", &format!("{own}/enable"), None).await;
    assert_eq!((refused.0, &refused.1["type"]), (409, &json!("urn:wellorder:problem:endpoint-unproven")));
    assert!(refused.1["detail"].as_str().unwrap().contains("200 without the challenge"), "{}", refused.1);
    let challenge = receiver.until_calls(1).await.remove(0);
    assert!(is_signed(&challenge, &made.1["secret"]), "else whoever is there could not know who asks");
    assert_eq!(asks("PATCH", &own, Some(json!({ "url": url("own") }))).await.0, 200);
    let enabled = asks("POST", &format!("{own}/enable"), None).await;
    assert_eq!((enabled.0, &enabled.1["state"]), (200, &json!("active")));
    assert_eq!(asks("PATCH", &own, Some(json!({ "url": url("stranger") }))).await.0, 409);
    let order = json!({ "reference": "after", "total": "1" });
    let order = asks("POST", "/v1/orders", Some(order)).await.1;
    let calls = receiver.until_calls(4).await;
    let came: Vec<_> = calls.iter().map(|call| (call.path(), call.order["type"].as_str().unwrap())).collect();
    let challenge = "endpoint.challenge";
    let asked = [("/stranger", challenge), ("/own", challenge), ("/stranger", challenge)];
    assert_eq!((&came[..3], came[3]), (&asked[..], ("/own", "order.accepted")));
    assert_eq!(calls[3].order["order_id"], order["order_id"]);
}

#[tokio::test]
async fn what_was_missed_comes_when_it_is_asked_for() {
    let (server, receiver) =
        (Server::builder().api_alone().args(&["--role", "relay"]).start().await, taking().await);
    server.accept(&json!({ "reference": "before", "total": "1" })).await;
    let made = endpoint(&server, &receiver.url(), &["order.accepted"]).await;
    let order = server.accept(&json!({ "reference": "after", "total": "1" })).await;
    let first = receiver.until_calls(1).await.remove(0);
    assert_eq!(first.order["order_id"], order["order_id"], "what was before the endpoint is not its own");
    let asked = |dry_run: bool| {
        json!({ "endpoint_id": made["endpoint_id"], "from": "beginning", "dry_run": dry_run }).to_string()
    };
    let path = format!("/v1/deliveries?endpoint_id={}", made["endpoint_id"].as_str().unwrap());
    server.until(&path, |page| page["deliveries"].as_array().unwrap().len() == 1).await;
    for (dry_run, missing) in [(true, 1), (false, 1)] {
        let replayed = server.post("/v1/deliveries/replay", &asked(dry_run)).await;
        let said = replayed.json();
        assert_eq!(
            (replayed.status, &said["missing"], &said["looked_at"]),
            (200, &json!(missing), &json!(2))
        );
    }
    let calls = receiver.until_calls(2).await;
    assert_eq!(calls[1].order["data"]["reference"], "before");
    server.until(&path, |page| page["deliveries"].as_array().unwrap().len() == 2).await;
    assert_eq!(server.post("/v1/deliveries/replay", &asked(true)).await.json()["missing"], 0);
}

/// The same over the command line, to a server and without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_and_deliveries_are_kept_from_the_command_line() {
    let (server, receiver) = (Server::builder().start().await, taking().await);
    let home = server.home();
    let at = format!("http://{}", server.address);
    let run = |args: &[&str]| home.run_bare(&[], &[args, &["--url", &at]].concat());
    let made = run(&["endpoints", "create", &receiver.url(), "--event", "order.accepted", "--json"]);
    assert_eq!(made.code(), 0, "{made:?}");
    let made = made.json();
    let id = made["endpoint_id"].as_str().unwrap();
    let tried = run(&["endpoints", "test", id]);
    assert!(tried.code() == 0 && tried.stdout.starts_with("answered 200 after "), "{tried:?}");
    let order = server.accept(&json!({ "reference": "cli", "total": "1" })).await;
    let calls = receiver.until_calls(2).await;
    assert_eq!(calls[1].order["order_id"], order["order_id"]);
    let delivery = format!("{id}.{}.1", order["order_id"].as_str().unwrap());
    server.until(&format!("/v1/deliveries/{delivery}"), |delivery| delivery["state"] == "delivered").await;
    let listed = run(&["deliveries", "list", "--endpoint", id]);
    assert!(listed.stdout.contains(&delivery) && listed.stdout.contains("delivered"), "{listed:?}");
    assert_eq!(run(&["deliveries", "resend", &delivery]).stdout, format!("{delivery} is on its way\n"));
    receiver.until_calls(3).await;
    let since = ["--since", "2026-01-01T00:00:00Z"];
    let counted = run(&[&["deliveries", "recover", id, "--dry-run"][..], &since].concat());
    assert_eq!(counted.stdout, "0 were given up\n");
    let missed = run(&["deliveries", "replay", id, "--from", "beginning", "--dry-run"]);
    assert!(missed.stdout.starts_with("0 were missed, of "), "{missed:?}");
    let paused = run(&["endpoints", "pause", id]);
    assert!(paused.stdout.contains("paused"), "{paused:?}");
    assert_eq!(run(&["endpoints", "enable", id]).code(), 0);
    let refused = run(&["endpoints", "create", "http://10.0.0.1/", "--event", "*"]);
    assert!(refused.code() == 4 && refused.stderr.contains("not public"), "{refused:?}");
    drop(server.terminate().await);
    if home.url().is_none() {
        // As the server would: the folder is `dev`'s.
        let offline = home.run(&["endpoints", "create", &receiver.url(), "--event", "*"]);
        assert!(offline.code() == 0 && offline.stdout.starts_with("whsec_"), "{offline:?}");
    }
    let unknown = home.run(&["endpoints", "get", "0193473d-5c1e-7d51-b0a6-6f2a1c5f2f13"]);
    assert_eq!(unknown.code(), 3, "{unknown:?}");
}
