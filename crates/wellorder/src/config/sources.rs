//! The layers as they are read: flags, environment, `.env`, file. Nothing is judged here.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::Path,
};

use super::problem::Problems;

/// A flag of the command line that sets a setting.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// The setting's path.
    pub(crate) path: &'static str,
    /// As it was written, such as `--listen`.
    pub(crate) flag: &'static str,
    pub(crate) value: String,
}

/// The variables of the process environment, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the environment of the process. Bytes that are no text are replaced, so that a bad value of ours is
    /// reported and anybody else's is left alone.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn read() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
    }

    /// The value of `name`, empty included.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().collect()
    }
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Its name for messages.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What the settings are for: some have other defaults in each, and some would be wrong in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything on this machine, without a login.
    #[default]
    Dev,
    /// A server for others.
    Serve,
    /// A command that ends by itself.
    Client,
}

/// Everything that settings are made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) mode: Mode,
    pub(crate) flags: Vec<Flag>,
    pub(crate) environment: Environment,
    /// `.env` of the working directory.
    pub(crate) dotenv: Option<Text>,
    /// `wellorder.toml` of the working directory, or the file that `--config` names.
    pub(crate) file: Option<Text>,
    /// Whether somebody watches stderr.
    pub(crate) stderr_is_terminal: bool,
}

impl Inputs {
    /// Reads the files besides `flags` and `environment`. `config` is the file that `--config` names: it must be
    /// there, `wellorder.toml` and `.env` need not. A server for others has no `.env`: what lies about in a working
    /// directory must not change it.
    ///
    /// # Errors
    /// Files that are there and cannot be read.
    pub(crate) fn gather(
        mode: Mode,
        flags: Vec<Flag>,
        environment: Environment,
        config: Option<&Path>,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let dotenv = if mode == Mode::Serve { None } else { read(Path::new(".env"), false, &mut problems) };
        let file = match config {
            Some(path) => read(path, true, &mut problems),
            None => read(Path::new("wellorder.toml"), false, &mut problems),
        };
        if !problems.0.is_empty() {
            return Err(problems);
        }
        Ok(Self { mode, flags, environment, dotenv, file, stderr_is_terminal: io::stderr().is_terminal() })
    }
}

fn read(path: &Path, must_be: bool, problems: &mut Problems) -> Option<Text> {
    let name = path.display().to_string();
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(Text { name, text }),
        Ok(Err(_)) => problems.add(name, "", "is no UTF-8 text", "save it as UTF-8"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be => (),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            problems.add("--config", name, "is not there", "name a file that is, or leave the flag out");
        }
        Err(error) => problems.add(name, "", format!("cannot be read ({error})"), "make it readable"),
    }
    None
}
