//! What became of the lines of an import.

use serde_json::{Value, json};

use crate::{
    cli::{
        failure::{Exit, Failure},
        json::{list, string, text},
    },
    output::{Output, Style, escape},
};

/// Counts, and says what must be said of a line.
pub(super) struct Tally<'t, 'o> {
    out: &'t mut Output<'o>,
    accepted: u64,
    replayed: u64,
    refused: u64,
}

impl<'t, 'o> Tally<'t, 'o> {
    pub(super) fn new(out: &'t mut Output<'o>) -> Self {
        Self { out, accepted: 0, replayed: 0, refused: 0 }
    }

    pub(super) fn out(&mut self) -> &mut Output<'o> {
        self.out
    }

    /// How many lines are done with.
    pub(super) fn settled(&self) -> u64 {
        self.accepted + self.replayed + self.refused
    }

    /// An answer of the server that is final.
    pub(super) fn answered(&mut self, line: u64, answer: &Value) -> Result<(), Failure> {
        let status = answer.get("status").and_then(Value::as_u64);
        match status {
            Some(201) => self.accepted += 1,
            Some(200) => self.replayed += 1,
            _ => self.refused += 1,
        }
        if self.out.json {
            let mut told = answer.clone();
            told["line"] = line.into();
            self.out.json(told.to_string().as_bytes())?;
        } else if !matches!(status, Some(200 | 201)) {
            self.complain(line, &problem(answer));
        }
        Ok(())
    }

    /// A line that is not sent at all.
    pub(super) fn unfit(&mut self, line: u64, why: &str) -> Result<(), Failure> {
        self.refused += 1;
        if self.out.json {
            let problem = json!({
                "type": "urn:wellorder:problem:refused", "title": "refused", "detail": format!("The line {why}"),
            });
            self.out.json(json!({ "line": line, "problem": problem }).to_string().as_bytes())?;
        } else {
            self.complain(line, why);
        }
        Ok(())
    }

    fn complain(&mut self, line: u64, why: &str) {
        self.out.progress("");
        let mark = self.out.paint_note(Style::Bad, &format!("line {line}:"));
        self.out.note(&format!("{mark} {}", escape(why)));
    }

    pub(super) fn progress(&mut self, (read, of): (u64, Option<u64>)) {
        let text = format!("{} orders, {} refused", self.accepted + self.replayed, self.refused);
        self.out.bar(read, of, &text);
    }

    pub(super) fn gave_up(&mut self) {
        self.out.progress("");
        if !self.out.json {
            self.out.note(&format!("{}; run it again: what is there is not taken in twice", self.summary()));
        }
    }

    fn summary(&self) -> String {
        let before = match self.replayed {
            0 => String::new(),
            count => format!(", {count} taken in before"),
        };
        let refused = match self.refused {
            0 => String::new(),
            count => format!(", {count} refused"),
        };
        format!("{} taken in{before}{refused}", self.accepted)
    }

    /// Says what it came to.
    pub(super) fn end(self) -> Result<Exit, Failure> {
        self.out.progress("");
        if !self.out.json {
            self.out.line(&self.summary())?;
        }
        Ok(if self.refused == 0 { Exit::Ok } else { Exit::Refused })
    }
}

/// A problem in one line.
fn problem(answer: &Value) -> String {
    let problem = answer.get("problem").unwrap_or(&Value::Null);
    let mut said = string(problem, "title").unwrap_or("refused").to_owned();
    let errors: Vec<String> = list(problem, "errors")
        .iter()
        .map(|error| format!("{} {}", text(error, "pointer"), text(error, "message")).trim().to_owned())
        .collect();
    match string(problem, "detail") {
        _ if !errors.is_empty() => said = format!("{said}: {}", errors.join("; ")),
        Some(detail) if detail != said => said = format!("{said}: {detail}"),
        _ => (),
    }
    let pointers: Vec<&str> = list(problem, "pointers").iter().filter_map(Value::as_str).collect();
    if !pointers.is_empty() {
        said = format!("{said}: {}", pointers.join(" "));
    }
    format!("{said} ({})", text(answer, "status"))
}
