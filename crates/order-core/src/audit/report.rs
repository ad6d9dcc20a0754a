//! What an audit found.

use super::rows::Unreadable;
use crate::ids::Shard;

/// Findings that are listed; more are only counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: &'static str,
    /// In which shard, if it has one.
    pub shard: Option<Shard>,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
}

impl From<Unreadable> for Finding {
    fn from(Unreadable { table, row, why }: Unreadable) -> Self {
        Self { check: "unreadable", shard: None, subject: format!("{table} {row}"), detail: why }
    }
}

/// What an audit saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Orders read.
    pub orders: u64,
    /// Events read.
    pub events: u64,
    /// Work rows read.
    pub work: u64,
    /// Followers read.
    pub followers: u64,
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub found: u64,
}

impl Report {
    pub(super) fn add(&mut self, check: &'static str, shard: Option<Shard>, subject: String, detail: String) {
        self.find(Finding { check, shard, subject, detail });
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Rows that do not read. Several checks read the same row: it is named once, as far as can be told.
    pub(super) fn unreadable(&mut self, rows: Vec<Unreadable>) {
        for finding in rows.into_iter().map(Finding::from) {
            let same = |known: &Finding| (known.check, &known.subject) == (finding.check, &finding.subject);
            if !self.findings.iter().any(same) {
                self.find(finding);
            }
        }
    }
}
