//! What changed in a workspace, as callers see it.

use super::SessionManager;
use crate::driver::Request;
use crate::error::Result;
use crate::id::SessionId;
use crate::session::{ChangedFile, WorkspaceDiff};
use crate::state::Operation;
use crate::workspace_tree;

/// How many changed paths are listed.
const MAX_FILES: usize = 10_000;

impl SessionManager {
    pub(super) async fn workspace_diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        let record = self.record(session, "compare the workspace").await?;
        record.info.state.permits(Operation::Files)?;
        let driver = self.driver(&record);
        let base = driver.ask(Request::Snapshot).await?;
        let (link, _) = driver.link().await?;
        let raw = workspace_tree::diff(&link, &base).await?;
        let files = changed_files(&raw.names);
        Ok(WorkspaceDiff {
            truncated: raw.truncated || files.len() > MAX_FILES,
            files: files.into_iter().take(MAX_FILES).collect(),
            patch: String::from_utf8_lossy(&raw.patch).into_owned(),
        })
    }
}

/// Reads `git diff --no-renames --name-status -z`: letter, NUL, path, NUL, and so on.
fn changed_files(names: &[u8]) -> Vec<ChangedFile> {
    let mut parts = names.split(|byte| *byte == 0);
    let mut files = Vec::new();
    while let (Some([status, ..]), Some(path)) = (parts.next(), parts.next()) {
        files.push(ChangedFile {
            status: char::from(*status),
            path: String::from_utf8_lossy(path).into_owned(),
        });
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_letters_come_in_pairs() {
        let files = changed_files(b"M\0src/a.rs\0A\0odd\nname\0");
        assert_eq!(files.len(), 2);
        assert_eq!((files[1].status, files[1].path.as_str()), ('A', "odd\nname"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(names in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = changed_files(&names);
        }
    }
}
