//! What a process prints, line by line, while it runs.

use super::eventually;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};

/// The lines of one stream, gathered by a thread of its own.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Gathered>>);

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Gathers what `stream` brings until its end.
    pub(crate) fn gather(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let gathering = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                gathering.0.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
            }
            gathering.0.lock().unwrap().ended = true;
        });
        lines
    }

    /// What came so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    /// What came so far, as one text.
    pub(crate) fn text(&self) -> String {
        self.all().join("\n")
    }

    /// Waits for a line in which `find` finds something; `None` when the stream ends without one.
    pub(crate) async fn find<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        eventually(what, async || {
            let gathered = self.0.lock().unwrap();
            match gathered.lines.iter().find_map(|line| find(line)) {
                Some(found) => Some(Some(found)),
                None if gathered.ended => Some(None),
                None => None,
            }
        })
        .await
    }

    /// Waits for a line that contains `text`.
    pub(crate) async fn until(&self, text: &str) -> String {
        let found = self.find(text, |line| line.contains(text).then(|| line.to_owned())).await;
        found.unwrap_or_else(|| panic!("ended without {text:?}: {}", self.text()))
    }

    /// Everything, once the stream has ended.
    pub(crate) async fn whole(&self) -> String {
        eventually("the end of the output", async || self.0.lock().unwrap().ended.then_some(())).await;
        self.text()
    }
}
