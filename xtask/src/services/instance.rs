//! One server: the usual one of its kind on this machine, or one of somebody's own that may be killed.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::folder::{self, Folder};
use super::{CONNECT, READY, STEP, Service, kafka, postgres, process, rabbitmq, redis};
use crate::procfs;
use crate::shell::wait_until;

/// Where a server listens, on loopback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) clients: u16,
    /// For the server's own affairs, where it has any.
    pub(super) inner: u16,
    /// For who looks it up, where anybody does.
    pub(super) mapper: u16,
}

impl Ports {
    pub(super) const fn one(clients: u16) -> Self {
        Self { clients, inner: 0, mapper: 0 }
    }

    /// Ports that nobody uses right now.
    fn free() -> Result<Self> {
        // All are held until all are known: no two are the same.
        let held: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
        let port = |place: usize| held[place].local_addr().map(|address| address.port());
        Ok(Self { clients: port(0)?, inner: port(1)?, mapper: port(2)? })
    }
}

/// A server with a folder and ports of its own.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    service: Service,
    folder: Folder,
    ports: Ports,
    /// Of a PostgreSQL, as `name=value`.
    settings: &'static [&'static str],
}

impl Instance {
    /// The one that `cargo xtask services` is about. Its port is not the usual one, which another server may have.
    pub(super) fn usual(service: Service) -> Result<Self> {
        let ports = match service {
            Service::Postgres => postgres::PORTS,
            Service::Redis => redis::PORTS,
            Service::Rabbitmq => rabbitmq::PORTS,
            Service::Kafka => kafka::PORTS,
        };
        Ok(Self { service, folder: Folder::of(service.name())?, ports, settings: postgres::FOR_TESTS })
    }

    /// One that nobody else knows, below `folder`, which other users must be able to enter.
    pub(crate) fn own(service: Service, folder: &Path) -> Result<Self> {
        let folder = Folder::at(&folder.join(service.name()))?;
        Ok(Self { service, folder, ports: Ports::free()?, settings: postgres::FOR_TESTS })
    }

    /// A PostgreSQL for one purpose, on an empty folder `name` beside those of the usual ones. What an earlier one of this name
    /// left behind is stopped and removed.
    pub(super) fn postgres(name: &str, port: u16, settings: &'static [&'static str]) -> Result<Self> {
        let of = |folder| Self { service: Service::Postgres, folder, ports: Ports::one(port), settings };
        of(Folder::of(name)?).remove()?;
        Ok(of(Folder::of(name)?))
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    pub(super) fn port(&self) -> u16 {
        self.ports.clients
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.clients))
    }

    pub(crate) fn url(&self) -> String {
        let address = self.address();
        match self.service {
            Service::Postgres => format!("postgres://postgres@{address}/postgres"),
            Service::Redis => format!("redis://{address}"),
            Service::Rabbitmq => format!("amqp://guest:guest@{address}/%2f"),
            Service::Kafka => address.to_string(),
        }
    }

    /// Makes a database in it, which it must be a PostgreSQL for, and returns its URL.
    pub(crate) fn create_database(&self, name: &str) -> Result<String> {
        postgres::create(self.ports.clients, name)?;
        Ok(format!("postgres://postgres@{}/{name}", self.address()))
    }

    /// Starts it and returns the id of its process. It may need a moment more before it answers: [`Instance::wait`].
    pub(crate) fn start(&self) -> Result<u32> {
        let (folder, ports) = (&self.folder, self.ports);
        let started = match self.service {
            Service::Postgres => postgres::start(folder, ports, self.settings),
            Service::Redis => redis::start(folder, ports),
            Service::Rabbitmq => rabbitmq::start(folder, ports),
            // What was fetched is everybody's.
            Service::Kafka => kafka::start(folder, &Folder::of(self.service.name())?, ports),
        };
        let pid = started.with_context(|| format!("{} cannot be started", self.service.name()))?;
        process::keep(folder, pid)?;
        Ok(pid)
    }

    /// Its process, when it is one that we started.
    pub(crate) fn runs(&self) -> Result<Option<u32>> {
        process::of(&self.folder)
    }

    pub(super) fn answers(&self) -> bool {
        TcpStream::connect_timeout(&self.address(), CONNECT).is_ok()
    }

    /// Waits until it does its work: PostgreSQL takes connections some time before it does.
    pub(crate) fn wait(&self) -> Result<()> {
        let ready =
            || self.answers() && (self.service != Service::Postgres || postgres::ready(self.ports.clients));
        let mut lives = true;
        let answers = wait_until(READY, STEP, || {
            lives = self.runs().is_ok_and(|pid| pid.is_some_and(|pid| !procfs::ended(pid)));
            !lives || ready()
        });
        if !answers || !lives {
            let log = self.folder.log();
            let why = if lives { "does not answer" } else { "ended at once" };
            let (name, tail) = (self.service.name(), folder::tail(&log));
            bail!("{name} {why}; the end of {}:\n{tail}", log.display());
        }
        Ok(())
    }

    /// Ends it with its data whole; whether it ran.
    pub(super) fn stop(&self) -> Result<bool> {
        let running = self.runs()?;
        if let Some(pid) = running {
            process::stop(pid, self.service.stop_signal())?;
        }
        process::forget(&self.folder)?;
        self.stop_beside()?;
        Ok(running.is_some())
    }

    /// Ends it, and removes its data.
    pub(super) fn remove(&self) -> Result<()> {
        self.stop()?;
        let folder = self.folder.path();
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// Ends what a server leaves behind, whichever way it went.
    pub(crate) fn stop_beside(&self) -> Result<()> {
        match self.service {
            Service::Rabbitmq => rabbitmq::stop_epmd(&self.folder, self.ports),
            Service::Postgres | Service::Redis | Service::Kafka => Ok(()),
        }
    }

    /// SIGKILL of the server and of the processes that it has started, as when the machine's memory runs out; waits until
    /// they are gone.
    pub(crate) fn kill(&self) -> Result<()> {
        let Some(pid) = self.runs()? else { bail!("{} does not run", self.service.name()) };
        let began = |pid: u32| Some((pid, procfs::began(pid)?));
        let all: Vec<(u32, u64)> = [pid].into_iter().chain(procfs::children(pid)).filter_map(began).collect();
        for (pid, _) in &all {
            // One that has ended meanwhile is as good.
            let pid = Pid::from_raw(pid.cast_signed());
            pid.map(|pid| kill_process(pid, Signal::KILL).ok());
        }
        let gone =
            || all.iter().all(|(pid, began)| procfs::began(*pid) != Some(*began) || procfs::ended(*pid));
        // A process counts as ended while other threads of it still hold its listener.
        if !wait_until(READY, STEP, || gone() && !self.answers()) {
            bail!("{} does not end after SIGKILL", self.service.name());
        }
        Ok(())
    }

    /// SIGQUIT of the server and waits for its end: to PostgreSQL that is `pg_ctl stop -m immediate`.
    pub(crate) fn quit(&self) -> Result<()> {
        let Some(pid) = self.runs()? else { bail!("{} does not run", self.service.name()) };
        process::stop(pid, "QUIT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_ones_own_is_killed_and_started_again_and_others_are_left_alone() {
        let folder = std::env::temp_dir().join(format!("wellorder-xtask-own-{}", std::process::id()));
        let (one, other) = (
            Instance::own(Service::Redis, &folder.join("one")).unwrap(),
            Instance::own(Service::Redis, &folder.join("other")).unwrap(),
        );
        for server in [&one, &other] {
            server.start().unwrap();
            server.wait().unwrap();
        }
        let before = one.runs().unwrap();
        one.kill().unwrap();
        assert!(!one.answers() && other.answers());
        one.start().unwrap();
        one.wait().unwrap();
        assert_ne!(one.runs().unwrap(), before);
        assert!(one.stop().unwrap() && other.stop().unwrap());
        assert!(!one.stop().unwrap(), "it does not run any more");
        fs::remove_dir_all(folder).unwrap();
    }
}
