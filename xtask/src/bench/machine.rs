//! On what a figure was measured.

use std::fs;
use std::process::Command;

use serde::Serialize;
use time::OffsetDateTime;

/// The machine and the state of the code.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    date: String,
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    rustc: String,
    revision: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let now = OffsetDateTime::now_utc();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = meminfo.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            date: format!("{}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day()),
            cpu: cpu.map(|(_, model)| model.to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib.div_ceil(1024 * 1024),
            kernel: release.trim().to_owned(),
            rustc: rustc_version(),
            revision: crate::workspace::revision(),
        }
    }

    pub(crate) fn date(&self) -> &str {
        &self.date
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "Measured {}: {} × {}, {} GiB, Linux {}, {}, revision {}; client and server on it.",
            self.date, self.cores, self.cpu, self.memory_gib, self.kernel, self.rustc, self.revision
        )
    }
}

fn rustc_version() -> String {
    let out = Command::new("rustc").arg("--version").output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
}
