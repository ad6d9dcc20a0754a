//! Where a message goes that was not dealt with: to a queue that hands it back after a while, or to the dead letters. Each
//! move is a confirmed publish before the acknowledgement, so the message is in one of the two queues at least.

use crate::frame;
use crate::handover::{self, Post, Taken};
use crate::link::{Confirming, Trouble};
use crate::publisher::PERSISTENT;
use crate::topology::{declare_queue, waiting_room};
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use std::time::Duration;
use tokio::sync::Mutex;

/// How many retries a message has had.
pub const ATTEMPT_HEADER: &str = "x-wellorder-attempt";
/// Why a message is a dead letter.
pub const REASON_HEADER: &str = "x-wellorder-reason";
/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_000;

/// Why a message was not moved.
#[derive(Debug)]
pub(crate) enum NotMoved {
    /// The queue does not take it now. Nothing is wrong with the connection.
    Refused(String),
    /// Something else: this connection is of no use any more.
    Trouble(Trouble),
}

/// The queues beside one that is consumed.
#[derive(Debug)]
pub(crate) struct Retries {
    queue: String,
    waits: Vec<Duration>,
    /// Held while a message is on its way: what comes back must be that one.
    moving: Mutex<()>,
}

impl Retries {
    pub(crate) fn new(queue: &str, waits: &[Duration]) -> Self {
        Self { queue: queue.to_owned(), waits: waits.to_vec(), moving: Mutex::new(()) }
    }

    pub(crate) fn dead_letters(&self) -> String {
        format!("{}.dlq", self.queue)
    }

    fn waiting_room(&self, wait: Duration) -> String {
        format!("{}.retry.{}", self.queue, wait.as_millis())
    }

    pub(crate) fn waiting_rooms(&self) -> impl Iterator<Item = String> {
        self.waits.iter().map(|wait| self.waiting_room(*wait))
    }

    pub(crate) async fn declare(&self, channel: &Channel) -> Result<(), Trouble> {
        declare_queue(channel, &self.queue, FieldTable::default()).await?;
        for wait in &self.waits {
            declare_queue(channel, &self.waiting_room(*wait), waiting_room(&self.queue, *wait)).await?;
        }
        declare_queue(channel, &self.dead_letters(), FieldTable::default()).await
    }

    /// Where a message goes next that has had so many retries; `None` to the dead letters.
    pub(crate) fn next(&self, attempt: usize) -> Option<String> {
        self.waits.get(attempt).map(|wait| self.waiting_room(*wait))
    }

    /// Puts a message off.
    pub(crate) async fn put_off(
        &self,
        over: &Confirming,
        delivery: &Delivery,
        to: &str,
        patience: Duration,
    ) -> Result<(), NotMoved> {
        let attempt = AMQPValue::LongInt(i32::try_from(attempt(delivery) + 1).unwrap_or(i32::MAX));
        let properties = fitting(&delivery.properties, (ATTEMPT_HEADER, attempt), over.frame_bytes_max);
        self.publish(over, to, &delivery.data, properties, patience).await
    }

    /// Makes a dead letter of a message: as it came, and why.
    pub(crate) async fn bury(
        &self,
        over: &Confirming,
        delivery: &Delivery,
        why: &str,
        patience: Duration,
    ) -> Result<(), NotMoved> {
        let end = (0..=REASON_BYTES_MAX.min(why.len())).rev().find(|end| why.is_char_boundary(*end));
        let why = &why[..end.unwrap_or(0)];
        let reason = (REASON_HEADER, AMQPValue::LongString(why.into()));
        let properties = fitting(&delivery.properties, reason, over.frame_bytes_max);
        self.publish(over, &self.dead_letters(), &delivery.data, properties, patience).await
    }

    async fn publish(
        &self,
        over: &Confirming,
        queue: &str,
        body: &[u8],
        properties: BasicProperties,
        patience: Duration,
    ) -> Result<(), NotMoved> {
        let post = Post { exchange: "", key: queue, mandatory: true, body, properties };
        let _one_at_a_time = self.moving.lock().await;
        let taken = handover::all(over, &[post], patience).await.map_err(NotMoved::Trouble)?;
        match taken.first() {
            Some(Taken::Yes) => Ok(()),
            Some(Taken::Refused) => Err(NotMoved::Refused(format!("the queue {queue} is full"))),
            // It is declared anew with the next connection.
            Some(Taken::Returned(why)) => {
                Err(NotMoved::Trouble(Trouble::new(format!("the queue {queue} is gone: {why}"))))
            }
            Some(Taken::TooLarge(why)) => Err(NotMoved::Trouble(Trouble::new(why.clone()))),
            None => Err(NotMoved::Trouble(Trouble::new("nothing was published"))),
        }
    }
}

/// How many retries a message has had. Whoever else sends the header can only have fewer of them.
pub(crate) fn attempt(delivery: &Delivery) -> usize {
    let headers = delivery.properties.headers().as_ref();
    let value = headers.and_then(|headers| headers.inner().get(ATTEMPT_HEADER));
    value.and_then(integer).and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// The properties of a message that moves on. One that came with as many headers as a frame has room for moves without them:
/// else one more would end the connection, and the message would come again for ever.
fn fitting(
    properties: &BasicProperties,
    header: (&'static str, AMQPValue),
    frame_bytes_max: usize,
) -> BasicProperties {
    let whole = moved(properties, header.clone());
    if frame::bytes(&whole) <= frame_bytes_max {
        return whole;
    }
    moved(&properties.clone().with_headers(FieldTable::default()), header)
}

/// The properties of a message that moves on, with one header more. Retries are counted anew where that header does not say
/// how many there were, so that a dead letter that somebody moves back has all of them again. What would make the server do something with it by
/// itself does not move with it: an expiration would delete a dead letter, `user_id` is refused from anybody else, and `CC`
/// names further queues.
fn moved(properties: &BasicProperties, (name, value): (&'static str, AMQPValue)) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        let name = match name.as_str() {
            "CC" => ShortString::from("x-wellorder-cc"),
            "BCC" => ShortString::from("x-wellorder-bcc"),
            ATTEMPT_HEADER => continue,
            _ => name.clone(),
        };
        headers.insert(name, value.clone());
    }
    headers.insert(name.into(), value);
    let mut moved = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    if let Some(kind) = properties.content_type() {
        moved = moved.with_content_type(kind.clone());
    }
    if let Some(encoding) = properties.content_encoding() {
        moved = moved.with_content_encoding(encoding.clone());
    }
    if let Some(priority) = properties.priority() {
        moved = moved.with_priority(*priority);
    }
    if let Some(id) = properties.correlation_id() {
        moved = moved.with_correlation_id(id.clone());
    }
    if let Some(queue) = properties.reply_to() {
        moved = moved.with_reply_to(queue.clone());
    }
    if let Some(id) = properties.message_id() {
        moved = moved.with_message_id(id.clone());
    }
    if let Some(moment) = properties.timestamp() {
        moved = moved.with_timestamp(*moment);
    }
    if let Some(kind) = properties.kind() {
        moved = moved.with_type(kind.clone());
    }
    if let Some(id) = properties.app_id() {
        moved = moved.with_app_id(id.clone());
    }
    moved
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_the_server_would_act_on_does_not_move_with_a_message() {
        let mut headers = FieldTable::default();
        headers.insert("CC".into(), AMQPValue::LongString("elsewhere".into()));
        headers.insert("k".into(), AMQPValue::Boolean(true));
        let properties = BasicProperties::default()
            .with_expiration("10".into())
            .with_user_id("somebody".into())
            .with_message_id("m-1".into())
            .with_headers(headers);
        let moved = moved(&properties, (REASON_HEADER, AMQPValue::LongString("no JSON".into())));
        assert_eq!((moved.expiration(), moved.user_id()), (&None, &None));
        assert_eq!((moved.message_id().as_ref().unwrap().as_str(), *moved.delivery_mode()), ("m-1", Some(2)));
        let names: Vec<_> =
            moved.headers().as_ref().unwrap().inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["k", "x-wellorder-cc", "x-wellorder-reason"]);
    }

    #[test]
    fn headers_that_leave_no_room_for_one_more_are_left_behind() {
        let mut headers = FieldTable::default();
        headers.insert("k".into(), AMQPValue::LongString("x".repeat(4_000).into()));
        let properties = BasicProperties::default().with_message_id("m-1".into()).with_headers(headers);
        let names = |room: usize| {
            let reason = (REASON_HEADER, AMQPValue::LongString("no JSON".into()));
            let fitting = fitting(&properties, reason, room);
            assert!(frame::bytes(&fitting) <= room && fitting.message_id().is_some());
            fitting.headers().as_ref().unwrap().inner().len()
        };
        assert_eq!([names(131_072), names(4_096), names(4_000)], [2, 2, 1]);
    }

    #[test]
    fn only_a_whole_number_is_a_count_of_retries() {
        for (value, expected) in [
            (AMQPValue::LongInt(2), 2),
            (AMQPValue::ShortShortUInt(1), 1),
            (AMQPValue::LongInt(-1), 0),
            (AMQPValue::LongString("2".into()), 0),
        ] {
            let mut headers = FieldTable::default();
            headers.insert(ATTEMPT_HEADER.into(), value.clone());
            let mut delivery = Delivery::mock(1, "".into(), "q".into(), false, Vec::new());
            delivery.properties = BasicProperties::default().with_headers(headers);
            assert_eq!(attempt(&delivery), expected, "{value:?}");
        }
    }
}
