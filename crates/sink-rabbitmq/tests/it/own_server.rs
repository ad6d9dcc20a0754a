//! A server of a test's own, that it may stop.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts the program that does not change its user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

pub(crate) struct OwnServer {
    folder: tempfile::TempDir,
    ports: [u16; 3],
    child: Option<Child>,
}

/// Ports that are free now.
fn ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

impl OwnServer {
    /// One that runs.
    pub(crate) async fn start() -> Self {
        assert!(Path::new(PROGRAM).is_file(), "no RabbitMQ: cargo xtask services up rabbitmq installs it");
        let folder = tempfile::Builder::new().prefix("wellorder-rabbitmq-").tempdir().unwrap();
        let mut server = Self { folder, ports: ports(), child: None };
        if is_root() {
            server.run(Command::new("chown").arg("rabbitmq:rabbitmq").arg(server.folder.path()));
        }
        server.again().await;
        server
    }

    fn run(&self, command: &mut Command) {
        assert!(
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success(),
            "{command:?}"
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports[0])
    }

    /// Starts it, with what it kept.
    pub(crate) async fn again(&mut self) {
        let [port, distribution, epmd] = self.ports;
        let configuration = format!("listeners.tcp.1 = 127.0.0.1:{port}\n");
        std::fs::write(self.path("rabbitmq.conf"), configuration).unwrap();
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "rabbitmq", "--", PROGRAM]);
            command
        } else {
            Command::new(PROGRAM)
        };
        let log = std::fs::File::create(self.path("log")).unwrap();
        command
            .env("HOME", self.folder.path())
            .env("RABBITMQ_NODENAME", format!("own{port}@localhost"))
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("logs"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("plugins"))
            .env("RABBITMQ_PID_FILE", self.path("pid"))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", epmd.to_string())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        let began = Instant::now();
        while lapin::Connection::connect(&self.url(), Default::default()).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(120), "{}", self.log());
            tokio::task::yield_now().await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Stops it; what is durable stays.
    pub(crate) fn stop(&mut self) {
        let pid = std::fs::read_to_string(self.path("pid")).unwrap_or_default();
        if let (Some(mut child), Ok(pid)) = (self.child.take(), pid.trim().parse::<u32>()) {
            drop(Command::new("kill").arg(pid.to_string()).status());
            drop(child.wait());
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.stop();
        // Erlang's port mapper outlives the server that started it.
        let mut epmd = Command::new("epmd");
        drop(epmd.args(["-port", &self.ports[2].to_string(), "-kill"]).stdout(Stdio::null()).status());
    }
}
