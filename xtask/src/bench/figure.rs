//! Figures, their goals, and the table they make.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::machine::Machine;
use crate::stats::{median, range};

/// What a figure must reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Shown for orientation.
    None,
}

impl Goal {
    /// Whether `value` reaches it; none when there is no goal.
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::None => None,
        }
    }
}

/// A figure with one value for each run.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    part: &'static str,
    what: String,
    unit: &'static str,
    runs: Vec<f64>,
    goal: Goal,
    median: f64,
    low: f64,
    high: f64,
    met: Option<bool>,
    /// Some run was disturbed by other programs even after repeating it.
    noisy: bool,
}

/// All figures of one invocation.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { machine: Machine::look(), figures: Vec::new() }
    }

    /// Adds a figure and prints it at once.
    pub(crate) fn add(
        &mut self,
        part: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        runs: Vec<f64>,
        goal: Goal,
        noisy: bool,
    ) {
        let (median, (low, high)) = (median(&runs), range(&runs));
        let met = goal.met(median);
        let figure = Figure { part, what: what.into(), unit, runs, goal, median, low, high, met, noisy };
        println!("  {}", figure.row());
        self.figures.push(figure);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.machine.line());
        text.push_str("| part | figure | median (range) | goal | |\n|---|---|---|---|---|\n");
        for figure in &self.figures {
            text.push_str(&figure.row());
            text.push('\n');
        }
        text
    }

    /// Writes `<date><suffix>.md` and `.json` into `folder`.
    pub(crate) fn save(&self, folder: &Path, suffix: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let stem = folder.join(format!("{}{suffix}", self.machine.date()));
        let (markdown, json) = (stem.with_extension("md"), stem.with_extension("json"));
        fs::write(&markdown, self.markdown())
            .with_context(|| format!("cannot write {}", markdown.display()))?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&json, text).with_context(|| format!("cannot write {}", json.display()))?;
        println!("written: {} and .json", markdown.display());
        Ok(())
    }
}

impl Figure {
    fn row(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let goal = match self.goal {
            Goal::AtLeast(least) => format!("≥ {}{unit}", number(least)),
            Goal::AtMost(most) => format!("≤ {}{unit}", number(most)),
            Goal::None => "–".to_owned(),
        };
        let verdict = match (self.noisy, self.met) {
            (true, _) => "noisy: does not count",
            (false, Some(true)) => "met",
            (false, Some(false)) => "**missed**",
            (false, None) => "",
        };
        let values = if self.runs.len() > 1 {
            format!("{} ({}–{}){unit}", number(self.median), number(self.low), number(self.high))
        } else {
            format!("{}{unit}", number(self.median))
        };
        format!("| {} | {} | {values} | {goal} | {verdict} |", self.part, self.what)
    }
}

/// Three significant digits or all of a whole number, thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let decimals = [(1.0, 3), (10.0, 2), (100.0, 1)].iter().find(|(below, _)| value.abs() < *below);
        let text = format!("{value:.*}", decimals.map_or(0, |(_, n)| *n));
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{:.0}", value);
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0.6, 0.123, 12.34, 663.2, 63_300.4, 1_000_000.0].map(number).to_vec();
        assert_eq!(shown, ["0.6", "0.123", "12.3", "663", "63 300", "1 000 000"]);
    }

    #[test]
    fn a_goal_is_met_or_missed_by_the_median_and_noise_does_not_count() {
        let mut report = Report::new();
        report.add("P2", "a", "", vec![0.5, 0.9, 0.7], Goal::AtLeast(0.6), false);
        report.add("P5", "b", "ms", vec![9.0], Goal::AtMost(8.0), false);
        report.add("P5", "c", "ms", vec![1.0], Goal::AtMost(8.0), true);
        let text = report.markdown();
        assert!(text.contains("| P2 | a | 0.7 (0.5–0.9) | ≥ 0.6 | met |"), "{text}");
        assert!(text.contains("| P5 | b | 9 ms | ≤ 8 ms | **missed** |"), "{text}");
        assert!(text.contains("| P5 | c | 1 ms | ≤ 8 ms | noisy: does not count |"), "{text}");
    }
}
