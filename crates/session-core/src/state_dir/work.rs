//! Who works in a session, across processes: a lock that workers share and that ends with them, however they end.
//!
//! A session that ends by itself after idleness must not end under somebody's hands, whichever process they are in. So
//! everybody who runs a command, copies files or sits at a terminal shares the lock, and whoever ends the session for
//! idleness takes it alone. Each who comes or goes marks the file, so that work that began and ended between two looks is
//! seen as well.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{EXCLUSIVE, StateDir, io_error, subdir};
use crate::error::Result;
use crate::id::SessionId;

const FILE: &str = "work.lock";
const SHARED: FlockOperation = FlockOperation::NonBlockingLockShared;
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: rustix::fs::UTIME_NOW,
};

/// Says that somebody works in a session, or that nobody may. Released when it is dropped, or when the process ends in
/// whatever way.
#[derive(Debug)]
pub struct WorkLock {
    file: OwnedFd,
    shared: bool,
}

impl WorkLock {
    fn mark(&self) {
        if self.shared {
            let now = Timestamps {
                last_access: NOW,
                last_modification: NOW,
            };
            // One that cannot be marked is held all the same.
            let _ = rustix::fs::futimens(&self.file, &now);
        }
    }
}

impl Drop for WorkLock {
    fn drop(&mut self) {
        self.mark();
    }
}

/// Changes whenever somebody begins or ends to work in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkStamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl StateDir {
    /// Shares the right to work in a session, without waiting; `None` when somebody is about to end it.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn try_work(&self, session: &SessionId) -> Result<Option<WorkLock>> {
        let file = self.try_lock("work in the session", session, FILE, SHARED)?;
        Ok(file.map(|file| {
            let lock = WorkLock { file, shared: true };
            lock.mark();
            lock
        }))
    }

    /// Keeps everybody from working in a session, without waiting; `None` when somebody does.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn try_end_work(&self, session: &SessionId) -> Result<Option<WorkLock>> {
        let file = self.try_lock("end the session's work", session, FILE, EXCLUSIVE)?;
        Ok(file.map(|file| WorkLock { file, shared: false }))
    }

    /// The mark that was made last; `None` when nobody has worked in the session.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn work_stamp(&self, session: &SessionId) -> Result<Option<WorkStamp>> {
        const OPERATION: &str = "look for work in the session";
        let parent = self.inner.path.join(Self::SESSIONS);
        let sessions = subdir(OPERATION, &self.inner.dir, &parent, super::PRIVATE_DIR)?;
        let name = format!("{session}/{FILE}");
        match rustix::fs::statat(&sessions, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(WorkStamp {
                inode: stat.st_ino,
                seconds: stat.st_mtime,
                nanoseconds: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error(OPERATION, &parent.join(name), errno.into())),
        }
    }
}
