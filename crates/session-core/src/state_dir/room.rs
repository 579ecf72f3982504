//! Room on the file system of the state directory: those who write at the same time do not take together what is to stay
//! free.
//!
//! Whoever writes is promised a piece of the disk before he writes it. What was promised to others and is not written yet
//! counts as taken, and how much is free is looked at again for each piece: other processes use the disk as well. So
//! somebody who begins to write and sends nothing holds one piece, until he ends.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::StateDir;
use crate::error::{Error, ErrorKind, Result};

/// How much is promised at once.
const PIECE: u64 = 1 << 20;

/// What was promised and is not written yet, in bytes: of all who write.
#[derive(Debug, Default)]
pub(super) struct Promised(Mutex<u64>);

impl Promised {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one who writes was promised. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    dir: StateDir,
    /// What is to stay free; `None` when it is written as long as there is any disk.
    reserve: Option<u64>,
    /// Promised and not written yet.
    left: u64,
}

impl StateDir {
    /// Begins to write something of which nobody knows how long it will be.
    pub(crate) fn room(&self, reserve: Option<u64>) -> Room {
        Room {
            dir: self.clone(),
            reserve,
            left: 0,
        }
    }

    /// What is free for us on its file system, in bytes.
    fn free_bytes(&self) -> Result<u64> {
        let found = rustix::fs::fstatvfs(&self.inner.dir)
            .map_err(|errno| super::io_error("look for free space", self.path(), errno.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl Room {
    /// Before so many bytes are written. Blocks its thread.
    ///
    /// # Errors
    /// `LimitExceeded` when less would stay free than is to; `HostIo`.
    pub(crate) fn cover(&mut self, bytes: u64) -> Result<()> {
        let dir = self.dir.clone();
        self.cover_of(bytes, || dir.free_bytes())
    }

    /// After so many were written, which were covered.
    pub(crate) fn written(&mut self, bytes: u64) {
        let done = bytes.min(self.left);
        self.left -= done;
        *self.dir.inner.promised.lock() -= done;
    }

    fn cover_of(&mut self, bytes: u64, free: impl FnOnce() -> Result<u64>) -> Result<()> {
        if bytes <= self.left {
            return Ok(());
        }
        let more = (bytes - self.left).max(PIECE);
        let mut promised = self.dir.inner.promised.lock();
        if let Some(reserve) = self.reserve {
            let free = free()?;
            let needed = reserve.saturating_add(*promised).saturating_add(more);
            if free < needed {
                let message = "the disk of the state directory is nearly full";
                return Err(Error::new(ErrorKind::LimitExceeded, "keep a checkpoint", message)
                    .with_context("free", free)
                    .with_context("promised", *promised)
                    .with_context("reserve", reserve)
                    .with_hint("free space there; what is kept stays, and the next checkpoint has what this one would have had"));
            }
        }
        *promised += more;
        self.left += more;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.written(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: u64 = 100 * PIECE;

    #[test]
    fn what_others_were_promised_is_taken_until_they_end() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&temp.path().join("state")).unwrap();
        let disk = || Ok(RESERVE + 8 * PIECE);
        let mut rooms: Vec<Room> = (0..8).map(|_| dir.room(Some(RESERVE))).collect();
        for room in &mut rooms {
            room.cover_of(1, disk).unwrap();
        }
        // Each of them would find enough that is free.
        let mut late = dir.clone().room(Some(RESERVE));
        let refused = late.cover_of(1, disk).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
        assert!(refused.hint().is_some());
        // Who was asked for is not refused, and is counted.
        let mut asked = dir.room(None);
        asked.cover_of(1, || panic!("nobody looks")).unwrap();
        rooms.pop();
        assert!(late.cover_of(1, disk).is_err());
        drop(asked);
        late.cover_of(1, disk).unwrap();
        drop((rooms, late));
        assert_eq!(*dir.inner.promised.lock(), 0);
    }

    #[test]
    fn the_disk_is_looked_at_again_for_each_piece() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&temp.path().join("state")).unwrap();
        let mut room = dir.room(Some(RESERVE));
        let mut free = RESERVE + 8 * PIECE;
        let mut written = 0;
        let bytes = PIECE / 4;
        while room.cover_of(bytes, || Ok(free)).is_ok() {
            room.written(bytes);
            (free, written) = (free - bytes, written + bytes);
        }
        assert_eq!((free, written), (RESERVE, 8 * PIECE));
        assert_eq!(*dir.inner.promised.lock(), 0);
        // One that is longer than a piece needs as much at once.
        assert!(room.cover_of(9 * PIECE, || Ok(RESERVE + 8 * PIECE)).is_err());
        room.cover_of(9 * PIECE, || Ok(RESERVE + 9 * PIECE)).unwrap();
        room.cover(1).unwrap();
    }
}
