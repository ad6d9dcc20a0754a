//! A disk that fails on demand, a clock and a name that a test sets: the shim in C (`shim.c`), built here.

use super::{Builder, Ended, Home, eventually};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shim, and the files that steer it.
pub(crate) struct Disk {
    shim: PathBuf,
    trigger: PathBuf,
    hits: PathBuf,
    clock: PathBuf,
    names: PathBuf,
}

impl Disk {
    pub(crate) fn new(folder: &Path) -> Self {
        let shim = folder.join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/shim.c");
        let mut cc = Command::new("cc");
        let built =
            cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&shim).arg(source).arg("-ldl");
        let built = built.output().expect("a C compiler (cc) is needed: apt-get install gcc libc6-dev");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let [trigger, hits, clock, names] =
            ["trigger", "hits", "clock", "names"].map(|name| folder.join(name));
        Self { shim, trigger, hits, clock, names }
    }

    pub(crate) fn under(&self, builder: Builder) -> Builder {
        self.variables().into_iter().fold(builder, |builder, (name, value)| builder.env(name, value))
    }

    /// Runs a command on the data folder of `home`, on this disk.
    pub(crate) fn run(&self, home: &Home, args: &[&str]) -> Ended {
        home.run_with(&self.variables(), args)
    }

    fn variables(&self) -> [(&'static str, &str); 5] {
        fn text(path: &Path) -> &str {
            path.to_str().unwrap()
        }
        [
            ("LD_PRELOAD", text(&self.shim)),
            ("SHIM_TRIGGER", text(&self.trigger)),
            ("SHIM_HITS", text(&self.hits)),
            ("SHIM_CLOCK", text(&self.clock)),
            ("SHIM_NAMES", text(&self.names)),
        ]
    }

    /// Sets the machine's clock so many seconds ahead of what it is.
    pub(crate) fn set_clock(&self, seconds: u32) {
        put(&self.clock, &seconds.to_string());
    }

    /// From now on a name stands for this address: `NAME ADDRESS`.
    pub(crate) fn name(&self, line: &str) {
        put(&self.names, line);
    }

    /// From now on the disk fails like this.
    pub(crate) fn fail(&self, how: &str) {
        drop(std::fs::remove_file(&self.hits));
        put(&self.trigger, how);
    }

    /// From now on it is well.
    pub(crate) fn heal(&self) {
        std::fs::remove_file(&self.trigger).unwrap();
    }

    /// How often it has failed like that.
    pub(crate) fn failures(&self) -> u64 {
        std::fs::metadata(&self.hits).map_or(0, |hits| hits.len())
    }

    /// Waits until it has failed so often.
    pub(crate) async fn failed(&self, times: u64) {
        eventually("a failing disk", async || {
            std::fs::metadata(&self.hits).is_ok_and(|hits| hits.len() >= times).then_some(())
        })
        .await;
    }
}

/// Puts a file in place whole, for it is read at any moment.
fn put(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(&draft, file).unwrap();
}
