//! MCP servers that others published as Python packages: installed once, at the versions and with the content that are pinned in
//! `packages/requirements.txt`, into an environment of their own. Nothing of them is built: what is no wheel is not installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use xtask::error::{Error, Result};
use xtask::process::Tool;
use xtask::reporter::{Reporter, Step};
use xtask::workspace;

use super::kept;
use crate::apt;

const REQUIREMENTS: &str = include_str!("packages/requirements.txt");
/// pip waits for an index that does not answer for longer than anybody wants to.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Pythons that may be there: the user's own, then the system's, which can have parts that the other lacks.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];
/// Whether one can make an environment, and is new enough for the packages.
const USABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
/// What brings one on Debian and its family.
const PACKAGE: &str = "python3-venv";

/// Makes sure that they are there.
pub(super) fn ensure(reporter: &Reporter) -> Result<PathBuf> {
    let dir = workspace::state("python")?;
    let environment = dir.join("environment");
    let python = environment.join("bin/python");
    if !python.is_file() && usable().is_none() {
        install_python(reporter)?;
    }
    kept::ensure(
        &dir,
        "servers from PyPI",
        &[REQUIREMENTS],
        || python.is_file(),
        |step| install(&dir, &environment, step),
        reporter,
    )?;
    Ok(environment)
}

fn install(dir: &Path, environment: &Path, step: &mut Step) -> Result<()> {
    let requirements = dir.join("requirements.txt");
    kept::write(&requirements, REQUIREMENTS)?;
    let python = usable().ok_or_else(|| Error::new("there is no usable Python"))?;
    let make = Tool::new(python).args(["-m", "venv", "--clear"]).arg(environment);
    make.limit(LIMIT).run(|line| step.update(line))?;
    let pip = Tool::new(environment.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
        .arg(&requirements)
        .limit(LIMIT);
    pip.run(|line| step.update(line)).map(drop).map_err(|error| {
        error.hint(format!(
            "pip has to reach its index once; after that the packages are kept in {}",
            dir.display()
        ))
    })
}

fn usable() -> Option<&'static str> {
    PYTHONS
        .into_iter()
        .find(|python| Tool::new(python).args(["-c", USABLE]).output().is_ok())
}

fn install_python(reporter: &Reporter) -> Result<()> {
    let lacking = || Error::new("there is no Python 3.10 or newer that can make a virtual environment");
    if !rustix::process::geteuid().is_root() || !apt::debian_like() {
        return Err(lacking().hint(format!(
            "install it (on Debian and Ubuntu: apt-get install {PACKAGE})"
        )));
    }
    reporter.notice(&format!(
        "Python is needed for servers from PyPI. This will now install {PACKAGE} with apt-get."
    ));
    apt::install(&[PACKAGE], reporter)?;
    usable().map(drop).ok_or_else(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_exact_and_pinned_by_its_content() {
        let mut requirements = REQUIREMENTS
            .lines()
            .filter(|line| !line.starts_with(' '))
            .peekable();
        assert!(requirements.peek().is_some());
        for line in requirements {
            assert!(line.contains("==") && line.ends_with('\\'), "{line}");
        }
        for line in REQUIREMENTS.lines().filter(|line| line.starts_with(' ')) {
            assert!(line.trim().starts_with("--hash=sha256:"), "{line}");
        }
        assert!(!REQUIREMENTS.contains("://"), "it names an index");
    }
}
