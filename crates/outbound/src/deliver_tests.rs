//! What becomes of a delivery: with receivers that fail, hang, send elsewhere, or whose names change.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::Opened;
use crate::test_server::{Server, reply};
use order_core::webhook::EndpointId;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers from a list, the last of it for ever.
struct Told {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Told {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |one: &&[&str]| one.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut answers: Vec<Vec<IpAddr>> = answers.iter().map(read).collect();
        answers.reverse();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolver for Told {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        Ok(if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() })
    }
}

/// A server of names that never says a word.
struct Silent;

#[async_trait]
impl Resolver for Silent {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

/// Rules under which this machine's first address of loopback stands for what is public, and no other does.
fn first_alone() -> Rules {
    let opened: Opened = Arc::new(|ip| ip == IpAddr::from([127, 0, 0, 1]));
    Rules::opening(opened)
}

fn client(rules: Rules, resolver: Arc<dyn Resolver>) -> WebhookClient {
    WebhookClient::new(rules, resolver, &Trust::default()).unwrap()
}

fn sending(url: &str) -> Sending {
    Sending {
        url: url.to_owned(),
        headers: vec![("webhook-id", "msg_1".to_owned()), ("webhook-signature", "v1,a v1,b".to_owned())],
        body: br#"{"a":1}"#.to_vec(),
        timeout: Duration::from_secs(30),
        endpoint: EndpointId(uuid::Uuid::nil()),
    }
}

/// The address of a server by a name.
fn named(server: &Server, path: &str) -> String {
    server.url(path).replace("127.0.0.1", "hooks.example")
}

async fn delivered(rules: Rules, answers: &[&[&str]], server: &Server) -> Answered {
    client(rules, Told::new(answers)).deliver(sending(&named(server, "/hook?x=y"))).await
}

#[tokio::test]
async fn what_is_sent_is_what_was_signed_and_the_answer_is_kept() {
    let server = Server::answering(reply(202, &[("retry-after", "7")], "thanks")).await;
    let answered = delivered(first_alone(), &[&["127.0.0.1"]], &server).await;
    assert_eq!((answered.status, answered.why.as_deref()), (Some(202), None));
    assert_eq!((answered.retry_after, &*answered.body), (Some(Duration::from_secs(7)), &b"thanks"[..]));
    let request = server.request().await.to_lowercase();
    assert!(
        request.starts_with("post /hook?x=y http/1.1\r\n") && request.ends_with("\r\n\r\n{\"a\":1}"),
        "{request}"
    );
    for header in ["host: hooks.example:", "content-type: application/json\r\n", "webhook-id: msg_1\r\n"] {
        assert!(request.contains(header), "{header}: {request}");
    }
    assert!(!request.contains("cookie"), "{request}");
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_with_its_words() {
    for status in [400, 410, 429, 500, 503] {
        let server = Server::answering(reply(status, &[], "no room")).await;
        let answered = delivered(first_alone(), &[&["127.0.0.1"]], &server).await;
        assert_eq!((answered.status, &*answered.body), (Some(status), &b"no room"[..]));
    }
    let server = Server::answering("not even HTTP\r\n\r\n".to_owned()).await;
    let answered = delivered(first_alone(), &[&["127.0.0.1"]], &server).await;
    assert!(answered.status.is_none() && answered.why.is_some(), "{answered:?}");
}

#[tokio::test]
async fn no_more_than_a_little_of_an_answer_is_read_and_less_is_kept() {
    let long = "x".repeat(4 << 20);
    let server = Server::answering(reply(200, &[], &long)).await;
    let answered = delivered(first_alone(), &[&["127.0.0.1"]], &server).await;
    assert_eq!((answered.status, answered.body.len()), (Some(200), ANSWER_BYTES_MAX));
    // One that promises more than it sends has answered all the same.
    let server = Server::answering("HTTP/1.1 204 X\r\n\r\n".to_owned()).await;
    assert_eq!(delivered(first_alone(), &[&["127.0.0.1"]], &server).await.status, Some(204));
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_in_time() {
    let server = Server::silent().await;
    let hanging = Sending { timeout: Duration::from_millis(50), ..sending(&named(&server, "/secret-path")) };
    let answered = client(first_alone(), Told::new(&[&["127.0.0.1"]])).deliver(hanging).await;
    let why = answered.why.unwrap();
    assert!(answered.status.is_none() && why.contains("no answer in time"), "{why}");
    assert!(!why.contains("secret-path") && !why.contains("hooks.example"), "{why}");
    let begun = "HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\nhalf".to_owned();
    let server = Server::answering(begun).await;
    assert_eq!(delivered(first_alone(), &[&["127.0.0.1"]], &server).await.status, Some(200), "it said so");
}

#[tokio::test]
async fn a_slow_server_of_names_is_left_in_time() {
    let server = Server::silent().await;
    let waiting = Sending { timeout: Duration::from_millis(50), ..sending(&named(&server, "/")) };
    let answered = client(first_alone(), Arc::new(Silent)).deliver(waiting).await;
    assert!(answered.status.is_none() && answered.why.unwrap().contains("in time"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_follows_it() {
    let elsewhere = Server::answering(reply(200, &[], "")).await;
    for to in [elsewhere.url("/"), "http://169.254.169.254/latest/meta-data".to_owned()] {
        for status in [301, 302, 303, 307, 308] {
            let server = Server::answering(reply(status, &[("location", &to)], "")).await;
            let answered = delivered(first_alone(), &[&["127.0.0.1"]], &server).await;
            assert_eq!((answered.status, server.connections()), (Some(status), 1));
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// A receiver that is called by its name is called where that leads, each time anew.
#[tokio::test]
async fn a_name_that_changes_is_vetted_each_time() {
    let server = Server::answering(reply(200, &[], "shown")).await;
    // Vetted as the first address, it is never asked about again for the connection itself.
    let names = Told::new(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1", "::1"], &["127.0.0.1"]]);
    let client = client(first_alone(), Arc::clone(&names) as Arc<dyn Resolver>);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.deliver(sending(&named(&server, "/"))).await);
    }
    let statuses: Vec<_> = answers.iter().map(|answered| answered.status).collect();
    assert_eq!(statuses, [Some(200), None, None, Some(200)]);
    assert_eq!((names.asked.load(Ordering::SeqCst), server.connections()), (4, 2));
    for refused in &answers[1..3] {
        let why = refused.why.as_deref().unwrap();
        assert!(why.contains("not public") && !why.contains("127.0.0"), "{why}");
        assert!(refused.body.is_empty());
    }
}

#[tokio::test]
async fn of_many_addresses_one_that_is_forbidden_forbids_all() {
    let server = Server::answering(reply(200, &[], "")).await;
    let many = vec!["127.0.0.1"; 1_000];
    let mixed = [&many[..], &["10.0.0.1"]].concat();
    for forbidden in [&mixed[..], &["8.8.8.8", "169.254.169.254"], &["::ffff:10.0.0.1"], &["127.0.0.2"], &[]]
    {
        let answered = delivered(first_alone(), &[forbidden], &server).await;
        assert!(answered.status.is_none() && answered.why.is_some(), "{forbidden:?}");
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(delivered(first_alone(), &[&many], &server).await.status, Some(200));
}

/// A thousand addresses at which nobody listens: a few are tried.
#[tokio::test]
async fn few_of_many_addresses_are_tried() {
    let vetting = Vetting {
        resolver: Told::new(&[&vec!["127.0.0.1"; 1_000]]),
        rules: first_alone(),
        lookups: Semaphore::new(1),
    };
    assert_eq!(vetting.addresses("hooks.example").await.unwrap().len(), TRIED_MAX);
}

/// No call is made whose text alone is refused, and what is refused says by which rule.
#[tokio::test]
async fn what_is_refused_is_not_called() {
    let server = Server::answering(reply(200, &[], "")).await;
    let strict = client(Rules::strict(Vec::new(), None, Vec::new()), Told::new(&[&["127.0.0.1"]]));
    for url in [server.url("/"), named(&server, "/"), server.url("/").replace("http:", "https:")] {
        let answered = strict.deliver(sending(&url)).await;
        assert!(answered.status.is_none() && answered.why.is_some(), "{url}");
    }
    let inside = strict.deliver(sending("https://hooks.example/")).await.why.unwrap();
    assert!(inside.contains("not public"), "{inside}");
    let rule = |url: &str| strict.check(url).unwrap_err().rule;
    assert_eq!((rule("http://hooks.example/"), rule("https://127.1/")), ("https-only", "address"));
    assert_eq!(strict.check("https://hooks.example/"), Ok(()));
    assert_eq!(server.connections(), 0);
}

/// Loopback is open to a developer, but not the server itself, by whatever name.
#[tokio::test]
async fn a_server_does_not_call_itself() {
    let server = Server::answering(reply(200, &[], "")).await;
    let own: SocketAddr = server.url("").trim_start_matches("http://").parse().unwrap();
    let client = client(Rules::of_dev(None, vec![own]), Told::new(&[&["127.0.0.1"]]));
    for url in [server.url("/"), named(&server, "/"), server.url("/").replace("127.0.0.1", "localhost")] {
        let why = client.deliver(sending(&url)).await.why.unwrap();
        assert!(why.contains("this installation itself"), "{url}: {why}");
    }
    assert_eq!(server.connections(), 0);
    let other = Server::answering(reply(200, &[], "")).await;
    assert_eq!(client.deliver(sending(&other.url("/"))).await.status, Some(200));
}
