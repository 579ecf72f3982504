//! Where an archive goes: a fresh directory beside it first, then one move.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, mkdirat, open, openat, renameat, renameat_with, statat,
};
use rustix::io::Errno;

use super::frames::{Finish, finish};
use super::remove::remove_tree;
use super::{OPERATION, host_io, over_limit, shown};
use crate::error::{Error, ErrorKind, Result};

/// How many names an archive of contents may add to a directory that exists.
const MAX_NAMES: usize = 100_000;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// What is to be moved.
pub(super) enum Shape {
    /// One file or directory of this name.
    Single(Vec<u8>),
    /// The contents of a directory that gets this.
    Contents(Finish),
}

/// Where to.
pub(super) enum Destination {
    /// Into this directory, under its own name.
    Into(OwnedFd),
    /// Into this directory, under this name.
    At(OwnedFd, Vec<u8>),
}

impl Destination {
    pub(super) fn open(dest: &Path) -> Result<Self> {
        match open(dest, OFlags::PATH | DIRECTORY, Mode::empty()) {
            Ok(dir) => return Ok(Self::Into(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => {
                return Err(host_io(
                    "the destination could not be opened",
                    dest.as_os_str().as_bytes(),
                    errno,
                ));
            }
        }
        let parent = dest.parent().map(|parent| {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        });
        let (Some(name), Some(parent)) = (dest.file_name(), parent) else {
            return Err(no_parent(dest));
        };
        match open(parent, OFlags::PATH | DIRECTORY, Mode::empty()) {
            Ok(dir) => Ok(Self::At(dir, name.as_bytes().to_vec())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(no_parent(dest)),
            Err(errno) => Err(host_io(
                "the destination could not be opened",
                parent.as_os_str().as_bytes(),
                errno,
            )),
        }
    }

    fn dir(&self) -> BorrowedFd<'_> {
        match self {
            Self::Into(dir) | Self::At(dir, _) => dir.as_fd(),
        }
    }

    /// Makes the fresh directory.
    pub(super) fn stage(self) -> Result<Staging> {
        let name = format!(".cofferdam-partial-{:016x}", rand::random::<u64>()).into_bytes();
        let failed = |errno| host_io("nothing can be written at the destination", b"", errno);
        fail::fail_point!("transfer.stage.before", |_| crate::fault::host(OPERATION));
        mkdirat(self.dir(), &name, Mode::RWXU).map_err(failed)?;
        let root = openat(
            self.dir(),
            &name,
            OFlags::RDONLY | OFlags::NOFOLLOW | DIRECTORY,
            Mode::empty(),
        );
        let root = root.map_err(failed)?;
        Ok(Staging {
            destination: self,
            name,
            root,
        })
    }
}

fn no_parent(dest: &Path) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "the directory of the destination does not exist",
    )
    .with_context("path", shown(dest.as_os_str().as_bytes()))
    .with_hint("make it first, or check the spelling")
}

/// The fresh directory. Whatever is in it, or under its name, when this is dropped goes: an extraction that failed, or
/// what a finished one replaced.
pub(super) struct Staging {
    destination: Destination,
    name: Vec<u8>,
    root: OwnedFd,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(errno) = remove_tree(self.destination.dir(), &self.name) {
            tracing::warn!(name = %shown(&self.name), %errno, "a partial copy could not be removed");
        }
    }
}

impl Staging {
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Moves everything into place, or nothing.
    pub(super) fn commit(self, shape: Shape, late: Vec<(Vec<u8>, Finish)>, overwrite: bool) -> Result<()> {
        let staged = self.root.as_fd();
        match (shape, &self.destination) {
            (Shape::Single(name), Destination::Into(dir)) => {
                place(staged, &name, dir.as_fd(), &name, overwrite)?;
                finish_late(dir.as_fd(), late);
            }
            (Shape::Single(name), Destination::At(dir, target)) => {
                place(staged, &name, dir.as_fd(), target, overwrite)?;
                finish_late(
                    dir.as_fd(),
                    late.into_iter()
                        .map(|(_, finish)| (target.clone(), finish))
                        .collect(),
                );
            }
            (Shape::Contents(_), Destination::Into(dir)) => {
                self.merge(dir.as_fd(), overwrite)?;
                finish_late(dir.as_fd(), late);
            }
            (Shape::Contents(described), Destination::At(dir, target)) => {
                place(dir.as_fd(), &self.name, dir.as_fd(), target, overwrite)?;
                finish_late(staged, late);
                warn_unfinished(target, finish(&self.root, described));
            }
        }
        Ok(())
    }

    /// Moves one name after the other, and all of them back if one is refused.
    fn merge(&self, dir: BorrowedFd<'_>, overwrite: bool) -> Result<()> {
        let mut placed: Vec<(Vec<u8>, Placed)> = Vec::new();
        for name in self.names()? {
            match place(self.root.as_fd(), &name, dir, &name, overwrite) {
                Ok(how) => placed.push((name, how)),
                Err(error) => {
                    for (name, how) in placed.iter().rev() {
                        warn_unfinished(name, take_back(dir, self.root.as_fd(), name, how));
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<Vec<u8>>> {
        let failed = |errno| host_io("what was unpacked could not be listed", b"", errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == MAX_NAMES {
                return Err(over_limit(
                    "the archive adds too many names to a directory",
                    MAX_NAMES as u64,
                ));
            }
            names.push(name.to_vec());
        }
        Ok(names)
    }
}

/// How something got into its place.
enum Placed {
    /// Nothing was there.
    Fresh,
    /// What was there has this name in the directory from which the new came.
    Replaced(Vec<u8>),
}

fn place(
    from: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    target: &[u8],
    overwrite: bool,
) -> Result<Placed> {
    let failed = |errno| host_io("the copy could not be moved into its place", target, errno);
    match renameat_with(from, name, to, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Placed::Fresh),
        Err(Errno::EXIST | Errno::NOTEMPTY) if overwrite => {
            match renameat_with(from, name, to, target, RenameFlags::EXCHANGE) {
                Ok(()) => Ok(Placed::Replaced(name.to_vec())),
                Err(Errno::INVAL | Errno::NOSYS) => replace_in_steps(from, name, to, target).map_err(failed),
                Err(errno) => Err(failed(errno)),
            }
        }
        Err(Errno::EXIST | Errno::NOTEMPTY) => Err(in_the_way(target)),
        // File systems without these flags.
        Err(Errno::INVAL | Errno::NOSYS) => match statat(to, target, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if overwrite => replace_in_steps(from, name, to, target).map_err(failed),
            Ok(_) => Err(in_the_way(target)),
            Err(Errno::NOENT) => renameat(from, name, to, target)
                .map(|()| Placed::Fresh)
                .map_err(failed),
            Err(errno) => Err(failed(errno)),
        },
        Err(errno) => Err(failed(errno)),
    }
}

fn replace_in_steps(
    from: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    target: &[u8],
) -> rustix::io::Result<Placed> {
    let aside = format!(".cofferdam-partial-{:016x}", rand::random::<u64>()).into_bytes();
    renameat(to, target, from, &aside)?;
    if let Err(errno) = renameat(from, name, to, target) {
        renameat(from, &aside, to, target)?;
        return Err(errno);
    }
    // Under the name of the new, so that it goes where the new would have gone.
    renameat(from, &aside, from, name)?;
    Ok(Placed::Replaced(name.to_vec()))
}

fn take_back(
    dir: BorrowedFd<'_>,
    staged: BorrowedFd<'_>,
    name: &[u8],
    how: &Placed,
) -> rustix::io::Result<()> {
    match how {
        Placed::Fresh => renameat(dir, name, staged, name),
        Placed::Replaced(old) => match renameat_with(staged, old, dir, name, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => replace_in_steps(staged, old, dir, name).map(drop),
            other => other,
        },
    }
}

fn in_the_way(target: &[u8]) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "something of this name is at the destination already",
    )
    .with_context("name", shown(target))
    .with_hint("choose another destination, or ask for it to be replaced (--force)")
}

/// The copy is complete and in place; a mode that could not be set is no reason to take it back.
fn finish_late(dir: BorrowedFd<'_>, late: Vec<(Vec<u8>, Finish)>) {
    for (name, described) in late {
        let opened = openat(
            dir,
            &name,
            OFlags::RDONLY | OFlags::NOFOLLOW | DIRECTORY,
            Mode::empty(),
        );
        warn_unfinished(&name, opened.and_then(|handle| finish(handle, described)));
    }
}

fn warn_unfinished(name: &[u8], outcome: rustix::io::Result<()>) {
    if let Err(errno) = outcome {
        tracing::warn!(name = %shown(name), %errno, "a copied directory could not be finished");
    }
}
