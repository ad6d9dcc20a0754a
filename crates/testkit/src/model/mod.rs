//! A state machine test: random sequences of commands on a storage and on the memory storage side by side. Replies
//! must be equal one by one, and at the end every read, before and after a restart; and the audit must find nothing.

#[expect(missing_docs, reason = "the names say it; they are read in the printout of a failure")]
mod ops;
mod run;

pub use ops::{Action, End, Kind, Op};
pub(crate) use run::without_place;

use crate::conformance::Fixture;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use run::Run;
use std::num::NonZeroUsize;
use std::thread;

/// Most things that happen in one case.
pub const LENGTH: usize = 60;

/// How many cases to run when nobody says how many.
pub const CASES: u32 = 1_000;

/// How often a failing sequence is made smaller at most.
const SHRINK_ITERS: u32 = 4_000;

/// Reads the number of cases from the value of `WELLORDER_MODEL_CASES`.
pub fn cases(value: Option<&str>) -> u32 {
    value.map_or(CASES, |value| value.parse().expect("WELLORDER_MODEL_CASES must be a number"))
}

/// Runs `cases` random sequences, each on a fresh storage from `make`; panics with the shortest sequence that was found
/// to fail.
///
/// What is due at the same moment must be claimed in the order of the numbers of its orders.
pub fn check(cases: u32, make: impl AsyncFn() -> Box<dyn Fixture> + Sync) {
    if let Err(failure) = explore(cases, SHRINK_ITERS, make) {
        panic!("{failure}");
    }
}

/// As [`check`], but says what it found instead of panicking, after making it smaller `shrink_iters` times at most.
///
/// # Errors
/// When some sequence failed: how, and which.
pub fn explore(
    cases: u32,
    shrink_iters: u32,
    make: impl AsyncFn() -> Box<dyn Fixture> + Sync,
) -> Result<(), String> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = cases.div_ceil(u32::try_from(threads).unwrap_or(1));
    let make = &make;
    thread::scope(|scope| {
        let parts: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || part(share, shrink_iters, make))).collect();
        parts.into_iter().try_for_each(|part| part.join().expect("a panic was reported where it happened"))
    })
}

fn part(cases: u32, shrink_iters: u32, make: &impl AsyncFn() -> Box<dyn Fixture>) -> Result<(), String> {
    let config = Config {
        cases,
        max_shrink_iters: shrink_iters,
        // What failed is printed whole, and becomes a case of the conformance suite.
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = TestRunner::new(config).run(&ops::sequence(LENGTH), |ops| {
        let differs = runtime.block_on(async { Run::new(make().await).all(&ops).await });
        differs.map_err(TestCaseError::fail)
    });
    outcome.map_err(|failure| failure.to_string())
}
