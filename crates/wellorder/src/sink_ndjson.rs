//! The sink that writes events as lines of JSON: to a file, rotated, flushed to disk before the cursor moves; or to
//! standard output.

mod rotated;

use async_trait::async_trait;
use order_core::journal::Event;
use order_core::ports::{Sink, SinkFault};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are read at once when the end of the last line is looked for.
const BLOCK: usize = 64 * 1024;

/// Lines of JSON on standard output.
pub(crate) struct StdoutSink;

#[async_trait]
impl Sink for StdoutSink {
    fn kind(&self) -> &'static str {
        "ndjson-stdout"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let lines = lines(events);
        let written = tokio::task::spawn_blocking(move || {
            let mut out = io::stdout().lock();
            out.write_all(&lines).and_then(|()| out.flush())
        });
        written
            .await
            .map_err(|error| SinkFault::Transient(error.to_string()))?
            .map_err(|error| SinkFault::Transient(error.to_string()))
    }
}

/// Lines of JSON in a file. When it has grown to `rotate_bytes` it is renamed to `NAME.000001` (`.000002` …, a name is
/// never used again) and a new one begun; old files are left to whoever collects them.
#[derive(Clone)]
pub(crate) struct FileSink {
    path: PathBuf,
    rotate_bytes: u64,
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    file: File,
    /// Where the last whole line ends.
    length: u64,
}

impl FileSink {
    /// A sink for `path`, which need not be there yet.
    pub(crate) fn new(path: &Path, rotate_bytes: u64) -> Self {
        Self { path: path.to_owned(), rotate_bytes, open: Arc::default() }
    }

    /// Opens the file. What an interrupted write left behind the last whole line is cut off now: those events come again.
    fn begin(&self) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = Some(Open::at(&self.path)?);
        Ok(())
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut guard = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // After an error, or when somebody touched the file, it is opened again (and cut, if need be).
        let mut open = match guard.take() {
            Some(open) => match open.changed(&self.path) {
                None => open,
                Some(how) => {
                    tracing::warn!(path = %self.path.display(), how, "the file of events is not as it was left; opening it anew");
                    Open::at(&self.path)?
                }
            },
            None => Open::at(&self.path)?,
        };
        if open.length > 0 && open.length + lines.len() as u64 > self.rotate_bytes {
            open = self.rotate(open)?;
        }
        open.file.write_all(lines)?;
        open.file.sync_data()?;
        open.length += lines.len() as u64;
        *guard = Some(open);
        Ok(())
    }

    async fn blocking(
        &self,
        run: impl FnOnce(&Self) -> io::Result<()> + Send + 'static,
    ) -> Result<(), SinkFault> {
        let sink = self.clone();
        let done = tokio::task::spawn_blocking(move || run(&sink)).await;
        done.map_err(|error| SinkFault::Transient(error.to_string()))?
            .map_err(|error| SinkFault::Transient(format!("{}: {error}", self.path.display())))
    }

    fn rotate(&self, full: Open) -> io::Result<Open> {
        full.file.sync_all()?;
        std::fs::rename(&self.path, rotated::next(&self.path)?)?;
        Open::at(&self.path)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let length = whole_lines(&mut file)?;
        let torn = file.metadata()?.len() - length;
        if torn > 0 {
            tracing::warn!(path = %path.display(), bytes = torn, "cut a torn last line; its event comes again");
            file.set_len(length)?;
            file.sync_all()?;
        }
        // The name itself must survive a crash too.
        File::open(rotated::folder(path))?.sync_all()?;
        Ok(Self { file, length })
    }

    /// What somebody else did to the file since the last line, if anything: what was written to a file that is no longer at
    /// its path would be lost.
    fn changed(&self, path: &Path) -> Option<&'static str> {
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(open), Ok(found)) if (open.dev(), open.ino()) != (found.dev(), found.ino()) => {
                Some("another file is in its place")
            }
            (Ok(open), Ok(_)) if open.len() < self.length => Some("it was cut short"),
            (Ok(open), Ok(_)) if open.len() > self.length => Some("somebody else wrote to it"),
            (Ok(_), Ok(_)) => None,
            _ => Some("it was moved away or deleted"),
        }
    }
}

/// Where the last whole line ends: behind the last line break.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = usize::try_from(end - start).map_or(BLOCK, |part| part.min(BLOCK));
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..part])?;
        if let Some(at) = block[..part].iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn lines(events: &[Event]) -> Vec<u8> {
    let mut lines = Vec::new();
    for event in events {
        lines.extend_from_slice(event.to_json().as_bytes());
        lines.push(b'\n');
    }
    lines
}

#[async_trait]
impl Sink for FileSink {
    fn kind(&self) -> &'static str {
        "ndjson-file"
    }

    async fn open(&self) -> Result<(), SinkFault> {
        self.blocking(Self::begin).await
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let lines = lines(events);
        self.blocking(move |sink| sink.write(&lines)).await
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn opened(path: &Path, rotate_bytes: u64) -> FileSink {
        let sink = FileSink::new(path, rotate_bytes);
        sink.begin().unwrap();
        sink
    }

    #[test]
    fn a_file_that_somebody_cut_or_wrote_to_is_noticed_and_goes_on_with_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let sink = opened(&path, 1_000);
        for (left, how) in [("", "cut short"), ("{\"a\":1}\n{\"b\"", "else wrote"), ("{\"a\"", "cut short")] {
            sink.write(b"{\"a\":1}\n").unwrap();
            std::fs::write(&path, left).unwrap();
            let found = sink.open.lock().unwrap().as_ref().and_then(|open| open.changed(&path)).unwrap();
            assert!(found.contains(how), "{left:?}: {found}");
            sink.write(b"{}\n").unwrap();
            let whole = left.rfind('\n').map_or("", |end| &left[..=end]);
            assert_eq!(text(&path), format!("{whole}{{}}\n"), "{left:?}");
            std::fs::write(&path, "").unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        sink.write(b"[]\n").unwrap();
        assert_eq!(text(&path), "[]\n", "begun again");
        let open = sink.open.lock().unwrap();
        assert_eq!(open.as_ref().and_then(|open| open.changed(&path)), None);
    }

    #[test]
    fn a_torn_last_line_is_cut_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        for (before, after) in
            [("", ""), ("{\"a\":1}\n", "{\"a\":1}\n"), ("{\"a\":1}\n{\"b\"", "{\"a\":1}\n"), ("{\"b\"", "")]
        {
            std::fs::write(&path, before).unwrap();
            let sink = opened(&path, 1_000);
            assert_eq!(text(&path), after, "{before:?}");
            sink.write(b"{}\n").unwrap();
            assert_eq!(text(&path), format!("{after}{{}}\n"), "{before:?}");
        }
    }

    #[test]
    fn a_torn_line_longer_than_a_block_is_cut_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        std::fs::write(&path, format!("{{}}\n{}", "x".repeat(3 * BLOCK + 7))).unwrap();
        opened(&path, 1_000);
        assert_eq!(text(&path), "{}\n");
    }

    #[test]
    fn a_full_file_is_rotated_between_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let sink = opened(&path, 10);
        for line in ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"] {
            sink.write(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&rotated::named(&path, 1)), "{\"a\":1}\n");
        assert_eq!(text(&rotated::named(&path, 2)), "{\"b\":2}\n");
        assert_eq!(text(&path), "{\"c\":3}\n");
    }

    #[test]
    fn the_name_of_a_file_that_was_collected_never_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let mut collected = Vec::new();
        for line in ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n", "{\"d\":4}\n"] {
            // A restart each time.
            opened(&path, 10).write(line.as_bytes()).unwrap();
            // Whoever collects takes all that is called after the file.
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name().to_str().unwrap().starts_with("events.ndjson.") {
                    collected.push((entry.path(), text(&entry.path())));
                    std::fs::remove_file(entry.path()).unwrap();
                }
            }
        }
        let expected = ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"].map(str::to_owned);
        let named = (1..).map(|number| rotated::named(&path, number)).zip(expected);
        assert_eq!(collected, named.collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let sink = opened(&path, 1_000);
        sink.write(b"{}\n").unwrap();
        std::fs::rename(&path, folder.path().join("collected")).unwrap();
        sink.write(b"[]\n").unwrap();
        assert_eq!(text(&path), "[]\n");
    }
}
