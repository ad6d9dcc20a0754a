//! A disk that fails on demand: the shim in C (`shim.c`), built here.

use super::{Builder, Ended, Home, eventually};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shim, and the files that steer it.
pub(crate) struct Disk {
    shim: PathBuf,
    trigger: PathBuf,
    hits: PathBuf,
    clock: PathBuf,
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
        Self { shim, trigger: folder.join("trigger"), hits: folder.join("hits"), clock: folder.join("clock") }
    }

    pub(crate) fn under(&self, builder: Builder) -> Builder {
        self.variables().into_iter().fold(builder, |builder, (name, value)| builder.env(name, value))
    }

    /// Runs a command on the data folder of `home`, on this disk.
    pub(crate) fn run(&self, home: &Home, args: &[&str]) -> Ended {
        home.run_with(&self.variables(), args)
    }

    fn variables(&self) -> [(&'static str, &str); 4] {
        fn text(path: &Path) -> &str {
            path.to_str().unwrap()
        }
        [
            ("LD_PRELOAD", text(&self.shim)),
            ("SHIM_TRIGGER", text(&self.trigger)),
            ("SHIM_HITS", text(&self.hits)),
            ("SHIM_CLOCK", text(&self.clock)),
        ]
    }

    /// Sets the machine's clock so many seconds ahead of what it is.
    pub(crate) fn set_clock(&self, seconds: u32) {
        let draft = self.clock.with_extension("draft");
        std::fs::write(&draft, seconds.to_string()).unwrap();
        std::fs::rename(&draft, &self.clock).unwrap();
    }

    /// From now on the disk fails like this. Put in place whole, for it is read at any moment.
    pub(crate) fn fail(&self, how: &str) {
        let draft = self.trigger.with_extension("draft");
        std::fs::write(&draft, how).unwrap();
        drop(std::fs::remove_file(&self.hits));
        std::fs::rename(&draft, &self.trigger).unwrap();
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
