//! The open directories from the root of the extraction to where it works now.
//!
//! A path is walked one step at a time, each opened beneath the one before and never through a link, so nothing that the
//! archive made earlier can lead out. Archives list a directory's content together, so nearly every step is open already.
//! A directory gets its mode and time when it is left: until then it must be writable, and every file changes its time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens, mkdirat, openat,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::{host_io, refused};
use crate::error::Result;

/// The mode of directories that no entry describes.
pub(super) const IMPLICIT_DIR_MODE: u32 = 0o755;

/// The names that make git take a directory for a repository, whatever it is called.
const BARE_REPOSITORY: [&[u8]; 4] = [b"HEAD", b"objects", b"refs", b"config"];

/// More directories directly below the root that cannot be written than anybody has.
const MAX_LATE: usize = 10_000;

/// Mode and time that a directory gets.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub(super) mode: u32,
    /// `None` leaves the time of its last change.
    pub(super) mtime: Option<i64>,
}

struct Frame {
    name: Vec<u8>,
    handle: OwnedFd,
    finish: Finish,
    /// One of the names of a bare repository was made here.
    repository: bool,
}

pub(super) struct Frames {
    root: OwnedFd,
    below: Vec<Frame>,
    /// Whether configurations of bare repositories go.
    guard: bool,
    /// The configurations of bare repositories that were removed.
    pub(super) removed: Vec<Vec<u8>>,
    /// What directories directly below the root get only when they are in place: one that is not writable cannot be
    /// moved by its owner.
    pub(super) late: Vec<(Vec<u8>, Finish)>,
}

impl Frames {
    pub(super) fn new(root: OwnedFd, guard: bool) -> Self {
        Self {
            root,
            below: Vec::new(),
            guard,
            removed: Vec::new(),
            late: Vec::new(),
        }
    }

    /// The directory where the extraction works now.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.below
            .last()
            .map_or(self.root.as_fd(), |frame| frame.handle.as_fd())
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Goes to a directory and makes what is missing on the way.
    pub(super) fn enter(&mut self, parts: &[&[u8]]) -> Result<()> {
        let common = self
            .below
            .iter()
            .zip(parts)
            .take_while(|(frame, part)| frame.name == **part)
            .count();
        while self.below.len() > common {
            self.leave()?;
        }
        for (index, part) in parts.iter().enumerate().skip(common) {
            self.descend(part, &parts[..=index])?;
        }
        Ok(())
    }

    /// Says what the directory where the extraction works now gets in the end.
    pub(super) fn describe(&mut self, finish: Finish) {
        if let Some(frame) = self.below.last_mut() {
            frame.finish = finish;
        }
    }

    /// A name was made where the extraction works now.
    pub(super) fn made(&mut self, name: &[u8]) {
        if let Some(frame) = self.below.last_mut() {
            frame.repository |= BARE_REPOSITORY.contains(&name);
        }
    }

    /// Leaves every directory.
    pub(super) fn leave_all(&mut self) -> Result<()> {
        while !self.below.is_empty() {
            self.leave()?;
        }
        disarm(&self.root, self.guard, b"", &mut self.removed)
    }

    fn descend(&mut self, name: &[u8], path: &[&[u8]]) -> Result<()> {
        let parent = self.here();
        let fresh = match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(host_io("a directory could not be made", &path.join(&b'/'), errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR | Errno::LOOP => {
                refused("its path leads through a file or a link", &path.join(&b'/'))
            }
            other => host_io("a directory could not be opened", &path.join(&b'/'), other),
        })?;
        let finish = if fresh {
            Finish {
                mode: IMPLICIT_DIR_MODE,
                mtime: None,
            }
        } else {
            reopen(&handle)
                .map_err(|errno| host_io("a directory could not be examined", &path.join(&b'/'), errno))?
        };
        self.made(name);
        self.below.push(Frame {
            name: name.to_vec(),
            handle,
            finish,
            repository: false,
        });
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        let path = self
            .below
            .iter()
            .map(|frame| &frame.name[..])
            .collect::<Vec<_>>()
            .join(&b'/');
        let Some(mut frame) = self.below.pop() else {
            return Ok(());
        };
        disarm(
            &frame.handle,
            self.guard && frame.repository,
            &path,
            &mut self.removed,
        )?;
        if self.below.is_empty() && frame.finish.mode & 0o200 == 0 {
            if self.late.len() >= MAX_LATE {
                return Err(refused("too many directories cannot be written", &path));
            }
            self.late.push((frame.name, frame.finish));
            frame.finish.mode |= 0o700;
        }
        finish(&frame.handle, frame.finish)
            .map_err(|errno| host_io("a directory could not be finished", &path, errno))
    }
}

/// Removes the configuration of a bare repository: git takes any directory with these names for one and obeys it.
fn disarm(handle: &OwnedFd, suspect: bool, path: &[u8], removed: &mut Vec<Vec<u8>>) -> Result<()> {
    let present = |name: &&[u8]| statat(handle, *name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if !suspect || !BARE_REPOSITORY.iter().all(present) {
        return Ok(());
    }
    let config = if path.is_empty() {
        b"config".to_vec()
    } else {
        [path, b"config"].join(&b'/')
    };
    unlinkat(handle, "config", AtFlags::empty())
        .map_err(|errno| host_io("a configuration could not be withheld", &config, errno))?;
    removed.push(config);
    Ok(())
}

/// A directory that was left and is needed again: it becomes writable, and what it had is restored at the end.
fn reopen(handle: &OwnedFd) -> rustix::io::Result<Finish> {
    let stat = fstat(handle)?;
    let mode = stat.st_mode & 0o777;
    if mode & 0o700 != 0o700 {
        fchmod(handle, Mode::from_raw_mode(mode | 0o700))?;
    }
    Ok(Finish {
        mode,
        mtime: Some(stat.st_mtime),
    })
}

/// Applies mode and time.
pub(super) fn finish(handle: impl AsFd, finish: Finish) -> rustix::io::Result<()> {
    futimens(&handle, &times(finish.mtime))?;
    fchmod(&handle, Mode::from_raw_mode(finish.mode))
}

/// The modification time `mtime`, or as it is; the access time as it is.
pub(super) fn times(mtime: Option<i64>) -> Timestamps {
    let unchanged = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    Timestamps {
        last_access: unchanged,
        last_modification: mtime.map_or(unchanged, |tv_sec| Timespec { tv_sec, tv_nsec: 0 }),
    }
}
