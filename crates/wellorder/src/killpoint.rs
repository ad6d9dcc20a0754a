//! Crash tests: kills this very process at a named place (`WELLORDER_KILLPOINT=area.moment:n`, the n-th passage), and
//! switches planted bugs on (`WELLORDER_PLANT`). In builds with the feature `killpoints` alone.

use crate::cli::failure::{Exit, Failure};
use crate::config::Environment;
use order_core::fault_point::{Hooks, install};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Point {
    name: &'static str,
    left: AtomicU64,
}

static POINT: OnceLock<Point> = OnceLock::new();

/// Every point that is passed somewhere.
const POINTS: [&str; 28] = [
    "api.after_commit",
    "api.before_commit",
    "api.mid_reply",
    "backup.mid_copy",
    "boot.mid_migration",
    "follower.after_cursor",
    "follower.after_send",
    "import.after_accept",
    "import.after_begin",
    "import.after_fetch",
    "import.after_settle",
    "inbox.after_commit",
    "inbox.after_dedup",
    "inbox.after_dlq",
    "inbox.before_ack",
    "inbox.before_dlq",
    "move.after_commit",
    "move.before_commit",
    "move.mid_copy",
    "parts.after_floor",
    "parts.mid_drop",
    "parts.mid_make",
    "restore.mid_swap",
    "sync.after_429",
    "sync.after_upsert",
    "webhook.after_2xx",
    "worker.after_effect",
    "worker.mid_effect",
];

/// Every bug that is planted somewhere.
const PLANTS: [&str; 7] = [
    "ack-before-commit",
    "cursor-past-gap",
    "double-import",
    "finish-without-token",
    "lost-ack",
    "lost-journal-row",
    "webhook-skip",
];

/// Arms what the environment names.
///
/// # Errors
/// When it names what there is not: a crash test that kills nothing would prove nothing.
pub(crate) fn arm(environment: &Environment) -> Result<(), Failure> {
    if let Some(point) = environment.get("WELLORDER_KILLPOINT").filter(|point| !point.is_empty()) {
        let Some((name, passage)) = read(point) else {
            let what = format!("WELLORDER_KILLPOINT={point} is no NAME:PASSAGE");
            return Err(Failure::here(Exit::Usage, what, format!("name one of {}", POINTS.join(", "))));
        };
        drop(POINT.set(Point { name, left: AtomicU64::new(passage) }));
    }
    let planted = environment.get("WELLORDER_PLANT").filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(name) = planted.as_deref().filter(|name| !PLANTS.contains(name)) {
        let what = format!("WELLORDER_PLANT={name} is no planted bug");
        return Err(Failure::here(Exit::Usage, what, format!("name one of {}", PLANTS.join(", "))));
    }
    install(Hooks { passed, planted });
    Ok(())
}

fn read(point: &str) -> Option<(&'static str, u64)> {
    let (name, passage) = point.rsplit_once(':')?;
    let name = POINTS.into_iter().find(|known| *known == name)?;
    Some((name, passage.parse().ok().filter(|passage| *passage > 0)?))
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::path::Path;

    /// What the sources call with a literal.
    fn called(folder: &Path, function: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                called(&path, function, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split(function).skip(1).filter_map(|rest| rest.split_once("\")"));
                found.extend(calls.map(|(name, _)| name.to_owned()));
            }
        }
    }

    #[test]
    fn the_lists_are_what_the_sources_pass_and_plant() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (function, known) in
            [("fault_point::pass(\"", &POINTS[..]), ("fault_point::planted(\"", &PLANTS[..])]
        {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(crates).unwrap() {
                let source = entry.unwrap().path().join("src");
                if source.is_dir() {
                    called(&source, function, &mut found);
                }
            }
            found.retain(|name| !name.contains(['\n', ' ', '\\']));
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, known, "{function}");
        }
    }
}
