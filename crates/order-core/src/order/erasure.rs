//! Erasing a person's data: what there is to blank of one order, found event by event.

use super::Order;
use super::event::{ERASED_POINTERS, EventBody, FoldError, blanked};
use crate::journal::Event;
use crate::order::Content;
use crate::order::event::EventType;
use std::sync::Arc;

/// What an erasure of one order finds. A storage shows it the order's events, newest first, back to an earlier erasure or
/// to the first one, and blanks those that it says.
#[derive(Debug, Clone, Default)]
pub struct Erasure {
    /// By the places of [`ERASED_POINTERS`]: what was there.
    pointers: [bool; ERASED_POINTERS.len()],
    /// Whether anything was there to blank.
    found: bool,
    /// Whether the order was erased before.
    again: bool,
}

impl Erasure {
    /// Begins with the order as it is now.
    pub fn of(order: &Order) -> Self {
        let mut erasure = Self::default();
        erasure.content(&order.content);
        erasure.note(LAST_ERROR, order.last_error.is_some());
        erasure.note(TRACKING_NUMBER, order.tracking_number.is_some());
        erasure
    }

    /// Looks at one of its events; returns the particulars that are to take the place of the event's own, if any are.
    ///
    /// # Errors
    /// When the event cannot be read.
    pub fn see(&mut self, event: &Event, order: &Order) -> Result<Option<String>, FoldError> {
        if event.kind == EventType::OrderErased {
            self.again = true;
            return Ok(None);
        }
        let left = blanked(event, order)?;
        if left == event.data {
            return Ok(None);
        }
        self.found = true;
        match EventBody::parse(event)? {
            EventBody::Accepted(accepted) => self.content(&accepted.content),
            EventBody::Revised { content, .. } => self.content(&content),
            EventBody::Failed { error, .. } | EventBody::Parked { error, .. } => {
                self.note(LAST_ERROR, !error.is_empty());
            }
            EventBody::Shipped { tracking_number, .. } => {
                self.note(TRACKING_NUMBER, tracking_number.is_some());
            }
            EventBody::Processed { .. }
            | EventBody::Redriven { .. }
            | EventBody::Delivered { .. }
            | EventBody::Withdrawn { .. }
            | EventBody::Erased { .. }
            | EventBody::Unknown => {}
        }
        Ok(Some(left))
    }

    /// Whether what comes before this event was looked at by an earlier erasure.
    pub fn ends_at(event: &Event) -> bool {
        event.kind == EventType::OrderErased
    }

    /// What happens to the order, at the wish of `by`; `None` when it was erased before and nothing came since. The first
    /// erasure is always told: whoever followed the journal may have what is no longer here.
    pub fn body(&self, by: Option<Arc<str>>) -> Option<EventBody> {
        let pointers = ERASED_POINTERS.iter().zip(self.pointers).filter(|(_, there)| *there);
        let pointers = pointers.map(|(pointer, _)| (*pointer).to_owned()).collect();
        (self.found || !self.again).then_some(EventBody::Erased { pointers, by })
    }

    fn content(&mut self, content: &Content) {
        self.note(CUSTOMER, content.customer.is_some());
        self.note(ATTRIBUTES, !content.attributes.is_empty());
        self.note(NAMES, content.lines.iter().any(|line| line.name.is_some()));
    }

    fn note(&mut self, place: usize, there: bool) {
        self.pointers[place] |= there;
        self.found |= there;
    }
}

const CUSTOMER: usize = 0;
const ATTRIBUTES: usize = 1;
const NAMES: usize = 2;
const LAST_ERROR: usize = 3;
const TRACKING_NUMBER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_of_the_pointers() {
        let named = [CUSTOMER, ATTRIBUTES, NAMES, LAST_ERROR, TRACKING_NUMBER].map(|at| ERASED_POINTERS[at]);
        assert_eq!(named, ["/customer", "/attributes", "/lines/*/name", "/last_error", "/tracking_number"]);
    }
}
