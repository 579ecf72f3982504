//! Further directories of the state directory, for those who keep something of their own beside the store.
//!
//! They get a handle, not a path: what is below it is reached through it, and is ours alone or refused.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::files::{self, Draft, PRIVATE_DIR, PRIVATE_FILE};
use super::{StateDir, drafts, io_error, refused, subdir};
use crate::error::{Error, ErrorKind, Result};

/// How long one waits for a file that others are changing: each holds it for one write.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory in the state directory that is closed to everybody else.
pub struct PrivateDir {
    path: PathBuf,
    dir: OwnedFd,
}

/// Keeps others from changing something. Released when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct FileLock {
    _file: OwnedFd,
}

/// What tells one content of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl fmt::Debug for PrivateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateDir").field(&self.path).finish()
    }
}

impl StateDir {
    /// Opens the directory of this name, and makes it first when it does not exist.
    ///
    /// # Errors
    /// `StateDirRefused` when it is a symlink, no directory, somebody else's or open to others; `HostIo`.
    pub fn private_dir(&self, name: &'static str) -> Result<PrivateDir> {
        let path = self.path().join(name);
        let dir = subdir(
            "open a directory of the state directory",
            &self.inner.dir,
            &path,
            PRIVATE_DIR,
        )?;
        Ok(PrivateDir { path, dir })
    }
}

impl PrivateDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of a file; `None` when there is none.
    ///
    /// # Errors
    /// `StateDirRefused` when it is no regular file, somebody else's or open to others; `LimitExceeded` when it is longer
    /// than `limit` bytes; `HostIo`.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        const OPERATION: &str = "read a file of the state directory";
        if !self.has(OPERATION, name)? {
            return Ok(None);
        }
        match files::read(&self.dir, name, limit.saturating_add(1)) {
            Ok(bytes) if bytes.len() > limit => Err(Error::new(
                ErrorKind::LimitExceeded,
                OPERATION,
                "the file is longer than anything that was written there",
            )
            .with_context("path", self.path.join(name).display())
            .with_context("limit", limit)
            .with_hint("see what it is, and restore it from a copy or remove it")),
            Ok(bytes) => Ok(Some(bytes)),
            // It was removed since it was looked at.
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(OPERATION, name, source)),
        }
    }

    /// Puts this content in the place of whatever the file had: whole and durably, or not at all.
    ///
    /// # Errors
    /// `StateDirRefused` when what is there is no regular file, somebody else's or open to others; `HostIo`.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        const OPERATION: &str = "write a file of the state directory";
        self.has(OPERATION, name)?;
        drafts::sweep(&self.dir, |_| true)
            .and_then(|()| Draft::create(&self.dir, name, content))
            .and_then(Draft::replace)
            .map_err(|source| self.failed(OPERATION, name, source))
    }

    /// What changes whenever the file is replaced; `None` when there is none.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn stamp(&self, name: &str) -> Result<Option<FileStamp>> {
        match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileStamp {
                inode: stat.st_ino,
                size: stat.st_size,
                changed: (
                    stat.st_ctime,
                    i64::try_from(stat.st_ctime_nsec).unwrap_or_default(),
                ),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at a file of the state directory", name, errno.into())),
        }
    }

    /// Opens a file to append to it, and makes it first when it does not exist.
    ///
    /// # Errors
    /// `StateDirRefused` when it is no regular file, somebody else's or open to others; `HostIo`.
    pub fn append(&self, name: &str) -> Result<File> {
        const OPERATION: &str = "open a file of the state directory";
        self.has(OPERATION, name)?;
        self.open(OPERATION, name, OFlags::WRONLY | OFlags::APPEND)
            .map(File::from)
    }

    /// Waits until nobody else holds the lock of this name, a file that nobody writes. Blocks its thread for two
    /// seconds at most.
    ///
    /// # Errors
    /// `Busy` when others hold it for that long; `StateDirRefused`, `HostIo`.
    pub fn lock(&self, name: &str) -> Result<FileLock> {
        const OPERATION: &str = "lock a file of the state directory";
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            if let Some(lock) = self.try_lock(OPERATION, name)? {
                return Ok(lock);
            }
            if Instant::now() > patience {
                return Err(Error::new(ErrorKind::Busy, OPERATION, "another process holds it")
                    .with_context("path", self.path.join(name).display())
                    .with_hint("try again; if it stays so, see which process has the file open"));
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    fn try_lock(&self, operation: &'static str, name: &str) -> Result<Option<FileLock>> {
        self.has(operation, name)?;
        let file = self.open(operation, name, OFlags::RDWR)?;
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(FileLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(self.failed(operation, name, errno.into())),
        }
    }

    fn open(&self, operation: &'static str, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, PRIVATE_FILE)
            .map_err(|errno| self.failed(operation, name, errno.into()))
    }

    /// Whether there is a file, which is ours alone. A name leads nowhere else.
    fn has(&self, operation: &'static str, name: &str) -> Result<bool> {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(
                Error::new(ErrorKind::Internal, operation, "this is no name of a file")
                    .with_context("name", name.escape_debug()),
            );
        }
        match files::check_file(&self.dir, name) {
            Ok(Ok(())) => Ok(true),
            Ok(Err(refusal)) => Err(refused(operation, &self.path.join(name), refusal)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.failed(operation, name, source)),
        }
    }

    fn failed(&self, operation: &'static str, name: &str, source: io::Error) -> Error {
        io_error(operation, &self.path.join(name), source)
    }
}
