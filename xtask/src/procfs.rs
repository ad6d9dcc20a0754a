//! What Linux tells of processes: CPU time, memory, descendants.

use std::collections::HashMap;
use std::fs;

/// Kernel ticks a second, as `/proc` counts CPU time; 100 on every Linux that we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds that all processes of the machine have used since boot, what a hypervisor stole left out.
pub(crate) fn machine_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal …
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|i| ticks.get(*i)).sum::<f64>();
    busy / TICKS_PER_SECOND
}

/// The fields of `/proc/PID/stat` after the command name (which may hold anything).
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.get(stat.rfind(')')? + 2..)?;
    Some(after.split_whitespace().map(str::to_owned).collect())
}

/// When a process began, in ticks since boot: with its id, it tells the process from a later one. `None` when it is gone.
pub(crate) fn began(pid: u32) -> Option<u64> {
    stat_fields(pid)?.get(19)?.parse().ok()
}

/// Whether a process has ended and only waits for its parent to be told.
pub(crate) fn ended(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// CPU seconds of one process, those of its children that have ended included.
pub(crate) fn process_cpu_seconds(pid: u32) -> f64 {
    let fields = stat_fields(pid).unwrap_or_default();
    // utime stime cutime cstime
    let ticks = (11..=14).filter_map(|i| fields.get(i)?.parse::<f64>().ok()).sum::<f64>();
    ticks / TICKS_PER_SECOND
}

/// CPU seconds of a process and of everything it has started, ended or not.
pub(crate) fn tree_cpu_seconds(root: u32) -> f64 {
    let children = families();
    let mut seconds = 0.0;
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        seconds += process_cpu_seconds(pid);
        open.extend(children.get(&pid).into_iter().flatten());
    }
    seconds
}

/// The processes that a process has started and that have not ended.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    families().remove(&pid).unwrap_or_default()
}

/// The children of every process.
fn families() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let parent = stat_fields(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// Resident memory of a process in MiB; 0 when it is gone.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or_default();
    kib / 1024.0
}

/// CPU seconds of this process, of everything it has started, and of the trees of `besides`.
pub(crate) fn own_cpu_seconds(besides: &[u32]) -> f64 {
    tree_cpu_seconds(std::process::id()) + besides.iter().map(|pid| tree_cpu_seconds(*pid)).sum::<f64>()
}

/// Cores used by others than us between two moments.
pub(crate) struct ForeignCpu {
    machine: f64,
    own: f64,
    besides: Vec<u32>,
    started: std::time::Instant,
}

impl ForeignCpu {
    /// From now on; `besides` are servers that we did not start and measure all the same.
    pub(crate) fn start(besides: &[u32]) -> Self {
        Self {
            machine: machine_cpu_seconds(),
            own: own_cpu_seconds(besides),
            besides: besides.to_vec(),
            started: std::time::Instant::now(),
        }
    }

    /// Average number of cores that processes other than ours kept busy since the start.
    pub(crate) fn cores(&self) -> f64 {
        let machine = machine_cpu_seconds() - self.machine;
        let own = own_cpu_seconds(&self.besides) - self.own;
        ((machine - own) / self.started.elapsed().as_secs_f64().max(0.001)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_has_memory_and_belongs_to_the_machine() {
        assert!(resident_mib(std::process::id()) > 1.0);
        assert!(machine_cpu_seconds() > 0.0);
        assert!(own_cpu_seconds(&[]) <= machine_cpu_seconds());
    }
}
