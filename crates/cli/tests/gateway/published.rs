//! The servers that others published, where `cargo xtask published` puts them.

use std::path::{Path, PathBuf};

use super::Result;

/// A program with its first arguments.
pub(crate) struct Published {
    command: PathBuf,
    args: Vec<PathBuf>,
}

/// A server from npm, by the last part of its name: `filesystem` of `server-filesystem`.
pub(crate) fn npm(name: &str) -> Result<Published> {
    let script = modules().join(format!("@modelcontextprotocol/server-{name}/dist/index.js"));
    Ok(Published {
        command: found(modules().join(format!("node-linux-{}/bin/node", architecture()?)))?,
        args: vec![found(script)?],
    })
}

/// A server from PyPI, by the last part of its name: `git` of `mcp-server-git`.
pub(crate) fn pypi(name: &str) -> Result<Published> {
    let program = kept().join(format!("python/environment/bin/mcp-server-{name}"));
    Ok(Published {
        command: found(program)?,
        args: Vec::new(),
    })
}

/// What is installed from npm, to be mounted into containers.
pub(crate) fn modules() -> PathBuf {
    kept().join("npm/node_modules")
}

impl Published {
    /// Its declaration in `servers.toml`, with more arguments.
    pub(crate) fn declared(&self, name: &str, more: &[&str]) -> String {
        let args = self.args.iter().map(|arg| arg.display().to_string());
        let args: Vec<_> = args.chain(more.iter().map(|&arg| arg.to_owned())).collect();
        format!(
            "[servers.{name}]\ncommand = {:?}\nargs = {args:?}\n",
            self.command
        )
    }
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("xtask")
}

fn found(path: PathBuf) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is not there: run `cargo xtask published`", path.display()).into())
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("no Node is installed for {other}").into()),
    }
}
