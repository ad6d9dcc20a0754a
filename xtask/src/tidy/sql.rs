//! SQL is text of our own with bound parameters: no statement is put together by `format!`. Tests are free to: they
//! damage databases on purpose, and no input reaches them.

use super::source::Source;
use super::{Finding, Text};

const MACROS: &[&str] = &["format!(", "write!(", "writeln!(", "format_args!("];
const VERBS: &[&str] = &["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE INTO ", "CREATE TABLE "];

pub(super) fn check(text: &Text, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if text.defines_rules() || text.is_test() {
        return findings;
    }
    for name in MACROS {
        for start in source.find(name).filter(|start| !source.is_test(*start)) {
            let call = &text.text[start..call_end(source.code(), start + name.len())];
            if let Some(verb) = VERBS.iter().find(|verb| call.contains(**verb)) {
                let note =
                    format!("{} with {}: bind parameters instead", name.trim_end_matches('('), verb.trim());
                findings.push(Finding::new(&text.path, source.line_of(start), "sql-format", note));
            }
        }
    }
    findings
}

/// The offset behind the bracket that closes the call whose arguments start at `from`.
fn call_end(code: &str, from: usize) -> usize {
    let mut depth = 1;
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn a_statement_made_by_format_is_found() {
        let lines = |content: &str| -> Vec<usize> {
            check(&text("a.rs", content), &Source::parse(content))
                .iter()
                .map(|finding| finding.line)
                .collect()
        };
        assert_eq!(lines("fn f() {\n  format!(\n    \"SELECT * FROM {t}\"\n  );\n}"), [2]);
        assert_eq!(lines("write!(sql, \"DELETE FROM {t}\")"), [1]);
        assert!(lines("format!(\"{n} rows\"); let sql = \"SELECT 1\";").is_empty());
        assert!(lines("#[cfg(test)]\nmod tests { fn f() { format!(\"SELECT {t}\") } }").is_empty());
        assert!(lines("// format!(\"SELECT 1\")").is_empty());
    }
}
