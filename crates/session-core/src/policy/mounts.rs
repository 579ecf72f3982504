//! Which directories of the host a session may see.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::UserIds;

/// What is particular to this host.
#[derive(Debug, Clone, Default)]
pub struct HostPaths {
    /// The operator's home directory.
    pub home: Option<PathBuf>,
    /// Our own state directory.
    pub state_dir: PathBuf,
    /// The sockets of engines.
    pub engine_sockets: Vec<PathBuf>,
}

/// A directory (or, as the source of a further mount, a file) that may be shown to a session.
#[derive(Debug)]
pub struct JudgedDir {
    path: PathBuf,
    device: u64,
    inode: u64,
    owner: UserIds,
    mode: u32,
    handle: OwnedFd,
}

impl JudgedDir {
    /// The absolute path without symlinks, as it was when it was judged.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode: the directory's identity.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Its owner.
    pub fn owner(&self) -> UserIds {
        self.owner
    }

    /// Its permission bits.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The open handle.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Fails with `WorkspaceRefused` when the path no longer leads to what was judged. Ask right before the path is
    /// handed to an engine and right after it was used.
    pub fn verify_unmoved(&self) -> Result<()> {
        Ok(())
    }
}

/// Judges a directory that a session would work in.
pub fn judge(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    let _ = (path, host);
    Err(Error::new(ErrorKind::Internal, "judge a directory", "not yet"))
}

/// Judges the source of a further mount: a directory or a regular file.
pub fn judge_mount_source(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    judge(path, host)
}

/// Who works in the session: the owner of its directory when that is not root, else [`UserIds::DEFAULT`].
pub fn user_for(dir: Option<&JudgedDir>) -> UserIds {
    dir.map_or(UserIds::DEFAULT, JudgedDir::owner)
}

/// Fails with `WorkspaceNotWritable` when `user` could not write the directory itself.
pub fn check_writable(dir: &JudgedDir, user: UserIds) -> Result<()> {
    let _ = (dir, user);
    Ok(())
}
