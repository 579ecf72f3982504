//! Whether tests clean up: nothing of ours is on the engine, in the process table, in the temporary directory or in the
//! work tree that was not there before.
//!
//! Compared with before, because a developer may have sessions of his own and a work in progress.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::reporter::Reporter;
use xtask::workspace;

use crate::engine::Engine;

/// How long what was ended last may take to be gone.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Programs that run for us inside containers, as the host sees them.
const PROGRAMS: [&str; 3] = ["session-init", "claude", "cofferdam"];

/// Where, below the target directory, what runs in tests was built.
const BUILT: [&str; 2] = ["debug", "release"];

/// What can be seen of us.
#[derive(Debug, Default)]
pub(super) struct Traces {
    found: BTreeSet<String>,
}

impl Traces {
    /// What is on this host, the engine apart.
    pub(super) fn of_host() -> Result<Self> {
        let mut found = processes();
        found.extend(temporary_files()?);
        found.extend(work_tree()?);
        found.extend(daemon_of_the_user());
        Ok(Self { found })
    }

    /// Adds what is on the engine.
    pub(super) fn look_at_engine(&mut self, engine: &Engine) -> Result<()> {
        self.found.extend(listed(
            engine,
            "container",
            &["ps", "--all", "--format", "{{.Names}}"],
        )?);
        self.found.extend(listed(
            engine,
            "volume",
            &["volume", "ls", "--format", "{{.Name}}"],
        )?);
        self.found.extend(listed(
            engine,
            "network",
            &["network", "ls", "--format", "{{.Name}}"],
        )?);
        Ok(())
    }
}

/// Fails when something is there that was not there before.
pub(super) fn check(reporter: &Reporter, before: &Traces, engine: Option<&Engine>) -> Result<()> {
    let step = reporter.step("nothing is left behind");
    let started = std::time::Instant::now();
    loop {
        let mut now = Traces::of_host()?;
        if let Some(engine) = engine {
            now.look_at_engine(engine)?;
        }
        let left: Vec<_> = now.found.difference(&before.found).cloned().collect();
        if left.is_empty() {
            step.done("");
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(Error::new(format!("{} things are left behind", left.len()))
                .output(left.join("\n"))
                .hint("a test does not clean up after itself; remove them by hand and find it"));
        }
        std::thread::sleep(PATIENCE / 20);
    }
}

/// The socket of a daemon on this user's own state directory: tests have directories of their own, and a daemon that one of
/// them started elsewhere by mistake would go on for minutes.
fn daemon_of_the_user() -> Option<String> {
    let state = workspace::env("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(workspace::env("HOME")?).join(".local/state")))?;
    let socket = state.join("cofferdam/cofferdam.sock");
    socket.exists().then(|| format!("socket {}", socket.display()))
}

/// Sessions' containers and volumes, and what compose made; the toolbox and derived images are kept on purpose, for the next session.
fn listed(engine: &Engine, what: &str, args: &[&str]) -> Result<BTreeSet<String>> {
    let output = engine.docker().args(args).output()?;
    Ok(output
        .stdout
        .lines()
        .filter(|name| is_ours(name))
        .map(|name| format!("{what} {name}"))
        .collect())
}

/// One kind of compose puts a dash behind a project's name, the other an underscore.
fn is_ours(name: &str) -> bool {
    (name.starts_with("cofferdam-") || name.starts_with("cofferdam_"))
        && !name.starts_with("cofferdam-toolbox")
}

fn processes() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(&entry.path())).collect()
}

/// A process of ours by name, or one that was built here; this task and its parents were there before.
fn process(dir: &Path) -> Option<String> {
    let pid: u32 = dir.file_name()?.to_str()?.parse().ok()?;
    let name = std::fs::read_to_string(dir.join("comm")).ok()?;
    let built_here = std::fs::read_link(dir.join("exe")).is_ok_and(|exe| {
        BUILT
            .iter()
            .any(|dir| exe.starts_with(workspace::target().join(dir)))
    });
    let ours = built_here || PROGRAMS.contains(&name.trim());
    (ours && pid != std::process::id()).then(|| format!("process {pid} ({})", name.trim()))
}

fn temporary_files() -> Result<BTreeSet<String>> {
    let dir = std::env::temp_dir();
    let entries = std::fs::read_dir(&dir).context(|| format!("cannot read {}", dir.display()))?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names
        .filter(|name| name.starts_with("cofferdam-"))
        .map(|name| format!("{}", dir.join(name).display()))
        .collect())
}

fn work_tree() -> Result<BTreeSet<String>> {
    let output = Tool::new("git")
        .args(["status", "--porcelain"])
        .dir(workspace::root())
        .output()?;
    Ok(output
        .stdout
        .lines()
        .map(|line| format!("work tree: {}", line.trim()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_sessions_and_what_compose_made_but_not_what_is_kept() {
        for name in ["cofferdam-0198", "cofferdam_server_1", "cofferdam-test-7_default"] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["cofferdam-toolbox-1", "bridge", "my-cofferdam"] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
