//! Files and functions that a reader can hold in the head.

use super::source::Source;
use super::{Finding, Text};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

pub(super) fn check(text: &Text, source: &Source) -> Vec<Finding> {
    if text.path.components().any(|part| part.as_os_str() == "snapshots") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let lines = text.text.lines().count();
    if lines > FILE_LINES_MAX {
        let note = format!("{lines} lines, at most {FILE_LINES_MAX}: split it");
        findings.push(Finding::new(&text.path, FILE_LINES_MAX + 1, "file-size", note));
    }
    for function in source.functions() {
        let lines = function.last - function.first + 1;
        if lines > FUNCTION_LINES_MAX {
            let note = format!("fn {} has {lines} lines, at most {FUNCTION_LINES_MAX}", function.name);
            findings.push(Finding::new(&text.path, function.first, "function-size", note));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn rules(path: &str, content: &str) -> Vec<&'static str> {
        check(&text(path, content), &Source::parse(content)).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_line_too_many_is_found() {
        let file = |lines: usize| "// x\n".repeat(lines);
        assert!(rules("crates/a/src/lib.rs", &file(600)).is_empty());
        assert_eq!(rules("crates/a/src/lib.rs", &file(601)), ["file-size"]);
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
        assert!(rules("crates/a/src/lib.rs", &function(70)).is_empty());
        assert_eq!(rules("crates/a/src/lib.rs", &function(71)), ["function-size"]);
        assert!(rules("crates/a/tests/snapshots/x.rs", &file(601)).is_empty());
    }
}
