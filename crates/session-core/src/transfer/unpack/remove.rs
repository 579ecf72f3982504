//! Removes a tree that we made or replaced, by handle and never through a symlink, also where its modes forbid it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, chmodat, fchmod, openat, unlinkat};
use rustix::io::Errno;

/// Deeper trees are left to whoever made them: each level holds a descriptor.
const MAX_DEPTH: usize = 512;

/// Removes `name` in `parent` and all below it. What is not there is removed.
pub(super) fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    remove(parent, name, MAX_DEPTH)
}

fn remove(parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // What unlink says of directories on Linux and elsewhere.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let handle = open_dir(parent, name)?;
    fchmod(&handle, Mode::RWXU)?;
    for entry in Dir::read_from(&handle)? {
        let entry = entry?;
        let below = entry.file_name().to_bytes();
        if below != b"." && below != b".." {
            remove(handle.as_fd(), below, depth)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())
        }
        other => other,
    }
}
