//! What becomes of messages.

use crate::rig::{Other, Running, family, headers, options, text, unique};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use order_core::consumers::ConsumerFigures;
use order_core::inbox::Outcome;
use sink_rabbitmq::{ATTEMPT_HEADER, Incoming, REASON_HEADER};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn bare() -> BasicProperties {
    BasicProperties::default()
}

fn by_body(body: &str, _: Incoming<'_>) -> Outcome {
    match body {
        "later" => Outcome::Retry { why: "no such order".to_owned() },
        "never" => Outcome::Poison { why: "no JSON".to_owned() },
        _ => Outcome::Done,
    }
}

#[tokio::test]
async fn what_fails_is_tried_three_times_more_and_is_then_a_dead_letter_with_the_reason() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    let mut running = Running::start(options(), &queue, by_body);
    other.declare(&queue).await;
    other.send(&queue, "later", bare().with_message_id("m-1".into())).await;
    for attempt in 0..=3 {
        assert_eq!(running.next().await, ("later".to_owned(), attempt));
    }
    let dead = &other.take(&format!("{queue}.dlq"), 1).await[0];
    assert_eq!(
        (text(dead).as_str(), dead.properties.message_id().as_ref().unwrap().as_str()),
        ("later", "m-1")
    );
    assert_eq!(headers(dead)[REASON_HEADER], "no such order");
    assert!(!headers(dead).contains_key(ATTEMPT_HEADER), "moved back, it has its retries again");
    // Counted once it is confirmed, which may be later than the message comes back.
    let stats = running.stats.clone();
    assert_eq!(running.stop().await, []);
    assert_eq!((stats.figures().retried, stats.figures().done), (3, 0));
    assert_eq!(other.ready(&queue).await, 0, "it was acknowledged");
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn poison_is_a_dead_letter_at_once_as_it_came_and_the_queue_goes_on() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    other.declare(&queue).await;
    let mut headers_sent = FieldTable::default();
    headers_sent.insert("tenant".into(), AMQPValue::LongString("acme".into()));
    let properties = bare()
        .with_content_type("text/plain".into())
        .with_correlation_id("c-1".into())
        .with_expiration("60000".into())
        .with_user_id("guest".into())
        .with_headers(headers_sent);
    other.send(&queue, "never", properties).await;
    other.send(&queue, "fine", bare()).await;
    let mut running = Running::start(options(), &queue, by_body);
    assert_eq!(running.next().await, ("never".to_owned(), 0));
    assert_eq!(running.next().await, ("fine".to_owned(), 0));
    let dead = &other.take(&format!("{queue}.dlq"), 1).await[0];
    assert_eq!(text(dead), "never");
    let expected =
        [("tenant".to_owned(), "acme".to_owned()), (REASON_HEADER.to_owned(), "no JSON".to_owned())];
    assert_eq!(headers(dead), expected.into());
    let properties = &dead.properties;
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "c-1");
    assert_eq!(properties.expiration(), &None, "a dead letter stays until somebody looks");
    running.stop().await;
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn a_fault_of_ours_uses_up_no_retry() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    other.declare(&queue).await;
    other.send(&queue, "x", bare()).await;
    let tries = AtomicUsize::new(0);
    let mut running =
        Running::start(options(), &queue, move |_, _| match tries.fetch_add(1, Ordering::Relaxed) {
            0..6 => Outcome::Hold { why: "the database is away".to_owned() },
            _ => Outcome::Done,
        });
    for _ in 0..7 {
        assert_eq!(running.next().await, ("x".to_owned(), 0));
    }
    let stats = std::sync::Arc::clone(&running.stats);
    assert_eq!(running.stop().await, []);
    let figures = stats.figures();
    assert_eq!((figures.held, figures.done, figures.retried, figures.dead), (6, 1, 0, 0));
    assert_eq!(other.ready(&queue).await, 0);
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn a_message_that_is_held_at_the_end_goes_back() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    other.declare(&queue).await;
    other.send(&queue, "x", bare()).await;
    let mut running =
        Running::start(options(), &queue, |_, _| Outcome::Hold { why: "the database is away".to_owned() });
    running.next().await;
    running.stop().await;
    assert_eq!(text(&other.take(&queue, 1).await[0]), "x");
    other.delete(&family(&queue)).await;
}

/// Whoever put it there, and whoever is asked.
#[tokio::test]
async fn what_is_set_aside_is_counted() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let (other, queue) = (Other::new().await, unique("shipped"));
    let start = || Running::with_retries(options(), &queue, &[HOUR], by_body);
    let mut running = start();
    other.declare(&queue).await;
    for body in ["later", "never", "never"] {
        other.send(&queue, body, bare()).await;
        assert_eq!(running.next().await, (body.to_owned(), 0));
    }
    assert_eq!(running.stop().await, []);
    let running = start();
    let stats = running.stats.clone();
    let counted = async {
        while (stats.figures().put_off, stats.figures().parked) != (1, 2) {
            tokio::task::yield_now().await;
        }
    };
    crate::rig::soon("both are counted", counted).await;
    running.stop().await;
    let family = ["", ".retry.3600000", ".dlq"].map(|end| format!("{queue}{end}"));
    other.delete(&family).await;
}

#[tokio::test]
async fn dead_letters_that_find_no_room_hold_only_themselves_up() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    let mut running = Running::start(options(), &queue, by_body);
    let stats = running.stats.clone();
    let until = async |what: &str, is: fn(ConsumerFigures) -> bool| {
        let so = async {
            while !is(stats.figures()) {
                tokio::task::yield_now().await;
            }
        };
        crate::rig::soon(what, so).await;
    };
    until("it consumes", |figures| figures.connected).await;
    // As a policy has it: there is room for one, and further ones are refused.
    let dead = format!("{queue}.dlq");
    other.delete(std::slice::from_ref(&dead)).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = lapin::options::QueueDeclareOptions::durable();
    other.channel.queue_declare(dead.as_str().into(), durable, arguments).await.unwrap();
    for body in ["never", "never", "fine"] {
        other.send(&queue, body, bare()).await;
        assert_eq!(running.next().await.0, body);
    }
    until("one is held", |figures| figures.held > 2 && figures.done == 1 && figures.dead == 1).await;
    // Whoever looks after dead letters makes room for the next.
    assert_eq!(text(&other.next(&dead).await), "never");
    until("the other is a dead letter", |figures| figures.dead == 2).await;
    assert_eq!(text(&other.next(&dead).await), "never");
    assert_eq!((stats.figures().reconnects, running.stop().await), (0, Vec::new()));
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn no_message_is_lost_when_a_queue_that_it_is_put_off_to_is_gone() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    let running = Running::start(options(), &queue, |body, message| {
        let kind = body.split_once(' ').map_or("", |(kind, _)| kind);
        by_body(kind, message)
    });
    let stats = running.stats.clone();
    crate::rig::soon("it consumes", async {
        while !stats.figures().connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
    other.delete(&[format!("{queue}.retry.20")]).await;
    let mut missing: BTreeSet<String> =
        (0..40).flat_map(|index| [format!("never {index}"), format!("later {index}")]).collect();
    for body in &missing {
        other.send(&queue, body, bare()).await;
    }
    while !missing.is_empty() {
        missing.remove(&text(&other.next(&format!("{queue}.dlq")).await));
    }
    running.stop().await;
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn two_consumers_share_a_queue_and_each_message_is_dealt_with_once() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    let (first, second) =
        (Running::start(options(), &queue, by_body), Running::start(options(), &queue, by_body));
    other.declare(&queue).await;
    for index in 0..300 {
        other.send(&queue, &format!("m-{index}"), bare()).await;
    }
    let stats = [first.stats.clone(), second.stats.clone()];
    let done = || stats.iter().map(|stats| stats.figures().done).sum::<u64>();
    crate::rig::soon("all are dealt with", async {
        while done() < 300 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut all: Vec<String> = Vec::new();
    for running in [first, second] {
        all.extend(running.stop().await.into_iter().map(|(body, _)| body));
    }
    all.sort();
    all.dedup();
    assert_eq!((all.len(), done()), (300, 300));
    assert_eq!(other.ready(&queue).await, 0);
    other.delete(&family(&queue)).await;
}

#[tokio::test]
async fn a_queue_that_is_there_with_other_properties_is_named() {
    let (other, queue) = (Other::new().await, unique("shipped"));
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let durable = lapin::options::QueueDeclareOptions::durable();
    other.channel.queue_declare(queue.as_str().into(), durable, arguments).await.unwrap();
    let running = Running::start(options(), &queue, by_body);
    let fault = crate::rig::soon("the consumer says why", async {
        loop {
            if let Some(fault) = running.stats.figures().fault {
                return fault;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(fault.contains(&queue) && fault.contains("other properties"), "{fault}");
    running.stop().await;
    other.delete(&[queue]).await;
}
