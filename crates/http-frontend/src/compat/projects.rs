//! From a `project_path` to a directory beneath the projects directory.
//!
//! Neither `..` nor a link leads out of it. The session gets the path of what was opened, and when it is made it is compared
//! with that again: tasks work in these directories, and one of them may move things about while another begins.

use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use session_core::session::{SessionInfo, WorkspaceSource};

use super::answer::Refusal;
use crate::beneath::Opened;

/// The kernel's own bound.
const MAX_PATH: usize = 4096;

/// A directory that was found.
#[derive(Debug)]
pub(super) struct Project {
    /// As the client wrote it.
    pub(super) asked: String,
    opened: Opened,
}

impl Project {
    /// Finds a project. Works on files: call it where that is allowed.
    pub(super) fn find(projects: &Path, asked: &str) -> Result<Self, Refusal> {
        let below = judge(asked)?;
        let root = projects.canonicalize().map_err(|error| {
            tracing::warn!(path = %projects.display(), %error, "the projects directory cannot be opened");
            Refusal::failed("the projects directory of this server cannot be opened")
        })?;
        let opened = Opened::find(&root, &root.join(below)).map_err(|errno| refusal(asked, errno))?;
        if !opened.is_directory() {
            return Err(refusal(asked, Errno::NOTDIR));
        }
        Ok(Self {
            asked: asked.to_owned(),
            opened,
        })
    }

    /// Where it is, absolute and without links.
    pub(super) fn path(&self) -> &Path {
        self.opened.path()
    }

    /// Whether a session got this directory and nothing that was put in its place meanwhile.
    pub(super) fn is_of(&self, session: &SessionInfo) -> bool {
        match &session.workspace {
            WorkspaceSource::Mount { path } | WorkspaceSource::Copy { path } => self.opened.is_at(path),
            WorkspaceSource::Empty | WorkspaceSource::Clone { .. } => false,
        }
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
