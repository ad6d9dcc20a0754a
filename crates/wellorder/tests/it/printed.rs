//! What the README and the guides print is what happens: their blocks of commands are run as they stand, in a folder of
//! their own, beside a server of their own, and what they print is held against what is printed there.
//!
//! * In a block `console`, a line after `$ ` is a command, and what follows is its output.
//! * A block `sh` is one command; a block after it that is `json` or has no language is its output.
//! * In an output, `…` stands for anything on that line; ids, times, cursors and keys may be others.
//! * Only what lies between `<!-- run:begin -->` and `<!-- run:end -->` is run.

use crate::harness::{Answer, Home, PROGRAM, Receiver, Server, eventually};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

/// A command, and what it should print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    output: Option<String>,
}

/// The commands of a document, in their order.
fn steps(markdown: &str) -> Vec<Step> {
    let (mut steps, mut runs, mut language) = (Vec::<Step>::new(), false, None::<&str>);
    for line in markdown.lines() {
        match (language, line.strip_prefix("```")) {
            (None, Some("sh")) => {
                language = Some("sh");
                if runs {
                    steps.push(Step::default());
                }
            }
            (None, Some(info)) => language = Some(info),
            (Some(_), Some(_)) => language = None,
            (None, None) => match line.trim() {
                "<!-- run:begin -->" => runs = true,
                "<!-- run:end -->" => runs = false,
                _ => {}
            },
            (Some(language), None) if runs => take(&mut steps, language, line),
            (Some(_), None) => {}
        }
    }
    steps
}

fn take(steps: &mut Vec<Step>, language: &str, line: &str) {
    let command = line.strip_prefix("$ ").filter(|_| language == "console");
    if let Some(command) = command {
        steps.push(Step { command: command.to_owned(), output: Some(String::new()) });
        return;
    }
    let step = steps.last_mut().expect("an output follows a command");
    let text = if language == "sh" { &mut step.command } else { step.output.get_or_insert_default() };
    if language == "sh" && !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
    if language != "sh" {
        text.push('\n');
    }
}

/// What is another each time, by what it is.
fn plain(text: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        if end == 0 {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let word = rest[..end].trim_end_matches([':', '.']);
            plain.push_str(kind(word));
            plain.push_str(&rest[word.len()..end]);
            rest = &rest[end..];
        }
    }
    plain
}

fn kind(word: &str) -> &str {
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let hex = |length: usize| word.len() == length && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match word {
        _ if shape.starts_with("0000-00-00T00:00:00") && word.ends_with('Z') => "TIME",
        _ if word.starts_with("wo_") || word.starts_with("whsec_") => "KEY",
        _ if hex(36) || hex(32) => "ID",
        _ if word.len() >= 20 && word.starts_with("AQ") => "CURSOR",
        other => other,
    }
}

/// Whether a line is as printed; `…` is anything.
fn is_as_printed(printed: &str, line: &str) -> bool {
    let mut parts = printed.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// What differs between an output and what is printed.
fn difference(printed: &str, output: &str) -> Option<String> {
    let (printed, output) = (plain(printed.trim_end()), plain(output.trim_end()));
    let same = printed.lines().count() == output.lines().count()
        && printed.lines().zip(output.lines()).all(|(printed, line)| is_as_printed(printed, line.trim_end()));
    (!same).then(|| format!("printed:\n{printed}\n\nhappened:\n{output}"))
}

/// A shell that keeps its variables from one command to the next.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    /// In `folder`, with the built program in its path, the server's address in `URL`, and that of a receiver of webhooks in
    /// `RECEIVER`.
    fn start(folder: &Path, url: &str, receiver: &str) -> Self {
        let programs = Path::new(PROGRAM).parent().unwrap().display().to_string();
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .env_clear()
            .env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"))
            .env("URL", url)
            .env("RECEIVER", receiver)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Runs a command; its exit code, and all it printed.
    fn run(&mut self, folder: &Path, command: &str) -> (String, String) {
        writeln!(self.input, "{{ {command}\n}} >../printed 2>&1; echo \"$?\"").unwrap();
        let mut code = String::new();
        self.output.read_line(&mut code).unwrap();
        let output = std::fs::read_to_string(folder.join("../printed")).unwrap();
        (code.trim().to_owned(), output)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Nothing is on its way any more: then the next command always finds the same.
async fn settled(server: &Server) {
    eventually("everything is worked on and carried on", async || {
        let idle = async |state| {
            let page = server.json(&format!("/v1/orders?processing={state}&limit=1")).await;
            page["orders"] == json!([])
        };
        let followers = server.json("/v1/followers").await;
        let carried = followers["followers"].as_array().unwrap().iter().all(|follower| follower["lag"] == 0);
        let told = server.json("/v1/deliveries?state=waiting&limit=1").await["deliveries"] == json!([]);
        (idle("queued").await && idle("running").await && carried && told).then_some(())
    })
    .await;
}

/// Runs the commands of a document beside a server started with the settings that it would have by itself.
async fn runs_as_printed(document: &str, least: usize) {
    runs_as_printed_beside(document, least, &[]).await;
}

/// The same, beside a server started with these arguments.
async fn runs_as_printed_beside(document: &str, least: usize, args: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document);
    let markdown = std::fs::read_to_string(path).unwrap();
    let steps = steps(&markdown);
    assert!(steps.len() >= least, "{document} has {} commands", steps.len());
    let home: Arc<Home> = Home::new();
    let folder = home.path().join("here");
    std::fs::create_dir(&folder).unwrap();
    let server = home.server().inside("here").without_data().args(args).start().await;
    let receiver = Receiver::start(|_| Answer::Says(200, "")).await;
    let [server_at, receiver_at] =
        [server.address, receiver.address].map(|address| format!("http://{address}"));
    let mut shell = Shell::start(&folder, &server_at, &receiver_at);
    let mut wrong = Vec::new();
    for step in &steps {
        settled(&server).await;
        let (code, output) = shell.run(&folder, &step.command);
        assert_eq!(code, "0", "{document}: {}\n{output}", step.command);
        let differs = step.output.as_deref().and_then(|printed| difference(printed, &output));
        wrong.extend(differs.map(|differs| format!("$ {}\n{differs}", step.command)));
    }
    assert!(wrong.is_empty(), "{document} prints what does not happen:\n{}", wrong.join("\n\n"));
    settled(&server).await;
    let audited = home.run_bare(&[], &["audit", "--json", "--data", "here/wellorder-data"]);
    assert_eq!(audited.code(), 0, "{audited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_of_the_readme_runs_as_printed() {
    runs_as_printed("README.md", 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_integration_guide_runs_as_printed() {
    runs_as_printed("docs/guides/integrate.md", 12).await;
}

/// The role `sync` would do by itself what the guide does by hand.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_guide_of_marketplaces_runs_as_printed() {
    let by_hand = ["--as", "marketplace", "--role", "api", "--role", "worker", "--role", "relay"];
    runs_as_printed_beside("docs/guides/marketplaces.md", 9, &by_hand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_guide_of_webhooks_runs_as_printed() {
    runs_as_printed("docs/guides/webhooks.md", 4).await;
}

#[test]
fn blocks_are_read_as_commands_and_outputs() {
    let markdown = "```sh\nignored\n```\n<!-- run:begin -->\ntext\n```console\n$ a b\n1\n2\n$ c\n```\n```sh\nd \\\n  e\n```\n\n\
                    ```json\n{…}\n```\n```sh\nf\n```\n<!-- run:end -->\n```sh\nno\n```\n";
    let step = |command: &str, output: Option<&str>| Step {
        command: command.to_owned(),
        output: output.map(str::to_owned),
    };
    let expected =
        [step("a b", Some("1\n2\n")), step("c", Some("")), step("d \\\n  e", Some("{…}\n")), step("f", None)];
    assert_eq!(steps(markdown), expected);
}

#[test]
fn what_does_not_happen_is_found() {
    let id = "230e0945-205f-8eaa-8fef-55ebf134b616";
    let other = "00000000-205f-8eaa-8fef-55ebf134b616";
    assert_eq!(difference(&format!("order {id}: done\n"), &format!("order {other}: done\n")), None);
    assert_eq!(difference("at 2026-11-20T10:00:00Z", "at 2020-01-01T00:00:00Z"), None);
    assert_eq!(difference("{\"a\":1,…}", "{\"a\":1,\"b\":2}"), None);
    for (printed, happened) in [
        ("done", "parked"),
        ("a\nb", "a"),
        ("a", "a\nb"),
        ("x …z", "x y"),
        ("", "a"),
        ("a", ""),
        ("{…", "a{"),
    ] {
        assert!(difference(printed, happened).is_some(), "{printed:?} {happened:?}");
    }
}
