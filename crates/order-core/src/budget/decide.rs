//! What a command means for budgets: pure, shared by every storage.

use super::{
    Allowance, Budget, BudgetAction, BudgetCommand, CAPACITY_MAX, Class, GRACE, KEPT, Limit, MICRO, Verdict,
    WAITING_MAX, Waiter, micro,
};
use crate::clock::Timestamp;
use crate::ids::StoreId;
use crate::marketplace::calls::BudgetHint;
use std::time::Duration;

/// Whoever does not come so long after the time that was told is not waited for.
const LATE: Duration = Duration::from_secs(2);
/// Nobody is told to come sooner than this.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Nor later than this: what is known now may be otherwise then.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Decides what a command makes of its budgets, in the order of its allowances, as far as they are there.
pub fn decide(found: Vec<Option<Budget>>, command: &BudgetCommand) -> (Vec<Budget>, Verdict) {
    let now = command.now;
    let mut budgets: Vec<Budget> = Vec::with_capacity(command.allowances.len());
    for (found, allowance) in found.into_iter().zip(&command.allowances) {
        let mut budget = found.unwrap_or_else(|| Budget::full(&allowance.key, allowance.limit, now));
        budget.hear(allowance.limit);
        budget.fill(now);
        budgets.push(budget);
    }
    let verdict = match &command.action {
        BudgetAction::Take(class) => take(&mut budgets, &command.allowances, command.store_id, *class, now),
        BudgetAction::Learn(hints) => {
            for (budget, allowance) in budgets.iter_mut().zip(&command.allowances) {
                hints.iter().for_each(|hint| budget.learn(*hint, allowance.units, now));
            }
            Verdict::Granted
        }
    };
    (budgets, verdict)
}

fn take(
    budgets: &mut [Budget],
    allowances: &[Allowance],
    store: StoreId,
    class: Class,
    now: Timestamp,
) -> Verdict {
    let asked: Vec<Option<Timestamp>> = budgets
        .iter_mut()
        .zip(allowances)
        .map(|(budget, allowance)| budget.ask(store, class, allowance.units.max(1), now))
        .collect();
    if let Some(until) = asked.iter().flatten().max() {
        // Its turn is kept where it must wait; what would have let it in is left to others.
        return Verdict::Wait { until: *until };
    }
    for (budget, allowance) in budgets.iter_mut().zip(allowances) {
        budget.grant(store, class, allowance.units.max(1));
    }
    Verdict::Granted
}

impl Budget {
    /// Takes what is said beforehand, where that is new, for what it is.
    fn hear(&mut self, said: Limit) {
        if self.said != said {
            (self.said, self.limit) = (said, said);
            self.level = self.level.min(micro(said.capacity));
        }
    }

    /// Lets flow in what did since, and forgets who did not come.
    fn fill(&mut self, now: Timestamp) {
        let passed = now.since(self.as_of).as_micros();
        let flowed = passed * u128::from(self.limit.micro_per_second) / u128::from(MICRO);
        let full = micro(self.limit.capacity);
        // What is less than a millionth is not lost, but waits for the next time.
        if flowed > 0 || self.level >= full {
            let flowed = i64::try_from(flowed).unwrap_or(i64::MAX);
            self.level = self.level.saturating_add(flowed).min(full);
            self.as_of = self.as_of.max(now);
        }
        self.waiting.retain(|waiter| waiter.told.plus(KEPT) >= now);
    }

    /// `None` when it lets the call in now; else when to come again, and a turn for then.
    fn ask(&mut self, store: StoreId, class: Class, units: u64, now: Timestamp) -> Option<Timestamp> {
        let place = self.waiting.iter().position(|it| it.store == store.0 && it.class == class.index());
        let mut me = match place {
            Some(place) => self.waiting.swap_remove(place),
            None => {
                self.wake(class, now);
                self.next_turn += 1;
                Waiter { store: store.0, class: class.index(), units, turn: self.next_turn, told: now }
            }
        };
        me.units = units;
        let ahead = self.ahead_of(&me, now);
        let wanted = micro(ahead.saturating_add(units.min(self.limit.capacity)));
        let before = self.before(&me, |_| true);
        let needed = wanted.saturating_add(self.left_to_others(class, before.saturating_add(units), units));
        // What is kept for those who are late is not lost, as long as the bucket has room.
        let late = self.before(&me, |waiter| waiter.told.plus(LATE) < now);
        let needed = needed.max(needed.saturating_add(micro(late)).min(micro(self.limit.capacity)));
        let is_full = self.level >= micro(self.limit.capacity);
        if now >= self.not_before && (self.level >= needed || (is_full && ahead == 0)) {
            return None;
        }
        if !self.has_place(now) {
            // There is no place to wait in turn: whoever comes when one is free has it.
            return Some(self.when(self.level.saturating_add(micro(units.min(self.limit.capacity))), now));
        }
        // While others want some too, what is left to them may soon be so no more.
        let a_bit = self.level.saturating_add(micro(units.min(self.limit.capacity)));
        let contended = self.wanting(now).any(|waiter| waiter.class != me.class);
        let needed = if contended { needed.min(a_bit) } else { needed };
        me.told = self.when(if self.level < wanted { wanted } else { needed }, now);
        let told = me.told;
        self.waiting.push(me);
        Some(told)
    }

    /// Those who wait and can be thought to want it still.
    fn wanting(&self, now: Timestamp) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().filter(move |waiter| waiter.told.plus(GRACE) >= now)
    }

    /// Whether one more may wait in turn; whoever is the latest of those who did not come makes room.
    fn has_place(&mut self, now: Timestamp) -> bool {
        if self.waiting.len() < WAITING_MAX {
            return true;
        }
        let latest = (0..self.waiting.len()).min_by_key(|place| self.waiting[*place].told);
        let gone = latest.filter(|place| self.waiting[*place].told.plus(GRACE) < now);
        gone.map(|place| self.waiting.swap_remove(place)).is_some()
    }

    /// A class that comes anew begins where the others are: what it did not want before is not owed to it.
    fn wake(&mut self, class: Class, now: Timestamp) {
        if !self.wanting(now).any(|waiter| waiter.class == class.index()) {
            let served = &mut self.served[class.index()];
            *served = (*served).max(self.turn_of);
        }
    }

    /// Units that are wanted by those who come before, when classes are served in proportion, and each in turn. Whoever is
    /// late is not waited for, and comes in its old turn nevertheless.
    fn ahead_of(&self, me: &Waiter, now: Timestamp) -> u64 {
        let mut queues: [Vec<&Waiter>; 3] = Default::default();
        let in_time = self.waiting.iter().filter(|waiter| waiter.told.plus(LATE) >= now);
        for waiter in in_time.chain([me]) {
            if let Some(queue) = queues.get_mut(waiter.class) {
                queue.push(waiter);
            }
        }
        for queue in &mut queues {
            queue.sort_unstable_by_key(|waiter| std::cmp::Reverse(waiter.turn));
        }
        let (mut served, mut ahead) = (self.served, 0_u64);
        loop {
            let waits = Class::ALL.iter().filter(|class| !queues[class.index()].is_empty());
            let Some(class) = waits.min_by_key(|class| served[class.index()]) else { return ahead };
            let Some(next) = queues[class.index()].pop() else { return ahead };
            if next.turn == me.turn {
                return ahead;
            }
            ahead = ahead.saturating_add(next.units);
            served[class.index()] += share(*class, next.units);
        }
    }

    /// Units that are wanted by those of its class whose turn is before its own, as far as they are `of` some kind. Who comes first of
    /// those that come late says nothing. Of what is live nobody is kept in mind: whoever waited for that has gone away.
    fn before(&self, me: &Waiter, of: impl Fn(&Waiter) -> bool) -> u64 {
        if me.class == Class::Live.index() {
            return 0;
        }
        let before = self.waiting.iter().filter(|one| one.class == me.class && one.turn < me.turn && of(one));
        before.map(|one| one.units).fold(0, u64::saturating_add)
    }

    /// What the class leaves in the bucket for a call of `units`, unless it has had less than its share even with `wanted`: the call, and
    /// those before it.
    fn left_to_others(&self, class: Class, wanted: u64, units: u64) -> i64 {
        let served = self.served[class.index()].saturating_add(share(class, wanted));
        let live = self.served[Class::Live.index()];
        if served <= live {
            return 0;
        }
        let capacity = self.limit.capacity;
        let left = (capacity * class.leaves_tenths() / 10).min(capacity.saturating_sub(units));
        micro(left)
    }

    /// When so much will have flowed in.
    fn when(&self, needed: i64, now: Timestamp) -> Timestamp {
        let missing = u128::try_from(needed.saturating_sub(self.level)).unwrap_or(0);
        let wait = match u128::from(self.limit.micro_per_second) {
            0 => WAIT_MAX,
            rate => {
                let micros = (missing * u128::from(MICRO)).div_ceil(rate);
                Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).clamp(WAIT_MIN, WAIT_MAX)
            }
        };
        now.plus(wait).max(self.not_before)
    }

    fn grant(&mut self, store: StoreId, class: Class, units: u64) {
        self.waiting.retain(|waiter| waiter.store != store.0 || waiter.class != class.index());
        self.level = self.level.saturating_sub(micro(units));
        let served = &mut self.served[class.index()];
        self.turn_of = self.turn_of.max(*served);
        *served += share(class, units);
    }

    fn learn(&mut self, hint: BudgetHint, units: u64, now: Timestamp) {
        match hint {
            BudgetHint::NotBefore(span) => {
                self.not_before = self.not_before.max(now.plus(span.min(WAIT_MAX)))
            }
            BudgetHint::Bucket { available, capacity, per_second } => {
                self.limit = Limit::per_second(capacity, per_second);
                // Other calls may be on their way: never more than we counted ourselves.
                self.level =
                    self.level.min(micro(available.min(CAPACITY_MAX))).min(micro(self.limit.capacity));
            }
            BudgetHint::Cost(actual) => {
                let back = micro(units.saturating_sub(actual));
                self.level = self.level.saturating_add(back).min(micro(self.limit.capacity));
            }
            BudgetHint::RateMicro(micro_per_second) => {
                self.limit = Limit::micro(self.limit.capacity, micro_per_second);
            }
            BudgetHint::LeftToday(left) => self.level = self.level.min(micro(left.min(CAPACITY_MAX))),
        }
    }
}

/// What units count for a class.
fn share(class: Class, units: u64) -> u64 {
    units.min(CAPACITY_MAX) * 1_000 / class.weight()
}

#[cfg(test)]
mod tests;
