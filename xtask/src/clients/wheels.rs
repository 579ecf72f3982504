//! Programs that others published as Python packages: installed once, at the versions and with the content that are pinned in
//! `packages/`, into environments of their own. Nothing of them is built: what is no wheel is not installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use xtask::error::{Error, Result};
use xtask::process::Tool;
use xtask::reporter::{Reporter, Step};
use xtask::workspace;

use super::kept;
use crate::apt;

/// Packages that share an environment.
#[derive(Debug)]
pub(super) struct Wheels {
    title: &'static str,
    /// Where they are kept, among the tasks' own directories.
    place: &'static str,
    requirements: &'static str,
}

/// MCP servers.
pub(super) const SERVERS: Wheels = Wheels {
    title: "servers from PyPI",
    place: "python",
    requirements: include_str!("packages/requirements.txt"),
};

/// What tries to break HTTP interfaces by their own description.
pub(super) const SCHEMATHESIS: Wheels = Wheels {
    title: "schemathesis from PyPI",
    place: "schemathesis",
    requirements: include_str!("packages/schemathesis.txt"),
};

/// pip waits for an index that does not answer for longer than anybody wants to.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Pythons that may be there: the user's own, then the system's, which can have parts that the other lacks.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];
/// Whether one can make an environment, and is new enough for the packages.
const USABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
/// What brings one on Debian and its family.
const PACKAGE: &str = "python3-venv";

impl Wheels {
    /// Makes sure that they are there, and says where.
    pub(super) fn ensure(&self, reporter: &Reporter) -> Result<PathBuf> {
        let dir = workspace::state(self.place)?;
        let environment = dir.join("environment");
        let python = environment.join("bin/python");
        if !python.is_file() && usable().is_none() {
            install_python(reporter)?;
        }
        kept::ensure(
            &dir,
            self.title,
            &[self.requirements],
            || python.is_file(),
            |step| self.install(&dir, &environment, step),
            reporter,
        )?;
        Ok(environment)
    }

    fn install(&self, dir: &Path, environment: &Path, step: &mut Step) -> Result<()> {
        let requirements = dir.join("requirements.txt");
        kept::write(&requirements, self.requirements)?;
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
        "Python is needed for packages from PyPI. This will now install {PACKAGE} with apt-get."
    ));
    apt::install(&[PACKAGE], reporter)?;
    usable().map(drop).ok_or_else(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_exact_and_pinned_by_its_content() {
        for wheels in [SERVERS, SCHEMATHESIS] {
            let (hashes, packages): (Vec<_>, Vec<_>) = wheels
                .requirements
                .lines()
                .partition(|line| line.starts_with(' '));
            assert!(!packages.is_empty());
            for line in packages {
                assert!(line.contains("==") && line.ends_with('\\'), "{line}");
            }
            for line in hashes {
                assert!(line.trim().starts_with("--hash=sha256:"), "{line}");
            }
            assert!(!wheels.requirements.contains("://"), "it names an index");
        }
    }
}
