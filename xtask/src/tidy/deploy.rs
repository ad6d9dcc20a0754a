//! What `deploy/` and the image say to the program exists: settings, by variable and by path, commands and flags.
//!
//! Read off the source, as text: the tables of settings and the command line are private to the binary, and this
//! check must not need it built.

use std::collections::BTreeSet;

use super::{Finding, Text};

const RULE: &str = "deploy";
const TABLES: &str = "crates/wellorder/src/config/table";
const CLI: &[&str] = &["crates/wellorder/src/cli/", "crates/wellorder/src/restore.rs"];
/// Not of the program's own list, and known to it all the same.
const VARIABLES_OF_FILES: &[&str] = &["WELLORDER_IMAGE", "WELLORDER_HOST_PORT", "WELLORDER_HOST_PORT_2"];
/// Other programs that compose starts.
const FOREIGN: &[&str] = &["postgres", "redis-server"];

/// What the program knows.
struct Known {
    settings: BTreeSet<String>,
    aliases: BTreeSet<String>,
    commands: BTreeSet<String>,
    flags: BTreeSet<String>,
}

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let ours: Vec<&Text> = texts.iter().filter(|text| is_deployment(text)).collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let known = Known::read(texts);
    let mut findings = Vec::new();
    for text in ours {
        for (index, line) in text.text.lines().enumerate() {
            let mut found = |note| findings.push(Finding::new(&text.path, index + 1, RULE, note));
            known.variables(line).into_iter().for_each(&mut found);
            known.line_of_commands(line).into_iter().for_each(&mut found);
        }
        let toml = text.has_extension("toml");
        if toml || text.path.ends_with("values.yaml") || text.path.to_string_lossy().ends_with("-values.yaml")
        {
            findings.extend(known.paths(text, toml));
        }
    }
    findings
}

fn is_deployment(text: &Text) -> bool {
    text.path.starts_with("deploy") && !text.has_extension("json")
        || text.path.ends_with("Dockerfile")
        || text.path.ends_with("docs/guides/deploying.md")
}

impl Known {
    fn read(texts: &[Text]) -> Self {
        let of = |prefixes: &'static [&'static str]| {
            let named =
                |text: &&Text| prefixes.iter().any(|prefix| text.path.to_string_lossy().starts_with(prefix));
            texts.iter().filter(named).map(|text| text.text.as_str()).collect::<String>()
        };
        let tables = of(&[TABLES]);
        let cli = of(CLI);
        let mut flags: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
        flags.extend(flags_of(&cli));
        Self {
            settings: strings_after(&tables, "Setting::new(").collect(),
            aliases: tables.split(".or(&[").skip(1).flat_map(strings_of_list).collect(),
            commands: commands_of(&cli),
            flags,
        }
    }

    fn has_setting(&self, name: &str) -> bool {
        self.settings.contains(name)
    }

    /// Variables of a line that set nothing.
    fn variables(&self, line: &str) -> Vec<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = line.split(|c| !is_part(c)).filter(|word| word.starts_with("WELLORDER_"));
        let unknown = names.filter(|name| {
            // A name that is put together, such as WELLORDER_{{ … }}.
            *name != "WELLORDER_"
                && !VARIABLES_OF_FILES.contains(name)
                && !self.aliases.contains(*name)
                && !self.is_variable(name)
        });
        unknown.map(|name| format!("{name} sets nothing: there is no such setting")).collect()
    }

    fn is_variable(&self, name: &str) -> bool {
        let bare = name.trim_start_matches("WELLORDER_").to_lowercase();
        // Of an underscore nobody can tell whether it was a dot.
        self.settings.iter().any(|setting| setting.replace('.', "_") == bare)
    }

    /// Keys of settings in TOML, or in values of the chart, that are none.
    fn paths(&self, text: &Text, toml: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut table = String::new();
        for (index, line) in text.text.lines().enumerate() {
            let line = line.trim_start_matches(['#', ' ']);
            if let Some(name) =
                line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).filter(|_| toml)
            {
                table = format!("{name}.");
                continue;
            }
            let Some((key, _)) = line.split_once(if toml { " = " } else { ": " }) else { continue };
            let is_path = key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte));
            let path = format!("{table}{key}");
            if is_path && (toml || key.contains('.')) && !self.has_setting(&path) && !self.has_setting(key) {
                findings.push(Finding::new(&text.path, index + 1, RULE, format!("{path} is no setting")));
            }
        }
        findings
    }

    /// Commands and flags of the program in a line that there are not.
    fn line_of_commands(&self, line: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let words: Vec<&str> =
            line.split([' ', ',', '[', ']', '"', '`', '(', ')']).filter(|w| !w.is_empty()).collect();
        let first = words.first().copied().unwrap_or_default();
        let list = matches!(first, "command:" | "args:" | "CMD") && line.contains('[');
        let mut running =
            list && words.get(1).is_none_or(|word| !FOREIGN.contains(word) && !word.starts_with('/'));
        let mut awaits_command = running;
        // An item of a list of arguments, one a line.
        let item = first == "-" && words.len() == 2 && words[1].starts_with("--");
        let runs = is_said_to_run(line);
        for word in words.iter().skip(usize::from(list)) {
            let is_command = std::mem::take(&mut awaits_command);
            let named = *word == "wellorder" || word.ends_with("/wellorder");
            if named && (list || runs) {
                (running, awaits_command) = (true, true);
            } else if matches!(*word, "|" | "&&" | ";" | "#" | "\\") {
                running = false;
            } else if let Some(flag) = word.strip_prefix("--").filter(|_| running || item) {
                let flag = flag.split('=').next().unwrap_or(flag);
                if !flag.is_empty() && !self.flags.contains(flag) {
                    findings.push(format!("--{flag} is no flag of wellorder"));
                }
            } else if is_command {
                let is_name = !word.starts_with('-')
                    && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                if is_name && !self.commands.contains(*word) {
                    findings.push(format!("{word} is no command of wellorder"));
                }
            }
        }
        findings
    }
}

/// Whether a line that names the program runs it; else it is prose or a name.
fn is_said_to_run(line: &str) -> bool {
    let line = line.trim_start();
    line.contains("`wellorder ")
        || line.contains("-- wellorder ")
        || ["wellorder ", "$ wellorder ", "sudo ", "ExecStart=", "CMD "]
            .iter()
            .any(|start| line.starts_with(start))
}

fn strings_after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(mark).skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix('"')?;
        rest.split('"').next().map(str::to_owned)
    })
}

fn strings_of_list(rest: &str) -> Vec<String> {
    let list = rest.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Variants of every enum of subcommands, as they are written on a command line.
fn commands_of(cli: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for body in cli.split("Subcommand)]").skip(1) {
        let variants =
            body.lines().take_while(|line| *line != "}").filter_map(|line| line.strip_prefix("    "));
        for variant in variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())) {
            let name: String = variant.chars().take_while(char::is_ascii_alphanumeric).collect();
            commands.insert(kebab(&name));
        }
    }
    commands
}

/// Every `#[arg(long …)]`: by its own name, or by its field's.
fn flags_of(cli: &str) -> impl Iterator<Item = String> + '_ {
    cli.split("#[arg(").skip(1).filter_map(|rest| {
        let (arguments, field) = rest.split_once(")]")?;
        let long =
            arguments.split([',', '\n']).map(str::trim).find(|argument| argument.starts_with("long"))?;
        if let Some(name) = long.split('"').nth(1) {
            return Some(name.to_owned());
        }
        let field = field.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        field.split(':').next().map(|name| name.trim().replace('_', "-"))
    })
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    const TABLE: &str = r#"Setting::new("worker.batch_size", Is("1")).or(&["SIZE", "WELLORDER_KEY"]), Setting::new(
        "kafka.brokers","#;
    const ARGS: &str = "#[derive(Debug, Subcommand)]\npub(crate) enum Command {\n    /// Serve\n    Serve(Args),\n    \
                        KeyRing { id: u8 },\n}\n#[arg(long = \"as\", value_name = \"N\")]\n    contract: u8,\n\
                        #[arg(long, global = true)]\n    pub(crate) end_grace: bool,\n";

    fn found(path: &str, line: &str) -> Vec<String> {
        let texts = [
            text("crates/wellorder/src/config/table.rs", TABLE),
            text("crates/wellorder/src/cli/args.rs", ARGS),
            text(path, line),
        ];
        check(&texts).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn what_there_is_may_be_said() {
        for line in [
            "      WELLORDER_WORKER_BATCH_SIZE: \"5\"",
            "WELLORDER_KEY=x WELLORDER_KAFKA_BROKERS=a:1 WELLORDER_{{ $path }}",
            "command: [serve, --as, x]",
            "command: [redis-server, --save]",
            "ExecStart=/usr/local/bin/wellorder key-ring --end-grace",
            "        - --as",
            "pg_isready --quiet; and wellorder is not called",
        ] {
            assert_eq!(found("deploy/compose/compose.yaml", line), [""; 0], "{line}");
        }
        assert!(found("deploy/systemd/wellorder.toml", "# [worker]\n# batch_size = 1").is_empty());
        assert!(found("docs/guides/feed.md", "WELLORDER_NOTHING").is_empty(), "not of deploy/");
    }

    #[test]
    fn what_there_is_not_is_found() {
        for (line, note) in [
            (
                "WELLORDER_WORKER_BATCHSIZE=1",
                "WELLORDER_WORKER_BATCHSIZE sets nothing: there is no such setting",
            ),
            ("WELLORDER_KAFKA_URL=1", "WELLORDER_KAFKA_URL sets nothing: there is no such setting"),
            ("command: [run, --as, x]", "run is no command of wellorder"),
            ("command: [serve, --role, x]", "--role is no flag of wellorder"),
            ("CMD [\"/bin/wellorder\", \"serve\", \"--port\"]", "--port is no flag of wellorder"),
            ("Say `wellorder move` then.", "move is no command of wellorder"),
            ("        - --migrate", "--migrate is no flag of wellorder"),
        ] {
            assert_eq!(found("deploy/compose/compose.yaml", line), [note], "{line}");
        }
        let toml = found("deploy/systemd/wellorder.toml", "[worker]\nbatch = 1");
        assert_eq!(toml, ["worker.batch is no setting"]);
        let values = found("deploy/helm/wellorder/values.yaml", "#   worker.batch: 1\nimage: {}");
        assert_eq!(values, ["worker.batch is no setting"]);
    }
}
