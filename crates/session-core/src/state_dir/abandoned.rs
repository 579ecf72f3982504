//! Files of ours that nobody will finish: drafts of processes that died.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::files::{self, OPEN_DIR};
use super::{StateDir, drafts, io_error};
use crate::error::Result;

const OPERATION: &str = "look for abandoned files";
/// How deep our own directories are.
const DEPTH: usize = 2;

impl StateDir {
    /// Files under temporary names that were left by processes that died, as paths below the directory. Nothing below the
    /// sessions' own directories, which go as a whole.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn abandoned_drafts(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        self.walk(&mut |dir, path, name| {
            if drafts::is_abandoned(dir, name) {
                found.push(path);
            }
        })?;
        Ok(found)
    }

    /// Removes a draft that was found abandoned, unless it has a writer after all. Succeeds when it is gone.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn remove_abandoned(&self, path: &Path) -> Result<()> {
        let failed =
            |source: io::Error| io_error("remove an abandoned file", &self.path().join(path), source);
        let open = |errno: Errno| failed(errno.into());
        let mut dir = rustix::fs::openat(&self.inner.dir, ".", OPEN_DIR, Mode::empty()).map_err(open)?;
        for part in path.parent().into_iter().flat_map(Path::components) {
            dir = match rustix::fs::openat(&dir, part.as_os_str(), OPEN_DIR, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(()),
                dir => dir.map_err(open)?,
            };
        }
        drafts::remove_abandoned(&dir, path.file_name().unwrap_or_default()).map_err(failed)
    }

    /// Every regular file of ours in the directory and in those in it, but for those of sessions.
    fn walk(&self, visit: &mut dyn FnMut(&OwnedFd, PathBuf, &OsStr)) -> Result<()> {
        let failed = |source: io::Error| io_error(OPERATION, self.path(), source);
        let root = rustix::fs::openat(&self.inner.dir, ".", OPEN_DIR, Mode::empty());
        root.map_err(io::Error::from)
            .and_then(|root| walk(&root, Path::new(""), DEPTH, visit))
            .map_err(failed)
    }
}

fn walk(
    dir: &OwnedFd,
    at: &Path,
    depth: usize,
    visit: &mut dyn FnMut(&OwnedFd, PathBuf, &OsStr),
) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || (at.as_os_str().is_empty() && name == StateDir::SESSIONS) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if files::is_ours(&stat) => visit(dir, at.join(name), name),
            FileType::Directory if depth > 0 && files::is_ours(&stat) => {
                // What went away meanwhile, or is closed to us, holds nothing of ours.
                if let Ok(inner) = rustix::fs::openat(dir, name, OPEN_DIR, Mode::empty()) {
                    walk(&inner, &at.join(name), depth - 1, visit)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
