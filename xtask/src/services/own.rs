//! A PostgreSQL for one purpose, apart from the one that tests share: it ends with its owner, and so does its data.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::folder::{self, Folder};
use super::{READY, STEP, postgres, process};

/// See the module.
pub(crate) struct OwnPostgres {
    folder: Folder,
    programs: PathBuf,
    port: u16,
    pid: u32,
}

impl OwnPostgres {
    /// Starts one on an empty folder; the settings are `name=value`. What an earlier run of the same name left behind is
    /// stopped and removed first.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &str, port: u16, settings: &[&str]) -> Result<Self> {
        let _turn = folder::turn()?;
        let old = Folder::of(name)?;
        if let Some(pid) = process::of(&old)? {
            process::stop(pid, "INT")?;
        }
        fs::remove_dir_all(old.path()).with_context(|| format!("cannot remove {}", old.path().display()))?;
        let folder = Folder::of(name)?;
        let programs = postgres::installed_programs()?;
        if postgres::ready(port) {
            bail!("something else answers at port {port}; stop it");
        }
        let pid = postgres::start_with(&folder, port, settings)?;
        process::keep(&folder, pid)?;
        let own = Self { folder, programs, port, pid };
        if !crate::shell::wait_until(READY, STEP, || postgres::ready(port)) {
            bail!("it does not answer; the end of its log:\n{}", folder::tail(&own.folder.log()));
        }
        Ok(own)
    }

    /// Where one of its databases is.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// One of the programs that come with it, such as `psql`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The id of the process that all others of it come from.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let stopped = process::stop(self.pid, "INT")
            .and_then(|()| fs::remove_dir_all(self.folder.path()).context("its data cannot be removed"));
        if let Err(error) = stopped {
            eprintln!("PostgreSQL of {}: {error:#}", self.folder.path().display());
        }
    }
}
