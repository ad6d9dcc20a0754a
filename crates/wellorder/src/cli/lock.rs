//! The lock of a data folder: whether a server runs on it, and where it answers.
//!
//! The folder is held with a lock of the operating system for as long as the server lives, so a server that was killed
//! leaves none behind. The file `wellorder.lock` in it says who holds it: `{"pid", "address"}`.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use serde::Deserialize;

/// The name of the file that says who holds the lock, in the data folder.
pub(crate) const LOCK_FILE: &str = "wellorder.lock";

/// Who holds the lock, as the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// `IP:PORT`.
    pub(crate) address: String,
}

impl Holder {
    /// The address as a URL.
    pub(crate) fn url(&self) -> String {
        if self.address.contains("://") { self.address.clone() } else { format!("http://{}", self.address) }
    }
}

/// What was found in a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// There is no such folder.
    NoFolder,
    /// No server runs on it.
    Free,
    /// A server runs on it; `None` while it starts and has not written its address yet.
    Held(Option<Holder>),
}

/// Looks at the lock of `folder` and leaves it as it was.
///
/// # Errors
/// The folder or the file cannot be read.
pub(crate) fn look(folder: &Path) -> io::Result<Lock> {
    let lock = match File::open(folder) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::NoFolder),
        Err(error) => return Err(error),
    };
    // Taken and given back at once: a shared lock, so that two that look at the same time see no server.
    match lock.try_lock_shared() {
        Ok(()) => Ok(Lock::Free),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            // Somebody may have deleted it; its server writes it anew.
            let text = fs::read_to_string(folder.join(LOCK_FILE)).unwrap_or_default();
            Ok(Lock::Held(serde_json::from_str(&text).ok()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(look(&path.join("none")).unwrap(), Lock::NoFolder);
        assert_eq!(look(path).unwrap(), Lock::Free);
        let server = File::open(path).unwrap();
        server.lock().unwrap();
        assert_eq!(look(path).unwrap(), Lock::Held(None), "it starts");
        fs::write(path.join(LOCK_FILE), r#"{"pid": 7, "address": "127.0.0.1:3000", "new": 1}"#).unwrap();
        let holder = Holder { pid: 7, address: "127.0.0.1:3000".to_owned() };
        assert_eq!(holder.url(), "http://127.0.0.1:3000");
        assert_eq!(look(path).unwrap(), Lock::Held(Some(holder)));
        fs::remove_file(path.join(LOCK_FILE)).unwrap();
        assert_eq!(look(path).unwrap(), Lock::Held(None), "without the file the lock holds too");
        drop(server);
        assert_eq!(look(path).unwrap(), Lock::Free, "what the file says does not count");
    }
}
