//! `cargo xtask tidy`: rules of the project that neither the compiler nor clippy checks.
//!
//! A line rule may be waived on one line, with its reason: `// tidy:allow(RULE): reason` on that line or the
//! line above.

mod deploy;
mod deps;
mod glossary;
mod hygiene;
mod invariants;
mod links;
mod sizes;
mod source;
mod sql;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;
use source::Source;

/// One thing to mend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: PathBuf,
    line: usize,
    rule: &'static str,
    text: String,
}

impl Finding {
    fn new(path: &Path, line: usize, rule: &'static str, text: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, rule, text: text.into() }
    }
}

/// A text file of the repository.
pub(crate) struct Text {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

impl Text {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    /// Whether the whole file is test code.
    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests")
            || self.path.file_name().is_some_and(|name| name == "tests.rs")
    }

    /// Our own rules quote what they forbid, so they are exempt from the rules about words.
    fn defines_rules(&self) -> bool {
        self.path.starts_with("xtask/src/tidy")
    }
}

/// Checks the working tree, prints what it finds, and says whether it is tidy.
pub(crate) fn run() -> Result<bool> {
    let root = workspace::root();
    let texts = read_texts(&root)?;
    let findings = check(&root, &texts);
    for finding in &findings {
        println!("{}:{}: {}: {}", finding.path.display(), finding.line, finding.rule, finding.text);
    }
    let verdict = if findings.is_empty() { "tidy" } else { "not tidy" };
    println!("{verdict}: {} files, {} findings", texts.len(), findings.len());
    Ok(findings.is_empty())
}

/// All findings over `texts`, sorted by place.
fn check(root: &Path, texts: &[Text]) -> Vec<Finding> {
    let mut findings = deps::check(texts);
    findings.extend(invariants::check(texts));
    findings.extend(deploy::check(texts));
    for text in texts {
        findings.extend(hygiene::words(text));
        if text.has_extension("md") {
            findings.extend(links::check(root, text));
        }
        // What is generated nobody reads, and `cargo xtask proto --check` holds it to what it is made of.
        let generated = text.path.components().any(|part| part.as_os_str() == "generated");
        if text.has_extension("rs") && !generated {
            let source = Source::parse(&text.text);
            findings.extend(sizes::check(text, &source));
            findings.extend(hygiene::code(text, &source));
            findings.extend(sql::check(text, &source));
        }
        findings.extend(glossary::check(text));
    }
    findings.retain(|finding| !waived(texts, finding));
    findings.sort();
    findings.dedup();
    findings
}

/// Whether the line of a finding, or the line above, waives its rule and says why.
fn waived(texts: &[Text], finding: &Finding) -> bool {
    let Some(text) = texts.iter().find(|text| text.path == finding.path) else {
        return false;
    };
    let mark = format!("tidy:allow({}):", finding.rule);
    let above = finding.line.saturating_sub(2);
    text.text.lines().skip(above).take(finding.line - above).any(|line| {
        line.split_once(&mark)
            .is_some_and(|(before, reason)| before.contains("//") && reason.trim().len() > 10)
    })
}

fn read_texts(root: &Path) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for path in workspace::files(root)? {
        let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            texts.push(Text { path, text });
        }
    }
    Ok(texts)
}

#[cfg(test)]
fn text(path: &str, text: &str) -> Text {
    Text { path: PathBuf::from(path), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiver_needs_its_rule_and_a_reason() {
        let bad = "fn f() { todo!() }";
        for (lines, findings) in [
            (bad.to_owned(), 1),
            (format!("// tidy:allow(unfinished): shown in the guide as such\n{bad}"), 0),
            (format!("{bad} // tidy:allow(unfinished): shown in the guide as such"), 0),
            (format!("// tidy:allow(unfinished):\n{bad}"), 1),
            (format!("// tidy:allow(sleep): another rule entirely\n{bad}"), 1),
        ] {
            let texts = [text("crates/a/src/lib.rs", &lines)];
            let found = check(Path::new("/"), &texts);
            let of_rule = found.iter().filter(|finding| finding.rule == "unfinished").count();
            assert_eq!(of_rule, findings, "{lines}");
        }
    }
}
