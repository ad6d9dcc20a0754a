//! A PostgreSQL server of a test's own, which can be stopped.

use crate::harness::Certified;
use std::fs::{OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Stops the server when nobody holds the other end of its input any more.
const KEEPER: &str = r#"
set -e
"$1/initdb" -D "$2/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$2/initdb.log" 2>&1
cat >>"$2/data/postgresql.conf" <<CONF
port = $3
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 64MB
max_connections = 200
CONF
echo ready
read -r _ || true
"$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null 2>&1 || true
rm -rf "$2"
"#;

/// Who may come once it speaks TLS: its owner without, from this machine, and everybody else over it, with a password.
const ACCESS: &str =
    "hostnossl all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A server of a test's own. It ends with this.
pub(crate) struct OwnServer {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    keeper: Child,
}

impl OwnServer {
    /// One that runs.
    pub(crate) fn start() -> Self {
        let programs = testkit::postgres::programs();
        let folder = tempfile::Builder::new().prefix("wellorder-pg-").tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // A server refuses to run as root.
        let user = (std::fs::metadata(&folder).unwrap().uid() == 0).then(other_user);
        if let Some((user, group)) = user {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&programs).arg(&folder).arg(port.to_string());
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir(&folder);
        let mut keeper = as_user(&mut keeper, user).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no server was made: see the logs in {}", folder.display());
        let server = Self { programs, folder, port, user, keeper };
        server.resume();
        server
    }

    /// The URL of its first database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it as a crash does.
    pub(crate) fn stop(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts it again.
    pub(crate) fn resume(&self) {
        let log = self.folder.join("server.log").display().to_string();
        self.control(&["-w", "-t", "60", "-l", &log, "start"]);
    }

    /// Speaks TLS with this certificate from now on, and asks for passwords.
    pub(crate) fn secured(&self, certified: &Certified) {
        let data = self.folder.join("data");
        let texts = [
            ("server.crt", &*certified.certificate),
            ("server.key", &certified.key),
            ("pg_hba.conf", ACCESS),
        ];
        for (name, text) in texts {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = self.user {
                chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        let mut settings = OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        settings.write_all(b"ssl = on\n").unwrap();
        self.stop();
        self.resume();
    }

    fn control(&self, args: &[&str]) {
        let mut control = Command::new(self.programs.join("pg_ctl"));
        control.arg("-D").arg(self.folder.join("data")).args(args).current_dir(&self.folder);
        control.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(as_user(&mut control, self.user).status().unwrap().success(), "pg_ctl {args:?}");
    }
}

#[test]
fn the_programs_of_the_newest_server_are_found_whatever_version_it_has() {
    let debian = tempfile::tempdir().unwrap();
    for version in ["9", "14", "18"] {
        let folder = debian.path().join(version).join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("initdb"), "").unwrap();
    }
    std::fs::create_dir_all(debian.path().join("19/bin")).unwrap();
    assert_eq!(testkit::postgres::newest(debian.path()), Some(debian.path().join("18/bin")));
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    match user {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}

/// The user that a server runs as when we are root.
fn other_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Some((fields.next()?, fields.next()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("a user other than root")
}
