//! Schemathesis in a virtual environment of its own, under the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::shell::{installed, run as sh};
use crate::workspace;

const REQUIREMENTS: &str = "xtask/schemathesis/requirements.txt";
const NO_PYTHON: &str =
    "python3 is missing (schemathesis is written in it): apt-get install python3 python3-venv";
const NO_VENV: &str = "python3 cannot make a virtual environment: apt-get install python3-venv";
const NO_INDEX: &str = "schemathesis cannot be installed: is a package index in reach? Say PIP_INDEX_URL for one of your \
                        own; once it is installed, no network is needed";

/// The program `schemathesis`, installed when it is not there yet. Whenever the pinned versions change, so does the
/// folder.
pub(super) fn program() -> Result<PathBuf> {
    let requirements = workspace::root().join(REQUIREMENTS);
    let pinned = fs::read(&requirements).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let digest = Sha256::digest(&pinned);
    let folder = format!("venv-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    let folder = workspace::target_dir().join("schemathesis").join(folder);
    let program = folder.join("bin/schemathesis");
    // The mark is set last: an installation that was cut short is done again.
    let mark = folder.join("installed");
    if !(mark.is_file() && program.is_file()) {
        install(&folder, &requirements)?;
        fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))?;
    }
    Ok(program)
}

fn install(folder: &Path, requirements: &Path) -> Result<()> {
    if !installed("python3") {
        bail!(NO_PYTHON);
    }
    println!("installing schemathesis into {}", folder.display());
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
        let text = fs::read_to_string(workspace::root().join(REQUIREMENTS)).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines.iter().any(|line| line.starts_with("schemathesis==")));
        assert!(lines.iter().all(|line| line.matches("==").count() == 1), "{lines:?}");
    }
}
