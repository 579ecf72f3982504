//! Whether tests clean up: nothing of ours is on the engine, in the process table, in the temporary directory or in the
//! work tree that was not there before.
//!
//! Compared with before, because a developer may have sessions of his own and a work in progress.

use std::collections::BTreeSet;
use std::path::Path;

use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::reporter::Reporter;
use xtask::workspace;

use crate::engine::Engine;

/// How long what was ended last may take to be gone.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Programs that run for us inside containers, as the host sees them.
const PROGRAMS: [&str; 3] = ["session-init", "claude", "cofferdam"];

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

/// Sessions' containers and volumes; the toolbox and derived images are kept on purpose, for the next session.
fn listed(engine: &Engine, what: &str, args: &[&str]) -> Result<BTreeSet<String>> {
    let output = engine.docker().args(args).output()?;
    let ours = |name: &&str| name.starts_with("cofferdam-") && !name.starts_with("cofferdam-toolbox");
    Ok(output
        .stdout
        .lines()
        .filter(ours)
        .map(|name| format!("{what} {name}"))
        .collect())
}

fn processes() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(&entry.path())).collect()
}

/// A process of ours by name, or one that was built here; this task and its parents were there before.
fn process(dir: &Path) -> Option<String> {
    let pid: u32 = dir.file_name()?.to_str()?.parse().ok()?;
    let name = std::fs::read_to_string(dir.join("comm")).ok()?;
    let built_here = std::fs::read_link(dir.join("exe"))
        .is_ok_and(|exe| exe.starts_with(workspace::target().join("debug")));
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
