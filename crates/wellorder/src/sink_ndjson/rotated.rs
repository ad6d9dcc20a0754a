//! The names of rotated files. Their numbers only ever rise, also when every rotated file was collected and over
//! restarts: whoever collects `events.ndjson.000007` never meets that name again with other events in it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name for the next rotated file of `path`: `NAME.000001`, `.000002` …
///
/// The number is on disk before the name is given out, in `.NAME.last` beside the file. A crash in between leaves a
/// number out, which no reader minds. The file's name begins with a dot, so that whoever collects `NAME.*` leaves it.
///
/// # Errors
/// When the number cannot be read or kept.
pub(super) fn next(path: &Path) -> io::Result<PathBuf> {
    let kept = beside(path, ".", ".last");
    // Files may be there from before the number was kept, or without it, when somebody brought them.
    let last = read(&kept)?.max(highest(path)?);
    let number = last.checked_add(1).ok_or_else(|| io::Error::other("no number is left to rotate to"))?;
    keep(path, &kept, number)?;
    Ok(named(path, number))
}

/// The name of the `number`th rotated file.
pub(super) fn named(path: &Path, number: u64) -> PathBuf {
    beside(path, "", &format!(".{number:06}"))
}

/// The folder that `path` lies in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsStr::new(before).to_owned();
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

fn read(kept: &Path) -> io::Result<u64> {
    let text = match fs::read_to_string(kept) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    // To begin at 1 again would be what this file is there to prevent.
    text.trim().parse().map_err(|_| {
        let what = format!(
            "{} holds no number; write the highest number that a rotated file had into it",
            kept.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// The highest number of the rotated files that are there; 0 when none is.
fn highest(path: &Path) -> io::Result<u64> {
    let mut prefix = path.file_name().unwrap_or_default().as_bytes().to_vec();
    prefix.push(b'.');
    let number = |name: &OsStr| {
        let end = name.as_bytes().strip_prefix(prefix.as_slice())?;
        let digits = end.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(end).ok().filter(|_| digits)?.parse::<u64>().ok()
    };
    let mut highest = 0;
    for entry in fs::read_dir(folder(path))? {
        highest = highest.max(number(&entry?.file_name()).unwrap_or(0));
    }
    Ok(highest)
}

/// Written whole and renamed: after a crash the file holds the old number or the new one.
fn keep(path: &Path, kept: &Path, number: u64) -> io::Result<()> {
    let draft = beside(path, ".", ".last.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{number}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, kept)?;
    File::open(folder(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn number(path: &Path) -> u64 {
        let name = next(path).unwrap();
        name.extension().unwrap().to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn numbers_rise_above_what_is_there_and_what_was_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        for name in ["events.ndjson.000007", "events.ndjson.gz", "events.ndjson.9x", "other.ndjson.000050"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(number(&path), 8, "files from before the number was kept count");
        assert_eq!(number(&path), 9, "a name that was given out and not used is not given out again");
        fs::remove_file(folder.path().join("events.ndjson.000007")).unwrap();
        assert_eq!(number(&path), 10);
        fs::write(folder.path().join("events.ndjson.1000000"), "").unwrap();
        assert_eq!(next(&path).unwrap(), folder.path().join("events.ndjson.1000001"));
        assert_eq!(number(&folder.path().join("other.ndjson")), 51, "each file has numbers of its own");
    }

    #[test]
    fn a_number_that_cannot_be_read_is_an_error_and_not_a_new_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        for (text, what) in
            [("", "holds no number"), ("x", "holds no number"), ("18446744073709551615", "left")]
        {
            fs::write(folder.path().join(".events.ndjson.last"), text).unwrap();
            let error = next(&path).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
        fs::write(folder.path().join(".events.ndjson.last"), "41\n").unwrap();
        assert_eq!(number(&path), 42);
    }

    #[test]
    fn a_draft_that_a_crash_left_behind_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        assert_eq!(number(&path), 1);
        fs::write(folder.path().join(".events.ndjson.last.new"), "9999999999").unwrap();
        assert_eq!(number(&path), 2);
        assert_eq!(fs::read_to_string(folder.path().join(".events.ndjson.last")).unwrap(), "2\n");
    }
}
