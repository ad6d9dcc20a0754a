//! Runs one target: its corpus as it is, then mutations of it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::corpus;
use crate::mutate::mutate;
use crate::rng::Rng;
use crate::targets::{Seen, Target};

/// Most inputs that are kept to be mutated.
const POOL_MAX: usize = 4_000;
/// Most panics of one target: then something is broken altogether.
const FOUND_MAX: usize = 10;
/// Tries to make a found input shorter.
const SHRINKS_MAX: usize = 2_000;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// So many executions.
    Execs(u64),
    /// So long.
    Time(Duration),
}

/// An input that made the target panic.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where, and what it said.
    message: String,
    input: Vec<u8>,
}

/// What became of a target.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) target: &'static str,
    asked: u64,
    pub(crate) execs: u64,
    /// How many of them were accepted.
    pub(crate) accepted: u64,
    /// Different things that the target said it saw.
    pub(crate) seen: usize,
    seconds: f64,
    pub(crate) found: Vec<Found>,
}

impl Report {
    /// As much as asked for was run, some of it was accepted and some refused, and every property held.
    pub(crate) fn is_green(&self) -> bool {
        let both = self.accepted > 0 && self.accepted < self.execs;
        self.found.is_empty() && both && self.execs > 0 && self.execs >= self.asked
    }

    pub(crate) fn to_json(&self) -> Value {
        let found = |found: &Found| json!({ "message": found.message, "hex": hex(&found.input), "file": file_name(self.target, &found.input) });
        json!({
            "target": self.target,
            "asked": self.asked,
            "execs": self.execs,
            "accepted": self.accepted,
            "seen": self.seen,
            "seconds": self.seconds,
            "green": self.is_green(),
            "found": self.found.iter().map(found).collect::<Vec<_>>(),
        })
    }

    /// Writes what was found into `folder`.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        for found in &self.found {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            let file = folder.join(file_name(self.target, &found.input));
            fs::write(&file, &found.input).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

fn file_name(target: &str, input: &[u8]) -> String {
    format!("{target}-{}", hex(&Sha256::digest(input)[..6]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

thread_local! {
    /// Where the last panic of this thread was, and what it said; `None` when no target runs here.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of targets to be reported, instead of printing each; all others are printed as ever.
fn catch_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let place = info
                .location()
                .map_or_else(String::new, |place| format!("{}:{}", place.file(), place.line()));
            let payload = info.payload();
            let said = payload.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| payload.downcast_ref::<&str>().copied());
            let said = format!("{place}: {}", said.unwrap_or("a panic without words"));
            let runs = PANIC.with(|panic| panic.borrow_mut().as_mut().map(|panic| *panic = said).is_some());
            if !runs {
                print(info);
            }
        }));
    });
}

/// What the target saw, or how it panicked.
fn execute(target: &Target, input: &[u8]) -> Result<Seen, String> {
    PANIC.with(|panic| *panic.borrow_mut() = Some(String::new()));
    let seen = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    let said = PANIC.with(RefCell::take);
    seen.map_err(|_| said.unwrap_or_default())
}

/// The inputs that are mutated.
struct Pool {
    inputs: Vec<Vec<u8>>,
    /// Which of them were accepted.
    accepted: Vec<usize>,
}

impl Pool {
    /// Half of the time one that was accepted: most changes make an input worse, and few make a bad one good. Of the
    /// others half one that was found late, which has been tried least.
    fn pick<'a>(&'a self, rng: &mut Rng) -> &'a [u8] {
        let late = &self.inputs[self.inputs.len().saturating_sub(64)..];
        let picked = match rng.below(4) {
            0 => rng.pick(&self.inputs),
            1 => rng.pick(late),
            _ => rng.pick(&self.accepted).and_then(|index| self.inputs.get(*index)),
        };
        picked.map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, input: &[u8], accepted: bool) {
        if self.inputs.len() < POOL_MAX {
            self.accepted.extend(accepted.then_some(self.inputs.len()));
            self.inputs.push(input.to_vec());
        }
    }
}

/// Runs a target.
///
/// # Errors
/// When its corpus cannot be read.
pub(crate) fn run(target: &Target, budget: Budget, seed: u64, trace: Option<&Path>) -> Result<Report> {
    catch_quietly();
    let corpus = corpus::read(target.name)?;
    let (first, began) = (corpus.len() as u64, Instant::now());
    let mut pool = Pool { inputs: Vec::new(), accepted: Vec::new() };
    let (mut rng, mut seen) = (Rng::new(seed, target.name), HashSet::new());
    let asked = match budget {
        Budget::Execs(execs) => execs.max(first),
        Budget::Time(_) => 0,
    };
    let mut report = Report {
        target: target.name,
        asked,
        execs: 0,
        accepted: 0,
        seen: 0,
        seconds: 0.0,
        found: Vec::new(),
    };
    let mut input = Vec::new();
    while report.found.len() < FOUND_MAX && goes_on(budget, &report, first, began) {
        let given = corpus.get(usize::try_from(report.execs)?);
        match given {
            Some(given) => input.clone_from(given),
            None => {
                input.clear();
                input.extend_from_slice(pool.pick(&mut rng));
                let other = pool.pick(&mut rng);
                mutate(&mut input, other, target.words, &mut rng);
            }
        }
        if let Some(file) = trace {
            fs::write(file, &input).with_context(|| format!("cannot write {}", file.display()))?;
        }
        report.execs += 1;
        match execute(target, &input) {
            Ok(what) => {
                report.accepted += u64::from(what.accepted);
                if seen.insert(what) || given.is_some() {
                    pool.push(&input, what.accepted);
                }
            }
            Err(message) => note(target, &input, message, &mut report.found),
        }
    }
    (report.seen, report.seconds) = (seen.len(), began.elapsed().as_secs_f64());
    Ok(report)
}

fn goes_on(budget: Budget, report: &Report, corpus: u64, began: Instant) -> bool {
    match budget {
        Budget::Execs(execs) => report.execs < execs.max(corpus),
        // Looking at the clock costs more than many a target.
        Budget::Time(limit) => {
            report.execs < corpus || !report.execs.is_multiple_of(64) || began.elapsed() < limit
        }
    }
}

/// Takes a panic down, made short, unless one of the same place is known.
fn note(target: &Target, input: &[u8], message: String, found: &mut Vec<Found>) {
    let place = |message: &str| message.split(": ").next().unwrap_or_default().to_owned();
    let here = place(&message);
    if found.iter().any(|known| place(&known.message) == here) {
        return;
    }
    let (mut input, mut message) = (input.to_vec(), message);
    let mut size = input.len().next_power_of_two() / 2;
    let mut tries = 0;
    while size > 0 {
        let mut at = 0;
        while at < input.len() && tries < SHRINKS_MAX {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            tries += 1;
            match execute(target, &shorter) {
                Err(said) if place(&said) == here => (input, message) = (shorter, said),
                _ => at += size,
            }
        }
        size /= 2;
    }
    found.push(Found { message, input });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{TARGETS, accepted, refused};

    /// Breaks on a word that no corpus holds.
    const BROKEN: Target = Target {
        name: "json",
        words: &["abc"],
        check: |data| {
            assert!(!data.windows(3).any(|window| window == b"abc"), "abc is in it");
            if data.len() % 2 == 0 { accepted(0) } else { refused(data.len().min(9)) }
        },
    };

    #[test]
    fn a_property_that_does_not_hold_is_found_and_made_short() {
        let report = run(&BROKEN, Budget::Execs(3_000), 1, None).unwrap();
        assert!(!report.is_green());
        assert_eq!(report.found.len(), 1);
        assert_eq!(report.found[0].input, b"abc");
        assert!(report.found[0].message.contains("abc is in it"), "{:?}", report.found);
    }

    #[test]
    fn a_target_that_accepts_nothing_shows_nothing() {
        let deaf = Target { check: |_| refused(0), ..BROKEN };
        assert!(!run(&deaf, Budget::Execs(100), 1, None).unwrap().is_green());
    }

    #[test]
    fn every_target_passes_its_corpus() {
        for target in TARGETS {
            let report = run(target, Budget::Execs(0), 1, None).unwrap();
            assert!(report.is_green(), "{}: {report:?}", target.name);
        }
    }
}
