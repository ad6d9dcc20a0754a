//! Where the servers keep their data.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Names another folder than the usual one.
const VARIABLE: &str = "WELLORDER_SERVICES_DIR";
/// How much of a log is shown.
const TAIL: usize = 2_000;

/// The folder of one server.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it when it is not there yet.
    pub(super) fn of(name: &str) -> Result<Self> {
        Self::at(&base()?.join(name))
    }

    /// The one that lies at `path`.
    pub(super) fn at(path: &Path) -> Result<Self> {
        make(path, 0o755)?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The log, opened for more.
    pub(super) fn open_log(&self) -> Result<File> {
        let log = self.log();
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))
    }

    /// A folder in it that belongs to the user of the system `owner`, when we are root and may give it away.
    pub(super) fn owned(&self, name: &str, owner: &str) -> Result<PathBuf> {
        let folder = self.0.join(name);
        make(&folder, 0o700)?;
        if root() {
            crate::shell::run(std::process::Command::new("chown").arg(owner).arg(&folder))?;
        }
        Ok(folder)
    }
}

/// Whether we are root, whom PostgreSQL and RabbitMQ do not run as.
pub(super) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Below the folder for temporary files that outlive a boot, not below the target folder: other users than root must
/// reach it, and a socket's path must be short.
fn base() -> Result<PathBuf> {
    let base = match std::env::var_os(VARIABLE) {
        Some(named) => PathBuf::from(named),
        None => PathBuf::from(format!("/var/tmp/wellorder-services-{}", rustix::process::geteuid().as_raw())),
    };
    make(&base, 0o755)?;
    let meta = fs::symlink_metadata(&base).with_context(|| format!("cannot look at {}", base.display()))?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} is not a folder of ours: remove it, or name another one with {VARIABLE}", base.display());
    }
    Ok(base)
}

fn make(folder: &Path, mode: u32) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Held while servers are started or stopped: two runs take turns.
pub(super) fn turn() -> Result<File> {
    let path = base()?.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The end of a log, for people.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned()
}
