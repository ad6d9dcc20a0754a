//! What must hold of webhooks, besides what every sink must: of the events of stores, and of endpoints that take nothing. Pure: every
//! rule is shown to bite by a test below.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::report::{Kind, Violations};

/// An event of a store that was taken.
#[derive(Clone, Debug)]
pub(super) struct StoreLine {
    pub(super) store: String,
    pub(super) version: u64,
    pub(super) event_id: String,
    /// What it came as.
    pub(super) id: String,
    pub(super) place: String,
    pub(super) bytes: [u8; 16],
}

impl StoreLine {
    pub(super) fn read(said: &Value, id: &str, place: String, bytes: [u8; 16]) -> Self {
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let (store, event_id, id) = (text("store_id"), text("event_id"), id.to_owned());
        Self { store, version: said["version"].as_u64().unwrap_or_default(), event_id, id, place, bytes }
    }
}

/// What receivers were sent.
#[derive(Default)]
pub(crate) struct Hooked {
    /// In the order in which they came.
    pub(super) stores: Vec<StoreLine>,
    /// By endpoint that takes nothing, and by order: the versions that came.
    pub(super) bad: BTreeMap<&'static str, HashMap<String, BTreeSet<u64>>>,
    /// By store: how many events its syncs had.
    pub(super) due: BTreeMap<String, u64>,
}

impl Hooked {
    /// Events of stores that were taken, and orders of which something came to those that take nothing.
    pub(super) fn counts(&self) -> [usize; 2] {
        [self.stores.len(), self.bad.values().map(HashMap::len).sum()]
    }
}

/// Checks all of it.
pub(super) fn check(hooked: &Hooked, found: &Violations) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    let mut seen: HashMap<(&str, u64), &StoreLine> = HashMap::new();
    for line in &hooked.stores {
        if line.id != line.event_id {
            found.add(Kind::Sink, &line.place, format!("the event {} comes as {}", line.event_id, line.id));
        }
        let last = last.entry(&line.store).or_default();
        if line.version > *last + 1 {
            found.add(
                Kind::SinkGap,
                &line.store,
                format!("{}: version {} after {last}", line.place, line.version),
            );
        }
        *last = line.version.max(*last);
        let first = *seen.entry((&line.store, line.version)).or_insert(line);
        if first.bytes != line.bytes || first.event_id != line.event_id {
            found.add(Kind::Sink, &line.place, format!("version {} again, and another event", line.version));
        }
    }
    for (store, due) in &hooked.due {
        let came = last.get(store.as_str()).copied().unwrap_or(0);
        if came != *due {
            found.add(Kind::SinkGap, store, format!("its syncs had {due} events, and {came} came"));
        }
    }
    for (endpoint, orders) in &hooked.bad {
        if orders.is_empty() {
            found.add(Kind::Process, *endpoint, "nothing was ever sent there: nothing was shown");
        }
        for (order_id, versions) in orders {
            // Nothing was taken, so nothing comes behind the first.
            if versions.iter().ne([&1]) {
                found.add(
                    Kind::SinkGap,
                    order_id,
                    format!("{endpoint} took nothing, and was sent {versions:?}"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(version: u64) -> StoreLine {
        let id = format!("e{version}");
        let said = json!({ "store_id": "s", "event_id": id, "version": version });
        StoreLine::read(&said, &id, format!("delivery {version}"), [version as u8; 16])
    }

    /// Two runs of a store, and an order of which one endpoint takes nothing.
    fn found(spoil: impl FnOnce(&mut Hooked)) -> Vec<Kind> {
        let orders = HashMap::from([("o".to_owned(), BTreeSet::from([1]))]);
        let mut hooked = Hooked {
            stores: [1, 2, 2, 3, 1, 4].map(line).to_vec(),
            bad: BTreeMap::from([("fails", orders)]),
            due: BTreeMap::from([("s".to_owned(), 4)]),
        };
        spoil(&mut hooked);
        let violations = Violations::default();
        check(&hooked, &violations);
        violations.all().into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn repeats_are_well() {
        assert_eq!(found(|_| {}), []);
    }

    #[test]
    fn what_is_missing_or_too_early_is_found() {
        assert_eq!(found(|hooked| drop(hooked.stores.pop())), [Kind::SinkGap]);
        assert_eq!(found(|hooked| hooked.stores.clear()), [Kind::SinkGap]);
        assert_eq!(found(|hooked| hooked.stores.swap(0, 3)), [Kind::SinkGap]);
        assert_eq!(found(|hooked| hooked.due.extend([("other".to_owned(), 2)])), [Kind::SinkGap]);
    }

    #[test]
    fn what_comes_again_is_the_same() {
        assert_eq!(found(|hooked| hooked.stores[2].bytes = [9; 16]), [Kind::Sink]);
        assert_eq!(found(|hooked| hooked.stores[5].id = "other".to_owned()), [Kind::Sink]);
    }

    #[test]
    fn nothing_comes_behind_what_was_not_taken() {
        let behind = |hooked: &mut Hooked| {
            let orders = hooked.bad.get_mut("fails").unwrap();
            orders.insert("o".to_owned(), BTreeSet::from([1, 2]));
        };
        assert_eq!(found(behind), [Kind::SinkGap]);
        assert_eq!(found(|hooked| drop(hooked.bad.insert("hangs", HashMap::new()))), [Kind::Process]);
    }
}
