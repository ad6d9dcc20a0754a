//! What an endpoint listens to: types of events, groups of them, or everything.

use crate::order::event::EventType;
use std::collections::BTreeSet;
use std::fmt;

/// The types of events of a store.
pub const STORE_EVENTS: [&str; 3] = ["sync.started", "sync.completed", "sync.failed"];

/// Everything, and the groups.
const ALL: &str = "*";
const GROUPS: [&str; 2] = ["order.*", "sync.*"];

/// A set of types of events, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listens(BTreeSet<String>);

/// Why it is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListens {
    /// It has no members.
    #[error("names no type of event")]
    Empty,
    /// A member is no type of event, and no group.
    #[error("{0:?} is no type of event")]
    Unknown(String),
}

impl Listens {
    /// Everything there is and will be.
    pub fn all() -> Self {
        Self(BTreeSet::from([ALL.to_owned()]))
    }

    /// Reads names of types, `order.*`, `sync.*` and `*`.
    ///
    /// # Errors
    /// When there is none, or one that is nothing of that.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidListens> {
        let mut set = BTreeSet::new();
        for name in names {
            if !is_known(name) {
                return Err(InvalidListens::Unknown(name.chars().take(100).collect()));
            }
            set.insert(name.to_owned());
        }
        if set.is_empty() { Err(InvalidListens::Empty) } else { Ok(Self(set)) }
    }

    /// What a storage kept: [`Listens::text`]. Names that this version does not know are kept too.
    pub fn from_text(text: &str) -> Option<Self> {
        let set: BTreeSet<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        (!set.is_empty()).then_some(Self(set))
    }

    /// For a storage: the names, apart by spaces.
    pub fn text(&self) -> String {
        self.names().collect::<Vec<_>>().join(" ")
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether events of this type are meant.
    pub fn hears(&self, kind: &str) -> bool {
        let in_group = |name: &String| {
            name.strip_suffix('*').is_some_and(|group| group.is_empty() || kind.starts_with(group))
        };
        self.0.contains(kind) || self.0.iter().any(in_group)
    }
}

impl fmt::Display for Listens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

fn is_known(name: &str) -> bool {
    name == ALL
        || GROUPS.contains(&name)
        || STORE_EVENTS.contains(&name)
        || EventType::KNOWN.iter().any(|known| known.as_str() == name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_groups_and_everything_are_heard() {
        let hears = |names: &[&str], kind| Listens::parse(names.iter().copied()).unwrap().hears(kind);
        assert!(hears(&["order.accepted"], "order.accepted"));
        assert!(!hears(&["order.accepted"], "order.revised"));
        assert!(hears(&["order.*"], "order.revised") && !hears(&["order.*"], "sync.failed"));
        assert!(hears(&["sync.*"], "sync.failed") && !hears(&["sync.*"], "order.accepted"));
        assert!(hears(&["*"], "order.accepted") && hears(&["*"], "of.later"));
        assert!(hears(&["sync.failed", "order.parked"], "order.parked"));
    }

    #[test]
    fn what_is_kept_reads_back() {
        let listens = Listens::parse(["sync.*", "order.parked", "sync.*"]).unwrap();
        assert_eq!(listens.text(), "order.parked sync.*");
        assert_eq!(Listens::from_text(&listens.text()), Some(listens));
        assert_eq!(Listens::from_text(" "), None);
    }

    #[test]
    fn what_is_no_type_is_refused() {
        assert_eq!(Listens::parse([]), Err(InvalidListens::Empty));
        for bad in ["", "order", "order.", "order.acceptedx", "**", "sync", "Order.accepted", "a b"] {
            assert_eq!(Listens::parse([bad]), Err(InvalidListens::Unknown(bad.to_owned())), "{bad}");
        }
        let known = EventType::KNOWN.iter().map(EventType::as_str).chain(STORE_EVENTS);
        assert!(Listens::parse(known).is_ok());
    }
}
