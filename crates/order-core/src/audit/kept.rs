//! What can be said of rows that are kept besides orders, journal, work and tallies; for the
//! [`audit_strays`](crate::ports::Storage::audit_strays) of every storage.

use crate::journal::Event;
use crate::marketplace::{Import, ImportCounts, ImportState, Store, source_of};
use crate::order::Order;
use crate::order::event::{EventBody, EventType};
use crate::parking::ParkedStream;
use crate::redrive::Redrive;
use crate::sealing::Sealed;
use crate::webhook::stream::Stream;
use crate::{OrderId, intake};

/// What became of an order of a redrive.
pub const REDRIVE_RESULTS: [&str; 3] = ["redriven", "unknown", "not_parked"];

/// The results of a redrive, in the snapshot in which its row was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Results {
    /// How many there are.
    pub count: u64,
    /// How many of them say `redriven`.
    pub redriven: u64,
    /// The lowest number; 0 when there is none.
    pub first: u64,
    /// The highest number; 0 when there is none.
    pub last: u64,
    /// The orders, in the order of their numbers; needed for a redrive that names its orders alone.
    pub order_ids: Vec<OrderId>,
}

/// What is wrong with a redrive.
pub fn redrive(redrive: &Redrive, results: &Results) -> Vec<String> {
    let Redrive { redriven, refused, next, up_to, finished, .. } = redrive;
    let Results { count, first, last, .. } = results;
    let mut wrong = Vec::new();
    if (*redriven, *refused) != (results.redriven, count - results.redriven) {
        let (there, of_them) = (count - results.redriven, results.redriven);
        wrong.push(format!(
            "counts {redriven} redriven and {refused} refused, its results {of_them} and {there}"
        ));
    }
    if (*first, *last) != (u64::from(*count > 0), *count) {
        wrong.push(format!("has {count} results, numbered from {first} to {last}"));
    }
    let listed = redrive.filter.order_ids.as_ref();
    // A list is through when its end is reached, the rest once no number is left.
    let end = if listed.is_some() { *up_to } else { up_to.saturating_add(1) };
    // Before its first step a job is open, even when nothing is to be done.
    let through = *next >= end && (*finished || *next > 0);
    if through != *finished || *next < 0 || *next > end {
        let says = if *finished { "finished" } else { "not finished" };
        wrong.push(format!("says that it is {says}, and goes on with {next} of {up_to}"));
    }
    if let Some(listed) = listed {
        if i64::try_from(listed.len()) != Ok(*up_to) {
            wrong.push(format!("names {} orders, and ends at {up_to}", listed.len()));
        }
        if i64::try_from(*count) != Ok(*next) {
            wrong.push(format!("has {count} results of {next} orders that are done"));
        } else if let Some(at) = listed.iter().zip(&results.order_ids).position(|(asked, done)| asked != done)
        {
            wrong.push(format!("result {} is of another order than was asked for", at + 1));
        }
    }
    wrong
}

/// What is wrong with a secret, as far as it can be told without its key.
pub fn sealed(sealed: &Sealed) -> Option<String> {
    sealed.key_id().is_none().then(|| "is nothing that was ever sealed".to_owned())
}

/// Whether the history of an order tells that it was redriven by `by` for this `reason`: what an order's event has of
/// the job that redrove it. A history whose beginning is not kept any more may have told so.
pub fn was_redriven(events: &[Event], reason: &str, by: &str) -> bool {
    let tells = |event: &Event| match EventBody::parse(event) {
        Ok(EventBody::Redriven { reason: why, by: who }) => {
            // An erasure blanks the reason.
            who == by && (why == reason || why.is_empty())
        }
        Ok(_) => false,
        // That it does not read is told elsewhere.
        Err(_) => true,
    };
    is_cut(events) || events.iter().any(tells)
}

/// What is wrong with an order that is parked for a follower; `version` is that of the order that it names, if there is one.
pub fn parked_stream(stream: &ParkedStream, version: Option<u64>, shards: u16) -> Vec<String> {
    let mut wrong = Vec::new();
    if stream.order_id.shard(shards) != stream.shard {
        wrong.push(format!("is parked in shard {}, where it is not", stream.shard));
    }
    // Whoever skips its last event waits for the next.
    match version {
        None => wrong.push("is parked, and is no order".to_owned()),
        Some(version) if stream.from_version == 0 || stream.from_version > version + 1 => {
            let from = stream.from_version;
            wrong.push(format!("is parked from version {from} on, and has {version}"));
        }
        Some(_) => {}
    }
    wrong
}

/// What is wrong with a stream of webhooks; `version` is that of the order that it is about, if there is one.
pub fn webhook_stream(stream: &Stream, version: Option<u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    if stream.head().is_none() {
        wrong.push("is there, and has nothing left to send".to_owned());
    }
    let Some(version) = version else {
        wrong.push("is of what is no order".to_owned());
        return wrong;
    };
    let last = stream.again.last().copied().unwrap_or(0).max(stream.upto);
    if last > version || stream.next == 0 {
        let (next, upto) = (stream.next, stream.upto);
        wrong.push(format!("sends versions {next} to {upto} and {last}, and the order has {version}"));
    }
    wrong
}

/// Whether an idempotency key may have been used with content of digest `used` for `order`, of which these are the
/// events: with what it was accepted with, or with what it was revised to later. What an erased order said before, and what
/// was equal to what is left of it, cannot be told.
pub fn may_have_been_used(order: &Order, events: &[Event], used: &[u8; 32]) -> bool {
    let was_revised_to = |event: &Event| match EventBody::parse(event) {
        Ok(EventBody::Revised { content, .. }) => intake::digest(&content) == *used,
        Ok(_) => false,
        Err(_) => true,
    };
    let erased = || events.iter().any(|event| event.kind == EventType::OrderErased);
    order.digest == *used || is_cut(events) || erased() || events.iter().any(was_revised_to)
}

/// Whether the beginning of a history is missing.
fn is_cut(events: &[Event]) -> bool {
    events.first().is_none_or(|event| event.version != 1)
}

/// What belongs to a store, in the snapshot in which its row was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfStore {
    /// Its imports.
    pub imports: ImportCounts,
    /// The highest number of them; 0 when there is none.
    pub last_number: u64,
    /// Its runs, by their numbers.
    pub runs: Numbered,
    /// Its events, by their versions.
    pub events: Numbered,
}

/// Rows that are numbered without gaps, of which the first may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbered {
    /// How many there are.
    pub count: u64,
    /// The lowest number; 0 when there is none.
    pub first: u64,
    /// The highest; 0 when there is none.
    pub last: u64,
}

impl Numbered {
    /// Whether they are all there is up to `last`, from the first that is there on.
    fn ends_at(self, last: u64) -> bool {
        let whole = self.last.checked_sub(self.first).map(|between| between + u64::from(self.last > 0));
        self.last == last && whole == Some(self.count)
    }
}

/// What is wrong with a store.
pub fn store(store: &Store, of: &OfStore) -> Vec<String> {
    let mut wrong = Vec::new();
    if store.counts != of.imports {
        wrong.push(format!("counts {:?}, its imports are {:?}", store.counts, of.imports));
    }
    if of.last_number != of.imports.all() {
        wrong.push(format!(
            "has {} imports, the last of which is number {}",
            of.imports.all(),
            of.last_number
        ));
    }
    let said = |of: Numbered| format!("{} from {} to {}", of.count, of.first, of.last);
    if !of.runs.ends_at(store.run) {
        wrong.push(format!("names run {}, and has {}", store.run, said(of.runs)));
    }
    if !of.events.ends_at(store.version) {
        wrong.push(format!("has version {}, and of its events {}", store.version, said(of.events)));
    }
    wrong
}

/// What is wrong with an import of which that order of its tenant is there, if it names one: the order's source and reference.
pub fn import(import: &Import, order: Option<(&str, Option<&str>)>) -> Vec<String> {
    let mut wrong = Vec::new();
    let succeeded = import.state == ImportState::Success;
    if succeeded != import.result.is_some() || succeeded && import.due_at.is_some() {
        wrong.push(format!("is {}, and says otherwise", import.state));
    }
    let of_it = |(source, reference): (&str, Option<&str>)| {
        reference == Some(import.receipt.as_str())
            && source_of(import.store_id).is_ok_and(|of_store| of_store.as_str() == source)
    };
    if import.result.is_some() && !order.is_some_and(of_it) {
        wrong.push("leads to no order of its receipt".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{RedriveId, TenantId};
    use crate::redrive::RedriveFilter;
    use uuid::Uuid;

    fn job(listed: Option<u128>, next: i64, up_to: i64, finished: bool) -> Redrive {
        let ids = |count| (0..count).map(|id| OrderId(Uuid::from_u128(id))).collect();
        Redrive {
            redrive_id: RedriveId(Uuid::nil()),
            tenant: TenantId::default_tenant(),
            filter: RedriveFilter { order_ids: listed.map(ids), ..RedriveFilter::default() },
            reason: String::new(),
            by: String::new(),
            finished,
            redriven: 0,
            refused: 0,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
            next,
            up_to,
        }
    }

    #[test]
    fn a_job_is_finished_when_it_is_through() {
        let none = Results::default();
        for (listed, next, up_to, finished, sound) in [
            (None, 0, 0, false, true),
            (None, 1, 0, true, true),
            (None, 5, 9, false, true),
            (None, 9, 9, false, true),
            (None, 10, 9, true, true),
            (None, 9, 9, true, false),
            (None, 10, 9, false, false),
            (None, 11, 9, true, false),
            (None, -1, 9, false, false),
            (Some(0), 0, 0, false, true),
            (Some(0), 0, 0, true, true),
            (Some(2), 0, 2, false, true),
            (Some(2), 0, 2, true, false),
            (Some(2), 0, 3, false, false),
            (Some(2), 1, 2, false, false),
        ] {
            let wrong = redrive(&job(listed, next, up_to, finished), &none);
            assert_eq!(wrong.is_empty(), sound, "{listed:?} {next} {up_to} {finished}: {wrong:?}");
        }
    }

    #[test]
    fn results_are_counted_and_numbered() {
        let ids: Vec<OrderId> = (0..2).map(|id| OrderId(Uuid::from_u128(id))).collect();
        let sound = Results { count: 2, redriven: 1, first: 1, last: 2, order_ids: ids };
        let job = Redrive { redriven: 1, refused: 1, ..job(Some(2), 2, 2, true) };
        assert_eq!(redrive(&job, &sound), Vec::<String>::new());
        let swapped = sound.order_ids.iter().rev().copied().collect();
        for results in [
            Results { redriven: 2, ..sound.clone() },
            Results { count: 1, last: 1, ..sound.clone() },
            Results { last: 3, ..sound.clone() },
            Results { first: 2, last: 3, ..sound.clone() },
            Results { order_ids: swapped, ..sound.clone() },
        ] {
            assert!(!redrive(&job, &results).is_empty(), "{results:?}");
        }
    }
}
