//! Programs written in Python, in virtual environments of their own under the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::shell::{installed, run as sh};
use crate::workspace;

const NO_PYTHON: &str = "python3 is missing: apt-get install python3 python3-venv";
const NO_VENV: &str = "python3 cannot make a virtual environment: apt-get install python3-venv";
const NO_INDEX: &str = "what is needed cannot be installed: is a package index in reach? Say PIP_INDEX_URL for one of your \
                        own; once it is installed, no network is needed";

/// The folder of programs of an environment with what `xtask/NAME/requirements.txt` pins, made when it is not there yet.
/// Whenever the pinned versions change, so does the folder.
pub(crate) fn programs(name: &str) -> Result<PathBuf> {
    let requirements = workspace::root().join("xtask").join(name).join("requirements.txt");
    let pinned =
        fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let digest = Sha256::digest(&pinned);
    let folder = format!("venv-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    let folder = workspace::target_dir().join(name).join(folder);
    // The mark is set last: an installation that was cut short is done again.
    let mark = folder.join("installed");
    if !mark.is_file() {
        install(name, &folder, &requirements)?;
        fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))?;
    }
    Ok(folder.join("bin"))
}

fn install(name: &str, folder: &Path, requirements: &Path) -> Result<()> {
    if !installed("python3") {
        bail!(NO_PYTHON);
    }
    println!("installing what `cargo xtask {name}` needs into {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    sh(Command::new("python3").args(["-m", "venv"]).arg(folder)).context(NO_VENV)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    sh(pip.arg(requirements)).context(NO_INDEX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned() {
        for (name, needed) in [
            ("schemathesis", "schemathesis=="),
            ("grpc", "grpcio=="),
            ("foreign", "pika=="),
            ("foreign", "standardwebhooks=="),
        ] {
            let path = workspace::root().join("xtask").join(name).join("requirements.txt");
            let text = fs::read_to_string(path).unwrap();
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.iter().any(|line| line.starts_with(needed)));
            assert!(lines.iter().all(|line| line.matches("==").count() == 1), "{lines:?}");
        }
    }
}
