//! Where the programs of a PostgreSQL server are, for tests that start one of their own.

use std::path::{Path, PathBuf};

/// Where Debian has them, by version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Where others do.
const ELSEWHERE: [&str; 2] = ["/usr/local/pgsql/bin", "/usr/local/bin"];

/// The folder with the programs of the newest server of this machine.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn programs() -> PathBuf {
    let elsewhere = || ELSEWHERE.iter().map(PathBuf::from).find(|folder| folder.join("initdb").exists());
    let found = newest(Path::new(DEBIAN)).or_else(elsewhere);
    found.unwrap_or_else(|| panic!("this needs the programs of a PostgreSQL server (Debian: postgresql)"))
}

/// That of the newest version in a folder that has one for each.
#[must_use]
pub fn newest(versions: &Path) -> Option<PathBuf> {
    let found = std::fs::read_dir(versions).into_iter().flatten().flatten();
    let found = found.filter_map(|found| {
        Some((found.file_name().to_str()?.parse::<u32>().ok()?, found.path().join("bin")))
    });
    found.filter(|(_, programs)| programs.join("initdb").exists()).max().map(|(_, programs)| programs)
}
