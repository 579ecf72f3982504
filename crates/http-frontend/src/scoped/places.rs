//! Which directories of the host a caller may hand to a session.
//!
//! Whoever has the socket is the server's own user and may name what that one may read. A token that is no administrator's
//! was given to somebody else: a build server, another person. Theirs are the server's projects and nothing beside them.

use std::path::{Path, PathBuf};

use session_core::error::{Error, ErrorKind, Result};
use session_core::session::{CreateSession, SessionInfo, WorkspaceSource};

use super::refusal::Forbidden;
use crate::beneath::Opened;

/// What a caller handed to a session, as it was when it was judged.
#[derive(Debug, Default)]
pub(super) struct Handed {
    workspace: Option<Opened>,
    mounts: Vec<Opened>,
}

impl Handed {
    /// Whether the session got this and nothing that was put in its place meanwhile.
    pub(super) async fn reached(self, session: &SessionInfo) -> bool {
        if self.workspace.is_none() && self.mounts.is_empty() {
            return true;
        }
        let (workspace, mounts) = (session.workspace.clone(), session.mounts.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let workspace = match (&self.workspace, &workspace) {
                (Some(opened), WorkspaceSource::Mount { path } | WorkspaceSource::Copy { path }) => {
                    opened.is_at(path)
                }
                (Some(_), _) => false,
                (None, _) => true,
            };
            let mut pairs = self.mounts.iter().zip(&mounts);
            workspace
                && self.mounts.len() == mounts.len()
                && pairs.all(|(opened, mount)| opened.is_at(&mount.source))
        });
        compared.await.unwrap_or(false)
    }
}

/// Refuses a request that names a directory outside of `projects`, and writes the others without links. A directory that is
/// not there is refused likewise: what exists on the host is not for everybody to find out.
///
/// # Errors
/// `WorkspaceRefused`.
pub(super) async fn judge(
    projects: Option<PathBuf>,
    mut request: CreateSession,
) -> Result<(CreateSession, Handed)> {
    if workspace(&mut request).is_none() && request.mounts.is_empty() {
        return Ok((request, Handed::default()));
    }
    let judged = tokio::task::spawn_blocking(move || {
        let root = projects.and_then(|projects| projects.canonicalize().ok());
        let mut handed = Handed::default();
        if let Some(path) = workspace(&mut request) {
            handed.workspace = Some(hand(root.as_deref(), path)?);
        }
        for mount in &mut request.mounts {
            handed.mounts.push(hand(root.as_deref(), &mut mount.source)?);
        }
        Ok((request, handed))
    });
    judged.await.map_err(|died| {
        Error::new(
            ErrorKind::Internal,
            "create the session",
            "its directories were not judged",
        )
        .with_source(died)
    })?
}

fn workspace(request: &mut CreateSession) -> Option<&mut PathBuf> {
    match &mut request.workspace {
        WorkspaceSource::Mount { path } | WorkspaceSource::Copy { path } => Some(path),
        WorkspaceSource::Empty | WorkspaceSource::Clone { .. } => None,
    }
}

fn hand(root: Option<&Path>, path: &mut PathBuf) -> Result<Opened> {
    let opened = root
        .and_then(|root| Opened::find(root, path).ok())
        .ok_or_else(refused)?;
    opened.path().clone_into(path);
    Ok(opened)
}

/// That a session got something else than was judged.
pub(super) fn moved() -> Error {
    Error::new(
        ErrorKind::WorkspaceRefused,
        "create the session",
        "a directory of it was moved while it was made",
    )
    .with_hint("try again when nothing else moves the directory")
    .with_source(Forbidden)
}

fn refused() -> Error {
    Error::new(
        ErrorKind::WorkspaceRefused,
        "create the session",
        "this token may hand only the server's projects to a session",
    )
    .with_hint(
        "name a directory below PROJECTS_PATH of the server, upload the files, or use the server's socket",
    )
    .with_source(Forbidden)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use session_core::runtime::HostMount;

    use super::*;

    async fn judged(projects: Option<&Path>, path: &Path) -> Result<WorkspaceSource> {
        let request = CreateSession {
            workspace: WorkspaceSource::Copy {
                path: path.to_owned(),
            },
            ..CreateSession::default()
        };
        let (request, _) = judge(projects.map(Path::to_owned), request).await?;
        Ok(request.workspace)
    }

    #[tokio::test]
    async fn only_projects_are_for_tokens_and_no_link_leads_out_of_them() {
        let host = tempfile::tempdir().unwrap();
        let root = host.path().canonicalize().unwrap();
        let (projects, secret) = (root.join("projects"), root.join("secret"));
        let project = projects.join("one");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::create_dir(&secret).unwrap();
        symlink(&secret, projects.join("out")).unwrap();
        symlink(&project, root.join("in")).unwrap();

        for inside in [&project, &root.join("in"), &projects.join("../projects/one")] {
            let workspace = judged(Some(&projects), inside).await.unwrap();
            assert_eq!(
                workspace,
                WorkspaceSource::Copy {
                    path: project.clone()
                }
            );
        }
        let outside = [
            "secret",
            "projects/out",
            "projects/../secret",
            "absent",
            "projects/absent",
        ];
        let mut told = Vec::new();
        for path in outside {
            let error = judged(Some(&projects), &root.join(path)).await.unwrap_err();
            told.push(error.to_string());
        }
        told.dedup();
        assert_eq!(told.len(), 1, "what exists is not told: {told:?}");
        assert!(judged(None, &project).await.is_err());
    }

    #[tokio::test]
    async fn further_directories_are_judged_likewise() {
        let host = tempfile::tempdir().unwrap();
        let mut request = CreateSession::default();
        request.mounts.push(HostMount {
            source: "/usr".into(),
            target: "/data".to_owned(),
            read_only: true,
        });
        let refused = judge(Some(host.path().to_owned()), request).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::WorkspaceRefused);
        assert!(judge(None, CreateSession::default()).await.is_ok());
    }
}
