//! Lays the layers over each other, and finds everything that is wrong in any of them.

use std::os::unix::fs::PermissionsExt;
use std::{collections::BTreeSet, fmt};

use super::{
    check,
    dotenv::{self, Variable},
    file::{self, Entry, Written},
    problem::Problems,
    settings::Settings,
    shape::{Bad, Kind},
    sources::Inputs,
    suggest,
    table::{Default, Setting, every_setting},
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Variable(String),
    DotEnv { file: String, line: usize },
    File { file: String, line: usize },
    Default,
}

impl Origin {
    /// Where to look, for a message that names the variable besides.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Variable(_) => "environment".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::DotEnv { file, line } | Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting with its value as text and where that came from.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub(super) setting: &'static Setting,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The settings, typed, and each with its origin.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(super) resolved: Vec<Resolved>,
}

impl Config {
    /// Where the value of the setting with this path came from.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        origin_of(&self.resolved, path)
    }

    /// A file with a secret in it that every user of the machine can read, if there is one.
    pub(crate) fn exposed_file(&self) -> Option<&str> {
        let secrets = self.resolved.iter().filter(|one| one.setting.secret);
        let mut files = secrets.filter_map(|one| match &one.origin {
            Origin::File { file, .. } | Origin::DotEnv { file, .. } => Some(file.as_str()),
            _ => None,
        });
        files.find(|file| std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o004 != 0))
    }
}

pub(super) fn origin_of(resolved: &[Resolved], path: &str) -> Origin {
    let found = resolved.iter().find(|one| one.setting.path == path);
    found.map_or(Origin::Default, |one| one.origin.clone())
}

/// Names that begin like ours and set no setting. The crash tests use them in builds with the feature.
const NOT_SETTINGS: &[&str] =
    if cfg!(feature = "killpoints") { &["WELLORDER_KILLPOINT", "WELLORDER_PLANT"] } else { &[] };

const REMOVE: &str = "remove it; `wellorder config show` lists what there is";

/// Settles every setting.
///
/// # Errors
/// Everything that is wrong in any layer, also where another layer goes before it.
pub(crate) fn load(inputs: &Inputs) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let layers = Layers::read(inputs, &mut problems);
    layers.find_unknown(&mut problems);
    let mut settings = Settings::blank();
    let mut resolved = Vec::with_capacity(every_setting().count());
    let mut failed = BTreeSet::new();
    // What follows from others is settled after them, and shown where it belongs.
    for followers in [false, true] {
        for (place, setting) in every_setting().enumerate() {
            if matches!(setting.default, Default::Follows(_)) == followers {
                let before = problems.0.len();
                let (value, origin) = layers.settle(setting, &mut settings, &mut problems);
                // What a file that was not read has for it is not known either.
                if problems.0.len() > before || (layers.unread && origin == Origin::Default) {
                    failed.insert(setting.path);
                }
                resolved.push((place, Resolved { setting, value, origin }));
            }
        }
    }
    resolved.sort_by_key(|(place, _)| *place);
    let resolved: Vec<Resolved> = resolved.into_iter().map(|(_, one)| one).collect();
    settings.shards_said = origin_of(&resolved, "shards") != Origin::Default;
    check::together(inputs.mode, &settings, &resolved, &failed, &mut problems);
    if problems.0.is_empty() { Ok(Config { settings, resolved }) } else { Err(problems.in_order()) }
}

struct Layers<'a> {
    inputs: &'a Inputs,
    dotenv: Vec<Variable>,
    dotenv_name: &'a str,
    file: Vec<Entry>,
    file_name: &'a str,
    /// The file is there and no TOML.
    unread: bool,
}

/// A value that some layer has for a setting.
struct Candidate {
    value: String,
    origin: Origin,
    /// What to name in a message: the flag, the variable or the path.
    key: String,
}

impl<'a> Layers<'a> {
    fn read(inputs: &'a Inputs, problems: &mut Problems) -> Self {
        let name =
            |text: &'a Option<super::sources::Text>| text.as_ref().map_or("", |text| text.name.as_str());
        let dotenv = inputs.dotenv.as_ref().map_or_else(Vec::new, |text| dotenv::parse(text, problems));
        let file = inputs.file.as_ref().map(|text| file::parse(text, problems));
        Self {
            inputs,
            dotenv,
            dotenv_name: name(&inputs.dotenv),
            unread: file.as_ref().is_some_and(Option::is_none),
            file: file.flatten().unwrap_or_default(),
            file_name: name(&inputs.file),
        }
    }

    /// Takes the first layer's value, having judged them all.
    fn settle(
        &self,
        setting: &'static Setting,
        settings: &mut Settings,
        problems: &mut Problems,
    ) -> (String, Origin) {
        let mut winner: Option<Candidate> = None;
        for candidate in self.candidates(setting, settings, problems) {
            let judged = setting.shape.set(&mut Settings::blank(), &candidate.value);
            match judged {
                Ok(()) => winner = winner.or(Some(candidate)),
                Err(bad) => report(setting, &candidate, bad, problems),
            }
        }
        let (value, origin) = match winner {
            Some(winner) => (winner.value, winner.origin),
            None => match setting.default {
                Default::Is(text) => (text.to_owned(), Origin::Default),
                Default::Follows(from) => (from(settings, self.inputs), Origin::Default),
            },
        };
        if let Err(bad) = setting.shape.set(settings, &value) {
            problems.add("default", setting.path, bad.what, bad.fix);
        }
        (value.trim().to_owned(), origin)
    }

    /// What the layers have, the strongest first.
    fn candidates(
        &self,
        setting: &'static Setting,
        settings: &Settings,
        problems: &mut Problems,
    ) -> Vec<Candidate> {
        let of_role = setting.role_aliases.iter().filter(|(role, _)| settings.has_role(*role));
        let aliases: Vec<&str> =
            setting.aliases.iter().copied().chain(of_role.map(|(_, name)| *name)).collect();
        let mut found = Vec::new();
        for flag in self.inputs.flags.iter().filter(|flag| flag.path == setting.path) {
            let origin = Origin::Flag(flag.flag);
            found.push(Candidate { value: flag.value.clone(), origin, key: flag.flag.to_owned() });
        }
        let variable = |name: &str| {
            let value = self.inputs.environment.get(name)?.to_owned();
            Some(Candidate { value, origin: Origin::Variable(name.to_owned()), key: name.to_owned() })
        };
        let plain = found.is_empty();
        found.extend(named((setting, &aliases), variable, "environment", plain, problems));
        let line = |name: &str| {
            let variable = self.dotenv.iter().find(|variable| variable.name == name)?;
            let origin = Origin::DotEnv { file: self.dotenv_name.to_owned(), line: variable.line };
            Some(Candidate { value: variable.value.clone(), origin, key: name.to_owned() })
        };
        let plain = found.is_empty();
        found.extend(named((setting, &aliases), line, self.dotenv_name, plain, problems));
        if let Some(entry) = self.file.iter().find(|entry| entry.path == setting.path) {
            found.extend(self.written(setting, entry, problems));
        }
        found
    }

    /// Numbers are written as numbers, text as strings: a value of the wrong kind is a slip worth telling.
    fn written(
        &self,
        setting: &'static Setting,
        entry: &Entry,
        problems: &mut Problems,
    ) -> Option<Candidate> {
        let origin = Origin::File { file: self.file_name.to_owned(), line: entry.line };
        let written = match &entry.value {
            Written::Text(text) => Some((text.clone(), Kind::Text)),
            Written::Number(text) => Some((text.clone(), Kind::Number)),
            Written::Switch(switch) => Some((switch.to_string(), Kind::Switch)),
            Written::Other => None,
        };
        match written {
            Some((value, kind)) if kind == setting.shape.kind() => {
                Some(Candidate { value, origin, key: setting.path.to_owned() })
            }
            _ => {
                let fix = format!("write {}", setting.shape.in_toml());
                problems.add(origin.to_string(), setting.path, "has the wrong type", fix);
                None
            }
        }
    }

    /// Whatever looks like ours and is none: a setting that silently does nothing is the worst kind.
    fn find_unknown(&self, problems: &mut Problems) {
        const OURS: &str = "WELLORDER_";
        let names = |setting: &Setting| {
            let others = setting.aliases.iter().filter(|name| name.starts_with(OURS));
            others.map(|&name| name.to_owned()).chain([setting.variable()]).collect::<Vec<_>>()
        };
        let variables: BTreeSet<String> = every_setting().flat_map(names).collect();
        // Whoever has told tests where their servers are may run the program from the same shell.
        const OF_TESTS: &str = "WELLORDER_TEST_";
        let is_ours = |name: &str| name.starts_with(OURS) && !name.starts_with(OF_TESTS);
        let is_unknown =
            |name: &str| is_ours(name) && !variables.contains(name) && !NOT_SETTINGS.contains(&name);
        // What all of them begin with would make any two look alike.
        let ends: Vec<&str> = variables.iter().filter_map(|name| name.strip_prefix(OURS)).collect();
        let fix = |name: &str| match suggest::nearest(&name[OURS.len()..], ends.iter().copied()) {
            Some(near) => format!("did you mean {OURS}{near}?"),
            None => REMOVE.to_owned(),
        };
        for name in self.inputs.environment.names().filter(|name| is_unknown(name)) {
            problems.add("environment", name, "is no setting", fix(name));
        }
        let mut seen = BTreeSet::new();
        for Variable { name, line, .. } in &self.dotenv {
            let place = format!("{}:{line}", self.dotenv_name);
            let known =
                variables.contains(name) || every_setting().any(|s| s.names().any(|known| known == name));
            if is_unknown(name) {
                problems.add(place, name, "is no setting", fix(name));
            } else if known && !seen.insert(name) {
                problems.add(place, name, "is given a second time", "keep one of them");
            }
        }
        for Entry { path, line, .. } in &self.file {
            if every_setting().all(|setting| setting.path != path) {
                let place = format!("{}:{line}", self.file_name);
                problems.add(place, path, "is no setting", path_fix(path));
            }
        }
    }
}

fn path_fix(path: &str) -> String {
    let inside = format!("{path}.");
    if let Some(one) = every_setting().find(|setting| setting.path.starts_with(&inside)) {
        return format!(
            "it is a table: write [{path}] and under it settings such as {}",
            &one.path[inside.len()..]
        );
    }
    match suggest::nearest(path, every_setting().map(|setting| setting.path)) {
        Some(near) => format!("did you mean {near}?"),
        None => REMOVE.to_owned(),
    }
}

/// Our own name, else the plain ones. Plain names may be somebody else's: they are looked at only when nothing
/// stronger is there (`plain`), and an empty one is not set. Two that contradict each other are a problem.
fn named(
    (setting, aliases): (&Setting, &[&str]),
    look_up: impl Fn(&str) -> Option<Candidate>,
    place: &str,
    plain: bool,
    problems: &mut Problems,
) -> Option<Candidate> {
    let own = setting.variable();
    if let Some(candidate) = look_up(&own) {
        return Some(candidate);
    }
    if !plain {
        return None;
    }
    let set = |name: &&str| look_up(name).filter(|candidate| !candidate.value.trim().is_empty());
    let mut found = aliases.iter().filter_map(set);
    let first = found.next()?;
    if let Some(other) = found.find(|other| other.value.trim() != first.value.trim()) {
        let what = format!("and {} contradict each other", other.key);
        problems.add(place, &first.key, what, format!("keep one of them, or set {own}"));
    }
    Some(first)
}

fn report(setting: &Setting, candidate: &Candidate, bad: Bad, problems: &mut Problems) {
    let what = match candidate.value.trim() {
        "" => "is empty".to_owned(),
        _ if setting.secret => format!("has a value that {}", bad.what),
        value => format!("`{}` {}", crate::output::escape(value), bad.what),
    };
    let fix = if setting.names().any(|name| name == candidate.key) {
        format!("{}, or set {}", bad.fix, setting.variable())
    } else {
        bad.fix
    };
    problems.add(candidate.origin.place(), &candidate.key, what, fix);
}
