//! P12: what is left of the server's own peak when five and twenty times as much is due, from clients that stay away as
//! long as they are told and from clients that do not.
//!
//! Client and server share the cores. The server as it is takes nearly all that one client can send, so that far less than
//! what is due reaches it. In a second scene each commit holds one order: storage is then what is short, as on a slow disk,
//! and what is due is sent. How much of it was sent stands beside every figure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::figure::{Goal, Report};
use super::flood::{Flood, Outcome};
use super::latency::order;
use super::wrk::CONNECTIONS;
use super::{Bench, intake, quietly};
use crate::http::client::Client;
use crate::procfs::resident_mib;
use crate::server::{Wellorder, log_tail};
use crate::stats::{median, percentile, sorted};

/// Clients of one flood: more than may wait for their commit, so that there is somebody to refuse.
const CLIENTS: usize = 8_000;
/// Between two looks at an order, and at the memory.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A server, what it is called in the table, and its settings.
struct Scene {
    name: &'static str,
    title: &'static str,
    /// By how many clients its own peak is looked for: the greatest counts.
    clients: &'static [usize],
    env: &'static [(&'static str, &'static str)],
}

const AS_IT_IS: Scene = Scene { name: "p12", title: "", clients: &[CONNECTIONS, 512], env: &[] };
const SLOW_STORAGE: Scene = Scene {
    name: "p12-slow",
    title: "one order a commit, ",
    // Many clients have some of theirs refused: that counts for nothing.
    clients: &[16, CONNECTIONS],
    env: &[("WELLORDER_LANE_BATCH_MAX", "1")],
};

/// How much more than the peak is due, whether clients obey, and what is to be left of the peak.
const CASES: [(f64, bool, f64); 4] =
    [(5.0, true, 0.9), (20.0, true, 0.9), (5.0, false, 0.6), (20.0, false, 0.6)];

/// One flood.
struct Case {
    outcome: Outcome,
    seconds: f64,
    /// Resident memory before the clients connect.
    before_mib: f64,
    most_mib: f64,
    /// Of look-ups of an order meanwhile, sorted.
    looks_ms: Vec<f64>,
}

/// Measures, after the peak when that is not known yet.
pub(crate) fn measure(bench: &Bench, peak: Option<f64>, report: &mut Report) -> Result<()> {
    println!("{}: overload", bench.part("P12"));
    for (scene, peak) in [(&AS_IT_IS, peak), (&SLOW_STORAGE, None)] {
        let peak = match peak {
            Some(peak) => peak,
            None => own_peak(bench, scene, report)?,
        };
        for (times, obeys, least) in CASES {
            let (mut cases, mut noisy) = (Vec::new(), false);
            for run in 0..bench.runs {
                let name = format!("{}-{times}-{obeys}-{run}", scene.name);
                let case = quietly(|| flood(bench, scene, &name, peak * times, obeys))?;
                noisy |= case.noisy;
                cases.push(case.value);
            }
            let whose = if obeys { "clients obey Retry-After" } else { "clients do not obey" };
            let title = format!("{}{times} × peak due, {whose}", scene.title);
            tell(bench, report, &title, &cases, peak, least, noisy);
        }
    }
    Ok(())
}

fn tell(bench: &Bench, report: &mut Report, title: &str, cases: &[Case], peak: f64, least: f64, noisy: bool) {
    let part = bench.part("P12");
    let mut add = |what: &str, unit, of: &dyn Fn(&Case) -> f64, goal| {
        report.add(part, format!("{title}: {what}"), unit, cases.iter().map(of).collect(), goal, noisy);
    };
    add("goodput ÷ peak", "", &|case| case.rate(case.outcome.taken) / peak, Goal::AtLeast(least));
    add("sent ÷ peak", "", &|case| case.rate(case.outcome.sent) / peak, Goal::None);
    add("due", "requests/s", &|case| case.rate(case.outcome.offered), Goal::None);
    add("sent", "requests/s", &|case| case.rate(case.outcome.sent), Goal::None);
    add("taken in", "requests/s", &|case| case.rate(case.outcome.taken), Goal::None);
    add("refused with 503", "requests/s", &|case| case.rate(case.outcome.unavailable), Goal::None);
    add("refused with 429", "requests/s", &|case| case.rate(case.outcome.limited), Goal::None);
    add("refusals without Retry-After", "", &|case| case.outcome.unexplained as f64, Goal::AtMost(0.0));
    let astray = |case: &Case| (case.outcome.other + case.outcome.broken) as f64;
    add("other answers and broken connections", "", &astray, Goal::AtMost(0.0));
    add("look-up of an order meanwhile, p99", "ms", &|case| percentile(&case.looks_ms, 99.0), Goal::None);
    add("resident memory before it", "MiB", &|case| case.before_mib, Goal::None);
    add("most resident memory", "MiB", &|case| case.most_mib, Goal::None);
}

impl Case {
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }
}

/// What clients that wait for their answers get through: as many of them as get most.
fn own_peak(bench: &Bench, scene: &Scene, report: &mut Report) -> Result<f64> {
    let mut peak = 0.0_f64;
    for clients in scene.clients {
        let (mut rates, mut noisy) = (Vec::new(), false);
        for run in 0..bench.runs {
            let name = format!("{}-peak-{clients}-{run}", scene.name);
            let taken = quietly(|| intake::taken(bench, *clients, &name, scene.env))?;
            noisy |= taken.noisy;
            rates.push(taken.value);
        }
        peak = peak.max(median(&rates));
        let title = format!("{}its own peak: intake, {clients} connections", scene.title);
        report.add(bench.part("P12"), title, "orders/s", rates, Goal::None, noisy);
    }
    Ok(peak)
}

fn flood(bench: &Bench, scene: &Scene, name: &str, rate: f64, obeys: bool) -> Result<Case> {
    let launch = bench.launch(name, &["--role", "api"], scene.env)?;
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(20)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    intake::warm_up(server.address, "/v1/orders", false)?;
    let length = Duration::from_secs(bench.seconds());
    let flood = Flood { address: server.address, clients: CLIENTS, rate, length, obeys, run: name };
    let before_mib = resident_mib(server.pid());
    let ended = AtomicBool::new(false);
    let (outcome, looked) = thread::scope(|scope| {
        let looker = scope.spawn(|| look(&server, name, &ended));
        let outcome = flood.run();
        ended.store(true, Ordering::Relaxed);
        (outcome, looker.join().unwrap_or_else(|_| Err(anyhow!("the one that looks panicked"))))
    });
    let ((looks_ms, most_mib), outcome) = (looked?, outcome?);
    server.terminate(Duration::from_secs(30))?;
    bench.discard(&launch)?;
    Ok(Case { outcome, seconds: length.as_secs_f64(), before_mib, most_mib, looks_ms })
}

/// Looks an order up, and at the memory, now and then: how long the look-ups took, and the most memory seen.
fn look(server: &Wellorder, name: &str, ended: &AtomicBool) -> Result<(Vec<f64>, f64)> {
    let mut client = Client::new(server.address, Duration::from_secs(30));
    let placed: Value =
        client.post("/v1/orders", order(&format!("{name}-looked-up"), 0).as_bytes())?.json()?;
    let path = format!("/v1/orders/{}", placed["order_id"].as_str().context("no order to look up")?);
    let (mut looks, mut most) = (Vec::new(), 0.0_f64);
    while !ended.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.get_json(&path)?;
        looks.push(began.elapsed().as_secs_f64() * 1_000.0);
        most = most.max(resident_mib(server.pid()));
        thread::sleep(LOOK_EVERY);
    }
    Ok((sorted(looks), most))
}
