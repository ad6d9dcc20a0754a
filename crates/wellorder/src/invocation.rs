//! How the program was called, so that a command in a hint can be pasted into another shell of the same folder.

use std::{
    borrow::Cow,
    path::{Component, Path, PathBuf},
};

use crate::{config::Environment, output::escape};

/// The program and the place as the user named them.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    program: String,
    config: Option<String>,
    data: Option<String>,
    database: Option<String>,
    url: Option<String>,
    ca_file: Option<String>,
}

impl Default for Invocation {
    fn default() -> Self {
        Self {
            program: "wellorder".to_owned(),
            config: None,
            data: None,
            database: None,
            url: None,
            ca_file: None,
        }
    }
}

impl Invocation {
    /// The program as this process was started; no place is named.
    pub(crate) fn of_process(environment: &Environment) -> Self {
        let said = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let file = std::env::current_exe().and_then(std::fs::canonicalize).ok();
        let same = |path: &Path| file.is_some() && std::fs::canonicalize(path).ok() == file;
        let folders = environment.get("PATH").filter(|path| !path.is_empty());
        let mut folders = folders.into_iter().flat_map(std::env::split_paths);
        let found = folders.any(|folder| same(&folder.join("wellorder")));
        let here = std::env::current_dir().ok();
        let program = if found { "wellorder".to_owned() } else { name(&said, here.as_deref()) };
        Self { program, ..Self::default() }
    }

    /// With the place: the settings file, the data folder and the server that were named. What a variable of the
    /// environment says another shell does not know.
    pub(crate) fn at(
        self,
        config: Option<&Path>,
        data: Option<&str>,
        url: Option<&str>,
        environment: &Environment,
    ) -> Self {
        let data = data.or_else(|| environment.get("WELLORDER_DATA")).filter(|data| !data.is_empty());
        let config = config.map(|config| quoted(&config.to_string_lossy()));
        Self { config, data: data.map(quoted), url: url.map(quoted), ..self }
    }

    /// With a file of authorities to believe.
    pub(crate) fn believing(self, ca_file: Option<&str>) -> Self {
        Self { ca_file: ca_file.map(quoted), ..self }
    }

    /// With a database on a server. A password is not for hints: then a variable stands for the URL.
    pub(crate) fn on_database(self, database: Option<&str>) -> Self {
        let is_open = |url: &str| {
            let login = url.rsplit_once('@').map_or("", |(login, _)| login);
            !login.trim_start_matches("postgresql://").trim_start_matches("postgres://").contains(':')
                && !url.contains("password")
        };
        let shown = |url: &str| if is_open(url) { quoted(url) } else { "\"$WELLORDER_DATABASE\"".to_owned() };
        Self { database: database.filter(|url| !url.is_empty()).map(shown), ..self }
    }

    /// With another data folder.
    pub(crate) fn in_folder(&mut self, data: &Path) {
        self.data = Some(quoted(&data.to_string_lossy()));
    }

    /// A command of ours, such as `orders list`, as it is to be typed here.
    pub(crate) fn command(&self, words: &str) -> String {
        let mut line = format!("{} {words}", self.program);
        let word = words.split_whitespace().next().unwrap_or_default();
        let (server, folder, config) = match word {
            "orders" | "parked" | "events" | "keys" | "followers" | "secrets" | "backup" | "healthcheck" => {
                (true, true, true)
            }
            "config" => (false, false, true),
            "token" | "dev" | "serve" | "doctor" | "audit" | "migrate" | "move" | "restore" => {
                (false, true, true)
            }
            _ => (false, false, false),
        };
        let url = self.url.as_ref().filter(|_| server);
        let data = self.data.as_ref().filter(|_| folder && url.is_none());
        // What tokens are signed with may lie in the folder; in the database it never does. What is moved lies there.
        let in_folder = matches!(word, "token" | "move");
        let database = self.database.as_ref().filter(|_| folder && url.is_none() && !in_folder);
        let config = self.config.as_ref().filter(|_| config);
        let ca_file = self.ca_file.as_ref().filter(|_| server);
        let said = [
            ("--url", url),
            ("--ca-file", ca_file),
            ("--data", data),
            ("--database", database),
            ("--config", config),
        ];
        for (flag, value) in said {
            if let Some(value) = value {
                line.push_str(&format!(" {flag} {value}"));
            }
        }
        line
    }

    /// A text of ours with each command that stands in it in backquotes, from `` `wellorder `` on, as it is to be typed
    /// here.
    pub(crate) fn hint<'t>(&self, text: &'t str) -> Cow<'t, str> {
        const BEGIN: &str = "`wellorder ";
        if !text.contains(BEGIN) {
            return Cow::Borrowed(text);
        }
        let mut parts = text.split(BEGIN);
        let mut hint = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match part.split_once('`') {
                Some((words, rest)) => hint.push_str(&format!("`{}`{rest}", self.command(words))),
                None => hint.push_str(&format!("{BEGIN}{part}")),
            }
        }
        Cow::Owned(hint)
    }
}

/// What to type for a program that was started as `said`, in the folder `here`.
fn name(said: &Path, here: Option<&Path>) -> String {
    let path = here.and_then(|here| said.strip_prefix(here).ok()).unwrap_or(said);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (None, _) => "wellorder".to_owned(),
        // Below the folder, and a name alone: as it is it would be looked for elsewhere.
        (Some(Component::Normal(name)), None) if path != said => {
            quoted(&format!("./{}", name.to_string_lossy()))
        }
        _ => quoted(&path.to_string_lossy()),
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", escape(&word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(data: Option<&str>, url: Option<&str>, environment: &[(&str, &str)]) -> Invocation {
        let environment: Environment = environment.iter().copied().collect();
        Invocation::default().at(None, data, url, &environment)
    }

    #[test]
    fn a_command_names_the_place_that_it_is_about() {
        assert_eq!(at(None, None, &[]).command("orders list"), "wellorder orders list");
        let both = at(Some("d"), Some("http://h:1"), &[("WELLORDER_DATA", "e")]);
        assert_eq!(both.command("orders list"), "wellorder orders list --url http://h:1");
        assert_eq!(both.command("audit"), "wellorder audit --data d");
        assert_eq!(both.command("--help"), "wellorder --help");
        assert_eq!(at(None, None, &[("WELLORDER_DATA", "e")]).command("doctor"), "wellorder doctor --data e");
        let filed = at(Some("d"), None, &[]);
        let filed = filed.at(Some(Path::new("my w.toml")), None, None, &Environment::default());
        assert_eq!(filed.command("config show"), "wellorder config show --config 'my w.toml'");
    }

    #[test]
    fn a_database_is_named_without_its_password() {
        let on = |url| Invocation::default().on_database(Some(url)).command("audit");
        assert_eq!(on("postgres://u@h/n"), "wellorder audit --database postgres://u@h/n");
        for secret in
            ["postgres://u:secret@h/n", "postgres://u@h/n?password=secret", "host=h password=secret"]
        {
            assert_eq!(on(secret), "wellorder audit --database \"$WELLORDER_DATABASE\"");
        }
        assert_eq!(on(""), "wellorder audit");
    }

    #[test]
    fn a_word_stays_one_word_in_a_shell() {
        assert_eq!(quoted("a/b-c_1.d"), "a/b-c_1.d");
        assert_eq!(quoted("it's $HOME\n"), r"'it'\''s $HOME\n'");
        assert_eq!(quoted("http://[::1]:3000"), "'http://[::1]:3000'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn commands_in_a_text_are_found() {
        let here = at(Some("d"), None, &[]);
        let text = "run `wellorder migrate`, or `df`; `wellorder config show` lists; `wellorder x";
        let hint = "run `wellorder migrate --data d`, or `df`; `wellorder config show` lists; `wellorder x";
        assert_eq!(here.hint(text), hint);
        assert!(matches!(here.hint("make room"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_program_is_called_as_it_was() {
        let name = |said: &str| name(Path::new(said), Some(Path::new("/srv/me")));
        assert_eq!(name("wellorder"), "wellorder");
        assert_eq!(name("target/release/wellorder"), "target/release/wellorder");
        assert_eq!(name("./wellorder"), "./wellorder");
        assert_eq!(name("/srv/me/target/debug/wellorder"), "target/debug/wellorder");
        assert_eq!(name("/srv/me/wellorder"), "./wellorder");
        assert_eq!(name("/opt/my tools/wellorder"), "'/opt/my tools/wellorder'");
        assert_eq!(name(""), "wellorder");
    }
}
