//! A checkpoint's work, brought back into a workspace.

use futures::StreamExt;

use super::Driver;
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::error::{ErrorKind, Result};
use crate::id::CheckpointId;
use crate::session::WorkspaceSource;
use crate::store::SessionRecord;
use crate::workspace_tree::{self, Storage};

impl Driver {
    /// Makes the workspace what it was at a checkpoint, if it has no other changes.
    pub(super) async fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let base = self.checkpoint_base().await?;
        let (link, _) = self.connect().await?;
        let keeper = self.foundation.keeper();
        // A checkpoint that is being taken would have half of it.
        self.settle_checkpoints().await;
        let patch = keeper.patch(checkpoint).await?.boxed();
        workspace_tree::put(&link, &base, patch)
            .await
            .map_err(|error| error.with_context("checkpoint", checkpoint.id))
    }

    /// Fills the storage of a session that came back without it: with its project as when it was made, and with the work of its
    /// newest checkpoint. A storage that was kept is left as it is. It may be broken off anywhere and called again.
    ///
    /// The link must be up. Answers with the checkpoint whose work was brought back.
    pub(super) async fn bring_back_work(&mut self) -> Result<Option<CheckpointId>> {
        let record = self.record().await?;
        if matches!(record.info.workspace, WorkspaceSource::Mount { .. }) {
            return Ok(None);
        }
        let link = self.live_link()?.clone();
        match workspace_tree::storage(&link).await {
            Ok(Storage::New | Storage::Half) => {}
            Ok(Storage::Kept) => return Ok(None),
            // An image without a shell has never had a checkpoint, and what is there is not touched on a guess.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Internal) => {
                tracing::debug!(session = %self.id, %error, "its storage cannot be looked at");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        workspace_tree::begin_filling(&link).await?;
        self.put_certificates(&record.info).await?;
        self.fill_workspace(&record).await?;
        let brought = self.newest_work(&record).await?;
        workspace_tree::end_filling(&link).await?;
        Ok(brought)
    }

    async fn newest_work(&mut self, record: &SessionRecord) -> Result<Option<CheckpointId>> {
        let store = self.foundation.store.clone();
        let newest = store.checkpoint(&self.id, None).await?;
        if record.base_tree.is_some() {
            let link = self.live_link()?.clone();
            let base = workspace_tree::base_anew(&link).await?;
            self.new_base(base).await?;
        }
        let Some(checkpoint) = newest.filter(|newest| newest.bytes > 0) else {
            return Ok(None);
        };
        self.restore(&checkpoint).await?;
        Ok(Some(checkpoint.id))
    }

    /// Into a session that is being made: its first checkpoint is what it was made with.
    pub(super) async fn restore_into_new(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.restore(checkpoint).await?;
        self.checkpoint_now(CheckpointCause::Asked).await
    }
}
