//! The walk: depth first, names in the order of their bytes, by handles only.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};

use super::ignored::Rules;
use super::{File, open};
use crate::limits::Limits;
use crate::report::{Bound, Skipped};
use crate::text;

/// Directories that hold no source of the project, whoever forgot to ignore them.
const NOT_SOURCE: [&str; 12] = [
    ".hg",
    ".jj",
    ".svn",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
    "bower_components",
    "node_modules",
    "venv",
];

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<File>,
    pub(super) directories: HashSet<String>,
    pub(super) passed_by: HashSet<String>,
    pub(super) has_git: bool,
    pub(super) skipped: Skipped,
    pub(super) reached: BTreeSet<Bound>,
}

struct Walk<'a> {
    limits: &'a Limits,
    begun: Instant,
    rules: Rules,
    steps: Vec<OsString>,
    seen: u64,
    found: Found,
}

/// Lists what is beneath `root`.
pub(super) fn walk(root: &OwnedFd, limits: &Limits, begun: Instant) -> Found {
    let mut walk = Walk {
        limits,
        begun,
        rules: Rules::default(),
        steps: Vec::new(),
        seen: 0,
        found: Found::default(),
    };
    walk.directory(root, "");
    let mut found = walk.found;
    found.files.sort_by(|one, other| one.path.cmp(&other.path));
    // Two names that are no UTF-8 can look the same; only one of them can be told of.
    found.files.dedup_by(|one, other| one.path == other.path);
    found
}

impl Walk<'_> {
    fn directory(&mut self, handle: &OwnedFd, path: &str) {
        let Some(names) = self.names(handle) else {
            self.found.skipped.unreadable += 1;
            return;
        };
        self.rules.push(handle, path);
        for name in names {
            if !self.goes_on() {
                break;
            }
            self.entry(handle, path, name);
        }
        self.rules.pop();
    }

    fn goes_on(&mut self) -> bool {
        if self.begun.elapsed() >= self.limits.time {
            self.found.reached.insert(Bound::Time);
            return false;
        }
        if self.seen >= self.limits.entries {
            self.found.reached.insert(Bound::Entries);
            return false;
        }
        true
    }

    /// The names in a directory, sorted; no more than there is room for.
    fn names(&mut self, handle: &OwnedFd) -> Option<Vec<OsString>> {
        let room = usize::try_from(self.limits.entries.saturating_sub(self.seen)).unwrap_or(usize::MAX);
        let mut names = Vec::new();
        for entry in Dir::read_from(handle).ok()? {
            let name = entry.ok()?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() >= room {
                self.found.reached.insert(Bound::Entries);
                break;
            }
            names.push(OsString::from_vec(name));
        }
        names.sort_unstable();
        Some(names)
    }

    fn entry(&mut self, parent: &OwnedFd, above: &str, name: OsString) {
        self.seen += 1;
        if above.is_empty() && name == OsStr::new(".git") {
            self.found.has_git = true;
            return;
        }
        let path = text::join(above, &text::path(&name.to_string_lossy()));
        let Ok(stat) = statat(parent, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) else {
            self.found.skipped.unreadable += 1;
            return;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.rules.exclude(&path, kind == FileType::Directory) {
            self.found.skipped.ignored += 1;
            self.found.passed_by.insert(path);
            return;
        }
        match kind {
            FileType::RegularFile => self.file(path, name, &stat),
            FileType::Directory => self.enter(parent, path, name),
            FileType::Symlink => {
                self.found.skipped.symlinks += 1;
                self.found.passed_by.insert(path);
            }
            _ => self.found.skipped.special += 1,
        }
    }

    fn file(&mut self, path: String, name: OsString, stat: &Stat) {
        let mut steps = self.steps.clone();
        steps.push(name);
        self.found.files.push(File {
            steps,
            path,
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            mode: stat.st_mode & 0o7777,
        });
    }

    fn enter(&mut self, parent: &OwnedFd, path: String, name: OsString) {
        // `.git` below the root belongs to a repository in the repository.
        let not_source =
            name.as_bytes() == b".git" || NOT_SOURCE.iter().any(|other| other.as_bytes() == name.as_bytes());
        if not_source {
            self.found.skipped.not_source += 1;
            self.found.passed_by.insert(path);
            return;
        }
        if self.steps.len() + 1 > self.limits.depth {
            self.found.reached.insert(Bound::Depth);
            self.found.passed_by.insert(path);
            return;
        }
        let Ok(handle) = open::directory(parent.as_fd(), &name) else {
            self.found.skipped.unreadable += 1;
            self.found.passed_by.insert(path);
            return;
        };
        self.steps.push(name);
        self.directory(&handle, &path);
        self.steps.pop();
        self.found.directories.insert(path);
    }
}
