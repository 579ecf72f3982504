//! Files and directories that are ours alone, reached through the handle of the directory above them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::drafts;

pub(super) const PRIVATE_DIR: Mode = Mode::RWXU;
pub(super) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
pub(super) const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Why something in the state directory is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NotADirectory,
    NotAFile,
    Foreign,
    DirOpenToOthers,
    FileOpenToOthers,
}

impl Refusal {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotADirectory => "it is a symlink or no directory",
            Self::NotAFile => "it is a symlink or no regular file",
            Self::Foreign => "it belongs to another user",
            Self::DirOpenToOthers | Self::FileOpenToOthers => "other users can enter or read it",
        }
    }
}

/// Looks at an opened directory: ours, and no more open than `mode`.
pub(super) fn check_dir(dir: &OwnedFd, mode: Mode) -> io::Result<Result<(), Refusal>> {
    let stat = rustix::fs::fstat(dir)?;
    Ok(if !is_ours(&stat) {
        Err(Refusal::Foreign)
    } else if opens_more_than(&stat, mode) {
        Err(Refusal::DirOpenToOthers)
    } else {
        Ok(())
    })
}

/// Looks at a file's entry, without opening it.
pub(super) fn check_file(dir: &OwnedFd, name: &str) -> io::Result<Result<(), Refusal>> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            Err(Refusal::NotAFile)
        } else if !is_ours(&stat) {
            Err(Refusal::Foreign)
        } else if opens_more_than(&stat, PRIVATE_FILE) {
            Err(Refusal::FileOpenToOthers)
        } else {
            Ok(())
        },
    )
}

pub(super) fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Whether this is the file that has the name, not one that had it.
pub(super) fn is_named(dir: &OwnedFd, name: &OsStr, file: &OwnedFd) -> rustix::io::Result<bool> {
    let held = rustix::fs::fstat(file)?;
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn opens_more_than(stat: &Stat, mode: Mode) -> bool {
    let others = Mode::RWXG | Mode::RWXO;
    !(Mode::from_raw_mode(stat.st_mode) & others)
        .difference(mode)
        .is_empty()
}

/// Opens a directory below `parent` and makes it first when it does not exist, with exactly `mode`.
pub(super) fn open_dir(parent: &OwnedFd, name: &OsStr, mode: Mode) -> io::Result<Result<OwnedFd, Refusal>> {
    fail::fail_point!("state.dir.before", |_| crate::fault::io());
    let (created, dir) = loop {
        let created = match rustix::fs::mkdirat(parent, name, PRIVATE_DIR) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        match rustix::fs::openat(parent, name, OPEN_DIR, Mode::empty()) {
            // Another process removed it in between.
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Err(Refusal::NotADirectory)),
            dir => break (created, dir?),
        }
    };
    if let Err(refusal) = check_dir(&dir, mode)? {
        return Ok(Err(refusal));
    }
    let current = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode);
    if created || current != mode {
        // Whatever the umask says; also finishes what a process that died here began.
        rustix::fs::fchmod(&dir, mode)?;
    }
    fail::fail_point!("state.dir.made", |_| crate::fault::io());
    if created {
        rustix::fs::fsync(parent)?;
    }
    Ok(Ok(dir))
}

/// Reads a small file, at most `limit` bytes of it.
pub(super) fn read(dir: &OwnedFd, name: &str, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let mut bytes = Vec::with_capacity(limit);
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a file with this content unless it exists; of several processes at once, exactly one succeeds and the others
/// leave its file alone.
pub(super) fn create_once(dir: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    drafts::sweep(dir, |_| true)?;
    Draft::create(dir, name, content)?.publish()
}

/// A file under a temporary name; removed when dropped.
///
/// It is beside the [draft](drafts) that is locked for it: who closes a database's file lets go of all locks that its process
/// has on that, and this one may be a database that others open as soon as it has its name.
pub(super) struct Draft<'a> {
    dir: &'a OwnedFd,
    target: &'a str,
    name: String,
    lock: String,
    _locked: File,
}

impl<'a> Draft<'a> {
    pub(super) fn create(dir: &'a OwnedFd, target: &'a str, content: &[u8]) -> io::Result<Self> {
        let (lock, locked) = drafts::create(dir, &format!("{target}."))?;
        let draft = Self {
            dir,
            target,
            name: format!("{lock}-new"),
            lock,
            _locked: locked,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, &draft.name, flags, PRIVATE_FILE)?);
        fail::fail_point!("state.draft.before", |_| crate::fault::io());
        file.write_all(content)?;
        Ok(draft)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the file its name, durably, in place of whatever had it.
    pub(super) fn replace(self) -> io::Result<()> {
        self.sync()?;
        fail::fail_point!("state.replace.before", |_| crate::fault::io());
        rustix::fs::renameat(self.dir, &self.name, self.dir, self.target)?;
        fail::fail_point!("state.replace.after", |_| crate::fault::io());
        rustix::fs::fsync(self.dir)?;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::fsync(rustix::fs::openat(self.dir, &self.name, flags, Mode::empty())?)?;
        Ok(())
    }

    /// Gives the file its name, durably, unless the name is taken.
    pub(super) fn publish(self) -> io::Result<()> {
        self.sync()?;
        fail::fail_point!("state.publish.before", |_| crate::fault::io());
        let renamed = rustix::fs::renameat_with(
            self.dir,
            &self.name,
            self.dir,
            self.target,
            RenameFlags::NOREPLACE,
        );
        match renamed {
            // Not every file system knows how to rename without replacing; all know how to link.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let linked =
                    rustix::fs::linkat(self.dir, &self.name, self.dir, self.target, AtFlags::empty());
                taken_is_fine(linked)?;
            }
            renamed => taken_is_fine(renamed)?,
        }
        fail::fail_point!("state.publish.after", |_| crate::fault::io());
        rustix::fs::fsync(self.dir)?;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Gone already when it was renamed; else a sweep finds it later, and knows by the lock whose it was.
        for name in [&self.name, &self.lock] {
            let _ = rustix::fs::unlinkat(self.dir, name, AtFlags::empty());
        }
    }
}

fn taken_is_fine(outcome: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match outcome {
        Err(Errno::EXIST) => Ok(()),
        outcome => outcome,
    }
}
