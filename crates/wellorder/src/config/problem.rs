//! What is wrong with the settings, all of it at once.

use std::fmt;

/// One thing that is wrong: where, with which key, what, and how to put it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `--listen`, `environment`, `.env:3`, `wellorder.toml:12`.
    pub(crate) place: String,
    /// The setting or variable as it was written there.
    pub(crate) key: String,
    /// What is wrong; no secret in it.
    pub(crate) what: String,
    /// What to do.
    pub(crate) fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        // A flag is its own place.
        if !self.key.is_empty() && self.key != self.place {
            write!(f, "{} ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// Every problem found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// What is wrong with what one setting names.
    pub(crate) fn one(setting: &str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(setting, setting, what, fix);
        problems
    }

    pub(crate) fn add(
        &mut self,
        place: impl Into<String>,
        key: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.0.push(Problem { place: place.into(), key: key.into(), what: what.into(), fix: fix.into() });
    }

    /// Sorted as one would go through them: flags, environment, files from the top, defaults.
    pub(super) fn in_order(mut self) -> Self {
        self.0.sort_by_key(|problem| {
            let (file, line) = problem.place.rsplit_once(':').unwrap_or((&problem.place, "0"));
            let layer = match file {
                flag if flag.starts_with("--") => 0,
                "environment" => 1,
                ".env" => 2,
                // What stands nowhere is told by its name.
                name if name == problem.key => 4,
                _ => 3,
            };
            (layer, line.parse::<usize>().unwrap_or(0))
        });
        self
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the settings have {count} {}:", if count == 1 { "problem" } else { "problems" })?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
