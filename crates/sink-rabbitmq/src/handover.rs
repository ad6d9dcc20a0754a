//! Handing a message over: sent, and confirmed by the server.

use crate::link::{Trouble, broken, name};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use std::time::Duration;
use tokio::time::timeout;

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// No queue takes it: it came back.
    Returned(String),
    /// Something else: it may be taken later.
    Trouble(Trouble),
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'m> {
    pub(crate) exchange: &'m str,
    pub(crate) key: &'m str,
    /// Whether it must reach a queue.
    pub(crate) mandatory: bool,
}

/// Sends it; the server is yet to confirm.
pub(crate) async fn send(
    channel: &Channel,
    route: Route<'_>,
    body: &[u8],
    properties: BasicProperties,
) -> Result<PublisherConfirm, Trouble> {
    let (exchange, key) = (name(route.exchange)?, name(route.key)?);
    let options = BasicPublishOptions { mandatory: route.mandatory, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(exchange, key, options, body, properties).await;
    sent.map_err(broken("cannot publish"))
}

/// Waits until the server has it safely.
pub(crate) async fn confirmed(confirm: PublisherConfirm, patience: Duration) -> Result<(), NotTaken> {
    let trouble = |why: String| Err(NotTaken::Trouble(Trouble::new(why)));
    match timeout(patience, confirm).await {
        Ok(Ok(Confirmation::Ack(None))) => Ok(()),
        Ok(Ok(Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)))) => {
            Err(NotTaken::Returned(format!("{} {}", back.reply_code, back.reply_text)))
        }
        Ok(Ok(Confirmation::Nack(None))) => trouble("the server could not keep the message".to_owned()),
        Ok(Ok(Confirmation::NotRequested)) => trouble("the server does not confirm".to_owned()),
        Ok(Err(error)) => trouble(format!("not confirmed: {error}")),
        Err(_) => trouble(format!("not confirmed within {} ms", patience.as_millis())),
    }
}
