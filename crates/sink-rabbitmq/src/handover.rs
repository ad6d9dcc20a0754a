//! Handing messages over: sent, and confirmed by the server.

use crate::frame;
use crate::link::{Confirming, Trouble, broken, name};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is safe.
    Yes,
    /// No queue takes it: it came back.
    Returned(String),
    /// A queue that should take it does not, because it is full for one.
    Refused,
    /// It can never be sent over such a connection.
    TooLarge(String),
}

/// A message, and where it goes.
#[derive(Debug)]
pub(crate) struct Post<'m> {
    pub(crate) exchange: &'m str,
    pub(crate) key: &'m str,
    /// Whether it must reach a queue.
    pub(crate) mandatory: bool,
    pub(crate) body: &'m [u8],
    pub(crate) properties: BasicProperties,
}

impl Post<'_> {
    /// Why it can never be sent where frames are no larger.
    fn too_large(&self, frame_bytes_max: usize) -> Option<String> {
        let bytes = frame::bytes(&self.properties);
        (bytes > frame_bytes_max).then(|| {
            format!(
                "its headers take {bytes} bytes, and a frame has room for {frame_bytes_max}: raise frame_max of the server, and \
                 in rabbitmq.url if it is said there"
            )
        })
    }

    fn is(&self, back: &BasicReturnMessage) -> bool {
        let there = &back.delivery;
        self.mandatory
            && (self.exchange, self.key) == (there.exchange.as_str(), there.routing_key.as_str())
            && self.properties.message_id() == there.properties.message_id()
            && self.body == there.data
    }
}

/// Hands messages over, and waits until the server has told of each: `patience` for all of them together, since a server
/// that hangs would hold each up for as long. Nothing else may be handed over on the channel meanwhile: what comes back says
/// itself which message it is, and would be taken for another's.
///
/// # Errors
/// When of some nobody can tell; then nothing is known of the others either, and the channel is of no use any more.
pub(crate) async fn all(
    over: &Confirming,
    posts: &[Post<'_>],
    patience: Duration,
) -> Result<Vec<Taken>, Trouble> {
    let until = Instant::now() + patience;
    let late = |_| Trouble::new(format!("not confirmed within {} ms", patience.as_millis()));
    let mut confirms = Vec::with_capacity(posts.len());
    for post in posts {
        confirms.push(match post.too_large(over.frame_bytes_max) {
            Some(why) => Err(why),
            None => Ok(timeout_at(until, send(&over.channel, post)).await.map_err(late)??),
        });
    }
    let (mut taken, mut returned) = (Vec::with_capacity(posts.len()), Vec::new());
    for confirm in confirms {
        let confirm = match confirm {
            Ok(confirm) => confirm,
            Err(why) => {
                taken.push(Taken::TooLarge(why));
                continue;
            }
        };
        let (what, back) = match timeout_at(until, confirm).await.map_err(late)? {
            Ok(Confirmation::Ack(back)) => (Taken::Yes, back),
            Ok(Confirmation::Nack(back)) => (Taken::Refused, back),
            Ok(Confirmation::NotRequested) => return Err(Trouble::new("the server does not confirm")),
            Err(error) => return Err(Trouble::new(format!("not confirmed: {error}"))),
        };
        taken.push(what);
        returned.extend(back);
    }
    attribute(posts, &returned, &mut taken)?;
    Ok(taken)
}

async fn send(channel: &Channel, post: &Post<'_>) -> Result<PublisherConfirm, Trouble> {
    let (exchange, key) = (name(post.exchange)?, name(post.key)?);
    let options = BasicPublishOptions { mandatory: post.mandatory, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(exchange, key, options, post.body, post.properties.clone()).await;
    sent.map_err(broken("cannot publish"))
}

/// Finds out which messages came back. With which confirmation the client hands one over says nothing: it takes the next that
/// completes, and the server confirms several at a time. Messages that are alike in all that counts stand for each other.
fn attribute(
    posts: &[Post<'_>],
    returned: &[BasicReturnMessage],
    taken: &mut [Taken],
) -> Result<(), Trouble> {
    for back in returned {
        let mut candidates = posts.iter().zip(taken.iter_mut());
        let Some((_, taken)) = candidates.find(|(post, taken)| **taken == Taken::Yes && post.is(back)) else {
            return Err(Trouble::new("a message came back that was not sent"));
        };
        *taken = Taken::Returned(format!("{} {}", back.reply_code, back.reply_text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::message::Delivery;

    fn post<'m>(key: &'m str, id: &str, body: &'m [u8]) -> Post<'m> {
        let properties = BasicProperties::default().with_message_id(id.into());
        Post { exchange: "e", key, mandatory: true, body, properties }
    }

    fn back(post: &Post<'_>) -> BasicReturnMessage {
        let mut delivery =
            Delivery::mock(0, post.exchange.into(), post.key.into(), false, post.body.to_vec());
        delivery.properties = post.properties.clone();
        BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
    }

    fn returned(posts: &[Post<'_>], returned: &[BasicReturnMessage]) -> Result<Vec<usize>, Trouble> {
        let mut taken = vec![Taken::Yes; posts.len()];
        attribute(posts, returned, &mut taken)?;
        Ok((0..posts.len())
            .filter(|index| taken[*index] == Taken::Returned("312 NO_ROUTE".to_owned()))
            .collect())
    }

    #[test]
    fn what_comes_back_is_known_by_what_it_carries() {
        let posts = [post("a", "1", b"x"), post("a", "2", b"x"), post("b", "2", b"x"), post("b", "2", b"y")];
        for (index, one) in posts.iter().enumerate() {
            assert_eq!(returned(&posts, &[back(one)]), Ok(vec![index]));
        }
        assert_eq!(returned(&posts, &[back(&posts[3]), back(&posts[0])]), Ok(vec![0, 3]));
        assert_eq!(returned(&posts, &[]), Ok(Vec::new()));
    }

    #[test]
    fn messages_that_are_alike_stand_for_each_other() {
        let posts = [post("a", "1", b"x"), post("a", "1", b"x")];
        assert_eq!(returned(&posts, &[back(&posts[1])]), Ok(vec![0]));
        assert_eq!(returned(&posts, &[back(&posts[1]), back(&posts[0])]), Ok(vec![0, 1]));
    }

    #[test]
    fn what_nobody_sent_leaves_everything_open() {
        let posts = [post("a", "1", b"x")];
        assert!(returned(&posts, &[back(&post("a", "2", b"x"))]).is_err());
    }
}
