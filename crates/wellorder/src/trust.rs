//! Whose certificates are believed when something is called over TLS: the public authorities and those of `tls.ca_file`;
//! and of the server on a data folder, the one certificate that it put there.

use crate::config::{Problems, Settings};
use outbound::Trust;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file in the data folder with the certificate that its server shows, encoded as DER: whoever may read the folder
/// finds the server by its address there, for which a certificate is seldom made.
const SHOWN_FILE: &str = "wellorder.cert";

/// Of everybody.
///
/// # Errors
/// `tls.ca_file` cannot be used.
pub(crate) fn of(settings: &Settings) -> Result<Trust, Problems> {
    let Some(path) = &settings.ca_file else { return Ok(Trust::default()) };
    let read = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
    read.and_then(|pem| Trust::also(&pem).map_err(|error| error.to_string())).map_err(|why| {
        let mut problems = Problems::default();
        let what = format!("{} {why}", path.display());
        problems.add("tls", "tls.ca_file", what, "name a PEM file with certificates of authorities");
        problems
    })
}

/// The certificates of `tls.ca_file`, as they stand there, for who reads them by itself.
///
/// # Errors
/// The file cannot be used.
#[cfg(feature = "postgres")]
pub(crate) fn pem(settings: &Settings) -> Result<Option<Vec<u8>>, Problems> {
    of(settings)?;
    // It was read a moment ago.
    Ok(settings.ca_file.as_ref().and_then(|path| std::fs::read(path).ok()))
}

/// Of the server on `folder`; `None` when it put no certificate there.
pub(crate) fn of_server_on(folder: &Path) -> Option<Trust> {
    std::fs::read(folder.join(SHOWN_FILE)).ok().map(Trust::only)
}

/// Puts the certificate that the server shows into its folder, in one step.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn show(folder: &Path, certificate: &[u8]) -> io::Result<()> {
    let (path, new) = (folder.join(SHOWN_FILE), folder.join(format!("{SHOWN_FILE}.new")));
    // What lies there may be somebody else's, with rights of its own.
    drop(std::fs::remove_file(&new));
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    file.write_all(certificate)?;
    std::fs::rename(new, path)
}
