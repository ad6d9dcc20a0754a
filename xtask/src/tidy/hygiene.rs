//! What is unfinished, what sleeps, what is switched off, what only this machine knows.

use super::source::{Source, is_word};
use super::{Finding, Text};

/// In code: what to look for, the rule, why.
const IN_CODE: &[(&str, &str, &str)] = &[
    ("#[ignore", "ignored-test", "a test is never skipped in silence: run it or delete it"),
    ("todo!(", "unfinished", "finish it"),
    ("unimplemented!(", "unfinished", "finish it"),
];

/// In tests only.
const IN_TESTS: &[&str] = &["thread::sleep", "time::sleep"];

/// In every text, as whole words: unfinished work. Written apart so that this file passes its own check.
const MARKS: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X")];

/// In every text: what means nothing to a reader elsewhere.
const FOREIGN: &[&str] = &[
    concat!("seed", " document"),
    concat!("the ", "seed's"),
    concat!("shared/", "seeds"),
    concat!("contracts", ".md"),
    concat!("goals", ".md"),
    concat!("safety", ".md"),
    concat!("stack", ".md"),
    concat!("models", ".md"),
    concat!("design", ".md"),
    concat!("notes", ".md"),
    concat!("issues ", "show"),
];

/// Folders of one machine; at the start of a path only, so that a URL such as `/v1/work/claim` is none.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Routes that begin like one.
const ROUTES: &[&str] =
    &[concat!("/wo", "rk/claim"), concat!("/wo", "rk/heartbeat"), concat!("/wo", "rk/finish")];

/// Rules about code.
pub(super) fn code(text: &Text, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (needle, rule, why) in IN_CODE {
        for offset in source.find(needle) {
            if offset > 0 && is_word(source.code().as_bytes()[offset - 1]) {
                continue;
            }
            let line = source.line_of(offset);
            findings.push(Finding::new(
                &text.path,
                line,
                rule,
                format!("{}: {why}", needle.trim_end_matches('(')),
            ));
        }
    }
    for needle in IN_TESTS {
        for offset in source.find(needle).filter(|offset| text.is_test() || source.is_test(*offset)) {
            let note =
                format!("{needle} in a test: step the worker, move the clock, or wait for the fact itself");
            findings.push(Finding::new(&text.path, source.line_of(offset), "sleep", note));
        }
    }
    findings
}

/// Rules about the words of any text.
pub(super) fn words(text: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    if text.path.file_name().is_some_and(|name| name == "Cargo.lock") {
        return findings;
    }
    for (index, line) in text.text.lines().enumerate() {
        let mut found = |rule, note: String| findings.push(Finding::new(&text.path, index + 1, rule, note));
        for mark in MARKS.iter().filter(|mark| has_word(line, mark)) {
            found("unfinished", format!("{mark}: finish it, or write down what is missing in the open"));
        }
        for word in FOREIGN.iter().filter(|word| line.contains(**word)) {
            found("foreign-name", format!("{word}: the project speaks of itself alone"));
        }
        let line = ROUTES.iter().fold(line.to_owned(), |line, route| line.replace(route, ""));
        for path in MACHINE_PATHS.iter().filter(|path| starts_a_path(&line, path)) {
            found("machine-path", format!("{path}: a path of one machine"));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).is_some_and(|i| is_word(line.as_bytes()[i]));
        let after = line.as_bytes().get(at + word.len()).is_some_and(|b| is_word(*b));
        !before && !after
    })
}

fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = at.checked_sub(1).map(|i| line.as_bytes()[i]);
        !before.is_some_and(|b| is_word(b) || matches!(b, b'.' | b'-' | b'}' | b'~' | b'*' | b')' | b'>'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn in_code(path: &str, content: &str) -> Vec<&'static str> {
        code(&text(path, content), &Source::parse(content)).iter().map(|finding| finding.rule).collect()
    }

    fn in_words(content: &str) -> Vec<&'static str> {
        words(&text("README.md", content)).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn unfinished_and_ignored_code_is_found() {
        assert_eq!(in_code("a.rs", "fn f() { todo!() }"), ["unfinished"]);
        assert_eq!(in_code("a.rs", "fn f() { unimplemented!(\"x\") }"), ["unfinished"]);
        assert_eq!(in_code("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}"), ["ignored-test"]);
        assert!(in_code("a.rs", "// todo!() and \"#[ignore]\" in words\nfn my_todo!() {}").is_empty());
        assert_eq!(in_words(concat!("a FIX", "ME b")), ["unfinished"]);
        assert!(in_words("mktemp XXXXXX").is_empty());
    }

    #[test]
    fn only_tests_must_not_sleep() {
        let sleep = "fn f() { std::thread::sleep(d); }";
        assert!(in_code("crates/a/src/lib.rs", sleep).is_empty());
        assert_eq!(in_code("crates/a/tests/it/main.rs", sleep), ["sleep"]);
        assert_eq!(
            in_code("crates/a/src/lib.rs", &format!("#[cfg(test)]\nmod tests {{ {sleep} }}")),
            ["sleep"]
        );
        assert_eq!(in_code("crates/a/tests/a.rs", "async fn f() { tokio::time::sleep(d).await }"), ["sleep"]);
    }

    #[test]
    fn names_of_one_machine_or_of_other_papers_are_found() {
        assert_eq!(in_words(concat!("see `/wo", "rk/main`")), ["machine-path"]);
        assert_eq!(in_words(concat!("as go", "als", ".md says")), ["foreign-name"]);
        assert!(in_words("`POST /v1/work/claim`, crates/work/src").is_empty());
        assert!(in_words(concat!("route(\"/wo", "rk/claim\")")).is_empty());
    }
}
