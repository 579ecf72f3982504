//! `.gitignore` files, as they apply on the way down. They are read as every other file is: bounded, and never through a
//! link; the matching itself is the `ignore` crate's.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::OwnedFd;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::open;

/// The longest file that is obeyed, in bytes, and the most lines of it.
const MAX_BYTES: u64 = 64 << 10;
const MAX_LINES: usize = 2_000;
const MAX_LINE_BYTES: usize = 1_000;

/// The rules of the directories from the root to where the walk is.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Option<Gitignore>>);

impl Rules {
    /// Enters a directory.
    pub(super) fn push(&mut self, directory: &OwnedFd, path: &str) {
        self.0.push(read(directory, path));
    }

    /// Leaves it again.
    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// Whether something is excluded. The deepest rule decides.
    pub(super) fn exclude(&self, path: &str, is_directory: bool) -> bool {
        for rules in self.0.iter().rev().flatten() {
            match rules.matched(path, is_directory) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

fn read(directory: &OwnedFd, path: &str) -> Option<Gitignore> {
    let file = open::regular(directory, &[OsString::from(".gitignore")]).ok()?;
    let mut content = Vec::new();
    std::fs::File::from(file)
        .take(MAX_BYTES)
        .read_to_end(&mut content)
        .ok()?;
    let mut builder = GitignoreBuilder::new(path);
    for line in String::from_utf8_lossy(&content).lines().take(MAX_LINES) {
        if line.len() <= MAX_LINE_BYTES {
            // A line that is no rule is none to git either.
            let _ = builder.add_line(None, line);
        }
    }
    builder.build().ok()
}
