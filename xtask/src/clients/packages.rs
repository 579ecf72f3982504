//! What others published as npm packages, clients and servers: installed once, at the versions that are pinned here, with the
//! Node that runs them.
//!
//! `packages/package.json` names them and the Node; `packages/package-lock.json` pins all that they stand on by content.
//! Node comes as a package itself, because the clients need a newer one than many machines have. So npm is all that is needed
//! from outside, in any version: this machine's, or else the one in the session image. Nothing that is installed runs while
//! it is installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use xtask::error::{Context, Error, Result};
use xtask::process::{Tool, available};
use xtask::reporter::{Reporter, Step};
use xtask::workspace;

use super::kept;
use crate::engine::Engine;
use crate::image;

const MANIFEST: &str = include_str!("packages/package.json");
const LOCK: &str = include_str!("packages/package-lock.json");
/// npm waits for a registry that does not answer for longer than anybody wants to.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Where a Node of a machine's own finds the certificates that the machine trusts, unless it was told already.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The installed packages.
#[derive(Debug)]
pub(super) struct Packages {
    dir: PathBuf,
    modules: PathBuf,
    node: PathBuf,
}

impl Packages {
    /// Makes sure that they are there. The engine is asked for its npm only where this machine has none.
    pub(super) fn ensure(engine: Option<&Engine>, reporter: &Reporter) -> Result<Self> {
        let dir = workspace::state("npm")?;
        let packages = Self::in_dir(&dir)?;
        kept::ensure(
            &dir,
            "clients and servers from npm",
            &[MANIFEST, LOCK],
            || packages.node.is_file(),
            |step| {
                for (name, content) in [("package.json", MANIFEST), ("package-lock.json", LOCK)] {
                    kept::write(&dir.join(name), content)?;
                }
                install(&dir, engine, step)
            },
            reporter,
        )?;
        Ok(packages)
    }

    fn in_dir(dir: &Path) -> Result<Self> {
        let modules = dir.join("node_modules");
        let node = modules
            .join(format!("node-linux-{}", architecture()?))
            .join("bin/node");
        Ok(Self {
            dir: dir.to_owned(),
            modules,
            node,
        })
    }

    /// The Node that runs them.
    pub(super) fn node(&self) -> &Path {
        &self.node
    }

    /// A directory whose programs can import the packages; made when it is not there.
    pub(super) fn beside(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// A run of a program of the packages.
    pub(super) fn run(&self, script: &str) -> Tool {
        Tool::new(&self.node)
            .env("NO_COLOR", "1")
            .arg(self.modules.join(script))
    }
}

/// The pinned version of a package.
pub(super) fn version(name: &str) -> Result<String> {
    let manifest: Value =
        serde_json::from_str(MANIFEST).context(|| "cannot read packages/package.json".to_owned())?;
    let pinned = ["dependencies", "optionalDependencies"]
        .iter()
        .find_map(|kind| manifest[kind][name].as_str());
    let pinned = pinned.ok_or_else(|| Error::new(format!("packages/package.json does not pin {name}")))?;
    // An alias says `npm:package@version`.
    Ok(pinned.rsplit('@').next().unwrap_or(pinned).to_owned())
}

fn install(dir: &Path, engine: Option<&Engine>, step: &mut Step) -> Result<()> {
    let tool = npm(dir, engine, step)?
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        // A line for each package that it fetches.
        .args(["--loglevel", "http"])
        .dir(dir)
        .limit(LIMIT);
    let installed = tool.run(|line| step.update(line));
    installed.map(drop).map_err(|error| {
        error.hint(format!(
            "npm has to reach its registry once; after that the packages are kept in {}",
            dir.display()
        ))
    })
}

/// npm: this machine's, or the session image's, taken out of it to run here, where the network and the certificates are.
fn npm(dir: &Path, engine: Option<&Engine>, step: &mut Step) -> Result<Tool> {
    if available("npm") && available("node") {
        return Ok(Tool::new("npm"));
    }
    let Some(engine) = engine else {
        return Err(Error::new("npm is not installed on this machine")
            .hint("install npm (on Debian and Ubuntu: apt-get install npm), or leave out --in-memory: then the session image's is used"));
    };
    step.update("taking npm out of the session image");
    let tool = dir.join("tool");
    std::fs::create_dir_all(&tool).context(|| format!("cannot create {}", tool.display()))?;
    take_out(engine, &tool).map_err(|error| {
        error.hint("this machine has no npm, and the session image's could not be used; installing npm is the way around")
    })?;
    let tool = Tool::new(tool.join("node")).arg(tool.join("npm/bin/npm-cli.js"));
    let told = workspace::env("NODE_EXTRA_CA_CERTS").is_some() || !Path::new(CERTIFICATES).exists();
    Ok(if told {
        tool
    } else {
        tool.env("NODE_EXTRA_CA_CERTS", CERTIFICATES)
    })
}

fn take_out(engine: &Engine, to: &Path) -> Result<()> {
    let created = engine
        .docker()
        .args(["create", "--network", "none", image::SESSION])
        .output()?;
    let container = created.stdout.trim().to_owned();
    let copied = ["/usr/local/bin/node", "/usr/local/lib/node_modules/npm"]
        .iter()
        .try_for_each(|path| {
            let from = format!("{container}:{path}");
            engine.docker().args(["cp", &from]).arg(to).output().map(drop)
        });
    // Also when copying failed, which says more than this would.
    let removed = engine.docker().args(["rm", "--volumes", &container]).output();
    copied.and(removed.map(drop))
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x64"),
        "aarch64" => Ok("arm64"),
        other => Err(Error::new(format!("no Node is pinned for {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_exact_and_locked() {
        let manifest: Value = serde_json::from_str(MANIFEST).expect("it is JSON");
        let lock: Value = serde_json::from_str(LOCK).expect("it is JSON");
        for kind in ["dependencies", "optionalDependencies"] {
            for (name, _) in manifest[kind].as_object().expect("packages") {
                let version = version(name).expect("it is pinned");
                assert!(
                    version.starts_with(|c: char| c.is_ascii_digit()),
                    "{name} {version}"
                );
                assert_eq!(
                    lock["packages"][format!("node_modules/{name}")]["version"],
                    *version
                );
            }
        }
        for (name, package) in lock["packages"].as_object().expect("packages") {
            let whole = name.is_empty() || package["integrity"].is_string();
            assert!(whole, "{name} is not pinned by its content");
            assert!(package["resolved"].is_null(), "{name} names a registry");
        }
    }
}
