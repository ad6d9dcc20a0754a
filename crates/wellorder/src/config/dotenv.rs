//! `.env`: variables of the working directory, in development.

use super::{problem::Problems, sources::Text};

/// One variable of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    /// From 1.
    pub(super) line: usize,
}

/// Reads all variables; a line that is none is a problem that does not repeat the line (it may hold a secret).
pub(super) fn parse(file: &Text, problems: &mut Problems) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    let mut from = 0;
    for item in dotenvy::from_read_iter(file.text.as_bytes()) {
        match item {
            Ok((name, value)) => {
                let line = find(&file.text, from, |line| assigns(line, &name));
                from = line;
                variables.push(Variable { name, value, line });
            }
            Err(dotenvy::Error::LineParse(bad, _)) => {
                let line = find(&file.text, from, |line| line.trim() == bad.trim());
                from = line;
                let place = format!("{}:{line}", file.name);
                problems.add(place, "", "this line is no variable", "write NAME=value, or NAME='a value'");
            }
            Err(_) => problems.add(&file.name, "", "cannot be read to its end", "save it as UTF-8"),
        }
    }
    variables
}

/// The number of the first line after the `from`th that fits; the parser itself tells no line numbers.
fn find(text: &str, from: usize, fits: impl Fn(&str) -> bool) -> usize {
    let found = text.lines().enumerate().skip(from).find(|(_, line)| fits(line));
    found.map_or_else(|| (from + 1).min(text.lines().count()), |(index, _)| index + 1)
}

fn assigns(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace));
    let line = exported.unwrap_or(line).trim_start();
    line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_know_their_lines() {
        let text = "# a comment\nPORT=1\n\nexport LOG_LEVEL = \"debug\"\nPORTS=9\nPORT='2'\n";
        let mut problems = Problems::default();
        let read = parse(&Text { name: ".env".to_owned(), text: text.to_owned() }, &mut problems);
        let shown: Vec<_> = read.iter().map(|v| (v.name.as_str(), v.value.as_str(), v.line)).collect();
        assert_eq!(shown, [("PORT", "1", 2), ("LOG_LEVEL", "debug", 4), ("PORTS", "9", 5), ("PORT", "2", 6)]);
        assert_eq!(problems, Problems::default());
    }

    #[test]
    fn no_line_is_named_that_is_not_there() {
        let text = "export\tPORT=1\nexport PORT=\nA=1 B=2\nC='x\ny'\nC=";
        let mut problems = Problems::default();
        let read = parse(&Text { name: ".env".to_owned(), text: text.to_owned() }, &mut problems);
        let shown: Vec<_> = read.iter().map(|v| (v.name.as_str(), v.line)).collect();
        assert_eq!(shown, [("PORT", 1), ("PORT", 2), ("C", 4), ("C", 6)]);
        assert!(problems.to_string().contains(".env:3: this line is no variable"), "{problems}");
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_and_not_shown() {
        let text = "PORT=1\nmy password is 'hunter2\nLOG_LEVEL=warn\n";
        let mut problems = Problems::default();
        parse(&Text { name: ".env".to_owned(), text: text.to_owned() }, &mut problems);
        let shown = problems.to_string();
        assert!(shown.contains(".env:2: this line is no variable"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
