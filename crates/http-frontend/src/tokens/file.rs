//! `<state>/keys/tokens.json`: replaced whole or not at all, by one process at a time.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};

use super::Kept;

pub(super) const KEYS: &str = "keys";
pub(super) const NAME: &str = "tokens.json";
const LOCK: &str = "tokens.lock";
const DRAFT: &str = "tokens.json.new";
const VERSION: u32 = 1;
const MAX_BYTES: u64 = 1 << 20;
const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const PRIVATE_DIR: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    tokens: Vec<Kept>,
}

/// What changes when the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What the file's entry tells now; `None` when there is no file.
pub(super) fn stamp(state: &Path) -> io::Result<Option<Stamp>> {
    let path = state.join(KEYS).join(NAME);
    match rustix::fs::lstat(&path) {
        Ok(stat) => Ok(Some(Stamp {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, wide(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, wide(stat.st_ctime_nsec)),
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn wide(nanoseconds: impl TryInto<i64>) -> i64 {
    nanoseconds.try_into().unwrap_or_default()
}

/// The directory of keys, made when it does not exist.
pub(super) fn open_keys(state: &Path, operation: &'static str) -> Result<OwnedFd> {
    let path = state.join(KEYS);
    let failed = |errno: Errno| io_error(operation, &path, errno.into());
    let parent = rustix::fs::open(state, OPEN_DIR, Mode::empty()).map_err(failed)?;
    match rustix::fs::mkdirat(&parent, KEYS, PRIVATE_DIR) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let dir = rustix::fs::openat(&parent, KEYS, OPEN_DIR, Mode::empty()).map_err(failed)?;
    check(&rustix::fs::fstat(&dir).map_err(failed)?, &path, operation)?;
    Ok(dir)
}

/// Waits until no other process changes the file. Released with what is returned.
pub(super) fn lock(dir: &OwnedFd, path: &Path, operation: &'static str) -> Result<OwnedFd> {
    let failed = |errno: Errno| io_error(operation, path, errno.into());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir, LOCK, flags, PRIVATE_FILE).map_err(failed)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive)).map_err(failed)?;
    Ok(file)
}

/// What is in the file; nothing when there is none.
pub(super) fn read(dir: &OwnedFd, path: &Path, operation: &'static str) -> Result<Vec<Kept>> {
    let failed = |source: io::Error| io_error(operation, path, source);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(dir, NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno.into())),
    };
    check(
        &rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?,
        path,
        operation,
    )?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    let damaged = || {
        Error::new(
            ErrorKind::StateDirRefused,
            operation,
            "the file of the tokens is damaged",
        )
        .with_context("path", path.display())
        .with_hint("restore it from a copy, or move it away and make the tokens anew")
    };
    if text.len() as u64 > MAX_BYTES {
        return Err(damaged());
    }
    let content: Content = serde_json::from_slice(&text).map_err(|source| damaged().with_source(source))?;
    if content.version != VERSION {
        return Err(Error::new(
            ErrorKind::StateDirRefused,
            operation,
            "the file of the tokens is of another version",
        )
        .with_context("path", path.display())
        .with_context("version", content.version)
        .with_hint("use the version of Cofferdam that wrote it"));
    }
    Ok(content.tokens)
}

/// Replaces the file. Only under the lock.
pub(super) fn write(dir: &OwnedFd, path: &Path, operation: &'static str, tokens: &[Kept]) -> Result<()> {
    let failed = |source: io::Error| io_error(operation, path, source);
    let content = Content {
        version: VERSION,
        tokens: tokens.to_vec(),
    };
    let mut text = serde_json::to_vec_pretty(&content).map_err(|source| failed(source.into()))?;
    text.push(b'\n');
    put(dir, &text).map_err(failed)
}

fn put(dir: &OwnedFd, text: &[u8]) -> io::Result<()> {
    // Whoever holds the lock is alone: what is there was left by a process that died.
    match rustix::fs::unlinkat(dir, DRAFT, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, DRAFT, flags, PRIVATE_FILE)?);
    fail::fail_point!("http.tokens.write", |_| session_core::fault::io());
    file.write_all(text)?;
    file.sync_all()?;
    fail::fail_point!("http.tokens.replace", |_| session_core::fault::io());
    rustix::fs::renameat(dir, DRAFT, dir, NAME)?;
    Ok(rustix::fs::fsync(dir)?)
}

/// Whoever can write the file can let anybody in.
fn check(stat: &Stat, path: &Path, operation: &'static str) -> Result<()> {
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if ours && stat.st_mode & 0o077 == 0 {
        return Ok(());
    }
    let (message, hint) = if ours {
        (
            "it is open to others",
            "see who may have read or written it, then take their rights away",
        )
    } else {
        (
            "it belongs to somebody else",
            "use a state directory that belongs to the user who runs Cofferdam",
        )
    };
    Err(Error::new(ErrorKind::StateDirRefused, operation, message)
        .with_context("path", path.display())
        .with_hint(hint))
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::new(ErrorKind::HostIo, operation, "the host refused")
        .with_context("path", path.display())
        .with_source(source)
}
