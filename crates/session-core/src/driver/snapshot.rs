//! The tree with which a session's workspace is compared: what it was when it had been filled, or before the first turn.

use super::Driver;
use crate::error::{ErrorKind, Result};
use crate::event::EventKind;
use crate::session::WorkspaceSource;
use crate::store::Batch;
use crate::workspace_tree;

impl Driver {
    /// The base tree, written now if it was never written.
    pub(super) async fn snapshot(&mut self) -> Result<String> {
        if let Some(base) = self.record().await?.base_tree {
            return Ok(base);
        }
        let (link, _) = self.connect().await?;
        let base = workspace_tree::base(&link).await?;
        let batch = Batch {
            base_tree: Some(base.clone()),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await?;
        Ok(base)
    }

    /// A workspace that was filled with a project is compared with what it was then: commands change it as well as turns.
    /// An empty one is when there is something in it; a mounted one is the host's.
    pub(super) async fn base_of_filled_workspace(&mut self, workspace: &WorkspaceSource) {
        if matches!(
            workspace,
            WorkspaceSource::Copy { .. } | WorkspaceSource::Clone { .. }
        ) && let Err(error) = self.snapshot().await
        {
            tracing::debug!(session = %self.id, %error, "the workspace's beginning is not known yet");
        }
    }

    /// Before a turn: an image without git has no diff and no checkpoints, and that is no reason not to work.
    pub(super) async fn ensure_base_tree(&mut self) {
        let Err(error) = self.snapshot().await else {
            return;
        };
        tracing::debug!(session = %self.id, %error, "there will be no diff");
        let first = self.record().await.is_ok_and(|record| record.info.turns <= 1);
        if error.kind() == ErrorKind::Unsupported && first && !self.told_of_no_git {
            self.told_of_no_git = true;
            let error = error
                .with_hint("its work is kept only while its container lives; use an image with git")
                .report();
            self.log(EventKind::Problem { error }).await;
        }
    }
}
