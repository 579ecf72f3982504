//! A project: its files, in a fixed order, and the only way to read them.

mod ignored;
mod open;
mod walk;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use crate::error::Error;
use crate::limits::Limits;
use crate::report::{Bound, Coverage, Skipped};
use crate::text;

/// What is read at once.
const PIECE: usize = 64 << 10;

/// A regular file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// The way from the root, step by step.
    steps: Vec<OsString>,
    /// The same with `/`, lossily decoded: for people and documents.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Its permission bits.
    pub(crate) mode: u32,
}

impl File {
    pub(crate) fn name(&self) -> &str {
        text::file_name(&self.path)
    }

    pub(crate) fn directory(&self) -> &str {
        text::parent(&self.path)
    }

    pub(crate) fn extension(&self) -> Option<String> {
        text::extension(&self.path)
    }

    /// How deep it lies; 0 at the root.
    pub(crate) fn depth(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Project {
    root: OwnedFd,
    pub(crate) limits: Limits,
    begun: Instant,
    /// By path.
    pub(crate) files: Vec<File>,
    directories: HashSet<String>,
    paths: HashSet<String>,
    /// Symlinks and what `.gitignore` excludes: there, and not looked at.
    passed_by: HashSet<String>,
    /// Whether `.git` is there, as a directory or a file.
    pub(crate) has_git: bool,
    skipped: Skipped,
    spent: RefCell<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    bytes: u64,
    reached: BTreeSet<Bound>,
    unreadable: u64,
}

/// The content of a text file, decoded lossily.
pub(crate) struct Text(pub(crate) String);

impl Project {
    /// Opens a directory and lists what is in it.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub(crate) fn open(root: &Path, limits: &Limits) -> Result<Self, Error> {
        let root = open::root(root)?;
        let begun = Instant::now();
        let found = walk::walk(&root, limits, begun);
        Ok(Self {
            root,
            limits: limits.clone(),
            begun,
            paths: found.files.iter().map(|file| file.path.clone()).collect(),
            files: found.files,
            directories: found.directories,
            passed_by: found.passed_by,
            has_git: found.has_git,
            skipped: found.skipped,
            spent: RefCell::new(Spent {
                reached: found.reached,
                ..Spent::default()
            }),
        })
    }

    /// Whether there is time left; when not, that is noted.
    pub(crate) fn has_time(&self) -> bool {
        let left = self.begun.elapsed() < self.limits.time;
        if !left {
            self.note(Bound::Time);
        }
        left
    }

    fn note(&self, bound: Bound) {
        self.spent.borrow_mut().reached.insert(bound);
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        let at = self
            .files
            .binary_search_by(|file| file.path.as_str().cmp(path))
            .ok()?;
        self.files.get(at)
    }

    /// Whether something is there that a link can lead to.
    pub(crate) fn has(&self, path: &str) -> bool {
        path.is_empty()
            || self.paths.contains(path)
            || self.directories.contains(path)
            || self.passed_by.contains(path)
            // Below a directory that was not entered anything may be.
            || ancestors(path).any(|above| self.passed_by.contains(above))
    }

    /// The content of a file of at most `limit` bytes. `None` for a larger one, for what cannot be read, and when bytes or
    /// time are used up.
    pub(crate) fn read(&self, file: &File, limit: u64) -> Option<Vec<u8>> {
        if file.bytes > limit {
            self.note(Bound::FileSize);
            return None;
        }
        let mut content = Vec::new();
        self.pieces(file, limit, |piece| content.extend_from_slice(piece))?;
        Some(content)
    }

    /// The content of a text file; `None` also for a binary one.
    pub(crate) fn read_text(&self, file: &File, limit: u64) -> Option<Text> {
        let content = self.read(file, limit)?;
        let is_text = !text::is_binary(&content);
        is_text.then(|| Text(String::from_utf8_lossy(&content).into_owned()))
    }

    /// A manifest or lock.
    pub(crate) fn manifest(&self, file: &File) -> Option<Text> {
        self.read_text(file, self.limits.manifest_bytes)
    }

    /// Hands a file on piece by piece, at most `limit` bytes of it. `None` when it was not read to its end.
    pub(crate) fn pieces(&self, file: &File, limit: u64, mut take: impl FnMut(&[u8])) -> Option<()> {
        let Ok(opened) = open::regular(&self.root, &file.steps) else {
            self.spent.borrow_mut().unreadable += 1;
            return None;
        };
        // A file that grows while it is read is cut.
        let mut opened = std::fs::File::from(opened).take(limit);
        let mut buffer = vec![0; PIECE];
        loop {
            if !self.has_time() {
                return None;
            }
            let Ok(read) = opened.read(&mut buffer) else {
                self.spent.borrow_mut().unreadable += 1;
                return None;
            };
            if read == 0 {
                return Some(());
            }
            if !self.pay(read) {
                return None;
            }
            take(&buffer[..read]);
        }
    }

    fn pay(&self, read: usize) -> bool {
        let mut spent = self.spent.borrow_mut();
        spent.bytes = spent.bytes.saturating_add(read as u64);
        let left = spent.bytes <= self.limits.total_bytes;
        if !left {
            spent.reached.insert(Bound::Bytes);
        }
        left
    }

    /// How much was looked at, as far as it is known by now.
    pub(crate) fn coverage(&self) -> Coverage {
        let spent = self.spent.borrow();
        Coverage {
            complete: spent.reached.is_empty(),
            limits_reached: spent.reached.iter().copied().collect(),
            files: self.files.len() as u64,
            directories: self.directories.len() as u64,
            bytes: self
                .files
                .iter()
                .fold(0, |sum, file| sum.saturating_add(file.bytes)),
            skipped: Skipped {
                unreadable: self.skipped.unreadable + spent.unreadable,
                ..self.skipped.clone()
            },
        }
    }

    pub(crate) fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent)).skip(1)
}
