//! Answers that are lost, and a server that hangs.

use crate::rig::{Other, Running, ToQueue, event, family, soon, text, unique, url};
use lapin::BasicProperties;
use lapin::message::Delivery;
use order_core::ids::OrderId;
use order_core::inbox::Outcome;
use order_core::ports::Sink;
use sink_rabbitmq::{Address, Options, RabbitSink};
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::chaos::{Chaos, Harm, Protocol, Side};
use uuid::Uuid;

/// A way to the server, and a server that is reached by it and soon given up.
async fn on_the_way() -> (Chaos, Options) {
    by_a_way("").await
}

/// The same, with this at the end of its address.
async fn by_a_way(query: &str) -> (Chaos, Options) {
    let (way, url) = Chaos::on_the_way(&url(), Protocol::Amqp).await;
    let mut options = Options::new(Address::parse(&format!("{url}{query}")).unwrap());
    options.answer_timeout = Duration::from_secs(3);
    (way, options)
}

fn sink(options: Options) -> (RabbitSink, String) {
    let encode = ToQueue::new();
    let queue = encode.exchange.clone();
    (RabbitSink::new(options, Box::new(encode)), queue)
}

/// Delivers until that succeeds, which it must in the end; how often it failed.
async fn delivered(sink: &RabbitSink, events: &[order_core::journal::Event]) -> usize {
    let delivering = async {
        let mut failed = 0;
        while sink.deliver(events).await.is_err() {
            failed += 1;
        }
        failed
    };
    soon("it is delivered", delivering).await
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    let id = |one: &Delivery| one.properties.message_id().as_ref().unwrap().as_str().to_owned();
    deliveries.iter().map(id).collect()
}

#[tokio::test]
async fn a_message_whose_confirm_is_lost_comes_again_under_its_id() {
    for harm in [Harm::Swallow, Harm::Cut] {
        let ((way, options), other) = (on_the_way().await, Other::new().await);
        let (sink, queue) = sink(options);
        let order = OrderId(Uuid::new_v4());
        let sent = [event(order, 1, "{}"), event(order, 2, "{}")];
        way.harm(1, move |frame| frame.is(Side::Server, "basic.ack").then_some(harm));
        let fault = soon("it fails", sink.deliver(&sent)).await.unwrap_err().to_string();
        assert!(fault.contains("not confirmed") && fault.contains("rabbitmq.url"), "{harm:?}: {fault}");
        assert_eq!(delivered(&sink, &sent).await, 0);
        let [first, second] = sent.map(|event| event.event_id.to_string());
        // What was not confirmed was not overtaken by what came behind it.
        assert_eq!(ids(&other.take(&queue, 3).await), [first.clone(), first, second], "{harm:?}");
        other.delete(&[queue]).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_told_of_once_for_all_messages_and_gets_them_when_it_goes_on() {
    let ((way, options), other) = (on_the_way().await, Other::new().await);
    let (sink, queue) = sink(options);
    sink.open().await.unwrap();
    // Of as many orders, so that all are on their way at once.
    let events: Vec<_> = (0..60).map(|_| event(OrderId(Uuid::new_v4()), 1, "{}")).collect();
    way.hang(&[Side::Server]);
    let fault = soon("it is given up", sink.deliver(&events)).await.unwrap_err().to_string();
    assert!(fault.contains("not confirmed"), "{fault}");
    let fault = soon("it cannot be reached", sink.deliver(&events)).await.unwrap_err().to_string();
    assert!(fault.contains("no answer within"), "{fault}");
    way.release();
    delivered(&sink, &events).await;
    let mut taken = BTreeMap::new();
    for id in ids(&other.take(&queue, 2 * events.len()).await) {
        *taken.entry(id).or_insert(0) += 1;
    }
    assert!(taken.len() == events.len() && taken.values().all(|times| *times == 2), "{taken:?}");
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn a_server_that_hangs_in_the_middle_of_an_opening_is_given_up() {
    for from in ["channel.open-ok", "85.11", "40.11", "50.11"] {
        let (way, options) = on_the_way().await;
        let (sink, queue) = sink(options);
        way.harm(1, move |frame| frame.is(Side::Server, from).then_some(Harm::Hang));
        let fault = soon("it is given up", sink.open()).await.unwrap_err().to_string();
        assert!(fault.contains("no answer within 3000 ms"), "{from}: {fault}");
        soon("it is opened", sink.open()).await.unwrap();
        Other::new().await.delete(&[queue]).await;
    }
}

#[tokio::test]
async fn a_channel_that_the_server_closes_is_opened_anew_with_all_that_is_missing() {
    let ((_way, options), other) = (on_the_way().await, Other::new().await);
    let (sink, queue) = sink(options);
    sink.open().await.unwrap();
    other.channel.exchange_delete(queue.as_str().into(), Default::default()).await.unwrap();
    // The exchange is gone: so the server ends the channel. The next try finds both and makes them anew.
    let sent = [event(OrderId(Uuid::new_v4()), 1, "{}")];
    assert!(delivered(&sink, &sent).await > 0, "the first try meets what is gone");
    assert_eq!(other.take(&queue, 1).await.len(), 1);
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn a_message_whose_acknowledgement_is_lost_comes_again() {
    let ((way, options), other, queue) = (on_the_way().await, Other::new().await, unique("shipped"));
    let mut running = Running::start(options, &queue, |_, _| Outcome::Done);
    other.declare(&queue).await;
    way.harm(1, |frame| frame.is(Side::Client, "basic.ack").then_some(Harm::Cut));
    other.send(&queue, "once", BasicProperties::default()).await;
    for _ in 0..2 {
        assert_eq!(running.next().await, ("once".to_owned(), 0), "it was dealt with, and nobody knew");
    }
    assert_eq!(running.stop().await, []);
    assert_eq!(other.ready(&queue).await, 0);
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn a_consumer_of_a_server_that_hangs_connects_anew() {
    // Nothing more comes, or from the middle of the beginning on.
    for from in ["heartbeat", "basic.deliver", "channel.open-ok", "basic.consume-ok"] {
        let (way, options) = by_a_way("?heartbeat=1").await;
        let (other, queue) = (Other::new().await, unique("shipped"));
        other.declare(&queue).await;
        way.harm(1, move |frame| frame.is(Side::Server, from).then_some(Harm::Hang));
        let mut running = Running::start(options, &queue, |_, _| Outcome::Done);
        other.send(&queue, "first", BasicProperties::default()).await;
        if from == "heartbeat" {
            assert_eq!(running.next().await.0, "first");
        }
        way.harmed(1).await;
        other.send(&queue, "second", BasicProperties::default()).await;
        let mut seen = Vec::new();
        while !seen.contains(&"second".to_owned()) {
            seen.push(running.next().await.0);
        }
        assert!(from == "heartbeat" || seen.contains(&"first".to_owned()), "{from}: {seen:?}");
        assert!(running.stats.figures().connected, "{from}");
        running.stop().await;
        other.delete(&family(&queue)).await;
    }
}

#[tokio::test]
async fn a_publisher_that_the_server_blocks_says_so_and_goes_on_afterwards() {
    let ((way, options), other) = (on_the_way().await, Other::new().await);
    let (sink, queue) = sink(options);
    sink.open().await.unwrap();
    // As a server does that has no room: it reads no more.
    way.hang(&[Side::Client]);
    let sent = [event(OrderId(Uuid::new_v4()), 1, "{}")];
    let fault = soon("it is given up", sink.deliver(&sent)).await.unwrap_err().to_string();
    assert!(fault.contains("rabbitmq.url"), "{fault}");
    way.release();
    delivered(&sink, &sent).await;
    let taken = other.take(&queue, 1).await;
    assert_eq!(text(&taken[0]), "{\"version\":1}");
    other.delete(&[queue]).await;
}
