//! Files that settings name.

use crate::config::Problems;
use crate::output::escape;
use std::path::Path;

/// What is in the file that `setting` names.
///
/// # Errors
/// When it cannot be read; with what to do.
pub(crate) fn read(setting: &str, file: &Path) -> Result<Vec<u8>, Problems> {
    std::fs::read(file).map_err(|error| {
        let what = format!("cannot read {}: {error}", escape(&file.display().to_string()));
        Problems::one(setting, what, "name a file that this user can read")
    })
}

/// The same, of a file of certificates (PEM).
///
/// # Errors
/// When it cannot be read, or holds none.
#[cfg(any(feature = "amqp", feature = "redis"))]
pub(crate) fn certificates(setting: &str, file: &Path) -> Result<String, Problems> {
    let pem = text(setting, file)?;
    if pem.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(pem);
    }
    Err(Problems::one(setting, "holds no certificate in PEM", "name a file that does"))
}

/// The same, of a file of text.
///
/// # Errors
/// When it cannot be read, or is no text.
#[cfg(any(feature = "kafka", feature = "amqp", feature = "redis"))]
pub(crate) fn text(setting: &str, file: &Path) -> Result<String, Problems> {
    String::from_utf8(read(setting, file)?).map_err(|_| {
        let what = format!("{} is no text in UTF-8", escape(&file.display().to_string()));
        Problems::one(setting, what, "name another file")
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_with_its_setting_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let said = read("redis.ca_file", &folder.path().join("no\u{1b}ne.pem")).unwrap_err().to_string();
        for part in ["redis.ca_file: cannot read ", "no\\u{1b}ne.pem", "name a file that this user can read"]
        {
            assert!(said.contains(part), "{said}");
        }
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, [0xff]).unwrap();
        assert_eq!(read("a", &file), Ok(vec![0xff]));
    }

    #[test]
    #[cfg(any(feature = "kafka", feature = "amqp", feature = "redis"))]
    fn bytes_that_are_no_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(text("a", &file).unwrap_err().to_string().contains("no text in UTF-8"));
        std::fs::write(&file, "ä").unwrap();
        assert_eq!(text("a", &file), Ok("ä".to_owned()));
    }
}
