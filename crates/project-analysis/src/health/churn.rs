//! The history, as `git` tells it.
//!
//! The repository is the project's, so nothing it configures may run: hooks, the file system monitor, pagers, signature
//! programs, external and textual diffs, lazy fetches and every transport are off (I6), although a log of names would run but
//! two of them by itself, signatures and fetches. No configuration but the repository's own is read. What git says is read to
//! a bound, and git is ended when it takes too long.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::project::Project;
use crate::text;

/// The most commits that are looked at, the newest first.
const MAX_COMMITS: usize = 1_000;
/// As much of git's answer is read.
const MAX_BYTES: u64 = 8 << 20;
/// How long git may take.
const TIME: Duration = Duration::from_secs(15);
/// The most hot files that are told.
const HOT: usize = 20;

/// The history, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Churn {
    /// Whether there is a history.
    pub available: bool,
    /// Why there is none.
    pub reason: Option<String>,
    /// What it tells.
    pub history: Option<History>,
}

/// What the newest commits tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct History {
    /// Commits that were looked at, at most 1,000.
    pub commits: u64,
    /// Whether there are more, or git was ended before it had said all.
    pub truncated: bool,
    /// How many people wrote them, by their addresses.
    pub authors: u64,
    /// The time of the oldest, in seconds since 1970.
    pub first_commit: Option<i64>,
    /// The time of the newest, in seconds since 1970.
    pub last_commit: Option<i64>,
    /// Commits in the 90 days before the newest.
    pub commits_in_last_90_days: u64,
    /// The files that were changed most often, at most 20.
    pub hot_files: Vec<HotFile>,
}

/// A file that changes often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HotFile {
    /// The path.
    pub path: String,
    /// How many commits changed it.
    pub commits: u64,
}

fn without(reason: &str) -> Churn {
    Churn {
        available: false,
        reason: Some(reason.to_owned()),
        history: None,
    }
}

pub(super) fn of(project: &Project, root: &Path) -> Churn {
    if !project.has_git {
        return without("this is no git repository");
    }
    if !project.has_time() {
        return without("no time was left");
    }
    let mut child = match git(root).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return without("git is not installed here");
        }
        Err(_) => return without("git could not be started"),
    };
    let (said, whole) = listen(&mut child);
    let ended_well = child.wait().is_ok_and(|status| status.success());
    if said.is_empty() {
        return without(if ended_well {
            "the repository has no commit"
        } else {
            "git could not read the repository"
        });
    }
    let mut history = read(&said);
    history.truncated |= !whole || !ended_well;
    Churn {
        available: true,
        reason: None,
        history: Some(history),
    }
}

fn git(root: &Path) -> Command {
    let mut git = Command::new("git");
    git.env_clear()
        .envs([
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            // No transport at all: what a partial clone lacks is not fetched.
            ("GIT_ALLOW_PROTOCOL", ""),
        ])
        .args([
            "-c",
            "safe.directory=*",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.pager=cat",
            "-c",
            "gpg.program=/bin/false",
            "-c",
            "diff.external=",
            "-c",
            "core.commitGraph=false",
            "--no-pager",
            "log",
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
            "--no-show-signature",
            "--no-color",
            "--no-decorate",
            "--no-mailmap",
            "--ignore-submodules=all",
            "-z",
            "--name-only",
            "--format=%x01%ct%x02%ae",
        ])
        .arg(format!("--max-count={}", MAX_COMMITS + 1))
        .args(["HEAD", "--"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    git
}

/// What git says, up to the bounds, and whether that is all. Afterwards it has ended or is killed.
fn listen(child: &mut Child) -> (Vec<u8>, bool) {
    let Some(stdout) = child.stdout.take() else {
        let _ = child.kill();
        return (Vec::new(), false);
    };
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = stdout.take(MAX_BYTES + 1).read_to_end(&mut said);
        // Nobody listens any more when the time is up.
        let _ = sender.send((said, read.is_ok()));
    });
    let begun = Instant::now();
    let answer = receiver.recv_timeout(TIME.saturating_sub(begun.elapsed()));
    // Whatever it still wants to say is not read.
    let _ = child.kill();
    match answer {
        Ok((mut said, whole)) => {
            let _ = reader.join();
            let cut = said.len() as u64 > MAX_BYTES;
            said.truncate(usize::try_from(MAX_BYTES).unwrap_or(usize::MAX));
            (said, whole && !cut)
        }
        Err(_) => (Vec::new(), false),
    }
}

fn read(said: &[u8]) -> History {
    let mut authors = BTreeSet::new();
    let mut times: Vec<i64> = Vec::new();
    let mut changes: BTreeMap<String, u64> = BTreeMap::new();
    let mut commits = 0;
    for commit in said.split(|byte| *byte == 1).skip(1).take(MAX_COMMITS) {
        commits += 1;
        let mut fields = commit.split(|byte| matches!(*byte, 0 | b'\n'));
        let head = fields.next().unwrap_or_default();
        let mut head = head.splitn(2, |byte| *byte == 2);
        times.extend(
            head.next()
                .and_then(|time| std::str::from_utf8(time).ok()?.trim().parse::<i64>().ok()),
        );
        authors.insert(head.next().unwrap_or_default().to_ascii_lowercase());
        for path in fields.filter(|path| !path.is_empty()) {
            *changes
                .entry(text::path(&String::from_utf8_lossy(path)))
                .or_default() += 1;
        }
    }
    let last = times.iter().copied().max();
    let recent = last.map_or(0, |last| {
        times
            .iter()
            .filter(|time| last.saturating_sub(**time) <= 90 * 86_400)
            .count()
    });
    let mut hot: Vec<(String, u64)> = changes.into_iter().filter(|(_, commits)| *commits > 1).collect();
    hot.sort_by_key(|(_, commits)| std::cmp::Reverse(*commits));
    History {
        commits,
        truncated: said.iter().filter(|byte| **byte == 1).count() > MAX_COMMITS,
        authors: authors.len() as u64,
        first_commit: times.iter().copied().min(),
        last_commit: last,
        commits_in_last_90_days: recent as u64,
        hot_files: hot
            .into_iter()
            .take(HOT)
            .map(|(path, commits)| HotFile { path, commits })
            .collect(),
    }
}
