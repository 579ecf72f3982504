//! From a `project_path` to a directory beneath the projects directory.
//!
//! The directory is opened once, beneath the projects directory and by the kernel's own rules: neither `..` nor a link leads
//! out of it. The session gets the path of what was opened, and when it is made it is compared with that again, by name and
//! by inode: tasks work in these directories, and one of them may move things about while another begins.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlink};
use rustix::io::Errno;
use session_core::session::{SessionInfo, WorkspaceSource};

use super::answer::Refusal;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The kernel's own bound.
const MAX_PATH: usize = 4096;

/// A directory that was found.
#[derive(Debug)]
pub(super) struct Project {
    /// As the client wrote it.
    pub(super) asked: String,
    /// Where it is, absolute and without links.
    pub(super) path: PathBuf,
    identity: (u64, u64),
    /// Keeps the inode's number from being given to another directory.
    _handle: OwnedFd,
}

impl Project {
    /// Finds a project. Works on files: call it where that is allowed.
    pub(super) fn find(projects: &Path, asked: &str) -> Result<Self, Refusal> {
        let below = judge(asked)?;
        let root = open(projects, HANDLE, Mode::empty()).map_err(|errno| {
            tracing::warn!(path = %projects.display(), %errno, "the projects directory cannot be opened");
            Refusal::failed("the projects directory of this server cannot be opened")
        })?;
        let handle = beneath(&root, &below).map_err(|errno| refusal(asked, errno))?;
        let found = path_of(&handle).and_then(|path| Ok((path, identity(&handle)?)));
        let (path, identity) = found.map_err(|errno| refusal(asked, errno))?;
        Ok(Self {
            asked: asked.to_owned(),
            path,
            identity,
            _handle: handle,
        })
    }

    /// Whether a session got this directory and nothing that was put in its place meanwhile.
    pub(super) fn is_of(&self, session: &SessionInfo) -> bool {
        let path = match &session.workspace {
            WorkspaceSource::Mount { path } | WorkspaceSource::Copy { path } => path,
            WorkspaceSource::Empty | WorkspaceSource::Clone { .. } => return false,
        };
        let now = open(path, HANDLE | OFlags::NOFOLLOW, Mode::empty()).and_then(|now| identity(&now));
        *path == self.path && now == Ok(self.identity)
    }
}

/// A relative path that only goes down.
fn judge(asked: &str) -> Result<PathBuf, Refusal> {
    let bad = |why: &str| Err(Refusal::Bad(format!("project_path {why}")));
    if asked.contains('\0') {
        return bad("must not contain NUL");
    }
    if asked.len() >= MAX_PATH {
        return bad("is too long");
    }
    let mut below = PathBuf::from(".");
    for step in Path::new(asked).components() {
        match step {
            Component::CurDir => {}
            Component::Normal(step) => below.push(step),
            Component::ParentDir => {
                return bad("must not contain `..`: it is relative to the projects directory");
            }
            Component::RootDir | Component::Prefix(_) => {
                return bad("must be relative to the projects directory");
            }
        }
    }
    Ok(below)
}

fn beneath(root: &OwnedFd, below: &Path) -> rustix::io::Result<OwnedFd> {
    let rules = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel asks to be asked again when something was renamed meanwhile.
    for _ in 0..8 {
        match openat2(root, below, HANDLE, Mode::empty(), rules) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return step_by_step(root, below),
            answer => return answer,
        }
    }
    Err(Errno::AGAIN)
}

/// For kernels and sandboxes without `openat2`: through no link at all.
fn step_by_step(root: &OwnedFd, below: &Path) -> rustix::io::Result<OwnedFd> {
    let mut here = openat(root, ".", HANDLE, Mode::empty())?;
    for step in below.components() {
        if let Component::Normal(step) = step {
            here = openat(&here, step, HANDLE | OFlags::NOFOLLOW, Mode::empty())?;
        }
    }
    Ok(here)
}

fn path_of(handle: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let link = readlink(format!("/proc/self/fd/{}", handle.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(link.into_bytes())))
}

fn identity(handle: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    fstat(handle).map(|stat| (stat.st_dev, stat.st_ino))
}

fn refusal(asked: &str, errno: Errno) -> Refusal {
    let shown: String = asked.chars().take(200).collect();
    let shown = shown.escape_debug();
    match errno {
        Errno::NOENT => Refusal::Bad(format!("project_path does not exist: {shown}")),
        Errno::NOTDIR => Refusal::Bad(format!("project_path is not a directory: {shown}")),
        Errno::XDEV | Errno::LOOP => {
            Refusal::Bad(format!("project_path leaves the projects directory: {shown}"))
        }
        Errno::NAMETOOLONG => Refusal::Bad("project_path is too long".to_owned()),
        Errno::ACCESS | Errno::PERM => Refusal::Bad(format!("project_path cannot be entered: {shown}")),
        other => Refusal::failed(format!("project_path cannot be opened: {other}")),
    }
}
