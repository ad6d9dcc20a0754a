//! Every numbered invariant of `ARCHITECTURE.md` names the tests that hold it, and they exist.
//!
//! The form of one, under a heading that holds the word "invariant":
//! `N. **title** … — test: `name`, `name``; it may span several lines.

use std::collections::HashSet;
use std::path::Path;

use super::source::Source;
use super::{Finding, Text};

const FILE: &str = "ARCHITECTURE.md";

struct Invariant {
    line: usize,
    number: usize,
    text: String,
}

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let path = Path::new(FILE);
    let Some(map) = texts.iter().find(|text| text.path == path) else {
        return vec![Finding::new(path, 1, "invariant", "there is no such file")];
    };
    let invariants = read(&map.text);
    if invariants.is_empty() {
        return vec![Finding::new(
            path,
            1,
            "invariant",
            "no numbered invariants under a heading that names them",
        )];
    }
    let tests = functions(texts);
    let mut findings = Vec::new();
    for (index, invariant) in invariants.iter().enumerate() {
        let mut found = |note: String| findings.push(Finding::new(path, invariant.line, "invariant", note));
        if invariant.number != index + 1 {
            found(format!("number {} where {} is due", invariant.number, index + 1));
        }
        let names = names(&invariant.text);
        if names.is_empty() {
            found(format!("invariant {} names no test (— test: `name`)", invariant.number));
        }
        for name in names.iter().filter(|name| !tests.contains(**name)) {
            found(format!("invariant {} names `{name}`: there is no such function", invariant.number));
        }
    }
    findings
}

fn read(text: &str) -> Vec<Invariant> {
    let mut invariants: Vec<Invariant> = Vec::new();
    let (mut in_section, mut open) = (false, false);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            in_section = line.to_lowercase().contains("invariant");
            open = false;
        } else if in_section {
            let start = line.split_once(". **").and_then(|(number, _)| number.parse().ok());
            if let Some(number) = start {
                invariants.push(Invariant { line: index + 1, number, text: String::new() });
                open = true;
            } else if line.trim().is_empty() {
                open = false;
            }
            if let Some(last) = invariants.last_mut().filter(|_| open) {
                last.text.push_str(line);
                last.text.push(' ');
            }
        }
    }
    invariants
}

/// The names in backticks behind `test:`; of a path, its last part.
fn names(text: &str) -> Vec<&str> {
    let Some((_, tests)) = text.split_once("test:") else {
        return Vec::new();
    };
    let quoted = tests.split('`').skip(1).step_by(2);
    quoted.map(|name| name.rsplit("::").next().unwrap_or(name)).collect()
}

fn functions(texts: &[Text]) -> HashSet<String> {
    let rust = texts.iter().filter(|text| text.has_extension("rs"));
    rust.flat_map(|text| Source::parse(&text.text).functions()).map(|function| function.name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn notes(map: &str) -> Vec<String> {
        let texts = [text(FILE, map), text("a.rs", "#[test]\nfn one_holds() {}\n#[test]\nfn two_holds() {}")];
        check(&texts).into_iter().map(|finding| format!("{}: {}", finding.line, finding.text)).collect()
    }

    #[test]
    fn an_invariant_names_tests_that_exist() {
        let good = "# Invariants\n\n1. **One.** Always,\n   really — test: `it::one_holds`,\n   `two_holds`\n2. **Two.** — test: `two_holds`\n\n# Map\n\n1. **no invariant**\n";
        assert_eq!(notes(good), [""; 0]);
        assert_eq!(
            notes("## Invariants\n1. **One.** — test: `gone`"),
            ["2: invariant 1 names `gone`: there is no such function"]
        );
        assert_eq!(
            notes("## Invariants\n1. **One.** tested"),
            ["2: invariant 1 names no test (— test: `name`)"]
        );
        assert_eq!(notes("## Invariants\n2. **One.** — test: `one_holds`"), ["2: number 2 where 1 is due"]);
        assert_eq!(notes("# Map").len(), 1, "a map without invariants is a finding");
        assert_eq!(check(&[]).len(), 1, "a missing map is a finding");
    }
}
