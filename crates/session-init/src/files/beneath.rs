//! Directories beneath an opened one, reached one component at a time and never through a link.
//!
//! Entries of an archive mostly share their parent with the one before, so the way down is kept open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// Directories kept open at once; what lies deeper is opened anew for every entry.
const KEPT: usize = 64;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory and the way down to where it was last asked for.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
    kept: Vec<(Vec<u8>, OwnedFd)>,
    deep: Option<OwnedFd>,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            kept: Vec::new(),
            deep: None,
        }
    }

    /// The directory at `path`, made on the way where `make` says so. `LOOP` or `NOTDIR` if something else is in the way.
    pub(super) fn directory(&mut self, path: &[&[u8]], make: bool) -> Result<BorrowedFd<'_>, Errno> {
        self.deep = None;
        let same = self
            .kept
            .iter()
            .zip(path)
            .take_while(|((name, _), wanted)| name == *wanted)
            .count();
        self.kept.truncate(same);
        for name in &path[same..] {
            let parent = self
                .deep
                .as_ref()
                .or(self.kept.last().map(|(_, fd)| fd))
                .unwrap_or(&self.root);
            let opened = open_or_make(parent.as_fd(), name, make)?;
            if self.deep.is_none() && self.kept.len() < KEPT {
                self.kept.push((name.to_vec(), opened));
            } else {
                self.deep = Some(opened);
            }
        }
        Ok(self
            .deep
            .as_ref()
            .or(self.kept.last().map(|(_, fd)| fd))
            .unwrap_or(&self.root)
            .as_fd())
    }
}

fn open_or_make(parent: BorrowedFd<'_>, name: &[u8], make: bool) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) if make => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()),
        Err(error) => Err(error),
    }
}
