//! Servers that are not there, or go away.

use crate::own_server::OwnServer;
use crate::rig::{Other, Running, ToQueue, event, options, soon, unique};
use lapin::BasicProperties;
use order_core::ids::OrderId;
use order_core::inbox::Outcome;
use order_core::ports::Sink;
use sink_rabbitmq::{Address, Options, RabbitSink, probe};
use std::net::TcpListener;
use std::time::Duration;
use uuid::Uuid;

fn at(url: &str) -> Options {
    Options::new(Address::parse(url).unwrap())
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_named_with_the_setting_and_never_with_the_password() {
    // Bound and let go: nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Listens and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = crate::rig::url();
    let server = here.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    for (url, expected) in [
        (format!("amqp://guest:hidden@{free}"), ["that the server runs", "Connection refused"]),
        (
            format!("amqp://guest:hidden@{}", mute.local_addr().unwrap()),
            ["no answer within", "host and port"],
        ),
        (format!("amqp://guest:hidden@{server}"), ["check the user, the password", "ACCESS"]),
        (here.rsplit_once('/').unwrap().0.to_owned() + "/nowhere", ["check the vhost", "nowhere"]),
        (format!("amqps://guest:hidden@{server}"), ["rabbitmq.ca_file", "TLS"]),
    ] {
        let mut options = at(&url);
        options.connect_timeout = Duration::from_secs(2);
        let trouble = probe(&options).await.unwrap_err().to_string();
        for part in expected {
            assert!(trouble.contains(part), "{url}: {trouble}");
        }
        assert!(trouble.contains("rabbitmq.url") && !trouble.contains("hidden"), "{trouble}");
        let fault = RabbitSink::new(options, Box::new(ToQueue::new())).open().await.unwrap_err();
        assert!(fault.to_string().contains(expected[0]), "{fault}");
    }
    assert!(probe(&options()).await.is_ok());
}

#[tokio::test]
async fn sink_and_consumer_go_on_when_the_server_is_back() {
    let mut server = OwnServer::start().await;
    let encode = ToQueue::new();
    let (created, shipped) = (encode.exchange.clone(), unique("shipped"));
    let sink = RabbitSink::new(at(&server.url()), Box::new(encode));
    let mut running = Running::start(at(&server.url()), &shipped, |_, _| Outcome::Done);
    let order = OrderId(Uuid::new_v4());
    sink.deliver(&[event(order, 1, "{}")]).await.unwrap();
    {
        let other = Other::at(&server.url()).await;
        other.declare(&shipped).await;
        other.send(&shipped, "before", BasicProperties::default()).await;
    }
    assert_eq!(running.next().await.0, "before");
    server.stop();
    let fault = sink.deliver(&[event(order, 2, "{}")]).await.unwrap_err().to_string();
    assert!(fault.contains("rabbitmq.url"), "{fault}");
    server.again().await;
    // The first try after that may still meet the connection that broke.
    soon("the sink delivers again", async {
        while sink.deliver(&[event(order, 2, "{}")]).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let other = Other::at(&server.url()).await;
    other.send(&shipped, "after", BasicProperties::default()).await;
    assert_eq!(running.next().await.0, "after");
    assert!(running.stats.figures().reconnects >= 1);
    // What was confirmed before is there.
    let bodies: Vec<_> = other.take(&created, 2).await.iter().map(crate::rig::text).collect();
    assert_eq!(bodies, ["{\"version\":1}", "{\"version\":2}"]);
    running.stop().await;
}
