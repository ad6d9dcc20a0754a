//! What an operator writes: `wellorder.toml` and `.env`.

use std::sync::LazyLock;

use wellorder::fuzzing::{Setting, settings};

use super::{Seen, accepted, magnitude, refused, text};

pub(super) const TOML: &[&str] = &[
    "listen = \"127.0.0.1:1\"\n",
    "[worker]\n",
    "batch_size = 10\n",
    "[limits]\n",
    "body_kib = 256\n",
    "role = [\"api\"]\n",
    "[log]\nlevel = \"debug\"\n",
    "[http_processor]\nurl = \"http://u:hunter2@h/\"\n",
    "[simulate]\nfail_rate = 0.5\n",
    "[[",
    "]]",
    "\"",
    "'''",
    "\"\"\"",
    "#",
    "=",
    ".",
    "1979-05-27",
    "inf",
    "0x10",
    "1_000",
    "{",
    "}",
    "\\u0000",
    "shards = 16\n",
    "processor = \"http\"\n",
];

/// The settings of a file take effect the same from the environment; a problem names a line that is there, and no secret.
pub(super) fn toml(data: &[u8]) -> Seen {
    let text = text(data);
    take_effect(&text, settings(Some(&text), None, &[]))
}

pub(super) const DOTENV: &[&str] = &[
    "WELLORDER_LISTEN=127.0.0.1:1\n",
    "PORT=3000\n",
    "export ",
    "LOG_LEVEL=debug\n",
    "WELLORDER_",
    "WORKER_BATCH_SIZE=10\n",
    "=",
    "'",
    "\"",
    "$",
    "${PORT}",
    "\\n",
    "\\",
    "#",
    "\n",
    "WELLORDER_HTTP_PROCESSOR_URL=http://u:hunter2@h/\n",
    "WELLORDER_ROLE=api,worker\n",
];

/// The same for `.env`.
pub(super) fn dotenv(data: &[u8]) -> Seen {
    let text = text(data);
    take_effect(&text, settings(None, Some(&text), &[]))
}

fn take_effect(text: &str, settled: Result<Vec<Setting>, Vec<(String, String)>>) -> Seen {
    let set = match settled {
        Ok(set) => set,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            problems.iter().for_each(|(place, shown)| names_its_place(text, place, shown));
            let what = problems[0].1.split("; ").next().unwrap_or_default().split_once(' ');
            // The message without what was written: two words behind the place.
            let what = what.map(|(_, what)| what.split_whitespace().rev().take(2).collect::<String>());
            return refused((what, magnitude(problems.len())));
        }
    };
    let variables: Vec<_> = set.iter().map(|one| (one.variable.as_str(), one.value.as_str())).collect();
    let again = settings(None, None, &variables);
    assert_eq!(again.as_ref(), Ok(&set), "other settings from the environment");
    static DEFAULTS: LazyLock<Vec<Setting>> =
        LazyLock::new(|| settings(None, None, &[]).expect("nothing set is fine"));
    let changed =
        set.iter().zip(DEFAULTS.iter()).filter(|(one, default)| one != default).map(|(one, _)| one.path);
    accepted((changed.collect::<Vec<_>>(), magnitude(text.len())))
}

/// A problem is in a line of the file, if it is in the file.
fn names_its_place(text: &str, place: &str, shown: &str) {
    // A secret is one where it is a value; as a name it would be shown.
    let values = ["\nurl = \"http://u:hunter2@h/\"", "\nWELLORDER_HTTP_PROCESSOR_URL=http://u:hunter2@h/"];
    let as_value: usize = values.iter().map(|value| format!("\n{text}").matches(value).count()).sum();
    let secret = text.matches("hunter2").count() == as_value;
    assert!(!secret || !shown.contains("hunter2"), "a secret is shown: {shown}");
    assert!(!shown.contains('\0') && shown.len() < 1_024 + text.len(), "{shown:?}");
    if let Some((_, line)) = place.rsplit_once(':') {
        let line: usize = line.parse().expect("a line");
        assert!((1..=text.matches('\n').count() + 1).contains(&line), "no such line: {place}");
    }
}
