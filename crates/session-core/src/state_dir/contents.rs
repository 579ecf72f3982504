//! Content by its hash: files that are written once, found by what is in them, and never changed.
//!
//! ```text
//! <state>/checkpoints/         0700
//!   contents.lock              shared by those who keep something, alone for those who remove
//!   <random>.draft             what is being written, locked by its writer
//!   <aa>/<sha256>              0600, one content each; <aa> is how its name begins
//! ```
//!
//! Whoever keeps a content holds the lock, shared, until its name is in the store; whoever removes holds it alone while
//! it looks which names the store has. So nothing is removed that is about to be wanted, and a content that is kept twice is one
//! file. All of it blocks: it is for threads that may.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::files::{self, PRIVATE_DIR, PRIVATE_FILE};
use super::{StateDir, drafts, io_error, refused, subdir};
use crate::error::{Error, ErrorKind, Result};

const DIR: &str = "checkpoints";
const LOCK: &str = "contents.lock";
const KEEP: &str = "keep a content";
const READ: &str = "read a content";
const REMOVE: &str = "remove a content";
/// How long others may hold the lock: those who keep hold it for one write of the store.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// How much is read at once.
const PIECE: usize = 256 << 10;
/// The hexadecimal digits of SHA-256.
const NAME_LEN: usize = 64;

/// The contents of one state directory.
#[derive(Debug)]
pub(crate) struct Contents {
    path: PathBuf,
    dir: OwnedFd,
}

/// Released when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct ContentsLock {
    _file: OwnedFd,
}

/// A content that is being written; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct ContentDraft {
    contents: Contents,
    name: String,
    file: File,
    hash: Sha256,
    bytes: u64,
}

/// A content that was found to be what its name says.
#[derive(Debug)]
pub(crate) struct Content {
    path: PathBuf,
    file: File,
}

impl StateDir {
    /// The contents that are kept here.
    pub(crate) fn contents(&self) -> Result<Contents> {
        let path = self.inner.path.join(DIR);
        let dir = subdir(
            "open the directory of the checkpoints",
            &self.inner.dir,
            &path,
            PRIVATE_DIR,
        )?;
        Ok(Contents { path, dir })
    }
}

impl Contents {
    /// Begins a content.
    pub(crate) fn draft(self) -> Result<ContentDraft> {
        drafts::sweep(&self.dir, |_| true).map_err(|source| self.failed(KEEP, "", source))?;
        let (name, file) = drafts::create(&self.dir, "").map_err(|source| self.failed(KEEP, "", source))?;
        Ok(ContentDraft {
            contents: self,
            name,
            file,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Waits for the right to keep contents, beside others who keep some.
    pub(crate) fn lock_to_keep(&self) -> Result<ContentsLock> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = self.try_lock(FlockOperation::NonBlockingLockShared)? {
                return Ok(lock);
            }
            if Instant::now() > patience {
                return Err(
                    Error::new(ErrorKind::Busy, KEEP, "another process removes contents")
                        .with_context("path", self.path.join(LOCK).display()),
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes the right to remove contents; `None` while somebody keeps or removes some.
    pub(crate) fn try_lock_to_remove(&self) -> Result<Option<ContentsLock>> {
        self.try_lock(FlockOperation::NonBlockingLockExclusive)
    }

    fn try_lock(&self, how: FlockOperation) -> Result<Option<ContentsLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |errno: Errno| self.failed("lock the contents", LOCK, errno.into());
        let file = rustix::fs::openat(&self.dir, LOCK, flags, PRIVATE_FILE).map_err(failed)?;
        match rustix::fs::flock(&file, how) {
            Ok(()) => Ok(Some(ContentsLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Opens a content, after reading all of it: what is handed out is what was kept.
    ///
    /// # Errors
    /// `StoreFailed` when it is not there, or not what its name says.
    pub(crate) fn open(&self, name: &str) -> Result<Content> {
        let lost = |message: &'static str| {
            Error::new(ErrorKind::StoreFailed, READ, message)
                .with_context("content", name.escape_debug())
                .with_hint("restore the state directory from a backup, or use another checkpoint")
        };
        let dir = self.shelf(name)?.ok_or_else(|| lost("it is not there"))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(lost("it is not there")),
            opened => opened.map_err(|errno| self.failed(READ, name, errno.into()))?,
        };
        let mut content = Content {
            path: self.path.join(name),
            file: File::from(file),
        };
        if content.hash()? == name {
            Ok(content)
        } else {
            Err(lost("it is not what was kept under this name"))
        }
    }

    /// Every content. Drafts are none.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let failed = |errno: Errno| self.failed("list the contents", "", errno.into());
        let mut found = Vec::new();
        for shelf in rustix::fs::Dir::read_from(&self.dir).map_err(failed)? {
            let shelf = shelf.map_err(failed)?;
            let shelf = shelf.file_name().to_string_lossy().into_owned();
            if shelf.len() != 2 || !is_hex(&shelf) {
                continue;
            }
            let Some(dir) = self.open_shelf(&shelf)? else {
                continue;
            };
            for entry in rustix::fs::Dir::read_from(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_name(&name) && name.starts_with(&shelf) {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Removes contents that nobody names any more. Succeeds for those that are gone, and for names that no content has: a
    /// damaged record may have named it so.
    pub(crate) fn remove(&self, names: &[String], _alone: &ContentsLock) -> Result<()> {
        for name in names.iter().filter(|name| is_name(name)) {
            let Some(dir) = self.shelf(name)? else { continue };
            match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.failed(REMOVE, name, errno.into())),
            }
        }
        Ok(())
    }

    /// The directory in which a content of this name is, if there is one.
    fn shelf(&self, name: &str) -> Result<Option<OwnedFd>> {
        if !is_name(name) {
            return Err(
                Error::new(ErrorKind::StoreFailed, READ, "this is no name of a content")
                    .with_context("content", name.escape_debug()),
            );
        }
        self.open_shelf(&name[..2])
    }

    fn open_shelf(&self, shelf: &str) -> Result<Option<OwnedFd>> {
        match rustix::fs::openat(&self.dir, shelf, files::OPEN_DIR, Mode::empty()) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open a directory of contents", shelf, errno.into())),
        }
    }

    fn failed(&self, operation: &'static str, name: &str, source: io::Error) -> Error {
        io_error(operation, &self.path.join(name), source)
    }
}

impl ContentDraft {
    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|source| self.contents.failed(KEEP, &self.name, source))
    }

    /// Gives the content its name, durably: what it is called, and how long it is. The lock is to be held until the store
    /// has the name.
    pub(crate) fn keep(self) -> Result<(String, u64, ContentsLock)> {
        let failed = |source: io::Error| self.contents.failed(KEEP, &self.name, source);
        self.file.sync_all().map_err(failed)?;
        let name = hex(self.hash.clone());
        let lock = self.contents.lock_to_keep()?;
        let path = self.contents.path.join(&name[..2]);
        let shelf = files::open_dir(
            &self.contents.dir,
            path.file_name().unwrap_or_default(),
            PRIVATE_DIR,
        )
        .map_err(failed)?
        .map_err(|refusal| refused(KEEP, &path, refusal))?;
        // In place of the same content, should it be there: never half of either.
        rustix::fs::renameat(&self.contents.dir, &self.name, &shelf, &name)
            .and_then(|()| rustix::fs::fsync(&shelf))
            .map_err(|errno| failed(errno.into()))?;
        Ok((name, self.bytes, lock))
    }
}

impl Drop for ContentDraft {
    fn drop(&mut self) {
        // Gone already when it has its name; else a sweep finds it later.
        let _ = rustix::fs::unlinkat(&self.contents.dir, &self.name, AtFlags::empty());
    }
}

impl Content {
    /// The next bytes; empty at the end.
    pub(crate) fn next(&mut self) -> Result<Vec<u8>> {
        let mut piece = vec![0; PIECE];
        let read = self
            .file
            .read(&mut piece)
            .map_err(|source| io_error(READ, &self.path, source))?;
        piece.truncate(read);
        Ok(piece)
    }

    /// Reads all of it and goes back to where it begins.
    fn hash(&mut self) -> Result<String> {
        let mut hash = Sha256::new();
        loop {
            let piece = self.next()?;
            if piece.is_empty() {
                break;
            }
            hash.update(&piece);
        }
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(|source| io_error(READ, &self.path, source))?;
        Ok(hex(hash))
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_name(text: &str) -> bool {
    text.len() == NAME_LEN && is_hex(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        (dir, state)
    }

    fn kept(state: &StateDir, bytes: &[u8]) -> String {
        let mut draft = state.contents().unwrap().draft().unwrap();
        draft.write(bytes).unwrap();
        let (name, len, _lock) = draft.keep().unwrap();
        assert_eq!(len, bytes.len() as u64);
        name
    }

    fn path(state: &StateDir, name: &str) -> PathBuf {
        state.path().join(DIR).join(&name[..2]).join(name)
    }

    #[test]
    fn a_content_is_read_back_and_kept_once() {
        let (_dir, state) = state();
        let name = kept(&state, b"what was made");
        assert_eq!(kept(&state, b"what was made"), name);
        let contents = state.contents().unwrap();
        assert_eq!(contents.list().unwrap().len(), 1);
        assert_eq!(
            contents.open(&name).unwrap().next().unwrap(),
            b"what was made".to_vec()
        );
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path(&state, &name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_content_that_was_changed_or_is_gone_is_not_handed_out() {
        let (_dir, state) = state();
        let name = kept(&state, b"what was made");
        let contents = state.contents().unwrap();
        std::fs::write(path(&state, &name), b"what was mode").unwrap();
        assert_eq!(contents.open(&name).unwrap_err().kind(), ErrorKind::StoreFailed);
        std::fs::remove_file(path(&state, &name)).unwrap();
        assert_eq!(contents.open(&name).unwrap_err().kind(), ErrorKind::StoreFailed);
        assert_eq!(
            contents.open("../../store.db").unwrap_err().kind(),
            ErrorKind::StoreFailed
        );
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing() {
        let (_dir, state) = state();
        let mut draft = state.contents().unwrap().draft().unwrap();
        draft.write(b"half").unwrap();
        drop(draft);
        let left = std::fs::read_dir(state.path().join(DIR)).unwrap().count();
        assert_eq!(left, 0, "only what was kept is there");
    }

    #[test]
    fn a_draft_whose_writer_was_silent_for_long_is_kept_and_one_of_the_dead_goes() {
        let (_dir, state) = state();
        let contents = || state.contents().unwrap();
        let mut draft = contents().draft().unwrap();
        draft.write(b"what was ").unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        draft.file.set_modified(long_ago).unwrap();
        let dead = state.path().join(DIR).join("0123456789abcdef.draft");
        std::fs::write(&dead, "half").unwrap();
        assert_eq!(
            state.abandoned_drafts().unwrap(),
            [PathBuf::from(DIR).join("0123456789abcdef.draft")]
        );
        // Whoever begins another one sweeps.
        drop(contents().draft().unwrap());
        assert!(!dead.exists());
        draft.write(b"made").unwrap();
        let (name, ..) = draft.keep().unwrap();
        assert_eq!(contents().open(&name).unwrap().next().unwrap(), b"what was made");
    }

    #[test]
    fn nothing_is_removed_while_something_is_being_kept() {
        let (_dir, state) = state();
        let contents = state.contents().unwrap();
        let first = contents.lock_to_keep().unwrap();
        let second = contents.lock_to_keep().unwrap();
        assert!(contents.try_lock_to_remove().unwrap().is_none());
        drop((first, second));
        let name = kept(&state, b"x");
        let alone = contents.try_lock_to_remove().unwrap().unwrap();
        contents.remove(&[name.clone(), name], &alone).unwrap();
        assert!(contents.list().unwrap().is_empty());
    }
}
