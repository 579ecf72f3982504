//! Putting a whole other content in the place of the state directory's, so that a process that dies in the middle leaves
//! it to the next one to finish.
//!
//! What is to come is complete in `restore.incoming` before that is renamed to `restore.ready`: this is the moment from which
//! on it counts. Then what was there is moved aside, name by name, and what is to come takes its place. Whoever opens the
//! store first finishes that.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::files::{self, OPEN_DIR, PRIVATE_DIR, PRIVATE_FILE};
use super::{StateDir, drafts, io_error};
use crate::error::Result;

const OPERATION: &str = "swap what the state directory has";
const DRAFT: &str = "restore.incoming";
const READY: &str = "restore.ready";
const LOCK: &str = "restore.lock";
/// So often what others made meanwhile is put aside.
const STRAYS: u32 = 100;
/// In the directory of what is to come: where what was there goes.
const ASIDE: &str = "aside";
/// What is swapped, in this order. Without a store there is nobody who looks at the rest.
const NAMES: [&str; 5] = [
    "keys",
    "checkpoints",
    "storage",
    StateDir::AUDIT_HEAD,
    StateDir::STORE,
];
/// What goes with a store; a new one has none.
const LOGS: [&str; 2] = ["store.db-wal", "store.db-shm"];

/// Keeps others from swapping, or alone from opening the store. Released when it is dropped, or when the process ends in
/// whatever way.
#[derive(Debug)]
pub(crate) struct SwapLock {
    _file: OwnedFd,
}

impl StateDir {
    /// An empty directory for what is to come.
    pub(crate) fn begin_swap(&self) -> Result<StateDir> {
        let path = self.path().join(DRAFT);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(OPERATION, &path, source));
            }
            _ => {}
        }
        StateDir::open(&path)
    }

    /// Removes what will not come.
    pub(crate) fn abandon_swap(&self) {
        if let Err(error) = std::fs::remove_dir_all(self.path().join(DRAFT))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what was unpacked of a backup could not be removed; the next restoring does it");
        }
    }

    /// Swaps. Answers where what was there is kept. Whoever asks for it holds the lock since before it was found that nobody
    /// has the store open.
    pub(crate) fn commit_swap(&self, draft: &StateDir, aside: &str, _alone: &SwapLock) -> Result<PathBuf> {
        self.make_ready(draft, aside)?;
        self.swap()?;
        Ok(self.path().join(aside))
    }

    fn make_ready(&self, draft: &StateDir, aside: &str) -> Result<()> {
        let failed = |source: io::Error| io_error(OPERATION, draft.path(), source);
        // Also when nothing of them is to come: what was there does not stay beside another store.
        for name in ["keys", "checkpoints", "storage"] {
            files::open_dir(&draft.inner.dir, name.as_ref(), PRIVATE_DIR)
                .map_err(failed)?
                .map_err(|refusal| super::refused(OPERATION, &draft.path().join(name), refusal))?;
        }
        files::create_once(&draft.inner.dir, ASIDE, aside.as_bytes()).map_err(failed)?;
        sync_tree(draft.path()).map_err(failed)?;
        let dir = &self.inner.dir;
        rustix::fs::renameat(dir, DRAFT, dir, READY).map_err(|errno| failed(errno.into()))?;
        rustix::fs::fsync(dir).map_err(|errno| failed(errno.into()))
    }

    /// Finishes what another process began, if one did.
    pub(crate) fn finish_swap(&self) -> Result<()> {
        if !exists(&self.inner.dir, READY).map_err(|source| io_error(OPERATION, self.path(), source))? {
            return Ok(());
        }
        let _lock = self.lock_swap()?;
        self.swap()
    }

    /// Waits until nothing is being swapped, finishes what was left of it, and keeps others from swapping while the answer is
    /// held.
    pub(crate) fn lock_unswapped(&self) -> Result<SwapLock> {
        loop {
            self.finish_swap()?;
            let lock = self.flock_swap(FlockOperation::LockShared)?;
            // Somebody may have begun and died since.
            if !exists(&self.inner.dir, READY).map_err(|source| io_error(OPERATION, self.path(), source))? {
                return Ok(lock);
            }
        }
    }

    /// Under the lock.
    fn swap(&self) -> Result<()> {
        let path = self.path().join(READY);
        self.swap_names()
            .map_err(|source| io_error(OPERATION, &path, source))
    }

    fn swap_names(&self) -> io::Result<()> {
        self.swap_steps(usize::MAX)
    }

    /// Breaks off after so many renamings.
    #[cfg(test)]
    pub(crate) fn break_swap(&self, draft: &StateDir, aside: &str, steps: usize) {
        let _lock = self.lock_swap().unwrap();
        self.make_ready(draft, aside).unwrap();
        let _ = self.swap_steps(steps);
    }

    fn swap_steps(&self, mut steps: usize) -> io::Result<()> {
        let mut step = || {
            steps = steps.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
            Ok::<_, io::Error>(())
        };
        let dir = &self.inner.dir;
        let ready = match rustix::fs::openat(dir, READY, OPEN_DIR, Mode::empty()) {
            Ok(ready) => ready,
            // Another process was faster.
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let aside = String::from_utf8_lossy(&files::read(&ready, ASIDE, 256)?).into_owned();
        let aside = files::open_dir(dir, aside.as_ref(), PRIVATE_DIR)?
            .map_err(|refusal| io::Error::other(refusal.as_str()))?;
        if exists(&ready, Self::STORE)? {
            for log in LOGS {
                // As long as the new store is not in its place, these are the old one's.
                step()?;
                put_aside(dir, log, &aside)?;
            }
        }
        for name in NAMES {
            if exists(&ready, name)? {
                step()?;
                put_aside(dir, name, &aside)?;
                rustix::fs::fsync(&aside)?;
                step()?;
                put_in_place(&ready, name, dir, &aside)?;
                rustix::fs::fsync(dir)?;
            }
        }
        std::fs::remove_dir_all(self.path().join(READY))
    }

    /// Takes the right to swap. Those who open the store hold it together, each until its connection is made, and renaming
    /// takes no time; whoever dies lets go.
    pub(crate) fn lock_swap(&self) -> Result<SwapLock> {
        self.flock_swap(FlockOperation::LockExclusive)
    }

    fn flock_swap(&self, how: FlockOperation) -> Result<SwapLock> {
        let path = self.path().join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |errno: Errno| io_error(OPERATION, &path, errno.into());
        let file = rustix::fs::openat(&self.inner.dir, LOCK, flags, PRIVATE_FILE).map_err(failed)?;
        rustix::fs::flock(&file, how).map_err(failed)?;
        Ok(SwapLock { _file: file })
    }

    /// Has `work` write a file of this name's kind, which nobody else knows. It loses its name when `work` is done.
    pub(crate) fn with_draft<T>(
        &self,
        name: &str,
        work: impl FnOnce(&Path, std::fs::File) -> Result<T>,
    ) -> Result<T> {
        let failed = |source: io::Error| io_error("write a temporary file", self.path(), source);
        drafts::sweep(&self.inner.dir, |_| true).map_err(failed)?;
        let draft = files::Draft::create(&self.inner.dir, name, &[]).map_err(failed)?;
        let path = self.path().join(draft.name());
        let file = std::fs::File::open(&path).map_err(failed)?;
        work(&path, file)
    }
}

/// What is aside already is kept: what has its name now was made by a process that found none.
fn put_aside(dir: &OwnedFd, name: &str, aside: &OwnedFd) -> io::Result<()> {
    let stray = format!("{name}.{:016x}", rand::random::<u64>());
    let to = if exists(aside, name)? { &stray } else { name };
    match rustix::fs::renameat(dir, name, aside, to) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Puts in the place of what was put aside what is to come, and aside what others made there meanwhile.
fn put_in_place(ready: &OwnedFd, name: &str, dir: &OwnedFd, aside: &OwnedFd) -> io::Result<()> {
    for _ in 0..STRAYS {
        match rustix::fs::renameat(ready, name, dir, name) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => put_aside(dir, name, aside)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn exists(dir: &OwnedFd, name: &str) -> io::Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes everything in a directory durable.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            std::fs::File::open(entry.path())?.sync_all()?;
        }
    }
    std::fs::File::open(dir)?.sync_all()
}
