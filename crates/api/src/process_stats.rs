//! What the operating system says of this process, under the names that Prometheus's own clients use. Linux only: what
//! cannot be read is left out.

use crate::exposition::Page;
use std::fs;
use std::time::Duration;

/// Length of the ticks in which `/proc` counts time: 1/100 s, whatever the machine (`proc(5)`, `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Adds what can be read now.
pub(crate) fn show(page: &mut Page<'_>) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kib) = number_after(&status, "VmRSS:") {
        page.one("process_resident_memory_bytes", "gauge", "Resident memory", kib * 1024);
    }
    if let Some(threads) = number_after(&status, "Threads:") {
        page.one("process_threads", "gauge", "Threads", threads);
    }
    if let Some(count) = open_fds() {
        page.one("process_open_fds", "gauge", "Open file descriptors", count);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = number_after(&limits, "Max open files") {
        page.one("process_max_fds", "gauge", "Most file descriptors that may be open", max);
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some((cpu, started)) = times(&stat) {
        let help = "Time on a processor, user and system";
        page.one("process_cpu_seconds_total", "counter", help, cpu.as_secs_f64());
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        if let Some(booted) = number_after(&machine, "btime ") {
            let started = (Duration::from_secs(booted) + started).as_secs_f64();
            page.one("process_start_time_seconds", "gauge", "When it began, in seconds since 1970", started);
        }
    }
}

/// The first number of the line that begins with `head`.
fn number_after(text: &str, head: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(head))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The time on a processor, and when after the boot the process began, of `/proc/self/stat`.
fn times(stat: &str) -> Option<(Duration, Duration)> {
    // The name of the program stands in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields count from 1 in `proc(5)`; the third is the first here.
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    let (user, system, began) = (ticks(14)?, ticks(15)?, ticks(22)?);
    Some((TICK * user.checked_add(system)?, TICK * began))
}

fn open_fds() -> Option<u64> {
    // Since Linux 6.2 the folder's size is their number; before, it is 0 and they are counted.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok(),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read() {
        assert_eq!(number_after("Name:\tx\nVmRSS:\t  5120 kB\nThreads:\t7\n", "VmRSS:"), Some(5120));
        assert_eq!(
            number_after(
                "Max open files            1024                 4096                 files\n",
                "Max open files"
            ),
            Some(1024)
        );
        assert_eq!(number_after("Max open files  unlimited  unlimited  files", "Max open files"), None);
        let stat = "9 (a ) (b) S 1 9 9 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 5 0 4200 1000 200";
        assert_eq!(times(stat), Some((Duration::from_secs(2), Duration::from_secs(42))));
        assert_eq!(times(""), None);
    }

    #[test]
    fn this_process_is_described() {
        let mut text = String::new();
        show(&mut Page(&mut text));
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            assert!(text.contains(&format!("\n{name} ")), "{name}: {text}");
        }
    }
}
