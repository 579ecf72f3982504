//! What is beneath a directory of the host, opened there and recognised again.
//!
//! A path is a name, and a session that has a project mounted may put something else in its place at any time. So what a
//! caller names is opened once, by the kernel's rules and through no link, and held open: what was used in the end is
//! compared with that.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlink};
use rustix::io::{Errno, Result};

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file or directory that is held open.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    kind: FileType,
    identity: (u64, u64),
    /// Keeps the inode's number from being given to another.
    _handle: OwnedFd,
}

impl Opened {
    /// Opens what `path` leads to, when that is `root`, which has no links in it, or beneath it. Works on files: call it
    /// where that is allowed.
    pub(crate) fn find(root: &Path, path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let below = path.strip_prefix(root).map_err(|_| Errno::XDEV)?;
        let root = open(root, HANDLE | OFlags::DIRECTORY, Mode::empty())?;
        let handle = beneath(&root, below)?;
        Ok(Self {
            path: path_of(&handle)?,
            kind: kind(&handle)?,
            identity: identity(&handle)?,
            _handle: handle,
        })
    }

    /// Where it was when it was opened: absolute and without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is one.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether this path is its own, and it is there still.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let now = open(path, HANDLE, Mode::empty()).and_then(|now| identity(&now));
        path == self.path && now == Ok(self.identity)
    }
}

/// What was a link when it was looked at is none any more; one that is there now was put there meanwhile.
fn beneath(root: &OwnedFd, below: &Path) -> Result<OwnedFd> {
    if below.as_os_str().is_empty() {
        return openat(root, ".", HANDLE, Mode::empty());
    }
    let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    // The kernel asks to be asked again when something was renamed meanwhile.
    for _ in 0..8 {
        match openat2(root, below, HANDLE, Mode::empty(), rules) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return step_by_step(root, below),
            answer => return answer,
        }
    }
    Err(Errno::AGAIN)
}

/// For kernels and sandboxes without `openat2`.
fn step_by_step(root: &OwnedFd, below: &Path) -> Result<OwnedFd> {
    let mut here = openat(root, ".", HANDLE, Mode::empty())?;
    for step in below.components() {
        let Component::Normal(step) = step else {
            return Err(Errno::XDEV);
        };
        // A link that is opened so is no directory to go on from; the last one is recognised by its path.
        here = openat(&here, step, HANDLE, Mode::empty())?;
    }
    match kind(&here)? {
        FileType::Symlink => Err(Errno::LOOP),
        _ => Ok(here),
    }
}

fn path_of(handle: &OwnedFd) -> Result<PathBuf> {
    let link = readlink(format!("/proc/self/fd/{}", handle.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(link.into_bytes())))
}

fn kind(handle: &OwnedFd) -> Result<FileType> {
    fstat(handle).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn identity(handle: &OwnedFd) -> Result<(u64, u64)> {
    fstat(handle).map(|stat| (stat.st_dev, stat.st_ino))
}
