//! Headers that have no room in a frame as large as a connection may have it.

use crate::rig::{Other, Running, ToQueue, event, family, headers, soon, unique, url};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use order_core::ids::OrderId;
use order_core::inbox::Outcome;
use order_core::parking::RefusedFor;
use order_core::ports::{Sink, SinkFault};
use sink_rabbitmq::{Address, Options, REASON_HEADER, RabbitSink};
use uuid::Uuid;

/// The smallest that there may be.
const FRAME: usize = 4096;

/// The server, over connections with small frames.
fn narrow() -> Options {
    Options::new(Address::parse(&format!("{}?frame_max={FRAME}", url())).unwrap())
}

/// Delivers one event with a header of so many bytes; why it is refused for good, if it is.
async fn refused(sink: &RabbitSink, bytes: usize) -> Option<String> {
    let sent = [event(OrderId(Uuid::new_v4()), 1, &format!("wide {bytes}"))];
    match soon("an answer", sink.deliver(&sent)).await {
        Ok(()) => None,
        Err(SinkFault::Refused(mut refused)) => {
            assert_eq!((refused.len(), refused[0].reason), (1, RefusedFor::TooLarge));
            refused.pop().map(|one| one.why)
        }
        Err(fault) => panic!("{bytes}: {fault}"),
    }
}

#[tokio::test]
async fn headers_that_no_frame_has_room_for_park_their_order_alone() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(narrow(), Box::new(encode));
    let [one, two] = [(); 2].map(|()| OrderId(Uuid::new_v4()));
    let sent = [event(one, 1, "wide 5000"), event(one, 2, "{}"), event(two, 1, "{}")];
    let Err(SinkFault::Refused(refused)) = soon("an answer", sink.deliver(&sent)).await else {
        panic!("it is refused")
    };
    assert_eq!((refused.len(), refused[0].index, refused[0].reason), (1, 0, RefusedFor::TooLarge));
    assert!(refused[0].why.contains("raise frame_max") && refused[0].why.contains("4096"), "{refused:?}");
    let taken = other.take(&queue, 1).await;
    let id = taken[0].properties.message_id().as_ref().unwrap().to_string();
    assert_eq!(id, sent[2].event_id.to_string(), "nothing behind what was refused, and all of the other's");
    assert_eq!(other.ready(&queue).await, 0);
    other.delete(&[queue]).await;
}

/// One byte more than is taken is refused; the server takes all that is not.
#[tokio::test]
async fn the_largest_headers_that_are_sent_are_taken() {
    let (other, encode) = (Other::new().await, ToQueue::new());
    let queue = encode.exchange.clone();
    let sink = RabbitSink::new(narrow(), Box::new(encode));
    let (mut fits, mut does_not) = (0, FRAME);
    while does_not - fits > 1 {
        let middle = usize::midpoint(fits, does_not);
        match refused(&sink, middle).await {
            None => fits = middle,
            Some(_) => does_not = middle,
        }
    }
    let why = refused(&sink, does_not).await.unwrap();
    assert!(why.contains("take 4097 bytes"), "{why}");
    let taken = other.channel.queue_purge(queue.as_str().into(), Default::default()).await.unwrap();
    assert!(taken > 1, "{taken}");
    other.delete(&[queue]).await;
}

#[tokio::test]
async fn a_message_whose_headers_leave_no_room_for_a_reason_is_a_dead_letter_without_them() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    other.declare(&queue).await;
    let mut wide = FieldTable::default();
    wide.insert("wide".into(), AMQPValue::LongString("x".repeat(FRAME - 60).into()));
    other.send(&queue, "never", BasicProperties::default().with_headers(wide)).await;
    let mut running =
        Running::start(narrow(), &queue, |_, _| Outcome::Poison { why: "no JSON, not at all".to_owned() });
    assert_eq!(running.next().await, ("never".to_owned(), 0));
    let dead = &other.take(&format!("{queue}.dlq"), 1).await[0];
    assert_eq!(headers(dead), [(REASON_HEADER.to_owned(), "no JSON, not at all".to_owned())].into());
    assert_eq!(running.stats.figures().reconnects, 0);
    running.stop().await;
    other.delete(&family(&queue)).await;
}
