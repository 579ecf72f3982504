//! Opening beneath the root, step by step and through no symlink: what is swapped while we work leads nowhere.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::{Errno, Result};

use crate::error::{Error, ErrorKind};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directory to be analysed; it alone may be named by a symlink.
pub(super) fn root(path: &Path) -> std::result::Result<OwnedFd, Error> {
    open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| {
        Error::new(ErrorKind::Unreadable, "the directory cannot be opened")
            .hint("name a directory that this user can read")
            .source(errno)
    })
}

pub(super) fn directory(parent: BorrowedFd<'_>, name: &OsString) -> Result<OwnedFd> {
    openat(parent, name.as_os_str(), DIRECTORY, Mode::empty())
}

/// A regular file. Opening does not wait, whatever is there by now.
pub(super) fn regular(root: &OwnedFd, steps: &[OsString]) -> Result<OwnedFd> {
    let (name, above) = steps.split_last().ok_or(Errno::INVAL)?;
    let mut held: Option<OwnedFd> = None;
    for step in above {
        let parent = held.as_ref().map_or_else(|| root.as_fd(), AsFd::as_fd);
        held = Some(directory(parent, step)?);
    }
    let parent = held.as_ref().map_or_else(|| root.as_fd(), AsFd::as_fd);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(parent, name.as_os_str(), flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::INVAL),
    }
}
