//! Files of the catalog: reached through the handle of their directory, written whole or not at all.
//!
//! Two kinds of directories: our own, closed to everybody else; and the operator's, which others may read but not write,
//! because `servers.toml` names programs that run on this host.

mod error;
mod lock;
mod stamp;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use session_core::error::Result;
use session_core::state_dir::drafts;

pub(crate) use self::error::{Refusal, io_error, refused};
pub(crate) use self::lock::Lock;
pub(crate) use self::stamp::Stamp;

pub(crate) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_DIR: Mode = Mode::RWXU;

/// Who may do what in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Ours: nobody else enters, nothing is a symlink.
    Private,
    /// The operator's: of root or of us, and only they write.
    Operator,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    fd: OwnedFd,
    trust: Trust,
    operation: &'static str,
}

impl Dir {
    /// Opens a directory; `None` when it does not exist.
    pub(crate) fn open(operation: &'static str, path: &Path, trust: Trust) -> Result<Option<Self>> {
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if trust == Trust::Private {
            flags |= OFlags::NOFOLLOW;
        }
        // Without a trailing slash: `O_NOFOLLOW` would follow a symlink that has one.
        let path: PathBuf = path.components().collect();
        let fd = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(refused(operation, &path, Refusal::NotADirectory));
            }
            fd => fd.map_err(|errno| io_error(operation, &path, errno.into()))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| io_error(operation, &path, errno.into()))?;
        judge_dir(&stat, trust).map_err(|refusal| refused(operation, &path, refusal))?;
        Ok(Some(Self {
            path,
            fd,
            trust,
            operation,
        }))
    }

    /// Opens a directory and makes it first, with what is missing above it, when it does not exist.
    pub(crate) fn make(operation: &'static str, path: &Path, trust: Trust) -> Result<Self> {
        loop {
            if let Some(dir) = Self::open(operation, path, trust)? {
                return Ok(dir);
            }
            make_with_parents(path).map_err(|source| io_error(operation, path, source))?;
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, name: &str, source: impl Into<io::Error>) -> session_core::error::Error {
        io_error(self.operation, &self.path.join(name), source.into())
    }

    /// A file with its stamp; `None` when it does not exist.
    ///
    /// # Errors
    /// `StateDirRefused` for one that others can change, `LimitExceeded` for one that is longer than `limit`.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<Option<(Vec<u8>, Stamp)>> {
        let Some((mut file, stamp)) = self.open_file(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        (&mut file)
            .take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| self.failed(name, source))?;
        if bytes.len() > limit {
            return Err(error::too_long(self.operation, &self.path.join(name), limit));
        }
        Ok(Some((bytes, stamp)))
    }

    fn open_file(&self, name: &str) -> Result<Option<(File, Stamp)>> {
        // Not to wait for the writer of a pipe that somebody put there.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if self.trust == Trust::Private {
            flags |= OFlags::NOFOLLOW;
        }
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(refused(self.operation, &self.path.join(name), Refusal::NotAFile));
            }
            file => file.map_err(|errno| self.failed(name, errno))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.failed(name, errno))?;
        judge_file(&stat, self.trust)
            .map_err(|refusal| refused(self.operation, &self.path.join(name), refusal))?;
        Ok(Some((File::from(file), Stamp::of(&stat))))
    }

    /// The stamp of a file as it is now; `None` when it does not exist.
    pub(crate) fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        let flags = match self.trust {
            Trust::Private => AtFlags::SYMLINK_NOFOLLOW,
            Trust::Operator => AtFlags::empty(),
        };
        match rustix::fs::statat(&self.fd, name, flags) {
            Err(Errno::NOENT) => Ok(None),
            stat => {
                let stat = stat.map_err(|errno| self.failed(name, errno))?;
                judge_file(&stat, self.trust)
                    .map_err(|refusal| refused(self.operation, &self.path.join(name), refusal))?;
                Ok(Some(Stamp::of(&stat)))
            }
        }
    }

    /// Puts a file there, whole and durably, in place of what has the name. A failure leaves the old one.
    pub(crate) fn replace(&self, name: &str, content: &[u8], mode: Mode) -> Result<()> {
        self.put(name, content, mode, RenameFlags::empty())
            .map_err(|source| self.failed(name, source))
    }

    /// Puts a file there unless the name is taken; says whether it was free.
    pub(crate) fn create_once(&self, name: &str, content: &[u8]) -> Result<bool> {
        match self.put(name, content, PRIVATE_FILE, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(self.failed(name, source)),
        }
    }

    fn put(&self, name: &str, content: &[u8], mode: Mode, how: RenameFlags) -> io::Result<()> {
        self.sweep_leftovers()?;
        let draft = Draft::write(&self.fd, name, content, mode)?;
        match rustix::fs::renameat_with(&self.fd, &draft.name, &self.fd, name, how) {
            // Not every file system knows how to rename without replacing; all know how to link.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if how == RenameFlags::NOREPLACE => {
                rustix::fs::linkat(&self.fd, &draft.name, &self.fd, name, AtFlags::empty())?;
            }
            renamed => renamed?,
        }
        rustix::fs::fsync(&self.fd)?;
        Ok(())
    }

    /// Removes a file durably; says whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(false),
            removed => {
                removed
                    .and_then(|()| rustix::fs::fsync(&self.fd))
                    .map_err(|errno| self.failed(name, errno))?;
                Ok(true)
            }
        }
    }

    /// The names in the directory that end this way, without the ending, in their order.
    pub(crate) fn names(&self, ending: &str) -> Result<Vec<String>> {
        let failed = |errno: Errno| self.failed("", errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().to_str()
                && let Some(stem) = name.strip_suffix(ending)
            {
                names.push(stem.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Waits until nobody else, in this process or in another, holds the lock of this name.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock> {
        Lock::take(self.operation, &self.fd, &self.path.join(name), name)
    }

    /// How many changes were counted under the lock of this name.
    pub(crate) fn changes(&self, name: &str) -> Result<u64> {
        lock::changes(&self.fd, name).map_err(|errno| self.failed(name, errno))
    }

    /// Removes drafts of processes that died; of an operator's directory, no more than could be ours.
    fn sweep_leftovers(&self) -> io::Result<()> {
        drafts::sweep(&self.fd, |name| {
            let name = name.as_encoded_bytes();
            name.starts_with(b".") && name.ends_with(b".draft")
        })
    }
}

/// A file under a temporary name, locked so that nobody takes it for one of the dead; removed when dropped.
struct Draft<'a> {
    dir: &'a OwnedFd,
    name: String,
    file: File,
}

impl<'a> Draft<'a> {
    fn write(dir: &'a OwnedFd, target: &str, content: &[u8], mode: Mode) -> io::Result<Self> {
        let (name, file) = drafts::create(dir, &format!(".{target}."))?;
        let mut draft = Self { dir, name, file };
        draft.file.write_all(content)?;
        if mode != PRIVATE_FILE {
            rustix::fs::fchmod(&draft.file, mode)?;
        }
        draft.file.sync_all()?;
        Ok(draft)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Gone already when it was renamed; else a sweep finds it later.
        let _ = rustix::fs::unlinkat(self.dir, &self.name, AtFlags::empty());
    }
}

fn judge_dir(stat: &Stat, trust: Trust) -> Result<(), Refusal> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    match trust {
        Trust::Private if !is_ours(stat) => Err(Refusal::Foreign),
        Trust::Private if mode.intersects(Mode::RWXG | Mode::RWXO) => Err(Refusal::DirOpenToOthers),
        Trust::Operator if !is_operators(stat) => Err(Refusal::Foreign),
        // In a sticky directory others can add files, and neither remove nor replace ours.
        Trust::Operator if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) => {
            Err(Refusal::DirWritable)
        }
        _ => Ok(()),
    }
}

fn judge_file(stat: &Stat, trust: Trust) -> Result<(), Refusal> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::NotAFile);
    }
    match trust {
        Trust::Private if !is_ours(stat) => Err(Refusal::Foreign),
        Trust::Private if mode.intersects(Mode::RWXG | Mode::RWXO) => Err(Refusal::FileOpenToOthers),
        Trust::Operator if !is_operators(stat) => Err(Refusal::Foreign),
        Trust::Operator if mode.intersects(Mode::WGRP | Mode::WOTH) => Err(Refusal::FileWritable),
        _ => Ok(()),
    }
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

fn is_operators(stat: &Stat) -> bool {
    is_ours(stat) || stat.st_uid == 0
}

/// Makes the directory and what is missing above it, for us alone and durably.
fn make_with_parents(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR.as_raw_mode())
        .create(path)?;
    for above in missing.into_iter().filter_map(Path::parent) {
        if above.as_os_str().is_empty() {
            continue;
        }
        File::open(above)?.sync_all()?;
    }
    Ok(())
}
