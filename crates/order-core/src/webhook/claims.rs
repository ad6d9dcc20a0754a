//! Who may be sent something now, and how much: fair between endpoints, bounded for each.
//!
//! Every endpoint has as many places as any other, on all nodes together: one that hangs fills its own and nobody else's. Where
//! a node has room for fewer than are due, each endpoint gets one before any gets two. An endpoint with a rate has a bucket of
//! one second of it (the generic cell rate algorithm: `paced_until` is the moment at which the bucket would be empty).

use crate::clock::Timestamp;
use std::time::Duration;

/// What is known of an active endpoint with open streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub endpoint: i64,
    /// Streams that are leased now.
    pub in_flight: u32,
    /// Streams that are due now; counting ends at the most that may be leased.
    pub due: u32,
    /// When the next one is due that is not.
    pub next_due: Option<Timestamp>,
    /// See [`super::Endpoint::rate`].
    pub rate: Option<u32>,
    /// See [`super::Endpoint::paced_until`].
    pub paced_until: Option<Timestamp>,
}

/// How many streams of an endpoint are leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allotment {
    /// Its number.
    pub endpoint: i64,
    /// So many, one at least.
    pub take: u32,
    /// What its pace is then, if it has a rate.
    pub paced_until: Option<Timestamp>,
}

/// Shares `room` out among `candidates`, which are in the order of their numbers; with whom it begins is `turn`'s. Tells too
/// when more may be claimed by waiting alone.
pub fn allot(
    candidates: &[Candidate],
    (room, turn, in_flight_max): (usize, u64, u32),
    now: Timestamp,
) -> (Vec<Allotment>, Option<Timestamp>) {
    let limits: Vec<u32> = candidates.iter().map(|one| limit(one, in_flight_max, now)).collect();
    let mut takes = vec![0_u32; candidates.len()];
    let mut room = room;
    let begin = usize::try_from(turn % (candidates.len() as u64).max(1)).unwrap_or(0);
    loop {
        let before = room;
        for index in (begin..candidates.len()).chain(0..begin) {
            if room > 0 && takes[index] < limits[index] {
                takes[index] += 1;
                room -= 1;
            }
        }
        if room == 0 || room == before {
            break;
        }
    }
    let mut next_due = None;
    let mut allotted = Vec::new();
    for (candidate, take) in candidates.iter().zip(takes) {
        let paced_until = paced(candidate, take, now);
        let waits = candidate.due > take && candidate.in_flight + take < in_flight_max;
        let next = match paced_until.filter(|_| waits) {
            // Its rate keeps it: when the bucket holds one again.
            Some(until) => Some(when_free(until, candidate.rate, now)),
            None => candidate.next_due,
        };
        next_due = [next_due, next].into_iter().flatten().min();
        if take > 0 {
            allotted.push(Allotment { endpoint: candidate.endpoint, take, paced_until });
        }
    }
    (allotted, next_due)
}

/// How much of its rate an endpoint may save up.
const BUCKET: Duration = Duration::from_secs(1);

fn limit(candidate: &Candidate, in_flight_max: u32, now: Timestamp) -> u32 {
    let free = in_flight_max.saturating_sub(candidate.in_flight).min(candidate.due);
    if candidate.rate.is_none() {
        return free;
    }
    let used = candidate.paced_until.map_or(Duration::ZERO, |until| until.since(now));
    let left = BUCKET.saturating_sub(used).as_micros();
    let tokens = left / interval(candidate.rate).as_micros().max(1);
    free.min(u32::try_from(tokens).unwrap_or(u32::MAX))
}

/// When a bucket that is empty at `until` holds one again.
fn when_free(until: Timestamp, rate: Option<u32>, now: Timestamp) -> Timestamp {
    let bucket = i64::try_from(BUCKET.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(until.plus(interval(rate)).micros() - bucket).max(now)
}

fn paced(candidate: &Candidate, take: u32, now: Timestamp) -> Option<Timestamp> {
    candidate.rate?;
    let from = candidate.paced_until.map_or(now, |until| until.max(now));
    Some(from.plus(interval(candidate.rate).saturating_mul(take)))
}

fn interval(rate: Option<u32>) -> Duration {
    Duration::from_micros(1_000_000 / u64::from(rate.unwrap_or(1).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + millis * 1_000)
    }

    fn one(endpoint: i64, in_flight: u32, due: u32) -> Candidate {
        Candidate { endpoint, in_flight, due, next_due: None, rate: None, paced_until: None }
    }

    fn takes(candidates: &[Candidate], room: usize, turn: u64) -> Vec<(i64, u32)> {
        let (allotted, _) = allot(candidates, (room, turn, 16), at(0));
        allotted.iter().map(|one| (one.endpoint, one.take)).collect()
    }

    #[test]
    fn each_gets_one_before_any_gets_two() {
        let busy = [one(1, 0, 16), one(2, 0, 16), one(3, 0, 1)];
        assert_eq!(takes(&busy, 100, 0), [(1, 16), (2, 16), (3, 1)]);
        assert_eq!(takes(&busy, 5, 0), [(1, 2), (2, 2), (3, 1)]);
        assert_eq!(takes(&busy, 4, 1), [(1, 1), (2, 2), (3, 1)], "it begins with the second");
        assert_eq!(takes(&busy, 1, 2), [(3, 1)]);
        assert_eq!((takes(&busy, 0, 0), takes(&[], 9, 7)), (vec![], vec![]));
    }

    #[test]
    fn one_that_hangs_has_its_own_places_and_no_more() {
        assert_eq!(takes(&[one(1, 16, 16), one(2, 3, 16)], 100, 0), [(2, 13)]);
        assert_eq!(takes(&[one(1, 40, 1)], 100, 0), []);
    }

    #[test]
    fn a_rate_is_kept_and_saves_up_one_second() {
        let mut paced_until = None;
        let mut sent = 0;
        for tick in 0..100 {
            let candidate = Candidate { rate: Some(10), paced_until, ..one(1, 0, 16) };
            let (allotted, next) = allot(&[candidate], (100, 0, 16), at(tick * 100));
            let took = allotted.first().map_or(0, |one| one.take);
            assert_eq!(took, if tick == 0 { 10 } else { 1 }, "at {tick}");
            assert_eq!(next, Some(at(tick * 100 + 100)), "when the next is free");
            paced_until = allotted.first().map_or(paced_until, |one| one.paced_until);
            sent += took;
        }
        assert_eq!(sent, 109);
    }

    #[test]
    fn the_next_is_when_it_is_due_unless_a_place_must_become_free() {
        let next = |candidates: &[Candidate]| allot(candidates, (100, 0, 16), at(0)).1;
        let waiting = |endpoint, millis| Candidate { next_due: Some(at(millis)), ..one(endpoint, 0, 0) };
        assert_eq!(next(&[waiting(1, 70), waiting(2, 50)]), Some(at(50)));
        assert_eq!(next(&[one(1, 16, 16)]), None);
    }
}
