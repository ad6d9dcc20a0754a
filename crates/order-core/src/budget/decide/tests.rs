#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::budget::key;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use uuid::Uuid;

const BEGIN: i64 = 1_740_218_400_000_000;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// Chance that is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One who makes calls.
#[derive(Clone, Copy)]
struct Caller {
    store: u128,
    class: Class,
    units: u64,
    /// Between a call and the wish for the next, at most.
    pause: u64,
    /// Of a hundred times that it is told to come again, how often it does not.
    absent: u64,
}

/// A call that was made: when, by which caller, of how many units, after how long a wait.
struct Call {
    at: i64,
    caller: usize,
    units: u64,
    waited: i64,
}

/// A world in which callers use one budget for some hours, which is kept as text and read again now and then, as by a restart.
fn simulate(limit: Limit, callers: &[Caller], hours: i64) -> Vec<Call> {
    let (mut dice, mut calls) = (Dice(0x9E37_79B9_7F4A_7C15), Vec::new());
    let (mut kept, mut step): (Option<Budget>, u64) = (None, 0);
    let mut agenda: BinaryHeap<Reverse<(i64, usize, i64)>> = BinaryHeap::new();
    for caller in 0..callers.len() {
        let first = BEGIN + i64::try_from(dice.below(10_000_000)).unwrap();
        agenda.push(Reverse((first, caller, first)));
    }
    while let Some(Reverse((now, caller, since))) = agenda.pop() {
        if now > BEGIN + hours * 3600 * SECOND {
            continue;
        }
        let who = callers[caller];
        let store_id = StoreId(Uuid::from_u128(who.store));
        let allowance = Allowance { key: "k".to_owned(), units: who.units, limit };
        let action = BudgetAction::Take(who.class);
        let command =
            BudgetCommand { now: Timestamp::from_micros(now), store_id, allowances: vec![allowance], action };
        let (mut budgets, verdict) = decide(vec![kept.take()], &command);
        let budget = budgets.remove(0);
        assert!(budget.waiting.len() <= WAITING_MAX);
        step += 1;
        let restarts = step.is_multiple_of(997);
        kept = if restarts { Budget::from_text(&budget.to_text().unwrap()) } else { Some(budget) };
        let pause = i64::try_from(dice.below(who.pause.max(1)) + 1).unwrap();
        match verdict {
            Verdict::Granted => {
                calls.push(Call { at: now, caller, units: who.units, waited: now - since });
                agenda.push(Reverse((now + pause, caller, now + pause)));
            }
            Verdict::Wait { until } => {
                assert!(until.micros() > now, "nobody is told to come at once");
                let late = if dice.below(100) < who.absent { 600 * SECOND } else { 0 };
                let jitter = i64::try_from(dice.below(200_000)).unwrap();
                agenda.push(Reverse((until.micros() + late + jitter, caller, since)));
            }
        }
    }
    calls
}

/// In no stretch of time more was taken than a full bucket, and what flowed in meanwhile.
fn assert_within(limit: Limit, calls: &[Call]) {
    let rate = i128::from(limit.micro_per_second);
    let (mut sum, mut least) = (0_i128, i128::MAX);
    for call in calls {
        let flowed = rate * i128::from(call.at - BEGIN) / i128::from(SECOND);
        least = least.min(sum - flowed);
        sum += i128::from(call.units) * i128::from(MICRO);
        let taken = sum - flowed - least;
        assert!(taken <= i128::from(limit.capacity) * i128::from(MICRO), "too much at {}", call.at);
    }
}

fn backlog(stores: u128, units: u64) -> Vec<Caller> {
    let of = |store| Caller { store, class: Class::Backfill, units, pause: 400_000, absent: 0 };
    (1..=stores).map(of).collect()
}

fn per_caller(calls: &[Call], after: i64) -> BTreeMap<usize, u64> {
    let mut counts = BTreeMap::new();
    for call in calls.iter().filter(|call| call.at > after) {
        *counts.entry(call.caller).or_default() += 1;
    }
    counts
}

#[test]
fn a_days_quota_is_kept_in_every_24_hours_and_no_store_starves() {
    let limit = Limit::per_day(10_000);
    let calls = simulate(limit, &backlog(25, 1), 72);
    assert_within(limit, &calls);
    let mut first = 0;
    for (index, call) in calls.iter().enumerate() {
        while calls[first].at <= call.at - DAY {
            first += 1;
        }
        assert!(index - first < 10_000, "more than a day's quota in the 24 hours before {}", call.at);
    }
    assert!(calls.len() > 26_000, "most of the quota is used: {}", calls.len());
    let counts = per_caller(&calls, BEGIN);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(counts.len() == 25 && least * 10 >= most * 9, "between {least} and {most} calls");
}

#[test]
fn what_is_new_hardly_waits_for_what_is_old_and_the_old_goes_on() {
    let limit = Limit::per_day(10_000);
    let mut callers = backlog(40, 1);
    // Some hundred orders an hour come in anew, at 20 of the stores.
    let live = |store| Caller { store, class: Class::Live, units: 1, pause: 1_200 * 1_000_000, absent: 0 };
    callers.extend((1..=20).map(live));
    let calls = simulate(limit, &callers, 48);
    assert_within(limit, &calls);
    let is_live = |call: &&Call| callers[call.caller].class == Class::Live;
    let longest = calls.iter().filter(is_live).map(|call| call.waited).max().unwrap();
    assert_eq!(longest, 0, "a part of the bucket was left for them");
    let old = per_caller(&calls, BEGIN + DAY);
    assert!((0..40).all(|caller| old[&caller] > 50), "{old:?}");
}

#[test]
fn each_class_has_its_share_while_all_want_more() {
    // Amazon's getOrders: a burst of 20, then one a minute. All want all of it.
    let limit = Limit::micro(20, 16_700);
    let mut callers = Vec::new();
    for (class, stores) in [(Class::Live, 3), (Class::Repair, 5), (Class::Backfill, 30)] {
        callers.extend((1..=stores).map(|store| Caller { store, class, units: 1, pause: 1_000, absent: 0 }));
    }
    let calls = simulate(limit, &callers, 72);
    assert_within(limit, &calls);
    let of = |class| calls.iter().filter(|call| callers[call.caller].class == class).count() as f64;
    let all = calls.len() as f64;
    for (class, share) in [(Class::Live, 0.6), (Class::Repair, 0.2), (Class::Backfill, 0.2)] {
        assert!((of(class) / all - share).abs() < 0.03, "{class}: {} of {all}", of(class));
    }
    let counts = per_caller(&calls, BEGIN);
    for (caller, who) in callers.iter().enumerate() {
        let fair = of(who.class) / callers.iter().filter(|other| other.class == who.class).count() as f64;
        let got = counts[&caller] as f64;
        assert!(got > fair * 0.6 && got < fair * 1.5, "{} got {got}, {fair} is fair", who.store);
    }
}

#[test]
fn what_one_class_leaves_the_others_have() {
    let limit = Limit::per_second(50, 2);
    for class in [Class::Live, Class::Repair, Class::Backfill] {
        let callers = [Caller { store: 1, class, units: 1, pause: 1_000, absent: 0 }];
        let calls = simulate(limit, &callers, 3);
        assert_within(limit, &calls);
        assert!(calls.len() > 21_000, "{class}: {}", calls.len());
    }
}

#[test]
fn many_stores_of_which_some_do_not_come_share_a_small_bucket() {
    // Costs of several units, more stores than may wait in turn, and a third of them come late.
    let limit = Limit::per_second(8, 1);
    let mut callers = backlog(300, 5);
    callers.iter_mut().step_by(3).for_each(|caller| caller.absent = 40);
    let calls = simulate(limit, &callers, 24);
    assert_within(limit, &calls);
    let counts = per_caller(&calls, BEGIN);
    assert_eq!(counts.len(), 300, "everybody got something of {}: {counts:?}", calls.len());
    let steady = (0..300).filter(|caller| callers[*caller].absent == 0).map(|caller| counts[&caller]);
    assert!(steady.clone().min().unwrap() * 3 >= steady.max().unwrap(), "{counts:?}");
    assert!(calls.len() > 10_000, "the bucket did not lie idle: {}", calls.len());
}

#[test]
fn who_comes_first_in_every_look_is_not_served_first() {
    // Looks are far apart, and stores come in one order in each: first for what is new, then for as much of what is old as they get.
    const STORES: usize = 20;
    let limit = [("k", Limit::per_day(1_000))];
    let (mut kept, mut told, mut got) = (None, [BEGIN; STORES], [0_u64; STORES]);
    let mut calls = 0;
    for now in (0..3 * DAY).step_by(usize::try_from(900 * SECOND).unwrap()) {
        let due: Vec<usize> = (0..STORES).filter(|store| told[*store] <= BEGIN + now).collect();
        // Stores of one look ask in turn, as those that are synced at once do.
        for class in [Class::Live, Class::Backfill] {
            let mut asking = due.clone();
            while !asking.is_empty() {
                asking.retain(|store| {
                    let mut ask = command(now, BudgetAction::Take(class), 1, &limit);
                    ask.store_id = StoreId(Uuid::from_u128(*store as u128));
                    let (mut budgets, verdict) = decide(vec![kept.take()], &ask);
                    kept = budgets.pop();
                    calls += u64::from(verdict == Verdict::Granted);
                    let Verdict::Wait { until } = verdict else {
                        got[*store] += u64::from(class == Class::Backfill);
                        return class == Class::Backfill;
                    };
                    told[*store] = until.micros();
                    false
                });
            }
        }
    }
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(*least > 20 && least * 2 > *most, "{got:?}");
    assert!(calls > 2_500, "the quota did not lie idle: {calls}");
}

#[test]
fn a_call_that_costs_more_than_the_bucket_holds_is_made_when_it_is_full() {
    let limit = Limit::per_second(10, 1);
    let callers = [Caller { store: 1, class: Class::Live, units: 25, pause: 1, absent: 0 }];
    let calls = simulate(limit, &callers, 24);
    assert!((3_300..3_500).contains(&calls.len()), "one in 25 s: {}", calls.len());
}

fn command(now: i64, action: BudgetAction, units: u64, limits: &[(&str, Limit)]) -> BudgetCommand {
    let allowance = |(key, limit): &(&str, Limit)| Allowance { key: (*key).to_owned(), units, limit: *limit };
    let allowances = limits.iter().map(allowance).collect();
    let store_id = StoreId(Uuid::from_u128(1));
    BudgetCommand { now: Timestamp::from_micros(BEGIN + now), store_id, allowances, action }
}

#[test]
fn a_budget_that_is_closed_lets_nothing_in_until_then() {
    let limit = [("k", Limit::per_second(10, 10))];
    let learn = BudgetAction::Learn(vec![BudgetHint::NotBefore(Duration::from_secs(120))]);
    let (budgets, _) = decide(vec![None], &command(0, learn, 1, &limit));
    let kept = budgets[0].to_text().unwrap();
    let opens = Timestamp::from_micros(BEGIN + 120 * SECOND);
    for second in 0..=121 {
        let again = vec![Budget::from_text(&kept)];
        let ask = command(second * SECOND, BudgetAction::Take(Class::Live), 1, &limit);
        let expected = if second < 120 { Verdict::Wait { until: opens } } else { Verdict::Granted };
        assert_eq!(decide(again, &ask).1, expected, "after {second} s");
    }
}

#[test]
fn a_call_takes_from_all_of_its_budgets_or_from_none() {
    let limits = [("day", Limit::per_day(1_000)), ("second", Limit::per_second(1, 1))];
    let ask = |now| command(now, BudgetAction::Take(Class::Live), 1, &limits);
    let (budgets, verdict) = decide(vec![None, None], &ask(0));
    assert_eq!(verdict, Verdict::Granted);
    let level = |budgets: &[Budget]| budgets[0].level;
    let before = level(&budgets);
    assert_eq!(before, micro(99));
    let (budgets, verdict) = decide(budgets.into_iter().map(Some).collect(), &ask(1));
    let in_a_second = Timestamp::from_micros(BEGIN + SECOND);
    assert_eq!((verdict, level(&budgets)), (Verdict::Wait { until: in_a_second }, before));
    let (_, verdict) = decide(budgets.into_iter().map(Some).collect(), &ask(SECOND));
    assert_eq!(verdict, Verdict::Granted);
}

#[test]
fn what_marketplaces_tell_is_learned() {
    let limit = [("k", Limit::per_second(1_000, 50))];
    let learn = |found, now, hints| {
        decide(vec![found], &command(now, BudgetAction::Learn(hints), 100, &limit)).0.remove(0)
    };
    // Shopify: a bucket of twice the size, of which others have used most.
    let bucket = BudgetHint::Bucket { available: 300, capacity: 2_000, per_second: 100 };
    let budget = learn(None, 0, vec![bucket]);
    assert_eq!((budget.level, budget.limit), (micro(300), Limit::per_second(2_000, 100)));
    // It cost 40, not the 100 that were taken.
    let budget = learn(Some(budget), 0, vec![BudgetHint::Cost(40)]);
    assert_eq!(budget.level, micro(360));
    let budget = learn(Some(budget), 2 * SECOND, Vec::new());
    assert_eq!(budget.level, micro(560));
    // Amazon: another rate. Etsy: little is left of the day.
    let budget = learn(Some(budget), 2 * SECOND, vec![BudgetHint::RateMicro(16_700)]);
    assert_eq!(budget.limit, Limit::micro(2_000, 16_700));
    let budget = learn(Some(budget), 2 * SECOND, vec![BudgetHint::LeftToday(7)]);
    assert_eq!(budget.level, micro(7));
    // What is said beforehand is another now: the settings were changed.
    let other = [("k", Limit::per_second(5, 1))];
    let ask = command(2 * SECOND, BudgetAction::Take(Class::Live), 1, &other);
    let (budgets, verdict) = decide(vec![Some(budget)], &ask);
    assert_eq!((verdict, budgets[0].limit), (Verdict::Granted, Limit::per_second(5, 1)));
    assert_eq!(budgets[0].level, micro(4));
}

#[test]
fn whatever_is_told_stays_within_bounds() {
    let limit = [("k", Limit::per_second(10, 1))];
    for hint in [
        BudgetHint::Bucket { available: u64::MAX, capacity: u64::MAX, per_second: u64::MAX },
        BudgetHint::Bucket { available: 0, capacity: 0, per_second: 0 },
        BudgetHint::NotBefore(Duration::MAX),
        BudgetHint::Cost(u64::MAX),
        BudgetHint::RateMicro(u64::MAX),
        BudgetHint::RateMicro(0),
        BudgetHint::LeftToday(u64::MAX),
        BudgetHint::LeftToday(0),
    ] {
        let (budgets, _) = decide(vec![None], &command(0, BudgetAction::Learn(vec![hint]), 1, &limit));
        let ask = command(DAY, BudgetAction::Take(Class::Backfill), u64::MAX, &limit);
        let (budgets, _) = decide(vec![Budget::from_text(&budgets[0].to_text().unwrap())], &ask);
        assert!(budgets[0].limit.capacity >= 1 && budgets[0].level <= micro(CAPACITY_MAX), "{hint:?}");
        let waits = budgets[0].waiting.iter().all(|it| it.told <= Timestamp::from_micros(BEGIN + 3 * DAY));
        assert!(waits, "{hint:?}");
    }
}

#[test]
fn a_key_names_what_shares_the_budget() {
    let store = StoreId(Uuid::from_u128(1));
    assert_eq!(key("etsy", "main", None, None), "etsy/main/*/*");
    let of_store = "amazon/main/00000000-0000-0000-0000-000000000001/fetch";
    assert_eq!(key("amazon", "main", Some(store), Some("fetch")), of_store);
}
