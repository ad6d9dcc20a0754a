//! What a sink leaves in queues.

use crate::rig::{Other, ToQueue, event, headers, options, text, unique};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use order_core::ids::OrderId;
use order_core::parking::RefusedFor;
use order_core::ports::{Sink, SinkFault};
use order_core::trace::TraceContext;
use sink_rabbitmq::{CloudEvents, RabbitSink};
use std::collections::BTreeSet;
use uuid::Uuid;

#[tokio::test]
async fn a_message_is_durable_and_says_what_it_is() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    sink.open().await.unwrap();
    let mut sent = event(OrderId(Uuid::new_v4()), 1, "{}");
    sent.trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let silent = event(OrderId(Uuid::new_v4()), 1, "nothing");
    sink.deliver(&[sent.clone(), silent]).await.unwrap();
    // Confirmed is: the queue has it.
    let delivery = &other.take(&queue, 1).await[0];
    let properties = &delivery.properties;
    assert_eq!(text(delivery), "{\"version\":1}");
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), sent.event_id.to_string());
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "OrderCreated");
    assert_eq!(
        (delivery.exchange.as_str(), delivery.routing_key.as_str()),
        (queue.as_str(), "order.created")
    );
    assert_eq!(headers(delivery)["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    // The queue has no arguments: declaring it so again is no mistake.
    other.declare(&queue).await;
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn the_events_of_an_order_arrive_in_their_order() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    let orders: Vec<OrderId> = (0..50).map(|_| OrderId(Uuid::new_v4())).collect();
    let events: Vec<_> =
        (1..=4).flat_map(|version| orders.iter().map(move |id| event(*id, version, "{}"))).collect();
    sink.deliver(&events).await.unwrap();
    let taken = other.take(&queue, events.len()).await;
    let at =
        |id: &str| taken.iter().position(|one| one.properties.message_id().as_ref().unwrap().as_str() == id);
    for order in &orders {
        let mine = events.iter().filter(|event| event.order_id == *order);
        let places: Vec<_> = mine.map(|event| at(&event.event_id.to_string()).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
    }
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn a_message_that_no_queue_takes_is_refused_and_holds_its_order_back() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    let order = OrderId(Uuid::new_v4());
    let events = [event(order, 1, "astray"), event(order, 2, "{}"), event(OrderId(Uuid::new_v4()), 1, "{}")];
    let Err(SinkFault::Refused(refused)) = sink.deliver(&events).await else { panic!("it is refused") };
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 0, RefusedFor::Unroutable));
    assert!(
        refused[0].why.contains("no queue takes it") && refused[0].why.contains("nowhere"),
        "{refused:?}"
    );
    let ids: Vec<String> = other
        .take(&queue, 1)
        .await
        .iter()
        .map(|one| one.properties.message_id().as_ref().unwrap().to_string())
        .collect();
    assert_eq!(
        ids,
        [events[2].event_id.to_string()],
        "the other order's, and nothing behind what was refused"
    );
    assert_eq!(other.ready(&queue).await, 0);
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn an_event_of_which_no_message_can_be_made_holds_its_own_order_back_alone() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    let (one, two) = (OrderId(Uuid::new_v4()), OrderId(Uuid::new_v4()));
    let events = [event(one, 1, "{}"), event(one, 2, "garbled"), event(one, 3, "{}"), event(two, 1, "{}")];
    let Err(SinkFault::Refused(refused)) = sink.deliver(&events).await else { panic!("it is refused") };
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 1, RefusedFor::Invalid));
    assert!(refused[0].why.contains("it does not read"), "{refused:?}");
    let id = |one: &lapin::message::Delivery| one.properties.message_id().as_ref().unwrap().to_string();
    let taken: BTreeSet<_> = other.take(&queue, 2).await.iter().map(id).collect();
    assert_eq!(taken, [&events[0], &events[3]].map(|event| event.event_id.to_string()).into());
    assert_eq!(other.ready(&queue).await, 0);
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn of_many_that_leave_together_those_that_no_queue_takes_are_refused_and_no_others() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    for _ in 0..5 {
        // The server confirms some of them together, and which of those came back a confirmation does not say.
        let is_astray = |index: usize| index % 3 == 2;
        let data = |index| if is_astray(index) { "astray" } else { "{}" };
        let events: Vec<_> = (0..300).map(|index| event(OrderId(Uuid::new_v4()), 1, data(index))).collect();
        let Err(SinkFault::Refused(refused)) = sink.deliver(&events).await else {
            panic!("some are refused")
        };
        let mut refused: Vec<usize> = refused.iter().map(|refused| refused.index).collect();
        refused.sort_unstable();
        assert_eq!(refused, (0..300).filter(|index| is_astray(*index)).collect::<Vec<_>>());
        let id = |one: &lapin::message::Delivery| one.properties.message_id().as_ref().unwrap().to_string();
        let taken = other.take(&queue, 200).await;
        let others =
            (0..300).filter(|index| !is_astray(*index)).map(|index| events[index].event_id.to_string());
        assert_eq!(taken.iter().map(id).collect::<BTreeSet<_>>(), others.collect());
        assert_eq!(other.ready(&queue).await, 0, "each once");
    }
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn a_queue_that_somebody_took_away_is_made_again() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(options(), Box::new(encode));
    sink.open().await.unwrap();
    other.delete(std::slice::from_ref(&queue)).await;
    sink.deliver(&[event(OrderId(Uuid::new_v4()), 1, "{}")]).await.unwrap();
    assert_eq!(other.take(&queue, 1).await.len(), 1);
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn whoever_binds_a_queue_gets_the_events_of_that_type() {
    let (other, exchange, queue) = (Other::new().await, unique("events"), unique("processed"));
    let sink = RabbitSink::new(options(), Box::new(CloudEvents::new(&exchange, Uuid::nil())));
    sink.open().await.unwrap();
    // Nobody is there yet: that is no mistake.
    sink.deliver(&[event(OrderId(Uuid::new_v4()), 1, "{}")]).await.unwrap();
    other
        .channel
        .queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default())
        .await
        .unwrap();
    let (key, none) = ("order.processed", FieldTable::default());
    let bound = other.channel.queue_bind(
        queue.as_str().into(),
        exchange.as_str().into(),
        key.into(),
        QueueBindOptions::default(),
        none,
    );
    bound.await.unwrap();
    let sent = event(OrderId(Uuid::new_v4()), 2, "{\"attempt\":1}");
    sink.deliver(std::slice::from_ref(&sent)).await.unwrap();
    let delivery = &other.take(&queue, 1).await[0];
    assert_eq!((text(delivery).as_str(), delivery.routing_key.as_str()), ("{\"attempt\":1}", key));
    let headers = headers(delivery);
    for (name, value) in [
        ("cloudEvents_id", sent.event_id.to_string()),
        ("cloudEvents_type", "wellorder.order.processed".to_owned()),
        ("cloudEvents_subject", sent.order_id.to_string()),
        ("cloudEvents_sequence", "2".to_owned()),
        ("cloudEvents_time", "2026-09-21T14:13:20.123456Z".to_owned()),
    ] {
        assert_eq!(headers[name], value);
    }
    other.delete(&[queue]).await;
}
