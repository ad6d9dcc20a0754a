//! What must hold of receipts that programs imported. Pure: every rule is shown to bite by a test below.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::report::{Kind, Violations};
use super::shops::{self, Early, Verdict};
use crate::money;

/// What is said of a receipt that the marketplace does not know, of one that it refuses for now, and of one whose import was
/// broken off three times.
const UNKNOWN: &str = "invalid_receipt";
const BUSY: &str = "rate_limited";
const BROKEN_OFF: &str = "its import was broken off again and again";
/// How long the lease of a receipt lasts, and how long one that was refused for now waits by itself.
const LEASE: Duration = Duration::from_secs(5);
const BACKOFF: Duration = Duration::from_secs(300);
/// A kill is written down this close to it.
const AROUND: Duration = Duration::from_secs(1);

/// A kill, or the end of a server: when, and of what.
pub(super) type Upset = (Instant, String);
/// Store and receipt.
pub(super) type Key = (String, String);

/// What a program was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Order { id: String, amount: String, currency: String, imported_at: String },
    Failure(String),
}

impl Answer {
    pub(super) fn read(said: &Value) -> Self {
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        if said["success"] == true {
            let (id, amount) = (text("orderId"), said["amount"].to_string());
            return Self::Order { id, amount, currency: text("currency"), imported_at: text("importedAt") };
        }
        Self::Failure(text("error"))
    }
}

/// A receipt that is, or may be, asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) store: String,
    pub(super) receipt: String,
    /// What the marketplace says of it.
    pub(super) verdict: Verdict,
    /// Whether the marketplace tells of it by itself; then nobody counts how often.
    pub(super) is_listed: bool,
    /// In the order in which they came.
    pub(super) answers: Vec<Answer>,
    /// Requests that came to nothing.
    pub(super) broken: usize,
    /// How often it was to be tried again by the will of an operator.
    pub(super) retried: usize,
    /// How often the marketplace was asked for it.
    called: usize,
    began: Instant,
    /// When the first request, and those beside it, were answered.
    ended: Option<Instant>,
}

impl Asked {
    pub(super) fn new(store: &str, receipt: &str, verdict: Verdict) -> Self {
        Self {
            store: store.to_owned(),
            receipt: receipt.to_owned(),
            verdict,
            is_listed: false,
            answers: Vec::new(),
            broken: 0,
            retried: 0,
            called: 0,
            began: Instant::now(),
            ended: None,
        }
    }

    pub(super) fn listed(store: &str, number: u64, verdict: Verdict) -> Self {
        Self { is_listed: true, ..Self::new(store, &number.to_string(), verdict) }
    }

    pub(super) fn answered(&mut self) {
        self.ended = Some(Instant::now());
    }

    /// An operator wanted it again, at so many requests more than one.
    pub(super) fn tried_again(&mut self, broken: usize) {
        self.retried += 1;
        self.broken += broken;
    }

    pub(super) fn key(&self) -> Key {
        (self.store.clone(), self.receipt.clone())
    }

    /// What it is once nothing is left to be done; none where it is never an order. What was refused for now is one if the marketplace was
    /// asked again, as an operator wanted or after a try that was broken off.
    fn order(&self) -> Option<(String, String)> {
        match &self.verdict {
            Verdict::Order { id, amount } => Some((id.clone(), amount.clone())),
            Verdict::Busy if self.retried > 0 || self.called > 1 => match shops::order(&self.receipt) {
                Verdict::Order { id, amount } => Some((id, amount)),
                Verdict::Busy | Verdict::Nothing => None,
            },
            Verdict::Busy | Verdict::Nothing => None,
        }
    }

    /// The state that it ends in.
    fn end(&self) -> &'static str {
        match self.verdict {
            _ if self.order().is_some() => "success",
            Verdict::Busy => "rate_limited",
            Verdict::Nothing | Verdict::Order { .. } => "invalid",
        }
    }
}

/// An import as `/v1` shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) store: String,
    pub(super) receipt: String,
    pub(super) state: String,
    pub(super) order_id: String,
    pub(super) external_id: String,
    pub(super) amount: String,
    pub(super) currency: String,
    pub(super) imported_at: String,
    pub(super) error: String,
    /// Whether it is to be tried again at some time.
    pub(super) is_due: bool,
}

impl Row {
    pub(super) fn read(shown: &Value) -> Self {
        let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
        Self {
            store: text("store_id"),
            receipt: text("receipt"),
            state: text("state"),
            order_id: text("order_id"),
            external_id: text("external_order_id"),
            amount: text("amount"),
            currency: text("currency"),
            imported_at: text("imported_at"),
            error: text("error"),
            is_due: shown["due_at"].is_string(),
        }
    }

    /// That of a receipt, of which no more is known.
    pub(super) fn of(asked: &Asked) -> Self {
        Self { store: asked.store.clone(), receipt: asked.receipt.clone(), ..Self::default() }
    }

    pub(super) fn key(&self) -> Key {
        (self.store.clone(), self.receipt.clone())
    }
}

/// An order of the core whose source is a store.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) store: String,
    pub(super) receipt: String,
    pub(super) order_id: String,
    pub(super) total: String,
    pub(super) currency: String,
    pub(super) external_id: String,
}

/// What programs asked for, and what came of it.
#[derive(Default)]
pub(crate) struct Imported {
    pub(super) asked: BTreeMap<Key, Asked>,
    pub(super) rows: Vec<Row>,
    pub(super) orders: Vec<Kept>,
    /// Rows that had failed, before they were tried again.
    pub(super) failures: Vec<Row>,
    early: Vec<Early>,
    /// How often a shop wanted to be left alone for a while.
    refusals: usize,
    upsets: Vec<Upset>,
}

impl Imported {
    /// Notes how often the marketplace was asked for each receipt.
    pub(super) fn count(&mut self, calls: &HashMap<String, usize>) {
        for asked in self.asked.values_mut().filter(|asked| !asked.is_listed) {
            asked.called = calls.get(&asked.receipt).copied().unwrap_or(0);
        }
    }

    /// The same with what the shops saw, and when something was killed.
    pub(super) fn with_account(self, (early, refusals): (Vec<Early>, usize), upsets: Vec<Upset>) -> Self {
        Self { early, refusals, upsets, ..self }
    }

    pub(super) fn stores(&self) -> BTreeSet<String> {
        self.asked.keys().map(|(store, _)| store.clone()).collect()
    }

    /// What was refused for now, and nobody wanted again.
    pub(super) fn refused(&self) -> Vec<Row> {
        let waits = |asked: &&Asked| asked.verdict == Verdict::Busy && asked.retried == 0;
        self.asked.values().filter(waits).map(Row::of).collect()
    }

    /// An operator wanted one again.
    pub(super) fn tried_again(&mut self, key: &Key, broken: usize) {
        if let Some(asked) = self.asked.get_mut(key) {
            asked.tried_again(broken);
        }
    }

    /// What has failed, and waits for a long time.
    pub(super) fn failed(&self) -> Vec<Row> {
        self.rows.iter().filter(|row| row.state == "failed").cloned().collect()
    }

    /// What is not at its end.
    pub(super) fn open(&self) -> Vec<Key> {
        let states: HashMap<Key, &str> =
            self.rows.iter().map(|row| (row.key(), row.state.as_str())).collect();
        let is_open = |asked: &&Asked| states.get(&asked.key()).is_none_or(|state| *state != asked.end());
        self.asked.values().filter(is_open).map(Asked::key).collect()
    }

    /// Receipts, orders of them, calls, calls that shops refused for a while.
    pub(super) fn counts(&self) -> [usize; 4] {
        [
            self.asked.len(),
            self.orders.len(),
            self.asked.values().map(|asked| asked.called).sum(),
            self.refusals,
        ]
    }

    /// Whether somebody asked for an order of this name.
    pub(super) fn knows(&self, source: &str, reference: &str) -> bool {
        let store = source.strip_prefix("store-").map(str::to_owned);
        store.is_some_and(|store| self.asked.contains_key(&(store, reference.to_owned())))
    }
}

/// Checks all of it; `kills` is how often what must be done once may be done again.
pub(super) fn check(imported: &Imported, kills: usize, found: &Violations) {
    let mut rows: HashMap<Key, Vec<&Row>> = HashMap::new();
    for row in &imported.rows {
        rows.entry(row.key()).or_default().push(row);
        if !imported.asked.contains_key(&row.key()) {
            found.add(
                Kind::Stranger,
                &row.receipt,
                format!("of the store {}: nobody asked for it", row.store),
            );
        }
    }
    let mut orders: HashMap<Key, Vec<&Kept>> = HashMap::new();
    for order in &imported.orders {
        orders.entry((order.store.clone(), order.receipt.clone())).or_default().push(order);
    }
    for (key, asked) in &imported.asked {
        answers(asked, found);
        let orders = orders.get(key).map(Vec::as_slice).unwrap_or_default();
        match rows.get(key).map(Vec::as_slice).unwrap_or_default() {
            [row] => one(asked, row, orders, found),
            [] => found.add(Kind::Lost, &asked.receipt, "there is no import of it"),
            more => found.add(Kind::Double, &asked.receipt, format!("{} imports of it", more.len())),
        }
        if !asked.is_listed {
            calls(asked, imported, kills, found);
        }
    }
    for row in imported.failures.iter().filter(|row| row.error != BROKEN_OFF || kills == 0) {
        found.add(Kind::Import, &row.receipt, format!("had failed: {}", row.error));
    }
    early(imported, found);
}

/// Each answer is what the marketplace says, and what was answered once is answered for ever.
fn answers(asked: &Asked, found: &Violations) {
    let mut first: Option<&Answer> = None;
    for answer in &asked.answers {
        let may_be = match (answer, &asked.verdict) {
            (Answer::Order { id, amount, currency, .. }, _) => asked
                .order()
                .is_some_and(|(is, of)| is == *id && money::same(amount, &of) && currency == "EUR"),
            (Answer::Failure(why), _) if why == BROKEN_OFF => asked.retried > 0 || asked.broken > 0,
            (Answer::Failure(why), Verdict::Nothing) => why == UNKNOWN,
            (Answer::Failure(why), Verdict::Busy) => why == BUSY,
            // A shop's calls are counted, and a program does not wait for long.
            (Answer::Failure(why), Verdict::Order { .. }) => asked.is_listed && why == BUSY,
        };
        if !may_be {
            let detail = format!("answered {answer:?}, and the marketplace says {:?}", asked.verdict);
            found.add(Kind::Content, &asked.receipt, detail);
        }
        if first.is_some_and(|first| first != answer) {
            found.add(Kind::Content, &asked.receipt, format!("answered {first:?}, and later {answer:?}"));
        }
        first = first.or(Some(answer).filter(|answer| matches!(answer, Answer::Order { .. })));
    }
}

/// The one import of a receipt is at its end, and is one order of the core, or none.
fn one(asked: &Asked, row: &Row, orders: &[&Kept], found: &Violations) {
    let receipt = &asked.receipt;
    if row.state != asked.end() {
        let detail = format!("is {}, and was to be {} by now; {}", row.state, asked.end(), row.error);
        found.add(Kind::Import, receipt, detail);
    }
    if (row.state == "rate_limited") != row.is_due {
        found.add(Kind::Import, receipt, format!("is {}, and due: {}", row.state, row.is_due));
    }
    if row.state == "success" {
        let known = asked
            .order()
            .is_some_and(|(id, amount)| row.external_id == id && money::same(&row.amount, &amount));
        if !known || row.currency != "EUR" {
            let shown = format!("{} of {} {}", row.external_id, row.amount, row.currency);
            found.add(Kind::Content, receipt, format!("imported as {shown}, and it is {:?}", asked.order()));
        }
        let told = asked.answers.iter().find_map(|answer| match answer {
            Answer::Order { imported_at, .. } => Some(imported_at),
            Answer::Failure(_) => None,
        });
        // Answers have three decimals of a second.
        let differs = |told: &&String| !row.imported_at.starts_with(told.trim_end_matches('Z'));
        if let Some(told) = told.filter(differs) {
            found.add(Kind::Content, receipt, format!("imported at {}, answered {told}", row.imported_at));
        }
    } else if asked.answers.iter().any(|answer| matches!(answer, Answer::Order { .. })) {
        found.add(Kind::Lost, receipt, format!("was answered as an order, and is {}", row.state));
    }
    match (row.state == "success", orders) {
        (true, [order]) => {
            let same = order.order_id == row.order_id
                && money::same(&order.total, &row.amount)
                && order.currency == row.currency
                && order.external_id == row.external_id;
            if !same {
                found.add(Kind::Content, receipt, format!("the import {row:?} is the order {order:?}"));
            }
        }
        (true, []) => found.add(Kind::Lost, receipt, "was imported, and is no order"),
        (false, []) => {}
        (false, [_]) => found.add(Kind::Stranger, receipt, format!("is {}, and an order", row.state)),
        (_, more) => found.add(Kind::Double, receipt, format!("is {} orders", more.len())),
    }
}

/// The marketplace is asked once for each time that it was to be. A request that came to nothing, a kill while it ran, and a lease that
/// ran out meanwhile may have left a call behind whose answer nobody kept; where an operator had it tried again, a sync did so, which
/// any kill may have hit.
fn calls(asked: &Asked, imported: &Imported, kills: usize, found: &Violations) {
    let times = asked.called;
    let within =
        |at: Instant| at + AROUND > asked.began && asked.ended.is_none_or(|ended| at < ended + AROUND);
    let upsets = match asked.retried {
        0 => imported.upsets.iter().filter(|(at, _)| within(*at)).count(),
        retried => retried + kills,
    };
    let times_of = |span: Duration, length: Duration| (span.as_millis() / length.as_millis()) as usize;
    let took = asked.ended.map_or(Duration::ZERO, |ended| ended - asked.began);
    let most = 1 + asked.broken + upsets + times_of(took, LEASE) + times_of(asked.began.elapsed(), BACKOFF);
    if times == 0 || times > most {
        found.add(
            Kind::Calls,
            &asked.receipt,
            format!("the marketplace was asked {times} times, at most {most} is right"),
        );
    }
}

/// A shop is left alone for as long as it wants, over restarts too. Whoever dies with the refusal in hand may not have kept it; who dies
/// at the point behind that has.
fn early(imported: &Imported, found: &Violations) {
    for early in &imported.early {
        let excuses =
            |(at, how): &&Upset| *at + AROUND > early.refused && *at < early.asked && how != "sync.after_429";
        if imported.upsets.iter().find(excuses).is_none() {
            let after = (early.asked - early.refused).as_secs_f64();
            found.add(
                Kind::Calls,
                &early.shop,
                format!("was asked {after:.1} s after it wanted to be left alone for 3 s"),
            );
        }
    }
}

#[cfg(test)]
#[path = "imported_tests.rs"]
mod tests;
