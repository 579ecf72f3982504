//! Who serves a state directory: one process at a time, for as long as it lives.
//!
//! The lock is the kernel's: a process that is killed in whatever way lets go of it at that moment, and what it left
//! behind (its socket) may be replaced by whoever has the lock next, and by nobody else.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::files::PRIVATE_FILE;
use super::{StateDir, io_error};
use crate::error::{Error, ErrorKind, Result};

/// The right to serve a state directory. Released when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct ServingLock {
    _file: OwnedFd,
}

impl StateDir {
    const LOCK: &'static str = "serve.lock";

    /// Where the process that serves the directory listens.
    pub fn socket_path(&self) -> PathBuf {
        self.path().join("cofferdam.sock")
    }

    /// Takes the right to serve the directory, without waiting. Managers that only work on it need no such right.
    ///
    /// # Errors
    /// `Busy` when another holder, in this process or in another, has it; `StateDirRefused` when the lock's file is a
    /// symlink, somebody else's or open to others; `HostIo`.
    pub fn lock_serving(&self) -> Result<ServingLock> {
        const OPERATION: &str = "serve the state directory";
        let path = self.path().join(Self::LOCK);
        self.has_file(OPERATION, &self.inner.dir, Self::LOCK, &path)?;
        let failed = |errno: Errno| io_error(OPERATION, &path, errno.into());
        // Never removed, so whoever locks it locks the file that everybody else finds.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.inner.dir, Self::LOCK, flags, PRIVATE_FILE).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(ServingLock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(Error::new(
                ErrorKind::Busy,
                OPERATION,
                "another process serves it",
            )
            .with_context("state directory", self.path().display())
            .with_hint("use the server that runs, stop it first, or name another state directory")),
            Err(errno) => Err(failed(errno)),
        }
    }
}
