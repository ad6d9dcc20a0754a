//! What the history of an order says of the content that it has now: an order itself does not say since when it has it, nor
//! what it had before.

use super::events::event_at;
use super::telling::BY;
use order_core::error::Fault;
use order_core::journal::Event;
use order_core::order::Content;
use order_core::order::event::{EventBody, EventType};
use order_core::ports::Storage;
use order_core::{Order, Timestamp, intake};
use std::ops::ControlFlow;

/// Events that are read at a time, from the end of a history. What is looked for is most often among the last few.
const PAGE: u64 = 8;

/// What is known of an order, against which an event is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The time of what the order holds: as the event said that brought it, else when it was said here.
    pub(super) at: Timestamp,
    /// Whether the order had just this content already, from an event of just this time.
    pub(super) seen: bool,
}

/// What is open of an order: changes that came since its work was done last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// When the last of its contents came.
    pub(super) since: Timestamp,
    /// How many of them nobody has worked on.
    pub(super) contents: usize,
    /// Whether the last is the first.
    pub(super) is_create: bool,
}

/// What is known of `order`, for an event of `at` that holds `content`.
pub(super) async fn known(
    storage: &dyn Storage,
    order: &Order,
    (at, content): (Timestamp, &Content),
) -> Result<Known, Fault> {
    let mut newest = None;
    let seen = backwards(storage, order, |event| {
        let Some(held) = held(event) else { return ControlFlow::Continue(()) };
        newest.get_or_insert(held.at);
        if held.at != at {
            return ControlFlow::Break(false);
        }
        match held.content.is_some_and(|held| same(&held, content)) {
            true => ControlFlow::Break(true),
            // Others of this time came before it.
            false => ControlFlow::Continue(()),
        }
    })
    .await?;
    Ok(Known { at: newest.unwrap_or(order.accepted_at), seen: seen.unwrap_or(false) })
}

/// What is open of `order`.
pub(super) async fn open(storage: &dyn Storage, order: &Order) -> Result<Open, Fault> {
    let mut open = Open { since: order.accepted_at, contents: 0, is_create: true };
    let mut is_done = false;
    backwards(storage, order, |event| {
        match &event.kind {
            EventType::OrderAccepted | EventType::OrderRevised => {
                if open.contents == 0 {
                    open.since = event.occurred_at;
                    open.is_create = event.kind == EventType::OrderAccepted;
                }
                if is_done {
                    return ControlFlow::Break(());
                }
                open.contents += 1;
            }
            EventType::OrderProcessed if open.contents > 0 => return ControlFlow::Break(()),
            EventType::OrderProcessed => is_done = true,
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(open)
}

/// A content that an order got, and its time.
struct Held {
    at: Timestamp,
    content: Option<Content>,
}

/// What an order got by an event, if it got any.
fn held(event: &Event) -> Option<Held> {
    if !matches!(event.kind, EventType::OrderAccepted | EventType::OrderRevised) {
        return None;
    }
    let (content, by) = match EventBody::parse(event) {
        Ok(EventBody::Accepted(accepted)) => (Some(accepted.content), accepted.by),
        Ok(EventBody::Revised { content, by, .. }) => (Some(*content), by),
        // What does not read is an audit's finding; that something came, and when, stands beside it.
        _ => (None, None),
    };
    // A change that was made here may have kept the time of an event that came before it.
    let theirs = content.as_ref().filter(|_| by.as_deref() == Some(BY)).and_then(event_at);
    Some(Held { at: theirs.unwrap_or(event.occurred_at), content })
}

/// Whether two contents are equal but for whose order it is, which no update changes.
pub(super) fn same(one: &Content, other: &Content) -> bool {
    let other = Content { customer: one.customer.clone(), ..other.clone() };
    intake::differences(one, &other).is_empty()
}

/// Looks at the events of an order from the last to the first, until `look` has seen enough.
async fn backwards<T>(
    storage: &dyn Storage,
    order: &Order,
    mut look: impl FnMut(&Event) -> ControlFlow<T>,
) -> Result<Option<T>, Fault> {
    let mut up_to = order.version;
    while up_to > 0 {
        let after = up_to.saturating_sub(PAGE);
        for event in between(storage, order, after, up_to).await?.iter().rev() {
            if let ControlFlow::Break(found) = look(event) {
                return Ok(Some(found));
            }
        }
        up_to = after;
    }
    Ok(None)
}

/// The events of versions above `after`, up to and with `up_to`, as far as they are kept.
async fn between(storage: &dyn Storage, order: &Order, after: u64, up_to: u64) -> Result<Vec<Event>, Fault> {
    let (mut events, mut last) = (Vec::new(), after);
    // A page may be full before it has as many events as it may have.
    while last < up_to {
        let limit = u32::try_from(up_to - last).unwrap_or(u32::MAX);
        let page = storage.order_events(&order.tenant, order.id, last, limit).await?;
        let page = page.map(|page| page.events).unwrap_or_default();
        // Nothing of it is kept any more, or nothing but what is newer.
        if page.first().is_none_or(|first| first.version > last + 1) {
            events.extend(page.into_iter().filter(|event| event.version <= up_to));
            break;
        }
        last = page.last().map_or(up_to, |event| event.version);
        events.extend(page);
    }
    Ok(events)
}
