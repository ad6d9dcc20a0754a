//! Servers of a test's own: each ends with its test, whichever way that ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Kills a program, and what is behind the id in a file that it writes, when nobody holds the other end of its input any more.
const KEEPER: &str = r#"
log=$1 pid_file=$2
shift 2
"$@" </dev/null >"$log" 2>&1 &
echo started
read -r _ || true
[ -s "$pid_file" ] && kill -9 "$(cat "$pid_file")" 2>/dev/null
kill -9 $! 2>/dev/null
wait
"#;

/// A program that runs, and is killed with this.
pub(crate) struct Kept {
    keeper: Child,
    log: PathBuf,
}

impl Kept {
    /// Starts `program`; what it prints goes into the file `log` of `folder`. It may write the id of a process that is to be
    /// killed too into the file `pid` there.
    pub(crate) fn start(program: &Command, folder: &Path) -> Self {
        let log = folder.join("log");
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "keeper"]).args([&log, &folder.join("pid")]);
        keeper.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            keeper.env(name, value.unwrap());
        }
        keeper.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        Self { keeper, log }
    }

    /// What it printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

/// Ports that nobody uses right now.
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    // All are held until all are known: no two are the same.
    let held = [0; N].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
