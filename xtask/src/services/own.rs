//! A PostgreSQL for one purpose, apart from the one that tests share: it ends with its owner, and so does its data.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Instance, folder, postgres};

/// See the module.
pub(crate) struct OwnPostgres {
    server: Instance,
    programs: PathBuf,
    pid: u32,
}

impl OwnPostgres {
    /// Starts one on an empty folder; the settings are `name=value`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &str, port: u16, settings: &'static [&'static str]) -> Result<Self> {
        let _turn = folder::turn()?;
        let server = Instance::postgres(name, port, settings)?;
        let programs = postgres::installed_programs()?;
        if server.answers() {
            bail!("something else answers at port {port}; stop it");
        }
        let own = Self { pid: server.start()?, server, programs };
        own.server.wait()?;
        Ok(own)
    }

    /// Where one of its databases is.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.server.address())
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
        if let Err(error) = self.server.remove() {
            eprintln!("PostgreSQL of the bench: {error:#}");
        }
    }
}
