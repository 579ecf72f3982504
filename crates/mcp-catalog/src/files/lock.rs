//! One writer at a time, among threads and processes.
//!
//! The kernel releases the lock when its holder ends in whatever way. The file also counts what was changed under the
//! lock, so that others see cheaply that something was.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use session_core::error::{Error, ErrorKind, Result};

use super::{PRIVATE_FILE, Refusal, io_error, refused};

/// Whoever holds a lock writes one small file.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// A lock that is held; released when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnedFd,
}

impl Lock {
    pub(super) fn take(operation: &'static str, dir: &OwnedFd, path: &Path, name: &str) -> Result<Self> {
        let failed = |errno: Errno| io_error(operation, path, errno.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(dir, name, flags, PRIVATE_FILE) {
            Err(Errno::LOOP) => return Err(refused(operation, path, Refusal::NotAFile)),
            file => file.map_err(failed)?,
        };
        let since = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(Errno::WOULDBLOCK) if since.elapsed() < PATIENCE => sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    return Err(
                        Error::new(ErrorKind::Busy, operation, "another process is changing it")
                            .with_context("path", path.display())
                            .with_hint("try again; end the process that holds the lock if it hangs"),
                    );
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// Counts one change. To be called when the change can be seen.
    pub(crate) fn count_change(&self) {
        let count = read_count(&self.file).wrapping_add(1);
        // Without it others would see the change late; what was changed is safe all the same.
        if let Err(errno) = rustix::io::pwrite(&self.file, &count.to_ne_bytes(), 0) {
            tracing::warn!(%errno, "a change of the catalog could not be counted");
        }
    }
}

/// How many changes were counted in a lock's file; 0 without one.
pub(super) fn changes(dir: &OwnedFd, name: &str) -> Result<u64, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(0),
        file => Ok(read_count(&file?)),
    }
}

fn read_count(file: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::pread(file, &mut bytes, 0) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => 0,
    }
}
