//! Who may be sent something now, and how much: fair between tenants, then between their endpoints, bounded for each.
//!
//! One that hangs holds a place for as long as a try may take, so places are never all in the hands of those who may hang:
//!
//! * **Endpoints** have as many places each, on all nodes together. Those that are not known to take anything, being new or failing, have
//!   few, and all new ones of a node, and all failing ones, a quarter of its places at most.
//! * **Tenants** share a node's places: each may have so many times what is free then (a dynamic threshold). One alone comes to
//!   three quarters of them, to seven eighths with endpoints that have nothing on its way; many come to less each, and whoever has nothing
//!   yet finds something free. Of the quarters for endpoints that are new, or failing, one tenant comes to three quarters.
//!
//! Where there is room for fewer than are due, each tenant gets one before any gets two, and so do the endpoints of each. An
//! endpoint with a rate has a bucket of one second of it (the generic cell rate algorithm: `paced_until` is the moment at which the
//! bucket would be empty).

use super::command::ClaimStreams;
use crate::clock::Timestamp;
use crate::ids::TenantId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// All new endpoints, and all that fail, have one of so many parts of a node's places.
const PARTS: usize = 4;
/// So many times what is free a tenant may have.
const SHARE: usize = 3;
/// The same where the place is for an endpoint that has nothing on its way.
const SHARE_FIRST: usize = 7;

/// What is known of whether an endpoint takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It took what came last.
    Takes,
    /// No try has ended yet.
    New,
    /// It has taken nothing since it failed.
    Fails,
}

impl Standing {
    /// Of an endpoint that fails since then, and of which ended tries are kept or not.
    pub fn of(failing_since: Option<Timestamp>, is_tried: bool) -> Self {
        match failing_since {
            Some(_) => Self::Fails,
            None if is_tried => Self::Takes,
            None => Self::New,
        }
    }
}

/// What is known of an active endpoint with open streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub endpoint: i64,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whether it takes what it is sent.
    pub standing: Standing,
    /// Streams that are leased now, on all nodes.
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

/// Shares the room of a claim out among `candidates`, which are in the order of their numbers; with whom it begins is the claim's turn. Tells
/// too when more may be claimed by waiting alone.
pub fn allot(candidates: &[Candidate], claim: &ClaimStreams) -> (Vec<Allotment>, Option<Timestamp>) {
    let limits: Vec<u32> = candidates.iter().map(|one| limit(one, claim)).collect();
    let mut takes = vec![0_u32; candidates.len()];
    let mut places = Places::of(candidates, claim);
    let mut turns = turns(candidates, claim.turn);
    // Whoever may have no more now may have no more later: there is ever less room.
    while let Some(mut endpoints) = turns.pop_front() {
        while let Some(index) = endpoints.pop_front() {
            let candidate = &candidates[index];
            if takes[index] < limits[index] && places.give(candidate, candidate.in_flight + takes[index]) {
                takes[index] += 1;
                endpoints.push_back(index);
                turns.push_back(endpoints);
                break;
            }
        }
    }
    let mut next_due = None;
    let mut allotted = Vec::new();
    for ((candidate, take), limit) in candidates.iter().zip(takes).zip(limits) {
        let paced_until = paced(candidate, take, claim.now);
        // Who wants a place waits for others, not for a moment.
        let waits =
            candidate.due > take && take == limit && candidate.in_flight + take < places_of(candidate, claim);
        let next = match paced_until.filter(|_| waits) {
            // Its rate keeps it: when the bucket holds one again.
            Some(until) => Some(when_free(until, candidate.rate, claim.now)),
            None => candidate.next_due,
        };
        next_due = [next_due, next].into_iter().flatten().min();
        if take > 0 {
            allotted.push(Allotment { endpoint: candidate.endpoint, take, paced_until });
        }
    }
    (allotted, next_due)
}

/// The places of candidates by tenant, each tenant's and each endpoint's turn as `turn` says.
fn turns(candidates: &[Candidate], turn: u64) -> VecDeque<VecDeque<usize>> {
    let mut of_tenants: BTreeMap<&TenantId, VecDeque<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        of_tenants.entry(&candidate.tenant).or_default().push_back(index);
    }
    let begin = |count: usize| usize::try_from(turn % (count as u64).max(1)).unwrap_or(0);
    let mut turns: VecDeque<VecDeque<usize>> = of_tenants.into_values().collect();
    turns.rotate_left(begin(turns.len()));
    for endpoints in &mut turns {
        endpoints.rotate_left(begin(endpoints.len()));
    }
    turns
}

/// The places of a node, and who has them.
struct Places<'c> {
    /// What may still be given.
    free: usize,
    /// How many there are for those that are new, or failing.
    part: usize,
    /// By tenant, and [`Standing`].
    held: BTreeMap<&'c TenantId, [usize; 3]>,
    all: [usize; 3],
}

impl<'c> Places<'c> {
    fn of(candidates: &'c [Candidate], claim: &ClaimStreams) -> Self {
        let part = (claim.pool / PARTS).max(1);
        let mut places = Self { free: claim.room, part, held: BTreeMap::new(), all: [0; 3] };
        for candidate in candidates {
            places.note(candidate, claim.held.get(&candidate.endpoint).copied().unwrap_or(0));
        }
        places
    }

    fn note(&mut self, candidate: &'c Candidate, count: usize) {
        self.held.entry(&candidate.tenant).or_default()[candidate.standing as usize] += count;
        self.all[candidate.standing as usize] += count;
    }

    /// Gives a place to an endpoint that has so many, if it may have one more.
    fn give(&mut self, candidate: &'c Candidate, has: u32) -> bool {
        let of_tenant = self.held.get(&candidate.tenant).copied().unwrap_or_default();
        let share = if has == 0 { SHARE_FIRST } else { SHARE };
        let standing = candidate.standing as usize;
        let left = match candidate.standing {
            Standing::Takes => usize::MAX,
            Standing::New | Standing::Fails => self.part.saturating_sub(self.all[standing]),
        };
        let may = of_tenant.iter().sum::<usize>() < share.saturating_mul(self.free)
            && of_tenant[standing] < SHARE.saturating_mul(left);
        if may {
            self.free -= 1;
            self.note(candidate, 1);
        }
        may
    }
}

/// How much of its rate an endpoint may save up.
const BUCKET: Duration = Duration::from_secs(1);

/// How many places an endpoint has.
fn places_of(candidate: &Candidate, claim: &ClaimStreams) -> u32 {
    match candidate.standing {
        Standing::Takes => claim.in_flight_max,
        Standing::New | Standing::Fails => claim.unproven_max.min(claim.in_flight_max),
    }
}

fn limit(candidate: &Candidate, claim: &ClaimStreams) -> u32 {
    let free = places_of(candidate, claim).saturating_sub(candidate.in_flight).min(candidate.due);
    if candidate.rate.is_none() {
        return free;
    }
    let used = candidate.paced_until.map_or(Duration::ZERO, |until| until.since(claim.now));
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
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::ids::LeaseToken;
    use uuid::Uuid;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + millis * 1_000)
    }

    fn one(endpoint: i64, in_flight: u32, due: u32) -> Candidate {
        let tenant = TenantId::default_tenant();
        let (standing, next_due, rate, paced_until) = (Standing::Takes, None, None, None);
        Candidate { endpoint, tenant, standing, in_flight, due, next_due, rate, paced_until }
    }

    /// Of another tenant, in a standing.
    fn of(tenant: u32, standing: Standing, candidate: Candidate) -> Candidate {
        Candidate { tenant: TenantId::new(&format!("t-{tenant}")).unwrap(), standing, ..candidate }
    }

    fn claim(room: usize, turn: u64) -> ClaimStreams {
        ClaimStreams {
            token: LeaseToken(Uuid::nil()),
            room,
            pool: 256,
            held: BTreeMap::new(),
            turn,
            in_flight_max: 16,
            unproven_max: 1,
            now: at(0),
            lease: Duration::from_secs(30),
        }
    }

    fn takes(candidates: &[Candidate], room: usize, turn: u64) -> Vec<(i64, u32)> {
        let (allotted, _) = allot(candidates, &claim(room, turn));
        allotted.iter().map(|one| (one.endpoint, one.take)).collect()
    }

    /// A node on which nothing ends: whatever is claimed stays on its way.
    struct Stuck {
        claim: ClaimStreams,
        candidates: Vec<Candidate>,
    }

    impl Stuck {
        fn with(candidates: Vec<Candidate>) -> Self {
            Self { claim: claim(256, 0), candidates }
        }

        /// Claims until nothing more is given; returns how many each has then.
        fn fill(&mut self) -> Vec<u32> {
            for turn in 0_u64.. {
                self.claim.turn = turn;
                let (allotted, _) = allot(&self.candidates, &self.claim);
                for one in &allotted {
                    let candidate =
                        self.candidates.iter_mut().find(|each| each.endpoint == one.endpoint).unwrap();
                    candidate.in_flight += one.take;
                    *self.claim.held.entry(one.endpoint).or_default() += one.take as usize;
                    self.claim.room -= one.take as usize;
                }
                if allotted.is_empty() {
                    break;
                }
            }
            self.candidates.iter().map(|candidate| candidate.in_flight).collect()
        }

        /// What another that comes then gets.
        fn comes(&mut self, candidate: Candidate) -> u32 {
            let endpoint = candidate.endpoint;
            self.candidates.push(candidate);
            let (allotted, _) = allot(&self.candidates, &self.claim);
            allotted.iter().find(|one| one.endpoint == endpoint).map_or(0, |one| one.take)
        }
    }

    #[test]
    fn each_gets_one_before_any_gets_two() {
        let busy = [one(1, 0, 16), one(2, 0, 16), one(3, 0, 1)];
        assert_eq!(takes(&busy, 100, 0), [(1, 16), (2, 16), (3, 1)]);
        assert_eq!(takes(&busy, 6, 0), [(1, 2), (2, 2), (3, 1)]);
        assert_eq!(takes(&busy, 5, 1), [(1, 1), (2, 2), (3, 1)], "it begins with the second");
        assert_eq!(takes(&busy, 1, 2), [(3, 1)]);
        assert_eq!((takes(&busy, 0, 0), takes(&[], 9, 7)), (vec![], vec![]));
        // And each tenant, however many endpoints it has.
        let mut many: Vec<Candidate> = (1..=50).map(|endpoint| one(endpoint, 0, 16)).collect();
        many.push(of(1, Standing::Takes, one(51, 0, 16)));
        let got = takes(&many, 20, 0);
        assert_eq!(got.iter().find(|(endpoint, _)| *endpoint == 51).unwrap().1, 9, "{got:?}");
        assert!(got.iter().filter(|(endpoint, _)| *endpoint != 51).all(|(_, take)| *take == 1), "{got:?}");
    }

    #[test]
    fn one_that_hangs_has_its_own_places_and_no_more() {
        assert_eq!(takes(&[one(1, 16, 16), one(2, 3, 16)], 100, 0), [(2, 13)]);
        assert_eq!(takes(&[one(1, 40, 1)], 100, 0), []);
    }

    #[test]
    fn those_that_are_not_known_to_take_anything_have_a_part_of_the_places() {
        for (standing, other) in [(Standing::New, Standing::Fails), (Standing::Fails, Standing::New)] {
            let hang = |endpoint| of(1, standing, one(endpoint, 0, 16));
            let mut node = Stuck::with((1..=1_000).map(hang).collect());
            let got = node.fill();
            assert!(got.iter().all(|has| *has <= 1), "one each");
            assert_eq!(got.iter().sum::<u32>(), 48, "a tenant leaves some of a quarter to others");
            assert_eq!(node.comes(one(2_000, 0, 16)), 16, "another tenant's endpoint");
            assert_eq!(node.comes(of(1, Standing::Takes, one(2_001, 0, 16))), 16, "and one of its own");
            assert_eq!(node.comes(of(1, other, one(2_002, 0, 16))), 1, "the others have another part");
            assert_eq!(node.comes(of(2, standing, one(2_003, 0, 16))), 1, "as have others of their kind");
            // However many tenants there are: no more than the part.
            let of_many = |endpoint| of(u32::try_from(endpoint).unwrap(), standing, one(endpoint, 0, 16));
            let got = Stuck::with((1..=1_000).map(of_many).collect()).fill();
            assert_eq!(got.iter().sum::<u32>(), 64);
        }
    }

    #[test]
    fn no_tenant_has_all_places_and_whoever_has_none_finds_one() {
        // All took what they were sent until now, and hang from now on.
        let hang = |endpoint| of(1, Standing::Takes, one(endpoint, 0, 16));
        let mut node = Stuck::with((1..=14).map(hang).collect());
        assert_eq!(node.fill().iter().sum::<u32>(), 192);
        assert_eq!(node.comes(of(1, Standing::Takes, one(20, 0, 16))), 1, "one that has nothing on its way");
        for tenant in 2..=36 {
            let mut node = Stuck::with(
                (1..=i64::from(tenant) * 50)
                    .map(|n| of(u32::try_from(n).unwrap() % tenant, Standing::Takes, one(n, 0, 16)))
                    .collect(),
            );
            node.fill();
            assert!(
                node.comes(of(1_000, Standing::Takes, one(10_000, 0, 16))) >= 1,
                "beside {tenant} tenants"
            );
        }
    }

    #[test]
    fn what_other_nodes_hold_counts_for_endpoints_alone() {
        let elsewhere = |endpoint| of(1, Standing::Takes, one(endpoint, 8, 16));
        let mut node = Stuck::with((1..=100).map(elsewhere).collect());
        assert_eq!(node.fill().iter().sum::<u32>(), 800 + 192);
        assert_eq!(takes(&[of(1, Standing::Fails, one(1, 1, 16))], 256, 0), [], "another node tries it");
    }

    #[test]
    fn a_rate_is_kept_and_saves_up_one_second() {
        let mut paced_until = None;
        let mut sent = 0;
        for tick in 0..100 {
            let candidate = Candidate { rate: Some(10), paced_until, ..one(1, 0, 16) };
            let (allotted, next) =
                allot(&[candidate], &ClaimStreams { now: at(tick * 100), ..claim(100, 0) });
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
        let next = |candidates: &[Candidate]| allot(candidates, &claim(100, 0)).1;
        let waiting = |endpoint, millis| Candidate { next_due: Some(at(millis)), ..one(endpoint, 0, 0) };
        assert_eq!(next(&[waiting(1, 70), waiting(2, 50)]), Some(at(50)));
        assert_eq!(next(&[one(1, 16, 16)]), None);
        // With room in its rate, and none beside it.
        let paced = [Candidate { rate: Some(10), ..one(1, 0, 16) }];
        assert_eq!(allot(&paced, &claim(0, 0)), (vec![], None));
    }
}
