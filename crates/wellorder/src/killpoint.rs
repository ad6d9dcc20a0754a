//! Crash tests: kills this very process at a named place (`WELLORDER_KILLPOINT=area.moment:n`, the n-th passage), and
//! switches planted bugs on (`WELLORDER_PLANT`). In builds with the feature `killpoints` alone.

use crate::config::Environment;
use order_core::fault_point::{Hooks, install};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Point {
    name: String,
    left: AtomicU64,
}

static POINT: OnceLock<Point> = OnceLock::new();

/// Arms what the environment names.
pub(crate) fn arm(environment: &Environment) {
    if let Some((name, passage)) =
        environment.get("WELLORDER_KILLPOINT").and_then(|point| point.rsplit_once(':'))
    {
        let left = AtomicU64::new(passage.parse().unwrap_or(1));
        drop(POINT.set(Point { name: name.to_owned(), left }));
    }
    let planted = environment.get("WELLORDER_PLANT").filter(|name| !name.is_empty()).map(str::to_owned);
    install(Hooks { passed, planted });
}

fn passed(name: &'static str) {
    let Some(point) = POINT.get().filter(|point| point.name == name) else { return };
    if point.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        // SIGKILL, not a panic: nothing may unwind, flush or say good-bye.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
